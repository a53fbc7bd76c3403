//! The load generator: durable reservations over HTTP, one hot variant or many, closed or open loop.
//!
//! - **Closed loop**: each connection sends its next request when the last is answered. Tells the most that a server takes.
//! - **Open loop**: requests are due at a constant rate, whether or not earlier ones are answered; whichever connection is free
//!   takes the next. Latency counts from the instant a request was *due*, so that a stall of the server shows in all that
//!   waited for it (no coordinated omission), and so does any lateness of the generator itself.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::json;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::client::{Answer, Connection, Target};
use super::commits::Commits;
use super::latency::{Latencies, Percentiles};

/// Units that every variant gets before the load begins.
const STOCK: u32 = 1_000_000_000;
/// Connections that prepare and open at once.
const OPENING: u32 = 64;
/// How long requests that were due may take to be answered after the end.
const DRAIN: Duration = Duration::from_secs(30);
/// Least sleep between two looks at what is due; shorter ones cost the machine more than they tell.
const TICK: Duration = Duration::from_micros(100);

/// What to send.
#[derive(Debug, Clone)]
pub struct Plan {
    pub target: Target,
    pub connections: u32,
    /// Variants asked for, evenly at random; 1: one hot stream.
    pub variants: u32,
    pub pace: Pace,
    /// Sent but not recorded.
    pub warm_up: Duration,
    pub duration: Duration,
    /// Makes ids of this run differ from any other's.
    pub run: String,
}

/// When to send.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    Closed,
    /// So many requests a second.
    Open(f64),
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub pace: &'static str,
    /// Requests a second that were asked for, in an open loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    pub connections: u32,
    pub variants: u32,
    pub warm_up_seconds: f64,
    pub seconds: f64,
    /// Answers by outcome: `accepted`, or the code of the refusal.
    pub outcomes: BTreeMap<String, u64>,
    pub accepted_per_second: f64,
    /// Requests that were due in time and never answered.
    pub unanswered: u64,
    pub latency: Percentiles,
    /// Open loop: how long after it was due a request was sent, for want of a free connection or of time to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_late: Option<Percentiles>,
    /// What the server's log took meanwhile, if somebody asked and the server tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commits: Option<Commits>,
    #[serde(skip)]
    pub histogram: String,
}

impl Report {
    /// Whether everything was answered and accepted.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.unanswered == 0 && self.outcomes.keys().eq(["accepted"])
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let pace =
            self.rate.map_or_else(|| "closed loop".to_owned(), |rate| format!("open loop at {rate:.0}/s"));
        let variants = if self.variants == 1 {
            "one hot variant".to_owned()
        } else {
            format!("{} variants", self.variants)
        };
        let mut text = format!(
            "{pace}, {} connections, {variants}, {:.0} s after {:.0} s of warm-up\n  {:.0} reservations/s accepted\n",
            self.connections, self.seconds, self.warm_up_seconds, self.accepted_per_second
        );
        let mut line = |line: String| writeln!(text, "{line}").expect("a String takes every write");
        for (outcome, count) in &self.outcomes {
            line(format!("  {count:9}  {outcome}"));
        }
        if self.unanswered > 0 {
            line(format!("  {:9}  not answered", self.unanswered));
        }
        line(format!("  latency: {}", self.latency));
        if let Some(late) = &self.sent_late {
            line(format!("  sent late by: {late}"));
        }
        if let Some(commits) = &self.commits {
            line(format!("  {commits}"));
        }
        line(self.histogram.trim_end().to_owned());
        text
    }
}

/// Puts stock into every variant of the plan.
pub async fn prepare(plan: &Plan) -> anyhow::Result<()> {
    let lanes = OPENING.min(plan.variants);
    let mut tasks = JoinSet::new();
    for lane in 0..lanes {
        let plan = plan.clone();
        tasks.spawn(async move {
            let mut connection = plan.target.connect().await?;
            for variant in (lane..plan.variants).step_by(lanes as usize) {
                let path = format!("/v1/commands/inventory/load-{}-{variant}/receive", plan.run);
                let answer = connection.post(&path, &json!({"quantity": STOCK})).await?;
                ensure!(
                    answer.status < 300,
                    "stock could not be received: {}",
                    String::from_utf8_lossy(&answer.body)
                );
            }
            Ok(())
        });
    }
    while let Some(lane) = tasks.join_next().await {
        lane.context("a preparing task failed")??;
    }
    Ok(())
}

/// Sends the load and measures. The plan's variants have been [prepared](prepare).
pub async fn run(plan: &Plan) -> anyhow::Result<Report> {
    let mut connections = Vec::new();
    for _ in 0..plan.connections {
        connections.push(plan.target.connect().await?);
    }
    match plan.pace {
        Pace::Closed => closed(plan, connections).await,
        Pace::Open(rate) => open(plan, connections, rate).await,
    }
}

