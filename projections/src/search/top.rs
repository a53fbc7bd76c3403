//! The best hits of one segment: by a column, or by score.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use tantivy::columnar::Cardinality;
use tantivy::query::Weight;
use tantivy::{DocId, Score, SegmentReader};

use super::bits::Test;
use super::packed::BLOCK;
use super::request::Sort;
use super::segment::{SegmentColumns, SegmentView};
use super::source::{Source, each_block, goes_to};

/// A hit and its place in the order: the greater key first, among equals the smaller tie-break. Two variants share both only
/// if the 64-bit hashes of their ids are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) key: u64,
    pub(super) tie: u64,
    pub(super) segment: u32,
    pub(super) doc: DocId,
}

impl Ord for Candidate {
    /// Less is better.
    fn cmp(&self, other: &Self) -> Ordering {
        let place = |c: &Self| (c.tie, c.segment, c.doc);
        other.key.cmp(&self.key).then_with(|| place(self).cmp(&place(other)))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Keeps the best `limit` candidates after a place in the order.
pub(super) struct Best {
    heap: BinaryHeap<Candidate>,
    limit: usize,
    /// Key and tie-break of the last hit that was shown already.
    after: Option<(u64, u64)>,
    /// Whether a candidate was left out for lack of room.
    crowded: bool,
}

impl Best {
    pub(super) fn new(limit: usize, after: Option<(u64, u64)>) -> Self {
        Self { heap: BinaryHeap::with_capacity(limit + 1), limit, after, crowded: false }
    }

    /// The least key that still has a chance.
    #[inline]
    fn least(&self) -> u64 {
        if self.heap.len() < self.limit { 0 } else { self.heap.peek().map_or(0, |worst| worst.key) }
    }

    #[inline]
    fn offer(&mut self, candidate: Candidate) {
        if let Some((key, tie)) = self.after
            && (candidate.key > key || (candidate.key == key && candidate.tie <= tie))
        {
            return;
        }
        if self.heap.len() < self.limit {
            self.heap.push(candidate);
            return;
        }
        self.crowded = true;
        if let Some(mut worst) = self.heap.peek_mut()
            && candidate < *worst
        {
            *worst = candidate;
        }
    }

    fn offer_scored(&mut self, segment: &SegmentView, doc: DocId, score: Score) {
        let tie = segment.columns.tie.first(doc).unwrap_or(0);
        self.offer(Candidate { key: score_key(score), tie, segment: segment.ordinal, doc });
    }

    /// In order, and whether these are all there are.
    fn finish(self) -> (Vec<Candidate>, bool) {
        let complete = !self.crowded;
        (self.heap.into_sorted_vec(), complete)
    }
}

/// The best of one segment by a column, over the documents of a source that pass all tests.
pub(super) fn by_column(
    tests: &[Test<'_>],
    sort: Sort,
    segment: &SegmentView,
    reader: &SegmentReader,
    source: Source<'_>,
    mut best: Best,
) -> tantivy::Result<(Vec<Candidate>, bool)> {
    let columns = &*segment.columns;
    let mut values = vec![0; BLOCK];
    let mut passing = Vec::with_capacity(BLOCK);
    each_block(source, segment, reader, &mut |docs| {
        let mut docs = docs;
        if !tests.is_empty() {
            passing.clear();
            passing.extend_from_slice(docs);
            tests.iter().for_each(|test| test.retain(&mut passing));
            docs = &passing;
        }
        let mut least = best.least();
        for (&doc, &value) in docs.iter().zip(sort_values(sort, columns, docs, &mut values)) {
            let key = sort_key(sort, value);
            if key < least {
                best.crowded = true;
                continue;
            }
            let tie = columns.tie.first(doc).unwrap_or(0);
            best.offer(Candidate { key, tie, segment: segment.ordinal, doc });
            least = best.least();
        }
    })?;
    Ok(best.finish())
}

/// What a block of documents is sorted by.
fn sort_values<'v>(sort: Sort, columns: &SegmentColumns, docs: &[DocId], values: &'v mut [u64]) -> &'v [u64] {
    let column = match sort {
        Sort::PriceAscending | Sort::PriceDescending => {
            let values = &mut values[..docs.len()];
            let ranks = docs.iter().map(|&doc| columns.packed.price(doc));
            values.iter_mut().zip(ranks).for_each(|(value, rank)| *value = rank);
            return values;
        }
        Sort::Newest => &columns.created,
        Sort::Discount => &columns.discount,
        // Relevance is not in a column; asked for without words it is refused before.
        Sort::Popularity | Sort::Relevance => &columns.popularity,
    };
    let values = &mut values[..docs.len()];
    if column.get_cardinality() == Cardinality::Full {
        column.values.get_vals(docs, values);
    } else {
        let none = |doc| column.first(doc).unwrap_or(0);
        values.iter_mut().zip(docs).for_each(|(value, &doc)| *value = none(doc));
    }
    values
}

/// Greater comes first. Variants without a price come last in both directions.
fn sort_key(sort: Sort, value: u64) -> u64 {
    match (sort, value) {
        (Sort::PriceAscending, 0) => 0,
        (Sort::PriceAscending, rank) => u64::MAX - rank,
        (_, value) => value,
    }
}

/// The best of one segment by score. Blocks of documents that cannot score enough are skipped.
pub(super) fn by_score(
    tests: &[Test<'_>],
    segment: &SegmentView,
    reader: &SegmentReader,
    weight: &dyn Weight,
    mut best: Best,
) -> tantivy::Result<Vec<Candidate>> {
    let mut threshold = Score::MIN;
    weight.for_each_pruning(threshold, reader, &mut |doc, score| {
        let alive = segment.alive.as_ref().is_none_or(|alive| alive.contains(doc));
        if alive && tests.iter().all(|test| test.passes(doc)) {
            best.offer_scored(segment, doc, score);
            if best.heap.len() == best.limit {
                // Equal scores stay in the race: the tie-break decides.
                threshold = key_score(best.least()).next_down();
            }
        }
        threshold
    })?;
    Ok(best.finish().0)
}

/// The best by score among documents that are known to match and to pass, ascending.
pub(super) fn by_score_of(
    docs: &[DocId],
    segment: &SegmentView,
    reader: &SegmentReader,
    weight: &dyn Weight,
    mut best: Best,
) -> tantivy::Result<Vec<Candidate>> {
    if docs.is_empty() {
        return Ok(Vec::new());
    }
    let mut scorer = weight.scorer(reader, 1.0)?;
    for &doc in docs {
        if goes_to(&mut *scorer, doc) {
            best.offer_scored(segment, doc, scorer.score());
        }
    }
    Ok(best.finish().0)
}

/// Scores are positive, so their bits order as they do.
pub(super) fn score_key(score: Score) -> u64 {
    u64::from(score.max(0.0).to_bits())
}

/// The score of a key.
pub(super) fn key_score(key: u64) -> Score {
    Score::from_bits(u32::try_from(key).unwrap_or(0))
}
