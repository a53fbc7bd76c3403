//! What filters and facets read of a document, packed into one word of 64 bits, or a few.
//!
//! A query looks at hundreds of thousands of documents that lie far apart, and memory is what it waits for: here a document
//! costs one look instead of one for each column. Made once for each segment, when it is opened: segments never change.
//!
//! Every property of a document is a *code*: the ordinal of its only value; the number of its set of values, where it can
//! have several (sets are few: products share their options); the place of its price among the segment's different prices.
//! Codes of prices order as the prices do.

use std::ops::Range;

use foldhash::{HashMap, HashMapExt};
use smallvec::SmallVec;
use tantivy::DocId;
use tantivy::columnar::{Cardinality, Column};

use super::check::Words;
use super::counts::BUCKETS;
use super::filter::Filter;
use super::lane::Lane;
use super::schema::decimal_rank;
use super::segment::{Dimension, Ordinals};

/// Documents evaluated at once: what a batch needs stays in the caches nearest to the processor.
pub(super) const BLOCK: usize = 1024;

/// Bits of a lane that are used: fewer in tests, so that their documents need several lanes.
const LANE_BITS: u32 = if cfg!(test) { 16 } else { u64::BITS };

/// What a document is packed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Property {
    Words(Dimension),
    Price,
    InStock,
}

impl Property {
    const COUNT: usize = Dimension::ALL.len() + 2;

    const fn at(self) -> usize {
        match self {
            Self::Words(dimension) => dimension as usize,
            Self::Price => Dimension::ALL.len(),
            Self::InStock => Dimension::ALL.len() + 1,
        }
    }

    /// What a filter reads.
    pub(super) const fn of(filter: &Filter) -> Self {
        match filter {
            Filter::Values { dimension, .. } => Self::Words(*dimension),
            Filter::Price { .. } => Self::Price,
            Filter::InStock(_) => Self::InStock,
        }
    }
}

/// Where the code of a property is in a packed document.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    pub(super) lane: usize,
    shift: u32,
    mask: u64,
    /// How many codes there are.
    pub(super) codes: usize,
}

impl Place {
    #[inline]
    pub(super) const fn code(self, word: u64) -> usize {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "a code numbers something of this segment: below 2^32"
        )]
        let code = ((word >> self.shift) & self.mask) as usize;
        code
    }
}

/// The packed documents of a segment.
pub(super) struct Packed {
    pub(super) lanes: Vec<Lane>,
    places: [Place; Property::COUNT],
    /// The sets of values of each dimension; `None`: a code is an ordinal.
    sets: [Option<Sets>; Dimension::ALL.len()],
    /// The different prices, ascending.
    prices: Vec<u64>,
    /// How many documents have each value, deleted ones included.
    frequencies: [Vec<u32>; Dimension::ALL.len()],
    combined: Option<Combined>,
    /// The bucket of each price, counted from 1; 0: no price.
    pub(super) buckets: Vec<u8>,
}

/// Different sets of ordinals, by number.
#[derive(Default)]
pub(super) struct Sets {
    /// Where each set begins in `ordinals`, and where the last ends.
    bounds: Vec<usize>,
    ordinals: Vec<u32>,
}

impl Sets {
    pub(super) fn of(&self, code: usize) -> &[u32] {
        &self.ordinals[self.bounds[code]..self.bounds[code + 1]]
    }

    /// Whether a member is among those wanted.
    pub(super) fn has_one(&self, code: usize, wanted: &[bool]) -> bool {
        self.of(code).iter().any(|&member| wanted[member as usize])
    }

    const fn len(&self) -> usize {
        self.bounds.len() - 1
    }
}

