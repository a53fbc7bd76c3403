//! Counting hits and facets of one segment in one pass.
//!
//! A document that passes every group counts for all facets. One that fails exactly one group counts for that group's own
//! facet: that makes the counts disjunctive without a pass for each group. Documents are driven by the text query, by the
//! posting lists of the most selective group, or are all there are; what fails the driver is never seen, so the driver's
//! own facet is counted by a second pass that leaves the driver out.

use std::ops::Range;

use tantivy::columnar::{Cardinality, Column};
use tantivy::query::Weight;
use tantivy::{DocId, SegmentReader};

use super::filter::{BLOCK, Check, Filter, Group, index, read};
use super::request::Facet;
use super::schema::decimal_rank;
use super::segment::{Dimension, SegmentColumns, SegmentView};

/// Lower ends of the price buckets in currency units; the last has no upper end.
pub(super) const BUCKETS: [u32; 16] =
    [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 50_000, 100_000];

/// Counts of one segment: by ordinal for words, by bucket for prices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) total: u32,
    pub(super) words: [Vec<u32>; Dimension::ALL.len()],
    pub(super) price: [u32; BUCKETS.len()],
    /// Not in stock, in stock.
    pub(super) in_stock: [u32; 2],
}

impl Counts {
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.words.iter().map(|counts| counts.len() * 4).sum::<usize>()
    }

    /// Takes away what was counted of documents that are gone.
    pub(super) fn subtract(&mut self, gone: &Self) {
        self.total -= gone.total;
        let words = self.words.iter_mut().flatten().zip(gone.words.iter().flatten());
        let numbers =
            self.price.iter_mut().zip(&gone.price).chain(self.in_stock.iter_mut().zip(&gone.in_stock));
        words.chain(numbers).for_each(|(count, gone)| *count -= gone);
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) words: [bool; Dimension::ALL.len()],
    pub(super) price: bool,
    pub(super) in_stock: bool,
}

/// A pass over the documents that one driver gives.
pub(super) struct Pass<'q> {
    pub(super) groups: &'q [Group],
    /// The group whose posting lists drive; `None`: the text query, or all documents.
    pub(super) driver: Option<usize>,
    /// Groups that are checked.
    pub(super) checked: Vec<usize>,
    /// Counted of documents that pass all checks.
    pub(super) wanted: Wanted,
    /// Whether documents that fail one group count for its facet, if that is wanted.
    pub(super) disjunctive: bool,
}

impl Pass<'_> {
    /// Identifies the pass among all queries of this process, given the text query's own key.
    pub(super) fn key(&self, text: &str) -> String {
        let groups: Vec<String> =
            self.checked.iter().chain(&self.driver).map(|&at| self.groups[at].key()).collect();
        format!(
            "count {text:?} {:?} {} {:?} {}",
            self.driver.is_some(),
            groups.join(";"),
            self.wanted,
            self.disjunctive
        )
    }
}

/// Counts a pass in one segment. `only`: look at these documents instead of those that the source gives.
pub(super) fn count(
    pass: &Pass<'_>,
    segment: &SegmentView,
    reader: &SegmentReader,
    source: Source<'_>,
) -> tantivy::Result<Counts> {
    let mut counter = Counter::new(pass, &segment.columns, source.needs_driver_check());
    each_block(source, segment, reader, &mut |docs| counter.block(docs))?;
    Ok(counter.counts)
}

/// Where documents come from.
pub(super) enum Source<'a> {
    All,
    /// The union of posting lists; `distinct`: no document is in two of them.
    Postings {
        lists: Vec<tantivy::postings::BlockSegmentPostings>,
        distinct: bool,
    },
    Text(&'a dyn Weight),
    /// Given documents, ascending, deleted or not; those that the text query does not match are left out.
    These {
        docs: &'a [DocId],
        text: Option<&'a dyn Weight>,
    },
}

impl Source<'_> {
    const fn needs_driver_check(&self) -> bool {
        matches!(self, Self::These { .. })
    }
}

