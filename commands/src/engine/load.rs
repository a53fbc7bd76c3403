//! Reads for the decision thread, on threads of their own: streams into states, outcomes of idempotency keys, and the
//! traces of appends of unknown outcome.
//!
//! A long stream is read page by page and goes to the end of the queue after each, so that short ones are not held up.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use daybook_eventlog::{EventLog, Revision, Snapshot, SnapshotStore, StreamId};
use daybook_schemas::idempotency::Recorded;
use daybook_schemas::{AnyEvent, Timestamp, catalogue};
use futures::StreamExt;
use futures::stream;
use hashbrown::HashSet;
use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;

use super::inbox::{Inbox, Signal};
use super::task::{Task, TaskId, Trace};
use crate::error::CommandError;
use crate::follow::Told;
use crate::ids;
use crate::options::Options;
use crate::request::{Reply, ReplyEvent};
use crate::state::{SNAPSHOT_VERSION, StreamState};
use crate::stats::Stats;

/// Events a page.
const PAGE: usize = 1_000;
/// Streams that one thread takes from the queue at once.
const BATCH: usize = 64;

/// Of these, how many are read at once where reading is waiting. Small, so that all threads together leave a server's connections
/// to others.
const AT_ONCE: usize = 16;

/// Steps of `nice` for work that nobody waits for.
const GIVE_WAY: i32 = 10;

/// A snapshot waits for a quiet moment: a hot stream's comes after the sale, not in its midst, as a snapshot folds every event once
/// more. Quiet are so many accepted commands at most
const QUIET_COMMANDS: u64 = 200;
/// in this time.
const LOOK: Duration = Duration::from_millis(100);
/// Where it never is, the snapshot comes after this time. Whoever reads the stream after a crash folds what came in it: figures are in
/// `docs/adr/0025-work-that-can-wait.md`.
const LATEST: Duration = Duration::from_secs(20);

/// Events of a stream that is read in the background between two looks at the time.
const BREATHE_EVERY: u64 = 16;
/// The same for bytes of a snapshot that is written.
const BREATHE_EVERY_BYTES: usize = 8 << 10;

/// A stream that was read, or could not be.
pub(crate) struct Loaded {
    pub(crate) stream: StreamId,
    pub(crate) result: Result<Read, CommandError>,
}

/// What a stream has after a revision.
pub(crate) struct Tail {
    pub(crate) stream: StreamId,
    pub(crate) after: Revision,
    pub(crate) events: Result<Vec<Told>, CommandError>,
}

/// A stream as far as it was read.
pub(crate) struct Read {
    pub(crate) state: StreamState,
    pub(crate) revision: Revision,
    /// When the last event was recorded; `None`: there is none, or it is in the snapshot.
    pub(crate) recorded_at: Option<Timestamp>,
    /// The revision of the snapshot that the read began with, 0 without one.
    pub(crate) snapshot: Revision,
}

impl Read {
    /// What there is of a stream that does not exist.
    pub(crate) fn nothing_of(stream: &StreamId) -> Result<Self, CommandError> {
        let state = StreamState::initial(stream.as_str())
            .ok_or_else(|| CommandError::Internal(format!("{stream} is no stream to decide on")))?;
        Ok(Self { state, revision: 0, recorded_at: None, snapshot: 0 })
    }
}

/// A piece of work.
pub(crate) enum Job {
    /// Read a stream, on from what was read so far.
    Stream(StreamId, Option<Read>),
    /// Read what a stream has after a revision.
    Tail(StreamId, Revision),
    /// Read a stream, and keep a snapshot of it.
    Snapshot(StreamId, Option<Read>),
    /// Look whether the events of a task are in the log.
    Probe(TaskId, Trace, Reply),
    /// Answer a task with the outcome that its key recorded.
    Replay(Box<Task>, Box<Recorded>),
}

/// What became of it.
enum Done {
    Loaded(Loaded),
    /// There is more to read.
    Unfinished(Job),
    /// Whoever waits for it was told.
    Told,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// The streams of snapshots that are yet to be kept: one that is due again meanwhile is not read twice.
    planned: HashSet<StreamId, foldhash::fast::RandomState>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
}

