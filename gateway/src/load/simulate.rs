//! Failure simulations that ship with the product. Each drives a running server, checks its invariants against the log,
//! and says whether they hold.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::json;
use tokio::sync::{Barrier, Semaphore};

use super::client::{Answer, Connection, request};
use super::latency::{Latencies, Percentiles};

/// What a simulation found.
#[derive(Debug, Serialize)]
pub struct Report {
    pub simulation: &'static str,
    /// Answers by outcome: `sold`, or the code of the refusal.
    pub outcomes: BTreeMap<String, u64>,
    pub latency: Percentiles,
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
        let show = |p: &Percentiles| {
            format!(
                "p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, max {:.1} ms",
                p.p50_ms, p.p90_ms, p.p99_ms, p.p999_ms, p.max_ms
            )
        };
        line(format!("  latency: {}", show(&self.latency)));
        if let Some(bystanders) = &self.bystanders {
            line(format!("  other variants meanwhile: {}", show(bystanders)));
        }
        line(self.histogram.trim_end().to_owned());
        for check in &self.checks {
            line(format!("  {}  {}", if check.held { "held  " } else { "BROKEN" }, check.invariant));
        }
        text
    }
}

/// Connections that may be opening at once, so that the listen queue is not what is measured.
const OPENING: usize = 512;

/// `buyers` connections ask for one unit of a variant with `units` in stock, all at once.
pub async fn flash_sale(server: SocketAddr, buyers: u32, units: u32, run: &str) -> anyhow::Result<Report> {
    let variant = format!("flash-{run}");
    receive(server, &variant, units).await?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let bystanders = tokio::spawn(bystanders(server, run.to_owned(), stopped));
    let path = format!("/v1/commands/inventory/{variant}/reserve");
    let bodies = (0..buyers)
        .map(|buyer| {
            (
                path.clone(),
                json!({"customer_id": format!("buyer-{run}-{buyer}"), "quantity": 1, "ttl_seconds": 600}),
            )
        })
        .collect();
    let rush = rush(server, bodies).await?;
    stop.send_replace(true);
    let bystanders = bystanders.await.context("the bystanders' task failed")??;
    let sold = rush.outcomes.get("accepted").copied().unwrap_or(0);
    let (reserved, duplicates) = reserved_in_log(server, &variant).await?;
    let view = inventory(server, &variant).await?;
    let expected = u64::from(units.min(buyers));
    let checks = vec![
        check(format!("every one of {buyers} buyers was answered"), rush.answered == u64::from(buyers)),
        check(
            format!("oversold = 0: {reserved} units held in the log, {units} in stock"),
            reserved <= u64::from(units),
        ),
        check(
            format!("exactly {expected} sold: {sold} by the replies, {reserved} by the log"),
            sold == expected && reserved == expected,
        ),
        check("no customer holds twice".to_owned(), duplicates == 0),
        check(
            format!("the inventory view agrees: available {}", view["available"]),
            view["available"] == json!(u64::from(units) - reserved.min(u64::from(units))),
        ),
    ];
    Ok(rush.report("flash-sale", Some(bystanders.percentiles()), checks))
}

/// `bots` customers each try to hoard: ten times the same variant, then as many others as they can.
pub async fn bots(server: SocketAddr, bots: u32, units: u32, run: &str) -> anyhow::Result<Report> {
    let variants: Vec<String> = (0..8).map(|n| format!("bots-{run}-{n}")).collect();
    for variant in &variants {
        receive(server, variant, units).await?;
    }
    let mut bodies = Vec::new();
    for bot in 0..bots {
        let body = json!({"customer_id": format!("bot-{run}-{bot}"), "quantity": 1, "ttl_seconds": 600});
        let hoard = std::iter::repeat_n(&variants[0], 10).chain(&variants[1..]);
        bodies
            .extend(hoard.map(|variant| (format!("/v1/commands/inventory/{variant}/reserve"), body.clone())));
    }
    let rush = rush(server, bodies).await?;
    let mut holds: BTreeMap<String, u32> = BTreeMap::new();
    let mut checks = Vec::new();
    for variant in &variants {
        let (reserved, duplicates) = reserved_in_log(server, variant).await?;
        checks.push(check(
            format!("{variant}: {reserved} held of {units}, no bot twice"),
            reserved <= u64::from(units) && duplicates == 0,
        ));
        for customer in holders(server, variant).await? {
            *holds.entry(customer).or_default() += 1;
        }
    }
    let most = holds.values().copied().max().unwrap_or(0);
    checks.push(check(format!("no bot holds more than 5 reservations: the greediest has {most}"), most <= 5));
    let code = "too_many_reservations";
    let refused = rush.outcomes.get(code).copied().unwrap_or(0)
        + rush.outcomes.get("rate_limited").copied().unwrap_or(0);
    checks.push(check(
        format!("bots at their limits were refused ({code} or rate_limited): {refused} times"),
        refused > 0,
    ));
    Ok(rush.report("bots", None, checks))
}

/// `clients` connections create the same configuration, and the same SKU, under different ids at once.
pub async fn duplicate_config(server: SocketAddr, clients: u32, run: &str) -> anyhow::Result<Report> {
    let bodies = (0..clients)
        .map(|client| {
            let body = json!({
                "product_id": format!("duplicate-{run}"), "name": "Duplicate", "brand": "Simulation", "category": "Simulation",
                "attributes": [{"type": "color", "value": "Navy"}, {"type": "size", "value": "M"}],
                "sku": {"strategy": "manual", "value": format!("DUP-{run}")},
            });
            (format!("/v1/commands/variant/duplicate-{run}-{client}/create"), body)
        })
        .collect();
    let rush = rush(server, bodies).await?;
    let accepted = rush.outcomes.get("accepted").copied().unwrap_or(0);
    let refused = ["duplicate_configuration", "duplicate_sku"]
        .iter()
        .filter_map(|code| rush.outcomes.get(*code))
        .sum::<u64>();
    let checks = vec![
        check(format!("one of {clients} won: {accepted}"), accepted == 1),
        check(format!("all others were told why: {refused}"), refused == u64::from(clients) - 1),
    ];
    Ok(rush.report("duplicate-config", None, checks))
}

