//! Packed documents checked and counted, a block at a time.

use tantivy::DocId;

use super::counts::BUCKETS;
use super::filter::Filter;
use super::packed::{BLOCK, Packed, Place, Property, Sets};
use super::segment::Ordinals;

/// With more sets than this, documents are checked and counted set by set no longer but member by member: to go through all sets
/// would be more than what a selective query looks at. Few in tests, so that they meet both ways.
const MOST_COUNTED_SETS: usize = if cfg!(test) { 16 } else { 8_192 };

/// The packed documents of a block, looked up once for all that reads them.
pub(super) struct Words {
    pub(super) lanes: Vec<Vec<u64>>,
}

impl Words {
    pub(super) fn of(packed: &Packed) -> Self {
        Self { lanes: packed.lanes.iter().map(|_| Vec::with_capacity(BLOCK)).collect() }
    }

    #[inline]
    pub(super) fn load(&mut self, packed: &Packed, docs: &[DocId]) {
        for (words, lane) in self.lanes.iter_mut().zip(&packed.lanes) {
            let lane: &[u64] = lane;
            words.clear();
            words.extend(docs.iter().map(|&doc| lane[doc as usize]));
        }
    }

    /// Moves the documents at these places, ascending, to the front.
    pub(super) fn keep(&mut self, places: &[usize]) {
        for words in &mut self.lanes {
            places.iter().enumerate().for_each(|(to, &from)| words[to] = words[from]);
        }
    }

    #[inline]
    fn codes(&self, place: Place) -> impl Iterator<Item = usize> {
        self.lanes[place.lane].iter().map(move |&word| place.code(word))
    }
}

/// Which codes a filter lets through.
enum Selected<'a> {
    /// From the first, so many.
    Run {
        first: usize,
        count: usize,
    },
    These(Vec<bool>),
    /// Sets with one of these members.
    With(&'a Sets, Vec<bool>),
}

/// A filter compiled for one segment.
pub(super) struct Check<'a> {
    packed: &'a Packed,
    place: Place,
    selected: Selected<'a>,
}

impl<'a> Check<'a> {
    pub(super) fn compile(filter: &Filter, packed: &'a Packed, ordinals: &[Ordinals]) -> Self {
        let place = packed.place(Property::of(filter));
        let selected = match filter {
            Filter::Values { dimension, globals } => {
                let wanted = ordinals[*dimension as usize].ordinals(globals);
                let values = ordinals[*dimension as usize].global.len();
                match packed.sets(*dimension) {
                    None => codes_of(flags(place.codes, &wanted)),
                    Some(sets) if place.codes > MOST_COUNTED_SETS => {
                        Selected::With(sets, flags(values, &wanted))
                    }
                    Some(sets) => {
                        let wanted = flags(values, &wanted);
                        codes_of((0..place.codes).map(|code| sets.has_one(code, &wanted)).collect())
                    }
                }
            }
            Filter::Price { min, max } => {
                let codes = packed.price_codes(*min, *max);
                Selected::Run { first: codes.start, count: codes.len() }
            }
            Filter::InStock(wanted) => Selected::Run { first: usize::from(*wanted), count: 1 },
        };
        Self { packed, place, selected }
    }

    /// Marks the documents of a block that do not pass.
    #[inline]
    pub(super) fn mark(&self, words: &Words, bit: u64, marks: &mut [u64]) {
        let codes = words.codes(self.place);
        match &self.selected {
            Selected::Run { first, count } => {
                for (marks, code) in marks.iter_mut().zip(codes) {
                    *marks |= if code.wrapping_sub(*first) < *count { 0 } else { bit };
                }
            }
            Selected::These(selected) => {
                for (marks, code) in marks.iter_mut().zip(codes) {
                    *marks |= if selected[code] { 0 } else { bit };
                }
            }
            Selected::With(sets, wanted) => {
                for (marks, code) in marks.iter_mut().zip(codes) {
                    *marks |= if sets.has_one(code, wanted) { 0 } else { bit };
                }
            }
        }
    }

