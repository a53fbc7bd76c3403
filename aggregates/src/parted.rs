//! A hash map whose growth is not felt: it is kept in small tables and grows by splitting one of them at a time.
//!
//! A map that doubles moves all of its entries at once. With a hundred thousand holds that took 140 ms, and whoever asked meanwhile
//! waited. Tables that double each by itself do so nearly at the same time, as a hash fills them alike. Linear hashing (Litwin, 1980)
//! splits the next table in turn whenever so many entries have come: the same work, evenly spread. (`griddle`, a crate against the
//! same trouble, moves a few entries at each insert, and rests on an old `hashbrown` that would come along a second time.)

use std::hash::{BuildHasher, Hash};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Entries for each table, on the average: at most so many and twice as many are moved at once.
const LOAD: usize = 96;

/// A hash map for one thread, for any number of entries.
#[derive(Debug, Clone)]
pub struct PartedMap<K, V> {
    hasher: foldhash::fast::RandomState,
    parts: Vec<HashTable<(K, V)>>,
    len: usize,
}

impl<K, V> Default for PartedMap<K, V> {
    fn default() -> Self {
        Self { hasher: foldhash::fast::RandomState::default(), parts: Vec::new(), len: 0 }
    }
}

/// Which of so many parts has a hash. The tables themselves use the lowest and the highest bits. Those of the last, uneven round of
/// splits are told apart by one bit more.
const fn part(hash: u64, parts: usize) -> usize {
    let bits = (hash >> 24) as usize;
    let wide = bits & (parts.next_power_of_two() - 1);
    if wide < parts { wide } else { bits & (parts.next_power_of_two() / 2 - 1) }
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

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        let hash = self.hasher.hash_one(key);
        let found =
            self.parts.get(part(hash, self.parts.len().max(1)))?.find(hash, |(other, _)| other == key);
        found.map(|(_, value)| value)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let hash = self.hasher.hash_one(key);
        let part = part(hash, self.parts.len().max(1));
        let found = self.parts.get_mut(part)?.find_mut(hash, |(other, _)| other == key);
        found.map(|(_, value)| value)
    }

    /// The value of a key, a new one if there is none.
    pub fn get_or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        self.grow();
        let hash = self.hasher.hash_one(&key);
        let (hasher, len, count) = (&self.hasher, &mut self.len, self.parts.len());
        let rehash = |(key, _): &(K, V)| hasher.hash_one(key);
        match self.parts[part(hash, count)].entry(hash, |(other, _)| *other == key, rehash) {
            Entry::Occupied(there) => &mut there.into_mut().1,
            Entry::Vacant(free) => {
                *len += 1;
                &mut free.insert((key, V::default())).into_mut().1
            }
        }
    }

    /// Puts a value; gives the one that it replaces.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.grow();
        let hash = self.hasher.hash_one(&key);
        let (hasher, count) = (&self.hasher, self.parts.len());
        let rehash = |(key, _): &(K, V)| hasher.hash_one(key);
        match self.parts[part(hash, count)].entry(hash, |(other, _)| *other == key, rehash) {
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
        let part = part(hash, self.parts.len().max(1));
        let found = self.parts.get_mut(part)?.find_entry(hash, |(other, _)| other == key).ok()?;
        self.len -= 1;
        Some(found.remove().0.1)
    }

    /// Makes one part more if the entries have become too many for those that there are.
    fn grow(&mut self) {
        let count = self.parts.len();
        if self.len < count * LOAD {
            return;
        }
        if count == 0 {
            self.parts.push(HashTable::new());
            return;
        }
        let hash_of = |key: &K| self.hasher.hash_one(key);
        // Its entries were those of this part and of the new one.
        let split = count & ((count + 1).next_power_of_two() / 2 - 1);
        let both = std::mem::take(&mut self.parts[split]);
        let moving = both.iter().filter(|(key, _)| part(hash_of(key), count + 1) == count).count();
        let mut stay = HashTable::with_capacity(both.len() - moving);
        let mut moved = HashTable::with_capacity(moving);
        for (key, value) in both {
            let hash = hash_of(&key);
            let to = if part(hash, count + 1) == count { &mut moved } else { &mut stay };
            to.insert_unique(hash, (key, value), |(key, _)| hash_of(key));
        }
        self.parts[split] = stay;
        self.parts.push(moved);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        /// As the standard map, also while it is split and long after.
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0..4_u8, 0..12_000_u32), 20_000..40_000)) {
            let (mut map, mut model) = (PartedMap::default(), HashMap::new());
            prop_assert_eq!(map.get(&1), None);
            prop_assert_eq!(map.remove(&1), None);
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
            prop_assert!(map.parts.len() > 32, "the model stayed small");
        }
    }

    #[test]
    fn no_insert_moves_many_entries() {
        let mut map = PartedMap::default();
        let mut before = 0;
        for number in 0..200_000_u32 {
            map.insert(format!("customer-{number}"), ());
            assert!(map.parts.len() <= before + 1);
            before = map.parts.len();
        }
        // What a split moves is what one part holds.
        let largest = map.parts.iter().map(HashTable::len).max().unwrap();
        assert!(largest < 4 * LOAD, "{largest}");
        assert!(map.parts.iter().all(|part| part.capacity() < 8 * LOAD));
    }
}
