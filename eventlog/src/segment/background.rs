//! The log's own threads: one keeps a spare segment ready, one seals, one merges runs.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::sealing::{WorkError, due_for_merge, merge_due, seal_oldest};
use super::shared::Shared;
use super::storage::Storage;
use super::tail::{SPARE, Spare};
use crate::log::AppendError;
use crate::priority::give_way;

/// Pause before work that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How many steps of `nice` sealing and merging stand behind appends and reads. When appends keep all cores busy, full
/// segments pile up to their limit; then the writer waits for the sealer, which leaves it a core.
const NICER: i32 = 10;

/// Places in [`WorkState::busy`].
const SEALER: usize = 0;
const MERGER: usize = 1;

/// What the threads tell each other.
#[derive(Default)]
pub(crate) struct Work {
    stopping: AtomicBool,
    state: Mutex<WorkState>,
    changed: Condvar,
}

#[derive(Default)]
struct WorkState {
    /// Grows with all that may give a thread something to do, so that none sleeps through it.
    events: u64,
    spare: SpareState,
    /// Why sealing does not get on, while it does not.
    sealing_failed: Option<String>,
    /// Sealer and merger, while they have something to do.
    busy: [bool; 2],
}

#[derive(Default)]
enum SpareState {
    #[default]
    None,
    Wanted(u64),
    Making,
    Ready(io::Result<Spare>),
}

impl Work {
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Wakes all threads for their last time.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        state.events += 1;
        self.stopping.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// Tells the threads that there may be something to do.
    pub(crate) fn notify(&self) {
        self.state.lock().events += 1;
        self.changed.notify_all();
    }

    /// Asks for a spare of `size` bytes, if there is none under way.
    pub(crate) fn want_spare(&self, size: u64) {
        let mut state = self.state.lock();
        if matches!(state.spare, SpareState::None) {
            state.spare = SpareState::Wanted(size);
            self.changed.notify_all();
        }
    }

    /// The spare, if need be made on the spot.
    pub(crate) fn take_spare(&self, storage: &dyn Storage, size: u64) -> io::Result<Spare> {
        let mut state = self.state.lock();
        while matches!(state.spare, SpareState::Making) {
            self.changed.wait(&mut state);
        }
        match std::mem::take(&mut state.spare) {
            SpareState::Ready(Ok(spare)) if spare.size >= size => Ok(spare),
            SpareState::Ready(Err(error)) => Err(error),
            // The lock keeps the other thread from the same file meanwhile.
            _ => Spare::prepare(storage, size),
        }
    }

    /// Waits until sealing has caught up to at most `limit` unsealed segments.
    ///
    /// # Errors
    /// Why it cannot.
    pub(crate) fn wait_for_sealer(&self, shared: &Shared, limit: usize) -> Result<(), AppendError> {
        let mut state = self.state.lock();
        while shared.view().tail.len() > limit {
            if let Some(reason) = &state.sealing_failed {
                return Err(AppendError::DiskFull(format!("full segments cannot be sealed: {reason}")));
            }
            if self.is_stopping() {
                return Ok(());
            }
            self.changed.wait(&mut state);
        }
        Ok(())
    }

    /// Waits until nothing is left to seal or to merge, or the work fails or stops.
    pub(crate) fn wait_until_idle(&self, shared: &Shared) {
        let mut state = self.state.lock();
        let busy = |state: &WorkState| {
            let view = shared.view();
            state.busy != [false, false] || view.tail.len() > 1 || due_for_merge(&view).is_some()
        };
        while busy(&state) && state.sealing_failed.is_none() && !self.is_stopping() {
            self.changed.wait(&mut state);
        }
    }
}

/// What one thread does until the log closes.
type Run = fn(&Shared);

/// Starts the threads.
pub(crate) fn start(shared: &Arc<Shared>) -> io::Result<Vec<JoinHandle<()>>> {
    let work: [(&str, Run); 3] =
        [("eventlog-spare", keep_spare), ("eventlog-seal", seal), ("eventlog-merge", merge)];
    let mut threads = Vec::new();
    for (name, run) in work {
        let shared = shared.clone();
        threads.push(std::thread::Builder::new().name(name.into()).spawn(move || run(&shared))?);
    }
    Ok(threads)
}

fn keep_spare(shared: &Shared) {
    let work = &shared.work;
    let mut state = work.state.lock();
    while !work.is_stopping() {
        if let SpareState::Wanted(size) = state.spare {
            state.spare = SpareState::Making;
            drop(state);
            let made = Spare::prepare(&*shared.storage, size);
            state = work.state.lock();
            state.spare = SpareState::Ready(made);
            work.changed.notify_all();
        } else {
            work.changed.wait(&mut state);
        }
    }
    if let SpareState::Ready(Ok(_)) = std::mem::take(&mut state.spare) {
        // What is left over is removed at the next opening too.
        let _ = shared.storage.remove(SPARE);
    }
}

fn seal(shared: &Shared) {
    give_way(NICER);
    repeat(shared, SEALER, seal_oldest);
}

fn merge(shared: &Shared) {
    give_way(NICER);
    repeat(shared, MERGER, merge_due);
}

/// Does the work of one thread whenever there is some.
fn repeat(shared: &Shared, place: usize, step: fn(&Shared) -> Result<bool, WorkError>) {
    let work = &shared.work;
    let mut state = work.state.lock();
    while !work.is_stopping() {
        state.busy[place] = true;
        let events = state.events;
        drop(state);
        let result = step(shared);
        state = work.state.lock();
        state.busy[place] = false;
        match result {
            Ok(more) => {
                if place == SEALER {
                    state.sealing_failed = None;
                }
                if more {
                    state.events += 1;
                }
                work.changed.notify_all();
                // Others are woken by the same condition: only an event is a reason to look again.
                while state.events == events {
                    work.changed.wait(&mut state);
                }
            }
            Err(WorkError::Stopping) => {}
            Err(error) => {
                tracing::warn!(%error, "background work on the event log failed");
                if let WorkError::Read(crate::log::ReadError::Damaged { .. }) = &error {
                    shared.note_stopped(&AppendError::Stopped(error.to_string()));
                }
                if place == SEALER {
                    state.sealing_failed = Some(error.to_string());
                }
                work.changed.notify_all();
                let again = Instant::now() + RETRY_PAUSE;
                while state.events == events && !work.changed.wait_until(&mut state, again).timed_out() {}
            }
        }
    }
    work.changed.notify_all();
}
