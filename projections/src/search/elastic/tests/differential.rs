//! Both engines over generated catalogues and generated requests: the same hits, totals, facets and pages.

use super::super::super::request::{FacetSelection, SearchRequest, Sort};
use super::super::super::tests::differential::some_request;
use super::super::super::tests::generate::{Random, log};
use super::super::super::tests::{Log, open, project_into};
use super::super::super::{SearchHit, SearchReader, SearchResponse};
use super::{Place, rows, url};

/// Words as they are, beginnings, codes, synonyms, typos of one and two edits, nothing at all.
const TYPED: [&str; 24] = [
    "red",
    "re",
    "box",
    "cafe",
    "lantern holder",
    "85123",
    "85123A-3",
    "white umbr",
    "núñez",
    "b-1",
    "latnern",
    "umbrelaa",
    "unbrelaa",
    "sofa",
    "settee",
    "cup",
    "mug red",
    "candel hold",
    "heart whit",
    "zebra",
    "!!!",
    "85123a-",
    "X.y-1",
    "bolt & co",
];

/// Every page of a search, put together; pages must agree in total and facets.
fn pages(
    reader: &SearchReader,
    request: &SearchRequest,
    limit: usize,
) -> (Vec<SearchHit>, Vec<String>, SearchResponse) {
    let first = reader.search(&SearchRequest { limit: Some(limit), ..request.clone() }).unwrap();
    let (mut hits, mut cursors) = (first.hits.clone(), Vec::new());
    let mut cursor = first.cursor.clone();
    while let Some(at) = cursor {
        cursors.push(at.clone());
        let page = SearchRequest { limit: Some(limit), cursor: Some(at), ..request.clone() };
        let page = reader.search(&page).unwrap();
        assert_eq!((page.total, &page.facets), (first.total, &first.facets));
        assert!(!page.hits.is_empty(), "a cursor leads to a page");
        hits.extend(page.hits);
        cursor = page.cursor;
    }
    (hits, cursors, first)
}

/// A hit without its score, which is compared by its own measure.
fn unscored(hit: &SearchHit) -> SearchHit {
    SearchHit { score: None, ..hit.clone() }
}

/// Relevance: the same scores, and the same order but for hits whose scores differ by rounding alone.
fn same_relevance(ours: &[SearchHit], theirs: &[SearchHit], what: &str) {
    let score = |hit: &SearchHit| hit.score.unwrap();
    let near = |a: f32, b: f32| (a - b).abs() <= 1e-4 * a.abs().max(1.0);
    for (ours, theirs) in ours.iter().zip(theirs) {
        let (a, b) = (score(ours), score(theirs));
        assert!(near(a, b), "{what}: {} has {a}, {} has {b}", ours.variant_id, theirs.variant_id);
    }
    let by_id = |hits: &[SearchHit]| {
        let mut all: Vec<_> = hits.iter().map(|hit| (hit.variant_id.to_string(), hit.clone())).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    };
    for ((id, ours), (other, theirs)) in by_id(ours).iter().zip(&by_id(theirs)) {
        assert_eq!(id, other, "{what}");
        assert!(near(score(ours), score(theirs)), "{what}: {id} {:?} {:?}", ours.score, theirs.score);
        assert_eq!(unscored(ours), unscored(theirs), "{what}");
    }
}

struct Compared {
    requests: usize,
    hits: usize,
}

fn compare(
    embedded: &SearchReader,
    elastic: &SearchReader,
    random: &mut Random,
    rounds: usize,
    weighs_alike: bool,
) -> Compared {
    let mut compared = Compared { requests: 0, hits: 0 };
    for _ in 0..rounds {
        let pairs = some_request(random, &TYPED);
        let what = format!("{pairs:?}");
        let mut request = SearchRequest::parse(pairs.iter().map(|(n, v)| (n, v))).unwrap();
        request.facets = match random.below(4) {
            0 => FacetSelection::Storefront,
            1 => SearchRequest::parse([("facets", "attr.size,brand")]).unwrap().facets,
            _ => FacetSelection::All,
        };
        request.facet_limit = random.chance(20).then_some(2);
        let relevant = request.effective_sort() == Sort::Relevance;
        if relevant && !weighs_alike {
            request.sort = Some(Sort::Newest);
        }
        let limit = usize::try_from(5 + random.below(60)).unwrap();
        let (ours, our_cursors, first) = pages(embedded, &request, limit);
        let (theirs, their_cursors, same) = pages(elastic, &request, limit);
        assert_eq!(first.total, same.total, "total of {what}");
        assert_eq!(first.facets, same.facets, "facets of {what}");
        assert_eq!(first.position, same.position, "{what}");
        assert_eq!(ours.len(), theirs.len(), "hits of {what}");
        if relevant && weighs_alike {
            same_relevance(&ours, &theirs, &what);
        } else {
            assert_eq!(ours, theirs, "hits of {what}");
            assert_eq!(our_cursors, their_cursors, "pages of {what}");
        }
        compared.requests += 1;
        compared.hits += ours.len();
    }
    compared
}

fn embedded(log: &Log, upto: usize) -> (tempfile::TempDir, super::super::super::SearchModel) {
    let folder = tempfile::tempdir().unwrap();
    let mut model = open(folder.path());
    project_into(&mut model, &log.events[..upto]);
    (folder, model)
}

#[test]
fn both_engines_find_count_and_order_the_same() {
    let Some(url) = url() else { return };
    let mut compared = Compared { requests: 0, hits: 0 };
    for seed in 0..3 {
        let place = Place::new(url.clone());
        let mut random = Random(seed + 500);
        let log = log(seed + 20, 150, 1_500);
        let mut elastic = place.open();
        let mut at = 0;
        while at < log.events.len() {
            let next = (at + 150 + usize::try_from(random.below(400)).unwrap()).min(log.events.len());
            project_into(&mut elastic, &log.events[at..next]);
            at = next;
            let (_folder, embedded) = embedded(&log, at);
            assert_eq!(rows(&embedded), rows(&elastic));
            let done = compare(&embedded.reader(), &elastic.reader(), &mut random, 20, false);
            compared.requests += done.requests;
            compared.hits += done.hits;
        }
    }
    assert!(compared.requests >= 200 && compared.hits >= 4_000, "{} {}", compared.requests, compared.hits);
}

/// Nothing was replaced yet in either index, so that both weigh words by the same statistics.
#[test]
fn both_engines_score_words_the_same() {
    let Some(url) = url() else { return };
    for seed in 0..2 {
        let place = Place::new(url.clone());
        let log = log(seed + 40, 400, 5_000);
        let mut elastic = place.open();
        project_into(&mut elastic, &log.events);
        let (_folder, embedded) = embedded(&log, log.events.len());
        let mut random = Random(seed + 900);
        for q in TYPED {
            let pairs =
                [("q", q), ("facets", "all"), ("lifecycle", "draft,active,mature,clearance,discontinued")];
            let request = SearchRequest::parse(pairs).unwrap();
            let (ours, _, first) = pages(&embedded.reader(), &request, 100);
            let (theirs, _, same) = pages(&elastic.reader(), &request, 100);
            assert_eq!((first.total, &first.facets), (same.total, &same.facets), "{q}");
            same_relevance(&ours, &theirs, q);
        }
        compare(&embedded.reader(), &elastic.reader(), &mut random, 150, true);
    }
}
