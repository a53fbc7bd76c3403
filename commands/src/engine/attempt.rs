//! One command: decide, and what follows from the outcome.

use std::time::{Duration, Instant};

use daybook_aggregates::inventory::Undo;
use daybook_eventlog::{Append, Expected, Premise, Revision, StreamAppend, StreamId};
use daybook_schemas::idempotency::{self, Recorded};
use smallvec::SmallVec;

use super::Engine;
use super::group::Item;
use super::load::Job;
use super::table::GroupNo;
use super::task::{Task, Trace};
use super::undo::Before;
use crate::encode::Encoder;
use crate::error::CommandError;
use crate::idempotency::RememberedRefusals;
use crate::request::{Reply, ReplyEvent};
use crate::sequential::Steps;
use crate::workspace::{Context, Halt, Known, Workspace, Write};

/// How often a command that leaves the turn to another writer looks whether that has had it.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// How a decision came out.
enum Verdict {
    /// The writes are in the scratch and in the states.
    Write { before: Revision },
    /// Accepted, nothing to change. `after` is the group whose commit makes what was looked at durable; 0: it is.
    Nothing { revision: Revision, after: GroupNo },
    /// Carried out before.
    Replay(Box<Recorded>),
    /// Not decided; `undo` says whether states were changed on the way.
    Halted { halt: Halt, undo: bool },
}

impl Engine {
    pub(crate) fn attempt(&mut self, mut task: Box<Task>) {
        if let Some(reason) = &self.stopped {
            let error = CommandError::Stopped(reason.clone());
            return self.fail(task, error);
        }
        if let Some((trace, reply)) = self.settle_doubt(&mut task) {
            return self.probe(task, trace, reply);
        }
        match self.decide(&mut task) {
            Verdict::Write { before } => self.accept(task, before),
            Verdict::Nothing { revision, after } => self.accept_unchanged(task, revision, after),
            Verdict::Replay(record) => {
                self.release(&mut task);
                self.loaders.push([Job::Replay(task, record)]);
            }
            Verdict::Halted { halt, undo } => {
                if undo {
                    self.undo();
                }
                self.halted(task, halt);
            }
        }
    }

    /// An attempt of unknown outcome whose place in its stream is taken by now: by itself, or by another for ever. As long as
    /// it is free, the next attempt writes the same events there, and the log knows them again.
    fn settle_doubt(&self, task: &mut Task) -> Option<(Trace, Reply)> {
        let durable = self.commits.durable();
        let is_taken = |(trace, _): &(Trace, Reply)| {
            let slot = self.table.get(&trace.stream);
            slot.is_some_and(|slot| {
                slot.state.is_some() && slot.pending <= durable && slot.revision >= trace.revision
            })
        };
        let at = task.doubts.iter().position(is_taken)?;
        Some(task.doubts.swap_remove(at))
    }

    fn decide(&mut self, task: &mut Task) -> Verdict {
        let encoder = Encoder {
            command: task.command,
            main: task.main.clone(),
            first_event_id: task.first_event_id,
            recorded_at: self.now,
            metadata: task.metadata.clone(),
        };
        let context = Context {
            now: self.now,
            fresh_id: task.fresh_id.clone(),
            roles: task.roles,
            sequential: self.sequential.is_some(),
            shared: self.options.shared_log,
            claim_timeout: self.options.claim_timeout,
        };
        let joinable = if task.alone { 0 } else { self.commits.joinable() };
        let known = Known { durable: self.commits.durable(), joinable };
        let (holds, scratch) = (&self.holds, &mut self.scratch);
        let mut workspace =
            Workspace::new(&mut self.table, holds, scratch, encoder, context, task.seq, known);
        match decide_in(&mut workspace, task, &self.refusals) {
            Ok(Some(record)) => Verdict::Replay(record),
            Ok(None) => conclude(workspace, task),
            Err(halt) => Verdict::Halted { halt, undo: workspace.has_follow_up() },
        }
    }

    fn halted(&mut self, task: Box<Task>, halt: Halt) {
        match halt {
            Halt::Wait => self.park_for_missing(task),
            Halt::Fence(stream) => self.park_for_durable(task, &stream),
            Halt::Rest(stream) => self.rest(task, &stream),
            Halt::Refused(error) => {
                if let Some(key) = &task.key {
                    self.refusals.remember(key, &error, Instant::now());
                }
                self.rearm_later(&task);
                self.fail(task, error);
            }
        }
    }

    /// The command waits while the other has its turn, or is tried again at once if that is over.
    fn rest(&mut self, task: Box<Task>, stream: &StreamId) {
        let now = Instant::now();
        let Some(slot) = self.table.get_mut(stream) else { return self.park_ready(task) };
        match slot.rest_until {
            Some(until) if until > now => self.park_until(task, until.min(now + LOOK_AGAIN), Some(stream)),
            _ => {
                slot.rest_until = None;
                self.park_ready(task);
            }
        }
    }

