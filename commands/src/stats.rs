//! Counters of the dispatcher, for metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::histogram::Histogram;

/// Upper bounds of the buckets of [`Stats::commit_duration`], seconds.
const COMMIT_BUCKETS: [f64; 12] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5];

#[derive(Debug)]
struct CommitDuration(Histogram);

impl Default for CommitDuration {
    fn default() -> Self {
        Self(Histogram::new(COMMIT_BUCKETS))
    }
}

macro_rules! counters {
    ($( $(#[$meta:meta])* $name:ident )*) => {
        /// Live counters. Reading them is free of locks but for the refusals.
        #[derive(Debug, Default)]
        pub struct Stats {
            $( $(#[$meta])* pub(crate) $name: AtomicU64, )*
            refusals: Mutex<BTreeMap<&'static str, u64>>,
            commit_duration: CommitDuration,
        }

        /// The counters at one moment.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct StatsSnapshot {
            $( $(#[$meta])* pub $name: u64, )*
            /// Refusals and errors by code, from the start.
            pub refusals: BTreeMap<&'static str, u64>,
        }

        impl Stats {
            /// All counters as they are now.
            #[must_use]
            pub fn snapshot(&self) -> StatsSnapshot {
                StatsSnapshot {
                    $( $name: self.$name.load(Ordering::Relaxed), )*
                    refusals: self.refusals.lock().clone(),
                }
            }
        }
    };
}

counters! {
    /// Commands accepted and durable, from the start.
    commands
    /// Events written, from the start.
    events
    /// Groups of appends handed to the log, from the start.
    groups
    /// Appends that failed, from the start.
    append_failures
    /// Commands decided again after a conflict or a failed append, from the start.
    retries
    /// Commands answered from the record of an idempotency key, from the start.
    replays
    /// Deadlines that fired, from the start.
    timers_fired
    /// Events that the start had to look at for deadlines and holds.
    scanned
    /// Streams read from the log, from the start.
    loads
    /// Snapshots of long streams kept, from the start.
    snapshots
    /// Streams dropped from memory to stay within the cache, from the start.
    evictions
    /// Commands that are not answered yet.
    outstanding
    /// Bytes of their bodies.
    outstanding_bytes
    /// Groups whose commit is under way.
    groups_in_flight
    /// Commands that wait for a stream to be read or for one before them.
    parked
    /// Streams in memory.
    cached_streams
    /// About how many bytes they take.
    cached_bytes
    /// Streams with a deadline ahead.
    deadlines
    /// Holds that are known to be active.
    active_holds
}

impl Stats {
    /// How long groups took from when they were handed to the log until the decision thread took note that they were durable, seconds. On
    /// an embedded log that is the disk, and the wait for a processor where those are busy. Groups with a failure are not counted.
    #[must_use]
    pub fn commit_duration(&self) -> Histogram {
        self.commit_duration.0.clone()
    }

    pub(crate) fn committed(&self, took: Duration) {
        self.commit_duration.0.observe(took.as_secs_f64());
    }

    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn set(counter: &AtomicU64, n: usize) {
        counter.store(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self, code: &'static str) {
        *self.refusals.lock().entry(code).or_default() += 1;
    }
}