    #[inline]
    pub(super) fn passes(&self, doc: DocId) -> bool {
        let code = self.packed.code(self.place, doc);
        match &self.selected {
            Selected::Run { first, count } => code.wrapping_sub(*first) < *count,
            Selected::These(selected) => selected[code],
            Selected::With(sets, wanted) => sets.has_one(code, wanted),
        }
    }
}

/// Which of so many numbers are among those given.
fn flags(count: usize, among: &[u32]) -> Vec<bool> {
    let mut flags = vec![false; count];
    among.iter().for_each(|&number| flags[number as usize] = true);
    flags
}

/// A run where it is one, which is compared instead of looked up.
fn codes_of<'a>(selected: Vec<bool>) -> Selected<'a> {
    let count = selected.iter().filter(|selected| **selected).count();
    let first = selected.iter().position(|selected| *selected).unwrap_or(0);
    if selected.iter().skip(first).take(count).all(|selected| *selected) {
        Selected::Run { first, count }
    } else {
        Selected::These(selected)
    }
}

/// Counts documents by one property.
pub(super) struct Tally<'a> {
    packed: &'a Packed,
    place: Place,
    by: By<'a>,
    counts: Vec<u32>,
}

/// What counts are kept by.
enum By<'a> {
    Code,
    /// The same, and each count goes to all members of its set in the end.
    Set(&'a Sets),
    /// The members of the sets at once.
    Member(&'a Sets),
    /// Buckets of prices; the first counter is of documents without one.
    Bucket,
}

impl<'a> Tally<'a> {
    /// `values`: how many values of the property the segment has.
    pub(super) fn new(property: Property, packed: &'a Packed, values: usize) -> Self {
        let place = packed.place(property);
        let (by, counters) = match property {
            Property::Words(dimension) => match packed.sets(dimension) {
                Some(sets) if place.codes > MOST_COUNTED_SETS => (By::Member(sets), values),
                Some(sets) => (By::Set(sets), place.codes),
                None => (By::Code, place.codes),
            },
            Property::Price => (By::Bucket, BUCKETS.len() + 1),
            Property::InStock => (By::Code, place.codes),
        };
        Self { packed, place, by, counts: vec![0; counters] }
    }

    /// Counts the first `documents` of a block.
    #[inline]
    pub(super) fn count(&mut self, words: &Words, documents: usize) {
        self.add(words.lanes[self.place.lane][..documents].iter().map(|&word| (word, 1)));
    }

    /// Counts the documents at these places of a block.
    #[inline]
    pub(super) fn count_at(&mut self, words: &Words, places: &[usize]) {
        let lane = &words.lanes[self.place.lane];
        self.add(places.iter().map(|&at| (lane[at], 1)));
    }

    /// Counts what stands at these places of a block for so many documents each.
    pub(super) fn count_weighed(&mut self, words: &Words, places: &[usize], documents: &[u32]) {
        let lane = &words.lanes[self.place.lane];
        self.add(places.iter().map(|&at| (lane[at], documents[at])));
    }

    #[inline]
    fn add(&mut self, words: impl Iterator<Item = (u64, u32)>) {
        let (place, counts) = (self.place, &mut self.counts);
        let codes = words.map(|(word, documents)| (place.code(word), documents));
        match self.by {
            By::Code | By::Set(_) => codes.for_each(|(code, documents)| counts[code] += documents),
            By::Member(sets) => codes.for_each(|(code, documents)| {
                sets.of(code).iter().for_each(|&member| counts[member as usize] += documents);
            }),
            By::Bucket => {
                let buckets = &self.packed.buckets;
                codes.for_each(|(code, documents)| {
                    counts[usize::from(buckets[code])] += documents;
                });
            }
        }
    }

    /// Calls `take` with every value that was counted, by ordinal, bucket or number.
    pub(super) fn each(&self, mut take: impl FnMut(usize, u32)) {
        let counted = self.counts.iter().copied().enumerate().filter(|(_, count)| *count > 0);
        match self.by {
            By::Code | By::Member(_) => counted.for_each(|(value, count)| take(value, count)),
            By::Set(sets) => {
                for (set, count) in counted {
                    sets.of(set).iter().for_each(|&member| take(member as usize, count));
                }
            }
            By::Bucket => {
                counted.filter(|(at, _)| *at > 0).for_each(|(at, count)| take(at - 1, count));
            }
        }
    }
}
