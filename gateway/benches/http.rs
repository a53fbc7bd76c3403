//! Durable reservations over HTTP on a server of its own: complete, with projections, metrics and limits as in production.
//! Generator and server share the machine. `cargo bench -p daybook-gateway --bench http` prints the conditions with the
//! figures; `BENCH_SECONDS` (default 5) and `BENCH_ROUNDS` (default 3) set the length. Medians over the rounds.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use daybook_gateway::load::client::{Connection, request};
use daybook_gateway::load::latency::Latencies;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const STREAMS: u64 = 10_000;
const STATE_CACHE_MIB: u64 = 1_024;

struct Server {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // The holds of all rounds stay active: the states that are decided on must all find room.
        let config = folder.path().join("daybook.toml");
        std::fs::write(&config, format!("[memory]\nstate_cache_mib = {STATE_CACHE_MIB}\n")).expect("a file");
        let mut child = Command::new(env!("CARGO_BIN_EXE_daybook"))
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(&config)
            .arg("--data")
            .arg(folder.path().join("data"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let address = line
            .trim()
            .strip_prefix("listening on http://")
            .expect("an address")
            .parse()
            .expect("an address");
        Self { child, address, _folder: folder }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn receive(server: SocketAddr, variant: &str) {
    let mut connection = Connection::open(server).await.expect("a connection");
    let body = serde_json::json!({"quantity": 1_000_000_000});
    let answer = connection
        .post(&format!("/v1/commands/inventory/{variant}/receive"), &body)
        .await
        .expect("an answer");
    assert!(answer.status < 300);
}

/// Each connection sends the next reservation when the last is answered. Gives accepted commands a second.
async fn closed_loop(
    server: SocketAddr,
    round: u64,
    connections: u64,
    streams: u64,
    seconds: u64,
) -> (f64, Latencies) {
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut lanes = tokio::task::JoinSet::new();
    for lane in 0..connections {
        lanes.spawn(async move {
            let mut connection = Connection::open(server).await.expect("a connection");
            let mut latencies = Latencies::default();
            let mut count = 0_u64;
            while Instant::now() < until {
                let variant = (lane * 7_919 + count * 104_729) % streams;
                let path = format!("/v1/commands/inventory/v{variant}/reserve");
                let body =
                    format!(r#"{{"customer_id":"c{round}-{lane}-{count}","quantity":1,"ttl_seconds":3600}}"#);
                let wire = request("POST", &path, &[("content-type", "application/json")], body.as_bytes());
                let began = Instant::now();
                let answer = connection.send(&wire).await.expect("an answer");
                latencies.record(began.elapsed());
                assert!(answer.status < 300, "{}", String::from_utf8_lossy(&answer.body));
                count += 1;
            }
            latencies
        });
    }
    let began = Instant::now();
    let mut all = Latencies::default();
    while let Some(lane) = lanes.join_next().await {
        all.merge(&lane.expect("a lane"));
    }
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = all.count() as f64 / began.elapsed().as_secs_f64();
    (rate, all)
}

fn main() {
    let (seconds, rounds) = (setting("BENCH_SECONDS", 5), setting("BENCH_ROUNDS", 3));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "{cores} cores shared by server and generator, closed loop, {rounds} rounds of {seconds} s, medians, {STATE_CACHE_MIB} MiB for states"
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let server = Server::start();
        let address = server.address;
        for variant in 0..STREAMS {
            receive(address, &format!("v{variant}")).await;
        }
        for (name, connections, streams) in [
            ("one client, one stream", 1, 1),
            ("64 connections, one hot stream", 64, 1),
            ("64 connections, 10,000 streams", 64, STREAMS),
            ("1,000 connections, one hot stream", 1_000, 1),
        ] {
            let mut rates = Vec::new();
            let mut latencies = Latencies::default();
            for round in 0..rounds {
                let key = round * 10 + connections * 100_000 + streams * 1_000_000_000;
                let (rate, of_round) = closed_loop(address, key, connections, streams, seconds).await;
                rates.push(rate);
                latencies.merge(&of_round);
            }
            rates.sort_by(f64::total_cmp);
            let p = latencies.percentiles();
            println!(
                "{name:<36} {:>9.0} commands/s   p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms",
                rates[rates.len() / 2],
                p.p50_ms,
                p.p99_ms,
                p.p999_ms
            );
        }
    });
}
