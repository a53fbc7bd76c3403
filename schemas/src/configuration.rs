//! Configuration hash and signature of a variant: same product and attribute values, same hash, in whatever order given.

use sha2::{Digest, Sha256};

use crate::{ProductId, ValueId};

/// First line of the canonical text; a new rule would get a new line, never the same.
pub const RULE: &str = "daybook-configuration-v1";

/// The canonical text: the rule's name, the product id and each attribute value id, sorted by bytes and without
/// repetition, each on a line of its own that ends in a line feed.
#[must_use]
pub fn canonical_text<'a>(product: &ProductId, values: impl IntoIterator<Item = &'a ValueId>) -> String {
    let mut ids: Vec<&str> = values.into_iter().map(ValueId::as_str).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut text = format!("{RULE}\n{product}\n");
    for id in ids {
        text.push_str(id);
        text.push('\n');
    }
    text
}

/// SHA-256 of the canonical text in lower-case hexadecimal, 64 characters.
#[must_use]
pub fn hash<'a>(product: &ProductId, values: impl IntoIterator<Item = &'a ValueId>) -> String {
    hex(&Sha256::digest(canonical_text(product, values)))
}

/// The readable form: `type:value` pairs sorted by type, joined by `|`, in lower case.
#[must_use]
pub fn signature<'a>(attributes: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut pairs: Vec<String> = attributes
        .into_iter()
        .map(|(kind, value)| format!("{}:{}", kind.to_lowercase(), value.to_lowercase()))
        .collect();
    pairs.sort_unstable();
    pairs.dedup();
    pairs.join("|")
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    let mut text = String::with_capacity(bytes.len() * 2);
    text.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(ids: &[&str]) -> Vec<ValueId> {
        ids.iter().map(|id| ValueId::new(id).unwrap()).collect()
    }

    #[test]
    fn order_and_repetition_do_not_matter() {
        let product = ProductId::new("shirt").unwrap();
        let reference = hash(&product, &values(&["color-navy", "size-m"]));
        assert_eq!(reference, hash(&product, &values(&["size-m", "color-navy", "size-m"])));
        assert_ne!(reference, hash(&product, &values(&["color-navy", "size-l"])));
        assert_ne!(reference, hash(&ProductId::new("skirt").unwrap(), &values(&["color-navy", "size-m"])));
    }

    /// `printf 'daybook-configuration-v1\nshirt\ncolor-navy\nsize-m\n' | sha256sum`
    #[test]
    fn published_vector() {
        let product = ProductId::new("shirt").unwrap();
        assert_eq!(
            hash(&product, &values(&["color-navy", "size-m"])),
            "42bbb0b7aa07306b8de9d6ab911dcb0add7dc93e60b881489ac024c358609506"
        );
        assert_eq!(signature([("size", "M"), ("color", "Navy")]), "color:navy|size:m");
    }
}
