//! The log over HTTP: a stream's events, pages of the log, and server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use daybook_eventlog::{Filter, Position, ReadError, RecordedEvent, StreamId};
use daybook_schemas::Timestamp;
use futures::Stream;
use serde::Serialize;
use serde_json::value::RawValue;

use super::App;
use super::accept::wants_event_stream;
use super::extract::{Inside, Path, Query};
use super::params::Params;
use super::problem::Problem;
use super::queries::{log_at, respond};

const MAX_LIMIT: usize = 1_000;
const PAGE_BYTES: usize = 4 << 20;
/// A comment line after so much silence keeps proxies from closing the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// An event as clients see it.
#[derive(Serialize)]
pub struct EventBody<'a> {
    event_id: String,
    stream: &'a str,
    revision: u64,
    position: String,
    r#type: &'a str,
    version: u16,
    recorded_at: Timestamp,
    data: &'a RawValue,
    metadata: &'a RawValue,
}

impl<'a> EventBody<'a> {
    /// Payloads are JSON by the log's convention; one that is not stops the reader with a clear error.
    pub fn new(event: &'a RecordedEvent) -> Result<Self, Problem> {
        let raw = |bytes: &'a [u8], what: &str| {
            serde_json::from_slice(bytes).map_err(|e| {
                Problem::internal(format!(
                    "{what} of the event at position {} is no JSON: {e}",
                    event.position
                ))
            })
        };
        Ok(Self {
            event_id: event.event_id.to_string(),
            stream: event.stream(),
            revision: event.revision,
            position: event.position.to_string(),
            r#type: event.event_type(),
            version: event.version,
            recorded_at: Timestamp::from_micros(event.recorded_at),
            data: raw(event.data(), "the payload")?,
            metadata: raw(event.metadata(), "the metadata")?,
        })
    }
}

#[derive(Serialize)]
struct PageBody<'a> {
    events: Vec<EventBody<'a>>,
    /// Where the next page starts; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// Where to go on from, also at the end: what comes later is found there.
    resume: String,
}

fn page_response(
    events: &[RecordedEvent],
    resume: u64,
    ended: bool,
    position: Position,
) -> Result<Response, Problem> {
    let events = events.iter().map(EventBody::new).collect::<Result<Vec<_>, _>>()?;
    let resume = resume.to_string();
    respond(&PageBody { events, next: (!ended).then(|| resume.clone()), resume }, position)
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable(_) => {
                tracing::warn!(%error, "the log could not be read");
                Self::unavailable("unavailable", "the event log is unavailable", 1)
            }
            ReadError::Damaged { .. } => Self::internal(error),
        }
    }
}

/// `GET /v1/streams/{stream}?from=&limit=`.
pub(super) async fn stream(
    State(app): State<App>,
    Inside(Query { mut params, min_position }): Inside,
    Path(stream): Path<String>,
) -> Result<Response, Problem> {
    let stream = StreamId::new(&stream).map_err(|e| Problem::invalid(e.to_string()))?;
    let from = params.number("from")?.unwrap_or(1).max(1);
    let limit = params.limit(100, MAX_LIMIT)?;
    params.finish()?;
    let position = log_at(&app, min_position).await?;
    let mut events = app.log.read_stream(&stream, from, limit + 1).await?;
    if events.is_empty() && app.log.stream_revision(&stream).await? == 0 {
        return Err(Problem::not_found(format!("there is no stream {stream}")).at(position));
    }
    let ended = events.len() <= limit;
    events.truncate(limit);
    let resume = events.last().map_or(from, |last| last.revision + 1);
    page_response(&events, resume, ended, position)
}

/// `GET /v1/events`: a page, or server-sent events if the client accepts them.
pub(super) async fn events(
    State(app): State<App>,
    Inside(Query { mut params, min_position }): Inside,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut from = params.number("from")?.unwrap_or(0);
    let streamed = wants_event_stream(&headers);
    let limit =
        if streamed { params.limit(usize::MAX, usize::MAX)? } else { params.limit(100, MAX_LIMIT)? };
    let select = Select::take(&mut params)?;
    params.finish()?;
    let position = log_at(&app, min_position).await?;
    if streamed {
        // Empty before the first event (HTML standard, 9.2): then there is none.
        if let Some(last) = headers.get("last-event-id").filter(|id| !id.is_empty()) {
            let last = last.to_str().ok().and_then(|id| id.parse().ok());
            from = last.ok_or_else(|| Problem::invalid("Last-Event-ID is a position"))?;
        }
        let body = Body::from_stream(follow(app, from, select, limit));
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        return Ok((headers, body).into_response());
    }
    let mut found = Vec::new();
    let mut at_head = false;
    // A filter may pass over much: a page is read until it is full, the head is reached, or enough was scanned.
    for _ in 0..64 {
        let wanted = limit - found.len();
        let page = app.log.read_all(from, &select.filter, select.to_read(wanted), PAGE_BYTES).await?;
        let mut taken = page.events.into_iter().filter(|event| select.takes(event));
        found.extend(taken.by_ref().take(wanted));
        if taken.next().is_some() {
            from = found.last().map_or(from, |last| last.position);
            break;
        }
        from = page.scanned_to.max(from);
        at_head = page.at_head;
        if at_head || found.len() >= limit {
            break;
        }
    }
    page_response(&found, from, at_head, position)
}

