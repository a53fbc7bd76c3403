//! Groups of appends on their way to the log. Deciding goes on while they are in flight; what failed is undone by
//! dropping every state that a failed append wrote to, and decided again on what the log says.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use daybook_eventlog::{Append, AppendError, Appended, Position, StreamId};
use futures::future::BoxFuture;
use smallvec::SmallVec;

use super::Engine;
use super::load::Job;
use super::table::GroupNo;
use super::task::{Task, Trace};
use crate::error::CommandError;
use crate::request::Reply;
use crate::stats::Stats;

/// An accepted command whose append is not durable yet.
pub(crate) struct Item {
    pub(crate) task: Box<Task>,
    /// Complete but for the position.
    pub(crate) reply: Reply,
    pub(crate) written: SmallVec<[StreamId; 2]>,
    /// The last event of the append.
    pub(crate) trace: Trace,
    pub(crate) events: usize,
}

type Results = Vec<Result<Appended, AppendError>>;

/// What is to be answered once a group is durable.
#[derive(Default)]
struct Pending {
    /// In the order of the appends.
    items: Vec<Item>,
    /// Commands that changed nothing, but looked at what the group writes.
    followers: Vec<(Box<Task>, Reply)>,
}

struct InFlight {
    number: GroupNo,
    pending: Pending,
    commit: BoxFuture<'static, Results>,
    results: Option<Results>,
}

pub(crate) struct Commits {
    /// The number of the group that is being filled.
    filling: GroupNo,
    appends: Vec<Append>,
    pending: Pending,
    in_flight: VecDeque<InFlight>,
    max_in_flight: usize,
    max_group: usize,
    durable: GroupNo,
    position: Position,
    recovering: bool,
}

impl Commits {
    pub(crate) fn new(max_in_flight: usize, max_group: usize, position: Position) -> Self {
        Self {
            filling: 1,
            appends: Vec::new(),
            pending: Pending::default(),
            in_flight: VecDeque::new(),
            max_in_flight: max_in_flight.max(1),
            max_group: max_group.max(1),
            durable: 0,
            position,
            recovering: false,
        }
    }

    /// The newest group that is durable, as all before it are.
    pub(crate) const fn durable(&self) -> GroupNo {
        self.durable
    }

    /// The number of the group that takes the next append.
    pub(crate) const fn filling(&self) -> GroupNo {
        self.filling
    }

    /// A position up to which everything this dispatcher decided is durable.
    pub(crate) const fn position(&self) -> Position {
        self.position
    }

    pub(crate) const fn is_recovering(&self) -> bool {
        self.recovering
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether nothing more may be decided until a commit ends.
    pub(crate) fn is_full(&self) -> bool {
        self.appends.len() >= self.max_group && self.in_flight.len() >= self.max_in_flight
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.appends.is_empty() && self.in_flight.is_empty()
    }

    pub(crate) fn push(&mut self, append: Append, item: Item) {
        self.appends.push(append);
        self.pending.items.push(item);
    }

    /// The answer waits until the group is durable.
    pub(crate) fn follow(&mut self, group: GroupNo, task: Box<Task>, reply: Reply) {
        let pending = self
            .in_flight
            .iter_mut()
            .find(|in_flight| in_flight.number == group)
            .map_or(&mut self.pending, |in_flight| &mut in_flight.pending);
        pending.followers.push((task, reply));
    }
}

impl Engine {
    /// Hands what was decided to the log, if it may have another group.
    pub(crate) fn submit(&mut self, waker: &Waker) {
        let commits = &mut self.commits;
        if commits.appends.is_empty() || commits.in_flight.len() >= commits.max_in_flight {
            return;
        }
        let capacity = commits.appends.len();
        let appends = std::mem::replace(&mut commits.appends, Vec::with_capacity(capacity));
        let commit = self.log.append_group(appends);
        commits.in_flight.push_back(InFlight {
            number: commits.filling,
            pending: std::mem::take(&mut commits.pending),
            commit,
            results: None,
        });
        commits.filling += 1;
        Stats::add(&self.stats.groups, 1);
        self.poll_commits(waker);
    }

    /// Takes note of commits that have ended, in the order of the groups.
    pub(crate) fn poll_commits(&mut self, waker: &Waker) {
        let mut context = Context::from_waker(waker);
        for in_flight in &mut self.commits.in_flight {
            if in_flight.results.is_none()
                && let Poll::Ready(results) = in_flight.commit.as_mut().poll(&mut context)
            {
                in_flight.results = Some(results);
            }
        }
        while !self.commits.recovering
            && let Some(first) = self.commits.in_flight.front()
            && let Some(results) = &first.results
        {
            if results.iter().any(Result::is_err) || results.len() != first.pending.items.len() {
                self.commits.recovering = true;
            } else if let Some(done) = self.commits.in_flight.pop_front() {
                self.complete(done);
            }
        }
        if self.commits.recovering
            && self.commits.in_flight.iter().all(|in_flight| in_flight.results.is_some())
        {
            self.recover();
        }
    }