/// Calls `take` with blocks of live documents (given ones excepted).
pub(super) fn each_block(
    source: Source<'_>,
    segment: &SegmentView,
    reader: &SegmentReader,
    take: &mut dyn FnMut(&[DocId]),
) -> tantivy::Result<()> {
    let mut buffer: Vec<DocId> = Vec::with_capacity(BLOCK);
    let alive = segment.alive.as_ref();
    let mut push = |doc: DocId| {
        if alive.is_none_or(|alive| alive.contains(doc)) {
            buffer.push(doc);
            if buffer.len() == BLOCK {
                take(&buffer);
                buffer.clear();
            }
        }
    };
    match source {
        Source::All => (0..segment.max_doc).for_each(push),
        Source::Postings { lists, distinct } => {
            let mut all = Vec::new();
            let several = lists.len() > 1 && !distinct;
            for mut list in lists {
                while list.block_len() > 0 {
                    if several {
                        all.extend_from_slice(list.docs());
                    } else {
                        list.docs().iter().copied().for_each(&mut push);
                    }
                    list.advance();
                }
            }
            all.sort_unstable();
            all.dedup();
            all.into_iter().for_each(push);
        }
        Source::Text(weight) => {
            weight.for_each_no_score(reader, &mut |docs| docs.iter().copied().for_each(&mut push))?
        }
        Source::These { docs, text } => return given(docs, text, reader, take),
    }
    if !buffer.is_empty() {
        take(&buffer);
    }
    Ok(())
}

fn given(
    docs: &[DocId],
    text: Option<&dyn Weight>,
    reader: &SegmentReader,
    take: &mut dyn FnMut(&[DocId]),
) -> tantivy::Result<()> {
    let Some(weight) = text else {
        docs.chunks(BLOCK).for_each(take);
        return Ok(());
    };
    let mut scorer = weight.scorer(reader, 1.0)?;
    let matching: Vec<DocId> = docs
        .iter()
        .copied()
        .filter(|&doc| {
            let at = scorer.doc();
            (if at < doc { scorer.seek(doc) } else { at }) == doc
        })
        .collect();
    matching.chunks(BLOCK).for_each(take);
    Ok(())
}

/// The state of counting one segment.
struct Counter<'a> {
    columns: &'a SegmentColumns,
    /// The driver as a check, if documents do not come from it.
    driver: Option<Check<'a>>,
    checks: Vec<Check<'a>>,
    /// For each check, what to count of documents that fail it alone.
    own: Vec<Option<Own>>,
    wanted: Wanted,
    counts: Counts,
    thresholds: [u64; BUCKETS.len()],
    fails: Vec<u8>,
    failed: Vec<u8>,
    values: Vec<u64>,
    passing: Vec<DocId>,
    alone: Vec<Vec<DocId>>,
}

/// The facet of a group.
enum Own {
    Words(Dimension),
    /// The attribute values of one type, as ordinals.
    Attribute(Range<u64>),
    Price,
    InStock,
}

impl<'a> Counter<'a> {
    fn new(pass: &Pass<'_>, columns: &'a SegmentColumns, check_driver: bool) -> Self {
        let compile = |at: usize| Check::compile(&pass.groups[at], columns);
        let own = |at: &usize| {
            if pass.disjunctive { own_facet(&pass.groups[*at], &pass.wanted, columns) } else { None }
        };
        let mut counts = Counts::default();
        for dimension in Dimension::ALL {
            if pass.wanted.words[dimension as usize] {
                counts.words[dimension as usize] = vec![0; columns.ordinals(dimension).global.len()];
            }
        }
        Self {
            columns,
            driver: pass.driver.filter(|_| check_driver).map(compile),
            checks: pass.checked.iter().map(|&at| compile(at)).collect(),
            own: pass.checked.iter().map(own).collect(),
            wanted: pass.wanted,
            counts,
            thresholds: BUCKETS.map(|from| decimal_rank(from.into())),
            fails: vec![0; BLOCK],
            failed: vec![0; BLOCK],
            values: vec![0; BLOCK],
            passing: Vec::with_capacity(BLOCK),
            alone: vec![Vec::new(); pass.checked.len()],
        }
    }

    fn block(&mut self, docs: &[DocId]) {
        if let Some(driver) = &self.driver {
            let kept: Vec<DocId> = docs.iter().copied().filter(|&doc| driver.passes(doc)).collect();
            self.driven(&kept);
        } else {
            self.driven(docs);
        }
    }

