//! The configuration hash as it is published, and over a generated catalogue.

use std::collections::HashMap;

use daybook_schemas::{ProductId, ValueId, configuration};

/// The vector of the document, which anyone can check with `sha256sum`: the text between its quotes is the canonical text.
#[test]
fn the_published_vector_is_what_the_code_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration-hash.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (_, after) = document.split_once("printf '").expect("the document has a command to check");
    let (text, after) = after.split_once("' | sha256sum\n# ").expect("the command is followed by its hash");
    let hash = after.lines().next().unwrap();
    let text = text.replace("\\n", "\n");
    let mut lines = text.lines().skip(1);
    let product = ProductId::new(lines.next().unwrap()).unwrap();
    let values: Vec<ValueId> = lines.map(|line| ValueId::new(line).unwrap()).collect();
    assert_eq!(configuration::canonical_text(&product, &values), text);
    assert_eq!(configuration::hash(&product, &values), hash);
}

/// 40 products in 25 colours, 20 sizes and 3 fits, or without one of them: no two configurations share a hash, nor even the
/// first 15 hexadecimal digits, of which automatic SKUs are made.
#[test]
fn a_generated_catalogue_has_no_collisions() {
    let mut hashes = HashMap::new();
    let mut short = HashMap::new();
    let names = |kind: &str, count: u32| -> Vec<Option<ValueId>> {
        let value = |n| Some(ValueId::new(format!("{kind}-{n}")).unwrap());
        std::iter::once(None).chain((0..count).map(value)).collect()
    };
    let (colors, sizes, fits) = (names("color", 25), names("size", 20), names("fit", 3));
    for product in 0..40 {
        let product = ProductId::new(format!("p{product}")).unwrap();
        for color in &colors {
            for size in &sizes {
                for fit in &fits {
                    let values: Vec<&ValueId> = [color, size, fit].into_iter().flatten().collect();
                    let hash = configuration::hash(&product, values.iter().copied());
                    let what = format!("{product} {values:?}");
                    assert_eq!(short.insert(hash[..15].to_owned(), what.clone()), None, "{what}");
                    assert_eq!(hashes.insert(hash, what.clone()), None, "{what}");
                }
            }
        }
    }
    assert_eq!(hashes.len(), 40 * 26 * 21 * 4);
}
