//! The event log beside its peers, in one run: same events, same durability (synced before the reply), same batches.
//!
//! `cargo run --release [--features sqlite,fjall] -- [STREAMS]`. Every figure is the median of five rounds, and the contenders take
//! turns within a round, so that whatever else the machine does meets all of them. STREAMS (default 200,000) is the number of streams of ten
//! events in the log for the stream reads. `DAYBOOK_BENCH_DIR` names the disk to measure.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use daybook_eventlog::{
    Append, EventLog, Expected, Filter, NewEvent, SegmentLog, SegmentOptions, StreamAppend, StreamId,
};
use uuid::Uuid;

const ROUNDS: usize = 5;
const EVENTS_A_ROUND: usize = 40_000;

fn folder() -> tempfile::TempDir {
    let made = match std::env::var_os("DAYBOOK_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(PathBuf::from(dir)),
        None => tempfile::tempdir(),
    };
    made.expect("a temporary folder")
}

/// 490 bytes of JSON, no two alike.
fn payload(n: u64) -> Bytes {
    let mut text = format!(
        r#"{{"reservation_id":"{:016x}","variant_id":"variant-{}","customer_id":"customer-{}","quantity":{},"order_id":"order-{n}","note":""#,
        n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        n % 10_000,
        n % 50_000,
        1 + n % 5
    );
    let words = ["gift", "wrapped", "express", "leave", "with", "neighbour", "fragile", "call", "before"];
    let mut dice = n | 1;
    while text.len() < 480 {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(words[(dice >> 40) as usize % words.len()]);
        text.push(' ');
    }
    text.truncate(488);
    text.push_str("\"}");
    Bytes::from(text)
}

/// Something that makes batches of events durable.
trait Contender {
    fn name(&self) -> &'static str;
    /// Writes `count` events, numbered from `first`, and returns when they are on the disk.
    fn commit(&mut self, first: u64, count: usize);
}

struct Bare {
    _folder: tempfile::TempDir,
    file: File,
    at: u64,
    size: u64,
}

impl Bare {
    fn new() -> Self {
        let folder = folder();
        let path = folder.path().join("bare");
        let file = File::options().read(true).write(true).create_new(true).open(path).expect("a new file");
        let size = 128 << 20;
        for at in 0..size >> 20 {
            file.write_all_at(&vec![0; 1 << 20], at << 20).expect("zeros are written");
        }
        file.sync_all().expect("zeros are synced");
        Self { _folder: folder, file, at: 0, size }
    }
}

impl Contender for Bare {
    fn name(&self) -> &'static str {
        "bare file"
    }

    fn commit(&mut self, first: u64, count: usize) {
        let mut buffer = Vec::with_capacity(count * 520);
        for n in first..first + count as u64 {
            let data = payload(n);
            buffer.extend_from_slice(&(data.len() as u32).to_le_bytes());
            buffer.extend_from_slice(&crc32c::crc32c(&data).to_le_bytes());
            buffer.extend_from_slice(&data);
        }
        if self.at + buffer.len() as u64 > self.size {
            self.at = 0;
        }
        self.file.write_all_at(&buffer, self.at).expect("a write");
        self.file.sync_data().expect("a sync");
        self.at += buffer.len() as u64;
    }
}

struct Segment {
    _folder: tempfile::TempDir,
    log: SegmentLog,
    runtime: tokio::runtime::Runtime,
}

fn append(n: u64, stream: StreamId) -> Append {
    let event = NewEvent {
        event_id: Uuid::from_u128(u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)),
        event_type: "inventory.reserved",
        version: 1,
        recorded_at: 1_700_000_000_000_000 + n as i64,
        data: payload(n),
        metadata: Bytes::new(),
    };
    Append { streams: vec![StreamAppend { stream, expected: Expected::Any, events: vec![event] }] }
}

fn stream(n: u64) -> StreamId {
    StreamId::new(format!("inventory-variant-{n}")).expect("a good name")
}

