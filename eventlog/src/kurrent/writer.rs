//! Appends, in the order of the calls: pipelined on one session, or alone where a session would not tell enough.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use eventstore::{BatchAppendClient, BatchAppendOptions, BatchWriteResult, Error, ExpectedRevision};
use futures::FutureExt;
use futures::StreamExt;
use futures::future::{BoxFuture, maybe_done};
use futures::stream::FuturesOrdered;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::KurrentOptions;
use super::connection::{Connection, Fault, Lease};
use super::envelope::to_event_data;
use super::lone;
use super::reader::Reader;
use crate::log::{AppendError, Appended, Expected, Position, Revision, StreamAppend, StreamId};

/// How many bytes may be in flight on a session.
const MAX_IN_FLIGHT_BYTES: usize = 8 << 20;

/// Of how many streams the writer keeps the revision in mind.
const MAX_KNOWN_STREAMS: usize = 100_000;

/// How long the rest of a session that has failed may take to fail too.
const DRAIN: Duration = Duration::from_secs(1);

/// After a session could not be opened, appends are tried alone for so long.
const NO_SESSION: Duration = Duration::from_secs(1);

/// One append and whom to tell.
pub(super) struct Job {
    pub(super) part: StreamAppend,
    pub(super) deadline: Instant,
    /// Whether it may have reached the server.
    pub(super) sent: bool,
    /// A position that the log had when it was sent for the first and only time.
    floor: Option<Position>,
    bytes: usize,
    /// Whether a session failed with it, so that it is to be tried by itself.
    alone: bool,
    reply: oneshot::Sender<Result<Appended, AppendError>>,
    _share: Share,
}

impl Job {
    pub(super) fn new(
        part: StreamAppend,
        bytes: usize,
        deadline: Instant,
        reply: oneshot::Sender<Result<Appended, AppendError>>,
        share: Share,
    ) -> Self {
        Self { part, deadline, sent: false, floor: None, bytes, alone: false, reply, _share: share }
    }

    fn finish(self, outcome: Result<Appended, AppendError>) {
        // Nobody may be waiting: the append was queued by the call.
        let _unheard = self.reply.send(outcome);
    }
}

/// The bytes that may be queued.
pub(super) struct Budget {
    left: AtomicUsize,
}

