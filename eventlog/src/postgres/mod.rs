//! The event log on a PostgreSQL server, in the table layout of `postgres-es`.
//!
//! ```text
//!  append ──▶ queue ──▶ writer: one group, one transaction ──▶ events_append ─┐   row of event_log_head:
//!                                                                             ├─▶ locked before a position is drawn,
//!  a stock postgres_es::PostgresCqrs, any other INSERT ──▶ trigger ───────────┘   released by the commit
//!                                                                                       │ NOTIFY
//!  read_all, read_stream ◀── pool                    watch_head ◀── listener, and a poll ◀┘
//! ```
//!
//! Map of the module: `migrations` (tables, trigger, functions: the order is made there), `schema` (brings them up to
//! date), `layout` (streams and bytes in columns), `queue`, `resolve` (what becomes of a group, pure), `revisions`
//! (hints), `statements`, `writer`, `read`, `recent` (the newest events, in memory), `follow` (the head), `leases` (who leads), `options`, `error`.
//!
//! What keeps the promises of [`EventLog`]:
//!
//! - Every writer of `events` holds the one row of `event_log_head` from before it draws a position to its commit: positions
//!   are dense and become visible in order, for stock writers as well, since a trigger does it for them.
//! - Ours is one statement that checks every stream's revision under that lock and commits by itself, so that a round
//!   trip and a disk flush are all that a group costs. Where hints turn out wrong, where an append looks like a retry or
//!   a conflict, the group is decided anew in a transaction that first takes the lock and then looks.
//! - A lost connection is retried for the time of [`PostgresOptions::append_timeout`]; event ids tell whether the attempt
//!   before had been committed.
//!
//! Several Daybooks may write to one database.

mod error;
mod follow;
mod layout;
mod leases;
mod options;
mod queue;
mod read;
mod recent;
mod resolve;
mod revisions;
mod schema;
mod statements;
mod writer;

use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::runtime::Handle;
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::AbortHandle;

pub use error::ConnectError;
pub use options::PostgresOptions;

use crate::event::RecordedEvent;
use crate::log::{
    Append, AppendError, Appended, Capabilities, EventLog, Filter, Head, Page, Position, ReadError, Revision,
    StreamId,
};
use follow::Follower;
use queue::Queue;
use read::Reader;
use recent::Recent;
use resolve::Prepared;
use writer::Writer;

/// Streams asked for that a slow listener may fall behind by.
const TURNS: usize = 64;

/// Whether the writer reaches its database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    Up,
    /// Appends wait or fail; reconnecting goes on by itself. Why, for an operator.
    Down(String),
}

/// A log in a PostgreSQL database. Cloning gives another handle on the same connections.
#[derive(Clone)]
pub struct PostgresLog {
    inner: Arc<Inner>,
}

struct Inner {
    queue: Arc<Queue>,
    reader: Arc<Reader>,
    recent: Arc<Recent>,
    head: Arc<watch::Sender<Position>>,
    status: Arc<watch::Sender<Status>>,
    /// True once the writer has finished.
    finished: watch::Receiver<bool>,
    follower: AbortHandle,
    channel: String,
    turns: broadcast::Sender<StreamId>,
    nudge: Arc<Notify>,
    /// Callers may be on threads of their own.
    runtime: Handle,
}

