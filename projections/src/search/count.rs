//! Counting hits and facets of one segment in one pass.
//!
//! A document that passes every group counts for all facets. One that fails exactly one group counts for that group's own
//! facet: that makes the counts disjunctive without a pass for each group. Documents come from the text query, from the posting
//! lists of the most selective group, or are all there are. What fails a selective group (a driver) is left out before it is
//! looked at, so a driver's own facet is counted by another pass that leaves the driver out.

use std::ops::Range;
use std::sync::Arc;

use tantivy::{DocId, SegmentReader};

use super::bits::{Bits, Test};
use super::check::{Check, Tally, Words};
use super::counts::{Counts, Wanted};
use super::filter::Group;
use super::packed::{BLOCK, Combined, Packed, Property};
use super::request::Facet;
use super::segment::{Dimension, SegmentColumns, SegmentView};
use super::source::{Source, each_block};

/// One way through the documents of a search.
pub(super) struct Pass<'q> {
    pub(super) groups: &'q [Group],
    /// Groups that all documents pass that are looked at, the one with the shortest posting lists first; without any, the
    /// documents are those of the text query, or all.
    pub(super) drivers: Vec<usize>,
    /// Groups that are checked.
    pub(super) checked: Vec<usize>,
    /// Counted of documents that pass all checks.
    pub(super) wanted: Wanted,
    /// Whether documents that fail one group count for its facet, if that is wanted; and whether hits are handed on.
    pub(super) disjunctive: bool,
}

const ATTRIBUTES: Property = Property::Words(Dimension::Attribute);

impl Pass<'_> {
    /// The combinations to count instead of documents: they are without attributes.
    fn combined<'p>(&self, packed: &'p Packed) -> Option<&'p Combined> {
        let checks_them = self.checked.iter().any(|&at| Property::of(&self.groups[at].filter) == ATTRIBUTES);
        let wants_them = self.wanted.wants(ATTRIBUTES);
        packed.combined().filter(|combined| !checks_them && (!wants_them || combined.has_runs()))
    }

    /// Identifies the pass among all queries of this process, given the text query's own key.
    pub(super) fn key(&self, text: &str) -> String {
        let keys = |groups: &[usize]| -> String {
            groups.iter().map(|&at| self.groups[at].key()).collect::<Vec<_>>().join(";")
        };
        let (drivers, checked) = (keys(&self.drivers), keys(&self.checked));
        format!("count {text:?} {drivers:?} {checked:?} {:?} {}", self.wanted, self.disjunctive)
    }
}

/// A segment as a pass sees it.
pub(super) struct Seen<'s> {
    pub(super) segment: &'s SegmentView,
    pub(super) reader: &'s SegmentReader,
    /// The bits of each group, where there are any.
    pub(super) bits: &'s [Option<Arc<Bits>>],
}

/// What a pass found in one segment.
pub(super) struct Counted {
    pub(super) counts: Counts,
    /// The documents that passed all checks, ascending if words drove the pass; `None`: they are many, or were not looked at.
    pub(super) passing: Option<Vec<DocId>>,
}

/// Counts a pass in one segment.
pub(super) fn count(pass: &Pass<'_>, seen: &Seen<'_>, source: Source<'_>) -> tantivy::Result<Counted> {
    let Seen { segment, reader, .. } = *seen;
    let mut counter = Counter::new(pass, seen, &source);
    if matches!(source, Source::All)
        && let Some(combined) = pass.combined(&segment.columns.packed)
    {
        counter.combined(combined, segment);
        let mut counted = counter.finish();
        if let Some(alive) = &segment.alive {
            let lost = alive.lost_since(None, segment.max_doc);
            let gone = count(pass, seen, Source::These { docs: &lost, text: None })?;
            counted.counts.subtract(&gone.counts);
        }
        return Ok(counted);
    }
    each_block(source, segment, reader, &mut |docs| counter.block(docs))?;
    Ok(counter.finish())
}

