//! How long the commits of a server's log took, from its metrics: tells whether latencies are the disk's.

use std::fmt;
use std::ops::Sub;
use std::time::Duration;

use serde::Serialize;

use super::client::Target;

/// How long a server may take to tell.
const PATIENCE: Duration = Duration::from_secs(10);

/// The histogram of the server's metrics.
const NAME: &str = "daybook_commit_duration_seconds";

/// Commits of a log, and how many took longer than so many milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Commits {
    pub total: u64,
    pub over_5_ms: u64,
    pub over_25_ms: u64,
    pub over_100_ms: u64,
}

impl fmt::Display for Commits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { total, over_5_ms, over_25_ms, over_100_ms } = self;
        write!(
            f,
            "commits of the log: {total}, of which over 5 ms {over_5_ms}, over 25 ms {over_25_ms}, over 100 ms {over_100_ms}"
        )
    }
}

impl Sub for Commits {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            total: self.total.saturating_sub(before.total),
            over_5_ms: self.over_5_ms.saturating_sub(before.over_5_ms),
            over_25_ms: self.over_25_ms.saturating_sub(before.over_25_ms),
            over_100_ms: self.over_100_ms.saturating_sub(before.over_100_ms),
        }
    }
}

/// Since the server's start; `None` where the server has no such metric or does not show it.
pub async fn of_server(target: &Target) -> Option<Commits> {
    let ask = async {
        let mut connection = target.connect().await.ok()?;
        connection.get("/metrics").await.ok().filter(|answer| answer.status == 200)
    };
    let answer = tokio::time::timeout(PATIENCE, ask).await.ok().flatten()?;
    read(std::str::from_utf8(&answer.body).ok()?)
}

fn read(metrics: &str) -> Option<Commits> {
    let value = |name: &str, labels: &str| {
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(NAME)?.strip_prefix(name)?.strip_prefix(labels))?;
        line.trim().parse::<u64>().ok()
    };
    let total = value("_count", "")?;
    let over = |bound: &str| Some(total.saturating_sub(value("_bucket", &format!("{{le=\"{bound}\"}}"))?));
    Some(Commits { total, over_5_ms: over("0.005")?, over_25_ms: over("0.025")?, over_100_ms: over("0.1")? })
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    /// By the text that the server makes of a histogram with bounds among which these are.
    #[test]
    fn commits_are_read_from_the_metrics() {
        let histogram =
            prometheus_client::metrics::histogram::Histogram::new([0.001, 0.005, 0.025, 0.1, 2.5]);
        let mut registry = Registry::with_prefix("daybook");
        registry.register("commit_duration_seconds", "test", histogram.clone());
        let text = || {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            text
        };
        let before = read(&text()).unwrap();
        assert_eq!(before, Commits::default());
        for millis in [1, 4, 6, 30, 90, 101, 5_000] {
            histogram.observe(Duration::from_millis(millis).as_secs_f64());
        }
        let expected = Commits { total: 7, over_5_ms: 5, over_25_ms: 4, over_100_ms: 2 };
        assert_eq!(read(&text()).unwrap() - before, expected);
        assert_eq!(read("daybook_commands_total 7\n"), None);
    }
}
