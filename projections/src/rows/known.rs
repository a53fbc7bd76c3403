//! What is known of a table's keys without asking the store: a row that was never written need not be looked for.
//!
//! A fold looks for its row before it makes one, and most rows of a large history are new. In a store on a server each such look is a
//! round trip. So the keys that were written are remembered in a Bloom filter (B. Bloom, 1970): it may take an absent key
//! for one that is there, which costs a look, and never the other way round.

use std::hash::BuildHasher;

/// Bits of a filter: 1 MiB. With a million keys, one absent key in fifty is looked for.
const BITS: u64 = 8 << 20;
/// Bits a key.
const PROBES: u64 = 4;
/// From here on most bits are set.
const MAX_KEYS: usize = 3_000_000;

/// The keys of one table.
pub(super) enum Known {
    /// Nobody has looked yet whether the table is empty.
    Unasked,
    /// It was empty, and holds none but these.
    Written(Filter),
    /// It may hold any key.
    Nothing,
}

impl Known {
    /// `empty`: whether the table holds no row at all.
    pub(super) fn of_table(empty: bool) -> Self {
        if empty { Self::Written(Filter::new()) } else { Self::Nothing }
    }

    /// Whether the store certainly holds no row of this key.
    pub(super) fn rules_out(&self, key: &str) -> bool {
        matches!(self, Self::Written(filter) if !filter.may_hold(key))
    }

    /// A row of this key is about to be written. To be called before the store is: what becomes of a commit may not be known.
    pub(super) fn note(&mut self, key: &str) {
        if let Self::Written(filter) = self {
            filter.insert(key);
            if filter.keys > MAX_KEYS {
                *self = Self::Nothing;
            }
        }
    }
}

/// A Bloom filter.
pub(super) struct Filter {
    bits: Vec<u64>,
    /// How often a key was put in.
    keys: usize,
}

impl Filter {
    fn new() -> Self {
        Self { bits: vec![0; usize::try_from(BITS / 64).expect("a filter fits in memory")], keys: 0 }
    }

    /// Word and bit of each probe, by double hashing (A. Kirsch and M. Mitzenmacher, 2006).
    fn places(key: &str) -> impl Iterator<Item = (usize, u64)> {
        let hash = foldhash::quality::FixedState::default().hash_one(key);
        let (start, stride) = (hash & 0xffff_ffff, (hash >> 32) | 1);
        (0..PROBES).map(move |probe| {
            let bit = (start + probe * stride) % BITS;
            (usize::try_from(bit / 64).expect("below the number of words"), 1 << (bit % 64))
        })
    }

    fn may_hold(&self, key: &str) -> bool {
        Self::places(key).all(|(word, bit)| self.bits[word] & bit != 0)
    }

    fn insert(&mut self, key: &str) {
        let mut new = false;
        for (word, bit) in Self::places(key) {
            new |= self.bits[word] & bit == 0;
            self.bits[word] |= bit;
        }
        self.keys += usize::from(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_that_was_written_is_ruled_out_and_few_others_are_looked_for() {
        let mut known = Known::of_table(true);
        let key = |n: u32| format!("variant-{n}/2011-11");
        (0..200_000).for_each(|n| known.note(&key(n)));
        assert!((0..200_000).all(|n| !known.rules_out(&key(n))));
        let looked_for = (200_000..300_000).filter(|n| !known.rules_out(&key(*n))).count();
        assert!(looked_for < 1_000, "{looked_for} of 100,000");
    }

    #[test]
    fn nothing_is_ruled_out_of_a_table_that_had_rows_or_was_not_looked_at() {
        for mut known in [Known::of_table(false), Known::Unasked] {
            assert!(!known.rules_out("a"));
            known.note("b");
            assert!(!known.rules_out("a"));
        }
    }

    #[test]
    fn a_full_filter_is_given_up() {
        let mut known = Known::Written(Filter { keys: MAX_KEYS, ..Filter::new() });
        assert!(known.rules_out("a"));
        known.note("b");
        assert!(!known.rules_out("a"));
    }
}
