//! A hash map whose growth is not felt: past some thousand entries it is kept in parts, each of which grows by itself.
//!
//! A map that doubles moves all of its entries at once. With a hundred thousand holds that took 140 ms, and whoever asked meanwhile
//! waited. (`griddle`, the crate for it, moves a few at each insert, and rests on an old `hashbrown` that would come along a second time.)

use std::hash::{BuildHasher, Hash};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Entries up to which a map is one part; that many are moved once.
const WHOLE: usize = 4_096;
/// A power of two.
const PARTS: usize = 256;

/// A hash map for one thread, for any number of entries.
#[derive(Debug, Clone)]
pub struct PartedMap<K, V> {
    hasher: foldhash::fast::RandomState,
    /// One, or [`PARTS`].
    parts: Vec<HashTable<(K, V)>>,
    len: usize,
}

impl<K, V> Default for PartedMap<K, V> {
    fn default() -> Self {
        Self { hasher: foldhash::fast::RandomState::default(), parts: Vec::new(), len: 0 }
    }
}

impl<K: Eq + Hash, V> PartedMap<K, V> {
    /// How many entries there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Which part has a hash. The tables themselves use the lowest and the highest bits.
    const fn part(&self, hash: u64) -> usize {
        if self.parts.len() == PARTS { (hash >> 40) as usize % PARTS } else { 0 }
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        let hash = self.hasher.hash_one(key);
        let found = self.parts.get(self.part(hash))?.find(hash, |(other, _)| other == key);
        found.map(|(_, value)| value)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let hash = self.hasher.hash_one(key);
        let part = self.part(hash);
        let found = self.parts.get_mut(part)?.find_mut(hash, |(other, _)| other == key);
        found.map(|(_, value)| value)
    }

    /// The value of a key, a new one if there is none.
    pub fn get_or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        let hash = self.hasher.hash_one(&key);
        let len = &mut self.len;
        match entry(&mut self.parts, &self.hasher, *len, hash, &key) {
            Entry::Occupied(there) => &mut there.into_mut().1,
            Entry::Vacant(free) => {
                *len += 1;
                &mut free.insert((key, V::default())).into_mut().1
            }
        }
    }

    /// Puts a value; gives the one that it replaces.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let hash = self.hasher.hash_one(&key);
        match entry(&mut self.parts, &self.hasher, self.len, hash, &key) {
            Entry::Occupied(there) => Some(std::mem::replace(&mut there.into_mut().1, value)),
            Entry::Vacant(free) => {
                free.insert((key, value));
                self.len += 1;
                None
            }
        }
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let hash = self.hasher.hash_one(key);
        let part = self.part(hash);
        let found = self.parts.get_mut(part)?.find_entry(hash, |(other, _)| other == key).ok()?;
        self.len -= 1;
        Some(found.remove().0.1)
    }
}

/// The place of a key, after the map was taken apart if it is time for that.
fn entry<'m, K: Eq + Hash, V>(
    parts: &'m mut Vec<HashTable<(K, V)>>,
    hasher: &foldhash::fast::RandomState,
    len: usize,
    hash: u64,
    key: &K,
) -> Entry<'m, (K, V)> {
    let rehash = |(key, _): &(K, V)| hasher.hash_one(key);
    if parts.is_empty() {
        parts.push(HashTable::new());
    } else if parts.len() == 1 && len >= WHOLE {
        let whole = std::mem::replace(parts, (0..PARTS).map(|_| HashTable::new()).collect());
        for (key, value) in whole.into_iter().flatten() {
            let hash = hasher.hash_one(&key);
            parts[(hash >> 40) as usize % PARTS].insert_unique(hash, (key, value), rehash);
        }
    }
    let part = if parts.len() == PARTS { (hash >> 40) as usize % PARTS } else { 0 };
    parts[part].entry(hash, |(other, _)| other == key, rehash)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        /// As the standard map, also while it is taken apart and long after.
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0..4_u8, 0..12_000_u32), 20_000..40_000)) {
            let (mut map, mut model) = (PartedMap::default(), HashMap::new());
            for (count, (step, key)) in steps.into_iter().enumerate() {
                match step {
                    0 => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                    1 => {
                        let (mine, its) = (map.get_or_default(key), model.entry(key).or_default());
                        prop_assert_eq!(&*mine, &*its);
                        (*mine, *its) = (count, count);
                    }
                    2 => prop_assert_eq!(map.get_mut(&key).map(|value| { *value += 1; *value }), model.get_mut(&key).map(|value| { *value += 1; *value })),
                    _ => prop_assert_eq!(map.insert(key, count), model.insert(key, count)),
                }
                prop_assert_eq!(map.len(), model.len());
            }
            for key in 0..12_000 {
                prop_assert_eq!(map.get(&key), model.get(&key));
            }
            prop_assert!(map.parts.len() == PARTS, "the model stayed small");
        }
    }
}