fn check(invariant: String, held: bool) -> Check {
    Check { invariant, held }
}

/// What a rush of requests came to.
struct Rush {
    outcomes: BTreeMap<String, u64>,
    latencies: Latencies,
    answered: u64,
    elapsed: Duration,
}

impl Rush {
    fn report(self, simulation: &'static str, bystanders: Option<Percentiles>, checks: Vec<Check>) -> Report {
        Report {
            simulation,
            histogram: self.latencies.text_histogram(),
            latency: self.latencies.percentiles(),
            outcomes: self.outcomes,
            bystanders,
            seconds: self.elapsed.as_secs_f64(),
            checks,
        }
    }
}

/// Opens a connection for each request, then sends all at once. Latency counts from the common start.
async fn rush(server: SocketAddr, requests: Vec<(String, serde_json::Value)>) -> anyhow::Result<Rush> {
    let barrier = Arc::new(Barrier::new(requests.len() + 1));
    let opening = Arc::new(Semaphore::new(OPENING));
    let (start_tx, start) = tokio::sync::watch::channel(Instant::now());
    let mut tasks = tokio::task::JoinSet::new();
    for (path, body) in requests {
        let (barrier, opening, start) = (Arc::clone(&barrier), Arc::clone(&opening), start.clone());
        tasks.spawn(async move {
            let permit = opening.acquire_owned().await;
            let connection = Connection::open(server).await;
            drop(permit);
            // Everyone reaches the barrier, also those who found no connection.
            barrier.wait().await;
            let wire =
                request("POST", &path, &[("content-type", "application/json")], body.to_string().as_bytes());
            let answer = match connection {
                Ok(mut connection) => connection.send(&wire).await,
                Err(error) => Err(error),
            };
            let began = *start.borrow();
            (answer, began.elapsed())
        });
    }
    // The start is set before the last party arrives at the barrier, which is this one.
    let began = Instant::now();
    start_tx.send_replace(began);
    barrier.wait().await;
    let began = Instant::now();
    start_tx.send_replace(began);
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
            Err(error) => format!("no answer: {}", error.kind()),
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

/// Commands on other variants, one after the other on a few connections, until told to stop.
async fn bystanders(
    server: SocketAddr,
    run: String,
    stopped: tokio::sync::watch::Receiver<bool>,
) -> anyhow::Result<Latencies> {
    let mut tasks = tokio::task::JoinSet::new();
    for lane in 0..4 {
        let (run, stopped) = (run.clone(), stopped.clone());
        tasks.spawn(async move {
            let mut connection = Connection::open(server).await?;
            let mut latencies = Latencies::default();
            let mut count = 0_u32;
            while !*stopped.borrow() {
                let path = format!("/v1/commands/inventory/other-{run}-{lane}-{}/receive", count % 64);
                let began = Instant::now();
                let answer = connection.post(&path, &json!({"quantity": 1})).await?;
                ensure!(answer.status < 300, "a bystander was refused: {:?}", answer.code());
                latencies.record(began.elapsed());
                count += 1;
            }
            Ok(latencies)
        });
    }
    let mut all = Latencies::default();
    while let Some(lane) = tasks.join_next().await {
        all.merge(&lane.context("a bystander's task failed")??);
    }
    Ok(all)
}

async fn receive(server: SocketAddr, variant: &str, units: u32) -> anyhow::Result<()> {
    let answer = Connection::open(server)
        .await
        .with_context(|| format!("no server answers at {server}"))?
        .post(&format!("/v1/commands/inventory/{variant}/receive"), &json!({"quantity": units}))
        .await?;
    ensure!(answer.status < 300, "stock could not be received: {}", String::from_utf8_lossy(&answer.body));
    Ok(())
}

/// The events of a stream, all pages.
async fn events(server: SocketAddr, stream: &str) -> anyhow::Result<Vec<serde_json::Value>> {
    let mut connection = Connection::open(server).await?;
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

async fn holders(server: SocketAddr, variant: &str) -> anyhow::Result<Vec<String>> {
    Ok(events(server, &format!("inventory-{variant}"))
        .await?
        .iter()
        .filter(|event| event["type"] == "inventory.reserved")
        .filter_map(|event| event["data"]["customer_id"].as_str().map(str::to_owned))
        .collect())
}

/// Units held according to the log, and how many customers hold more than once.
async fn reserved_in_log(server: SocketAddr, variant: &str) -> anyhow::Result<(u64, usize)> {
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

async fn inventory(server: SocketAddr, variant: &str) -> anyhow::Result<serde_json::Value> {
    let mut connection = Connection::open(server).await?;
    let head = connection.get(&format!("/v1/streams/inventory-{variant}?limit=1000")).await?.json()?;
    let position = head["events"]
        .as_array()
        .and_then(|e| e.last())
        .map_or_else(|| json!("0"), |e| e["position"].clone());
    let path = format!("/v1/inventory/{variant}?min_position={}", position.as_str().unwrap_or("0"));
    Ok(connection.get(&path).await?.json()?)
}