/// What one connection saw inside the measured time.
#[derive(Default)]
struct Lane {
    outcomes: BTreeMap<String, u64>,
    accepted: u64,
    latencies: Latencies,
    late: Latencies,
    error: Option<String>,
}

impl Lane {
    /// `None`: a success.
    fn record(&mut self, answer: Option<&Answer>, latency: Duration) {
        self.latencies.record(latency);
        let Some(answer) = answer.filter(|answer| answer.status >= 300) else {
            self.accepted += 1;
            return;
        };
        let outcome = answer.code().unwrap_or_else(|| format!("status {}", answer.status));
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    fn merge(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.latencies.merge(&other.latencies);
        self.late.merge(&other.late);
        for (outcome, count) in other.outcomes {
            *self.outcomes.entry(outcome).or_default() += count;
        }
        if let Some(error) = other.error {
            *self.outcomes.entry(format!("no answer: {error}")).or_default() += 1;
        }
    }
}

/// Makes the requests of one connection, each for a customer of its own.
struct Requests {
    prefix: String,
    header: String,
    run: String,
    variants: u64,
    lane: u32,
    count: u64,
    dice: u64,
    wire: Vec<u8>,
    body: String,
}

impl Requests {
    fn new(plan: &Plan, lane: u32) -> Self {
        Self {
            prefix: format!("POST /v1/commands/inventory/load-{}-", plan.run),
            header: plan.target.authorization_line(),
            run: plan.run.clone(),
            variants: plan.variants.into(),
            lane,
            count: 0,
            dice: (u64::from(lane) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            wire: Vec::with_capacity(512),
            body: String::with_capacity(128),
        }
    }

    fn next(&mut self) -> &[u8] {
        self.count += 1;
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        let variant = self.dice % self.variants;
        self.body.clear();
        write!(
            self.body,
            r#"{{"customer_id":"c-{}-{}-{}","quantity":1,"ttl_seconds":3600}}"#,
            self.run, self.lane, self.count
        )
        .expect("a String takes every write");
        self.wire.clear();
        std::io::Write::write_fmt(
            &mut self.wire,
            format_args!(
                "{}{variant}/reserve HTTP/1.1\r\nhost: daybook\r\ncontent-type: application/json\r\n{}content-length: {}\r\n\r\n{}",
                self.prefix,
                self.header,
                self.body.len(),
                self.body
            ),
        )
        .expect("a Vec takes every write");
        &self.wire
    }
}

async fn closed(plan: &Plan, connections: Vec<Connection>) -> anyhow::Result<Report> {
    let from = Instant::now() + plan.warm_up;
    let until = from + plan.duration;
    let mut lanes = JoinSet::new();
    for (connection, number) in connections.into_iter().zip(0..) {
        lanes.spawn(closed_lane(connection, Requests::new(plan, number), from, until));
    }
    let mut all = Lane::default();
    while let Some(lane) = lanes.join_next().await {
        all.merge(lane.context("a connection's task failed")?);
    }
    Ok(report(plan, all, 0))
}

/// Records what is answered inside the measured time.
async fn closed_lane(
    mut connection: Connection,
    mut requests: Requests,
    from: Instant,
    until: Instant,
) -> Lane {
    let mut lane = Lane::default();
    loop {
        let began = Instant::now();
        if began >= until {
            return lane;
        }
        match connection.send_unread(requests.next()).await {
            Ok(answer) => {
                let now = Instant::now();
                if now >= from && now < until {
                    lane.record(answer.as_ref(), now - began);
                }
            }
            Err(error) => {
                lane.error = Some(error.kind().to_string());
                return lane;
            }
        }
    }
}

async fn open(plan: &Plan, connections: Vec<Connection>, rate: f64) -> anyhow::Result<Report> {
    ensure!(
        rate > 0.0 && rate <= 10_000_000.0,
        "the rate is above 0 and at most 10,000,000 requests a second"
    );
    let (due, arrivals) = mpsc::unbounded_channel();
    let arrivals = Arc::new(Mutex::new(arrivals));
    let begin = Instant::now();
    let from = begin + plan.warm_up;
    let mut lanes = JoinSet::new();
    for (connection, number) in connections.into_iter().zip(0..) {
        lanes.spawn(open_lane(connection, Requests::new(plan, number), Arc::clone(&arrivals), from));
    }
    drop(arrivals);
    let interval = Duration::from_secs_f64(1.0 / rate);
    let length = plan.warm_up + plan.duration;
    let pacer = tokio::task::spawn_blocking(move || pace(&due, begin, interval, length, from));
    let measured = pacer.await.context("the pacer failed")?;
    let mut all = Lane::default();
    let drained = async {
        while let Some(lane) = lanes.join_next().await {
            all.merge(lane.context("a connection's task failed")?);
        }
        anyhow::Ok(())
    };
    if let Ok(done) = tokio::time::timeout(DRAIN, drained).await {
        done?;
    }
    let answered = all.latencies.count();
    Ok(report(plan, all, measured.saturating_sub(answered)))
}

/// Announces each request when it is due; gives how many of them are to be measured.
fn pace(
    due: &mpsc::UnboundedSender<Instant>,
    begin: Instant,
    interval: Duration,
    length: Duration,
    from: Instant,
) -> u64 {
    let mut measured = 0;
    for number in 0_u32.. {
        let offset = interval * number;
        if offset >= length {
            break;
        }
        let at = begin + offset;
        let wait = at.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait.max(TICK));
        }
        // Nobody is left to send it if all connections broke; the report says so.
        if due.send(at).is_err() {
            break;
        }
        measured += u64::from(at >= from);
    }
    measured
}

