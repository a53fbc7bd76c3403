//! Texts to tokens.

use super::super::analysis::{Synonyms, indexed_code, terms, tokens};

fn spans(text: &str) -> Vec<(String, &str)> {
    let mut all = Vec::new();
    tokens(text, |token, range| all.push((token.to_owned(), &text[range])));
    all
}

#[test]
fn tokens_are_folded_words_and_remember_their_place() {
    let of = |text| terms(text).join(" ");
    assert_eq!(of("RED Café-crème, men's T-Shirt"), "red cafe creme men t shirt");
    assert_eq!(of("Straße ŁÓDŹ Ærø ﬁne"), "strasse lodz aero fine");
    assert_eq!(of("½ price 東京 タワー"), "1 2 price 東 京 タ ワ ー");
    assert_eq!(of("85123A 22-ct"), "85123a 22 ct");
    assert_eq!(of(" .,! "), "");
    assert_eq!(spans("Ça va"), [("ca".to_owned(), "Ça"), ("va".to_owned(), "va")]);
    assert_eq!(spans("½x"), [("1".to_owned(), "½"), ("2x".to_owned(), "½x")]);
}

#[test]
fn plurals_lose_their_ending() {
    let pairs = [
        ("lights", "light"),
        ("boxes", "box"),
        ("berries", "berry"),
        ("dresses", "dress"),
        ("glass", "glass"),
        ("brushes", "brush"),
        ("sizes", "size"),
        ("bus", "bus"),
        ("gas", "gas"),
        ("cactus", "cactus"),
        ("ties", "tie"),
    ];
    for (plural, stem) in pairs {
        assert_eq!(terms(plural), [stem]);
    }
}

#[test]
fn codes_are_found_whole_and_by_part() {
    assert_eq!(indexed_code("85123A"), "85123 85123a");
    assert_eq!(indexed_code("AB-12_x"), "12 ab ab-12_x");
    assert_eq!(indexed_code("M"), "m");
}

#[test]
fn long_runs_are_cut() {
    let long = "é".repeat(100_000);
    assert_eq!(terms(&long), ["e".repeat(64)]);
}

#[test]
fn synonyms_work_in_all_directions() {
    let synonyms = Synonyms::new([["sofa", "Couches", "three piece suite"]]);
    let of = |term: &'static str| synonyms.of(term).map(|phrase| phrase.join(" ")).collect::<Vec<_>>();
    assert_eq!(of("sofa"), ["couch", "three piece suite"]);
    assert_eq!(of("couch"), ["sofa", "three piece suite"]);
    assert!(of("three").is_empty());
}