impl Segment {
    fn new() -> Self {
        let folder = folder();
        let log = SegmentLog::open(folder.path(), SegmentOptions::default()).expect("a new log");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        Self { _folder: folder, log, runtime }
    }
}

impl Contender for Segment {
    fn name(&self) -> &'static str {
        "segment log"
    }

    fn commit(&mut self, first: u64, count: usize) {
        let group = (first..first + count as u64).map(|n| append(n, stream(n % 10_000))).collect();
        for result in self.runtime.block_on(self.log.append_group(group)) {
            result.expect("an append");
        }
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use super::{Contender, folder, payload};

    pub struct Sqlite {
        _folder: tempfile::TempDir,
        connection: rusqlite::Connection,
    }

    impl Sqlite {
        pub fn new() -> Self {
            let folder = folder();
            let connection = rusqlite::Connection::open(folder.path().join("log.db")).expect("a database");
            connection
                .execute_batch(
                    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;
                     CREATE TABLE events (position INTEGER PRIMARY KEY, stream TEXT, revision INTEGER, id BLOB, type TEXT, data BLOB,
                     UNIQUE (stream, revision));",
                )
                .expect("a table");
            Self { _folder: folder, connection }
        }
    }

    impl Contender for Sqlite {
        fn name(&self) -> &'static str {
            "SQLite (WAL, FULL)"
        }

        fn commit(&mut self, first: u64, count: usize) {
            let transaction = self.connection.transaction().expect("a transaction");
            let mut insert = transaction
                .prepare_cached("INSERT INTO events (stream, revision, id, type, data) VALUES (?, ?, ?, ?, ?)")
                .expect("a statement");
            for n in first..first + count as u64 {
                let stream = format!("inventory-variant-{}", n % 10_000);
                let values = (stream, n / 10_000, n.to_le_bytes(), "inventory.reserved", &payload(n)[..]);
                insert.execute(values).expect("an insert");
            }
            drop(insert);
            transaction.commit().expect("a commit");
        }
    }
}

#[cfg(feature = "fjall")]
mod lsm {
    use super::{Contender, folder, payload};

    pub struct Fjall {
        _folder: tempfile::TempDir,
        database: fjall::Database,
        events: fjall::Keyspace,
        streams: fjall::Keyspace,
    }

    impl Fjall {
        pub fn new() -> Self {
            let folder = folder();
            let database = fjall::Database::builder(folder.path()).open().expect("a database");
            let options = fjall::KeyspaceCreateOptions::default;
            let events = database.keyspace("events", options).expect("a keyspace");
            let streams = database.keyspace("streams", options).expect("a keyspace");
            Self { _folder: folder, database, events, streams }
        }
    }

    impl Contender for Fjall {
        fn name(&self) -> &'static str {
            "fjall (SyncData)"
        }