/// Which events a client wants: of any of the types, and of any of the streams and prefixes.
struct Select {
    /// What the log passes over by itself.
    filter: Filter,
    /// Streams by their whole names; their names are among the filter's prefixes.
    streams: Vec<String>,
    /// The prefixes that were asked for.
    prefixes: Vec<String>,
}

impl Select {
    fn take(params: &mut Params) -> Result<Self, Problem> {
        let given = params.all("type");
        let types = given.iter().flat_map(|types| types.split(',')).map(str::trim);
        let types: Vec<String> = types.filter(|name| !name.is_empty()).map(str::to_owned).collect();
        // No type at all would be every type.
        if types.is_empty() && !given.is_empty() {
            return Err(Problem::invalid("type names event types, such as type=order.placed,order.paid"));
        }
        let streams = params.all("stream");
        for stream in &streams {
            StreamId::new(stream).map_err(|e| Problem::invalid(format!("stream: {e}")))?;
        }
        let prefixes = [params.all("stream_prefix"), params.all("prefix")].concat();
        let filter = Filter { types, stream_prefixes: [&streams[..], &prefixes[..]].concat() };
        Ok(Self { filter, streams, prefixes })
    }

    /// How many events to ask the log for where so many are wanted: other streams can have a name that begins alike.
    fn to_read(&self, wanted: usize) -> usize {
        if self.streams.is_empty() { wanted } else { wanted.max(256) }
    }

    /// Of what the filter lets through.
    fn takes(&self, event: &RecordedEvent) -> bool {
        let stream = event.stream();
        self.streams.is_empty()
            || self.streams.iter().any(|name| name == stream)
            || self.prefixes.iter().any(|prefix| stream.starts_with(prefix.as_str()))
    }
}

struct Follow {
    app: App,
    after: Position,
    select: Select,
    /// Events still to be sent.
    left: usize,
    head: tokio::sync::watch::Receiver<Position>,
    stopping: tokio::sync::watch::Receiver<bool>,
}

/// Follows the log until so many events were sent or the server stops: pages as they come, a comment in times of silence.
fn follow(
    app: App,
    after: Position,
    select: Select,
    limit: usize,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let head = app.log.watch_head();
    let stopping = app.stopping.clone();
    let first = Follow { app, after, select, left: limit, head, stopping };
    futures::stream::unfold(Some(first), |state| async move {
        let mut state = state?;
        loop {
            if state.left == 0 || *state.stopping.borrow() {
                return None;
            }
            state.head.borrow_and_update();
            match state.next_chunk().await {
                Ok(Some(chunk)) => return Some((Ok(chunk), Some(state))),
                Ok(None) => {}
                Err(problem) => {
                    let chunk = format!("event: problem\ndata: {}\n\n", problem.to_value());
                    return Some((Ok(Bytes::from(chunk)), None));
                }
            }
            let quiet = tokio::select! {
                changed = state.head.changed() => {
                    changed.ok()?;
                    false
                }
                _ = state.stopping.changed() => false,
                () = tokio::time::sleep(KEEP_ALIVE) => true,
            };
            if quiet {
                return Some((Ok(Bytes::from_static(b": still here\n\n")), Some(state)));
            }
        }
    })
}

impl Follow {
    /// The next events in wire form; `None` when nothing selected lies before the head.
    async fn next_chunk(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let most = self.select.to_read(self.left.min(256));
            let mut page = self.app.log.read_tail(self.after, &self.select.filter, most, 256 << 10).await?;
            self.after = self.after.max(page.scanned_to);
            page.events.retain(|event| self.select.takes(event));
            // What is read beyond the last one that is sent is nobody's: the answer ends there.
            page.events.truncate(self.left);
            if !page.events.is_empty() {
                self.left -= page.events.len();
                let mut chunk = Vec::with_capacity(page.events.len() * 512);
                for event in &page.events {
                    chunk.extend_from_slice(
                        format!("id: {}\nevent: {}\ndata: ", event.position, event.event_type()).as_bytes(),
                    );
                    serde_json::to_writer(&mut chunk, &EventBody::new(event)?).map_err(Problem::internal)?;
                    chunk.extend_from_slice(b"\n\n");
                }
                return Ok(Some(Bytes::from(chunk)));
            }
            if page.at_head {
                return Ok(None);
            }
        }
    }
}