    fn driven(&mut self, docs: &[DocId]) {
        if self.checks.is_empty() {
            self.count_passing(docs);
            return;
        }
        let (fails, failed) = (&mut self.fails[..docs.len()], &mut self.failed[..docs.len()]);
        fails.fill(0);
        for (number, check) in (0_u8..).zip(&self.checks) {
            check.failing(docs, &mut self.values, |at| {
                fails[at] = fails[at].saturating_add(1);
                failed[at] = number;
            });
        }
        self.passing.clear();
        for ((&doc, &fails), &failed) in docs.iter().zip(&*fails).zip(&*failed) {
            if fails == 0 {
                self.passing.push(doc);
            } else if fails == 1 && self.own[usize::from(failed)].is_some() {
                self.alone[usize::from(failed)].push(doc);
            }
        }
        let passing = std::mem::take(&mut self.passing);
        self.count_passing(&passing);
        self.passing = passing;
        for number in 0..self.alone.len() {
            let mut alone = std::mem::take(&mut self.alone[number]);
            self.count_own(number, &alone);
            alone.clear();
            self.alone[number] = alone;
        }
    }

    fn count_passing(&mut self, docs: &[DocId]) {
        self.counts.total += u32::try_from(docs.len()).expect("a block is small");
        for dimension in Dimension::ALL {
            if self.wanted.words[dimension as usize] {
                self.count_words(dimension, docs);
            }
        }
        if self.wanted.price {
            self.count_price(docs);
        }
        if self.wanted.in_stock {
            self.count_in_stock(docs);
        }
    }

    fn count_own(&mut self, number: usize, docs: &[DocId]) {
        match &self.own[number] {
            None => {}
            _ if docs.is_empty() => {}
            Some(Own::Words(dimension)) => {
                let dimension = *dimension;
                self.count_words(dimension, docs);
            }
            Some(Own::Attribute(range)) => {
                let column = &self.columns.ordinals(Dimension::Attribute).column;
                let counts = &mut self.counts.words[Dimension::Attribute as usize];
                for &doc in docs {
                    for ordinal in column.values_for_doc(doc).filter(|ordinal| range.contains(ordinal)) {
                        counts[index(ordinal)] += 1;
                    }
                }
            }
            Some(Own::Price) => self.count_price(docs),
            Some(Own::InStock) => self.count_in_stock(docs),
        }
    }

    fn count_words(&mut self, dimension: Dimension, docs: &[DocId]) {
        count_column(
            &self.columns.ordinals(dimension).column,
            docs,
            &mut self.values,
            &mut self.counts.words[dimension as usize],
        );
    }

    fn count_price(&mut self, docs: &[DocId]) {
        for rank in read(&self.columns.price, docs, &mut self.values) {
            let bucket = self.thresholds.partition_point(|from| from <= rank);
            // Rank 0, below every bucket, is no price.
            if bucket > 0 {
                self.counts.price[bucket - 1] += 1;
            }
        }
    }

    fn count_in_stock(&mut self, docs: &[DocId]) {
        for value in read(&self.columns.in_stock, docs, &mut self.values) {
            self.counts.in_stock[usize::from(*value == 1)] += 1;
        }
    }
}

fn count_column(column: &Column<u64>, docs: &[DocId], values: &mut [u64], counts: &mut [u32]) {
    if column.get_cardinality() == Cardinality::Full {
        for ordinal in read(column, docs, values) {
            counts[index(*ordinal)] += 1;
        }
        return;
    }
    for &doc in docs {
        for ordinal in column.values_for_doc(doc) {
            counts[index(ordinal)] += 1;
        }
    }
}

fn own_facet(group: &Group, wanted: &Wanted, columns: &SegmentColumns) -> Option<Own> {
    match (&group.filter, group.facet.as_ref()?) {
        (Filter::Values { dimension, .. }, _) if !wanted.words[*dimension as usize] => None,
        (Filter::Values { .. }, Facet::Attribute(kind)) => {
            Some(Own::Attribute(columns.ordinals(Dimension::Attribute).of_type(kind)))
        }
        (Filter::Values { dimension, .. }, _) => Some(Own::Words(*dimension)),
        (Filter::Price { .. }, _) => wanted.price.then_some(Own::Price),
        (Filter::InStock(_), _) => wanted.in_stock.then_some(Own::InStock),
    }
}
