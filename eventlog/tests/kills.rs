//! A real process on a real disk, killed again and again while it appends, seals and merges.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use daybook_eventlog::{
    Append, EventLog, Expected, Filter, NewEvent, SegmentLog, SegmentOptions, StreamAppend, StreamId,
};
use uuid::Uuid;

const FOLDER: &str = "DAYBOOK_KILL_FOLDER";

/// Event number `n` (1 or more): 16 streams in turn.
fn append(n: u64) -> Append {
    let stream = StreamId::new(format!("kill-{}", n % 16)).unwrap();
    let event = NewEvent {
        event_id: Uuid::from_u128(u128::from(n)),
        event_type: "kill.survived",
        version: 1,
        recorded_at: 0,
        data: Bytes::from(format!(
            "{{\"n\":{n},\"fill\":\"{}\"}}",
            "x".repeat(usize::try_from(n % 251).unwrap())
        )),
        metadata: Bytes::new(),
    };
    let expected = Expected::Exact((n - 1) / 16);
    Append { streams: vec![StreamAppend { stream, expected, events: vec![event] }] }
}

/// Appends without end and says after each group which event comes next.
#[test]
#[ignore = "the kill loop starts it as a process of its own"]
fn the_process_that_is_killed() {
    let folder = std::env::var_os(FOLDER).expect("the kill loop names the folder");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let log = SegmentLog::open(folder, options()).unwrap();
    let mut next = log.head_position() + 1;
    let mut out = std::io::stdout();
    loop {
        writeln!(out, "\nack {next}").unwrap();
        out.flush().unwrap();
        let size = 1 + next % 40;
        let group = (next..next + size).map(append).collect();
        runtime.block_on(log.append_group(group)).into_iter().for_each(|result| drop(result.unwrap()));
        next += size;
    }
}

fn start(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "the_process_that_is_killed", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn options() -> SegmentOptions {
    SegmentOptions { segment_bytes: 64 << 10, block_bytes: 4 << 10, ..SegmentOptions::default() }
}

#[test]
fn every_acknowledged_event_survives_every_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = 0u64;
    for round in 0..40u32 {
        let mut child = start(folder.path());
        // Killed after so many replies, and so at moments spread over appending, rolling, sealing and merging.
        let replies = 1 + (round * 37) % 101;
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acks =
            lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("ack ")?.parse::<u64>().ok());
        for _ in 0..replies {
            acknowledged = acks.next().expect("the process lives until it is killed") - 1;
        }
        child.kill().unwrap();
        // What it managed to say before it died counts.
        acknowledged = acks.last().map_or(acknowledged, |next| next - 1);
        child.wait().unwrap();
        if round % 8 == 7 {
            check(folder.path(), acknowledged);
        }
    }
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
            assert_eq!(
                (event.stream(), event.revision),
                (&*format!("kill-{}", next % 16), (next - 1) / 16 + 1)
            );
            next += 1;
        }
        if page.at_head {
            break;
        }
    }
    for name in 0..16 {
        let stream = StreamId::new(format!("kill-{name}")).unwrap();
        let events = log.read_stream_blocking(&stream, 1, usize::MAX).unwrap();
        assert!(events.iter().zip(1..).all(|(event, revision)| event.revision == revision));
        let wanted = (1..next).filter(|n| n % 16 == name).count();
        assert_eq!(events.len(), wanted);
    }
}
