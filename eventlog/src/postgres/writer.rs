//! The writer task: drains the queue, writes a group in one transaction, answers; reconnects when it must.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Error};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::error::Failure;
use super::options::PostgresOptions;
use super::queue::{Job, Queue};
use super::recent::Recent;
use super::resolve::{Outcome, Plan, optimistic, under_lock};
use super::revisions::Revisions;
use super::{Status, announce, statements};
use crate::event::{RecordedEvent, RecordedHeader};
use crate::log::{AppendError, Appended, Position, Revision};

/// Streams whose revisions are remembered, at least.
const REMEMBERED_STREAMS: usize = 200_000;

/// The pauses between attempts grow from here, by doubling, to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Groups from this size on are a sign of many callers.
const FULL_GROUP: usize = 4;

/// The longest pause in which the callers of one group may come back to make the next.
const LONGEST_GATHERING: Duration = Duration::from_millis(2);

type Results = Vec<Result<Appended, AppendError>>;

pub(super) struct Writer {
    options: PostgresOptions,
    connect: PgConnectOptions,
    queue: Arc<Queue>,
    head: Arc<watch::Sender<Position>>,
    status: Arc<watch::Sender<Status>>,
    recent: Arc<Recent>,
    connection: Option<PgConnection>,
    /// When connecting was last tried.
    tried: Instant,
    hints: Revisions,
}

/// What has been tried for a group.
#[derive(Default)]
struct Attempts {
    /// An attempt may have been committed though its answer was lost.
    in_doubt: bool,
    /// Look under the lock instead of trusting hints.
    look: bool,
    pause: Option<Duration>,
}

impl Attempts {
    fn next_pause(&mut self) -> Duration {
        let pause = self.pause.map_or(FIRST_PAUSE, |last| (last * 2).min(LONGEST_PAUSE));
        self.pause = Some(pause);
        pause
    }
}

impl Writer {
    pub(super) fn new(
        options: PostgresOptions,
        connect: PgConnectOptions,
        queue: Arc<Queue>,
        head: Arc<watch::Sender<Position>>,
        status: Arc<watch::Sender<Status>>,
        recent: Arc<Recent>,
        connection: PgConnection,
    ) -> Self {
        let hints = Revisions::new(REMEMBERED_STREAMS);
        Self {
            options,
            connect,
            queue,
            head,
            status,
            recent,
            connection: Some(connection),
            tried: Instant::now(),
            hints,
        }
    }

    /// Works until the queue is closed and empty.
    pub(super) async fn run(mut self) {
        while let Some(jobs) = self.next().await {
            let (appends, start) = (jobs.len(), Instant::now());
            self.process(jobs).await;
            if appends >= FULL_GROUP {
                // Callers that wait for each answer come back at once: without this pause the first of them would make a
                // group of its own, and all others wait for two disk flushes instead of one.
                self.queue.gather(appends, (start.elapsed() / 8).min(LONGEST_GATHERING)).await;
            }
        }
        if let Some(connection) = self.connection.take() {
            // A farewell that fails changes nothing: the server notices.
            let _ = timeout(self.options.connect_timeout, connection.close()).await;
        }
    }

    /// The next group. While the server is away it goes on reconnecting, appends or not: who is told that the log is down
    /// may send it none until it is up.
    async fn next(&mut self) -> Option<Vec<Job>> {
        while self.connection.is_none() {
            let due = self.tried + LONGEST_PAUSE;
            if due > Instant::now() {
                let taking = self.queue.take(self.options.group_events, self.options.group_bytes);
                if let Ok(jobs) = timeout_at(due, taking).await {
                    return jobs;
                }
            }
            // A failure is told by the status.
            let _ = self.connect().await;
        }
        self.queue.take(self.options.group_events, self.options.group_bytes).await
    }

    /// One group, to the end: every job is answered.
    async fn process(&mut self, mut jobs: Vec<Job>) {
        let mut attempts = Attempts::default();
        if self.connection.is_none() {
            // While the server is away, those who waited too long must not wait for one more attempt each.
            self.give_up_expired(&mut jobs, "no connection", attempts.in_doubt);
        }
        while !jobs.is_empty() {
            match self.attempt(&jobs, &mut attempts).await {
                Ok(results) => {
                    for (job, result) in jobs.drain(..).zip(results) {
                        // A caller that went away is no failure.
                        let _ = job.reply.send(result);
                    }
                }
                Err(failure) => self.recover(failure, &mut jobs, &mut attempts).await,
            }
        }
    }

