//! Many requests at once, each on a connection of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};

use super::{Check, Report};
use crate::load::client::{Answer, Target};
use crate::load::latency::{Latencies, Percentiles};

/// Connections that may be opening at once, so that the listen queue is not what is measured.
const OPENING: usize = 512;

/// What a rush of requests came to.
pub(super) struct Rush {
    pub(super) outcomes: BTreeMap<String, u64>,
    latencies: Latencies,
    pub(super) answered: u64,
    elapsed: Duration,
}

impl Rush {
    pub(super) fn report(
        self,
        simulation: &'static str,
        bystanders: Option<Percentiles>,
        checks: Vec<Check>,
    ) -> Report {
        Report {
            simulation,
            histogram: self.latencies.text_histogram(),
            steps: Vec::new(),
            latency: Some(self.latencies.percentiles()),
            outcomes: self.outcomes,
            bystanders,
            seconds: self.elapsed.as_secs_f64(),
            checks,
        }
    }
}

/// Opens a connection for each request, then sends all at once. Latency counts from the common start, which comes before the first
/// request is sent.
pub(super) async fn rush(server: &Target, requests: Vec<(String, Value)>) -> anyhow::Result<Rush> {
    let (open_tx, mut open) = watch::channel(0);
    let (start_tx, start) = watch::channel(None);
    let opening = Arc::new(Semaphore::new(OPENING));
    let count = requests.len();
    let mut tasks = tokio::task::JoinSet::new();
    for (path, body) in requests {
        let (opening, open, mut start) = (Arc::clone(&opening), open_tx.clone(), start.clone());
        let server = server.clone();
        tasks.spawn(async move {
            let permit = opening.acquire_owned().await;
            let connection = server.connect().await;
            drop(permit);
            // Also who found no connection is waited for.
            open.send_modify(|open| *open += 1);
            let began = start.wait_for(Option::is_some).await.ok().and_then(|start| *start);
            let answer = match connection {
                Ok(mut connection) => {
                    connection.post(&path, &body).await.map_err(|error| error.kind().to_string())
                }
                Err(error) => Err(format!("{error:#}")),
            };
            (answer, began.map_or(Duration::ZERO, |began: Instant| began.elapsed()))
        });
    }
    open.wait_for(|open| *open == count).await.context("the buyers are gone")?;
    let began = Instant::now();
    start_tx.send_replace(Some(began));
    let mut rush = Rush {
        outcomes: BTreeMap::new(),
        latencies: Latencies::default(),
        answered: 0,
        elapsed: Duration::ZERO,
    };
    while let Some(done) = tasks.join_next().await {
        let (answer, latency) = done.context("a buyer's task failed")?;
        let outcome = match answer {
            Ok(answer) => {
                rush.answered += 1;
                rush.latencies.record(latency);
                outcome_of(&answer)
            }
            Err(error) => format!("no answer: {error}"),
        };
        *rush.outcomes.entry(outcome).or_default() += 1;
    }
    rush.elapsed = began.elapsed();
    Ok(rush)
}

fn outcome_of(answer: &Answer) -> String {
    match answer.status {
        200 | 201 => "accepted".to_owned(),
        status => answer.code().unwrap_or_else(|| format!("status {status}")),
    }
}
