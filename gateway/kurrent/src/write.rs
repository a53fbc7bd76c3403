//! One write: the protocol's expectations and its idempotency, on the promises of the log.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use daybook_eventlog::rules::{MAX_APPEND_BYTES, MAX_APPEND_EVENTS};
use daybook_eventlog::{
    Append, AppendError, Appended, EventLog, Expected, NewEvent, Position, ReadError, Revision, StreamAppend,
    StreamId,
};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use parking_lot::Mutex;
use tonic::Status;
use uuid::Uuid;

use crate::event::Proposed;

/// How many of the last writes are remembered by the id of their first event.
const REMEMBERED_WRITES: usize = 65_536;

/// What a client believes about the stream, in the protocol's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expectation {
    /// The last event has this number, counted from 0.
    Exact(u64),
    NoStream,
    Any,
    StreamExists,
}

/// A write that is in the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    /// The stream's revision after it, 0 if there is still no stream.
    pub(crate) revision: Revision,
    /// `None` if the write held no events.
    pub(crate) position: Option<Position>,
}

/// Why a write is not in the log.
#[derive(Debug, Clone)]
pub(crate) enum Refusal {
    /// The expectation is wrong; the stream is at this revision, 0 if there is none.
    WrongExpectation { current: Revision },
    /// More than the log takes at once.
    TooLarge,
    /// Anything else.
    Failed(Status),
}

/// The way into the log. Cheap to share.
pub(crate) struct Writer {
    log: Arc<dyn EventLog>,
    recent: Arc<Mutex<Recent>>,
}

impl Writer {
    pub(crate) fn new(log: Arc<dyn EventLog>) -> Self {
        Self { log, recent: Arc::default() }
    }

    /// Queues a write and gives the future of its outcome: writes are tried in the order in which this returned.
    pub(crate) async fn begin(
        &self,
        stream: StreamId,
        expectation: Expectation,
        proposed: Vec<Proposed>,
        now_us: i64,
    ) -> BoxFuture<'static, Result<Written, Refusal>> {
        match self.prepare(&stream, expectation, proposed, now_us).await {
            Ok(Prepared::Done(written)) => ready(Ok(written)).boxed(),
            Ok(Prepared::ToAppend { expected, events }) => self.append(stream, expected, events),
            Err(refusal) => ready(Err(refusal)).boxed(),
        }
    }

    async fn prepare(
        &self,
        stream: &StreamId,
        expectation: Expectation,
        proposed: Vec<Proposed>,
        now_us: i64,
    ) -> Result<Prepared, Refusal> {
        if stream.as_str() == "$all" {
            let detail = "$all is the whole log: append to a stream of it";
            return Err(Refusal::Failed(Status::invalid_argument(detail)));
        }
        let bytes: usize = proposed.iter().map(|event| event.len_bytes() + stream.as_str().len()).sum();
        if bytes > MAX_APPEND_BYTES || proposed.len() > MAX_APPEND_EVENTS {
            return Err(Refusal::TooLarge);
        }
        let events: Result<Vec<_>, _> = proposed.into_iter().map(|event| event.into_event(now_us)).collect();
        let events = events.map_err(Refusal::Failed)?;
        if events.is_empty() {
            return self.check_only(stream, expectation).await;
        }
        let expected = match expectation {
            // The log itself knows a repeated append by its ids at the expected place.
            Expectation::Exact(last) => return Ok(Prepared::at(last.saturating_add(1), events)),
            Expectation::NoStream => return Ok(Prepared::at(0, events)),
            Expectation::Any => Expected::Any,
            // Streams only grow, so that what exists now still exists when the append is tried.
            Expectation::StreamExists if self.revision(stream).await? == 0 => {
                return Err(Refusal::WrongExpectation { current: 0 });
            }
            Expectation::StreamExists => Expected::Any,
        };
        match self.find_repeated(stream, &events).await? {
            Some(written) => Ok(Prepared::Done(written)),
            None => Ok(Prepared::ToAppend { expected, events }),
        }
    }

    fn append(
        &self,
        stream: StreamId,
        expected: Expected,
        events: Vec<NewEvent>,
    ) -> BoxFuture<'static, Result<Written, Refusal>> {
        let (first_id, count) = (events[0].event_id, events.len() as u64);
        let recent = self.recent.clone();
        let part = StreamAppend { stream: stream.clone(), expected, events };
        let appending = self.log.append(Append::new(vec![part]));
        async move {
            let Appended { last, revisions, .. } = appending.await.map_err(refusal)?;
            let revision = revisions.first().copied().unwrap_or_default();
            recent.lock().remember(first_id, stream, (revision + 1).saturating_sub(count));
            Ok(Written { revision, position: Some(last) })
        }
        .boxed()
    }

    /// A write without events asks whether the expectation is right.
    async fn check_only(&self, stream: &StreamId, expectation: Expectation) -> Result<Prepared, Refusal> {
        let current = self.revision(stream).await?;
        let right = match expectation {
            Expectation::Exact(last) => current == last.saturating_add(1),
            Expectation::NoStream => current == 0,
            Expectation::Any => true,
            Expectation::StreamExists => current > 0,
        };
        if right {
            Ok(Prepared::Done(Written { revision: current, position: None }))
        } else {
            Err(Refusal::WrongExpectation { current })
        }
    }

    async fn revision(&self, stream: &StreamId) -> Result<Revision, Refusal> {
        self.log.stream_revision(stream).await.map_err(|error| Refusal::Failed(read_status(&error)))
    }

    /// An earlier write of the same events to the stream: for a write without an expected place the protocol
    /// promises to know it by its ids, as far back as the server remembers.
    async fn find_repeated(
        &self,
        stream: &StreamId,
        events: &[NewEvent],
    ) -> Result<Option<Written>, Refusal> {
        let Some(first) = self.recent.lock().find(events[0].event_id, stream) else { return Ok(None) };
        let there = self.log.read_stream(stream, first, events.len()).await;
        let there = there.map_err(|error| Refusal::Failed(read_status(&error)))?;
        let same = there.iter().zip(events).all(|(old, new)| old.event_id == new.event_id);
        match there.last() {
            Some(last) if same && there.len() == events.len() => {
                Ok(Some(Written { revision: last.revision, position: Some(last.position) }))
            }
            _ => Err(Refusal::WrongExpectation { current: self.revision(stream).await? }),
        }
    }
}