/// A part of the budget, given back when dropped.
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(bytes) })
    }

    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Option<Share> {
        let taken =
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        taken.ok().map(|_| Share { budget: self.clone(), bytes })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

type Outcome = eventstore::Result<BatchWriteResult>;

/// The one task that appends.
pub(super) struct Writer {
    connection: Arc<Connection>,
    reader: Arc<Reader>,
    jobs: mpsc::UnboundedReceiver<Job>,
    is_open: bool,
    max_in_flight: usize,
    /// Not yet sent, oldest first.
    queue: VecDeque<Job>,
    session: Option<Session>,
    no_session_before: Instant,
    /// Sent and not answered, oldest first, with their outcomes in the same order.
    flying: VecDeque<Job>,
    flying_bytes: usize,
    outcomes: FuturesOrdered<BoxFuture<'static, Outcome>>,
    /// The revision that a stream will have once everything in flight has succeeded, as far as this writer knows;
    /// `None` while an append is in flight to a stream of which it knows nothing.
    known: HashMap<StreamId, Option<Revision>>,
    /// The newest position of which this writer was told, and the head as it is announced.
    seen: Position,
    head: watch::Receiver<Position>,
    last_progress: Instant,
    /// Reading back where appends lie of which the server did not say.
    finishing: JoinSet<()>,
}

struct Session {
    client: Arc<BatchAppendClient>,
    lease: Lease,
}

impl Writer {
    pub(super) fn new(
        connection: Arc<Connection>,
        reader: Arc<Reader>,
        jobs: mpsc::UnboundedReceiver<Job>,
        options: &KurrentOptions,
        head: watch::Receiver<Position>,
    ) -> Self {
        Self {
            connection,
            reader,
            jobs,
            is_open: true,
            max_in_flight: options.max_in_flight.max(1),
            queue: VecDeque::new(),
            session: None,
            no_session_before: Instant::now(),
            flying: VecDeque::new(),
            flying_bytes: 0,
            outcomes: FuturesOrdered::new(),
            known: HashMap::new(),
            seen: 0,
            head,
            last_progress: Instant::now(),
            finishing: JoinSet::new(),
        }
    }

    /// Until the log is closed and nothing is left to do.
    pub(super) async fn run(mut self) {
        loop {
            self.send_what_may_go().await;
            if self.flying.is_empty() && self.queue.is_empty() && !self.is_open {
                break;
            }
            let overdue = self.last_progress + self.connection.timeout();
            tokio::select! {
                biased;
                Some(outcome) = self.outcomes.next() => self.settle(outcome).await,
                () = tokio::time::sleep_until(overdue), if !self.flying.is_empty() => self.abandon_session(),
                job = self.jobs.recv(), if self.is_open && self.queue.len() < self.max_in_flight => match job {
                    Some(job) => self.queue.push_back(job),
                    None => self.is_open = false,
                },
                Some(_finished) = self.finishing.join_next() => {}
            }
        }
        while self.finishing.join_next().await.is_some() {}
        self.end_session().await;
    }

    async fn send_what_may_go(&mut self) {
        while let Some(next) = self.queue.front() {
            if !self.can_follow(next) {
                if !self.flying.is_empty() {
                    return;
                }
                if let Some(job) = self.queue.pop_front() {
                    self.append_alone(job).await;
                }
                continue;
            }
            if self.flying.len() >= self.max_in_flight
                || (!self.flying.is_empty() && self.flying_bytes + next.bytes > MAX_IN_FLIGHT_BYTES)
            {
                return;
            }
            let session = self.session().await;
            if let Some(mut job) = self.queue.pop_front() {
                match session {
                    Some(session) => self.send(&session, job),
                    None => {
                        job.alone = true;
                        self.queue.push_front(job);
                    }
                }
            }
        }
    }

    /// Whether the append may be sent behind those in flight: only where it should succeed if they do. A refusal
    /// costs the session, and tells less than one of an append alone.
    fn can_follow(&self, job: &Job) -> bool {
        let Expected::Exact(expected) = job.part.expected else { return false };
        !job.alone && self.known.get(&job.part.stream).is_none_or(|revision| *revision == Some(expected))
    }

    fn send(&mut self, session: &Arc<BatchAppendClient>, mut job: Job) {
        let Expected::Exact(expected) = job.part.expected else {
            unreachable!("only an append with an expected revision can follow others")
        };
        let events = job.part.events.iter().map(to_event_data).collect();
        let (session, stream) = (session.clone(), job.part.stream.clone());
        let appending = async move {
            session.append_to_stream(stream.as_str(), expected_revision(expected), events).await
        };
        // Polled at once, which queues it: the order of the calls is the order on the session.
        let mut appending = Box::pin(maybe_done(appending));
        let _pending = appending.as_mut().now_or_never();
        let outcome = async move {
            appending.as_mut().await;
            appending.as_mut().take_output().expect("the future is done and its output not yet taken")
        };
        if self.flying.is_empty() {
            self.last_progress = Instant::now();
        }
        job.floor = (!job.sent).then(|| self.seen.max(*self.head.borrow()));
        job.sent = true;
        let after = self.known.get(&job.part.stream).map(|_| expected + job.part.events.len() as u64);
        self.know(&job.part.stream, after);
        self.flying_bytes += job.bytes;
        self.flying.push_back(job);
        self.outcomes.push_back(outcome.boxed());
    }

    /// The open session, or a new one; `None` if the server has none or can't be reached.
    async fn session(&mut self) -> Option<Arc<BatchAppendClient>> {
        if self.session.is_none() && Instant::now() >= self.no_session_before {
            let lease = self.connection.lease();
            let options = BatchAppendOptions::default().requires_leader(true);
            let opened = self.connection.call(&lease, lease.client.batch_append(&options)).await;
            match opened {
                Ok(client) => self.session = Some(Session { client: Arc::new(client), lease }),
                Err(fault) => {
                    tracing::debug!(%fault, "no session for appends");
                    self.no_session_before = Instant::now() + NO_SESSION;
                }
            }
        }
        self.session.as_ref().map(|session| session.client.clone())
    }

    fn take_oldest(&mut self) -> Option<Job> {
        let job = self.flying.pop_front()?;
        self.flying_bytes -= job.bytes;
        Some(job)
    }

    fn know(&mut self, stream: &StreamId, revision: Option<Revision>) {
        if self.known.len() >= MAX_KNOWN_STREAMS {
            let in_flight: HashSet<_> = self.flying.iter().map(|job| job.part.stream.clone()).collect();
            self.known.retain(|stream, _| in_flight.contains(stream));
        }
        self.known.insert(stream.clone(), revision);
    }

    /// Tried again, in order, before everything else. What was foreseen of their streams is void.
    fn try_again(&mut self, jobs: Vec<Job>) {
        for job in jobs.into_iter().rev() {
            self.known.remove(&job.part.stream);
            self.queue.push_front(job);
        }
    }

    async fn settle(&mut self, outcome: Outcome) {
        self.last_progress = Instant::now();
        let Some(mut job) = self.take_oldest() else { return };
        match outcome {
            Ok(result) => self.finish(job, &result),
            Err(error) => {
                // The session has ended. Who was refused is not told to the others: the oldest is tried alone, where
                // its outcome is clear, and the rest again, in order. Their ids make a repetition harmless.
                job.alone = true;
                let again = self.drain_session(job, &error).await;
                self.try_again(again);
            }
        }
    }

    /// Takes back what was in flight on a failed session, except what succeeded all the same.
    async fn drain_session(&mut self, failed: Job, error: &Error) -> Vec<Job> {
        if let Some(session) = self.session.take() {
            self.connection.report(&session.lease, error);
        }
        let mut again = vec![failed];
        let until = Instant::now() + DRAIN;
        while let Some(job) = self.take_oldest() {
            match tokio::time::timeout_at(until, self.outcomes.next()).await {
                Ok(Some(Ok(result))) => self.finish(job, &result),
                Ok(_) | Err(_) => again.push(job),
            }
        }
        self.outcomes = FuturesOrdered::new();
        again
    }

    /// A session without any answer for too long: the server hangs, or the session has ended without a word.
    fn abandon_session(&mut self) {
        tracing::warn!(server = self.connection.server(), "no answer to appends; trying them one by one");
        self.session = None;
        self.outcomes = FuturesOrdered::new();
        let mut again = Vec::new();
        while let Some(mut job) = self.take_oldest() {
            job.alone = true;
            again.push(job);
        }
        self.try_again(again);
    }

    /// The client ends a session only when an append of it is refused; left alone it stays on the server.
    async fn end_session(&mut self) {
        let Some(session) = self.session.take() else { return };
        let never = ExpectedRevision::Exact(i64::MAX.cast_unsigned());
        let refused = session.client.append_to_stream("daybook-end-of-session", never, Vec::new());
        let _refused = tokio::time::timeout(DRAIN, refused).await;
    }

    fn finish(&mut self, job: Job, result: &BatchWriteResult) {
        let Expected::Exact(expected) = job.part.expected else {
            unreachable!("only an append with an expected revision is sent on a session")
        };
        let position = result.current_position();
        if self.known.get(&job.part.stream) == Some(&None) {
            self.know(&job.part.stream, Some(expected + job.part.events.len() as u64));
        }
        let reader = self.reader.clone();
        let revision = result.current_revision();
        if let Some(appended) = lone::of_reply(&job.part, expected, job.floor, revision, position) {
            self.seen = self.seen.max(appended.last);
            job.finish(Ok(appended));
            return;
        }
        self.finishing.spawn(async move {
            let outcome = lone::read_back(&reader, &job.part, expected).await;
            job.finish(outcome);
        });
    }

    async fn append_alone(&mut self, mut job: Job) {
        let outcome = lone::append(&self.connection, &self.reader, &mut job).await;
        match &outcome {
            Ok(appended) => {
                self.seen = self.seen.max(appended.last);
                self.know(&job.part.stream, appended.revisions.first().copied());
            }
            Err(AppendError::Conflict { actual, .. }) => self.know(&job.part.stream, Some(*actual)),
            Err(_) => {
                self.known.remove(&job.part.stream);
            }
        }
        job.finish(outcome);
    }
}

/// The protocol's revisions count from 0.
pub(super) fn expected_revision(expected: Revision) -> ExpectedRevision {
    match expected.checked_sub(1) {
        Some(last) => ExpectedRevision::Exact(last),
        None => ExpectedRevision::NoStream,
    }
}

/// Keeps the fault's reason for an append whose place can't be read back: it is written, but where is not known.
pub(super) fn written_somewhere(fault: Fault) -> AppendError {
    AppendError::Unavailable { reason: fault.to_string(), indeterminate: true }
}