    /// What a failure leaves to do; jobs that are answered by it are taken out.
    async fn recover(&mut self, failure: Failure, jobs: &mut Vec<Job>, attempts: &mut Attempts) {
        // Nothing remembered is certain any more: the failure may hide what others, or we, have written.
        self.hints.forget();
        match failure {
            Failure::Connection(reason) => {
                tracing::warn!(
                    reason,
                    in_doubt = attempts.in_doubt,
                    "lost the event log's database; reconnecting"
                );
                self.connection = None;
                self.recent.forget();
                self.status.send_replace(Status::Down(reason.clone()));
                self.give_up_expired(jobs, &reason, attempts.in_doubt);
                if !jobs.is_empty() {
                    tokio::time::sleep(attempts.next_pause()).await;
                }
            }
            Failure::Again(reason) => {
                tracing::debug!(reason, "trying a group of appends again");
                self.give_up_expired(jobs, &reason, attempts.in_doubt);
                if !jobs.is_empty() {
                    tokio::time::sleep(attempts.next_pause()).await;
                }
            }
            Failure::Taken if !attempts.look => attempts.look = true,
            Failure::Taken => self.blame(jobs, "a revision or event id is taken", attempts).await,
            Failure::Value(detail) => self.blame(jobs, &detail, attempts).await,
            Failure::DiskFull(detail) => {
                let error = if attempts.in_doubt {
                    AppendError::Unavailable { reason: detail, indeterminate: true }
                } else {
                    AppendError::DiskFull(detail)
                };
                answer_all(jobs, &error);
            }
            Failure::Unavailable(reason) => {
                answer_all(jobs, &AppendError::Unavailable { reason, indeterminate: attempts.in_doubt });
            }
        }
    }

    /// Finds the append of a group that the server cannot take: each by itself, then as raw bytes, then refused.
    async fn blame(&mut self, jobs: &mut Vec<Job>, detail: &str, attempts: &Attempts) {
        if jobs.len() > 1 {
            for job in jobs.drain(..) {
                Box::pin(self.process(vec![job])).await;
            }
        } else if !jobs.iter_mut().any(|job| job.append.make_raw()) {
            let error = if attempts.in_doubt {
                AppendError::Unavailable { reason: detail.to_owned(), indeterminate: true }
            } else {
                AppendError::Invalid(detail.to_owned())
            };
            answer_all(jobs, &error);
        }
    }

    fn give_up_expired(&self, jobs: &mut Vec<Job>, reason: &str, in_doubt: bool) {
        for job in jobs.extract_if(.., |job| job.queued.elapsed() > self.options.append_timeout) {
            let error = AppendError::Unavailable { reason: reason.to_owned(), indeterminate: in_doubt };
            let _ = job.reply.send(Err(error));
        }
    }

    /// One attempt at a group: all of it is decided and durable, or none of it is.
    async fn attempt(&mut self, jobs: &[Job], attempts: &mut Attempts) -> Result<Results, Failure> {
        self.connect().await?;
        if !attempts.look
            && let Some(plan) = optimistic(jobs.iter().map(|job| &job.append), &self.hints)
            && let Some(results) = self.write_checked(plan, jobs, attempts).await?
        {
            return Ok(results);
        }
        self.write_under_lock(jobs, attempts).await
    }

    async fn connect(&mut self) -> Result<(), Failure> {
        if self.connection.is_some() {
            return Ok(());
        }
        let connecting = PgConnection::connect_with(&self.connect);
        let connected = timeout(self.options.connect_timeout, connecting).await;
        self.tried = Instant::now();
        match connected {
            Ok(Ok(connection)) => {
                self.connection = Some(connection);
                self.status.send_replace(Status::Up);
                Ok(())
            }
            Ok(Err(error)) => Err(Failure::Connection(error.to_string())),
            Err(_) => Err(Failure::Connection("no connection in time".into())),
        }
    }

