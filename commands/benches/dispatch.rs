//! Reservations a second through the dispatcher in process: one hot stream, and uniform over 10,000 streams; over the log
//! in memory and over segment files with real `fdatasync`. And the time of one command alone.
//!
//! `cargo bench -p daybook-commands`; the conditions are printed first. Every command is a complete one: parsed from
//! JSON, decided, encoded, committed, answered. Two callers keep 2,048 commands each under way. Holds are never given
//! back, so the states grow as in a sale.
#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "a benchmark stops at the first thing that goes wrong"
)]

use std::collections::VecDeque;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use daybook_aggregates::Roles;
use daybook_commands::{Dispatcher, Options, Principal, Request, SystemClock};
use daybook_eventlog::{EventLog, MemoryLog, SegmentLog, SegmentOptions};
use daybook_schemas::Label;
use tokio::runtime::Runtime;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const STREAMS: u64 = 10_000;
const CALLERS: u64 = 2;
const WINDOW: usize = 2_048;
const COMMANDS: u64 = 50_000;

#[derive(Clone)]
struct Shop {
    dispatcher: Dispatcher,
    principal: Principal,
    next: Arc<AtomicU64>,
}

impl Shop {
    async fn open(log: Arc<dyn EventLog>, streams: u64) -> Self {
        let dispatcher = Dispatcher::start(log, Options::default(), Arc::new(SystemClock)).await.unwrap();
        let principal = Principal { name: Label::new("bench").unwrap(), roles: Roles::ALL };
        let shop = Self { dispatcher, principal, next: Arc::default() };
        for stream in 0..streams {
            let body = r#"{"quantity":1000000000}"#;
            drop(shop.send(stream, "receive", body.to_owned()));
        }
        shop.send(0, "receive", r#"{"quantity":1}"#.to_owned()).await.unwrap();
        shop
    }

    fn send(&self, stream: u64, command: &str, body: String) -> daybook_commands::Answer {
        let id = format!("v{stream}");
        self.dispatcher.dispatch(Request::new("inventory", id, command, body, self.principal.clone()))
    }

    fn reserve(&self, streams: u64) -> daybook_commands::Answer {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        // A stride that is coprime with the number of streams visits them all.
        let stream = n.wrapping_mul(7_919) % streams;
        self.send(stream, "reserve", format!(r#"{{"customer_id":"c{n}","quantity":1,"ttl_seconds":86400}}"#))
    }

    async fn caller(self, streams: u64, commands: u64) {
        let mut under_way = VecDeque::with_capacity(WINDOW);
        for _ in 0..commands {
            if under_way.len() == WINDOW {
                let answer: daybook_commands::Answer = under_way.pop_front().unwrap();
                black_box(answer.await.unwrap());
            }
            under_way.push_back(self.reserve(streams));
        }
        for answer in under_way {
            black_box(answer.await.unwrap());
        }
    }

    async fn run(&self, streams: u64, commands: u64) -> Duration {
        let start = Instant::now();
        let callers: Vec<_> =
            (0..CALLERS).map(|_| tokio::spawn(self.clone().caller(streams, commands / CALLERS))).collect();
        for caller in callers {
            caller.await.unwrap();
        }
        start.elapsed()
    }
}

fn segment(folder: &Path) -> Arc<dyn EventLog> {
    Arc::new(SegmentLog::open(folder, SegmentOptions::default()).unwrap())
}

/// Processor time that this process has used, and its decision thread alone: unlike the time on the clock it says
/// something on a machine that does other work too. Linux only; zero elsewhere.
fn processor_time() -> (Duration, Duration) {
    // utime and stime are the 14th and 15th field, in hundredths of a second; the name before may contain blanks.
    let read = |stat: &str| {
        let stat = std::fs::read_to_string(stat).unwrap_or_default();
        let fields: Vec<i64> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split(' ')
            .filter_map(|field| field.parse().ok())
            .collect();
        let ticks: i64 = fields.get(10..12).map_or(0, |ticks| ticks.iter().sum());
        Duration::from_millis(10 * ticks.unsigned_abs())
    };
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let decide = threads.filter(|thread| {
        std::fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name.trim() == "decide")
    });
    let decide = decide.map(|thread| read(&thread.path().join("stat").to_string_lossy())).sum();
    (read("/proc/self/stat"), decide)
}

fn conditions() {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    println!(
        "conditions: {cpus} CPUs ({}), {} {}, {CALLERS} callers with {WINDOW} commands under way each, {COMMANDS} commands a round, segment log in {}",
        model.trim_start_matches([' ', '\t', ':']),
        std::env::consts::OS,
        std::env::consts::ARCH,
        env!("CARGO_TARGET_TMPDIR"),
    );
}

fn throughput(criterion: &mut Criterion, runtime: &Runtime) {
    let mut group = criterion.benchmark_group("reserve");
    group.throughput(Throughput::Elements(COMMANDS));
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
    for (name, streams) in [("hot", 1), ("uniform 10,000", STREAMS)] {
        for durable in [false, true] {
            let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            let log = if durable { segment(folder.path()) } else { Arc::new(MemoryLog::new()) };
            let shop = runtime.block_on(Shop::open(log.clone(), streams));
            let (mut commands, before) = (0, processor_time());
            let kind = if durable { "segment" } else { "memory" };
            group.bench_function(format!("{name}/{kind}"), |bencher| {
                bencher.iter_custom(|rounds| {
                    runtime.block_on(async {
                        let mut total = Duration::ZERO;
                        for _ in 0..rounds {
                            total += shop.run(streams, COMMANDS).await;
                            commands += COMMANDS;
                        }
                        total
                    })
                });
            });
            let after = processor_time();
            let each = |used: Duration| used.as_secs_f64() * 1e6 / (commands.max(1) as f64);
            println!(
                "reserve/{name}/{kind}: processor time a command {:.2} us in all, {:.2} us in the decision thread ({commands} commands)",
                each(after.0 - before.0),
                each(after.1 - before.1),
            );
            runtime.block_on(async {
                shop.dispatcher.shutdown().await;
                log.close().await;
            });
        }
    }
}

fn alone(criterion: &mut Criterion, runtime: &Runtime) {
    let mut group = criterion.benchmark_group("one command alone");
    group.sample_size(50).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .open(folder.path().join("bare"))
        .unwrap();
    std::io::Write::write_all(&mut &file, &vec![0; 64 << 20]).unwrap();
    file.sync_all().unwrap();
    let mut at = 0;
    group.bench_function("bare write and fdatasync of 512 bytes", |bencher| {
        bencher.iter(|| {
            std::os::unix::fs::FileExt::write_all_at(&file, &[1; 512], at).unwrap();
            at = (at + 512) % (64 << 20);
            file.sync_data().unwrap();
        });
    });
    let log = segment(&folder.path().join("log"));
    let shop = runtime.block_on(Shop::open(log.clone(), 1));
    group.bench_function("reserve/segment", |bencher| {
        bencher.iter(|| runtime.block_on(shop.reserve(1)).unwrap());
    });
    let refused = || shop.send(1, "sell", r#"{"quantity":1}"#.to_owned());
    group.bench_function("refusal/segment", |bencher| {
        bencher.iter(|| runtime.block_on(refused()).unwrap_err());
    });
    runtime.block_on(async {
        shop.dispatcher.shutdown().await;
        log.close().await;
    });
}

fn main() {
    conditions();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut criterion = Criterion::default().configure_from_args();
    throughput(&mut criterion, &runtime);
    alone(&mut criterion, &runtime);
    criterion.final_summary();
}
