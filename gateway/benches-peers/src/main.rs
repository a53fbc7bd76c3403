//! Durable reservations of one unit, 64 clients (`BENCH_CLIENTS`) at once, on one hot item and over 10,000 items: Daybook over HTTP, complete, on its
//! own log and on PostgreSQL; its engine in process on PostgreSQL; and what shops use today through its own client, in one run on one machine.
//!
//! `tests/bench-peers` builds everything, starts private servers and runs this. By hand: `DAYBOOK_BIN` (the binary),
//! `DAYBOOK_TEST_POSTGRES_URL`, `DAYBOOK_TEST_REDIS_URL`, then `cargo run --release`. `BENCH_SECONDS` (default 5) and `BENCH_ROUNDS`
//! (default 3) set the length; `BENCH_ONLY`, a part of a name, leaves out whoever has no such part (several, separated by commas).
//! The contenders take turns within a round, so that whatever else the machine does meets
//! all of them; figures are medians over the rounds, `NaN` for whoever failed in most of them.
//!
//! What is compared, and what not: Daybook's reply means an event on disk (`fdatasync`), checked limits, an idempotency record
//! where asked, projections running. The row updates and the script only lower a number (and, for Redis, keep who holds what):
//! they are the *least* that such a shop does.

mod daybook;
mod engine;
mod measure;
mod redis_script;
mod rows;
mod stock;

use std::future::Future;
use std::pin::Pin;

use anyhow::Context;

use measure::Settings;

/// As in the product, for all that runs in this process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Items that the even load is spread over.
pub(crate) const ITEMS: u64 = 10_000;
/// Units that every item has: more than anybody can sell.
pub(crate) const UNITS: i64 = 1_000_000_000;

/// One way to reserve a unit.
pub(crate) trait Contender {
    fn name(&self) -> &'static str;
    /// Reservations a second over `items` items, in one round.
    fn round(
        &mut self,
        settings: Settings,
        items: u64,
        round: u64,
    ) -> Pin<Box<dyn Future<Output = anyhow::Result<f64>> + '_>>;
}

fn setting(name: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set; tests/bench-peers sets it"))
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings = Settings {
        seconds: number("BENCH_SECONDS", 5),
        clients: u32::try_from(number("BENCH_CLIENTS", 64)).context("BENCH_CLIENTS")?,
    };
    let rounds = number("BENCH_ROUNDS", 3);
    let postgres = setting("DAYBOOK_TEST_POSTGRES_URL")?;
    let redis = setting("DAYBOOK_TEST_REDIS_URL")?;
    let program = setting("DAYBOOK_BIN")?;
    let clients = settings.clients;
    let only = std::env::var("BENCH_ONLY").ok();
    let wanted =
        |name: &str| only.as_ref().is_none_or(|only| only.split(',').any(|part| name.contains(part)));
    let mut contenders: Vec<Box<dyn Contender>> = Vec::new();
    for (name, log, gateways) in [
        ("Daybook, over HTTP", None, 1),
        ("Daybook on PostgreSQL, over HTTP", Some(postgres.as_str()), 1),
        ("two gateways on one PostgreSQL, over HTTP", Some(&postgres), 2),
    ] {
        if wanted(name) {
            contenders.push(Box::new(daybook::Daybook::start(&program, name, log, gateways)?));
        }
    }
    for (name, engines) in
        [("Daybook's engine on PostgreSQL, in process", 1), ("two engines on one PostgreSQL, in process", 2)]
    {
        if wanted(name) {
            contenders.push(Box::new(engine::Engines::connect(&postgres, name, engines).await?));
        }
    }
    if wanted(stock::NAME) {
        contenders.push(Box::new(stock::Stock::connect(&postgres, clients).await?));
    }
    for (way, clients) in
        [(rows::Way::Statement, clients), (rows::Way::Statement, 8), (rows::Way::Lock, clients)]
    {
        if wanted(way.name(clients)) {
            contenders.push(Box::new(rows::Rows::connect(&postgres, way, clients).await?));
        }
    }
    if wanted(redis_script::NAME) {
        contenders.push(Box::new(redis_script::RedisScript::connect(&redis).await?));
    }
    anyhow::ensure!(!contenders.is_empty(), "BENCH_ONLY={only:?} leaves nobody");
    conditions(&postgres, &redis, settings, rounds).await?;
    let mut table: Vec<[Vec<f64>; 2]> = contenders.iter().map(|_| Default::default()).collect();
    for round in 0..rounds {
        for (load, items) in [1, ITEMS].into_iter().enumerate() {
            for (contender, row) in contenders.iter_mut().zip(&mut table) {
                // One that breaks down under the load leaves a gap in the table, and the others their figures.
                let rate = contender.round(settings, items, round).await.unwrap_or_else(|error| {
                    eprintln!("round {round}, {items} items: {} failed: {error:#}", contender.name());
                    f64::NAN
                });
                eprintln!("round {round}, {items} items: {} {rate:.0}/s", contender.name());
                row[load].push(rate);
            }
        }
    }
    let medians: Vec<[f64; 2]> = table.into_iter().map(|row| row.map(median)).collect();
    println!(
        "| reservations/s | one hot item | first is | times stock | 10,000 items | first is | times stock |\n|---|---|---|---|---|---|---|"
    );
    let stock = contenders.iter().position(|contender| contender.name() == stock::NAME);
    let [stock_hot, stock_even] = stock.map_or([f64::NAN; 2], |at| medians[at]);
    for (contender, [hot, even]) in contenders.iter().zip(&medians) {
        let [our_hot, our_even] = medians[0];
        println!(
            "| {} | {hot:.0} | {:.1} times | {:.1} | {even:.0} | {:.1} times | {:.1} |",
            contender.name(),
            our_hot / hot,
            hot / stock_hot,
            our_even / even,
            even / stock_even
        );
    }
    Ok(())
}

async fn conditions(postgres: &str, redis: &str, settings: Settings, rounds: u64) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "{cores} cores shared by servers and clients; {} clients unless said otherwise; {rounds} rounds of {} s, medians; load average at the start {}",
        settings.clients,
        settings.seconds,
        load.split(' ').next().unwrap_or("unknown")
    );
    println!("{}; {}\n", rows::conditions(postgres).await?, redis_script::conditions(redis).await?);
    Ok(())
}