    /// States were changed by a decision that did not stand: they forget it. Those that can't are dropped, and read again once what is
    /// in flight for them is in the log.
    fn undo(&mut self) {
        for write in std::mem::take(&mut self.scratch.writes) {
            let undos = self.undos_of(&write);
            let state = self.table.get_mut(&write.stream).and_then(|slot| slot.state.as_mut());
            match (state, undos) {
                (Some(state), Some(undos)) => {
                    // Revision and index of holds would have followed when the decision stood.
                    undos.into_iter().rev().for_each(|undo| drop(state.undo(undo)));
                }
                _ if write.encoded.is_empty() => {}
                _ => self.poison_when_durable(&write.stream),
            }
        }
    }

    /// What takes every event of a write back out of the state, in their order, if it took in any and all can be taken back.
    fn undos_of(&mut self, write: &Write) -> Option<Vec<Undo>> {
        let undos = &mut self.scratch.undos;
        let undos: Vec<Undo> =
            undos.extract_if(.., |(stream, _)| *stream == write.stream).map(|(_, undo)| undo).collect();
        (!undos.is_empty() && undos.len() == write.encoded.len()).then_some(undos)
    }

    fn accept(&mut self, mut task: Box<Task>, before: Revision) {
        let premises = self.premises();
        let mut writes = std::mem::take(&mut self.scratch.writes);
        let group = self.commits.filling();
        let mut streams = Vec::with_capacity(writes.len());
        let mut written = SmallVec::new();
        let mut events = 0;
        let mut reply = Reply {
            stream: task.main.clone(),
            revision: before,
            position: 0,
            events: Vec::new(),
            reservation: self.scratch.standing_hold.take(),
            created: false,
            replayed: false,
        };
        let mut trace = None;
        let steps = self.arrange(&mut writes, &task);
        let mut before_all = Vec::new();
        for write in writes.drain(..) {
            let count = write.encoded.len();
            events += count;
            before_all.extend(self.before(&write));
            self.wrote(&write.stream, count, group);
            if write.stream == task.main {
                reply.revision = before + count as u64;
                reply.created = before == 0;
                reply.events = write
                    .encoded
                    .iter()
                    .map(|event| ReplyEvent {
                        event_type: event.event_type,
                        version: event.version,
                        data: event.data.clone(),
                    })
                    .collect();
            }
            trace = write.encoded.last().map(|last| Trace {
                stream: write.stream.clone(),
                revision: write.before + count as u64,
                event_id: last.event_id,
            });
            written.push(write.stream.clone());
            streams.push(StreamAppend {
                stream: write.stream,
                expected: Expected::Exact(write.before),
                events: write.encoded,
            });
        }
        self.scratch.writes = writes;
        for (stream, change) in self.scratch.changes.drain(..) {
            self.holds.change(&stream, change, self.now);
        }
        self.release(&mut task);
        let trace = trace.expect("an accepted decision with writes has at least one event");
        self.commits.push(
            Append { streams, premises },
            Item { task, reply, written, before: before_all, trace, events, steps },
        );
    }

    /// What takes a write back, where all of it can be.
    fn before(&mut self, write: &Write) -> Option<Before> {
        let undos = self.undos_of(write)?;
        let recorded_at = self.table.get(&write.stream).and_then(|slot| slot.recorded_at);
        Some(Before { stream: write.stream.clone(), revision: write.before, recorded_at, undos })
    }

    /// Brings what one command writes into the order of the log; the steps where it takes them one by one.
    fn arrange(&self, writes: &mut [Write], task: &Task) -> Steps {
        let key = task.key.as_ref().map(|key| &key.stream);
        if self.sequential.is_some() {
            return Steps::arrange(writes, &task.main, key, task.op.main_first());
        }
        // The aggregate after its claims and holds, the record of the key after everything.
        if writes.len() > 1 {
            writes.sort_by_key(|write| match &write.stream {
                stream if Some(stream) == key => 2,
                stream if *stream == task.main => 1,
                _ => 0,
            });
        }
        Steps::default()
    }

    /// What the decision looked at and does not write to. Another node may have changed it since: then this must not stand.
    fn premises(&self) -> Vec<Premise> {
        if !self.options.shared_log || self.sequential.is_some() {
            return Vec::new();
        }
        let written = |stream: &StreamId| self.scratch.writes.iter().any(|write| write.stream == *stream);
        let looked_at = self.scratch.touched.iter().filter(|stream| !written(stream));
        let mut premises: Vec<Premise> = looked_at
            .filter_map(|stream| {
                let revision = self.table.get(stream)?.revision;
                Some(Premise { stream: stream.clone(), revision })
            })
            .collect();
        premises.sort_unstable();
        premises.dedup();
        premises
    }

