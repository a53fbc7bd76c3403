//! Atomic, expected revision, idempotent retry, in order from one caller.

use bytes::Bytes;

use super::{
    Backend, Scope, assert_conflict, assert_same, exact, one, part, read_whole_log, read_whole_stream,
};
use crate::log::{Append, AppendError, Expected, Premise, StreamId};
use crate::rules::MAX_APPEND_BYTES;

/// A stream that nobody wrote to has revision 0 and no events.
pub async fn a_fresh_stream_is_empty(backend: &dyn Backend) {
    let (log, scope) = (backend.open().await, Scope::new());
    let stream = scope.stream("none");
    assert_eq!(log.stream_revision(&stream).await.unwrap(), 0);
    assert_eq!(read_whole_stream(&*log, &stream).await, []);
}

/// Payload and metadata are opaque: empty, not UTF-8, large.
pub async fn events_come_back_byte_for_byte(backend: &dyn Backend) {
    let (log, scope) = (backend.open().await, Scope::new());
    let stream = scope.stream("bytes");
    let mut events = scope.events(4);
    events[0].data = Bytes::from_static(b"{}");
    events[0].metadata = Bytes::from_static(b"{}");
    events[1].recorded_at = -1;
    events[1].version = u16::MAX;
    events[2].data = Bytes::from(format!("{{\"large\":\"{}\"}}", "x".repeat(900_000)));
    let result = log.append(one(&stream, exact(0), events.clone())).await.unwrap();
    assert_eq!(result.revisions, [4]);
    let recorded = read_whole_stream(&*log, &stream).await;
    assert_eq!(recorded.len(), 4);
    for ((recorded, new), revision) in recorded.iter().zip(&events).zip(1..) {
        assert_same(recorded, new, &stream, revision);
    }
    let first = if log.capabilities().dense_positions { 0 } else { 3 };
    assert!([recorded[0].position, recorded[first].position].contains(&result.first));
    assert_eq!(recorded[3].position, result.last);
    assert_eq!(read_whole_log(&*log, &scope.filter(), 3).await, recorded);
}

/// Each expectation against each state of the stream.
pub async fn the_expected_revision_matrix_holds(backend: &dyn Backend) {
    let (log, scope) = (backend.open().await, Scope::new());
    for actual in 0..4u64 {
        for expected in 0..6u64 {
            let stream = scope.stream(&format!("m{actual}-{expected}"));
            if actual > 0 {
                let events = scope.events(usize::try_from(actual).unwrap());
                log.append(one(&stream, Expected::Any, events)).await.unwrap();
            }
            let result = log.append(one(&stream, exact(expected), scope.events(2))).await;
            if expected == actual {
                assert_eq!(result.unwrap().revisions, [actual + 2]);
            } else {
                assert_conflict(&result, &stream, expected, actual);
                assert_eq!(log.stream_revision(&stream).await.unwrap(), actual);
            }
        }
        let stream = scope.stream(&format!("any{actual}"));
        for revision in 1..=actual + 1 {
            let result = log.append(one(&stream, Expected::Any, scope.events(1))).await.unwrap();
            assert_eq!(result.revisions, [revision]);
        }
    }
}

/// After a conflict the stream is as it was.
pub async fn a_conflict_writes_nothing(backend: &dyn Backend) {
    let (log, scope) = (backend.open().await, Scope::new());
    let stream = scope.stream("s");
    log.append(one(&stream, exact(0), scope.events(2))).await.unwrap();
    let before = read_whole_stream(&*log, &stream).await;
    assert_conflict(&log.append(one(&stream, exact(1), scope.events(3))).await, &stream, 1, 2);
    assert_conflict(&log.append(one(&stream, exact(9), scope.events(1))).await, &stream, 9, 2);
    assert_eq!(read_whole_stream(&*log, &stream).await, before);
    assert_eq!(log.append(one(&stream, exact(2), scope.events(1))).await.unwrap().revisions, [3]);
}