        fn commit(&mut self, first: u64, count: usize) {
            let mut batch = self.database.batch().durability(Some(fjall::PersistMode::SyncData));
            for n in first..first + count as u64 {
                batch.insert(&self.events, n.to_be_bytes(), &payload(n)[..]);
                let key = format!("inventory-variant-{}/{:010}", n % 10_000, n / 10_000);
                batch.insert(&self.streams, key, n.to_be_bytes());
            }
            batch.commit().expect("a commit");
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn appends() {
    let mut contenders: Vec<Box<dyn Contender>> = vec![Box::new(Bare::new()), Box::new(Segment::new())];
    #[cfg(feature = "sqlite")]
    contenders.push(Box::new(sqlite::Sqlite::new()));
    #[cfg(feature = "fjall")]
    contenders.push(Box::new(lsm::Fjall::new()));
    let mut next = 0;
    for size in [1, 64, 256] {
        let commits = if size == 1 { 500 } else { EVENTS_A_ROUND / size };
        let mut rates = vec![Vec::new(); contenders.len()];
        for _ in 0..ROUNDS {
            for (contender, rates) in contenders.iter_mut().zip(&mut rates) {
                let start = Instant::now();
                for commit in 0..commits {
                    contender.commit(next + (commit * size) as u64, size);
                }
                rates.push((commits * size) as f64 / start.elapsed().as_secs_f64());
            }
            next += (commits * size) as u64;
        }
        let bare = median(rates[0].clone());
        for (contender, rates) in contenders.iter().zip(rates) {
            let rate = median(rates);
            let share = 100.0 * rate / bare;
            println!("append {size:>3} a commit  {:<20} {rate:>10.0} events/s  {share:>5.0} % of the bare file", contender.name());
        }
    }
}

fn scan(log: &SegmentLog, filter: &Filter, mut take: impl FnMut(&[u8])) -> u64 {
    let (mut after, mut events) = (0, 0);
    loop {
        let page = log.read_all_blocking(after, filter, 4096, 8 << 20).expect("a page");
        page.events.iter().for_each(|event| take(event.data()));
        events += page.events.len() as u64;
        after = page.scanned_to;
        if page.at_head {
            return events;
        }
    }
}

fn disk_bytes(folder: &Path, ending: &str) -> u64 {
    let files = std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry"));
    files.filter(|f| f.file_name().to_string_lossy().ends_with(ending)).map(|f| f.metadata().expect("a size").len()).sum()
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a Linux system");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a VmRSS line");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1024
}

fn reads(streams: u64) {
    let folder = folder();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let log = SegmentLog::open(folder.path(), SegmentOptions::default()).expect("a new log");
    let total = streams * 10;
    let start = Instant::now();
    let mut n = 0;
    while n < total {
        // Round after round over all streams: the ten events of one are as far apart as can be.
        let group = (n..total.min(n + 500)).map(|n| append(n, stream(n % streams))).collect();
        runtime.block_on(log.append_group(group)).into_iter().for_each(|r| drop(r.expect("an append")));
        n += 500;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("fill   {total} events, {streams} streams: {:.0} events/s sustained, with sealing beside it", total as f64 / seconds);
    log.wait_until_sealed();
    let head = log.head_position();
    println!("state  {:?}, {} MiB resident", log.stats(), resident_mib());
    let sealed = disk_bytes(folder.path(), ".sealed") + disk_bytes(folder.path(), ".run");
    let unsealed = log.stats().unsealed_segments as u64 * (128 << 20) / 560;
    let share = 100.0 * sealed as f64 / ((head.saturating_sub(unsealed)) as f64 * 490.0);
    println!("disk   sealed segments and index: at most {share:.0} % of the JSON in them");
    drop(log);

    let start = Instant::now();
    let log = SegmentLog::open(folder.path(), SegmentOptions::default()).expect("the log");
    let read = log.open_report().bytes_read;
    let seconds = start.elapsed().as_secs_f64();
    println!("open   {:.0} ms for {} MiB of unsealed log: {:.2} s a GiB", seconds * 1e3, read >> 20, seconds * (1u64 << 30) as f64 / read as f64);

    let mut times: Vec<Duration> = Vec::new();
    let mut dice = 1u64;
    for _ in 0..2000 {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let stream = stream((dice >> 20) % streams);
        let start = Instant::now();
        let events = log.read_stream_blocking(&stream, 1, 100).expect("a stream");
        times.push(start.elapsed());
        assert_eq!(events.len(), 10);
    }
    times.sort();
    println!("stream of 10 events: p50 {:?}, p99 {:?}; {} MiB resident", times[1000], times[1980], resident_mib());

    for (name, filter) in [("all", Filter::default()), ("an absent type", Filter { types: vec!["none".into()], ..Filter::default() })] {
        let rates = (0..3).map(|_| {
            let start = Instant::now();
            let mut bytes = 0;
            scan(&log, &filter, |data| bytes += data.len());
            head as f64 / start.elapsed().as_secs_f64()
        });
        println!("scan   {name}: {:.0} events/s", median(rates.collect()));
    }
}

fn main() {
    let streams = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(200_000);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{cores} cores, load before the run: {}", load.trim());
    appends();
    reads(streams);
}