    /// The states have the events; revision, size and deadline follow.
    fn wrote(&mut self, stream: &StreamId, count: usize, group: GroupNo) {
        let now = self.now;
        let Some(slot) = self.table.get_mut(stream) else { return };
        slot.revision += count as u64;
        slot.pending = group;
        slot.recorded_at = Some(now);
        let snapshot = (slot.revision >= slot.snapshot_due).then_some(slot.revision);
        let deadline = slot.state.as_ref().and_then(super::next_deadline);
        if let Some(deadline) = deadline {
            self.timers.arm(stream, deadline.max(now));
        }
        let size = self.table.resize(stream);
        if let Some(revision) = snapshot
            && self.options.snapshots.is_some()
        {
            self.loaders.snapshot(stream.clone());
            // A large state is worth a snapshot after more events: so many that it costs some hundred bytes each.
            let every = self.options.snapshot_every.max(size as u64 / 100);
            if let Some(slot) = self.table.get_mut(stream) {
                slot.snapshot_due = revision + every;
            }
        }
    }

    fn accept_unchanged(&mut self, mut task: Box<Task>, revision: Revision, after: GroupNo) {
        self.release(&mut task);
        self.rearm_later(&task);
        let reply = Reply {
            stream: task.main.clone(),
            revision,
            position: self.commits.position(),
            events: Vec::new(),
            reservation: self.scratch.standing_hold.take(),
            created: false,
            replayed: false,
        };
        if after == 0 {
            self.count_accepted(1, 0);
            task.answer(Ok(reply));
        } else {
            self.commits.follow(after, task, reply);
        }
    }

    /// A deadline that fired and changed nothing must not be lost, nor fire again at once.
    pub(crate) fn rearm_later(&mut self, task: &Task) {
        if task.reply.is_some() {
            return;
        }
        let later = self.now.plus_secs(1);
        match self.table.get(&task.main).map(|slot| slot.state.as_ref().map(super::next_deadline)) {
            Some(Some(None)) => {}
            Some(Some(Some(deadline))) => self.timers.arm(&task.main, deadline.max(later)),
            Some(None) | None => self.timers.arm(&task.main, later),
        }
    }
}

/// Decides; `Some`: it was carried out before.
fn decide_in(
    workspace: &mut Workspace<'_>,
    task: &mut Task,
    refusals: &RememberedRefusals,
) -> Result<Option<Box<Recorded>>, Halt> {
    workspace.require([&task.main].into_iter().chain(task.key.as_ref().map(|key| &key.stream)))?;
    if let Some(key) = &task.key {
        let revision = workspace.revision(&key.stream)?;
        if let Some(record) = workspace.key_record(&key.stream)?
            && task.void_record != Some(revision)
        {
            return if record.request_hash == key.request_hash {
                Ok(Some(Box::new(record.clone())))
            } else {
                Err(Halt::Refused(CommandError::IdempotencyMismatch))
            };
        }
        if let Some(error) = refusals.get(key, Instant::now()) {
            return Err(Halt::Refused(error));
        }
    }
    if let Some(expected) = &task.if_match {
        let actual = workspace.revision(&task.main)?;
        if !expected.holds(actual) {
            let (stream, expected) = (task.main.clone(), expected.clone());
            return Err(Halt::Refused(CommandError::StaleRevision { stream, expected, actual }));
        }
    }
    task.op.decide(workspace, &task.main).map(|()| None)
}

/// The domain said yes: what is to be written, if anything?
fn conclude(mut workspace: Workspace<'_>, task: &Task) -> Verdict {
    let before = match workspace.revision(&task.main) {
        Ok(revision) => revision,
        Err(halt) => return Verdict::Halted { halt, undo: workspace.has_follow_up() },
    };
    if workspace.is_empty() && task.key.is_none() {
        return Verdict::Nothing { revision: before, after: workspace.depends_on() };
    }
    // What was looked at without being written to must be durable, or this would stand where that falls.
    if !workspace.has_follow_up()
        && let Some(stream) = workspace.undurable_read()
    {
        return Verdict::Halted { halt: Halt::Fence(stream), undo: false };
    }
    if let Some(key) = &task.key {
        let events = workspace.events_of(&task.main);
        let record = Recorded {
            request_hash: key.request_hash.clone(),
            stream: task.main.as_str().to_owned(),
            revision: before + events as u64,
            events: u32::try_from(events).unwrap_or(u32::MAX),
        };
        workspace.note(&key.stream, [idempotency::Event::Recorded(record).into()]);
    }
    workspace.finish();
    Verdict::Write { before }
}
