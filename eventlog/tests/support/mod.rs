//! What several tests of the segment log share.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test takes what it needs; one that cannot go on has failed"
)]

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use daybook_eventlog::{
    Append, AppendError, Appended, EventLog, Expected, Filter, NewEvent, RecordedEvent, SegmentLog,
    StreamAppend, StreamId,
};
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

/// The names and contents of a folder.
pub type Files = Vec<(String, Vec<u8>)>;

/// Does every case on as many threads as there are cores. A case that panics fails the test.
pub fn in_parallel<T: Sync>(cases: &[T], each: impl Fn(&T) + Sync) {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                // In small steps, so that a thread with cheap cases takes more of them.
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    each(case);
                }
            });
        }
    });
}

/// Waits for a future on this thread.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().build().unwrap();
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// An event with this id and payload.
pub fn event(id: u128, data: impl Into<Bytes>) -> NewEvent {
    NewEvent {
        event_id: Uuid::from_u128(id),
        event_type: "stock.moved",
        version: 1,
        recorded_at: 5,
        data: data.into(),
        metadata: Bytes::from_static(b"{}"),
    }
}

/// An append to one stream.
pub fn append_to(stream: &str, expected: Expected, events: Vec<NewEvent>) -> Append {
    let stream = StreamId::new(stream).unwrap();
    Append::new(vec![StreamAppend { stream, expected, events }])
}

/// Appends as one group.
pub fn run_group(log: &SegmentLog, group: Vec<Append>) -> Vec<Result<Appended, AppendError>> {
    wait(log.append_group(group))
}

/// All events by position.
pub fn read_everything(log: &SegmentLog) -> Vec<RecordedEvent> {
    let mut events = Vec::new();
    loop {
        let after = events.last().map_or(0, |event: &RecordedEvent| event.position);
        let page = log.read_all_blocking(after, &Filter::default(), 7, usize::MAX).unwrap();
        events.extend(page.events);
        if page.at_head {
            return events;
        }
    }
}
