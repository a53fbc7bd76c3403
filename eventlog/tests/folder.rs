//! The folder of a segment log: whose it is, what else may lie there, backup and restore.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use daybook_eventlog::segment::BackupError;
use daybook_eventlog::{
    Append, AppendError, EventLog, Expected, Filter, NewEvent, OpenError, RecordedEvent, SegmentLog,
    SegmentOptions, StreamAppend, StreamId,
};
use uuid::Uuid;

fn options() -> SegmentOptions {
    SegmentOptions { segment_bytes: 32 << 10, block_bytes: 2 << 10, ..SegmentOptions::default() }
}

async fn write(log: &SegmentLog, events: std::ops::Range<u128>) {
    for n in events {
        let event = |id| NewEvent {
            event_id: Uuid::from_u128(id),
            event_type: "stock.moved",
            version: 1,
            recorded_at: i64::try_from(n).unwrap(),
            data: Bytes::from(format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(100))),
            metadata: Bytes::from_static(b"{}"),
        };
        let stream = |name: u128| StreamId::new(format!("s-{}", name % 7)).unwrap();
        let part = |name, events| StreamAppend { stream: stream(name), expected: Expected::Any, events };
        let streams = vec![part(n, vec![event(2 * n)]), part(n + 1, vec![event(2 * n + 1)])];
        log.append(Append::new(streams)).await.unwrap();
    }
}

fn everything(log: &SegmentLog) -> Vec<RecordedEvent> {
    let mut events = Vec::new();
    loop {
        let after = events.last().map_or(0, |event: &RecordedEvent| event.position);
        let page = log.read_all_blocking(after, &Filter::default(), 1000, usize::MAX).unwrap();
        events.extend(page.events);
        if page.at_head {
            return events;
        }
    }
}

#[tokio::test]
async fn a_folder_has_one_user_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let log = SegmentLog::open(folder.path(), options()).unwrap();
    let second = SegmentLog::open(folder.path(), options()).err().unwrap();
    assert!(matches!(second, OpenError::InUse { .. }), "{second}");
    assert!(second.to_string().contains(&folder.path().display().to_string()));
    log.close().await;
    SegmentLog::open(folder.path(), options()).unwrap();
}

