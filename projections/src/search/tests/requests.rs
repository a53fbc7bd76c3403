//! What is refused, and that nothing hostile breaks anything.

use proptest::prelude::*;

use super::super::request::{Collection, SearchError, SearchRequest};
use super::super::{FacetSelection, Sort};
use super::{Log, created, ids, open, project, request, search};

fn refusal(pairs: &[(&str, &str)]) -> String {
    match SearchRequest::parse(pairs.iter().copied()) {
        Err(SearchError::Invalid(text)) => text,
        other => panic!("{pairs:?} gave {other:?}"),
    }
}

#[test]
fn refusals_say_what_to_do() {
    let cases: [(&[(&str, &str)], &str); 13] = [
        (&[("colour", "red")], "unknown parameter \"colour\""),
        (&[("limit", "0")], "limit is a number from 1 to 100"),
        (&[("limit", "-1")], "limit is a number from 1 to 100"),
        (&[("facet_limit", "many")], "facet_limit is a number from 1 to 1000"),
        (&[("price_min", "ten")], "an amount is a decimal string"),
        (&[("price_min", "-1")], "price_min is not below zero"),
        (&[("price_min", "5"), ("price_max", "4")], "price_min is at most price_max"),
        (&[("currency", "gbp")], "three capital letters"),
        (&[("in_stock", "yes")], "in_stock is one of true, false"),
        (&[("lifecycle", "archived")], "archived variants are not in search"),
        (&[("sort", "name")], "sort is one of relevance, price, price_asc"),
        (&[("facets", "brand,attr.")], "facets are all, none"),
        (&[("q", "a"), ("q", "b")], "q is given once"),
    ];
    for (pairs, expected) in cases {
        let text = refusal(pairs);
        assert!(text.contains(expected), "{pairs:?}: {text}");
    }
    let long = "x".repeat(301);
    assert!(refusal(&[("q", &long)]).contains("at most 300"));
    let kinds: Vec<String> = (0..51).map(|n| format!("attr.kind-{n}")).collect();
    let many: Vec<(&str, &str)> = kinds.iter().map(|kind| (kind.as_str(), "x")).collect();
    assert!(refusal(&many).contains("at most 50 attribute types"));
}

#[test]
fn empty_values_count_as_absent() {
    let parsed =
        request(&[("q", ""), ("category", ""), ("brand", " "), ("cursor", ""), ("min_position", "7")]);
    assert_eq!(parsed, SearchRequest::default());
}

#[test]
fn an_order_that_needs_words_is_as_none_without_them() {
    let sort = |pairs: &[(&str, &str)]| request(pairs).effective_sort();
    assert_eq!(sort(&[("sort", "relevance")]), Sort::Popularity);
    assert_eq!(sort(&[("sort", "relevance"), ("q", " ")]), Sort::Popularity);
    assert_eq!(sort(&[("sort", "relevance"), ("q", "lamp")]), Sort::Relevance);
    assert_eq!(sort(&[("collection", "new_arrivals"), ("sort", "relevance")]), Sort::Newest);
    assert_eq!(sort(&[("sort", "price")]), Sort::PriceAscending);
    let built = SearchRequest { sort: Some(Sort::Relevance), ..SearchRequest::default() };
    assert_eq!(built.effective_sort(), Sort::Popularity);
}

#[test]
fn who_asks_for_more_than_a_page_gets_a_page() {
    for (asked, taken) in [("99", 99), ("100", 100), ("101", 100), ("99999999999999999999999", 100)] {
        assert_eq!(request(&[("limit", asked)]).limit, Some(taken), "{asked}");
    }
    assert_eq!(request(&[("facet_limit", "5000")]).facet_limit, Some(1_000));
}

#[test]
fn collections_fill_in_what_is_open() {
    let of = |name| request(&[("collection", name)]);
    assert_eq!(of("browse").effective_sort(), Sort::Popularity);
    assert_eq!((of("trending").in_stock, of("trending").effective_sort()), (Some(true), Sort::Popularity));
    assert_eq!(of("new_arrivals").effective_sort(), Sort::Newest);
    assert_eq!(of("clearance").lifecycle, [daybook_schemas::variant::Lifecycle::Clearance]);
    assert_eq!(
        request(&[("collection", "clearance"), ("sort", "price_asc")]).sort,
        Some(Sort::PriceAscending)
    );
    assert_ne!(Collection::Browse, Collection::Trending);
}

