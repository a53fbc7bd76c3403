//! Reading streams and the whole log, and counting its events.

use std::sync::Arc;
use std::time::Duration;

use eventstore::{Error, Position as Offset, ReadAllOptions, ReadStream, ReadStreamOptions, StreamPosition};

use super::connection::{Connection, Fault, Lease};
use super::envelope::from_recorded;
use crate::event::RecordedEvent;
use crate::log::{Filter, Head, Page, Position, ReadError, Revision, StreamId};

/// One page looks at no more events than this, however few of them the filter selects.
const MAX_SCAN_EVENTS: usize = 4096;

/// How many events from the end are looked at to find one that is not the server's own.
const LAST_EVENTS: usize = 16;

/// A read that failed for now is tried so often, with growing pauses between.
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Reads the log on the server.
pub(super) struct Reader {
    connection: Arc<Connection>,
    counted: tokio::sync::Mutex<Counted>,
}

/// How far the log's events have been counted.
#[derive(Default, Clone, Copy)]
struct Counted {
    head: Head,
    /// Everything up to here, the server's own events included.
    scanned_to: Position,
}

/// Whether an event is the server's own: statistics, metadata of streams, settings.
pub(super) fn is_system(event: &eventstore::RecordedEvent) -> bool {
    event.event_type.starts_with('$') || event.stream_id.starts_with('$')
}

pub(super) fn offset(position: Position) -> Offset {
    Offset { commit: position, prepare: position }
}

impl Reader {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, counted: tokio::sync::Mutex::default() }
    }

    pub(super) async fn read_stream(
        &self,
        stream: &StreamId,
        from: Revision,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        retrying(|| self.try_read_stream(stream, from, limit)).await.map_err(Fault::into_read_error)
    }

    pub(super) async fn stream_revision(&self, stream: &StreamId) -> Result<Revision, ReadError> {
        retrying(|| self.try_stream_revision(stream)).await.map_err(Fault::into_read_error)
    }

    pub(super) async fn read_all(
        &self,
        after: Position,
        filter: &Filter,
        limit: usize,
        limit_bytes: usize,
    ) -> Result<Page, ReadError> {
        let page = retrying(|| self.try_read_all(after, filter, limit, limit_bytes)).await;
        page.map_err(Fault::into_read_error)
    }

    /// The end of the log, with the number of events counted up to it.
    pub(super) async fn head(&self) -> Result<Head, ReadError> {
        let mut counted = self.counted.lock().await;
        loop {
            let from = *counted;
            let (next, at_end) = retrying(|| self.try_count(from)).await.map_err(Fault::into_read_error)?;
            *counted = next;
            if at_end {
                return Ok(next.head);
            }
        }
    }

    /// The position of the last event, without counting; 0 if there is none.
    pub(super) async fn last_position(&self) -> Result<Position, Fault> {
        let mut from = StreamPosition::End;
        loop {
            let options = ReadAllOptions::default()
                .position(from)
                .backwards()
                .max_count(LAST_EVENTS)
                .requires_leader(true);
            let mut reading = self.begin_all(&options).await?;
            let mut earliest = None;
            let mut seen = 0;
            while let Some(event) = reading.next().await? {
                if !is_system(&event) {
                    reading.end().await;
                    return Ok(event.position.commit);
                }
                seen += 1;
                earliest = Some(event.position);
            }
            match earliest {
                Some(position) if seen == LAST_EVENTS => from = StreamPosition::Position(position),
                _ => return Ok(0),
            }
        }
    }

    async fn begin_all(&self, options: &ReadAllOptions) -> Result<Reading<'_>, Fault> {
        let lease = self.connection.lease();
        let stream = self.connection.call(&lease, lease.client.read_all(options)).await?;
        Ok(Reading { connection: &self.connection, lease, stream })
    }

    async fn begin_stream(
        &self,
        stream: &StreamId,
        options: &ReadStreamOptions,
    ) -> Result<Reading<'_>, Fault> {
        let lease = self.connection.lease();
        let reading = lease.client.read_stream(stream.as_str(), options);
        let stream = self.connection.call(&lease, reading).await?;
        Ok(Reading { connection: &self.connection, lease, stream })
    }

    pub(super) async fn try_read_stream(
        &self,
        stream: &StreamId,
        from: Revision,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, Fault> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let first = from.saturating_sub(1);
        let options = ReadStreamOptions::default()
            .position(StreamPosition::Position(first))
            .max_count(limit)
            .requires_leader(true);
        let mut reading = self.begin_stream(stream, &options).await?;
        let mut events = Vec::new();
        loop {
            match reading.next().await {
                Ok(Some(event)) => {
                    let event = from_recorded(&event)?;
                    check_gapless(&event, first + 1 + events.len() as u64)?;
                    events.push(event);
                }
                Ok(None) => return Ok(events),
                Err(Fault::Client(Error::ResourceNotFound)) => {
                    reading.end().await;
                    return Ok(events);
                }
                Err(fault) => return Err(fault),
            }
        }
    }

    pub(super) async fn try_stream_revision(&self, stream: &StreamId) -> Result<Revision, Fault> {
        let options = ReadStreamOptions::default()
            .position(StreamPosition::End)
            .backwards()
            .max_count(1)
            .requires_leader(true);
        let mut reading = self.begin_stream(stream, &options).await?;
        let revision = match reading.next().await {
            Ok(Some(event)) => event.revision + 1,
            Ok(None) | Err(Fault::Client(Error::ResourceNotFound)) => 0,
            Err(fault) => return Err(fault),
        };
        reading.end().await;
        Ok(revision)
    }

    /// Begins after a position. The server begins at the event there, which is passed over.
    async fn begin_after(&self, after: Position, events: usize) -> Result<Reading<'_>, Fault> {
        let from = if after == 0 { StreamPosition::Start } else { StreamPosition::Position(offset(after)) };
        let options = ReadAllOptions::default().position(from).max_count(events).requires_leader(true);
        self.begin_all(&options).await
    }

    async fn try_read_all(
        &self,
        after: Position,
        filter: &Filter,
        limit: usize,
        limit_bytes: usize,
    ) -> Result<Page, Fault> {
        let scan = if filter.is_all() { limit.clamp(1, MAX_SCAN_EVENTS) + 1 } else { MAX_SCAN_EVENTS };
        let mut reading = self.begin_after(after, scan).await?;
        let mut page = Page { events: Vec::new(), scanned_to: after, at_head: false };
        let (mut seen, mut bytes) = (0, 0);
        while let Some(event) = reading.next().await? {
            seen += 1;
            let position = event.position.commit;
            if position <= after && after > 0 {
                continue;
            }
            if !is_system(&event) && filter.matches(&event.stream_id, &event.event_type) {
                let event = from_recorded(&event)?;
                let full = page.events.len() >= limit
                    || (!page.events.is_empty() && bytes + event.len_bytes() > limit_bytes);
                if full {
                    reading.end().await;
                    return Ok(page);
                }
                bytes += event.len_bytes();
                page.events.push(event);
            }
            page.scanned_to = position;
        }
        page.at_head = seen < scan;
        Ok(page)
    }

    /// Counts on, by one page. Whether that was the last.
    async fn try_count(&self, from: Counted) -> Result<(Counted, bool), Fault> {
        let mut counted = from;
        let mut reading = self.begin_after(from.scanned_to, MAX_SCAN_EVENTS).await?;
        let mut seen = 0;
        while let Some(event) = reading.next().await? {
            seen += 1;
            let position = event.position.commit;
            if position <= from.scanned_to && from.scanned_to > 0 {
                continue;
            }
            counted.scanned_to = position;
            if !is_system(&event) {
                counted.head = Head { position, events: counted.head.events + 1 };
            }
        }
        Ok((counted, seen < MAX_SCAN_EVENTS))
    }
}

