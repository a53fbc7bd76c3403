//! Groups of appends on their way to the log. Deciding goes on while they are in flight; what failed is undone by
//! dropping every state that a failed append wrote to, and decided again on what the log says.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use daybook_eventlog::{Append, AppendError, Appended, Position, StreamId};
use futures::future::BoxFuture;
use smallvec::SmallVec;

use super::Engine;
use super::group::{Group, Grouped, Item, Pending};
use super::table::GroupNo;
use super::task::Task;
use crate::error::CommandError;
use crate::request::Reply;
use crate::stats::Stats;

/// Groups from this size on are a sign of many callers.
const FULL_GROUP: usize = 4;

/// The longest pause in which the callers of one group may come back to make the next.
const LONGEST_GATHERING: Duration = Duration::from_millis(2);

/// The pause is this part of what the last commit took.
const GATHERING_SHARE: u32 = 4;

/// How long the turn at a stream is left to another writer that was seen there: longer than it takes to read, decide and commit.
const TURN: Duration = Duration::from_millis(50);

type Results = Vec<Result<Appended, AppendError>>;

struct InFlight {
    number: GroupNo,
    appends: usize,
    pending: Pending,
    since: Instant,
    commit: BoxFuture<'static, Results>,
    results: Option<Results>,
}

/// On a shared log: until when the next group waits, and for how many commands.
struct Gathering {
    until: Instant,
    commands: usize,
}

pub(crate) struct Commits {
    /// The number of the group that is being filled.
    filling: GroupNo,
    group: Group,
    gathering: Option<Gathering>,
    in_flight: VecDeque<InFlight>,
    max_in_flight: usize,
    max_group: usize,
    durable: GroupNo,
    position: Position,
    recovering: bool,
}

