//! A large log: what it takes on disk and in memory, how fast it opens and is read.
//!
//! Of the streams a ninth has ten events, as far apart as can be, and all others have one: 2 events a stream.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use daybook_eventlog::{EventLog, Filter, Scan, SegmentLog, SegmentOptions, scan_in_order};

use crate::events::{JSON_BYTES, Reserved, append, folder, median, payload, stream};

/// Which events a log of about `streams` streams has.
struct Shape {
    long: u64,
    lone_a_round: u64,
}

impl Shape {
    fn new(streams: u64) -> Self {
        Self { long: streams / 9, lone_a_round: (streams - streams / 9) / 10 }
    }

    fn events(&self) -> u64 {
        10 * (self.long + self.lone_a_round)
    }

    fn streams(&self) -> u64 {
        self.long + 10 * self.lone_a_round
    }

    /// The stream of event `n`, and how many events it has before. Streams of ten events come first.
    fn place_of(&self, n: u64) -> (u64, u64) {
        let (round, place) = (n / (self.long + self.lone_a_round), n % (self.long + self.lone_a_round));
        if place < self.long {
            (place, round)
        } else {
            (self.long + round * self.lone_a_round + place - self.long, 0)
        }
    }
}

fn fill(log: &SegmentLog, shape: &Shape, until: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut under_way = None;
    let mut n = log.head_position();
    while n < until {
        let end = until.min(n + 4_000);
        let event = |n| {
            let (of, before) = shape.place_of(n);
            append(n, stream(of), before, payload(n))
        };
        let group = (n..end).map(event).collect();
        if let Some(before) = under_way.replace(log.append_group(group)) {
            runtime.block_on(before).into_iter().for_each(|result| drop(result.expect("an append")));
        }
        n = end;
    }
    if let Some(last) = under_way {
        runtime.block_on(last).into_iter().for_each(|result| drop(result.expect("an append")));
    }
}

pub fn measure(streams: u64) {
    let folder = folder();
    let shape = Shape::new(streams);
    let log = SegmentLog::open(folder.path(), SegmentOptions::default()).expect("a new log");
    let start = Instant::now();
    fill(&log, &shape, shape.events());
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "fill   {} events over {} streams in {seconds:.0} s: {:.0} events/s with making the events, sealing and merging; peak {} MiB",
        shape.events(),
        shape.streams(),
        shape.events() as f64 / seconds,
        memory_mib("VmHWM:")
    );
    let start = Instant::now();
    log.wait_until_sealed();
    println!("seal   caught up {:.1} s later: {:?}", start.elapsed().as_secs_f64(), log.stats());
    drop(log);
    on_disk(folder.path());
    // In a process of its own, so that its memory is that of reading.
    let me = std::env::current_exe().expect("this program");
    let mut reader =
        Command::new(me).arg("read").arg(folder.path()).arg(streams.to_string()).spawn().expect("a process");
    assert!(reader.wait().expect("it ends").success());
    drop(folder);
    open_after_kill();
}

fn on_disk(folder: &Path) {
    let (mut sealed, mut index, mut unsealed_from) = (0, 0, u64::MAX);
    for entry in std::fs::read_dir(folder).expect("the folder") {
        let entry = entry.expect("an entry");
        let (name, bytes) = (entry.file_name(), entry.metadata().expect("a size").len());
        let name = name.to_string_lossy();
        match name.rsplit_once('.') {
            Some((_, "sealed")) => sealed += bytes,
            Some((_, "run")) => index += bytes,
            Some((_, "log")) => unsealed_from = unsealed_from.min(name[4..24].parse().expect("a position")),
            _ => {}
        }
    }
    let json = (unsealed_from - 1) as f64 * JSON_BYTES as f64;
    println!(
        "disk   {:.1} % of the JSON of the {} sealed events: segments {:.1} %, index {:.1} %",
        100.0 * (sealed + index) as f64 / json,
        unsealed_from - 1,
        100.0 * sealed as f64 / json,
        100.0 * index as f64 / json
    );
}

/// Reads a log that [`measure`] has filled.
pub fn reads(folder: &Path, streams: u64) {
    let shape = Shape::new(streams);
    // Into the page cache, as it is after use.
    for entry in std::fs::read_dir(folder).expect("the folder") {
        let mut file = std::fs::File::open(entry.expect("an entry").path()).expect("a file");
        std::io::copy(&mut file, &mut std::io::sink()).expect("a file is read");
    }
    let start = Instant::now();
    let log = Arc::new(SegmentLog::open(folder, SegmentOptions::default()).expect("the log"));
    let (seconds, read) = (start.elapsed().as_secs_f64(), log.open_report().bytes_read >> 20);
    println!(
        "open   after a close: {:.0} ms with {read} MiB unsealed; {} MiB resident",
        seconds * 1e3,
        memory_mib("VmRSS:")
    );
    let (mut times, mut cpu): (Vec<Duration>, Vec<Duration>) = Default::default();
    let mut dice = 1u64;
    for _ in 0..5_000 {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let stream = stream((dice >> 20) % shape.long);
        let (start, cpu_start) = (Instant::now(), thread_time());
        let events = log.read_stream_blocking(&stream, 1, 100).expect("a stream");
        times.push(start.elapsed());
        cpu.push(thread_time() - cpu_start);
        assert_eq!(events.len(), 10);
    }
    for (what, times) in [("by the clock", &mut times), ("on the processor", &mut cpu)] {
        times.sort();
        println!(
            "stream of 10 events, each stream for the first time, {what}: p50 {:?}, p99 {:?}, p99.9 {:?}",
            times[times.len() / 2],
            times[times.len() * 99 / 100],
            times[times.len() * 999 / 1000],
        );
    }
    println!("memory {} MiB resident after that", memory_mib("VmRSS:"));
    scans(log, &shape);
}

