//! Latencies: recorded in microseconds, reported as percentiles and a text histogram.

use std::fmt::{self, Write};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Latencies from 1 µs to 5 minutes with three significant digits.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

/// The usual percentiles, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50_ms, p90_ms, p99_ms, p999_ms, max_ms } = self;
        write!(
            f,
            "p50 {p50_ms:.2} ms, p90 {p90_ms:.2} ms, p99 {p99_ms:.2} ms, p99.9 {p999_ms:.2} ms, max {max_ms:.2} ms"
        )
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, 300_000_000, 3).expect("constant bounds that the library takes"))
    }
}

impl Latencies {
    /// Records one.
    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    /// Adds another record.
    pub fn merge(&mut self, other: &Self) {
        self.0 += &other.0;
    }

    /// How many were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The usual percentiles.
    #[must_use]
    pub fn percentiles(&self) -> Percentiles {
        let at =
            |quantile: f64| Duration::from_micros(self.0.value_at_quantile(quantile)).as_secs_f64() * 1e3;
        Percentiles {
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: Duration::from_micros(self.0.max()).as_secs_f64() * 1e3,
        }
    }

    /// Bars over doubling intervals.
    #[must_use]
    pub fn text_histogram(&self) -> String {
        let mut text = String::new();
        let total = self.0.len().max(1);
        for bucket in self.0.iter_log(100, 2.0) {
            let count = bucket.count_since_last_iteration();
            if count == 0 {
                continue;
            }
            let upper = Duration::from_micros(bucket.value_iterated_to() + 1).as_secs_f64() * 1e3;
            let bar = usize::try_from(count * 50 / total).unwrap_or(50);
            writeln!(text, "  < {upper:9.1} ms {count:8}  {}", "█".repeat(bar.max(1)))
                .expect("a String takes every write");
        }
        text
    }
}