impl Commits {
    /// With `joining`, commands on one stream share an append. One group is in flight then: what comes meanwhile joins the next.
    pub(crate) fn new(max_in_flight: usize, max_group: usize, joining: bool, position: Position) -> Self {
        Self {
            filling: 1,
            group: Group::new(joining),
            gathering: None,
            in_flight: VecDeque::new(),
            max_in_flight: if joining { 1 } else { max_in_flight.max(1) },
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

    /// The group whose streams further commands may write to; 0: none.
    pub(crate) const fn joinable(&self) -> GroupNo {
        if self.group.takes_joins() { self.filling } else { 0 }
    }

    /// When the group that is being filled need not wait for more any longer.
    pub(crate) fn gathering_until(&self) -> Option<Instant> {
        self.gathering.as_ref().filter(|_| !self.group.is_empty()).map(|gathering| gathering.until)
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
        self.group.len() >= self.max_group && self.in_flight.len() >= self.max_in_flight
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.group.is_empty() && self.in_flight.is_empty()
    }

    pub(crate) fn push(&mut self, append: Append, item: Item) {
        self.group.push(append, item);
    }

    /// The answer waits until the group is durable.
    pub(crate) fn follow(&mut self, group: GroupNo, task: Box<Task>, reply: Reply) {
        match self.in_flight.iter_mut().find(|in_flight| in_flight.number == group) {
            Some(in_flight) => in_flight.pending.followers.push((task, reply)),
            None => self.group.follow(task, reply),
        }
    }

    /// Whether the group that is being filled waits for callers of the last one to come back. Without that the first of them
    /// would make a group of its own, and all others wait for two commits instead of one.
    fn gathers(&mut self) -> bool {
        let more =
            |gathering: &Gathering| self.group.len() < gathering.commands && Instant::now() < gathering.until;
        if self.gathering.as_ref().is_some_and(more) {
            return true;
        }
        self.gathering = None;
        false
    }
}

impl Engine {
    /// Hands what was decided to the log, if it may have another group.
    pub(crate) fn submit(&mut self, waker: &Waker) {
        let commits = &mut self.commits;
        if commits.group.is_empty() || commits.in_flight.len() >= commits.max_in_flight || commits.gathers() {
            return;
        }
        let (appends, mut pending) = commits.group.close();
        let count = appends.len();
        let commit = match &self.sequential {
            None => self.log.append_group(appends),
            Some(log) => {
                // Commands share no appends there.
                let steps = pending.items.iter_mut().map(|grouped| std::mem::take(&mut grouped.item.steps));
                log.append_group(appends.into_iter().zip(steps).collect())
            }
        };
        commits.in_flight.push_back(InFlight {
            number: commits.filling,
            appends: count,
            pending,
            since: Instant::now(),
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
            if results.iter().any(Result::is_err) || results.len() != first.appends {
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
        let took = done.since.elapsed();
        self.stats.committed(took);
        self.commits.durable = done.number;
        let commands = done.pending.items.len() + done.pending.followers.len();
        if self.commits.group.is_joining() && commands >= FULL_GROUP {
            // Those of this group are about to come back, and those that came meanwhile are here: without waiting for the first,
            // the two halves of the callers would take turns, and each would wait for two commits.
            let until = Instant::now() + (took / GATHERING_SHARE).min(LONGEST_GATHERING);
            let commands = (commands + self.commits.group.len()).min(self.commits.max_group);
            self.commits.gathering = Some(Gathering { until, commands });
        }
        let results = done.results.unwrap_or_default();
        for Grouped { item, append, .. } in done.pending.items {
            self.give_turn(&item);
            self.read_on(&item);
            let appended = results[append].as_ref().expect("a group with a failure goes to recovery");
            events += item.events;
            self.answer(item, appended);
        }
        for (task, mut reply) in done.pending.followers {
            reply.position = self.commits.position;
            task.answer(Ok(reply));
        }
        self.count_accepted(commands, events);
        self.parked.durable_to(done.number);
        self.load_durable();
    }

    /// Where another writer is at the same stream, the next turn is left to it. Otherwise the one that has just won would be
    /// there first again, while the other still reads what it did.
    fn give_turn(&mut self, item: &Item) {
        if !self.options.shared_log {
            return;
        }
        for stream in &item.written {
            if let Some(slot) = self.table.get_mut(stream)
                && std::mem::take(&mut slot.contended)
            {
                slot.rest_until = Some(Instant::now() + TURN);
            }
        }
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
    /// nothing but the streams it writes to, whose revisions the log has checked. What failed is decided again on what the
    /// log says, and so is all that was decided since and not handed over where it may be built on that.
    fn recover(&mut self) {
        self.commits.recovering = false;
        let mut again: Vec<(Grouped, Option<AppendError>)> = Vec::new();
        let mut followers = Vec::new();
        for done in std::mem::take(&mut self.commits.in_flight) {
            self.commits.durable = done.number;
            followers.extend(done.pending.followers);
            let results = done.results.unwrap_or_default();
            for grouped in done.pending.items {
                match results.get(grouped.append) {
                    Some(Ok(appended)) => {
                        self.count_accepted(1, grouped.item.events);
                        self.answer(grouped.item, appended);
                    }
                    Some(Err(error)) => again.push((grouped, Some(error.clone()))),
                    None => {
                        let reason = "the log left an append unanswered".to_owned();
                        again.push((grouped, Some(AppendError::Unavailable { reason, indeterminate: true })));
                    }
                }
            }
        }
        let kept = self.stands(&again);
        if !kept {
            let (_, unsent) = self.commits.group.close();
            again.extend(unsent.items.into_iter().map(|grouped| (grouped, None)));
            followers.extend(unsent.followers);
        }
        self.take_back(&mut again);
        self.ask_for_turns(again.iter().filter_map(|(_, error)| match error {
            Some(AppendError::Conflict { stream, .. }) => Some(stream),
            _ => None,
        }));
        for (grouped, error) in again {
            match error {
                None => self.park_ready(grouped.item.task),
                Some(error) => self.after_failure(grouped, error),
            }
        }
        for (task, _) in followers {
            self.park_ready(task);
        }
        if kept {
            self.parked.durable_to(self.commits.durable);
            self.load_durable();
        } else {
            self.parked.durable_to(GroupNo::MAX);
            // What waited for the group that is being filled waits for nothing: that group is gone.
            let waiting = std::mem::take(&mut self.load_when_durable);
            self.to_load.extend(waiting.into_iter().map(|(_, stream)| stream));
        }
        if self.stopped.is_some() {
            self.fail_everything();
        }
    }

    /// Whether the group that is being filled stands though these failed: where commands join an append, nothing in it is built
    /// on what was in flight; it must not write to what is to be read again either.
    fn stands(&self, failed: &[(Grouped, Option<AppendError>)]) -> bool {
        let filling = self.commits.filling;
        let written = |stream: &StreamId| self.table.get(stream).is_some_and(|slot| slot.pending >= filling);
        self.commits.group.is_joining()
            && !failed.iter().any(|(grouped, error)| changed(grouped, error.as_ref()).any(written))
    }

    /// An append failed: decide again, look whether it happened nevertheless, or give up.
    fn after_failure(&mut self, Grouped { item, joined, .. }: Grouped, error: AppendError) {
        Stats::add(&self.stats.append_failures, 1);
        let Item { mut task, reply, trace, .. } = item;
        match error {
            // One of those that share an append can't be written: it must not take the others with it.
            AppendError::Invalid(_) if joined => {
                task.alone = true;
                Stats::add(&self.stats.retries, 1);
                self.park_ready(task);
            }
            AppendError::Conflict { .. } if self.contends_on(&mut task) => {
                task.attempt += 1;
                Stats::add(&self.stats.retries, 1);
                match backoff(task.attempt, jitter_of(&task)) {
                    None => self.park_ready(task),
                    Some(pause) => self.park_until(task, Instant::now() + pause, None),
                }
            }
            AppendError::Unavailable { indeterminate: true, .. }
                if task.doubts.len() < self.options.max_attempts as usize =>
            {
                task.attempt += 1;
                // Should the first attempt come through after all, the log knows the second by having the very same events.
                task.alone = true;
                Stats::add(&self.stats.retries, 1);
                task.doubts.push((trace.clone(), reply.clone()));
                self.probe(task, trace, reply);
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

    /// Whether a command that met a conflict is decided again.
    fn contends_on(&self, task: &mut Task) -> bool {
        let since = *task.contended_since.get_or_insert_with(Instant::now);
        task.attempt < self.options.max_attempts || since.elapsed() < self.options.contend_for
    }

    /// Another writer was first at these streams: it is asked to leave the next turn there to this one.
    fn ask_for_turns<'a>(&mut self, lost: impl Iterator<Item = &'a StreamId>) {
        if !self.options.shared_log {
            return;
        }
        let mut lost: SmallVec<[&StreamId; 4]> = lost.collect();
        lost.sort_unstable();
        lost.dedup();
        for stream in lost {
            self.table.slot(stream).contended = true;
            self.log.ask_for_turn(stream);
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

/// The streams of a failed append whose states are not what the log says: those it wrote to, and one that it only looked at where
/// that has changed.
fn changed<'a>(failed: &'a Grouped, error: Option<&'a AppendError>) -> impl Iterator<Item = &'a StreamId> {
    let looked_at = match error {
        Some(AppendError::Conflict { stream, .. }) => Some(stream),
        _ => None,
    };
    failed.item.written.iter().chain(looked_at)
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
    let longest = 1_000_u64 << step.min(4);
    let jitter = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(attempt) % longest;
    Some(Duration::from_micros(longest / 2 + jitter / 2))
}
