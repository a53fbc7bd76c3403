//! The event log on KurrentDB/EventStoreDB, through the `eventstore` client.
//!
//! ```text
//!  append ──▶ queue ──▶ writer ──▶ one pipelined session (BatchAppend), in order ─┐
//!                         └──────▶ one append alone, where an outcome is unclear ─┴──▶ server
//!  read_stream, read_all, head ──▶ reader ────────────────────────────────────────────▶  │
//!  watch_head ◀── follower: a subscription to $all and its watchdog ◀────────────────────┘
//! ```
//!
//! Map: `options` says where the server is; `connection` holds the client and replaces it when it has given up;
//! `writer` and `lone` append; `reader` reads and counts; `follow` announces the head; `envelope` is how an event is
//! stored.
//!
//! What differs from the other backends:
//!
//! - An append writes one stream. Callers write their claims first.
//! - Positions are the server's commit positions: offsets, not numbers of events. They are compared, never computed
//!   with. The server's own events (`$…`) are passed over; their positions are not those of any event.
//! - The server knows no number of events: [`EventLog::head`] counts, from the beginning at the first call and from
//!   where it stopped at every later one.
//! - An append holds at most [`KurrentOptions::max_append_bytes`], which is not to exceed the server's own
//!   `MaxAppendSize`.
//! - A stream that was truncated, or scavenged with limits, is reported as damaged: its revisions have a gap.
//!
//! What the client does not do, and this module does:
//!
//! - Event ids are set, so that a retry is known. The server compares ids only where the expected revision is past;
//!   an append without one is given the stream's revision as its own, and knows its repetition by reading back.
//! - The client ends a whole session when one append of it is refused. What was in flight is then tried again, in
//!   order, the first of it alone: ids make that harmless.
//! - The client never comes back once it has failed to find a node; it is replaced.
//! - Its subscriptions end with the connection and notice no silence; a watchdog compares them with the log's end.

mod connection;
mod envelope;
mod follow;
mod lone;
mod options;
mod reader;
mod writer;

use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use options::{ConnectError, KurrentOptions};

use crate::event::RecordedEvent;
use crate::log::{
    Append, AppendError, Appended, Capabilities, EventLog, Filter, Head, Page, Position, ReadError, Revision,
    StreamId,
};
use crate::rules::check_append;
use connection::Connection;
use reader::Reader;
use writer::{Budget, Job, Writer};

/// An event log on a KurrentDB/EventStoreDB server.
pub struct KurrentLog {
    options: KurrentOptions,
    reader: Arc<Reader>,
    jobs: Mutex<Option<mpsc::UnboundedSender<Job>>>,
    budget: Arc<Budget>,
    head: watch::Receiver<Position>,
    stop: watch::Sender<bool>,
    tasks: tokio::sync::Mutex<Vec<JoinHandle<()>>>,
}

impl KurrentLog {
    /// Connects and finds the end of the log. Must be called within a tokio runtime, which the log's tasks then use.
    ///
    /// # Errors
    /// If the connection string is wrong or the server can't be reached or refuses the user.
    pub async fn connect(options: KurrentOptions) -> Result<Self, ConnectError> {
        let settings = options.settings()?;
        let connection = Arc::new(Connection::open(settings, options.request_timeout)?);
        let reader = Arc::new(Reader::new(connection.clone()));
        let last = reader.last_position().await.map_err(|fault| ConnectError::Unreachable {
            server: connection.server(),
            reason: fault.to_string(),
        })?;
        let (head, head_seen) = watch::channel(last);
        let (stop, stopped) = watch::channel(false);
        let (jobs, queue) = mpsc::unbounded_channel();
        let writer = Writer::new(connection.clone(), reader.clone(), queue, &options, head_seen.clone());
        let follower = follow::Follower::new(connection, reader.clone(), head, stopped, options.watchdog);
        let tasks = vec![tokio::spawn(writer.run()), tokio::spawn(follower.run())];
        Ok(Self {
            budget: Budget::new(options.max_queued_bytes),
            options,
            reader,
            jobs: Mutex::new(Some(jobs)),
            head: head_seen,
            stop,
            tasks: tokio::sync::Mutex::new(tasks),
        })
    }

