//! The promises of [`EventLog`] as tests, one public function a rule, for every backend alike.
//!
//! A backend's test file implements [`Backend`] and calls [`conformance_suite!`](crate::conformance_suite), which makes
//! one named test of each rule. The rules use streams and ids of their own, so that several may run at once on one
//! server that holds other events too. They panic where a promise is broken: this module is for tests only.

#![allow(clippy::unwrap_used, reason = "a rule that cannot go on has failed")]

mod appending;
mod ordering;
mod reading;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::future::BoxFuture;
use uuid::Uuid;

pub use appending::*;
pub use ordering::*;
pub use reading::*;

use crate::event::{NewEvent, RecordedEvent};
use crate::log::{
    Append, AppendError, Appended, EventLog, Expected, Filter, Revision, StreamAppend, StreamId,
};

/// One place where a backend keeps a log.
pub trait Backend: Send + Sync {
    /// Opens the log there; what was written before is still there.
    fn open(&self) -> BoxFuture<'_, Arc<dyn EventLog>>;

    /// Whether a log that was closed can be opened again.
    fn can_reopen(&self) -> bool;
}

/// Makes a module of named tests, one for each rule, of an expression that gives a fresh [`Backend`].
#[macro_export]
macro_rules! conformance_suite {
    ($backend_name:ident, $factory:expr) => {
        $crate::conformance_suite!(@rules $backend_name, $factory,
            a_fresh_stream_is_empty,
            events_come_back_byte_for_byte,
            the_expected_revision_matrix_holds,
            a_conflict_writes_nothing,
            several_streams_are_written_together_or_not_at_all,
            several_streams_are_refused_where_they_cannot_be_atomic,
            a_retry_succeeds_and_writes_nothing,
            a_retry_of_several_streams_gives_the_same_result,
            other_events_at_the_expected_place_conflict,
            malformed_appends_are_refused,
            a_group_is_tried_in_order,
            what_builds_on_a_failed_append_conflicts,
            an_append_stands_on_its_premises_or_not_at_all,
            calls_without_waiting_are_tried_in_order,
            a_dropped_future_still_writes,
            of_racing_writers_one_wins,
            revisions_are_gapless_under_concurrent_writers,
            no_reader_misses_an_event_under_concurrent_writers,
            what_was_read_reads_the_same_again,
            a_stream_is_read_from_any_revision_with_any_limit,
            pages_join_to_the_whole_log,
            a_filter_selects_by_type_and_stream_prefix,
            a_page_keeps_to_its_byte_limit,
            the_head_is_announced_and_never_runs_ahead,
            a_closed_log_refuses_appends,
            everything_is_there_after_reopening,
            a_random_workload_gives_what_the_memory_log_gives
        );
    };
    (@rules $backend_name:ident, $factory:expr, $($rule:ident),+) => {
        mod $backend_name {
            #[allow(unused_imports)]
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $rule() {
                    let backend = $factory;
                    $crate::conformance::$rule(&backend).await;
                }
            )+
        }
    };
}

/// The names and ids that one rule uses.
pub(crate) struct Scope {
    prefix: String,
    events: AtomicU64,
}

impl Scope {
    pub(crate) fn new() -> Self {
        // Test data, no event of a real log: the one id source is out of this crate's reach.
        #[allow(clippy::disallowed_methods)]
        let unique = Uuid::now_v7();
        Self { prefix: format!("t{}-", unique.simple()), events: AtomicU64::new(0) }
    }

    pub(crate) fn stream(&self, name: &str) -> StreamId {
        StreamId::new(format!("{}{name}", self.prefix)).unwrap()
    }

    /// Selects this rule's events only.
    pub(crate) fn filter(&self) -> Filter {
        Filter { types: Vec::new(), stream_prefixes: vec![self.prefix.clone()] }
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A new event, unlike every other.
    pub(crate) fn event(&self) -> NewEvent {
        self.event_of("test.happened", 40)
    }

    pub(crate) fn event_of(&self, event_type: &'static str, bytes: usize) -> NewEvent {
        #[allow(clippy::disallowed_methods)]
        let event_id = Uuid::now_v7();
        let n = self.events.fetch_add(1, Ordering::Relaxed);
        let mut data = format!("{{\"n\":{n},\"text\":\"").into_bytes();
        data.resize(data.len().max(bytes.saturating_sub(2)), b'x');
        data.extend_from_slice(b"\"}");
        NewEvent {
            event_id,
            event_type,
            version: 1,
            recorded_at: 1_700_000_000_000_000,
            data: Bytes::from(data),
            metadata: Bytes::from_static(b"{\"actor\":\"test\"}"),
        }
    }

    pub(crate) fn events(&self, count: usize) -> Vec<NewEvent> {
        (0..count).map(|_| self.event()).collect()
    }
}

pub(crate) fn part(stream: &StreamId, expected: Expected, events: Vec<NewEvent>) -> StreamAppend {
    StreamAppend { stream: stream.clone(), expected, events }
}

pub(crate) fn one(stream: &StreamId, expected: Expected, events: Vec<NewEvent>) -> Append {
    Append::new(vec![part(stream, expected, events)])
}

pub(crate) fn exact(revision: Revision) -> Expected {
    Expected::Exact(revision)
}

#[track_caller]
pub(crate) fn assert_conflict(
    result: &Result<Appended, AppendError>,
    on: &StreamId,
    wanted: Revision,
    found: Revision,
) {
    match result {
        Err(AppendError::Conflict { stream, expected, actual }) => {
            assert_eq!((stream, *expected, *actual), (on, wanted, found));
        }
        other => panic!("expected a conflict on {on}, got {other:?}"),
    }
}

/// Everything in a stream.
pub(crate) async fn read_whole_stream(log: &dyn EventLog, stream: &StreamId) -> Vec<RecordedEvent> {
    log.read_stream(stream, 1, usize::MAX).await.unwrap()
}

/// Everything that a filter selects, page by page, with the rules of paging checked on the way.
pub(crate) async fn read_whole_log(log: &dyn EventLog, filter: &Filter, limit: usize) -> Vec<RecordedEvent> {
    let mut events: Vec<RecordedEvent> = Vec::new();
    let mut after = 0;
    loop {
        let page = log.read_all(after, filter, limit, usize::MAX).await.unwrap();
        assert!(page.events.len() <= limit, "a page exceeds its limit");
        for event in page.events {
            assert!(event.position > events.last().map_or(0, |e| e.position), "positions do not ascend");
            assert!(event.position <= page.scanned_to, "an event lies behind what was scanned");
            assert!(
                filter.matches(event.stream(), event.event_type()),
                "the filter does not select {event:?}"
            );
            events.push(event);
        }
        assert!(page.scanned_to >= after, "a page went backwards");
        if page.at_head {
            return events;
        }
        assert!(page.scanned_to > after, "a page made no progress before the head");
        after = page.scanned_to;
    }
}

#[track_caller]
pub(crate) fn assert_same(recorded: &RecordedEvent, new: &NewEvent, stream: &StreamId, revision: Revision) {
    assert_eq!(recorded.event_id, new.event_id);
    assert_eq!((recorded.stream(), recorded.revision), (stream.as_str(), revision));
    assert_eq!((recorded.event_type(), recorded.version), (new.event_type, new.version));
    assert_eq!(recorded.recorded_at, new.recorded_at);
    assert_eq!((recorded.data(), recorded.metadata()), (&new.data[..], &new.metadata[..]));
}
