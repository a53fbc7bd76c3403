//! Generated catalogues and requests: the index must find exactly what the plain implementation finds.

use std::collections::BTreeMap;

use super::super::document::SearchDocument;
use super::super::request::{SearchRequest, Sort};
use super::super::{SearchModel, SearchResponse};
use super::generate::{BRANDS, CATEGORIES, CHANNELS, COLORS, REGIONS, Random, SIZES, log};
use super::{naive, open, project};
use crate::model::ReadModel;

/// What is typed, where only words that are there as they are, their beginnings and codes are found.
const TYPED: [&str; 10] =
    ["red", "re", "box", "cafe", "lantern holder", "85123", "85123A-3", "white umbr", "núñez", "b-1"];

pub(in crate::search) fn some_request(random: &mut Random, typed: &[&str]) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut maybe = |random: &mut Random, percent: u64, name: &str, values: &[&str]| {
        for _ in 0..2 {
            if random.chance(percent)
                && (matches!(name, "brand" | "category" | "attr.color" | "attr.size" | "lifecycle")
                    || !pairs.iter().any(|(n, _)| n == name))
            {
                pairs.push((name.to_owned(), random.pick(values).to_owned()));
            }
        }
    };
    maybe(random, 15, "category", &CATEGORIES);
    maybe(random, 15, "brand", &BRANDS);
    maybe(random, 20, "attr.color", &COLORS);
    maybe(random, 15, "attr.size", &SIZES);
    maybe(random, 10, "channel", &CHANNELS);
    maybe(random, 10, "region", &REGIONS);
    maybe(random, 10, "currency", &["GBP", "EUR", "USD"]);
    maybe(random, 10, "in_stock", &["true", "false"]);
    maybe(random, 10, "lifecycle", &["draft", "active", "clearance", "discontinued"]);
    maybe(random, 10, "price_min", &["0", "1", "4.99", "5", "10.005"]);
    maybe(random, 10, "price_max", &["20", "123.45", "99999", "1000"]);
    maybe(random, 15, "q", typed);
    let sorts = ["relevance", "price_asc", "price_desc", "newest", "popularity", "discount"];
    let searched = pairs.iter().any(|(name, _)| name == "q");
    let sorts = if searched { &sorts[..] } else { &sorts[1..] };
    if random.chance(70) {
        pairs.push(("sort".to_owned(), random.pick(sorts).to_owned()));
    }
    pairs
}

fn facets_of(response: &SearchResponse) -> BTreeMap<String, BTreeMap<String, u64>> {
    let lists = response.facets.iter().filter(|(_, values)| !values.is_empty());
    lists
        .map(|(name, values)| (name.clone(), values.iter().map(|v| (v.value.clone(), v.count)).collect()))
        .collect()
}

/// All pages of a search; every page must carry the same total and facets.
fn pages(model: &SearchModel, request: &SearchRequest, limit: usize) -> (Vec<String>, SearchResponse) {
    let reader = model.reader();
    let first = reader.search(&SearchRequest { limit: Some(limit), ..request.clone() }).unwrap();
    let mut ids: Vec<String> = first.hits.iter().map(|hit| hit.variant_id.to_string()).collect();
    let mut scores: Vec<f32> = first.hits.iter().filter_map(|hit| hit.score).collect();
    let mut cursor = first.cursor.clone();
    while let Some(at) = cursor {
        let page = reader
            .search(&SearchRequest { limit: Some(limit), cursor: Some(at), ..request.clone() })
            .unwrap();
        assert_eq!((page.total, &page.facets), (first.total, &first.facets));
        assert!(!page.hits.is_empty(), "a cursor leads to a page");
        ids.extend(page.hits.iter().map(|hit| hit.variant_id.to_string()));
        scores.extend(page.hits.iter().filter_map(|hit| hit.score));
        cursor = page.cursor;
    }
    assert!(
        scores.windows(2).all(|pair| pair[0] >= pair[1]),
        "relevance falls from page to page: {scores:?}"
    );
    (ids, first)
}

fn compare(model: &SearchModel, documents: &[SearchDocument], random: &mut Random, rounds: usize) {
    for _ in 0..rounds {
        let pairs = some_request(random, &TYPED);
        let mut request = SearchRequest::parse(pairs.iter().map(|(n, v)| (n, v))).unwrap();
        request.facets = super::super::FacetSelection::All;
        let expected = naive::search(&request, documents);
        let (mut ids, first) = pages(model, &request, usize::try_from(1 + random.below(40)).unwrap());
        if request.effective_sort() == Sort::Relevance {
            ids.sort_unstable();
        }
        assert_eq!(first.total, expected.ids.len() as u64, "total of {pairs:?}");
        assert_eq!(ids, expected.ids, "hits of {pairs:?}");
        assert_eq!(facets_of(&first), expected.facets, "facets of {pairs:?}");
    }
}

fn documents(model: &SearchModel) -> Vec<SearchDocument> {
    let rows = model.snapshot().unwrap().scan("documents", None, usize::MAX).unwrap();
    rows.iter().map(|(_, json)| serde_json::from_slice(json).unwrap()).collect()
}

#[test]
fn searches_find_what_a_plain_implementation_finds() {
    for seed in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let mut random = Random(seed + 1_000);
        let log = log(seed, 150, 1_500);
        let mut model = open(folder.path());
        let mut at = 0;
        while at < log.events.len() {
            let next = (at + 200 + usize::try_from(random.below(400)).unwrap()).min(log.events.len());
            project(&mut model, &log.events[at..next]);
            at = next;
            compare(&model, &documents(&model), &mut random, 15);
        }
        compare(&model, &documents(&model), &mut random, 40);
    }
}

/// Counts and first pages of a big segment are kept; deletions and additions after that must show in them.
#[test]
fn kept_results_follow_later_commits() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = open(folder.path());
    let log = log(77, 3_000, 12_000);
    let mut random = Random(7);
    let (first, rest) = log.events.split_at(10_000);
    project(&mut model, first);
    compare(&model, &documents(&model), &mut Random(5), 8);
    for chunk in rest.chunks(600) {
        project(&mut model, chunk);
        // The same requests again: those that were kept.
        compare(&model, &documents(&model), &mut Random(5), 8);
        compare(&model, &documents(&model), &mut random, 3);
    }
}