impl Packed {
    pub(super) fn new(
        ordinals: &[Ordinals; Dimension::ALL.len()],
        price: &Column<u64>,
        in_stock: &Column<u64>,
        documents: DocId,
    ) -> Self {
        let mut packing = Packing { lanes: Vec::new(), used: Vec::new(), documents };
        let mut places = [Place::default(); Property::COUNT];
        let mut frequencies =
            Dimension::ALL.map(|dimension| vec![0; ordinals[dimension as usize].global.len()]);
        let sets = Dimension::ALL.map(|dimension| {
            let column = &ordinals[dimension as usize].column;
            let (place, frequencies) =
                (&mut places[dimension as usize], &mut frequencies[dimension as usize]);
            if column.get_cardinality() == Cardinality::Full {
                *place = packing.place(frequencies.len());
                each_value(column, documents, |doc, ordinal| {
                    packing.put(*place, doc, ordinal);
                    frequencies[index(ordinal)] += 1;
                });
                return None;
            }
            let (codes, sets) = number_sets(column, documents);
            *place = packing.place(sets.len());
            for (doc, code) in (0..).zip(codes) {
                packing.put(*place, doc, code.into());
                sets.of(code as usize).iter().for_each(|&ordinal| frequencies[ordinal as usize] += 1);
            }
            Some(sets)
        });
        let (prices, numbers) = number_values(price, documents);
        let place = packing.place(prices.len());
        each_value(price, documents, |doc, rank| packing.put(place, doc, numbers[&rank].into()));
        places[Property::Price.at()] = place;
        let place = packing.place(2);
        each_value(in_stock, documents, |doc, value| packing.put(place, doc, value.min(1)));
        places[Property::InStock.at()] = place;
        let first = BUCKETS.map(|from| decimal_rank(from.into()));
        let bucket = |rank: &u64| first.partition_point(|first| first <= rank);
        let buckets =
            prices.iter().map(|rank| u8::try_from(bucket(rank)).expect("buckets are few")).collect();
        let combined = Combined::new(&packing.lanes, places[Dimension::Attribute as usize]);
        let lanes = packing.lanes.into_iter().map(Lane::of).collect();
        Self { lanes, places, sets, prices, frequencies, combined, buckets }
    }

    pub(super) const fn place(&self, property: Property) -> Place {
        self.places[property.at()]
    }

    pub(super) const fn sets(&self, dimension: Dimension) -> Option<&Sets> {
        self.sets[dimension as usize].as_ref()
    }

    /// The codes of prices from one rank to another, both inclusive.
    pub(super) fn price_codes(&self, min: u64, max: u64) -> Range<usize> {
        let from = self.prices.partition_point(|&rank| rank < min);
        from..self.prices.partition_point(|&rank| rank <= max).max(from)
    }

    pub(super) const fn combined(&self) -> Option<&Combined> {
        self.combined.as_ref()
    }

    /// How many documents have a value, given by its ordinal; deleted ones included.
    pub(super) fn frequency(&self, dimension: Dimension, ordinal: u32) -> u32 {
        self.frequencies[dimension as usize][ordinal as usize]
    }

    /// The rank of a document's price.
    #[inline]
    pub(super) fn price(&self, doc: DocId) -> u64 {
        self.prices[self.code(self.place(Property::Price), doc)]
    }

    #[inline]
    pub(super) fn code(&self, place: Place, doc: DocId) -> usize {
        place.code(self.lanes[place.lane][doc as usize])
    }
}

/// The different combinations of all properties but the attributes, each with the number of its documents. The variants of a
/// product differ in their attributes and in little else, so there are far fewer than documents.
pub(super) struct Combined {
    lanes: Vec<Vec<u64>>,
    counts: Vec<u32>,
    /// Where documents of another combination begin, and which it is; none if that is nearly everywhere.
    runs: Vec<(DocId, u32)>,
}

/// With fewer documents than this for each combination there is nothing to gain. One in tests, so that they have some.
const LEAST_SHARED: usize = if cfg!(test) { 1 } else { 4 };

/// Nor is there with shorter runs than this.
const SHORTEST_RUNS: usize = if cfg!(test) { 1 } else { 2 };

impl Combined {
    fn new(lanes: &[Vec<u64>], attributes: Place) -> Option<Self> {
        let documents = lanes.first().map_or(0, Vec::len);
        let masks: Vec<u64> = (0..lanes.len())
            .map(
                |lane| {
                    if lane == attributes.lane { !(attributes.mask << attributes.shift) } else { u64::MAX }
                },
            )
            .collect();
        let mut combined =
            Self { lanes: vec![Vec::new(); lanes.len()], counts: Vec::new(), runs: Vec::new() };
        let mut numbers: HashMap<SmallVec<[u64; 2]>, u32> = HashMap::new();
        let mut last: Option<(SmallVec<[u64; 2]>, u32)> = None;
        for doc in 0..documents {
            let words: SmallVec<[u64; 2]> =
                lanes.iter().zip(&masks).map(|(lane, mask)| lane[doc] & mask).collect();
            let number = match &last {
                Some((last, number)) if *last == words => *number,
                _ => {
                    let next = u32::try_from(numbers.len()).expect("no more combinations than documents");
                    let number = *numbers.entry(words.clone()).or_insert(next);
                    if number == next {
                        if numbers.len() * LEAST_SHARED > documents {
                            return None;
                        }
                        combined.lanes.iter_mut().zip(&words).for_each(|(lane, &word)| lane.push(word));
                        combined.counts.push(0);
                    }
                    combined.runs.push((u32::try_from(doc).expect("documents have 32 bits"), number));
                    last = Some((words, number));
                    number
                }
            };
            combined.counts[number as usize] += 1;
        }
        if combined.runs.len() * SHORTEST_RUNS > documents {
            combined.runs.clear();
        }
        combined.runs.shrink_to_fit();
        Some(combined)
    }