/// Takes whichever request is due next.
async fn open_lane(
    mut connection: Connection,
    mut requests: Requests,
    arrivals: Arc<Mutex<mpsc::UnboundedReceiver<Instant>>>,
    from: Instant,
) -> Lane {
    let mut lane = Lane::default();
    loop {
        let due = arrivals.lock().await.recv().await;
        let Some(due) = due else { return lane };
        let sent = Instant::now();
        match connection.send_unread(requests.next()).await {
            Ok(answer) if due >= from => {
                lane.record(answer.as_ref(), due.elapsed());
                lane.late.record(sent - due);
            }
            Ok(_) => {}
            Err(error) => {
                lane.error = Some(error.kind().to_string());
                return lane;
            }
        }
    }
}

fn report(plan: &Plan, all: Lane, unanswered: u64) -> Report {
    let (pace, rate) = match plan.pace {
        Pace::Closed => ("closed", None),
        Pace::Open(rate) => ("open", Some(rate)),
    };
    let mut outcomes = all.outcomes;
    if all.accepted > 0 {
        outcomes.insert("accepted".to_owned(), all.accepted);
    }
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let accepted = all.accepted as f64;
    Report {
        pace,
        rate,
        connections: plan.connections,
        variants: plan.variants,
        warm_up_seconds: plan.warm_up.as_secs_f64(),
        seconds: plan.duration.as_secs_f64(),
        accepted_per_second: accepted / plan.duration.as_secs_f64(),
        outcomes,
        unanswered,
        latency: all.latencies.percentiles(),
        sent_late: rate.map(|_| all.late.percentiles()),
        commits: None,
        histogram: all.latencies.text_histogram(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers each request with 201, but stalls once, after so many requests.
    async fn stalling_server(stall_after: u32, stall: Duration) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = vec![0; 4_096];
            for number in 0.. {
                // A request and its body arrive in one write of the client.
                if stream.read(&mut buffer).await.unwrap_or(0) == 0 {
                    return;
                }
                if number == stall_after {
                    tokio::time::sleep(stall).await;
                }
                stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
            }
        });
        address
    }

    fn plan(address: std::net::SocketAddr, pace: Pace) -> Plan {
        Plan {
            target: Target::new(address, None),
            connections: 1,
            variants: 1,
            pace,
            warm_up: Duration::ZERO,
            duration: Duration::from_millis(400),
            run: "t".to_owned(),
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_stall_shows_in_every_request_that_was_due_during_it() {
        let address = stalling_server(50, Duration::from_millis(300)).await;
        // 400 requests are due, about 300 of them during the stall. Whatever else is late makes latencies only longer.
        let report = run(&plan(address, Pace::Open(1_000.0))).await.unwrap();
        assert_eq!(report.outcomes["accepted"], 400);
        assert_eq!(report.unanswered, 0);
        assert!(report.ok());
        // The stalled one waited about as long as the stall; with it all the others that were due meanwhile, each less:
        // coordinated omission would show one slow request in 400.
        assert!(report.latency.p50_ms > 10.0, "{:?}", report.latency);
        assert!(report.latency.max_ms >= 200.0, "{:?}", report.latency);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_never_answered_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            drop(stream);
        });
        let report = run(&plan(address, Pace::Open(100.0))).await.unwrap();
        assert!(!report.ok());
        assert!(
            report.outcomes.keys().any(|outcome| outcome.starts_with("no answer")),
            "{:?}",
            report.outcomes
        );
    }

    #[test]
    fn requests_are_well_formed_and_spread_over_all_variants() {
        let address = "127.0.0.1:1".parse().unwrap();
        let plan = Plan { variants: 7, ..plan(address, Pace::Closed) };
        let mut requests = Requests::new(&plan, 3);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let wire = requests.next().to_vec();
            let mut headers = [httparse::EMPTY_HEADER; 8];
            let mut request = httparse::Request::new(&mut headers);
            let httparse::Status::Complete(start) = request.parse(&wire).unwrap() else {
                panic!("a whole head")
            };
            let body: serde_json::Value = serde_json::from_slice(&wire[start..]).unwrap();
            assert_eq!(body["quantity"], 1);
            seen.insert(request.path.unwrap().to_owned());
        }
        assert_eq!(seen.len(), 7);
    }
}