    fn complete(&mut self, done: InFlight) {
        let mut events = 0;
        self.commits.durable = done.number;
        let commands = done.pending.items.len() + done.pending.followers.len();
        for (item, result) in done.pending.items.into_iter().zip(done.results.unwrap_or_default()) {
            let appended = result.expect("a group with a failure goes to recovery");
            events += item.events;
            self.answer(item, &appended);
        }
        for (task, mut reply) in done.pending.followers {
            reply.position = self.commits.position;
            task.answer(Ok(reply));
        }
        self.count_accepted(commands, events);
        self.parked.durable_to(done.number);
        self.load_durable();
    }

    fn answer(&mut self, mut item: Item, appended: &Appended) {
        self.commits.position = self.commits.position.max(appended.last);
        item.reply.position = appended.last;
        item.task.answer(Ok(item.reply));
    }

    pub(crate) fn count_accepted(&self, commands: usize, events: usize) {
        Stats::add(&self.stats.commands, commands as u64);
        Stats::add(&self.stats.events, events as u64);
    }

    /// Every group in flight has ended, and at least one append failed. What succeeded stands: an append depends on
    /// nothing but the streams it writes to, whose revisions the log has checked. What failed, and all that was
    /// decided since and not handed over, is decided again on what the log says.
    fn recover(&mut self) {
        self.commits.recovering = false;
        let mut again: Vec<(Item, Option<AppendError>)> = Vec::new();
        let mut followers = Vec::new();
        for done in std::mem::take(&mut self.commits.in_flight) {
            self.commits.durable = done.number;
            followers.extend(done.pending.followers);
            let mut results = done.results.unwrap_or_default().into_iter();
            for item in done.pending.items {
                match results.next() {
                    Some(Ok(appended)) => {
                        self.count_accepted(1, item.events);
                        self.answer(item, &appended);
                    }
                    Some(Err(error)) => again.push((item, Some(error))),
                    None => {
                        let reason = "the log left an append unanswered".to_owned();
                        again.push((item, Some(AppendError::Unavailable { reason, indeterminate: true })));
                    }
                }
            }
        }
        let unsent = std::mem::take(&mut self.commits.pending);
        self.commits.appends.clear();
        again.extend(unsent.items.into_iter().map(|item| (item, None)));
        followers.extend(unsent.followers);
        for (item, _) in &again {
            for stream in &item.written {
                self.poison(stream);
            }
        }
        for (item, error) in again {
            match error {
                None => self.park_ready(item.task),
                Some(error) => self.after_failure(item, error),
            }
        }
        for (task, _) in followers {
            self.park_ready(task);
        }
        self.parked.durable_to(GroupNo::MAX);
        // What waited for the group that is being filled waits for nothing: that group is gone.
        let waiting = std::mem::take(&mut self.load_when_durable);
        self.to_load.extend(waiting.into_iter().map(|(_, stream)| stream));
        if self.stopped.is_some() {
            self.fail_everything();
        }
    }

    /// An append failed: decide again, look whether it happened nevertheless, or give up.
    fn after_failure(&mut self, item: Item, error: AppendError) {
        Stats::add(&self.stats.append_failures, 1);
        let Item { mut task, reply, trace, .. } = item;
        match error {
            AppendError::Conflict { .. } if task.attempt < self.options.max_attempts => {
                task.attempt += 1;
                Stats::add(&self.stats.retries, 1);
                match backoff(task.attempt, jitter_of(&task)) {
                    None => self.park_ready(task),
                    Some(pause) => self.park_until(task, Instant::now() + pause),
                }
            }
            AppendError::Unavailable { indeterminate: true, .. }
                if task.attempt < self.options.max_attempts =>
            {
                task.attempt += 1;
                Stats::add(&self.stats.retries, 1);
                self.loaders.push([Job::Probe(task.seq, trace, reply)]);
                self.park_for_probe(task);
            }
            error => {
                if let AppendError::Stopped(reason) = &error {
                    self.stopped = Some(reason.clone());
                }
                self.rearm_later(&task);
                self.fail(task, error.into());
            }
        }
    }

    /// The log has stopped for good: nothing that waits will ever be decided.
    pub(crate) fn fail_everything(&mut self) {
        let reason = self.stopped.clone().unwrap_or_default();
        for task in self.parked.drain() {
            self.fail(task, CommandError::Stopped(reason.clone()));
        }
    }
}

/// The end of an id that was drawn at random or follows from a key: not the same on two nodes that met.
fn jitter_of(task: &Task) -> u64 {
    let [.., a, b, c, d, e, f, g, h] = *task.command.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h]) ^ task.seq
}

/// The pause before the next attempt after a conflict: none before the second, then growing, with jitter so that two
/// nodes do not meet again and again.
fn backoff(attempt: u32, salt: u64) -> Option<Duration> {
    let step = attempt.checked_sub(2)?;
    let longest = 1_000_u64 << step.min(6);
    let jitter = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(attempt) % longest;
    Some(Duration::from_micros(longest / 2 + jitter / 2))
}