pub(crate) struct Loaders {
    shared: Arc<Shared>,
    /// What nobody waits for, for one thread that lets all others go first.
    background: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Loaders {
    pub(crate) fn start(
        options: &Options,
        log: &Arc<dyn EventLog>,
        runtime: &Handle,
        inbox: &Arc<Inbox>,
        stats: &Arc<Stats>,
    ) -> std::io::Result<Self> {
        let (shared, background) = (Arc::new(Shared::default()), Arc::new(Shared::default()));
        let loader = |shared: &Arc<Shared>| Loader {
            log: log.clone(),
            runtime: runtime.clone(),
            inbox: inbox.clone(),
            stats: stats.clone(),
            shared: shared.clone(),
            snapshots: options.snapshots.clone(),
            snapshot_every: options.snapshot_every,
            waits: false,
        };
        let mut threads = Vec::new();
        for number in 0..options.loaders.max(1) {
            let loader = loader(&shared);
            threads.push(
                std::thread::Builder::new().name(format!("load-{number}")).spawn(move || loader.run())?,
            );
        }
        // On a shared log others read them as well, and a conflict must not have this node read much again.
        let loader = Loader { waits: !options.shared_log, ..loader(&background) };
        threads.push(std::thread::Builder::new().name("snapshot".to_owned()).spawn(move || {
            daybook_eventlog::give_way(GIVE_WAY);
            daybook_eventlog::in_portions(true);
            loader.run();
        })?);
        Ok(Self { shared, background, threads })
    }

    /// Has a snapshot of the stream kept, some time.
    pub(crate) fn snapshot(&self, stream: StreamId) {
        let mut queue = self.background.queue.lock();
        if queue.planned.insert(stream.clone()) {
            queue.jobs.push_back(Job::Snapshot(stream, None));
            self.background.filled.notify_one();
        }
    }

    pub(crate) fn push(&self, jobs: impl IntoIterator<Item = Job>) {
        let mut queue = self.shared.queue.lock();
        let before = queue.jobs.len();
        queue.jobs.extend(jobs);
        let added = queue.jobs.len() - before;
        drop(queue);
        if added > BATCH {
            self.shared.filled.notify_all();
        } else if added > 0 {
            self.shared.filled.notify_one();
        }
    }
}

impl Drop for Loaders {
    fn drop(&mut self) {
        for shared in [&self.shared, &self.background] {
            shared.queue.lock().closed = true;
            shared.filled.notify_all();
        }
        for thread in self.threads.drain(..) {
            // A panic there was reported by its hook; the end of this one must not become a second.
            let _ = thread.join();
        }
    }
}

struct Loader {
    log: Arc<dyn EventLog>,
    runtime: Handle,
    inbox: Arc<Inbox>,
    stats: Arc<Stats>,
    shared: Arc<Shared>,
    snapshots: Option<Arc<dyn SnapshotStore>>,
    snapshot_every: u64,
    /// Whether new work waits for a quiet moment.
    waits: bool,
}

impl Loader {
    fn run(&self) {
        let _context = self.runtime.enter();
        while let Some(jobs) = self.take() {
            if self.waits && !self.await_quiet() {
                return;
            }
            let mut unfinished = self.work_at(jobs);
            // What has waited is brought to its end before anything new, which waits in its turn.
            while self.waits && !unfinished.is_empty() {
                if self.shared.queue.lock().closed {
                    return;
                }
                unfinished = self.work_at(unfinished);
            }
            self.shared.queue.lock().jobs.extend(unfinished);
        }
    }

    /// Does a part of each; gives back what is not done.
    fn work_at(&self, jobs: Vec<Job>) -> Vec<Job> {
        let (mut loaded, mut unfinished) = (Vec::with_capacity(jobs.len()), Vec::new());
        self.block_on(async {
            let mut done = stream::iter(jobs.into_iter().map(|job| self.work(job))).buffer_unordered(AT_ONCE);
            while let Some(done) = done.next().await {
                match done {
                    Done::Loaded(done) => loaded.push(done),
                    Done::Unfinished(job) => unfinished.push(job),
                    Done::Told => {}
                }
            }
        });
        if !loaded.is_empty() {
            Stats::add(&self.stats.loads, loaded.len() as u64);
            self.inbox.signal(Signal::Loaded(loaded));
        }
        unfinished
    }