/// All streams of an append, or none, whichever of them is in conflict.
pub async fn several_streams_are_written_together_or_not_at_all(backend: &dyn Backend) {
    let (log, scope) = (backend.open().await, Scope::new());
    if !log.capabilities().atomic_multi_stream {
        return;
    }
    let streams = [scope.stream("a"), scope.stream("b"), scope.stream("c")];
    let all =
        |revision| Append::new(streams.iter().map(|s| part(s, exact(revision), scope.events(2))).collect());
    let result = log.append(all(0)).await.unwrap();
    assert_eq!(result.revisions, [2, 2, 2]);
    let events = read_whole_log(&*log, &scope.filter(), 100).await;
    let names: Vec<_> = events.iter().map(|e| e.stream().to_owned()).collect();
    let wanted: Vec<_> = streams.iter().flat_map(|s| [s.to_string(), s.to_string()]).collect();
    assert_eq!(names, wanted, "events stand in the order of the append");
    assert_eq!((events[0].position, events[5].position), (result.first, result.last));
    for (bad, stream) in streams.iter().enumerate() {
        let mut append = all(2);
        append.streams[bad].expected = exact(1);
        assert_conflict(&log.append(append).await, stream, 1, 2);
        for stream in &streams {
            assert_eq!(log.stream_revision(stream).await.unwrap(), 2);
        }
    }
    assert_eq!(log.append(all(2)).await.unwrap().revisions, [4, 4, 4]);
}

/// A backend that cannot write several streams atomically says so, instead of trying.
pub async fn several_streams_are_refused_where_they_cannot_be_atomic(backend: &dyn Backend) {
    let (log, scope) = (backend.open().await, Scope::new());
    if log.capabilities().atomic_multi_stream {
        return;
    }
    let (a, b) = (scope.stream("a"), scope.stream("b"));
    let append = Append::new(vec![part(&a, exact(0), scope.events(1)), part(&b, exact(0), scope.events(1))]);
    assert!(matches!(log.append(append).await, Err(AppendError::Invalid(_))));
    assert_eq!(log.stream_revision(&a).await.unwrap(), 0);
}

/// The same events at the same expected place: the same result, however much came after.
pub async fn a_retry_succeeds_and_writes_nothing(backend: &dyn Backend) {
    let (log, scope) = (backend.open().await, Scope::new());
    let stream = scope.stream("s");
    let first = one(&stream, exact(0), scope.events(2));
    let second = one(&stream, exact(2), scope.events(1));
    let first_result = log.append(first.clone()).await.unwrap();
    assert_eq!(log.append(first.clone()).await.unwrap(), first_result);
    let second_result = log.append(second.clone()).await.unwrap();
    log.append(one(&stream, exact(3), scope.events(2))).await.unwrap();
    assert_eq!(log.append(first).await.unwrap(), first_result);
    assert_eq!(log.append(second).await.unwrap(), second_result);
    assert_eq!(log.stream_revision(&stream).await.unwrap(), 5);

    let any = one(&scope.stream("any"), Expected::Any, scope.events(2));
    let result = log.append(any.clone()).await.unwrap();
    assert_eq!(log.append(any.clone()).await.unwrap(), result);
    let in_one_group = log.append_group(vec![any.clone(), any]).await;
    assert!(in_one_group.iter().all(|again| again.as_ref().unwrap() == &result));

    let twice = one(&scope.stream("twice"), exact(0), scope.events(1));
    let results = log.append_group(vec![twice.clone(), twice]).await;
    assert_eq!(results[0].as_ref().unwrap(), results[1].as_ref().unwrap());
    assert_eq!(read_whole_log(&*log, &scope.filter(), 100).await.len(), 8);
}

