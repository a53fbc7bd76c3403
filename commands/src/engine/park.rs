//! Commands that wait: for a stream to be read, for an older command on the same stream, for what they read to become
//! durable, or for a moment after a conflict.
//!
//! A waiting command holds a place in the line of the stream it was sent to, and younger commands that touch the
//! stream wait behind it. A command only ever waits for older ones and for reads, so there are no circles.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Instant;

use daybook_eventlog::StreamId;
use hashbrown::HashMap;

use super::Engine;
use super::load::Job;
use super::table::GroupNo;
use super::task::{Task, TaskId, Trace};
use crate::error::CommandError;
use crate::request::Reply;

#[derive(Default)]
pub(crate) struct Parked {
    tasks: HashMap<TaskId, Box<Task>, foldhash::fast::RandomState>,
    /// To be tried again, oldest first.
    ready: BinaryHeap<Reverse<TaskId>>,
    /// Waiting for a group to become durable.
    fenced: BTreeMap<GroupNo, Vec<TaskId>>,
    delayed: BinaryHeap<Reverse<(Instant, TaskId)>>,
}

impl Parked {
    /// The oldest command that may be tried again.
    pub(crate) fn next_ready(&mut self) -> Option<Box<Task>> {
        while let Some(Reverse(task)) = self.ready.pop() {
            if let Some(task) = self.tasks.remove(&task) {
                return Some(task);
            }
        }
        None
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(crate) fn next_delayed(&self) -> Option<Instant> {
        self.delayed.peek().map(|Reverse((due, _))| *due)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Everything up to the group is durable.
    pub(crate) fn durable_to(&mut self, group: GroupNo) {
        while let Some(entry) = self.fenced.first_entry() {
            if *entry.key() > group {
                break;
            }
            self.ready.extend(entry.remove().into_iter().map(Reverse));
        }
    }

    /// All commands that wait, oldest first; they wait for nothing any more.
    pub(crate) fn drain(&mut self) -> Vec<Box<Task>> {
        self.ready.clear();
        self.fenced.clear();
        self.delayed.clear();
        let mut tasks: Vec<Box<Task>> = self.tasks.drain().map(|(_, task)| task).collect();
        tasks.sort_unstable_by_key(|task| task.seq);
        tasks
    }
}

impl Engine {
    /// The command waits until the missing streams are there and no older command is before it.
    pub(crate) fn park_for_missing(&mut self, task: Box<Task>) {
        let missing = std::mem::take(&mut self.scratch.missing);
        let first = missing.first().expect("a decision waits for something");
        self.table.slot(first).line().waiters.push(task.seq);
        self.hold_place(task, None);
        // After that: what is known not to exist is there at once, and wakes those who wait for it.
        for stream in &missing {
            self.want(stream);
        }
        self.scratch.missing = missing;
    }

    /// The command waits until what is in flight for the stream is durable, and later writers of it wait behind.
    pub(crate) fn park_for_durable(&mut self, task: Box<Task>, stream: &StreamId) {
        let group = self.table.get(stream).map_or(0, |slot| slot.pending);
        self.parked.fenced.entry(group).or_default().push(task.seq);
        self.hold_place(task, Some(stream));
    }

    /// The command is to be tried again as soon as older ones are done.
    pub(crate) fn park_ready(&mut self, task: Box<Task>) {
        self.parked.ready.push(Reverse(task.seq));
        self.hold_place(task, None);
    }

    /// The command is to be tried again at a moment; later writers of the stream wait behind it.
    pub(crate) fn park_until(&mut self, task: Box<Task>, due: Instant, stream: Option<&StreamId>) {
        self.parked.delayed.push(Reverse((due, task.seq)));
        self.hold_place(task, stream);
    }

    /// Has a loader look whether the events of an attempt are in the log; the command waits.
    pub(crate) fn probe(&mut self, task: Box<Task>, trace: Trace, reply: Reply) {
        self.loaders.push([Job::Probe(task.seq, trace, reply)]);
        self.hold_place(task, None);
    }

    fn hold_place(&mut self, mut task: Box<Task>, also: Option<&StreamId>) {
        let main = task.main.clone();
        for stream in also.into_iter().chain([&main]) {
            if !task.places.contains(stream) {
                self.table.slot(stream).line().places.insert(task.seq);
                task.places.push(stream.clone());
            }
        }
        self.parked.tasks.insert(task.seq, task);
    }

    /// Gives up the places in line; those behind are tried again.
    pub(crate) fn release(&mut self, task: &mut Task) {
        for stream in std::mem::take(&mut task.places) {
            if let Some(slot) = self.table.get_mut(&stream) {
                slot.line().places.remove(&task.seq);
            }
            self.wake_waiters(&stream);
            self.table.tidy(&stream);
        }
    }

    /// Those who wait at the stream are tried again.
    pub(crate) fn wake_waiters(&mut self, stream: &StreamId) {
        let Some(slot) = self.table.get_mut(stream) else { return };
        let Some(line) = &mut slot.line else { return };
        self.parked.ready.extend(line.waiters.drain(..).map(Reverse));
        if line.places.is_empty() {
            slot.line = None;
        }
    }

    /// The stream could not be read: those who wait for it fail.
    pub(crate) fn fail_waiters(&mut self, stream: &StreamId, error: &CommandError) {
        let slot = self.table.slot(stream);
        slot.loading = false;
        let waiters = slot.line.as_mut().map(|line| std::mem::take(&mut line.waiters)).unwrap_or_default();
        for task in waiters {
            if let Some(task) = self.parked.tasks.remove(&task) {
                self.fail(task, error.clone());
            }
        }
        if self.table.get(stream).is_some_and(|slot| {
            slot.line.as_ref().is_some_and(|line| line.places.is_empty() && line.waiters.is_empty())
        }) {
            self.table.slot(stream).line = None;
        }
        self.table.tidy(stream);
    }

    pub(crate) fn wake_delayed(&mut self, now: Instant) {
        while self.parked.next_delayed().is_some_and(|due| due <= now) {
            if let Some(Reverse((_, task))) = self.parked.delayed.pop() {
                self.parked.ready.push(Reverse(task));
            }
        }
    }

    /// A loader has looked whether the events of a command are in the log.
    pub(crate) fn take_probed(&mut self, task: TaskId, found: Result<Option<Reply>, CommandError>) {
        let Some(mut task) = self.parked.tasks.remove(&task) else { return };
        match found {
            Ok(Some(reply)) => {
                self.release(&mut task);
                self.count_accepted(1, reply.events.len());
                task.answer(Ok(reply));
            }
            Ok(None) => self.park_ready(task),
            Err(error) => self.fail(task, error),
        }
    }
}
