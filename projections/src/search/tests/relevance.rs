//! Words: how they are found, and which hit comes first.

use daybook_schemas::variant::Created;

use super::super::SearchModel;
use super::{Log, attribute, created, ids, label, open, project, search};

fn model(variants: Vec<Created>) -> (tempfile::TempDir, SearchModel) {
    let folder = tempfile::tempdir().unwrap();
    let mut model = open(folder.path());
    let mut log = Log::default();
    variants.into_iter().for_each(|variant| log.sell(variant));
    project(&mut model, &log.events);
    (folder, model)
}

#[test]
fn a_name_outweighs_brand_attributes_and_description() {
    let mut described = created("described", "thing");
    described.description = Some(daybook_schemas::Text::new("looks like a lantern").unwrap());
    let mut branded = created("branded", "thing");
    branded.brand = label("Lantern");
    let mut colored = created("colored", "thing");
    colored.attributes = vec![attribute("style", "lantern")];
    let (_folder, model) = model(vec![described, colored, branded, created("named", "lantern")]);
    assert_eq!(ids(&search(&model, &[("q", "lanterns")])), ["named", "branded", "colored", "described"]);
}

#[test]
fn exact_before_synonym_before_beginning_before_typo() {
    let (_folder, model) = model(vec![
        created("beginning", "sofabed"),
        created("typo", "sopa"),
        created("synonym", "couch"),
        created("exact", "long wide comfortable sofa"),
    ]);
    assert_eq!(ids(&search(&model, &[("q", "sofa")])), ["exact", "synonym", "beginning", "typo"]);
    assert_eq!(
        ids(&search(&model, &[("q", "sofa ")])),
        ["exact", "synonym", "typo"],
        "a finished word has no beginning"
    );
}

#[test]
fn typos_are_forgiven_by_length() {
    let (_folder, model) =
        model(vec![created("a", "red lantern"), created("b", "umbrella"), created("c", "mug")]);
    let found = |q| ids(&search(&model, &[("q", q)])).join(" ");
    assert_eq!(found("latnern"), "a");
    assert_eq!(found("lantren red"), "a");
    assert_eq!(found("umbrelaa"), "b");
    assert_eq!(found("unbrelaa"), "b", "two edits from eight letters");
    assert_eq!(found("lemtern"), "", "only one below");
    assert_eq!(found("mup"), "", "none below four letters");
}

#[test]
fn codes_are_found() {
    let mut coded = created("85123A", "white hanging heart");
    coded.sku = daybook_schemas::Sku::new("WH-85123A").unwrap();
    let (_folder, model) = model(vec![coded, created("x", "red box 22x22")]);
    for q in ["wh-85123a", "WH-851", "85123A", "85123", "851", "heart WH-85123A"] {
        assert_eq!(ids(&search(&model, &[("q", q)])), ["85123A"], "{q}");
    }
    assert_eq!(ids(&search(&model, &[("q", "22x22")])), ["x"]);
}

#[test]
fn all_words_must_be_there_and_nothing_means_nothing() {
    let (_folder, model) = model(vec![created("a", "red lantern"), created("b", "white lantern")]);
    let total = |q| search(&model, &[("q", q)]).total;
    assert_eq!((total("lantern"), total("red lantern"), total("red zebra")), (2, 1, 0));
    assert_eq!(total("!!!"), 0);
    assert_eq!(search(&model, &[("q", "  ")]).total, 2, "an empty box searches for everything");
}

#[test]
fn finds_are_marked_and_the_rest_escaped() {
    let mut variant = created("a", "<b>Red</b> Lanterns & more");
    variant.description =
        Some(daybook_schemas::Text::new(format!("{} lantern {}", "x".repeat(200), "y".repeat(200))).unwrap());
    let (_folder, model) = model(vec![variant]);
    let found = search(&model, &[("q", "lantern")]);
    let marks = &found.hits[0].highlights;
    assert_eq!(marks["name"], "&lt;b&gt;Red&lt;/b&gt; <em>Lanterns</em> &amp; more");
    assert!(marks["description"].starts_with("…x") && marks["description"].contains("x <em>lantern</em> y"));
    assert!(found.hits[0].score.is_some());
    assert!(search(&model, &[("q", "lantern"), ("sort", "newest")]).hits[0].score.is_none());
}