#[test]
fn a_foreign_folder_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    let error = SegmentLog::open(folder.path(), options()).err().unwrap();
    assert!(matches!(error, OpenError::Foreign { .. }) && error.to_string().contains("notes.txt"), "{error}");
    std::fs::write(folder.path().join("LOG"), "something else").unwrap();
    let error = SegmentLog::open(folder.path(), options()).err().unwrap();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    std::fs::write(folder.path().join("LOG"), "daybook-event-log format=999 id=x\n").unwrap();
    let error = SegmentLog::open(folder.path(), options()).err().unwrap();
    assert!(matches!(error, OpenError::NewerFormat { found: 999, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_and_an_incremental_export_give_the_same_log_again() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = SegmentLog::open(source.path(), options()).unwrap();
    write(&log, 0..300).await;
    let mut whole = Vec::new();
    let transfer = log.export(&mut whole, 0).unwrap();
    assert_eq!((transfer.first, transfer.last, transfer.events), (1, 600, 600));
    // Each append has two events: wherever a copy begins within one, the second would be missing.
    for after in (1..600).step_by(2) {
        let refused = log.export(&mut Vec::new(), after);
        assert!(matches!(refused, Err(BackupError::DoesNotChain(_))), "after {after}: {refused:?}");
    }
    write(&log, 300..350).await;
    let mut increment = Vec::new();
    log.export(&mut increment, 600).unwrap();
    let original = everything(&log);

    let copy = tokio::task::spawn_blocking(move || {
        let copy = SegmentLog::restore(target.path(), options(), &mut &whole[..]).unwrap();
        assert!(
            matches!(copy.import(&mut &whole[..]), Err(BackupError::DoesNotChain(_))),
            "it is there already"
        );
        assert_eq!(copy.import(&mut &increment[..]).unwrap().events, 100);
        assert!(matches!(copy.import(&mut &increment[..]), Err(BackupError::DoesNotChain(_))));
        (copy, target, whole, increment)
    });
    let (copy, _target, whole, increment) = copy.await.unwrap();
    assert_eq!(everything(&copy), original);
    assert_eq!(copy.log_id(), log.log_id());
    copy.verify(|finding| panic!("{finding:?}")).unwrap();

    tokio::task::spawn_blocking(move || {
        let other = tempfile::tempdir().unwrap();
        let fresh = SegmentLog::open(other.path(), options()).unwrap();
        assert!(matches!(fresh.import(&mut &whole[..]), Err(BackupError::DoesNotChain(_))), "of another log");
        let third = tempfile::tempdir().unwrap();
        let refused = SegmentLog::restore(third.path(), options(), &mut &increment[..]).err().unwrap();
        assert!(matches!(refused, BackupError::DoesNotChain(_)), "not from the start");
        for damage in [100, 1000, whole.len() - 3] {
            let mut damaged = whole.clone();
            damaged[damage] ^= 1;
            let folder = tempfile::tempdir().unwrap();
            assert!(
                SegmentLog::restore(folder.path(), options(), &mut &damaged[..]).is_err(),
                "byte {damage}"
            );
            let folder = tempfile::tempdir().unwrap();
            assert!(
                SegmentLog::restore(folder.path(), options(), &mut &whole[..damage]).is_err(),
                "cut {damage}"
            );
        }
    })
    .await
    .unwrap();
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect()
}

/// All that an opening to write puts right is there to be put right, and none of it is touched.
#[tokio::test]
async fn reading_at_rest_changes_no_byte_and_shows_what_an_opening_would() {
    let folder = tempfile::tempdir().unwrap();
    let log = SegmentLog::open(folder.path(), options()).unwrap();
    write(&log, 0..300).await;
    log.wait_until_sealed();
    assert!(log.stats().sealed_segments > 1);
    let used = SegmentLog::open_to_read(folder.path(), options()).err().unwrap();
    assert!(matches!(used, OpenError::InUse { .. }), "{used}");
    let all = everything(&log);
    log.close().await;
    drop(log);

    let kept = files(folder.path());
    let runs: Vec<_> = kept.keys().filter(|name| name.ends_with(".run") || name.ends_with(".idx")).collect();
    assert!(!runs.is_empty(), "{:?}", kept.keys());
    std::fs::remove_file(folder.path().join(runs[0])).unwrap();
    std::fs::write(folder.path().join("merge.tmp"), "left by a crash").unwrap();
    let newest = kept.keys().rfind(|name| name.starts_with("seg-") && name.ends_with(".log")).unwrap();
    let mut tail = kept[newest].clone();
    let end = tail.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    tail[end.next_multiple_of(8)..][..20].copy_from_slice(b"half of a frame, yes");
    std::fs::write(folder.path().join(newest), tail).unwrap();
    let before = files(folder.path());

    let reading = SegmentLog::open_to_read(folder.path(), options()).unwrap();
    let beside = SegmentLog::open_to_read(folder.path(), options()).unwrap();
    let used = SegmentLog::open(folder.path(), options()).err().unwrap();
    assert!(matches!(used, OpenError::InUse { .. }), "{used}");
    assert!(everything(&reading) == all && everything(&beside) == all);
    reading.verify(|finding| panic!("{finding:?}")).unwrap();
    let stream = StreamId::new("s-3").unwrap();
    assert!(
        !reading.read_stream_blocking(&stream, 1, 10).unwrap().is_empty(),
        "by the index that was missing"
    );
    let cut = reading.open_report().cut.clone().unwrap();
    assert_eq!((&cut.file, cut.bytes, cut.position), (newest, 20, 601));
    let event = NewEvent {
        event_id: Uuid::from_u128(9_999),
        event_type: "stock.moved",
        version: 1,
        recorded_at: 0,
        data: Bytes::from_static(b"{}"),
        metadata: Bytes::new(),
    };
    let part = StreamAppend { stream, expected: Expected::Any, events: vec![event] };
    let refused = reading.append(Append::new(vec![part])).await;
    assert!(matches!(refused, Err(AppendError::Stopped(_))), "{refused:?}");
    reading.close().await;
    drop((reading, beside));
    assert!(files(folder.path()) == before);

    let opened = SegmentLog::open(folder.path(), options()).unwrap();
    assert_eq!(opened.open_report().cut, Some(cut));
    assert!(everything(&opened) == all);
    opened.close().await;
    assert!(files(folder.path()) != before, "which reading alone has left to it");
}

#[test]
fn a_folder_without_log_is_not_made_into_one_by_reading() {
    let folder = tempfile::tempdir().unwrap();
    for missing in [folder.path().join("none"), folder.path().to_owned()] {
        let error = SegmentLog::open_to_read(&missing, options()).err().unwrap();
        assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn streams_that_are_there_are_never_taken_for_absent_and_others_mostly_are() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = SegmentLog::open(folder.path(), options()).unwrap();
    let named = |name: String| StreamId::new(name).unwrap();
    for round in 0..5 {
        // Of several sealed segments and one that is not, of the same names and others.
        write(&log, round * 300..round * 300 + 300).await;
        assert!((0..7).all(|n| !log.is_surely_absent(&named(format!("s-{n}")))));
        let absent = (0..1000).filter(|n| log.is_surely_absent(&named(format!("t-{n}")))).count();
        assert!(absent > 800, "of 1000 streams only {absent} were known to be absent");
        log.close().await;
        log = SegmentLog::open(folder.path(), options()).unwrap();
    }
}

#[tokio::test]
async fn a_full_queue_refuses_as_overload() {
    let folder = tempfile::tempdir().unwrap();
    let log = SegmentLog::open(folder.path(), SegmentOptions { queue_appends: 4, ..options() }).unwrap();
    let stream = StreamId::new("s").unwrap();
    let append = |id| {
        let event = NewEvent {
            event_id: Uuid::from_u128(id),
            event_type: "stock.moved",
            version: 1,
            recorded_at: 0,
            data: Bytes::from_static(b"{}"),
            metadata: Bytes::new(),
        };
        Append::new(vec![StreamAppend {
            stream: stream.clone(),
            expected: Expected::Any,
            events: vec![event],
        }])
    };
    let calls: Vec<_> = (0..2000).map(|id| log.append(append(id))).collect();
    let mut accepted = 0;
    let mut refused = 0;
    for call in calls {
        match call.await {
            Ok(_) => accepted += 1,
            Err(error) => {
                assert!(error.is_retryable() && !error.is_indeterminate(), "{error}");
                refused += 1;
            }
        }
    }
    assert!(accepted > 0 && refused > 0, "accepted {accepted}, refused {refused}");
    assert_eq!(log.stream_revision(&stream).await.unwrap(), accepted);
}
