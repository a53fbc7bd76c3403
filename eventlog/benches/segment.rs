//! The segment log beside the bare disk: appends by group size, the lone append, the scan.
//!
//! `cargo bench -p daybook-eventlog` runs it in a folder of the system's temporary place; set `DAYBOOK_BENCH_DIR` to
//! measure another disk. The bare file is filled with zeros ahead, and written and synced a group at a time, with a
//! CRC-32C over each record: what the format costs beyond that is what is measured.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on must stop")]

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use daybook_eventlog::{
    Append, EventLog, Expected, Filter, NewEvent, RecordedEvent, Scan, SegmentLog, SegmentOptions,
    StreamAppend, StreamId, scan_in_order,
};
use serde::Deserialize;
use uuid::Uuid;

/// The allocator of the product.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BARE_BYTES: u64 = 256 << 20;

fn folder() -> tempfile::TempDir {
    match std::env::var_os("DAYBOOK_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(PathBuf::from(dir)).unwrap(),
        None => tempfile::tempdir().unwrap(),
    }
}

/// A reservation as the shop writes it: 490 bytes of JSON.
fn payload(n: u64) -> Bytes {
    let mut text = format!(
        concat!(
            r#"{{"reservation_id":"{:032x}","variant_id":"variant-{}","location":"warehouse-{}","customer_id":"customer-{}","#,
            r#""quantity":{},"expires_at":"2026-03-0{}T10:0{}:00Z","order_id":"order-{}","price":{{"amount":"{}.{:02}","currency":"GBP"}},"note":""#
        ),
        u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835),
        n % 10_000,
        n % 7,
        n % 50_000,
        1 + n % 5,
        1 + n % 9,
        n % 10,
        n,
        n % 100,
        n % 97,
    );
    let words = ["gift", "wrapped", "express", "leave", "with", "neighbour", "fragile", "call", "before"];
    let mut at = n;
    while text.len() < 480 {
        text.push_str(words[usize::try_from(at % 9).unwrap()]);
        text.push(' ');
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1) >> 3;
    }
    text.truncate(488);
    text.push_str("\"}");
    Bytes::from(text)
}

struct Source {
    n: u64,
    streams: Vec<StreamId>,
    payloads: Vec<Bytes>,
}

impl Source {
    fn new() -> Self {
        let streams = (0..10_000).map(|n| StreamId::new(format!("inventory-variant-{n}")).unwrap()).collect();
        Self { n: 0, streams, payloads: (0..4096).map(payload).collect() }
    }

    fn event(&mut self) -> NewEvent {
        self.n += 1;
        NewEvent {
            event_id: Uuid::from_u128(u128::from(self.n) << 64 | 0x9e37_79b9),
            event_type: "inventory.reserved",
            version: 1,
            recorded_at: 1_700_000_000_000_000 + i64::try_from(self.n).unwrap(),
            data: self.payloads[usize::try_from(self.n % 4096).unwrap()].clone(),
            metadata: Bytes::from_static(br#"{"actor":"bench"}"#),
        }
    }

    fn group(&mut self, size: usize) -> Vec<Append> {
        (0..size)
            .map(|_| {
                let event = self.event();
                let stream = self.streams[usize::try_from(self.n * 7919 % 10_000).unwrap()].clone();
                let part = StreamAppend { stream, expected: Expected::Any, events: vec![event] };
                Append::new(vec![part])
            })
            .collect()
    }
}

/// One thread that writes records to a zero-filled file and syncs after each group.
struct BareFile {
    _folder: tempfile::TempDir,
    file: File,
    at: u64,
    payloads: Vec<Bytes>,
}

impl BareFile {
    fn new() -> Self {
        let folder = folder();
        let file =
            File::options().read(true).write(true).create_new(true).open(folder.path().join("bare")).unwrap();
        let zeros = vec![0; 1 << 20];
        for at in 0..BARE_BYTES >> 20 {
            file.write_all_at(&zeros, at << 20).unwrap();
        }
        file.sync_all().unwrap();
        Self { _folder: folder, file, at: 0, payloads: (0..4096).map(payload).collect() }
    }

