//! Small logs with every single bit flipped and cut at every byte: each is detected or harmless, never wrong data.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use daybook_eventlog::segment::{self, fault::FaultStorage};
use daybook_eventlog::{
    EventLog, Expected, Filter, ReadError, RecordedEvent, SegmentLog, SegmentOptions, StreamId,
};
use support::{Files, append_to, event, in_parallel, read_everything, run_group, wait};

const STREAMS: usize = 3;

/// Bytes of a segment's header that mean something, and where its frames begin.
const HEADER_FIELDS: usize = 52;
const FRAMES: usize = 4096;

fn options() -> SegmentOptions {
    SegmentOptions {
        segment_bytes: 8 << 10,
        block_bytes: 1 << 10,
        background: false,
        ..SegmentOptions::default()
    }
}

fn open(files: &Files) -> Result<SegmentLog, String> {
    SegmentLog::open_on(Arc::new(FaultStorage::from_files(files)), options()).map_err(|e| e.to_string())
}

/// A log at rest and what is in it.
struct Sample {
    files: Files,
    events: Vec<RecordedEvent>,
    /// Where in the newest segment the last group of frames lies, if nothing says that it was durable.
    in_doubt: Range<usize>,
    /// Events before that group.
    certain: usize,
}

/// Writes groups of two appends until `enough`; returns the disk and the log, still open.
fn write_until(enough: impl Fn(&SegmentLog) -> bool) -> (FaultStorage, SegmentLog, Vec<Files>) {
    let disk = FaultStorage::from_files(&[]);
    let log = SegmentLog::open_on(Arc::new(disk.clone()), options()).unwrap();
    let mut history = Vec::new();
    for n in 0u128.. {
        if enough(&log) {
            break;
        }
        let append = |id: u128| {
            let data = format!("{{\"n\":{id},\"fill\":\"{}\"}}", "x".repeat(220));
            append_to(&format!("s-{}", id % STREAMS as u128), Expected::Any, vec![event(id, data)])
        };
        let results = run_group(&log, vec![append(2 * n + 1), append(2 * n + 2)]);
        results.into_iter().for_each(|result| drop(result.unwrap()));
        history.push(disk.files());
    }
    (disk, log, history)
}

/// Closed in order: sealed segments, a merged index run and one of a single segment, a tail with its end mark.
fn closed_log() -> Sample {
    let (disk, log, _) = write_until(|log| log.stats().sealed_segments == 5 && log.head_position() % 12 == 0);
    assert_eq!((log.stats().index_runs, log.stats().unsealed_segments), (2, 1));
    let events = read_everything(&log);
    drop(log);
    let certain = events.len();
    Sample { files: disk.files(), events, in_doubt: 0..0, certain }
}

/// Killed after a commit, before anything was sealed: two unsealed segments, no end mark.
fn killed_log() -> Sample {
    let (_, log, mut history) = write_until(|log| log.stats().sealed_segments == 1);
    let events = read_everything(&log);
    let mut files = history.pop().unwrap();
    let unsealed = history.pop().unwrap().into_iter().find(|(name, _)| name.ends_with("01.log")).unwrap();
    files.retain(|(name, _)| name == "LOG" || name.ends_with(".log"));
    files.insert(1, unsealed);
    let newest = &files.last().unwrap().1;
    // The group that made the new segment is all that is in it: one frame, or two of equal length.
    let end = newest.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let first = files.last().unwrap().0[4..24].parse::<usize>().unwrap();
    Sample { certain: first - 1, in_doubt: FRAMES..end.next_multiple_of(8), files, events }
}

/// What became of a damaged log.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// It does not open, a read fails, or verification finds something.
    Detected,
    /// So many of its first events are left, and the log says that it cut something off.
    Cut(usize),
    /// All is as it was.
    Same,
}

/// Opens the log and reads all of it in every way. Wrong data is a panic; so is an event that is missing unsaid, or a
/// log that opens and cannot go on.
fn outcome(files: &Files, events: &[RecordedEvent]) -> Outcome {
    let (outcome, left) = look(files, events);
    if outcome != Outcome::Detected {
        goes_on(files, &events[..left]);
    }
    outcome
}

