//! The decision thread: owns every state in memory and decides every command, in the order of arrival for each stream.
//!
//! ```text
//!  callers ──▶ inbox ──▶ attempt ──▶ group ──▶ log (several groups in flight) ──▶ completed ──▶ answers
//!              (bounded)   │  ▲  decided on speculative state                          │
//!                 refusal ◀┘  │                                        failed ─▶ recover: drop, read again, retry
//!                             └── parked: stream not in memory, or an older command is before it (loaders read)
//! ```
//!
//! - [`inbox`]: the bounded queue and the bell
//! - [`attempt`]: one command: decide, and what follows from the outcome
//! - [`park`]: who waits for what
//! - [`group`]: the appends of the group that is being filled
//! - [`commit`]: groups in flight, completion, recovery
//! - [`load`]: threads that read
//! - [`foreign`]: what others on the same log wrote
//! - [`undo`]: decisions that met another writer
//! - [`table`]: the streams in memory
//!
//! The thread never waits for IO. It sleeps only when there is nothing to do.

pub(crate) mod attempt;
pub(crate) mod commit;
pub(crate) mod foreign;
pub(crate) mod group;
pub(crate) mod inbox;
pub(crate) mod load;
pub(crate) mod park;
pub(crate) mod table;
pub(crate) mod task;
pub(crate) mod undo;

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use daybook_eventlog::{EventLog, Revision, StreamId};
use daybook_schemas::Timestamp;
use tokio::runtime::Handle;

use self::commit::Commits;
use self::inbox::{Inbox, Signal};
use self::load::{Job, Loaded, Loaders, Read};
use self::park::Parked;
use self::table::{GroupNo, Table};
use self::task::Task;
use crate::clock::{Clock, DecisionTime};
use crate::error::CommandError;
use crate::follow::leads;
use crate::holds::HoldIndex;
use crate::idempotency::RememberedRefusals;
use crate::options::Options;
use crate::sequential::SequentialLog;
use crate::state::StreamState;
use crate::stats::Stats;
use crate::timers::Timers;
use crate::workspace::Scratch;

/// Commands decided between two looks at what else there is to do.
const SLICE: usize = 256;
/// Streams whose deadlines fire between two looks: a storm of deadlines must not hold up commands.
const TIMERS_A_TURN: usize = 64;
/// No deadline fires while more commands than this wait for something.
const MAX_PARKED_FOR_TIMERS: usize = 4_096;
/// Shortest sleep for a deadline: one that can't fire yet must not keep the thread busy.
const SHORTEST_SLEEP: Duration = Duration::from_micros(200);
/// Longest sleep: after that the clock is read again, in case it jumped.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

pub(crate) struct Engine {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: Options,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) runtime: Handle,
    pub(crate) loaders: Loaders,
    pub(crate) time: DecisionTime,
    pub(crate) now: Timestamp,
    pub(crate) table: Table,
    pub(crate) holds: HoldIndex,
    pub(crate) timers: Timers,
    pub(crate) refusals: RememberedRefusals,
    pub(crate) parked: Parked,
    pub(crate) commits: Commits,
    pub(crate) scratch: Scratch,
    pub(crate) to_load: Vec<StreamId>,
    /// Streams to read on from the revision of the state in memory.
    pub(crate) to_catch_up: Vec<(StreamId, Revision)>,
    /// Streams to read once a group is durable.
    pub(crate) load_when_durable: Vec<(GroupNo, StreamId)>,
    /// Commands that were taken from the inbox and not tried yet.
    pub(crate) batch: VecDeque<Box<Task>>,
    /// The way into a log that writes one stream at a time.
    pub(crate) sequential: Option<SequentialLog>,
    /// Why nothing can be written any more.
    pub(crate) stopped: Option<String>,
}

impl Engine {
    /// Runs until the inbox is closed and everything is answered.
    pub(crate) fn run(mut self) {
        self.inbox.attach();
        let runtime = self.runtime.clone();
        let _context = runtime.enter();
        let waker = Waker::from(self.inbox.clone());
        let mut tasks = Vec::new();
        let mut signals = Vec::new();
        loop {
            self.inbox.drain(&mut tasks, &mut signals);
            let arrived = !tasks.is_empty() || !signals.is_empty();
            self.batch.extend(tasks.drain(..));
            for signal in signals.drain(..) {
                self.take_signal(signal);
            }
            self.turn(&waker);
            if self.is_done() {
                break;
            }
            if !arrived && self.is_idle() {
                let timeout = self.until_next();
                self.inbox.wait(timeout);
            }
        }
        tracing::debug!("the decision thread has finished");
    }

