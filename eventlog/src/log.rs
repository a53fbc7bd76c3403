//! The [`EventLog`] trait: its promises stand here, and `conformance` holds every backend to them.
//!
//! ```text
//!  position  1        2        3        4        5        6         one total order, no reader ever misses one
//!            ┌────────┬────────┬────────┬────────┬────────┬────────┐
//!            │ a @1   │ a @2   │ b @1   │ a @3   │ b @2   │ c @1   │ ◀─ head
//!            └────────┴────────┴────────┴────────┴────────┴────────┘
//!  append    └─────── one ─────────────┘└─ one ─┘└────── one ──────┘ all or nothing, over several streams
//! ```

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::{broadcast, watch};

use crate::event::{NewEvent, RecordedEvent};

/// The place of an event in its stream: 1 for the first; 0 means "no stream". Gapless.
pub type Revision = u64;

/// The place of an event in the log: 1 or more; 0 is "before everything". Strictly increasing in log order;
/// dense (each one more than the last) only where [`Capabilities::dense_positions`] says so.
pub type Position = u64;

/// The name of a stream, such as `inventory-42`: 1 to 255 bytes of visible ASCII without spaces.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(Arc<str>);

/// A text that is no stream name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a stream name is 1 to 255 visible ASCII characters, got {0:?}")]
pub struct StreamIdError(pub String);

impl StreamId {
    /// Parses a stream name.
    pub fn new(name: impl AsRef<str>) -> Result<Self, StreamIdError> {
        let name = name.as_ref();
        if name.is_empty() || name.len() > 255 || !name.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(StreamIdError(name.chars().take(300).collect()));
        }
        Ok(Self(Arc::from(name)))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl std::borrow::Borrow<str> for StreamId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// What the writer believes about the stream it appends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The stream has exactly this many events (0: it does not exist).
    Exact(Revision),
    /// Whatever is there. Only for facts that depend on nothing.
    Any,
}

/// Events for one stream within an [`Append`].
#[derive(Debug, Clone)]
pub struct StreamAppend {
    pub stream: StreamId,
    pub expected: Expected,
    /// At least one event. Order is kept.
    pub events: Vec<NewEvent>,
}

/// One atomic write: every stream of it, or none. A stream occurs at most once.
#[derive(Debug, Clone, Default)]
pub struct Append {
    pub streams: Vec<StreamAppend>,
    /// What else must hold: streams that the append does not write to, and that its events were decided on. Only where
    /// [`Capabilities::atomic_multi_stream`] is true. A repeated append that was written before succeeds whatever became of them.
    pub premises: Vec<Premise>,
}

impl Append {
    /// An append without premises.
    #[must_use]
    pub const fn new(streams: Vec<StreamAppend>) -> Self {
        Self { streams, premises: Vec::new() }
    }
}

/// A stream that must have exactly this many events (0: not exist), or the append is a conflict.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Premise {
    pub stream: StreamId,
    pub revision: Revision,
}

/// Where an [`Append`] ended up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Position of the first event. Where positions are not dense ([`Capabilities::dense_positions`]) it may be that of the last:
    /// servers tell where an append ends, and to ask for the rest would cost each append a read.
    pub first: Position,
    /// Position of the last event.
    pub last: Position,
    /// The revision that each stream has now, in the order of [`Append::streams`].
    pub revisions: Vec<Revision>,
}

/// The end of the log at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Head {
    /// Position of the last durable event, 0 for an empty log.
    pub position: Position,
    /// Number of events in the log.
    pub events: u64,
}

/// Why an append did not happen. Unless [`AppendError::is_indeterminate`] says otherwise, nothing was written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Another writer was first: decide again on the newer state.
    #[error("stream {stream} is at revision {actual}, not at the expected {expected}")]
    Conflict { stream: StreamId, expected: Revision, actual: Revision },
    /// The request breaks a rule of the log (an empty append, a stream twice, an event too large).
    #[error("invalid append: {0}")]
    Invalid(String),
    /// The backend holds too much unwritten work; retry after a pause.
    #[error("the event log is overloaded")]
    Overloaded,
    /// No room on the disk; reads go on, and appends resume when there is room.
    #[error("the event log's disk is full: {0}")]
    DiskFull(String),
    /// The backend cannot be reached now; a retry with the same event ids can help. When `indeterminate`, the events
    /// may have been written.
    #[error("the event log is unavailable: {reason}")]
    Unavailable { reason: String, indeterminate: bool },
    /// The log has stopped for good in this process (a failed `fdatasync`, damage found). Restart after repair.
    #[error("the event log has stopped: {0}")]
    Stopped(String),
}

impl AppendError {
    /// Whether the same append may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Overloaded | Self::DiskFull(_) | Self::Unavailable { .. })
    }

    /// Whether the events may have been written in spite of the error.
    #[must_use]
    pub fn is_indeterminate(&self) -> bool {
        matches!(self, Self::Unavailable { indeterminate: true, .. } | Self::Stopped(_))
    }
}

/// Why a read failed. A reader must stop at it; skipping on is never right.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// Stored bytes are not what was written.
    #[error("damaged event log: {detail} ({file} at byte {offset}, near position {position})")]
    Damaged { file: String, offset: u64, position: Position, detail: String },
    /// The backend cannot be reached now.
    #[error("the event log is unavailable: {0}")]
    Unavailable(String),
}

/// Selects events of the log by header alone, so that a backend can skip without decoding. Empty lists select all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Wire names of event types, exact.
    pub types: Vec<String>,
    /// Prefixes of stream names, such as `inventory-`.
    pub stream_prefixes: Vec<String>,
}

