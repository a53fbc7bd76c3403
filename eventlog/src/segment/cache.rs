//! A small cache with a second chance for what was used again: a scan does not drive out what is hot.

use std::collections::VecDeque;
use std::hash::Hash;

use hashbrown::HashMap;
use parking_lot::Mutex;

/// Values by key, up to a total weight.
pub(crate) struct Cache<K, V> {
    state: Mutex<State<K, V>>,
    limit: usize,
}

struct State<K, V> {
    entries: HashMap<K, Entry<V>, foldhash::fast::RandomState>,
    order: VecDeque<K>,
    weight: usize,
}

struct Entry<V> {
    value: V,
    weight: usize,
    used: bool,
}

impl<K: Copy + Eq + Hash, V: Clone> Cache<K, V> {
    pub(crate) fn new(limit: usize) -> Self {
        let state = State { entries: HashMap::default(), order: VecDeque::new(), weight: 0 };
        Self { state: Mutex::new(state), limit }
    }

    pub(crate) fn get(&self, key: K) -> Option<V> {
        let mut state = self.state.lock();
        let entry = state.entries.get_mut(&key)?;
        entry.used = true;
        Some(entry.value.clone())
    }

    pub(crate) fn insert(&self, key: K, value: V, weight: usize) {
        let mut state = self.state.lock();
        match state.entries.insert(key, Entry { value, weight, used: false }) {
            Some(before) => state.weight -= before.weight,
            None => state.order.push_back(key),
        }
        state.weight += weight;
        while state.weight > self.limit
            && let Some(oldest) = state.order.pop_front()
        {
            match state.entries.get_mut(&oldest) {
                Some(entry) if entry.used && oldest != key => {
                    entry.used = false;
                    state.order.push_back(oldest);
                }
                Some(entry) => {
                    let weight = entry.weight;
                    state.weight -= weight;
                    state.entries.remove(&oldest);
                }
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_to_its_weight_and_spares_what_is_used() {
        let cache = Cache::new(10);
        for key in 0..5 {
            cache.insert(key, key * 10, 2);
        }
        assert_eq!(cache.get(0), Some(0));
        cache.insert(5, 50, 2);
        assert_eq!((cache.get(0), cache.get(1), cache.get(5)), (Some(0), None, Some(50)));
        cache.insert(6, 60, 100);
        assert_eq!(cache.get(6), None, "what is too large for the cache is not kept");
    }
}