    /// Completes what the log has done, decides a slice of what waits, and hands the result to the log.
    fn turn(&mut self, waker: &Waker) {
        self.now = self.time.at(self.clock.now());
        if self.inbox.take_ring() {
            self.poll_commits(waker);
        }
        if self.commits.is_recovering() {
            return self.report();
        }
        self.fire_timers();
        self.wake_delayed(Instant::now());
        let mut budget = SLICE;
        while budget > 0 && !self.commits.is_full() {
            let Some(task) = self.parked.next_ready().or_else(|| self.batch.pop_front()) else { break };
            self.attempt(task);
            budget -= 1;
        }
        self.start_loads();
        self.submit(waker);
        self.evict();
        self.report();
    }

    fn take_signal(&mut self, signal: Signal) {
        match signal {
            Signal::Loaded(loaded) => loaded.into_iter().for_each(|loaded| self.take_loaded(loaded)),
            Signal::Probed(task, found) => self.take_probed(task, found),
            Signal::Void(mut task, revision) => {
                task.void_record = Some(revision);
                self.park_ready(task);
            }
            Signal::Tail(tail) => self.take_tail(tail),
            Signal::Foreign(streams) => {
                streams.into_iter().for_each(|foreign| self.take_foreign(foreign));
            }
            Signal::Expected(streams) => streams.iter().flatten().for_each(|stream| self.want(stream)),
            Signal::Turn(stream) => {
                if let Some(slot) = self.table.get_mut(&stream) {
                    slot.contended = true;
                }
            }
            Signal::Deadlines(deadlines) => {
                for (stream, deadline) in deadlines {
                    self.timers.arm(&stream, deadline);
                }
            }
        }
    }

    fn take_loaded(&mut self, Loaded { stream, result }: Loaded) {
        match result {
            Ok(Read { state, revision, recorded_at, snapshot }) => {
                self.arm(&stream, &state, self.now);
                if let StreamState::Inventory(inventory) = &state {
                    self.holds.enter(&stream, inventory.holds(), self.now);
                }
                let slot = self.table.put(&stream, state, revision);
                slot.recorded_at = recorded_at;
                slot.snapshot_due = snapshot + self.options.snapshot_every;
                if slot.is_stale() {
                    // Another writer went on while the stream was being read.
                    self.want(&stream);
                }
                self.wake_waiters(&stream);
            }
            Err(error) => self.fail_waiters(&stream, &error),
        }
    }

    /// A stream that begins with this command, as most do that a shop or an import makes: nobody has to read that it is not there.
    fn take_absent(&mut self, stream: StreamId) {
        let result = Read::nothing_of(&stream);
        self.take_loaded(Loaded { stream, result });
    }

    /// Drops a state that is not what the log says, and reads the stream again.
    pub(crate) fn poison(&mut self, stream: &StreamId) {
        if let Some(StreamState::Inventory(inventory)) = self.table.forget(stream) {
            self.holds.leave(stream.clone(), inventory.holds());
        }
        self.want(stream);
    }

    /// The same, once what is in flight for the stream is in the log: a read before that would miss it.
    pub(crate) fn poison_when_durable(&mut self, stream: &StreamId) {
        let pending = self.table.get(stream).map_or(0, |slot| slot.pending);
        if pending <= self.commits.durable() {
            return self.poison(stream);
        }
        if let Some(StreamState::Inventory(inventory)) = self.table.forget(stream) {
            self.holds.leave(stream.clone(), inventory.holds());
        }
        self.table.slot(stream).loading = true;
        self.load_when_durable.push((pending, stream.clone()));
    }

    /// Reads what waited for these groups.
    pub(crate) fn load_durable(&mut self) {
        let durable = self.commits.durable();
        let to_load = &mut self.to_load;
        self.load_when_durable.retain(|(group, stream)| {
            if *group <= durable {
                to_load.push(stream.clone());
            }
            *group > durable
        });
    }

    /// Has the stream read, or what is beyond the state, unless that is known or being read.
    pub(crate) fn want(&mut self, stream: &StreamId) {
        let durable = self.commits.durable();
        let slot = self.table.slot(stream);
        if slot.state.is_none() {
            if slot.is_new() && self.log.is_surely_absent(stream) {
                self.take_absent(stream.clone());
            } else if !slot.loading {
                slot.loading = true;
                self.to_load.push(stream.clone());
            }
        } else if slot.is_stale() && slot.pending <= durable && !slot.catching_up {
            slot.catching_up = true;
            self.to_catch_up.push((stream.clone(), slot.revision));
        }
    }