impl PostgresLog {
    /// Connects, creates or migrates the tables, and starts the writer and the listener as tasks of this runtime.
    pub async fn connect(options: PostgresOptions) -> Result<Self, ConnectError> {
        let connect = options.connect_options()?;
        let (connection, channel) = schema::prepare(&options, &connect).await?;
        let pool = PgPoolOptions::new()
            .max_connections(options.read_connections.max(1))
            .acquire_timeout(options.connect_timeout)
            // A stale connection is found out by its first query, which is then repeated on another.
            .test_before_acquire(false)
            .connect_lazy_with(connect.clone());
        let reader = Arc::new(Reader::new(pool, options.reply_timeout()));
        let head = Arc::new(watch::channel(0).0);
        let first = reader.head().await.map_err(|error| ConnectError::Server(error.to_string()))?;
        announce(&head, first);
        let recent = Arc::new(Recent::new(first, options.recent_bytes));
        let status = Arc::new(watch::channel(Status::Up).0);
        let queue = Arc::new(Queue::new(options.queue_appends, options.queue_bytes));
        let (finished_sender, finished) = watch::channel(false);
        let writer = Writer::new(
            options.clone(),
            connect.clone(),
            queue.clone(),
            head.clone(),
            status.clone(),
            recent.clone(),
            connection,
        );
        tokio::spawn(async move {
            writer.run().await;
            finished_sender.send_replace(true);
        });
        let turns = broadcast::channel(TURNS).0;
        let nudge = Arc::new(Notify::new());
        let follower = Follower {
            options,
            connect,
            channel: channel.clone(),
            reader: reader.clone(),
            head: head.clone(),
            turns: turns.clone(),
            nudge: nudge.clone(),
        };
        let follower = tokio::spawn(follower.run()).abort_handle();
        let inner = Inner {
            queue,
            reader,
            recent,
            head,
            status,
            finished,
            follower,
            channel,
            turns,
            nudge,
            runtime: Handle::current(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Follows whether the writer reaches the database, for readiness checks.
    #[must_use]
    pub fn watch_status(&self) -> watch::Receiver<Status> {
        self.inner.status.subscribe()
    }

    /// The connections for reading. Their search path is the log's schema, so that other tables beside the log, such as
    /// snapshots, can be used through them.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.inner.reader.pool
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The writer still does what is queued, then ends.
        self.queue.close();
        self.follower.abort();
    }
}

/// Moves the announced head forward; true if that is news.
fn announce(head: &watch::Sender<Position>, position: Position) -> bool {
    head.send_if_modified(|announced| {
        let news = position > *announced;
        if news {
            *announced = position;
        }
        news
    })
}

impl EventLog for PostgresLog {
    fn capabilities(&self) -> Capabilities {
        Capabilities { atomic_multi_stream: true, dense_positions: true }
    }

    fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>> {
        let mut waiting = self.inner.queue.push(vec![Prepared::new(append)]);
        let only = waiting.pop().expect("as many as were pushed");
        only.result().boxed()
    }

    fn append_group(&self, appends: Vec<Append>) -> BoxFuture<'static, Vec<Result<Appended, AppendError>>> {
        let waiting = self.inner.queue.push(appends.into_iter().map(Prepared::new).collect());
        join_all(waiting.into_iter().map(queue::Waiting::result)).boxed()
    }

    fn read_stream<'a>(
        &'a self,
        stream: &'a StreamId,
        from: Revision,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, ReadError>> {
        self.inner.reader.read_stream(stream, from, limit).boxed()
    }

    fn stream_revision<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<Revision, ReadError>> {
        self.inner.reader.stream_revision(stream).boxed()
    }

    fn read_all<'a>(
        &'a self,
        after: Position,
        filter: &'a Filter,
        limit: usize,
        limit_bytes: usize,
    ) -> BoxFuture<'a, Result<Page, ReadError>> {
        self.inner.reader.read_all(after, filter, limit, limit_bytes).boxed()
    }

    fn read_tail<'a>(
        &'a self,
        after: Position,
        filter: &'a Filter,
        limit: usize,
        limit_bytes: usize,
    ) -> BoxFuture<'a, Result<Page, ReadError>> {
        let Inner { reader, recent, head, .. } = &*self.inner;
        reader.read_tail(recent, head, read::Asked { after, filter, limit, limit_bytes }).boxed()
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, ReadError>> {
        async {
            let position = self.inner.reader.head().await?;
            Ok(Head { position, events: position })
        }
        .boxed()
    }

    fn watch_head(&self) -> watch::Receiver<Position> {
        self.inner.head.subscribe()
    }

    fn look(&self) {
        self.inner.nudge.notify_one();
    }

    fn ask_for_turn(&self, stream: &StreamId) {
        let (pool, channel) = (self.inner.reader.pool.clone(), self.inner.channel.clone());
        self.inner.runtime.spawn(follow::ask_for_turn(pool, channel, stream.clone()));
    }

    fn turns_asked(&self) -> Option<broadcast::Receiver<StreamId>> {
        Some(self.inner.turns.subscribe())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {
            self.inner.queue.close();
            let mut finished = self.inner.finished.clone();
            // An error means that the writer's task is gone, so it has finished too.
            let _ = finished.wait_for(|finished| *finished).await;
            self.inner.follower.abort();
        }
        .boxed()
    }
}
