//! Counting hits and facets of one segment in one pass.
//!
//! A document that passes every group counts for all facets. One that fails exactly one group counts for that group's own
//! facet: that makes the counts disjunctive without a pass for each group. Documents are driven by the text query, by the
//! posting lists of the most selective group, or are all there are; what fails the driver is never seen, so the driver's
//! own facet is counted by a second pass that leaves the driver out.

use std::ops::Range;

use tantivy::query::{Scorer, Weight};
use tantivy::{DocId, SegmentReader};

use super::check::{Check, Tally, Words};
use super::filter::Group;
use super::packed::{BLOCK, Combined, Packed, Property};
use super::request::Facet;
use super::segment::{Alive, Dimension, SegmentColumns, SegmentView};

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
    /// Adds documents with a value, given as ordinal, bucket or number.
    fn add(&mut self, property: Property, value: usize, count: u32) {
        match property {
            Property::Words(dimension) => self.words[dimension as usize][value] += count,
            Property::Price => self.price[value] += count,
            Property::InStock => self.in_stock[value] += count,
        }
    }

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

impl Wanted {
    const fn wants(&self, property: Property) -> bool {
        match property {
            Property::Words(dimension) => self.words[dimension as usize],
            Property::Price => self.price,
            Property::InStock => self.in_stock,
        }
    }

    fn properties(&self) -> impl Iterator<Item = Property> {
        let words = Dimension::ALL.into_iter().map(Property::Words);
        words.chain([Property::Price, Property::InStock]).filter(|&property| self.wants(property))
    }
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
    /// The combinations to count instead of documents: they are without attributes.
    fn combined<'p>(&self, packed: &'p Packed) -> Option<&'p Combined> {
        let attributes = Property::Words(Dimension::Attribute);
        let checks_them = self.checked.iter().any(|&at| Property::of(&self.groups[at].filter) == attributes);
        packed.combined().filter(|_| !checks_them && !self.wanted.wants(attributes))
    }

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

/// What a pass found in one segment.
pub(super) struct Counted {
    pub(super) counts: Counts,
    /// The documents that passed all checks, ascending if words drove the pass; `None`: they are many, or were not looked at.
    pub(super) passing: Option<Vec<DocId>>,
}

/// Counts a pass in one segment.
pub(super) fn count(
    pass: &Pass<'_>,
    segment: &SegmentView,
    reader: &SegmentReader,
    source: Source<'_>,
) -> tantivy::Result<Counted> {
    let mut counter = Counter::new(pass, &segment.columns, source.needs_driver_check());
    if matches!(source, Source::All)
        && let Some(combined) = pass.combined(&segment.columns.packed)
    {
        counter.combined(combined);
        let mut counted = counter.finish();
        if let Some(alive) = &segment.alive {
            let lost = alive.lost_since(None, segment.max_doc);
            let gone = count(pass, segment, reader, Source::These { docs: &lost, text: None })?;
            counted.counts.subtract(&gone.counts);
        }
        return Ok(counted);
    }
    each_block(source, segment, reader, &mut |docs| counter.block(docs))?;
    Ok(counter.finish())
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
    let mut blocks = Blocks { buffer: Vec::with_capacity(BLOCK), alive: segment.alive.as_ref(), take };
    match source {
        Source::All => {
            for from in (0..segment.max_doc).step_by(CHUNK) {
                let docs: [DocId; CHUNK] = std::array::from_fn(|at| from + DocId::try_from(at).unwrap_or(0));
                blocks.add(&docs[..CHUNK.min((segment.max_doc - from) as usize)]);
            }
        }
        Source::Postings { lists, distinct } => {
            let mut all = Vec::new();
            let several = lists.len() > 1 && !distinct;
            for mut list in lists {
                while list.block_len() > 0 {
                    if several {
                        all.extend_from_slice(list.docs());
                    } else {
                        blocks.add(list.docs());
                    }
                    list.advance();
                }
            }
            all.sort_unstable();
            all.dedup();
            all.chunks(CHUNK).for_each(|docs| blocks.add(docs));
        }
        Source::Text(weight) => weight.for_each_no_score(reader, &mut |docs| blocks.add(docs))?,
        Source::These { docs, text } => return given(docs, text, reader, blocks.take),
    }
    if !blocks.buffer.is_empty() {
        (blocks.take)(&blocks.buffer);
    }
    Ok(())
}