enum Prepared {
    Done(Written),
    ToAppend { expected: Expected, events: Vec<NewEvent> },
}

impl Prepared {
    fn at(revision: Revision, events: Vec<NewEvent>) -> Self {
        Self::ToAppend { expected: Expected::Exact(revision), events }
    }
}

fn refusal(error: AppendError) -> Refusal {
    match error {
        AppendError::Conflict { actual, .. } => Refusal::WrongExpectation { current: actual },
        AppendError::Invalid(_) => Refusal::Failed(Status::invalid_argument(error.to_string())),
        AppendError::Overloaded | AppendError::DiskFull(_) => {
            Refusal::Failed(Status::resource_exhausted(error.to_string()))
        }
        AppendError::Unavailable { .. } | AppendError::Stopped(_) => {
            Refusal::Failed(Status::unavailable(error.to_string()))
        }
    }
}

/// A failed read of the log as the status of the call.
pub(crate) fn read_status(error: &ReadError) -> Status {
    match error {
        ReadError::Damaged { .. } => Status::data_loss(error.to_string()),
        ReadError::Unavailable(_) => Status::unavailable(error.to_string()),
    }
}

/// The last writes by the id of their first event: in which stream, from which revision.
#[derive(Default)]
struct Recent {
    by_id: HashMap<Uuid, (StreamId, Revision)>,
    order: VecDeque<Uuid>,
}

impl Recent {
    fn find(&self, id: Uuid, stream: &StreamId) -> Option<Revision> {
        self.by_id.get(&id).filter(|(written, _)| written == stream).map(|(_, first)| *first)
    }

    fn remember(&mut self, id: Uuid, stream: StreamId, first: Revision) {
        if self.by_id.insert(id, (stream, first)).is_some() {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > REMEMBERED_WRITES
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_id.remove(&oldest);
        }
    }
}