/// A retry of an append to several streams.
pub async fn a_retry_of_several_streams_gives_the_same_result(backend: &dyn Backend) {
    let (log, scope) = (backend.open().await, Scope::new());
    if !log.capabilities().atomic_multi_stream {
        return;
    }
    let (a, b) = (scope.stream("a"), scope.stream("b"));
    log.append(one(&a, exact(0), scope.events(1))).await.unwrap();
    let append = Append::new(vec![part(&b, exact(0), scope.events(2)), part(&a, exact(1), scope.events(1))]);
    let result = log.append(append.clone()).await.unwrap();
    assert_eq!(result.revisions, [2, 2]);
    log.append(one(&a, exact(2), scope.events(1))).await.unwrap();
    assert_eq!(log.append(append.clone()).await.unwrap(), result);
    // A part of it that is already there does not make the whole a retry.
    let mut mixed = append;
    mixed.streams[1] = part(&scope.stream("c"), exact(0), scope.events(1));
    assert_conflict(&log.append(mixed).await, &b, 0, 2);
    assert_eq!(log.stream_revision(&scope.stream("c")).await.unwrap(), 0);
}

/// Event ids that are not exactly those at the expected place.
pub async fn other_events_at_the_expected_place_conflict(backend: &dyn Backend) {
    let (log, scope) = (backend.open().await, Scope::new());
    let stream = scope.stream("s");
    let events = scope.events(3);
    log.append(one(&stream, exact(0), events.clone())).await.unwrap();
    let swapped = vec![events[1].clone(), events[0].clone()];
    let half_new = vec![events[0].clone(), scope.event()];
    let too_long = [&events[..], &scope.events(1)[..]].concat();
    for other in [scope.events(1), scope.events(3), swapped, half_new, too_long] {
        assert_conflict(&log.append(one(&stream, exact(0), other)).await, &stream, 0, 3);
    }
    assert_eq!(log.stream_revision(&stream).await.unwrap(), 3);
}

/// Appends that break a rule are refused as invalid, and their neighbours are not touched by that.
pub async fn malformed_appends_are_refused(backend: &dyn Backend) {
    let (log, scope) = (backend.open().await, Scope::new());
    let stream = scope.stream("s");
    let twice =
        Append::new(vec![part(&stream, exact(0), scope.events(1)), part(&stream, exact(1), scope.events(1))]);
    let mut too_large = scope.events(1);
    too_large[0].data = Bytes::from(vec![b' '; MAX_APPEND_BYTES + 1]);
    let mut no_version = scope.events(1);
    no_version[0].version = 0;
    let mut no_type = scope.events(1);
    no_type[0].event_type = "";
    let bad = [
        Append::new(Vec::new()),
        one(&stream, exact(0), Vec::new()),
        twice,
        one(&stream, exact(0), too_large),
        one(&stream, exact(0), no_version),
        one(&stream, exact(0), no_type),
    ];
    for append in bad {
        let good = |revision| one(&scope.stream("good"), exact(revision), scope.events(1));
        let before = log.stream_revision(&scope.stream("good")).await.unwrap();
        let results = log.append_group(vec![good(before), append, good(before + 1)]).await;
        assert!(matches!(results[1], Err(AppendError::Invalid(_))), "{results:?}");
        assert_eq!(results[2].as_ref().unwrap().revisions, [before + 2]);
    }
    assert_eq!(log.stream_revision(&stream).await.unwrap(), 0);
    assert!(log.append_group(Vec::new()).await.is_empty());
}

/// Later appends of a group see the earlier ones.
pub async fn a_group_is_tried_in_order(backend: &dyn Backend) {
    let (log, scope) = (backend.open().await, Scope::new());
    let (a, b) = (scope.stream("a"), scope.stream("b"));
    let group = vec![
        one(&a, exact(0), scope.events(1)),
        one(&b, exact(0), scope.events(2)),
        one(&a, exact(1), scope.events(2)),
        one(&b, exact(1), scope.events(1)),
        one(&a, exact(3), scope.events(1)),
    ];
    let results = log.append_group(group).await;
    assert_eq!(results[2].as_ref().unwrap().revisions, [3]);
    assert_conflict(&results[3], &b, 1, 2);
    assert_eq!(results[4].as_ref().unwrap().revisions, [4]);
    let positions: Vec<_> = results.iter().flatten().map(|r| r.first).collect();
    assert!(positions.is_sorted());
}

