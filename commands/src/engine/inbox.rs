//! The way into the decision thread: a bounded queue, drained whole, and the bell that wakes the thread.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use parking_lot::Mutex;

use super::load::{Loaded, Tail};
use super::task::{Task, TaskId};
use crate::error::CommandError;
use crate::follow::Foreign;
use daybook_eventlog::{Revision, StreamId};
use daybook_schemas::Timestamp;

/// News for the decision thread that are no commands.
pub(crate) enum Signal {
    /// Streams that were read, or could not be.
    Loaded(Vec<Loaded>),
    /// Whether the events of a task were found after an append of unknown outcome; the reply if so.
    Probed(TaskId, Result<Option<crate::Reply>, CommandError>),
    /// The record of the task's key, at this revision of its stream, speaks of events that are not there.
    Void(Box<Task>, Revision),
    /// What a stream has beyond the state in memory.
    Tail(Tail),
    /// What the log has of streams, whoever wrote it.
    Foreign(Vec<Foreign>),
    /// Streams that commands to come will need.
    Expected([Option<StreamId>; 3]),
    /// Another writer asks for its turn at a stream.
    Turn(StreamId),
    /// The deadlines of all streams, for a node that is now the one that fires them.
    Deadlines(Vec<(StreamId, Timestamp)>),
}

#[derive(Default)]
struct Queue {
    tasks: Vec<Box<Task>>,
    signals: Vec<Signal>,
    next_seq: u64,
    closed: bool,
}

/// Most work that may be unfinished at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) commands: usize,
    pub(crate) bytes: usize,
}

pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    bounds: Bounds,
    outstanding: AtomicUsize,
    outstanding_bytes: AtomicUsize,
    asleep: AtomicBool,
    /// Rung, whether or not anything is queued: an in-flight commit, the clock, or the end.
    rung: AtomicBool,
    /// Whether the decision thread has forgotten deadlines that it may need.
    deadlines_wanted: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Inbox {
    pub(crate) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::new(Queue { next_seq: 1, ..Queue::default() }),
            bounds,
            outstanding: AtomicUsize::new(0),
            outstanding_bytes: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
            rung: AtomicBool::new(false),
            deadlines_wanted: AtomicBool::new(false),
            thread: OnceLock::new(),
        })
    }

    /// Takes room for one command; `None` if there is none.
    pub(crate) fn admit(self: &Arc<Self>, bytes: usize) -> Option<Permit> {
        let commands = self.outstanding.fetch_add(1, Ordering::Relaxed);
        let total = self.outstanding_bytes.fetch_add(bytes, Ordering::Relaxed);
        let permit = Permit { inbox: self.clone(), bytes };
        // A body larger than the whole bound still gets in alone: its size is the gateway's limit to set.
        let fits = commands < self.bounds.commands && (total == 0 || total + bytes <= self.bounds.bytes);
        fits.then_some(permit)
    }

    /// Commands and bytes that are not answered yet.
    pub(crate) fn outstanding(&self) -> (usize, usize) {
        (self.outstanding.load(Ordering::Relaxed), self.outstanding_bytes.load(Ordering::Relaxed))
    }

    /// Queues a command, in the order of the calls. Gives it back if the dispatcher is closed.
    pub(crate) fn push(&self, mut task: Box<Task>) -> Result<(), Box<Task>> {
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(task);
        }
        task.seq = queue.next_seq;
        queue.next_seq += 1;
        queue.tasks.push(task);
        drop(queue);
        self.wake();
        Ok(())
    }

    /// A place in the order of commands for one that the thread itself makes.
    pub(crate) fn next_seq(&self) -> u64 {
        let mut queue = self.queue.lock();
        queue.next_seq += 1;
        queue.next_seq - 1
    }

    /// Asks the follower for all deadlines, once this node is the one that fires them.
    pub(crate) fn want_deadlines(&self) {
        self.deadlines_wanted.store(true, Ordering::Release);
    }

    /// Whether they were asked for since the last call.
    pub(crate) fn wants_deadlines(&self) -> bool {
        self.deadlines_wanted.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.queue.lock().signals.push(signal);
        self.wake();
    }

    /// Refuses further commands; what is queued is still done.
    pub(crate) fn close(&self) {
        self.queue.lock().closed = true;
        self.ring();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.queue.lock().closed
    }

    /// Nobody takes from the queue any more: refuses further commands, and drops what is queued, which tells those who
    /// wait for it.
    pub(crate) fn abandon(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        let dropped = (std::mem::take(&mut queue.tasks), std::mem::take(&mut queue.signals));
        // Dropping wakes those who wait; not under the lock.
        drop(queue);
        drop(dropped);
    }

    /// Whether nothing is queued and nothing will be.
    pub(crate) fn is_closed_and_empty(&self) -> bool {
        let queue = self.queue.lock();
        queue.closed && queue.tasks.is_empty() && queue.signals.is_empty()
    }

    /// Makes the thread look around, whether or not anything is queued.
    pub(crate) fn ring(&self) {
        self.rung.store(true, Ordering::SeqCst);
        self.wake();
    }

    fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// To be called by the decision thread once, before anything else.
    pub(crate) fn attach(&self) {
        self.thread.get_or_init(std::thread::current);
    }

    /// Moves all that is queued into the buffers, without waiting.
    pub(crate) fn drain(&self, tasks: &mut Vec<Box<Task>>, signals: &mut Vec<Signal>) {
        let mut queue = self.queue.lock();
        if tasks.is_empty() {
            std::mem::swap(tasks, &mut queue.tasks);
        } else {
            tasks.append(&mut queue.tasks);
        }
        signals.append(&mut queue.signals);
    }

    /// Whether the bell was rung since the last call.
    pub(crate) fn take_ring(&self) -> bool {
        self.rung.swap(false, Ordering::SeqCst)
    }

    /// Sleeps until something is queued, the bell rings, or the time is over.
    pub(crate) fn wait(&self, timeout: Duration) {
        self.asleep.store(true, Ordering::SeqCst);
        let something = {
            let queue = self.queue.lock();
            !queue.tasks.is_empty() || !queue.signals.is_empty()
        };
        if !something && !self.rung.load(Ordering::SeqCst) {
            std::thread::park_timeout(timeout);
        }
        self.asleep.store(false, Ordering::SeqCst);
    }
}

impl std::task::Wake for Inbox {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
}

/// Room for one unanswered command, given back when dropped.
pub(crate) struct Permit {
    inbox: Arc<Inbox>,
    bytes: usize,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.inbox.outstanding.fetch_sub(1, Ordering::Relaxed);
        self.inbox.outstanding_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
