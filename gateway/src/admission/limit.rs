//! One limit: a token bucket for each key.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use governor::RateLimiter;
use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;

use super::settings::Bucket;
use super::table::Table;
use super::{Left, Refused};

/// Token buckets by key, by the generic cell rate algorithm.
pub struct Limit<C: Clock<Instant = Duration>> {
    name: &'static str,
    quota: u32,
    window: Duration,
    period: Duration,
    limiter: RateLimiter<u64, Table, C, StateInformationMiddleware>,
    /// Set by the table when a sweep is due; it takes the limiter to say which states are full buckets.
    sweep: Arc<AtomicBool>,
    clock: C,
    /// With keys of its own, so that nobody can choose ids whose buckets are one.
    hasher: RandomState,
    refused: AtomicU64,
}

impl<C: Clock<Instant = Duration> + Clone> Limit<C> {
    /// With room for `keys` states; `None` if the limit is switched off.
    pub(super) fn new(name: &'static str, bucket: &Bucket, keys: usize, clock: C) -> Option<Self> {
        let sweep = Arc::new(AtomicBool::new(false));
        let table = Table::new(keys, Arc::clone(&sweep));
        bucket.enabled.then(|| Self {
            name,
            quota: bucket.requests.get(),
            window: bucket.window(),
            period: bucket.period(),
            limiter: RateLimiter::new(bucket.quota(), table, clock.clone()),
            sweep,
            clock,
            hasher: RandomState::new(),
            refused: AtomicU64::new(0),
        })
    }

    /// Takes a token of the key's bucket.
    pub fn take(&self, key: impl Hash) -> Result<Left, Refused> {
        let outcome = self.limiter.check_key(&self.hasher.hash_one(key));
        if self.sweep.swap(false, Ordering::Relaxed) {
            self.limiter.retain_recent();
        }
        let left = |remaining, more_in| Left {
            limit: self.name,
            quota: self.quota,
            window: self.window,
            remaining,
            more_in,
        };
        match outcome {
            Ok(state) => Ok(left(state.remaining_burst_capacity(), self.period)),
            Err(until) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Err(Refused { left: left(0, until.wait_time_from(self.clock.now())) })
            }
        }
    }

    /// The limit's name on the wire.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Requests refused so far.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Keys with a state.
    pub fn tracked(&self) -> usize {
        self.limiter.len()
    }
}