    /// Writes a plan in one statement that checks what the plan assumes; `None` if that was wrong.
    async fn write_checked(
        &mut self,
        plan: Plan,
        jobs: &[Job],
        attempts: &mut Attempts,
    ) -> Result<Option<Results>, Failure> {
        let connection = self.connection.as_mut().expect("connected by the caller");
        let appends = jobs.iter().map(|job| &job.append);
        let writing = statements::append(connection, self.hints.head(), &plan, appends);
        let Some(head) = in_time(writing, self.options.reply_timeout()).await.inspect_err(|failure| {
            // The statement commits by itself: lost with its answer, it may stand.
            attempts.in_doubt |= matches!(failure, Failure::Connection(_));
        })?
        else {
            return Ok(None);
        };
        Ok(Some(self.settle(plan, head, jobs)))
    }

    /// Takes the ordering lock, looks, decides, writes and commits.
    async fn write_under_lock(&mut self, jobs: &[Job], attempts: &mut Attempts) -> Result<Results, Failure> {
        let wait = self.options.reply_timeout();
        let connection = self.connection.as_mut().expect("connected by the caller");
        let appends = jobs.iter().map(|job| &job.append);
        let working = async {
            let mut transaction = connection.begin().await?;
            let stored = statements::lock_and_look(&mut transaction, appends.clone()).await?;
            let before = stored.head;
            let plan = under_lock(appends.clone(), stored);
            let mut head = before;
            if plan.rows > 0 {
                head = statements::append(&mut transaction, before, &plan, appends)
                    .await?
                    .expect("its streams were read under the lock that it holds");
            }
            Ok((transaction, plan, head))
        };
        let (transaction, plan, head) = in_time(working, wait).await?;
        if plan.rows > 0 {
            in_time(transaction.commit(), wait).await.inspect_err(|failure| {
                attempts.in_doubt |= matches!(failure, Failure::Connection(_));
            })?;
        } else {
            in_time(transaction.rollback(), wait).await?;
        }
        Ok(self.settle(plan, head, jobs))
    }

    /// The answers, once the plan's events are durable.
    fn settle(&mut self, plan: Plan, head: Position, jobs: &[Job]) -> Results {
        let before = head - plan.rows;
        if plan.rows > 0 {
            // Before anybody is told that there is something to read.
            self.recent.wrote(before, written(&plan, before, jobs));
        }
        self.hints.advance(before, head);
        for stream in &plan.streams {
            self.hints.set(&stream.stream, stream.after);
        }
        announce(&self.head, head);
        plan.outcomes.into_iter().map(|outcome| outcome.result(before)).collect()
    }
}

/// The events that a plan wrote after position `before`, as a reader gets them.
fn written<'a>(
    plan: &'a Plan,
    before: Position,
    jobs: &'a [Job],
) -> impl Iterator<Item = RecordedEvent> + 'a {
    let rows = jobs.iter().zip(&plan.outcomes).flat_map(|(job, outcome)| {
        let revisions: &[Revision] = match outcome {
            Outcome::Write { revisions, .. } => revisions,
            Outcome::Done(_) => &[],
        };
        job.append.parts.iter().zip(revisions).flat_map(|(part, after)| {
            let first = after - part.rows.len() as u64 + 1;
            (first..).zip(&part.rows).map(|(revision, (event, _))| (part.stream.as_str(), revision, event))
        })
    });
    (before + 1..).zip(rows).map(|(position, (stream, revision, event))| {
        let header = RecordedHeader {
            position,
            revision,
            event_id: event.event_id,
            version: event.version,
            recorded_at: event.recorded_at,
        };
        RecordedEvent::from_parts(header, stream, event.event_type, &event.data, &event.metadata)
    })
}

fn answer_all(jobs: &mut Vec<Job>, error: &AppendError) {
    for job in jobs.drain(..) {
        let _ = job.reply.send(Err(error.clone()));
    }
}

/// A reply within `wait`, or a connection that is not to be trusted any more.
async fn in_time<T>(reply: impl Future<Output = Result<T, Error>>, wait: Duration) -> Result<T, Failure> {
    match timeout(wait, reply).await {
        Ok(result) => result.map_err(|error| Failure::of(&error)),
        Err(_) => Err(Failure::Connection(format!("no reply in {} ms", wait.as_millis()))),
    }
}
