//! A real process on a real disk, killed again and again while it appends, and in the very middle of sealing and merging.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use daybook_eventlog::{Append, EventLog, Expected, Filter, SegmentLog, SegmentOptions, StreamId};
use support::{append_to, event, run_group, wait};

const FOLDER: &str = "DAYBOOK_KILL_FOLDER";

/// So many that the index is worth merging.
const STREAMS: u64 = 512;

/// Kills that must be proved to have come while a segment was sealed, and while index runs were merged.
const WANTED: usize = 10;

/// How long it may take to get there.
const PATIENCE: Duration = Duration::from_secs(240);

/// Event number `n` (1 or more): the streams in turn.
fn append(n: u64) -> Append {
    let fill = "x".repeat(usize::try_from(n % 251).unwrap());
    let event = event(u128::from(n), format!("{{\"n\":{n},\"fill\":\"{fill}\"}}"));
    append_to(&format!("kill-{}", n % STREAMS), Expected::Exact((n - 1) / STREAMS), vec![event])
}

/// Appends without end and says after each group which event comes next.
#[test]
#[ignore = "the kill loop starts it as a process of its own"]
fn the_process_that_is_killed() {
    let folder = std::env::var_os(FOLDER).expect("the kill loop names the folder");
    let log = SegmentLog::open(folder, options()).unwrap();
    let mut next = log.head_position() + 1;
    let mut out = std::io::stdout();
    loop {
        writeln!(out, "\nack {next}").unwrap();
        out.flush().unwrap();
        let size = 1 + next % 40;
        run_group(&log, (next..next + size).map(append).collect()).into_iter().for_each(|r| drop(r.unwrap()));
        next += size;
    }
}

fn start(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "the_process_that_is_killed", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Segments so small that one is sealed every few groups.
fn options() -> SegmentOptions {
    SegmentOptions { segment_bytes: 32 << 10, block_bytes: 4 << 10, ..SegmentOptions::default() }
}

/// When a process is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// After so many replies.
    Replies(u32),
    /// As soon as this file is seen.
    Seen(&'static str),
}

/// Runs the process until its moment has come; returns the last event that it said was on the disk.
fn run_and_kill(folder: &Path, moment: Moment, deadline: Instant) -> u64 {
    let mut child = start(folder);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let acknowledged = AtomicU64::new(0);
    let replies = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Until the process is dead: what it managed to say counts.
            for line in lines.map_while(Result::ok) {
                if let Some(next) = line.strip_prefix("ack ") {
                    acknowledged.store(next.parse::<u64>().unwrap() - 1, Ordering::SeqCst);
                    replies.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        let come = || match moment {
            Moment::Replies(count) => replies.load(Ordering::SeqCst) >= u64::from(count),
            Moment::Seen(name) => replies.load(Ordering::SeqCst) > 0 && folder.join(name).exists(),
        };
        while !come() {
            let status = child.try_wait().unwrap();
            assert!(status.is_none(), "the process lives until it is killed: {status:?}");
            assert!(Instant::now() < deadline, "waited too long for {moment:?}");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    });
    acknowledged.load(Ordering::SeqCst)
}

#[test]
fn every_acknowledged_event_survives_every_kill() {
    let folder = tempfile::tempdir().unwrap();
    let deadline = Instant::now() + PATIENCE;
    let (mut sealing, mut merging, mut acknowledged) = (0, 0, 0);
    for round in 0u32.. {
        let moment = match round % 3 {
            0 => Moment::Replies(1 + (round * 37) % 61),
            1 => Moment::Seen("seal.tmp"),
            _ => Moment::Seen("merge.tmp"),
        };
        acknowledged = run_and_kill(folder.path(), moment, deadline).max(acknowledged);
        // A temporary file that outlived its process is the proof that the work on it was not done.
        sealing += usize::from(folder.path().join("seal.tmp").exists());
        merging += usize::from(folder.path().join("merge.tmp").exists());
        if round % 6 == 5 {
            check(folder.path(), acknowledged);
        }
        if round >= 18 && sealing >= WANTED && merging >= WANTED {
            break;
        }
        assert!(Instant::now() < deadline, "{sealing} kills while sealing, {merging} while merging");
    }
    check(folder.path(), acknowledged);
    let log = SegmentLog::open(folder.path(), options()).unwrap();
    log.wait_until_sealed();
    assert!(log.stats().sealed_segments > 20, "{:?}", log.stats());
    log.verify(|finding| panic!("{finding:?}")).unwrap();
}

/// The log holds 1, 2, 3, … at least to what was acknowledged, each at its place in its stream.
fn check(folder: &Path, acknowledged: u64) {
    let log = SegmentLog::open(folder, options()).unwrap();
    assert!(log.head_position() >= acknowledged, "{} of {acknowledged} are left", log.head_position());
    let mut next = 1u64;
    loop {
        let page = log.read_all_blocking(next - 1, &Filter::default(), 1000, usize::MAX).unwrap();
        for event in &page.events {
            assert_eq!((event.position, event.event_id.as_u128()), (next, u128::from(next)));
            let place = (format!("kill-{}", next % STREAMS), (next - 1) / STREAMS + 1);
            assert_eq!((event.stream(), event.revision), (&*place.0, place.1));
            next += 1;
        }
        if page.at_head {
            break;
        }
    }
    for name in 0..STREAMS {
        let stream = StreamId::new(format!("kill-{name}")).unwrap();
        let events = log.read_stream_blocking(&stream, 1, usize::MAX).unwrap();
        assert!(events.iter().zip(1..).all(|(event, revision)| event.revision == revision));
        let wanted = (1..next).filter(|n| n % STREAMS == name).count();
        assert_eq!(events.len(), wanted);
        assert_eq!(wait(log.stream_revision(&stream)).unwrap(), wanted as u64);
    }
}