    fn write(&mut self, size: usize) {
        let mut buffer = Vec::with_capacity(size * 600);
        for n in 0..size {
            let data = &self.payloads[n % 4096];
            buffer.extend_from_slice(&u32::try_from(data.len()).unwrap().to_le_bytes());
            buffer.extend_from_slice(&crc32c::crc32c(data).to_le_bytes());
            buffer.extend_from_slice(data);
        }
        if self.at + buffer.len() as u64 > BARE_BYTES {
            self.at = 0;
        }
        self.file.write_all_at(&buffer, self.at).unwrap();
        self.file.sync_data().unwrap();
        self.at += buffer.len() as u64;
    }
}

/// The time of so many runs of `timed`, each after an unmeasured run of `other`: whatever else the machine does meets both.
fn in_turns(count: u64, mut timed: impl FnMut() -> Duration, mut other: impl FnMut()) -> Duration {
    (0..count)
        .map(|_| {
            other();
            timed()
        })
        .sum()
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn appends(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut group = c.benchmark_group("append");
    group.sample_size(20);
    for size in [1, 64, 256] {
        group.throughput(Throughput::Elements(size as u64));
        let mut bare = BareFile::new();
        let (folder, mut source) = (folder(), Source::new());
        let log = SegmentLog::open(folder.path(), SegmentOptions::default()).unwrap();
        let append = |group: Vec<Append>| {
            runtime.block_on(log.append_group(group)).into_iter().for_each(|r| drop(r.unwrap()));
        };
        group.bench_function(format!("bare_file/{size}"), |b| {
            b.iter_custom(|count| {
                in_turns(count, || timed(|| bare.write(size)), || append(source.group(size)))
            });
        });
        group.bench_function(format!("segment/{size}"), |b| {
            b.iter_custom(|count| {
                let one = || {
                    let group = source.group(size);
                    timed(|| append(group))
                };
                in_turns(count, one, || bare.write(size))
            });
        });
        // Two groups under way: the next one waits in the queue while the first is synced, as under load.
        group.throughput(Throughput::Elements(2 * size as u64));
        group.bench_function(format!("segment_two_under_way/{size}"), |b| {
            b.iter_custom(|count| {
                let two = || {
                    let (first, second) = (source.group(size), source.group(size));
                    timed(|| {
                        let (first, second) = (log.append_group(first), log.append_group(second));
                        let results = runtime.block_on(async { [first.await, second.await] });
                        results.into_iter().flatten().for_each(|r| drop(r.unwrap()));
                    })
                };
                in_turns(count, two, || bare.write(size))
            });
        });
    }
    group.finish();
}

#[derive(Deserialize)]
struct Reserved<'a> {
    #[serde(borrow)]
    reservation_id: &'a str,
    quantity: u32,
}

fn scans(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (folder, mut source) = (folder(), Source::new());
    let options = SegmentOptions { segment_bytes: 32 << 20, ..SegmentOptions::default() };
    let log = Arc::new(SegmentLog::open(folder.path(), options).unwrap());
    let total: u64 = 300_000;
    for _ in 0..total / 500 {
        runtime.block_on(log.append_group(source.group(500))).into_iter().for_each(|r| drop(r.unwrap()));
    }
    log.wait_until_sealed();
    let mut group = c.benchmark_group("scan");
    group.sample_size(10).throughput(Throughput::Elements(total));
    let scan = |filter: &Filter, decode: bool| {
        let (mut after, mut quantity, mut events) = (0, 0u64, 0);
        loop {
            let page = log.read_all_blocking(after, filter, 4096, 8 << 20).unwrap();
            for event in &page.events {
                if decode {
                    let reserved: Reserved<'_> = serde_json::from_slice(event.data()).unwrap();
                    quantity += u64::from(reserved.quantity) + reserved.reservation_id.len() as u64;
                }
            }
            events += page.events.len();
            after = page.scanned_to;
            if page.at_head {
                return (quantity, events);
            }
        }
    };
    group.bench_function("raw", |b| b.iter(|| black_box(scan(&Filter::default(), false))));
    group.bench_function("decoded", |b| b.iter(|| black_box(scan(&Filter::default(), true))));
    let all: Arc<dyn EventLog> = log.clone();
    let workers = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    group.bench_function("decoded_on_all_cores", |b| {
        b.iter(|| {
            let work = |events: Vec<RecordedEvent>| {
                let quantity = |event: &RecordedEvent| {
                    let reserved: Reserved<'_> = serde_json::from_slice(event.data()).unwrap();
                    u64::from(reserved.quantity) + reserved.reservation_id.len() as u64
                };
                events.iter().map(quantity).sum::<u64>()
            };
            let mut sum = 0;
            workers.block_on(scan_in_order(&all, Scan::all(0, total), work, |part, _| sum += part)).unwrap();
            black_box(sum)
        });
    });
    let absent = Filter { types: vec!["order.placed".into()], stream_prefixes: Vec::new() };
    group.bench_function("filtered_away", |b| b.iter(|| black_box(scan(&absent, false))));
    group.finish();
}

criterion_group!(benches, appends, scans);
criterion_main!(benches);