/// Documents that come at once; the engine's own blocks are no larger.
const CHUNK: usize = 128;

/// Gathers live documents into blocks.
struct Blocks<'a> {
    buffer: Vec<DocId>,
    alive: Option<&'a Alive>,
    take: &'a mut dyn FnMut(&[DocId]),
}

impl Blocks<'_> {
    /// Takes at most a block.
    #[inline]
    fn add(&mut self, docs: &[DocId]) {
        debug_assert!(docs.len() <= BLOCK, "the engine gives 128 at a time");
        if self.buffer.len() + docs.len() > BLOCK {
            (self.take)(&self.buffer);
            self.buffer.clear();
        }
        match self.alive {
            None => self.buffer.extend_from_slice(docs),
            Some(alive) => self.buffer.extend(docs.iter().copied().filter(|&doc| alive.contains(doc))),
        }
    }
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
    let matching: Vec<DocId> = docs.iter().copied().filter(|&doc| goes_to(&mut *scorer, doc)).collect();
    matching.chunks(BLOCK).for_each(take);
    Ok(())
}

/// Whether a document matches. Those asked for ascend.
pub(super) fn goes_to(scorer: &mut dyn Scorer, doc: DocId) -> bool {
    let at = scorer.doc();
    (if at < doc { scorer.seek(doc) } else { at }) == doc
}

/// The state of counting one segment.
struct Counter<'a> {
    columns: &'a SegmentColumns,
    /// The driver as a check, if documents do not come from it.
    driver: Option<Check<'a>>,
    checks: Vec<Check<'a>>,
    /// For each check, the facet that documents count for which fail it alone.
    own: Vec<Option<Own<'a>>>,
    wanted: Vec<(Property, Tally<'a>)>,
    total: u32,
    kept: Kept,
    words: Words,
    /// For each document of the block a bit for each check that it fails.
    failed: Vec<u64>,
    /// Places in the block.
    passing: Vec<usize>,
}

/// The facet of a group.
struct Own<'a> {
    property: Property,
    /// The only values that count: those of one attribute type, as ordinals.
    within: Range<usize>,
    tally: Tally<'a>,
    /// Places in the block of documents that fail this group alone.
    alone: Vec<usize>,
}

