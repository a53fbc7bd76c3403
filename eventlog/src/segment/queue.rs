//! The bounded queue between the callers and the writer thread.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::log::{Append, AppendError, Appended};
use crate::rules::{AppendSize, check_append};

/// Results of one group, in its order.
pub(crate) type Results = Vec<Result<Appended, AppendError>>;

/// One caller's group.
pub(crate) struct Job {
    pub(crate) appends: Vec<Append>,
    /// What the rules say of each append.
    pub(crate) sizes: Vec<Result<AppendSize, AppendError>>,
    pub(crate) bytes: usize,
    pub(crate) reply: oneshot::Sender<Results>,
}

/// Jobs in the order in which callers came.
pub(crate) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    limit_bytes: usize,
    limit_appends: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    bytes: usize,
    appends: usize,
    closed: bool,
    /// Whether the writer sleeps: only then is it woken, which costs a system call.
    writer_waits: bool,
}

impl Queue {
    pub(crate) fn new(limit_bytes: usize, limit_appends: usize) -> Self {
        Self { state: Mutex::default(), wake: Condvar::new(), limit_bytes, limit_appends }
    }

    /// Queues a group. One that alone exceeds the bounds is taken when the queue is empty.
    pub(crate) fn push(&self, appends: Vec<Append>) -> Result<oneshot::Receiver<Results>, AppendError> {
        let sizes: Vec<_> = appends.iter().map(check_append).collect();
        let bytes = sizes.iter().flatten().map(|size| size.bytes).sum();
        let (reply, receiver) = oneshot::channel();
        let mut state = self.state.lock();
        if state.closed {
            return Err(AppendError::Stopped("closed".into()));
        }
        let full =
            state.bytes + bytes > self.limit_bytes || state.appends + appends.len() > self.limit_appends;
        if full && !state.jobs.is_empty() {
            return Err(AppendError::Overloaded);
        }
        state.bytes += bytes;
        state.appends += appends.len();
        state.jobs.push_back(Job { appends, sizes, bytes, reply });
        if std::mem::take(&mut state.writer_waits) {
            drop(state);
            self.wake.notify_one();
        }
        Ok(receiver)
    }

    /// Waits for work and moves it to `out`: all there is, up to about `max_bytes`. False when the queue is closed
    /// and empty.
    pub(crate) fn take(&self, max_bytes: usize, out: &mut Vec<Job>) -> bool {
        let mut state = self.state.lock();
        while state.jobs.is_empty() {
            if state.closed {
                return false;
            }
            state.writer_waits = true;
            self.wake.wait(&mut state);
        }
        let mut bytes = 0;
        while let Some(job) = state.jobs.front()
            && (out.is_empty() || bytes + job.bytes <= max_bytes)
        {
            let (job_bytes, job_appends) = (job.bytes, job.appends.len());
            bytes += job_bytes;
            state.bytes -= job_bytes;
            state.appends -= job_appends;
            out.extend(state.jobs.pop_front());
        }
        true
    }

    /// Refuses further jobs; what is queued is still done.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.wake.notify_one();
    }
}
