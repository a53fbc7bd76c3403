//! The reference backend: everything in memory under one lock, simple enough to be obviously right.
//!
//! For tests, and as the model that the other backends are compared with. "Durable" here means: for the life of the
//! process.

use std::collections::HashMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{broadcast, watch};

use crate::event::{RecordedEvent, RecordedHeader};
use crate::log::{
    Append, AppendError, Appended, Capabilities, EventLog, Expected, Filter, Head, Page, Position, ReadError,
    Revision, StreamAppend, StreamId,
};
use crate::rules::check_append;

/// A read looks at no more events than this, however few of them the filter selects.
const MAX_SCAN_EVENTS: usize = 65_536;

/// An event log in memory. Cloning gives another handle on the same log.
#[derive(Clone)]
pub struct MemoryLog {
    state: Arc<RwLock<State>>,
    /// Taken for the whole of a group, so that the head is announced in the order of the appends.
    appending: Arc<Mutex<()>>,
    head: Arc<watch::Sender<Position>>,
    turns: broadcast::Sender<StreamId>,
}

#[derive(Default)]
struct State {
    /// The event at position p is at index p - 1.
    events: Vec<RecordedEvent>,
    /// Indexes into `events` by stream; revision r is at index r - 1.
    streams: HashMap<StreamId, Vec<usize>>,
    closed: bool,
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryLog {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: Arc::default(),
            appending: Arc::default(),
            head: Arc::new(watch::channel(0).0),
            turns: broadcast::channel(64).0,
        }
    }

    fn append_all(&self, appends: &[Append]) -> Vec<Result<Appended, AppendError>> {
        let _in_order = self.appending.lock();
        let mut state = self.state.write();
        let results = appends.iter().map(|append| state.append(append)).collect();
        let head = state.head();
        drop(state);
        self.head.send_if_modified(|position| std::mem::replace(position, head) != head);
        results
    }
}

impl State {
    fn head(&self) -> Position {
        self.events.len() as u64
    }

    fn revision(&self, stream: &StreamId) -> Revision {
        self.streams.get(stream).map_or(0, |indexes| indexes.len() as u64)
    }

    fn append(&mut self, append: &Append) -> Result<Appended, AppendError> {
        if self.closed {
            return Err(AppendError::Stopped("closed".into()));
        }
        check_append(append)?;
        if let Some(earlier) = self.find_retried(append) {
            return Ok(earlier);
        }
        for part in &append.streams {
            let actual = self.revision(&part.stream);
            if let Expected::Exact(expected) = part.expected
                && expected != actual
            {
                return Err(AppendError::Conflict { stream: part.stream.clone(), expected, actual });
            }
        }
        for premise in &append.premises {
            let (expected, actual) = (premise.revision, self.revision(&premise.stream));
            if expected != actual {
                return Err(AppendError::Conflict { stream: premise.stream.clone(), expected, actual });
            }
        }
        let first = self.head() + 1;
        let revisions = append.streams.iter().map(|part| self.write(part)).collect();
        Ok(Appended { first, last: self.head(), revisions })
    }

    fn write(&mut self, part: &StreamAppend) -> Revision {
        let indexes = self.streams.entry(part.stream.clone()).or_default();
        for event in &part.events {
            indexes.push(self.events.len());
            let header = RecordedHeader {
                position: self.events.len() as u64 + 1,
                revision: indexes.len() as u64,
                event_id: event.event_id,
                version: event.version,
                recorded_at: event.recorded_at,
            };
            let stream = part.stream.as_str();
            let event =
                RecordedEvent::from_parts(header, stream, event.event_type, &event.data, &event.metadata);
            self.events.push(event);
        }
        indexes.len() as u64
    }

    /// The result of an earlier append whose event ids are at the expected place of every stream. With
    /// [`Expected::Any`] that place is the end of the stream.
    fn find_retried(&self, append: &Append) -> Option<Appended> {
        let mut found = Appended { first: Position::MAX, last: 0, revisions: Vec::new() };
        for part in &append.streams {
            let indexes = self.streams.get(&part.stream)?;
            let start = match part.expected {
                Expected::Exact(revision) => usize::try_from(revision).ok()?,
                Expected::Any => indexes.len().checked_sub(part.events.len())?,
            };
            let end = start.checked_add(part.events.len())?;
            let there = indexes.get(start..end)?;
            let same =
                there.iter().zip(&part.events).all(|(i, new)| self.events[*i].event_id == new.event_id);
            if !same {
                return None;
            }
            found.first = found.first.min(there[0] as u64 + 1);
            found.last = found.last.max(there[there.len() - 1] as u64 + 1);
            found.revisions.push(end as u64);
        }
        Some(found)
    }

    fn read_stream(&self, stream: &StreamId, from: Revision, limit: usize) -> Vec<RecordedEvent> {
        let Some(indexes) = self.streams.get(stream) else { return Vec::new() };
        let skipped = usize::try_from(from.saturating_sub(1)).unwrap_or(usize::MAX);
        indexes.iter().skip(skipped).take(limit).map(|i| self.events[*i].clone()).collect()
    }

    fn read_all(&self, after: Position, filter: &Filter, limit: usize, limit_bytes: usize) -> Page {
        let mut page = Page { events: Vec::new(), scanned_to: after, at_head: false };
        let mut bytes = 0;
        let start = usize::try_from(after).unwrap_or(usize::MAX);
        for event in self.events.iter().skip(start).take(MAX_SCAN_EVENTS) {
            if filter.matches(event.stream(), event.event_type()) {
                let full = page.events.len() >= limit
                    || (!page.events.is_empty() && bytes + event.len_bytes() > limit_bytes);
                if full {
                    break;
                }
                bytes += event.len_bytes();
                page.events.push(event.clone());
            }
            page.scanned_to = event.position;
        }
        page.at_head = page.scanned_to >= self.head();
        page
    }
}

impl EventLog for MemoryLog {
    fn capabilities(&self) -> Capabilities {
        Capabilities { atomic_multi_stream: true, dense_positions: true }
    }

    fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>> {
        let result = self.append_all(std::slice::from_ref(&append)).remove(0);
        ready(result).boxed()
    }

    fn append_group(&self, appends: Vec<Append>) -> BoxFuture<'static, Vec<Result<Appended, AppendError>>> {
        ready(self.append_all(&appends)).boxed()
    }

    fn read_stream<'a>(
        &'a self,
        stream: &'a StreamId,
        from: Revision,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, ReadError>> {
        ready(Ok(self.state.read().read_stream(stream, from, limit))).boxed()
    }

    fn stream_revision<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<Revision, ReadError>> {
        ready(Ok(self.state.read().revision(stream))).boxed()
    }

    fn read_all<'a>(
        &'a self,
        after: Position,
        filter: &'a Filter,
        limit: usize,
        limit_bytes: usize,
    ) -> BoxFuture<'a, Result<Page, ReadError>> {
        ready(Ok(self.state.read().read_all(after, filter, limit, limit_bytes))).boxed()
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, ReadError>> {
        let position = self.state.read().head();
        ready(Ok(Head { position, events: position })).boxed()
    }

    fn watch_head(&self) -> watch::Receiver<Position> {
        self.head.subscribe()
    }

    fn ask_for_turn(&self, stream: &StreamId) {
        // Nobody listens: nobody to ask.
        let _ = self.turns.send(stream.clone());
    }

    fn turns_asked(&self) -> Option<broadcast::Receiver<StreamId>> {
        Some(self.turns.subscribe())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.state.write().closed = true;
        ready(()).boxed()
    }
}