/// As [`outcome`], without writing to the log. Also tells how many events are left.
fn look(files: &Files, events: &[RecordedEvent]) -> (Outcome, usize) {
    let Ok(log) = open(files) else { return (Outcome::Detected, 0) };
    let left = match read(&log, events) {
        Ok(left) => left,
        Err(ReadError::Damaged { .. }) => return (Outcome::Detected, 0),
        Err(other) => panic!("{other}"),
    };
    let mut findings = 0;
    log.verify(|_| findings += 1).unwrap();
    if findings > 0 {
        return (Outcome::Detected, 0);
    }
    if left < events.len() || log.open_report().cut.is_some() {
        assert!(log.open_report().cut.is_some(), "{} events are missing unsaid", events.len() - left);
        return (Outcome::Cut(left), left);
    }
    (Outcome::Same, left)
}

/// Compares what can be read, by position and by stream, with what was written; returns how many events there are.
fn read(log: &SegmentLog, events: &[RecordedEvent]) -> Result<usize, ReadError> {
    let mut count = 0;
    loop {
        let page = log.read_all_blocking(count as u64, &Filter::default(), 50, usize::MAX)?;
        assert_eq!(page.events, events[count..count + page.events.len()]);
        count += page.events.len();
        if page.at_head {
            break;
        }
    }
    for n in 0..STREAMS {
        let stream = StreamId::new(format!("s-{n}")).unwrap();
        let found = log.read_stream_blocking(&stream, 1, 100)?;
        assert!(found.iter().eq(events[..count].iter().filter(|event| event.stream() == stream.as_str())));
        assert_eq!(wait(log.stream_revision(&stream))?, found.len() as u64);
    }
    Ok(count)
}

/// A log that opened takes a further event, and has that and nothing else more when it is opened again.
fn goes_on(files: &Files, events: &[RecordedEvent]) {
    let disk = FaultStorage::from_files(files);
    let again = SegmentLog::open_on(Arc::new(disk.clone()), options()).unwrap();
    let before = events.iter().filter(|event| event.stream() == "s-0").count() as u64;
    let append = append_to("s-0", Expected::Exact(before), vec![event(9999, "{}")]);
    let appended = wait(again.append(append)).unwrap();
    assert_eq!(appended.first, events.len() as u64 + 1);
    let killed = disk.restart(1, Default::default());
    let reopened = SegmentLog::open_on(Arc::new(killed), options()).unwrap();
    assert_eq!(reopened.open_report().cut, None);
    let found = read_everything(&reopened);
    assert_eq!(found[..events.len()], *events);
    assert_eq!(found[events.len()..].iter().map(|e| e.event_id.as_u128()).collect::<Vec<_>>(), [9999]);
}

/// What a flipped bit may come to.
fn allowed(sample: &Sample, file: usize, at: usize, outcome: &Outcome) -> bool {
    let (name, bytes) = &sample.files[file];
    let newest = file == sample.files.iter().rposition(|(name, _)| name.ends_with(".log")).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let padding = name.ends_with(".log") && (HEADER_FIELDS..FRAMES).contains(&at);
    match outcome {
        Outcome::Detected => !padding && (!name.ends_with(".log") || at < used.next_multiple_of(8)),
        // The end mark, and what stands behind it; and the last group, if nothing says that it was durable.
        Outcome::Cut(left) => {
            let behind = newest && at >= FRAMES;
            behind
                && (*left == sample.events.len() || sample.in_doubt.contains(&at) && *left >= sample.certain)
        }
        Outcome::Same => padding || name.ends_with(".log") && at >= used && !newest,
    }
}

fn flip_every_bit(sample: &Sample) {
    assert_eq!(outcome(&sample.files, &sample.events), Outcome::Same);
    let places: Vec<(usize, usize)> = sample
        .files
        .iter()
        .enumerate()
        .flat_map(|(file, (_, bytes))| (0..bytes.len()).map(move |at| (file, at)))
        .collect();
    in_parallel(&places, |(file, at)| {
        let mut damaged = sample.files.clone();
        for bit in 0..8 {
            let was = damaged[*file].1[*at];
            damaged[*file].1[*at] ^= 1 << bit;
            // Zeros are the bulk of it: whether the log goes on after them is tried with one bit of each byte.
            let outcome = if was != 0 || bit == at % 8 {
                outcome(&damaged, &sample.events)
            } else {
                look(&damaged, &sample.events).0
            };
            let name = &sample.files[*file].0;
            assert!(allowed(sample, *file, *at, &outcome), "{name} byte {at} bit {bit}: {outcome:?}");
            damaged[*file].1[*at] ^= 1 << bit;
        }
    });
}