    async fn work(&self, job: Job) -> Done {
        match job {
            Job::Stream(stream, so_far) => match self.read_page(&stream, so_far).await {
                Ok((read, true)) => {
                    if read.revision >= read.snapshot + self.snapshot_every {
                        self.keep(&stream, &read);
                    }
                    Done::Loaded(Loaded { stream, result: Ok(read) })
                }
                Ok((read, false)) => Done::Unfinished(Job::Stream(stream, Some(read))),
                Err(error) => Done::Loaded(Loaded { stream, result: Err(error) }),
            },
            Job::Tail(stream, after) => {
                let events = self.read_tail(&stream, after).await;
                self.inbox.signal(Signal::Tail(Tail { stream, after, events }));
                Done::Told
            }
            Job::Snapshot(stream, so_far) => {
                match self.read_page(&stream, so_far).await {
                    Ok((read, true)) => self.keep(&stream, &read),
                    Ok((read, false)) => return Done::Unfinished(Job::Snapshot(stream, Some(read))),
                    Err(error) => {
                        tracing::warn!(%stream, %error, "a stream could not be read for its snapshot");
                    }
                }
                self.shared.queue.lock().planned.remove(&stream);
                Done::Told
            }
            Job::Probe(task, trace, reply) => {
                let found = self.probe(&trace, reply).await;
                self.inbox.signal(Signal::Probed(task, found));
                Done::Told
            }
            Job::Replay(task, record) => {
                self.answer_again(task, &record).await;
                Done::Told
            }
        }
    }

    /// Returns when little is accepted or after [`LATEST`]. `false`: the end has come, which does not wait for a snapshot.
    fn await_quiet(&self) -> bool {
        let latest = Instant::now() + LATEST;
        let mut queue = self.shared.queue.lock();
        let mut quiet = false;
        while !queue.closed && !quiet && Instant::now() < latest {
            let before = self.stats.commands.load(Ordering::Relaxed);
            let until = Instant::now() + LOOK;
            while !queue.closed && !self.shared.filled.wait_until(&mut queue, until).timed_out() {}
            quiet = self.stats.commands.load(Ordering::Relaxed) - before <= QUIET_COMMANDS;
        }
        !queue.closed
    }

    fn take(&self) -> Option<Vec<Job>> {
        let mut queue = self.shared.queue.lock();
        while queue.jobs.is_empty() {
            if queue.closed {
                return None;
            }
            self.shared.filled.wait(&mut queue);
        }
        let count = queue.jobs.len().min(BATCH);
        Some(queue.jobs.drain(..count).collect())
    }

    /// Where a read begins: at the snapshot, if there is one that fits the log.
    async fn beginning(&self, stream: &StreamId) -> Result<Read, CommandError> {
        let from_start = Read::nothing_of(stream)?;
        let Some(snapshot) = self.snapshots.as_ref().and_then(|kept| kept.load(stream, SNAPSHOT_VERSION))
        else {
            return Ok(from_start);
        };
        // A log that was put back to an earlier state is shorter than its snapshots.
        if self.log.stream_revision(stream).await? < snapshot.revision {
            return Ok(from_start);
        }
        let (revision, state) = (snapshot.revision, serde_json::from_slice(&snapshot.bytes));
        Ok(state.map_or(from_start, |state| Read { state, revision, recorded_at: None, snapshot: revision }))
    }

    fn keep(&self, stream: &StreamId, read: &Read) {
        let Some(snapshots) = &self.snapshots else { return };
        let mut bytes = Breathing::default();
        let kept =
            serde_json::to_writer(&mut bytes, &read.state).map_err(std::io::Error::other).and_then(|()| {
                let (revision, bytes) = (read.revision, bytes.written.into());
                snapshots.save(stream, &Snapshot { revision, code_version: SNAPSHOT_VERSION, bytes })
            });
        match kept {
            Ok(()) => Stats::add(&self.stats.snapshots, 1),
            Err(error) => tracing::warn!(%stream, %error, "a snapshot could not be kept"),
        }
    }

    /// Reads the next page; the last part says whether the stream is at its end.
    async fn read_page(&self, stream: &StreamId, so_far: Option<Read>) -> Result<(Read, bool), CommandError> {
        let mut read = match so_far {
            Some(so_far) => so_far,
            None => self.beginning(stream).await?,
        };
        let events = self.log.read_stream(stream, read.revision + 1, PAGE).await?;
        let at_end = events.len() < PAGE;
        for recorded in events {
            let damaged = |what: String| {
                CommandError::Internal(format!("{stream} at revision {}: {what}", recorded.revision))
            };
            if recorded.revision != read.revision + 1 {
                return Err(damaged(format!("revision {} was expected", read.revision + 1)));
            }
            let event = AnyEvent::decode(recorded.event_type(), recorded.version, recorded.data())
                .map_err(|error| damaged(error.to_string()))?;
            let foreign = |name: &str| damaged(format!("{name} does not belong here"));
            read.state.apply(event).map_err(foreign)?;
            read.revision = recorded.revision;
            if read.revision.is_multiple_of(BREATHE_EVERY) {
                daybook_eventlog::breathe();
            }
            read.recorded_at = Some(Timestamp::from_micros(recorded.recorded_at));
        }
        Ok((read, at_end))
    }