/// The state of counting one segment.
struct Counter<'a> {
    columns: &'a SegmentColumns,
    /// What a document has to pass to be looked at.
    required: Vec<Test<'a>>,
    /// Checks by bit, each with its mark.
    quick: Vec<(u64, &'a Bits)>,
    /// The other checks.
    checks: Vec<(u64, Check<'a>)>,
    /// Facets that documents count for which fail one check alone, each with the check's mark.
    own: Vec<(u64, Own<'a>)>,
    wanted: Vec<(Property, Tally<'a>)>,
    total: u32,
    kept: Kept,
    words: Words,
    /// Documents of the block that are looked at.
    docs: Vec<DocId>,
    /// For each of them the marks of the checks that it fails.
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
    fn new(pass: &Pass<'_>, seen: &Seen<'a>, source: &Source<'_>) -> Self {
        let columns = &*seen.segment.columns;
        let required = &pass.drivers[source.covered(&pass.drivers).len()..];
        let (mut quick, mut checks, mut own) = (Vec::new(), Vec::new(), Vec::new());
        for (number, &at) in (0_u32..).zip(&pass.checked) {
            // Combinations have no bits, documents do.
            match &seen.bits[at] {
                Some(bits) if !matches!(source, Source::All) => quick.push((mark(number), &**bits)),
                _ => checks.push((mark(number), columns.check(&pass.groups[at].filter))),
            }
            if pass.disjunctive {
                let facet = own_facet(&pass.groups[at], &pass.wanted, columns);
                own.extend(facet.map(|own| (mark(number), own)));
            }
        }
        Self {
            columns,
            required: required
                .iter()
                .map(|&at| Test::of(&pass.groups[at], columns, seen.bits[at].as_deref()))
                .collect(),
            quick,
            checks,
            own,
            wanted: pass.wanted.properties().map(|property| (property, columns.tally(property))).collect(),
            total: 0,
            kept: if pass.disjunctive { Kept::new() } else { Kept(None) },
            words: Words::of(&columns.packed),
            docs: Vec::with_capacity(BLOCK),
            failed: Vec::with_capacity(BLOCK),
            passing: Vec::with_capacity(BLOCK),
        }
    }

    fn block(&mut self, docs: &[DocId]) {
        self.docs.clear();
        self.docs.extend_from_slice(docs);
        self.required.iter().for_each(|test| test.retain(&mut self.docs));
        self.failed.clear();
        self.failed.resize(self.docs.len(), 0);
        if !self.quick.is_empty() {
            self.look_at_bits();
        }
        self.words.load(&self.columns.packed, &self.docs);
        if self.quick.is_empty() && self.checks.is_empty() {
            self.kept.keep(self.docs.iter().copied());
            return self.count_first(self.docs.len());
        }
        self.check();
        for (_, own) in &mut self.own {
            own.tally.count_at(&self.words, &own.alone);
        }
        self.kept.keep(self.passing.iter().map(|&at| self.docs[at]));
        self.words.keep(&self.passing);
        self.count_first(self.passing.len());
    }

    /// Leaves out what fails several checks by bit, or one whose facet nobody asked for.
    fn look_at_bits(&mut self) {
        for (mark, bits) in &self.quick {
            let marked = self.failed.iter_mut().zip(&self.docs);
            marked.for_each(|(failed, &doc)| *failed |= if bits.contains(doc) { 0 } else { *mark });
        }
        let owned = self.own.iter().fold(0, |marks, (mark, _)| marks | mark);
        let mut left = 0;
        for at in 0..self.docs.len() {
            let failed = self.failed[at];
            (self.docs[left], self.failed[left]) = (self.docs[at], failed);
            left += usize::from(failed & !owned == 0 && failed & failed.wrapping_sub(1) == 0);
        }
        self.docs.truncate(left);
        self.failed.truncate(left);
    }

    /// Finds which documents of the block pass, and which fail one group alone.
    fn check(&mut self) {
        for (mark, check) in &self.checks {
            check.mark(&self.words, *mark, &mut self.failed);
        }
        places(&self.failed, 0, &mut self.passing);
        for (mark, own) in &mut self.own {
            places(&self.failed, *mark, &mut own.alone);
        }
    }

    /// Counts the segment's combinations of properties instead of its documents, deleted ones included; attributes are counted
    /// by the documents.
    fn combined(&mut self, combined: &Combined, segment: &SegmentView) {
        let mut passing = vec![false; combined.len()];
        for from in (0..combined.len()).step_by(BLOCK) {
            let counts = combined.load(from, &mut self.words);
            self.failed.clear();
            self.failed.resize(counts.len(), 0);
            self.check();
            self.total += self.passing.iter().map(|&at| counts[at]).sum::<u32>();
            for (_, own) in &mut self.own {
                own.tally.count_weighed(&self.words, &own.alone, counts);
            }
            for (property, tally) in &mut self.wanted {
                if *property != ATTRIBUTES {
                    tally.count_weighed(&self.words, &self.passing, counts);
                }
            }
            self.passing.iter().for_each(|&at| passing[from + at] = true);
        }
        if self.total as usize > MOST_KEPT || !combined.has_runs() {
            self.kept = Kept(None);
        }
        self.documents_of(combined, &passing, segment);
    }

    /// Keeps the documents of the combinations that pass, and counts their attributes.
    fn documents_of(&mut self, combined: &Combined, passing: &[bool], segment: &SegmentView) {
        let mut attributes = self.wanted.iter_mut().find(|(property, _)| *property == ATTRIBUTES);
        if self.kept.0.is_none() && attributes.is_none() {
            return;
        }
        let mut look = |docs: &mut Vec<DocId>| {
            for docs in docs.chunks(BLOCK) {
                if let Some((_, tally)) = &mut attributes {
                    self.words.load(&self.columns.packed, docs);
                    tally.count(&self.words, docs.len());
                }
            }
            docs.retain(|&doc| segment.alive.as_ref().is_none_or(|alive| alive.contains(doc)));
            self.kept.keep(docs.iter().copied());
            docs.clear();
        };
        let mut docs = Vec::with_capacity(2 * BLOCK);
        for (combination, run) in combined.runs(segment.max_doc) {
            if passing[combination] {
                docs.extend(run);
                if docs.len() >= BLOCK {
                    look(&mut docs);
                }
            }
        }
        look(&mut docs);
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
        for (_, own) in &self.own {
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
const fn mark(number: u32) -> u64 {
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
const MOST_KEPT: usize = if cfg!(test) { 20 } else { 262_144 };

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