    fn start_loads(&mut self) {
        if !self.to_load.is_empty() {
            self.loaders.push(self.to_load.drain(..).map(|stream| Job::Stream(stream, None)));
        }
        if !self.to_catch_up.is_empty() {
            self.loaders.push(self.to_catch_up.drain(..).map(|(stream, after)| Job::Tail(stream, after)));
        }
    }

    /// Makes the timers know of the next deadline of a state, not earlier than `earliest`.
    pub(crate) fn arm(&mut self, stream: &StreamId, state: &StreamState, earliest: Timestamp) {
        if let Some(deadline) = next_deadline(state) {
            self.timers.arm(stream, deadline.max(earliest));
        }
    }

    fn fire_timers(&mut self) {
        if !leads(&self.options.leader) {
            // The one that fires them knows them; should it be this node's turn, the follower tells them all.
            if self.timers.clear() {
                self.inbox.want_deadlines();
            }
            return;
        }
        for _ in 0..TIMERS_A_TURN {
            // Streams that must be read first come back as fast as they are read.
            if self.parked.len() > MAX_PARKED_FOR_TIMERS {
                break;
            }
            let Some(stream) = self.timers.fire(self.now) else { break };
            Stats::add(&self.stats.timers_fired, 1);
            if let Some(task) = crate::op::deadline_task(&stream, self.inbox.next_seq(), self.now) {
                self.attempt(task);
            }
        }
    }

    fn evict(&mut self) {
        // Streams that a waiting command needs together must not push each other out.
        if self.parked.is_empty() || self.table.bytes() > self.options.cache_bytes / 2 * 3 {
            let (holds, stats) = (&mut self.holds, &self.stats);
            self.table.evict(self.commits.durable(), |stream, slot| {
                Stats::add(&stats.evictions, 1);
                if let Some(StreamState::Inventory(inventory)) = slot.state {
                    holds.leave(stream, inventory.holds());
                }
            });
        }
    }

    fn is_idle(&self) -> bool {
        let deciding = !self.batch.is_empty() || self.parked.has_ready();
        !deciding || self.commits.is_full() || self.commits.is_recovering()
    }

    fn is_done(&self) -> bool {
        self.batch.is_empty()
            && self.parked.is_empty()
            && self.commits.is_empty()
            && self.inbox.is_closed_and_empty()
    }

    fn until_next(&mut self) -> Duration {
        let mut timeout = LONGEST_SLEEP;
        if let Some(deadline) = self.timers.next() {
            timeout = timeout.min(Duration::from_micros(self.time.micros_until(deadline)));
        }
        if let Some(due) = self.parked.next_delayed() {
            timeout = timeout.min(due.saturating_duration_since(Instant::now()));
        }
        if let Some(until) = self.commits.gathering_until() {
            timeout = timeout.min(until.saturating_duration_since(Instant::now()));
        }
        timeout.max(SHORTEST_SLEEP)
    }

    fn report(&self) {
        let stats = &self.stats;
        let (commands, bytes) = self.inbox.outstanding();
        Stats::set(&stats.outstanding, commands);
        Stats::set(&stats.outstanding_bytes, bytes);
        Stats::set(&stats.groups_in_flight, self.commits.in_flight());
        Stats::set(&stats.parked, self.parked.len());
        Stats::set(&stats.cached_streams, self.table.len());
        Stats::set(&stats.cached_bytes, self.table.bytes());
        Stats::set(&stats.deadlines, self.timers.len());
        Stats::set(&stats.active_holds, self.holds.len());
    }

    /// Answers with an error and counts it.
    pub(crate) fn fail(&mut self, mut task: Box<Task>, error: CommandError) {
        self.release(&mut task);
        self.stats.refused(error.code());
        if let Some(detail) = error.internal_detail() {
            tracing::error!(code = error.code(), stream = %task.main, detail, "a command failed");
        }
        task.answer(Err(error));
    }
}

/// When something must happen to the stream by itself.
pub(crate) fn next_deadline(state: &StreamState) -> Option<Timestamp> {
    match state {
        StreamState::Inventory(state) => state.next_deadline(),
        StreamState::Variant(state) => state.next_deadline(),
        StreamState::Order(_)
        | StreamState::Credit(_)
        | StreamState::Claim(_)
        | StreamState::Sequence(_)
        | StreamState::Size(_)
        | StreamState::Color(_)
        | StreamState::AttributeType(_)
        | StreamState::AttributeValue(_)
        | StreamState::Category(_)
        | StreamState::Product(_)
        | StreamState::Key(_) => None,
    }
}