impl Filter {
    /// Whether an event with this stream and type is selected. Both lists must agree.
    #[must_use]
    pub fn matches(&self, stream: &str, event_type: &str) -> bool {
        (self.types.is_empty() || self.types.iter().any(|t| t == event_type))
            && (self.stream_prefixes.is_empty()
                || self.stream_prefixes.iter().any(|p| stream.starts_with(p.as_str())))
    }

    /// Whether everything is selected.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.types.is_empty() && self.stream_prefixes.is_empty()
    }
}

/// A run of events from the log.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Selected events in ascending order of position.
    pub events: Vec<RecordedEvent>,
    /// Everything up to and including this position has been looked at: the next read starts after it. It is at
    /// least the last event's position, and more when a filter passed over what follows.
    pub scanned_to: Position,
    /// Whether the scan reached the head as it was when the page was read.
    pub at_head: bool,
}

/// What a backend can do beyond the common promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// One append may write several streams atomically, and have premises. Where false, an append of more than one stream or with
    /// a premise is [`AppendError::Invalid`], and callers write their claims first.
    pub atomic_multi_stream: bool,
    /// Positions are 1, 2, 3, … without holes, so that a reader can prove that it missed nothing.
    pub dense_positions: bool,
}

/// An append-only log of events. Every backend MUST keep these promises:
///
/// 1. **Atomic.** An append is visible and durable as a whole or not at all, also after a crash at any instant.
/// 2. **Expected revision.** A [`Premise`] is checked as the revision of a stream that is written to is. With [`Expected::Exact`] the append succeeds only if the stream is at that revision;
///    of two racing writers one wins, and the other gets [`AppendError::Conflict`] with the actual revision.
/// 3. **Gapless.** Revisions of a stream are 1, 2, 3, … in the order of their positions.
/// 4. **Ordered visibility.** Once a reader has seen position p, no event at or below p will ever appear later.
/// 5. **Durable.** A successful reply means the events survive the loss of power (`fdatasync` returned, or the
///    server's own commit). Nothing is visible to a reader before that.
/// 6. **Idempotent retry.** An append whose event ids are exactly those already at the expected place of the same
///    streams succeeds again with the same result and writes nothing. Any other reuse is a conflict.
/// 7. **Immutable.** What was read once reads the same for ever, byte for byte.
/// 8. **In order from one caller.** Appends given in one call to [`EventLog::append_group`] are tried in that order,
///    and calls made one after the other without waiting are tried in the order of the calls: a writer may build on
///    an append that is still in flight. If that one fails, what builds on it fails with a conflict.
pub trait EventLog: Send + Sync + 'static {
    /// What this backend can do.
    fn capabilities(&self) -> Capabilities;

    /// Writes one append. The work is queued when the method is called, not when the future is first polled.
    fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>>;

    /// Writes several independent appends, each atomic by itself, in order, with one commit where the backend can.
    fn append_group(&self, appends: Vec<Append>) -> BoxFuture<'static, Vec<Result<Appended, AppendError>>>;

    /// Reads a stream in ascending order from revision `from` (inclusive, 1 or more), at most `limit` events.
    /// A stream that does not exist gives an empty list.
    fn read_stream<'a>(
        &'a self,
        stream: &'a StreamId,
        from: Revision,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, ReadError>>;

    /// The stream's current revision, 0 if it does not exist.
    fn stream_revision<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<Revision, ReadError>>;

    /// Whether the stream surely does not exist, as far as appends have been answered; told from memory alone. `false` may also mean
    /// that only a read would tell. For the one writer of a log, who knows what is under way.
    fn is_surely_absent(&self, _stream: &StreamId) -> bool {
        false
    }

    /// Reads the log in ascending order after position `after`: at most `limit` selected events, at most about
    /// `limit_bytes` of them (at least one event if there is any), and a bounded amount of scanning.
    fn read_all<'a>(
        &'a self,
        after: Position,
        filter: &'a Filter,
        limit: usize,
        limit_bytes: usize,
    ) -> BoxFuture<'a, Result<Page, ReadError>>;

    /// As [`EventLog::read_all`], for one that follows the head by [`EventLog::watch_head`]: what others wrote and this process was not told
    /// of yet may be missing, and the head is the one that is told there. A log that keeps its newest events in memory gives them
    /// from there, so that many followers cost its server one read, or none.
    fn read_tail<'a>(
        &'a self,
        after: Position,
        filter: &'a Filter,
        limit: usize,
        limit_bytes: usize,
    ) -> BoxFuture<'a, Result<Page, ReadError>> {
        self.read_all(after, filter, limit, limit_bytes)
    }

    /// Where a reader that takes the log in pieces should end one that begins after `after` and has about `wanted`
    /// events: more than `after`, and a place where the backend's own units end, so that no two readers share one.
    fn piece_end(&self, after: Position, wanted: u64) -> Position {
        after.saturating_add(wanted.max(1))
    }

    /// The end of the log.
    fn head(&self) -> BoxFuture<'_, Result<Head, ReadError>>;

    /// Follows the position of the head. A change may be missed, the newest value never.
    fn watch_head(&self) -> watch::Receiver<Position>;

    /// Looks now whether others have written, instead of when the log would notice by itself. Where it always knows, nothing happens.
    fn look(&self) {}

    /// Asks whoever else writes to the log to leave the next turn at a stream to this writer, which they overtake again and
    /// again. A hint: no promise hangs on it.
    fn ask_for_turn(&self, _stream: &StreamId) {}

    /// The streams that [`EventLog::ask_for_turn`] was called for, by this writer or another. `None` where a log has one writer, or
    /// no way to tell the others.
    fn turns_asked(&self) -> Option<broadcast::Receiver<StreamId>> {
        None
    }

    /// Finishes what is queued, then closes. Later appends get [`AppendError::Stopped`].
    fn close(&self) -> BoxFuture<'_, ()>;
}
