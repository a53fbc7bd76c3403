//! What is counted, and what was counted of one segment.

use super::packed::Property;
use super::segment::Dimension;

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
    pub(super) fn add(&mut self, property: Property, value: usize, count: u32) {
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
    pub(super) const fn wants(&self, property: Property) -> bool {
        match property {
            Property::Words(dimension) => self.words[dimension as usize],
            Property::Price => self.price,
            Property::InStock => self.in_stock,
        }
    }

    pub(super) fn properties(&self) -> impl Iterator<Item = Property> {
        let words = Dimension::ALL.into_iter().map(Property::Words);
        words.chain([Property::Price, Property::InStock]).filter(|&property| self.wants(property))
    }
}
