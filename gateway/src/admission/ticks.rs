//! The time that buckets fill by: it never goes back, whatever happens to the clock on the wall.

use std::time::{Duration, Instant};

use governor::clock::Clock;

/// Time since the process began to count.
#[derive(Debug, Clone, Copy)]
pub struct Ticks {
    since: Instant,
}

impl Default for Ticks {
    fn default() -> Self {
        Self { since: Instant::now() }
    }
}

impl Clock for Ticks {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.since.elapsed()
    }
}
