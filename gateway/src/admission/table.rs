//! The states of one limit's buckets: 16 bytes a key, sharded, bounded.
//!
//! Invariants: a key has one state under one lock, so that no request is counted twice or not at all; the number of keys never
//! passes its bound, whatever clients send. A full bucket is the same as none, so that a key whose bucket has filled up again
//! is dropped; a shard is swept once for every so many requests as it holds keys, which costs each request one visit.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use parking_lot::Mutex;

/// A power of two. Many, so that two requests seldom want the same lock, and a sweep holds one for microseconds.
const SHARDS: usize = 256;
/// Requests between two sweeps of a shard, at least.
const SWEEP_EVERY: usize = 256;

/// Keys are hashes already (keyed, so that nobody can aim at one).
#[derive(Default)]
pub(super) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[derive(Default)]
struct Shard {
    states: HashMap<u64, Nanos, BuildHasherDefault<Hashed>>,
    requests: usize,
}

pub(super) struct Table {
    shards: Box<[Mutex<Shard>]>,
    most_a_shard: usize,
    /// The shard that came due for a sweep last. One that is forgotten over it comes due again.
    due: AtomicUsize,
    sweep: Arc<AtomicBool>,
    keys: AtomicUsize,
}

impl Table {
    /// For at most about `most` keys. Sets `sweep` when [`ShrinkableKeyedStateStore::retain_recent`] is due.
    pub(super) fn new(most: usize, sweep: Arc<AtomicBool>) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            most_a_shard: most.div_ceil(SHARDS),
            due: AtomicUsize::new(0),
            sweep,
            keys: AtomicUsize::new(0),
        }
    }
}

impl StateStore for Table {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        // The map inside takes the low and the highest bits of the hash.
        let index = usize::try_from((key >> 32) % SHARDS as u64).expect("below the number of shards");
        let mut shard = self.shards[index].lock();
        shard.requests += 1;
        if shard.requests >= SWEEP_EVERY.max(shard.states.len()) {
            shard.requests = 0;
            self.due.store(index, Ordering::Relaxed);
            self.sweep.store(true, Ordering::Relaxed);
        }
        if let Some(state) = shard.states.get_mut(key) {
            let (outcome, next) = decide(Some(*state))?;
            *state = next;
            return Ok(outcome);
        }
        let (outcome, next) = decide(None)?;
        if shard.states.len() < self.most_a_shard {
            shard.states.insert(*key, next);
            self.keys.fetch_add(1, Ordering::Relaxed);
        }
        Ok(outcome)
    }
}

impl ShrinkableKeyedStateStore<u64> for Table {
    /// Sweeps the shard that is due: no request waits for more than one.
    fn retain_recent(&self, drop_below: Nanos) {
        let mut shard = self.shards[self.due.load(Ordering::Relaxed)].lock();
        let before = shard.states.len();
        shard.states.retain(|_, state| *state > drop_below);
        let after = shard.states.len();
        if after * 4 < shard.states.capacity() {
            shard.states.shrink_to(after * 2);
        }
        self.keys.fetch_sub(before - after, Ordering::Relaxed);
    }

    fn len(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