fn scans(log: Arc<SegmentLog>, shape: &Shape) {
    let until = shape.events().min(4_000_000);
    // By the clock, and by the time that the reading thread was on a processor.
    let rate = |what: &str, run: &dyn Fn() -> u64| {
        let (clock, cpu): (Vec<f64>, Vec<f64>) = (0..5)
            .map(|_| {
                let (start, cpu_start) = (Instant::now(), thread_time());
                let events = run() as f64;
                (events / start.elapsed().as_secs_f64(), events / (thread_time() - cpu_start).as_secs_f64())
            })
            .unzip();
        println!(
            "scan   {what}: {:.0} events/s (best {:.0}), {:.0} a second of this thread on a processor",
            median(clock.clone()),
            clock.iter().copied().fold(0.0, f64::max),
            median(cpu)
        );
    };
    let read = |decode: bool| {
        let (mut after, mut total) = (0, 0);
        while after < until {
            let page = log.read_all_blocking(after, &Filter::default(), 4096, 8 << 20).expect("a page");
            total +=
                page.events.iter().map(|event| if decode { decoded(event.data()) } else { 1 }).sum::<u64>();
            after = page.scanned_to;
        }
        assert!(total >= until);
        after
    };
    rate("raw, one thread", &|| read(false));
    rate("decoded, one thread", &|| read(true));
    let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("a runtime");
    let all: Arc<dyn EventLog> = log.clone();
    let parallel = || {
        let work = |events: Vec<daybook_eventlog::RecordedEvent>| {
            events.iter().map(|event| decoded(event.data())).sum::<u64>()
        };
        let mut total = 0;
        runtime
            .block_on(scan_in_order(&all, Scan::all(0, until), work, |sum, _| total += sum))
            .expect("a scan");
        assert!(total >= until);
        until
    };
    rate("decoded, in order on all cores", &parallel);
    let absent = Filter { types: vec!["none".into()], ..Filter::default() };
    let skip = || {
        let (mut after, head) = (0, log.head_position());
        while after < head {
            after = log.read_all_blocking(after, &absent, 4096, 8 << 20).expect("a page").scanned_to;
        }
        head
    };
    rate("for a type that is not there", &skip);
}

fn decoded(data: &[u8]) -> u64 {
    let event: Reserved<'_> = serde_json::from_slice(data).expect("a reservation");
    let names = event.reservation_id.len() + event.variant_id.len() + event.customer_id.len();
    u64::from(event.quantity) + names as u64
}

/// A process that fills unsealed segments and is killed, and how long the log takes to open after that.
pub fn open_after_kill() {
    let rates = (0..3).map(|_| {
        let folder = folder();
        let me = std::env::current_exe().expect("this program");
        let mut child = Command::new(me)
            .arg("fill-unsealed")
            .arg(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a second process");
        let line = BufReader::new(child.stdout.take().expect("its output")).lines().next();
        line.expect("a line").expect("a line of text");
        child.kill().expect("it is killed");
        child.wait().expect("it is dead");
        let start = Instant::now();
        let log = SegmentLog::open(folder.path(), SegmentOptions::default()).expect("the log");
        let seconds = start.elapsed().as_secs_f64();
        let read = log.open_report().bytes_read;
        let rate = seconds * (1u64 << 30) as f64 / read as f64;
        println!(
            "open   after a kill: {:.2} s with {} MiB unsealed: {rate:.2} s a GiB; {} MiB resident",
            seconds,
            read >> 20,
            memory_mib("VmRSS:")
        );
        rate
    });
    println!("open   after a kill: median {:.2} s a GiB", median(rates.collect()));
}

/// Fills eight segments faster than they can be sealed, says so, and appends on.
pub fn fill_unsealed(folder: &Path) {
    // The highest level keeps the sealer busy with the first segment.
    let options = SegmentOptions { compression_level: 19, max_unsealed: 64, ..SegmentOptions::default() };
    let log = SegmentLog::open(folder, options).expect("a new log");
    let shape = Shape::new(2_000_000);
    let mut until = 0;
    while log.stats().unsealed_segments < 9 {
        until += 10_000;
        fill(&log, &shape, until);
    }
    println!("filled");
    fill(&log, &shape, u64::MAX);
}

/// How long this thread has been on a processor: what a busy machine makes it wait for does not count.
fn thread_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("a Linux system");
    let nanos = text.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number");
    Duration::from_nanos(nanos)
}

/// A line of this process's state in the kernel, in MiB.
fn memory_mib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a Linux system");
    let line = status.lines().find(|line| line.starts_with(name)).expect("the line");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1024
}