/// An append that builds on one that failed fails too; nothing is written in the wrong place.
pub async fn what_builds_on_a_failed_append_conflicts(backend: &dyn Backend) {
    let (log, scope) = (backend.open().await, Scope::new());
    let stream = scope.stream("s");
    log.append(one(&stream, exact(0), scope.events(1))).await.unwrap();
    let group = vec![one(&stream, exact(0), scope.events(1)), one(&stream, exact(2), scope.events(1))];
    let results = log.append_group(group).await;
    assert_conflict(&results[0], &stream, 0, 1);
    assert_conflict(&results[1], &stream, 2, 1);
}

/// Calls made one after the other are tried in that order, whenever their futures are polled.
pub async fn calls_without_waiting_are_tried_in_order(backend: &dyn Backend) {
    let (log, scope) = (backend.open().await, Scope::new());
    let stream = scope.stream("s");
    let calls: Vec<_> = (0..50).map(|n| log.append(one(&stream, exact(n), scope.events(1)))).collect();
    for (before, call) in calls.into_iter().enumerate().rev() {
        assert_eq!(call.await.unwrap().revisions, [before as u64 + 1]);
    }
}

/// The work is queued by the call: dropping the future does not take it back.
pub async fn a_dropped_future_still_writes(backend: &dyn Backend) {
    let (log, scope) = (backend.open().await, Scope::new());
    let stream = scope.stream("s");
    drop(log.append(one(&stream, exact(0), scope.events(1))));
    let next = log.append(one(&stream, exact(1), scope.events(1))).await;
    assert_eq!(next.unwrap().revisions, [2]);
}

/// A stream that is only looked at counts like one that is written to, before the log and within a group.
pub async fn an_append_stands_on_its_premises_or_not_at_all(backend: &dyn Backend) {
    let (log, scope) = (backend.open().await, Scope::new());
    let (a, b, none) = (scope.stream("a"), scope.stream("b"), scope.stream("none"));
    log.append(one(&a, exact(0), scope.events(2))).await.unwrap();
    let premise = |stream: &StreamId, revision| Premise { stream: stream.clone(), revision };
    let on =
        |premises: Vec<Premise>, revision| Append { premises, ..one(&b, exact(revision), scope.events(1)) };
    if !log.capabilities().atomic_multi_stream {
        assert!(matches!(log.append(on(vec![premise(&a, 2)], 0)).await, Err(AppendError::Invalid(_))));
        assert_eq!(log.stream_revision(&b).await.unwrap(), 0);
        return;
    }
    for wrong in [0, 1, 3] {
        assert_conflict(&log.append(on(vec![premise(&a, wrong)], 0)).await, &a, wrong, 2);
        assert_conflict(&log.append(on(vec![premise(&none, 0), premise(&a, wrong)], 0)).await, &a, wrong, 2);
    }
    assert_conflict(&log.append(on(vec![premise(&none, 1)], 0)).await, &none, 1, 0);
    assert_eq!(log.stream_revision(&b).await.unwrap(), 0);
    let first = on(vec![premise(&a, 2), premise(&none, 0)], 0);
    let result = log.append(first.clone()).await.unwrap();
    assert_eq!(result.revisions, [1]);
    assert_eq!(log.stream_revision(&none).await.unwrap(), 0);
    // Within a group, what came before counts, and what comes after does not.
    let results = log
        .append_group(vec![
            on(vec![premise(&a, 2)], 1),
            one(&a, exact(2), scope.events(1)),
            on(vec![premise(&a, 2)], 2),
            on(vec![premise(&a, 3)], 2),
        ])
        .await;
    assert_eq!(results[0].as_ref().unwrap().revisions, [2]);
    assert_eq!(results[1].as_ref().unwrap().revisions, [3]);
    assert_conflict(&results[2], &a, 2, 3);
    assert_eq!(results[3].as_ref().unwrap().revisions, [3]);
    assert_eq!(
        log.append(first).await.unwrap(),
        result,
        "what was written once is known, whatever its premises are now"
    );
    let both = Append { premises: vec![premise(&b, 3)], ..one(&b, exact(3), scope.events(1)) };
    assert!(matches!(log.append(both).await, Err(AppendError::Invalid(_))));
}