    /// Every event after a revision.
    async fn read_tail(&self, stream: &StreamId, after: Revision) -> Result<Vec<Told>, CommandError> {
        let mut told = Vec::new();
        loop {
            let events = self.log.read_stream(stream, after + 1 + told.len() as u64, PAGE).await?;
            let at_end = events.len() < PAGE;
            told.extend(events.iter().map(|recorded| {
                let event = AnyEvent::decode(recorded.event_type(), recorded.version, recorded.data()).ok();
                (recorded.revision, Timestamp::from_micros(recorded.recorded_at), event)
            }));
            if at_end {
                return Ok(told);
            }
        }
    }

    /// The reply with its position, if the event is where the append would have put it.
    async fn probe(&self, trace: &Trace, mut reply: Reply) -> Result<Option<Reply>, CommandError> {
        let events = self.log.read_stream(&trace.stream, trace.revision, 1).await?;
        Ok(events.first().filter(|event| event.event_id == trace.event_id).map(|event| {
            reply.position = event.position;
            reply
        }))
    }

    /// Answers with the recorded outcome. If the events that the record speaks of are not there, it was an intent that
    /// came to nothing (see `sequential`), and the command is decided after all.
    async fn answer_again(&self, task: Box<Task>, record: &Recorded) {
        match self.replay(&task, record).await {
            Ok(Ok(reply)) => {
                Stats::add(&self.stats.replays, 1);
                task.answer(Ok(reply));
            }
            Ok(Err(void)) => self.inbox.signal(Signal::Void(task, void)),
            Err(error) => task.answer(Err(error)),
        }
    }

    /// Builds the recorded outcome from the log once more. `Err`: the record at that revision counts for nothing.
    async fn replay(&self, task: &Task, record: &Recorded) -> Result<Result<Reply, Revision>, CommandError> {
        let key = task.key.as_ref().expect("only commands with a key are replayed");
        let lost = |what: &str| CommandError::Internal(format!("the record {} speaks of {what}", key.stream));
        let stream = StreamId::new(&record.stream).map_err(|_| lost("no stream"))?;
        let first = (record.revision + 1).saturating_sub(u64::from(record.events));
        let events = if record.events == 0 {
            Vec::new()
        } else {
            self.log.read_stream(&stream, first, record.events as usize).await?
        };
        let records = self.log.read_stream(&key.stream, 1, PAGE).await?;
        let newest = records.last().ok_or_else(|| lost("nothing"))?;
        let last = record.events.checked_sub(1).map(|number| ids::of_event(task.command, number));
        if events.len() != record.events as usize || events.last().map(|event| event.event_id) != last {
            return Ok(Err(newest.revision));
        }
        // Of an atomic append the record is the last event.
        let position = events.last().map_or(0, |event| event.position).max(newest.position);
        let events: Option<Vec<ReplyEvent>> = events
            .iter()
            .map(|event| {
                Some(ReplyEvent {
                    event_type: wire_name(event.event_type())?,
                    version: event.version,
                    data: bytes::Bytes::copy_from_slice(event.data()),
                })
            })
            .collect();
        Ok(Ok(Reply {
            stream,
            revision: record.revision,
            position,
            events: events.ok_or_else(|| lost("unknown events"))?,
            reservation: None,
            created: record.events > 0 && record.revision == u64::from(record.events),
            replayed: true,
        }))
    }

    /// Embedded logs answer at the first poll, which spares the machinery for those that do not.
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => self.runtime.block_on(future),
        }
    }
}

/// A large state, written with pauses where the thread's work comes in portions.
#[derive(Default)]
struct Breathing {
    written: Vec<u8>,
    since_breath: usize,
}

impl std::io::Write for Breathing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.written.extend_from_slice(bytes);
        self.since_breath += bytes.len();
        if self.since_breath >= BREATHE_EVERY_BYTES {
            self.since_breath = 0;
            daybook_eventlog::breathe();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The wire name as the contract has it, for the life of the process.
fn wire_name(name: &str) -> Option<&'static str> {
    use std::sync::LazyLock;
    static NAMES: LazyLock<std::collections::BTreeSet<&'static str>> =
        LazyLock::new(|| catalogue::specs().into_iter().map(|spec| spec.wire_name).collect());
    NAMES.get(name).copied()
}