#[test]
fn every_flipped_bit_of_a_closed_log_is_detected_or_harmless() {
    flip_every_bit(&closed_log());
}

#[test]
fn every_flipped_bit_of_a_killed_log_is_detected_or_cuts_the_last_group_and_says_so() {
    flip_every_bit(&killed_log());
}

/// Opening a killed log says that what it found is durable: from then on nothing of it passes for a torn tail.
#[test]
fn after_the_next_opening_the_last_group_of_a_killed_log_is_in_no_doubt() {
    let killed = killed_log();
    let disk = FaultStorage::from_files(&killed.files);
    let log = SegmentLog::open_on(Arc::new(disk.clone()), options()).unwrap();
    // Killed again before anything was appended.
    let files = disk.restart(1, Default::default()).files();
    drop(log);
    let newest = files.iter().rposition(|(name, _)| name.ends_with(".log")).unwrap();
    let places: Vec<usize> = killed.in_doubt.collect();
    in_parallel(&places, |at| {
        for bit in 0..8 {
            let mut damaged = files.clone();
            damaged[newest].1[*at] ^= 1 << bit;
            assert_eq!(outcome(&damaged, &killed.events), Outcome::Detected, "byte {at} bit {bit}");
        }
    });
}

#[test]
fn every_cut_is_detected() {
    for sample in [closed_log(), killed_log()] {
        let cuts: Vec<(usize, usize)> = (0..sample.files.len())
            .flat_map(|file| (0..sample.files[file].1.len()).map(move |length| (file, length)))
            .collect();
        in_parallel(&cuts, |(file, length)| {
            let mut damaged = sample.files.clone();
            damaged[*file].1.truncate(*length);
            let outcome = outcome(&damaged, &sample.events);
            assert_eq!(outcome, Outcome::Detected, "{} cut at {length}", sample.files[*file].0);
        });
    }
}

#[test]
fn every_missing_file_is_detected_or_made_again() {
    let sample = closed_log();
    for (file, (name, _)) in sample.files.iter().enumerate() {
        let mut damaged = sample.files.clone();
        damaged.remove(file);
        let wanted = if name.ends_with(".run") { Outcome::Same } else { Outcome::Detected };
        assert_eq!(outcome(&damaged, &sample.events), wanted, "{name}");
    }
}

#[test]
fn every_file_in_the_place_of_another_is_detected() {
    let sample = closed_log();
    let other = closed_log();
    for (file, (name, _)) in sample.files.iter().enumerate() {
        for from in (0..sample.files.len()).filter(|from| *from != file) {
            let mut damaged = sample.files.clone();
            damaged[file].1 = sample.files[from].1.clone();
            assert_eq!(outcome(&damaged, &sample.events), Outcome::Detected, "{name}");
        }
        // The same file of another log with the same events: only the identity tells them apart.
        let mut mixed = sample.files.clone();
        mixed[file].1 = other.files[file].1.clone();
        assert_eq!(outcome(&mixed, &sample.events), Outcome::Detected, "{name} of another log");
    }
}

#[test]
fn damage_in_the_tail_names_file_offset_and_position() {
    let Sample { mut files, .. } = closed_log();
    let tail = files.iter().rposition(|(name, _)| name.ends_with(".log")).unwrap();
    files[tail].1[FRAMES + 40] ^= 1;
    let text = open(&files).err().unwrap();
    let first = files[tail].0[4..24].parse::<u64>().unwrap();
    let wanted = format!("{} at byte 4096, near position {first}", files[tail].0);
    assert!(text.contains(&wanted), "{text}");
}

