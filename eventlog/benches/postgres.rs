//! Commands a second on PostgreSQL: Daybook's log against stock `postgres-es`, same events, same server, same run.
//!
//! `DAYBOOK_TEST_POSTGRES_URL=postgres://… cargo bench -p daybook-eventlog --features postgres --bench postgres`; skipped without
//! the variable. Each of 64 clients loops: load the state, decide, append, wait for the durable answer. Stock loads an
//! aggregate by reading its events; ours keeps it in memory and builds on appends in flight, as the dispatcher does, and is
//! told of conflicts by the log. Medians of the rounds.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, AggregateError, DomainEvent};
use daybook_eventlog::postgres::{PostgresLog, PostgresOptions};
use daybook_eventlog::{Append, EventLog, Expected, NewEvent, StreamAppend, StreamId};
use postgres_es::{PostgresCqrs, postgres_cqrs};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::sync::Mutex;
use uuid::Uuid;

const CLIENTS: u64 = 64;
const STREAMS: u64 = 10_000;

/// `DAYBOOK_BENCH_ROUNDS`, by default 3.
static ROUNDS: LazyLock<u64> = LazyLock::new(|| from_environment("DAYBOOK_BENCH_ROUNDS", 3));
/// `DAYBOOK_BENCH_SECONDS` of each round, by default 3.
static ROUND: LazyLock<Duration> =
    LazyLock::new(|| Duration::from_secs(from_environment("DAYBOOK_BENCH_SECONDS", 3)));

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a whole number"))
}

