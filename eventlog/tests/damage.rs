//! A closed log with every single bit flipped and cut at every byte: each is detected or harmless, never wrong data.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use bytes::Bytes;
use daybook_eventlog::segment::fault::FaultStorage;
use daybook_eventlog::{
    Append, EventLog, Expected, Filter, NewEvent, RecordedEvent, SegmentLog, SegmentOptions, StreamAppend,
    StreamId,
};
use uuid::Uuid;

fn options() -> SegmentOptions {
    SegmentOptions {
        segment_bytes: 6 << 10,
        block_bytes: 1 << 10,
        background: false,
        ..SegmentOptions::default()
    }
}

type Files = Vec<(String, Vec<u8>)>;

/// A log with a sealed segment, an index run and an unsealed tail, closed; and the events in it.
fn small_log() -> (Files, Vec<RecordedEvent>) {
    let disk = FaultStorage::from_files(&[]);
    let log = SegmentLog::open_on(Arc::new(disk.clone()), options()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for n in 0..60u128 {
        let event = NewEvent {
            event_id: Uuid::from_u128(n + 1),
            event_type: "stock.moved",
            version: 1,
            recorded_at: 5,
            data: Bytes::from(format!("{{\"n\":{n}}}")),
            metadata: Bytes::from_static(b"{}"),
        };
        let stream = StreamId::new(format!("s-{}", n % 3)).unwrap();
        let append =
            Append { streams: vec![StreamAppend { stream, expected: Expected::Any, events: vec![event] }] };
        runtime.block_on(log.append(append)).unwrap();
    }
    let events = read(&log).unwrap();
    drop(log);
    let files = disk.files();
    for kind in [".sealed", ".run", ".log", "LOG"] {
        assert!(files.iter().any(|(name, _)| name.ends_with(kind)), "no {kind}");
    }
    (files, events)
}

/// Everything, by position and by stream; an error message if the log says that it is damaged.
fn read(log: &SegmentLog) -> Result<Vec<RecordedEvent>, String> {
    let mut events = Vec::new();
    loop {
        let after = events.last().map_or(0, |event: &RecordedEvent| event.position);
        let page = log.read_all_blocking(after, &Filter::default(), 5, 10_000).map_err(|e| e.to_string())?;
        events.extend(page.events);
        if page.at_head {
            break;
        }
    }
    let mut by_stream = Vec::new();
    for n in 0..3 {
        let stream = StreamId::new(format!("s-{n}")).unwrap();
        by_stream.extend(log.read_stream_blocking(&stream, 1, 100).map_err(|e| e.to_string())?);
    }
    by_stream.sort_by_key(|event| event.position);
    if by_stream != events {
        let mut findings = Vec::new();
        log.verify(|finding| findings.push(finding)).map_err(|e| e.to_string())?;
        return Err(format!("the index and the events disagree: {findings:?}"));
    }
    Ok(events)
}

/// Opens the damaged log; whatever is read must be what was written. `None` if it was detected.
fn outcome(files: &Files) -> Option<Vec<RecordedEvent>> {
    let log = SegmentLog::open_on(Arc::new(FaultStorage::from_files(files)), options()).ok()?;
    read(&log).ok()
}

#[test]
fn every_flipped_bit_is_detected_or_harmless() {
    let (files, events) = small_log();
    assert_eq!(outcome(&files).as_ref(), Some(&events));
    for (file, (name, bytes)) in files.iter().enumerate() {
        // What lies behind the last frame of a segment is zeros: one bit of every byte of it is enough.
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        for at in 0..bytes.len() {
            for bit in if at < used { 0..8 } else { 3..4 } {
                if name.ends_with(".log") && (100..4000).contains(&at) && bit > 0 {
                    continue;
                }
                let mut damaged = files.clone();
                damaged[file].1[at] ^= 1 << bit;
                if let Some(read) = outcome(&damaged) {
                    assert!(read == events, "{name} byte {at} bit {bit}: wrong data, {} events", read.len());
                }
            }
        }
    }
}

#[test]
fn every_cut_is_detected_or_harmless() {
    let (files, events) = small_log();
    for (file, (name, bytes)) in files.iter().enumerate() {
        for length in 0..bytes.len() {
            let mut damaged = files.clone();
            damaged[file].1.truncate(length);
            if let Some(read) = outcome(&damaged) {
                assert!(read == events, "{name} cut at {length}: wrong data, {} events", read.len());
            }
        }
    }
}

#[test]
fn every_missing_file_is_detected_or_made_again() {
    let (files, events) = small_log();
    for (file, (name, _)) in files.iter().enumerate() {
        let mut damaged = files.clone();
        damaged.remove(file);
        let read = outcome(&damaged);
        assert!(read.as_ref().is_none_or(|read| *read == events), "{name} is missing: wrong data");
        assert_eq!(read.is_some(), name.ends_with(".run"), "{name}");
    }
}

#[test]
fn damage_in_the_tail_names_file_offset_and_position() {
    let (files, _) = small_log();
    let tail = files.iter().rposition(|(name, _)| name.ends_with(".log")).unwrap();
    let mut damaged = files;
    damaged[tail].1[4096 + 40] ^= 1;
    let error = SegmentLog::open_on(Arc::new(FaultStorage::from_files(&damaged)), options()).err().unwrap();
    let text = error.to_string();
    assert!(
        text.contains(&damaged[tail].0) && text.contains("byte 4096") && text.contains("position"),
        "{text}"
    );
}

#[test]
fn verify_finds_damage_and_goes_on() {
    let (files, events) = small_log();
    let sealed = files.iter().position(|(name, _)| name.ends_with(".sealed")).unwrap();
    let mut damaged = files.clone();
    damaged[sealed].1[64 + 40] ^= 4;
    let log = SegmentLog::open_on(Arc::new(FaultStorage::from_files(&damaged)), options()).unwrap();
    let mut findings = Vec::new();
    let report = log.verify(|finding| findings.push(finding)).unwrap();
    assert_eq!((findings[0].code, findings[0].position), ("damaged", 1));
    assert_eq!(findings.len(), 1, "one damaged block is one finding: {findings:?}");
    assert!(report.events > 0 && report.events < events.len() as u64);

    let log = SegmentLog::open_on(Arc::new(FaultStorage::from_files(&files)), options()).unwrap();
    let report = log.verify(|finding| panic!("{finding:?}")).unwrap();
    assert_eq!((report.events, report.findings), (events.len() as u64, 0));
}

/// The bytes of one group of two appends of which a crash kept the second and lost the first.
#[test]
fn what_a_tear_left_behind_never_comes_back_to_life() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let append = |id: u128, stream: &str, data_len: usize| {
        let event = NewEvent {
            event_id: Uuid::from_u128(id),
            event_type: "stock.moved",
            version: 1,
            recorded_at: 5,
            data: Bytes::from(vec![b' '; data_len]),
            metadata: Bytes::new(),
        };
        let stream = StreamId::new(stream).unwrap();
        Append { streams: vec![StreamAppend { stream, expected: Expected::Exact(0), events: vec![event] }] }
    };
    let ids = |log: &SegmentLog| read_positions(log).iter().map(|e| e.event_id.as_u128()).collect::<Vec<_>>();
    let disk = FaultStorage::from_files(&[]);
    let log = SegmentLog::open_on(Arc::new(disk.clone()), options()).unwrap();
    runtime.block_on(log.append_group(vec![append(1, "lost", 96), append(2, "kept", 96)]));
    // The files as they are before the close adds its marker.
    let mut files = disk.files();
    drop(log);
    let segment = files.iter_mut().find(|(name, _)| name.ends_with(".log")).unwrap();
    let frame = segment.1[4096..].windows(4).position(|w| w == b"lost").unwrap() + 4096 - 44 - 32;
    segment.1[frame..frame + 160].fill(0);

    let disk = FaultStorage::from_files(&files);
    let log = SegmentLog::open_on(Arc::new(disk.clone()), options()).unwrap();
    assert!(log.open_report().cut.is_some(), "neither was acknowledged to anyone: both are cut");
    assert_eq!(ids(&log), []);
    // With the marker of the close this ends exactly where the second frame of the torn group began.
    runtime.block_on(log.append(append(3, "new1", 64))).unwrap();
    drop(log);
    let log = SegmentLog::open_on(Arc::new(FaultStorage::from_files(&disk.files())), options()).unwrap();
    assert_eq!(ids(&log), [3]);
}

fn read_positions(log: &SegmentLog) -> Vec<RecordedEvent> {
    log.read_all_blocking(0, &Filter::default(), 100, usize::MAX).unwrap().events
}