#[test]
fn facets_are_chosen() {
    let wants = |value: &str, name: &str| {
        let folder = tempfile::tempdir().unwrap();
        let mut model = open(folder.path());
        let mut log = Log::default();
        let mut variant = created("a", "x");
        variant.attributes = vec![super::attribute("color", "Red"), super::attribute("size", "M")];
        log.sell(variant);
        project(&mut model, &log.events);
        search(&model, &[("facets", value)]).facets.contains_key(name)
    };
    assert!(wants("", "attr.color") && wants("", "brand") && wants("", "price") && !wants("", "lifecycle"));
    assert!(wants("all", "channel") && !wants("none", "brand"));
    assert!(wants("brand,attr.size", "attr.size") && !wants("brand,attr.size", "attr.color"));
    assert_eq!(request(&[("facets", "brand"), ("facets", "all")]).facets, FacetSelection::All);
}

#[test]
fn a_cursor_belongs_to_its_search() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = open(folder.path());
    let mut log = Log::default();
    (0..5).for_each(|n| log.sell(created(&format!("v{n}"), "lantern")));
    project(&mut model, &log.events);
    let first = search(&model, &[("limit", "2")]);
    let cursor = first.cursor.clone().unwrap();
    let second = search(&model, &[("limit", "3"), ("cursor", &cursor), ("facets", "none")]);
    assert_eq!(
        (ids(&second).len(), second.cursor.clone()),
        (3, None),
        "size and facets of a page may change"
    );
    assert!(ids(&second).iter().all(|id| !ids(&first).contains(id)));
    let refused = |pairs: &[(&str, &str)]| match model.reader().search(&request(pairs)) {
        Err(SearchError::Invalid(text)) => text,
        other => panic!("{other:?}"),
    };
    assert!(refused(&[("cursor", &cursor), ("sort", "newest")]).contains("another search"));
    assert!(refused(&[("cursor", &cursor), ("brand", "Acme")]).contains("another search"));
    let mut changed = cursor.clone();
    changed.replace_range(20..21, if &cursor[20..21] == "0" { "1" } else { "0" });
    for broken in [&cursor[1..], &changed, "zz", "é"] {
        assert!(refused(&[("cursor", broken)]).contains("not one that a search gave"), "{broken}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hostile_pairs_never_panic(pairs in proptest::collection::vec((name(), any::<String>()), 0..6)) {
        let _ = SearchRequest::parse(pairs);
    }
}

fn name() -> impl Strategy<Value = String> {
    const KNOWN: [&str; 10] = [
        "q",
        "category",
        "attr.color",
        "price_min",
        "limit",
        "cursor",
        "facets",
        "lifecycle",
        "sort",
        "attr.",
    ];
    prop_oneof![3 => proptest::sample::select(&KNOWN[..]).prop_map(str::to_owned), 1 => any::<String>()]
}

#[test]
fn hostile_words_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = open(folder.path());
    let mut log = Log::default();
    (0..30).for_each(|n| log.sell(created(&format!("v{n}"), "Red lantern café 東京")));
    project(&mut model, &log.events);
    let reader = model.reader();
    proptest!(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() }, |(q in ".{0,40}", brand in ".{1,20}")| {
        let hostile = SearchRequest { q: Some(q.clone()), ..SearchRequest::default() };
        reader.search(&hostile).unwrap();
        reader.search(&SearchRequest { brand: vec![brand], ..SearchRequest::default() }).unwrap();
    });
    for q in [
        "\u{0}",
        "a\u{301}\u{301}\u{301}",
        "((((",
        "*:*",
        "NOT",
        "\"",
        "-",
        "~2",
        "lantern^",
        "\u{202e}x",
        "ﷺ",
        "🎁🎁🎁🎁",
    ] {
        reader.search(&SearchRequest { q: Some(q.to_owned()), ..SearchRequest::default() }).unwrap();
    }
}