    /// Queues an append; the receiver gets its outcome.
    fn enqueue(
        &self,
        append: Append,
    ) -> Result<oneshot::Receiver<Result<Appended, AppendError>>, AppendError> {
        let size = check_append(&append)?;
        let mut parts = append.streams.into_iter();
        let (Some(part), None) = (parts.next(), parts.next()) else {
            let detail =
                "KurrentDB writes one stream at a time: write claims first, then what they claim for";
            return Err(AppendError::Invalid(detail.into()));
        };
        if !append.premises.is_empty() {
            let detail =
                "KurrentDB checks the stream that it writes to and no other: an append can have no premises";
            return Err(AppendError::Invalid(detail.into()));
        }
        if size.bytes > self.options.max_append_bytes {
            let detail = format!(
                "an append of {} bytes, at most {} fit: raise MaxAppendSize of the server and max_append_bytes with it",
                size.bytes, self.options.max_append_bytes
            );
            return Err(AppendError::Invalid(detail));
        }
        let (reply, outcome) = oneshot::channel();
        // Held over the send, so that the queue has the order of the calls.
        let jobs = self.jobs.lock();
        let Some(jobs) = jobs.as_ref() else { return Err(AppendError::Stopped("closed".into())) };
        let share = self.budget.take(size.bytes).ok_or(AppendError::Overloaded)?;
        let deadline = Instant::now() + self.options.append_timeout;
        jobs.send(Job::new(part, size.bytes, deadline, reply, share))
            .map_err(|_| AppendError::Stopped("the writer has ended".into()))?;
        Ok(outcome)
    }
}

async fn outcome(
    queued: Result<oneshot::Receiver<Result<Appended, AppendError>>, AppendError>,
) -> Result<Appended, AppendError> {
    queued?.await.unwrap_or_else(|_| Err(AppendError::Stopped("the writer has ended".into())))
}

impl EventLog for KurrentLog {
    fn capabilities(&self) -> Capabilities {
        Capabilities { atomic_multi_stream: false, dense_positions: false }
    }

    fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>> {
        outcome(self.enqueue(append)).boxed()
    }

    fn append_group(&self, appends: Vec<Append>) -> BoxFuture<'static, Vec<Result<Appended, AppendError>>> {
        let queued: Vec<_> = appends.into_iter().map(|append| self.enqueue(append)).collect();
        join_all(queued.into_iter().map(outcome)).boxed()
    }

    fn read_stream<'a>(
        &'a self,
        stream: &'a StreamId,
        from: Revision,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, ReadError>> {
        self.reader.read_stream(stream, from, limit).boxed()
    }

    fn stream_revision<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<Revision, ReadError>> {
        self.reader.stream_revision(stream).boxed()
    }

    fn read_all<'a>(
        &'a self,
        after: Position,
        filter: &'a Filter,
        limit: usize,
        limit_bytes: usize,
    ) -> BoxFuture<'a, Result<Page, ReadError>> {
        self.reader.read_all(after, filter, limit, limit_bytes).boxed()
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, ReadError>> {
        self.reader.head().boxed()
    }

    fn watch_head(&self) -> watch::Receiver<Position> {
        self.head.clone()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            drop(self.jobs.lock().take());
            let mut tasks = self.tasks.lock().await;
            // The writer, which ends once its queue is empty; then the follower.
            for task in tasks.drain(..) {
                self.end(task).await;
            }
        }
        .boxed()
    }
}

impl KurrentLog {
    async fn end(&self, task: JoinHandle<()>) {
        if let Err(error) = task.await {
            tracing::error!(%error, "a task of the event log on KurrentDB failed");
        }
        self.stop.send_replace(true);
    }
}

impl Drop for KurrentLog {
    /// What is queued is still written; then the tasks end.
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}