/// With its wrapper 490 bytes in the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Event {
    #[serde(rename = "stock.reserved")]
    Reserved { reservation: u64, quantity: u32, note: String },
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        "stock.reserved".into()
    }
    fn event_version(&self) -> String {
        "1".into()
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Stock {
    reserved: u64,
    events: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("never")]
struct Never;

impl Stock {
    fn decide(&self) -> Event {
        Event::Reserved { reservation: self.events + 1, quantity: 1, note: "x".repeat(415) }
    }
}

impl Aggregate for Stock {
    const TYPE: &'static str = "stock";
    type Command = ();
    type Event = Event;
    type Error = Never;
    type Services = ();

    async fn handle(&mut self, (): (), (): &(), sink: &EventSink<Self>) -> Result<(), Never> {
        let event = self.decide();
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        let Event::Reserved { quantity, .. } = event;
        self.reserved += u64::from(quantity);
        self.events += 1;
    }
}

/// Streams of one run on one log, with their state once it is loaded.
struct Ours {
    log: PostgresLog,
    streams: HashMap<u64, (StreamId, Mutex<Option<Stock>>)>,
}

impl Ours {
    fn new(log: PostgresLog, run: &str, streams: impl Iterator<Item = u64>) -> Arc<Self> {
        let stream = |n| StreamId::new(format!("stock-{run}-{n}")).unwrap();
        let streams = streams.map(|n| (n, (stream(n), Mutex::new(None)))).collect();
        Arc::new(Self { log, streams })
    }

    async fn execute(&self, n: u64) {
        let (stream, state) = &self.streams[&n];
        let mut state = state.lock().await;
        if state.is_none() {
            let mut loaded = Stock::default();
            for event in self.log.read_stream(stream, 1, usize::MAX).await.unwrap() {
                let wrapped =
                    format!("{{\"stock.reserved\":{}}}", std::str::from_utf8(event.data()).unwrap());
                loaded.apply(serde_json::from_str(&wrapped).unwrap());
            }
            *state = Some(loaded);
        }
        let stock = state.as_mut().unwrap();
        let event = stock.decide();
        let Event::Reserved { reservation, quantity, note } = &event;
        let data = serde_json::json!({"reservation": reservation, "quantity": quantity, "note": note});
        #[allow(clippy::disallowed_methods)]
        let event_id = Uuid::now_v7();
        let new = NewEvent {
            event_id,
            event_type: "stock.reserved",
            version: 1,
            recorded_at: 1_700_000_000_000_000,
            data: data.to_string().into(),
            metadata: bytes::Bytes::from_static(b"{}"),
        };
        let part = StreamAppend {
            stream: stream.clone(),
            expected: Expected::Exact(stock.events),
            events: vec![new],
        };
        let appending = self.log.append(Append::new(vec![part]));
        stock.apply(event);
        drop(state);
        appending.await.unwrap();
    }
}

/// Runs the clients for one round; commands a second.
async fn measure<F: Future<Output = ()> + Send>(
    clients: u64,
    command: impl Fn(u64, u64) -> F + Clone + Send + 'static,
) -> f64 {
    let (done, start) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let (done, command) = (done.clone(), command.clone());
            tokio::spawn(async move {
                let mut dice = (client + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                while start.elapsed() < *ROUND {
                    dice ^= dice << 13;
                    dice ^= dice >> 7;
                    dice ^= dice << 17;
                    command(client, dice).await;
                    if start.elapsed() < *ROUND {
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    #[allow(clippy::cast_precision_loss)]
    let commands = done.load(Ordering::Relaxed) as f64;
    commands / ROUND.as_secs_f64()
}

async fn stock_round(cqrs: &Arc<PostgresCqrs<Stock>>, run: String, streams: u64) -> f64 {
    let cqrs = cqrs.clone();
    measure(CLIENTS, move |_, dice| {
        let (cqrs, id) = (cqrs.clone(), format!("{run}-{}", dice % streams));
        async move {
            loop {
                match cqrs.execute(&id, ()).await {
                    Ok(()) => return,
                    Err(AggregateError::AggregateConflict) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    })
    .await
}

async fn our_round(ours: Arc<Ours>, streams: u64) -> f64 {
    measure(CLIENTS, move |_, dice| {
        let ours = ours.clone();
        async move { ours.execute(dice % streams).await }
    })
    .await
}

/// Two Daybooks, each with half of the clients and half of the streams.
async fn our_round_of_two(pair: [Arc<Ours>; 2]) -> f64 {
    measure(CLIENTS, move |client, dice| {
        let half = client % 2;
        let ours = pair[usize::from(half == 1)].clone();
        async move { ours.execute(2 * (dice % (STREAMS / 2)) + half).await }
    })
    .await
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn stock_pool(url: &str, schema: &str, connections: u32) -> PgPool {
    let options: PgConnectOptions = url.parse().unwrap();
    let options = options.options([("search_path", schema)]);
    PgPoolOptions::new().max_connections(connections).connect_with(options).await.unwrap()
}

async fn bench(url: String) {
    #[allow(clippy::disallowed_methods)]
    let run = Uuid::now_v7().simple().to_string();
    let (our_schema, stock_schema) = (format!("bench_ours_{run}"), format!("bench_stock_{run}"));
    let options = PostgresOptions::new(&url).with_schema(&our_schema);
    let first = PostgresLog::connect(options.clone()).await.unwrap();
    let second = PostgresLog::connect(options).await.unwrap();
    let few = stock_pool(&url, &stock_schema, 10).await;
    let many = stock_pool(&url, &stock_schema, 64).await;
    // The table as postgres-es documents it, without what ours adds.
    sqlx::raw_sql(&format!(
        "CREATE SCHEMA {stock_schema}; CREATE TABLE events (aggregate_type text NOT NULL, aggregate_id text NOT NULL,
         sequence bigint CHECK (sequence >= 0) NOT NULL, event_type text NOT NULL, event_version text NOT NULL,
         payload json NOT NULL, metadata json NOT NULL, PRIMARY KEY (aggregate_type, aggregate_id, sequence))"
    ))
    .execute(&few)
    .await
    .unwrap();
    let few: Arc<PostgresCqrs<Stock>> = Arc::new(postgres_cqrs(few, Vec::new(), ()));
    let many: Arc<PostgresCqrs<Stock>> = Arc::new(postgres_cqrs(many, Vec::new(), ()));
    let conditions = "SELECT current_setting('server_version') || ', fsync ' || current_setting('fsync') \
                      || ', synchronous_commit ' || current_setting('synchronous_commit')";
    let server: String = sqlx::query_scalar(conditions).fetch_one(first.pool()).await.unwrap();
    let cores = std::thread::available_parallelism().unwrap();
    println!(
        "PostgreSQL {server}; {cores} cores shared by server and clients; {CLIENTS} clients; 490-byte events"
    );
    println!("commands/s, median of {} rounds of {} s", *ROUNDS, ROUND.as_secs());

    for (name, streams) in [("10,000 streams", STREAMS), ("one hot stream", 1)] {
        let (mut ours, mut ten, mut sixty_four, mut two) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for round in 0..*ROUNDS {
            let run = format!("{streams}-{round}");
            ours.push(our_round(Ours::new(first.clone(), &run, 0..streams), streams).await);
            ten.push(stock_round(&few, format!("ten-{run}"), streams).await);
            sixty_four.push(stock_round(&many, format!("many-{run}"), streams).await);
            if streams == STREAMS {
                let run = format!("two-{round}");
                let half = |log: &PostgresLog, odd| {
                    Ours::new(log.clone(), &run, (0..STREAMS).filter(move |n| n % 2 == odd))
                };
                two.push(our_round_of_two([half(&first, 0), half(&second, 1)]).await);
            }
        }
        let (ours, ten, sixty_four) = (median(ours), median(ten), median(sixty_four));
        println!(
            "{name}: daybook {ours:.0}; stock postgres-es {ten:.0} (10 connections), {sixty_four:.0} (64 connections)"
        );
        println!("{name}: {:.1} times the better of stock", ours / ten.max(sixty_four));
        if !two.is_empty() {
            println!("{name}: two daybooks on one database {:.0} in sum", median(two));
        }
    }
    first.close().await;
    second.close().await;
    let drop = format!("DROP SCHEMA {our_schema} CASCADE; DROP SCHEMA {stock_schema} CASCADE");
    sqlx::raw_sql(&drop).execute(first.pool()).await.unwrap();
}

fn main() {
    // `cargo test --benches` runs this too, to see that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let Ok(url) = std::env::var("DAYBOOK_TEST_POSTGRES_URL") else {
        println!("skipped: DAYBOOK_TEST_POSTGRES_URL is not set");
        return;
    };
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(bench(url));
}
