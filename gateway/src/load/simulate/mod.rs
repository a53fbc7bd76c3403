//! Failure simulations that ship with the product. Each drives a running server, checks its invariants against the log,
//! and says whether they hold.
//!
//! - [`flash_sale`], [`bots`]: many ask for little
//! - [`duplicate_config`]: a race for one configuration
//! - [`drift()`]: damage to a read model, which reconciliation must find
//! - [`outage()`]: a projection that stands still

mod drift;
mod outage;
mod race;
mod rush;
mod sale;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::{Value, json};

use super::client::Target;
use super::latency::Percentiles;

pub use drift::{Drift, DriftSubject, drift, stock_up};
pub use outage::outage;
pub use race::duplicate_config;
pub use sale::{bots, flash_sale};

/// How long a read model may take to show what the log has.
const CATCH_UP: Duration = Duration::from_secs(60);

/// What a simulation found.
#[derive(Debug, Serialize)]
pub struct Report {
    pub simulation: &'static str,
    /// Answers by outcome: `accepted`, or the code of the refusal.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub outcomes: BTreeMap<String, u64>,
    /// What was done and seen, in order, where the simulation goes by steps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Percentiles>,
    /// The same for unrelated commands sent meanwhile, where the simulation sends some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bystanders: Option<Percentiles>,
    pub seconds: f64,
    /// Every invariant that was checked, and whether it held.
    pub checks: Vec<Check>,
    #[serde(skip)]
    pub histogram: String,
}

/// One invariant.
#[derive(Debug, Serialize)]
pub struct Check {
    pub invariant: String,
    pub held: bool,
}

impl Report {
    /// Of a simulation that goes by steps.
    fn of_steps(simulation: &'static str, began: Instant, steps: Vec<String>, checks: Vec<Check>) -> Self {
        Self {
            simulation,
            outcomes: BTreeMap::new(),
            steps,
            latency: None,
            bystanders: None,
            seconds: began.elapsed().as_secs_f64(),
            checks,
            histogram: String::new(),
        }
    }

    /// Whether every invariant held.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.checks.iter().all(|check| check.held)
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        use std::fmt::Write;
        let mut text = format!("{} in {:.2} s\n", self.simulation, self.seconds);
        let mut line = |line: String| writeln!(text, "{line}").expect("a String takes every write");
        for (outcome, count) in &self.outcomes {
            line(format!("  {count:8}  {outcome}"));
        }
        for step in &self.steps {
            line(format!("  {step}"));
        }
        if let Some(latency) = &self.latency {
            line(format!("  latency: {latency}"));
        }
        if let Some(bystanders) = &self.bystanders {
            line(format!("  other variants meanwhile: {bystanders}"));
        }
        if !self.histogram.is_empty() {
            line(self.histogram.trim_end().to_owned());
        }
        for check in &self.checks {
            line(format!("  {}  {}", if check.held { "held  " } else { "BROKEN" }, check.invariant));
        }
        text
    }
}

fn check(invariant: String, held: bool) -> Check {
    Check { invariant, held }
}

async fn receive(server: &Target, variant: &str, units: u32) -> anyhow::Result<()> {
    let path = format!("/v1/commands/inventory/{variant}/receive");
    let answer = server.connect().await?.post(&path, &json!({"quantity": units})).await?;
    ensure!(answer.status < 300, "stock could not be received: {}", String::from_utf8_lossy(&answer.body));
    Ok(())
}

/// The events of a stream, all pages.
async fn events(server: &Target, stream: &str) -> anyhow::Result<Vec<Value>> {
    let mut connection = server.connect().await?;
    let mut events = Vec::new();
    let mut from = "1".to_owned();
    loop {
        let page = connection.get(&format!("/v1/streams/{stream}?from={from}&limit=1000")).await?.json()?;
        events.extend(page["events"].as_array().context("a page without events")?.iter().cloned());
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut from),
            None => return Ok(events),
        }
    }
}

async fn holders(server: &Target, variant: &str) -> anyhow::Result<Vec<String>> {
    Ok(events(server, &format!("inventory-{variant}"))
        .await?
        .iter()
        .filter(|event| event["type"] == "inventory.reserved")
        .filter_map(|event| event["data"]["customer_id"].as_str().map(str::to_owned))
        .collect())
}

/// Units held according to the log, and how many customers hold more than once.
async fn reserved_in_log(server: &Target, variant: &str) -> anyhow::Result<(u64, usize)> {
    let mut units = 0;
    let mut customers = std::collections::HashSet::new();
    let mut duplicates = 0;
    for event in events(server, &format!("inventory-{variant}")).await? {
        if event["type"] == "inventory.reserved" {
            units += event["data"]["quantity"].as_u64().context("a hold without quantity")?;
            duplicates += usize::from(!customers.insert(event["data"]["customer_id"].to_string()));
        }
    }
    Ok((units, duplicates))
}

async fn inventory(server: &Target, variant: &str) -> anyhow::Result<Value> {
    let events = events(server, &format!("inventory-{variant}")).await?;
    let position = events.last().and_then(|event| event["position"].as_str()).unwrap_or("0");
    let path = format!("/v1/inventory/{variant}?min_position={position}");
    let mut connection = server.connect().await?;
    let began = Instant::now();
    loop {
        let answer = connection.get(&path).await?;
        // The server waits some seconds for the read model, which after a storm may need longer.
        if answer.code().as_deref() != Some("projection_behind") || began.elapsed() > CATCH_UP {
            return Ok(answer.json()?);
        }
    }
}