#[test]
fn verify_finds_damage_and_goes_on() {
    let Sample { mut files, events, .. } = closed_log();
    let sealed = files.iter().position(|(name, _)| name.ends_with(".sealed")).unwrap();
    files[sealed].1[64 + 40] ^= 4;
    let log = open(&files).unwrap();
    let mut findings = Vec::new();
    let report = log.verify(|finding| findings.push(finding)).unwrap();
    assert_eq!((findings[0].code, findings[0].position), ("damaged", 1));
    assert_eq!(findings.len(), 1, "one damaged block is one finding: {findings:?}");
    assert!(report.events > 0 && report.events < events.len() as u64);
}

#[test]
fn every_flipped_bit_and_every_cut_of_an_export_is_detected_or_harmless() {
    let sample = closed_log();
    let source = open(&sample.files).unwrap();
    let mut export = Vec::new();
    source.export(&mut export, 0).unwrap();
    let import = |bytes: &[u8]| -> Option<Vec<RecordedEvent>> {
        let options = SegmentOptions { new_log_id: Some(source.log_id()), ..options() };
        let target = SegmentLog::open_on(Arc::new(FaultStorage::from_files(&[])), options).unwrap();
        target.import(&mut &*bytes).is_ok().then(|| read_everything(&target))
    };
    assert_eq!(import(&export).as_ref(), Some(&sample.events));
    let whole = segment::inspect(&mut &export[..]).unwrap();
    assert_eq!((whole.first, whole.events), (1, sample.events.len() as u64));
    let longer = [&export[..], b"more"].concat();
    assert!(segment::inspect(&mut &longer[..]).is_err(), "something follows");
    let places: Vec<usize> = (0..export.len()).collect();
    // Nothing hangs on the last four bytes of the header, on the position in the end mark, and on a few bits of zstd's
    // that it does not look at: what comes out is the same.
    let end_mark = export.len() - 48;
    let free = |at: usize| {
        (76..80).contains(&at)
            || (128..end_mark + 16).contains(&at) && !(end_mark..end_mark + 8).contains(&at)
    };
    in_parallel(&places, |at| {
        assert_eq!(import(&export[..*at]), None, "cut at {at}");
        assert!(segment::inspect(&mut &export[..*at]).is_err(), "cut at {at}");
        let mut damaged = export.clone();
        for bit in 0..8 {
            damaged[*at] ^= 1 << bit;
            let imported = import(&damaged);
            assert!(imported.is_none() || free(*at), "byte {at} of {}, bit {bit}", export.len());
            let sound = segment::inspect(&mut &damaged[..]).is_ok();
            assert_eq!(sound, imported.is_some(), "byte {at}, bit {bit}: looked at is not brought in");
            assert!(imported.is_none_or(|events| events == sample.events));
            damaged[*at] ^= 1 << bit;
        }
    });
}

/// The bytes of one group of two appends of which a crash kept the second and lost the first.
#[test]
fn what_a_tear_left_behind_never_comes_back_to_life() {
    let append = |id: u128, stream: &str, data_len: usize| {
        let event = daybook_eventlog::NewEvent { metadata: Bytes::new(), ..event(id, vec![b' '; data_len]) };
        append_to(stream, Expected::Exact(0), vec![event])
    };
    let ids =
        |log: &SegmentLog| read_everything(log).iter().map(|e| e.event_id.as_u128()).collect::<Vec<_>>();
    let disk = FaultStorage::from_files(&[]);
    let log = SegmentLog::open_on(Arc::new(disk.clone()), options()).unwrap();
    run_group(&log, vec![append(1, "lost", 96), append(2, "kept", 96)]);
    // The files as they are before the close adds its marker.
    let mut files = disk.files();
    drop(log);
    let segment = files.iter_mut().find(|(name, _)| name.ends_with(".log")).unwrap();
    let frame = segment.1[FRAMES..].windows(4).position(|w| w == b"lost").unwrap() + FRAMES - 44 - 32;
    segment.1[frame..frame + 160].fill(0);

    let disk = FaultStorage::from_files(&files);
    let log = SegmentLog::open_on(Arc::new(disk.clone()), options()).unwrap();
    assert!(log.open_report().cut.is_some(), "neither was acknowledged to anyone: both are cut");
    assert_eq!(ids(&log), []);
    // With the marker of the close this ends exactly where the second frame of the torn group began.
    run_group(&log, vec![append(3, "new1", 64)]);
    drop(log);
    let log = open(&disk.files()).unwrap();
    assert_eq!(ids(&log), [3]);
}
