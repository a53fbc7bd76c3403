//! The bounded queue between the callers and the writer task.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::resolve::Prepared;
use crate::log::{AppendError, Appended};

/// Shorter waits than the runtime's timer can measure are spent yielding to other tasks.
const TIMER_STEP: Duration = Duration::from_millis(1);

/// One append on its way.
pub(super) struct Job {
    pub(super) append: Prepared,
    pub(super) queued: Instant,
    pub(super) reply: oneshot::Sender<Result<Appended, AppendError>>,
}

/// Appends in the order in which callers came.
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Notify,
    limit_appends: usize,
    limit_bytes: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    bytes: usize,
    closed: bool,
}

/// What a caller waits for: a result that is known already, or one that the writer will send.
pub(super) enum Waiting {
    Known(AppendError),
    Sent(oneshot::Receiver<Result<Appended, AppendError>>),
}

impl Waiting {
    pub(super) async fn result(self) -> Result<Appended, AppendError> {
        match self {
            Self::Known(error) => Err(error),
            Self::Sent(receiver) => receiver.await.unwrap_or_else(|_| {
                // The runtime was shut down under the writer.
                Err(AppendError::Unavailable { reason: "the writer is gone".into(), indeterminate: true })
            }),
        }
    }
}

impl Queue {
    pub(super) fn new(limit_appends: usize, limit_bytes: usize) -> Self {
        Self { state: Mutex::default(), wake: Notify::new(), limit_appends, limit_bytes }
    }

    /// Queues the appends of one call side by side. Those that broke a rule, and those for which there is no room,
    /// are answered at once; a single one larger than the bounds is taken when the queue is empty.
    pub(super) fn push(&self, appends: Vec<Result<Prepared, AppendError>>) -> Vec<Waiting> {
        let queued = Instant::now();
        let mut state = self.state.lock();
        let waiting = appends
            .into_iter()
            .map(|append| {
                let append = match append {
                    Ok(append) => append,
                    Err(invalid) => return Waiting::Known(invalid),
                };
                if state.closed {
                    return Waiting::Known(AppendError::Stopped("closed".into()));
                }
                let full =
                    state.jobs.len() >= self.limit_appends || state.bytes + append.bytes > self.limit_bytes;
                if full && !state.jobs.is_empty() {
                    return Waiting::Known(AppendError::Overloaded);
                }
                let (reply, receiver) = oneshot::channel();
                state.bytes += append.bytes;
                state.jobs.push_back(Job { append, queued, reply });
                Waiting::Sent(receiver)
            })
            .collect();
        drop(state);
        self.wake.notify_one();
        waiting
    }

    /// Waits for work and takes all there is, up to the given bounds, but at least one append. `None` when the queue is
    /// closed and empty. For one taker.
    pub(super) async fn take(&self, max_events: usize, max_bytes: usize) -> Option<Vec<Job>> {
        loop {
            {
                let mut state = self.state.lock();
                if !state.jobs.is_empty() {
                    return Some(state.take(max_events, max_bytes));
                }
                if state.closed {
                    return None;
                }
            }
            // A notification between the look and the wait is kept as a permit.
            self.wake.notified().await;
        }
    }

    /// Waits until this many appends are queued, but not longer than `wait`.
    pub(super) async fn gather(&self, appends: usize, wait: Duration) {
        let start = Instant::now();
        let enough = || {
            let state = self.state.lock();
            state.closed || state.jobs.len() >= appends
        };
        if wait < TIMER_STEP {
            while !enough() && start.elapsed() < wait {
                tokio::task::yield_now().await;
            }
            return;
        }
        let gathered = async {
            while !enough() {
                self.wake.notified().await;
            }
        };
        // Those who are late make the next group.
        let _ = tokio::time::timeout(wait, gathered).await;
    }

    /// Refuses further appends; what is queued is still done.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.wake.notify_one();
    }
}

impl State {
    fn take(&mut self, max_events: usize, max_bytes: usize) -> Vec<Job> {
        let (mut taken, mut events, mut bytes) = (Vec::new(), 0, 0);
        while let Some(next) = self.jobs.front() {
            events += next.append.events;
            bytes += next.append.bytes;
            if !taken.is_empty() && (events > max_events || bytes > max_bytes) {
                break;
            }
            self.bytes -= next.append.bytes;
            taken.extend(self.jobs.pop_front());
        }
        taken
    }
}