fn check_gapless(event: &RecordedEvent, wanted: Revision) -> Result<(), Fault> {
    if event.revision == wanted {
        return Ok(());
    }
    Err(Fault::Unusable(ReadError::Damaged {
        file: format!("stream {} on KurrentDB", event.stream()),
        offset: wanted - 1,
        position: event.position,
        detail: format!(
            "revision {wanted} is missing (found {}): the stream was truncated, or has $maxCount or $maxAge",
            event.revision
        ),
    }))
}

/// A read under way. Each event has to come within the time of one reply.
struct Reading<'a> {
    connection: &'a Connection,
    lease: Lease,
    stream: ReadStream,
}

impl Reading<'_> {
    /// Reads what little may be left. A read that is dropped before its end is reset, and what the server has sent of it by then
    /// counts as an error of the connection, which the client gives up after a thousand of them, with all that is under way on it.
    async fn end(mut self) {
        for _ in 0..=LAST_EVENTS {
            let next = self.connection.call(&self.lease, self.stream.next()).await;
            if !matches!(next, Ok(Some(_))) {
                return;
            }
        }
    }

    async fn next(&mut self) -> Result<Option<eventstore::RecordedEvent>, Fault> {
        loop {
            let next = self.connection.call(&self.lease, self.stream.next()).await?;
            let Some(resolved) = next else { return Ok(None) };
            // A link whose event is gone has none; it is the server's own.
            if let Some(event) = resolved.link.or(resolved.event) {
                return Ok(Some(event));
            }
        }
    }
}

/// Tries again what failed for now.
async fn retrying<T, F>(attempt: impl Fn() -> F) -> Result<T, Fault>
where
    F: Future<Output = Result<T, Fault>>,
{
    let mut pause = FIRST_PAUSE;
    for _ in 1..ATTEMPTS {
        match attempt().await {
            Err(fault) if fault.is_transient() && !matches!(fault, Fault::TimedOut(_)) => {
                tracing::debug!(%fault, "reading from KurrentDB again");
                tokio::time::sleep(pause).await;
                pause *= 4;
            }
            done => return done,
        }
    }
    attempt().await
}