    pub(super) const fn has_runs(&self) -> bool {
        !self.runs.is_empty()
    }

    /// Every run of documents with one combination, of so many documents in all.
    pub(super) fn runs(&self, documents: DocId) -> impl Iterator<Item = (usize, Range<DocId>)> {
        let ends = self.runs.iter().skip(1).map(|&(next, _)| next).chain([documents]);
        self.runs.iter().zip(ends).map(|(&(first, combination), end)| (combination as usize, first..end))
    }

    pub(super) const fn len(&self) -> usize {
        self.counts.len()
    }

    /// Loads the block that begins at a combination, and gives the number of documents of each.
    pub(super) fn load(&self, from: usize, words: &mut Words) -> &[u32] {
        let range = from..(from + BLOCK).min(self.len());
        for (words, lane) in words.lanes.iter_mut().zip(&self.lanes) {
            words.clear();
            words.extend_from_slice(&lane[range.clone()]);
        }
        &self.counts[range]
    }
}

/// Documents being packed.
struct Packing {
    lanes: Vec<Vec<u64>>,
    /// Bits used of each lane.
    used: Vec<u32>,
    documents: DocId,
}

impl Packing {
    /// Makes room for so many different codes in the first lane that has it.
    fn place(&mut self, codes: usize) -> Place {
        let bits = codes.saturating_sub(1).checked_ilog2().map_or(0, |log| log + 1);
        let lane = self.used.iter().position(|used| used + bits <= LANE_BITS).unwrap_or_else(|| {
            self.used.push(0);
            self.lanes.push(vec![0; self.documents as usize]);
            self.lanes.len() - 1
        });
        // No bits are read as zero by the mask, wherever they would be.
        let shift = self.used[lane].min(LANE_BITS - 1);
        self.used[lane] += bits;
        Place { lane, shift, mask: (1_u64 << bits) - 1, codes }
    }

    fn put(&mut self, place: Place, doc: DocId, code: u64) {
        self.lanes[place.lane][doc as usize] |= (code & place.mask) << place.shift;
    }
}

/// Calls `take` with every document and its value, 0 if there is none.
fn each_value(column: &Column<u64>, documents: DocId, mut take: impl FnMut(DocId, u64)) {
    let full = column.get_cardinality() == Cardinality::Full;
    let mut values = [0; BLOCK];
    for from in (0..documents).step_by(BLOCK) {
        let values = &mut values[..BLOCK.min((documents - from) as usize)];
        if full {
            column.values.get_range(from.into(), values);
        } else {
            let docs = (from..).zip(values.iter_mut());
            docs.for_each(|(doc, value)| *value = column.first(doc).unwrap_or(0));
        }
        (from..).zip(values.iter()).for_each(|(doc, &value)| take(doc, value));
    }
}

/// Ordinals index vectors in memory; one that does not fit is out of every vector's range.
fn index(ordinal: u64) -> usize {
    usize::try_from(ordinal).unwrap_or(usize::MAX)
}

/// Numbers the sets of values that documents have, and gives each document's.
fn number_sets(column: &Column<u64>, documents: DocId) -> (Vec<u32>, Sets) {
    let mut sets = Sets { bounds: vec![0], ordinals: Vec::new() };
    let mut numbers: HashMap<Vec<u32>, u32> = HashMap::new();
    let mut set = Vec::new();
    let codes = (0..documents).map(|doc| {
        set.clear();
        set.extend(column.values_for_doc(doc).map(|ordinal| u32::try_from(ordinal).unwrap_or(u32::MAX)));
        if let Some(&number) = numbers.get(&set) {
            return number;
        }
        let number = u32::try_from(sets.len()).expect("no more sets than documents");
        sets.ordinals.extend_from_slice(&set);
        sets.bounds.push(sets.ordinals.len());
        numbers.insert(set.clone(), number);
        number
    });
    (codes.collect(), sets)
}

/// The different values of a column, ascending, and the number of each.
fn number_values(column: &Column<u64>, documents: DocId) -> (Vec<u64>, HashMap<u64, u32>) {
    let mut numbers: HashMap<u64, u32> = HashMap::new();
    let mut last = None;
    each_value(column, documents, |_, value| {
        if last != Some(value) {
            numbers.insert(value, 0);
            last = Some(value);
        }
    });
    let mut values: Vec<u64> = numbers.keys().copied().collect();
    values.sort_unstable();
    for (number, value) in (0..).zip(&values) {
        numbers.insert(*value, number);
    }
    (values, numbers)
}
