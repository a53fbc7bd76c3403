//! Durable reservations over HTTP on a server of its own: complete, with projections, metrics and all limits checked as in
//! production. Generator and server share the machine.
//!
//! `cargo bench -p daybook-gateway --bench http` prints the conditions with the figures; `BENCH_SECONDS` (default 5) and
//! `BENCH_ROUNDS` (default 3) set the length. Rates are medians over the rounds, latencies are over all of them. `daybook load`
//! measures the same on any server.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use daybook_gateway::admission::ticks::Ticks;
use daybook_gateway::admission::{Admission, Settings};
use daybook_gateway::load::child::ChildServer;
use daybook_gateway::load::client::Target;
use daybook_gateway::load::generate::{self, Pace, Plan, Report};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Every limit counts every request, and none refuses: what is measured is the server, not its defaults.
/// The holds of all rounds stay active, and their states must find room.
const LIMITS: &str = "
[memory]
state_cache_mib = 1024
[admission]
exempt_local = false
[admission.ip]
requests = 1000000000
[admission.variant]
requests = 1000000000
";

const STREAMS: u32 = 10_000;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

struct Bench {
    server: ChildServer,
    rounds: u64,
    duration: Duration,
}

impl Bench {
    fn plan(&self, connections: u32, variants: u32, pace: Pace, run: String) -> Plan {
        Plan {
            target: Target::new(self.server.address, None),
            connections,
            variants,
            pace,
            warm_up: Duration::from_secs(1),
            duration: self.duration,
            run,
        }
    }

    /// Gives the median rate.
    async fn measure(&self, name: &str, connections: u32, variants: u32, pace: Pace) -> f64 {
        let mut reports: Vec<Report> = Vec::new();
        for round in 0..self.rounds {
            let kind = if matches!(pace, Pace::Open(_)) { "o" } else { "c" };
            let plan =
                self.plan(connections, variants, pace, format!("{kind}{connections}-{variants}-{round}"));
            generate::prepare(&plan).await.expect("a server that takes stock");
            let report = generate::run(&plan).await.expect("a server that answers");
            assert!(report.ok(), "{}", report.text());
            reports.push(report);
        }
        reports.sort_by(|a, b| a.accepted_per_second.total_cmp(&b.accepted_per_second));
        let median = &reports[reports.len() / 2];
        println!("{name:<44} {:>8.0}/s   {}", median.accepted_per_second, median.latency);
        median.accepted_per_second
    }
}

/// What the check of all three limits costs, as one thread sees it: a hot variant, a customer of its own for each request.
fn admission() {
    const CHECKS: u32 = 1_000_000;
    let file: toml::Table = toml::from_str(LIMITS).expect("a constant");
    let settings: Settings =
        file["admission"].clone().try_into().expect("the section as the server reads it");
    let admission = Admission::new(&settings, &Ticks::default());
    let headers = axum::http::HeaderMap::new();
    let began = Instant::now();
    for n in 0..CHECKS {
        let body = format!(r#"{{"customer_id":"c-{n}","quantity":1,"ttl_seconds":3600}}"#);
        let caller = admission.caller(Some([203, 0, 113, 7].into()), &headers, false);
        black_box(admission.admit(caller, "inventory", "v", "reserve", body.as_bytes()))
            .expect("nothing is refused");
    }
    println!("check of the three limits, a new customer each: {} ns", (began.elapsed() / CHECKS).as_nanos());
}

fn main() {
    // `cargo test --benches` runs this too, to see that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let (seconds, rounds) = (setting("BENCH_SECONDS", 5), setting("BENCH_ROUNDS", 3));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "{cores} cores shared by server and generator, {rounds} rounds of {seconds} s; load average at the start {}",
        load.split(' ').next().unwrap_or("unknown")
    );
    admission();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let server =
            ChildServer::start(Path::new(env!("CARGO_BIN_EXE_daybook")), LIMITS).expect("the binary starts");
        let bench = Bench { server, rounds, duration: Duration::from_secs(seconds) };
        bench.measure("lone client, closed loop", 1, 1, Pace::Closed).await;
        for (name, variants) in [("one hot variant", 1), ("10,000 variants", STREAMS)] {
            let most = bench
                .measure(&format!("64 connections, {name}, closed loop"), 64, variants, Pace::Closed)
                .await;
            let half = format!("64 connections, {name}, open loop at half");
            bench.measure(&half, 64, variants, Pace::Open(most / 2.0)).await;
        }
        bench.measure("1,000 connections, one hot variant, closed", 1_000, 1, Pace::Closed).await;
    });
}