impl<'a> Counter<'a> {
    fn new(pass: &Pass<'_>, columns: &'a SegmentColumns, check_driver: bool) -> Self {
        let compile = |at: usize| columns.check(&pass.groups[at].filter);
        let own = |at: &usize| {
            if pass.disjunctive { own_facet(&pass.groups[*at], &pass.wanted, columns) } else { None }
        };
        Self {
            columns,
            driver: pass.driver.filter(|_| check_driver).map(compile),
            checks: pass.checked.iter().map(|&at| compile(at)).collect(),
            own: pass.checked.iter().map(own).collect(),
            wanted: pass.wanted.properties().map(|property| (property, columns.tally(property))).collect(),
            total: 0,
            kept: Kept::new(),
            words: Words::of(&columns.packed),
            failed: vec![0; BLOCK],
            passing: Vec::with_capacity(BLOCK),
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
        self.words.load(&self.columns.packed, docs);
        if self.checks.is_empty() {
            self.kept.keep(docs.iter().copied());
            return self.count_first(docs.len());
        }
        self.check(docs.len());
        for own in self.own.iter_mut().flatten() {
            own.tally.count_at(&self.words, &own.alone);
        }
        self.kept.keep(self.passing.iter().map(|&at| docs[at]));
        self.words.keep(&self.passing);
        self.count_first(self.passing.len());
    }

    /// Finds which of the first documents of the block pass, and which fail one group alone.
    fn check(&mut self, documents: usize) {
        let failed = &mut self.failed[..documents];
        failed.fill(0);
        for (number, check) in (0_u32..).zip(&self.checks) {
            check.mark(&self.words, bit(number), failed);
        }
        places(failed, 0, &mut self.passing);
        for (number, own) in (0_u32..).zip(&mut self.own) {
            if let Some(own) = own {
                places(failed, bit(number), &mut own.alone);
            }
        }
    }

    /// Counts the segment's combinations of properties instead of its documents, deleted ones included.
    fn combined(&mut self, combined: &Combined) {
        for from in (0..combined.len()).step_by(BLOCK) {
            let counts = combined.load(from, &mut self.words);
            self.check(counts.len());
            self.total += self.passing.iter().map(|&at| counts[at]).sum::<u32>();
            for own in self.own.iter_mut().flatten() {
                own.tally.count_weighed(&self.words, &own.alone, counts);
            }
            for (_, tally) in &mut self.wanted {
                tally.count_weighed(&self.words, &self.passing, counts);
            }
        }
        // They were not looked at one by one.
        self.kept = Kept(None);
    }

    /// Counts the first documents of the block.
    fn count_first(&mut self, documents: usize) {
        self.total += u32::try_from(documents).expect("a block is small");
        self.wanted.iter_mut().for_each(|(_, tally)| tally.count(&self.words, documents));
    }

    fn finish(self) -> Counted {
        let mut counts = Counts { total: self.total, ..Counts::default() };
        for (property, tally) in &self.wanted {
            if let Property::Words(dimension) = property {
                counts.words[*dimension as usize] = vec![0; self.columns.ordinals(*dimension).global.len()];
            }
            tally.each(|value, count| counts.add(*property, value, count));
        }
        for own in self.own.iter().flatten() {
            own.tally.each(|value, count| {
                if own.within.contains(&value) {
                    counts.add(own.property, value, count);
                }
            });
        }
        Counted { counts, passing: self.kept.finish() }
    }
}

/// The mark of a check; a request has fewer than 64 groups.
const fn bit(number: u32) -> u64 {
    1 << number
}

/// The places of the documents with exactly these marks. Without a branch for each, since none could be foretold.
fn places(marks: &[u64], wanted: u64, places: &mut Vec<usize>) {
    places.resize(marks.len(), 0);
    let mut found = 0;
    for (at, &marks) in marks.iter().enumerate() {
        places[found] = at;
        found += usize::from(marks == wanted);
    }
    places.truncate(found);
}

/// Documents that passed, as long as they are few.
struct Kept(Option<Vec<DocId>>);

/// More documents of a segment than this are not kept. Few in tests, so that they meet both ways.
const MOST_KEPT: usize = if cfg!(test) { 20 } else { 65_536 };

impl Kept {
    const fn new() -> Self {
        Self(Some(Vec::new()))
    }

    fn keep(&mut self, docs: impl ExactSizeIterator<Item = DocId>) {
        let Some(kept) = &mut self.0 else { return };
        if kept.len() + docs.len() > MOST_KEPT {
            self.0 = None;
        } else {
            kept.extend(docs);
        }
    }

    fn finish(self) -> Option<Vec<DocId>> {
        self.0
    }
}

fn own_facet<'a>(group: &Group, wanted: &Wanted, columns: &'a SegmentColumns) -> Option<Own<'a>> {
    let facet = group.facet.as_ref()?;
    let property = Property::of(&group.filter);
    if !wanted.wants(property) {
        return None;
    }
    let within = match facet {
        Facet::Attribute(kind) => columns.ordinals(Dimension::Attribute).of_type(kind),
        _ => 0..usize::MAX,
    };
    Some(Own { property, within, tally: columns.tally(property), alone: Vec::with_capacity(BLOCK) })
}
