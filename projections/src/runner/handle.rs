//! What the rest of the process holds of a running projection.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use daybook_eventlog::Position;
use serde::Serialize;
use tokio::sync::{Mutex, MutexGuard, Notify, mpsc, oneshot, watch};

use super::RunnerError;
use super::engine::{Engine, StepError};
use super::letters::{DiscardError, LettersRetried};
use super::thread::{Command, Pauser};
use crate::model::{DeadLetter, ReadModel};

/// What a runner is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunnerState {
    /// Behind the head, reading page after page.
    CatchingUp,
    /// At the head but for the batch of the moment.
    Running,
    /// Another process writes the read model; this one shows it, and takes over when that one is gone.
    Following,
    Paused,
    /// The store or the log failed; the next try comes by itself.
    Retrying {
        reason: String,
        attempt: u32,
    },
    /// Needs an operator: resume tries again.
    Halted {
        reason: String,
    },
    Stopped,
}

/// A projection as `projections list` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProjectionStatus {
    pub name: String,
    pub generation: u64,
    #[serde(with = "crate::position_text")]
    pub checkpoint: Position,
    #[serde(with = "crate::position_text")]
    pub head: Position,
    /// Positions between checkpoint and head.
    pub lag: u64,
    /// `catching_up`, `running`, `degraded` (running, with parked events), `following` (another process writes it), `paused`, `retrying`, `halted`, `stopped`.
    pub state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub dead_letters: usize,
    /// Failures since the start that were tried again.
    pub retries: u64,
    /// Events read since the start.
    pub events: u64,
    /// The generation that a rebuild makes beside this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub building: Option<Building>,
}

/// How far a rebuild has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Building {
    pub generation: u64,
    #[serde(with = "crate::position_text")]
    pub checkpoint: Position,
}

/// What thread and handles share.
pub(super) struct Shared {
    name: String,
    generation: u64,
    head: watch::Receiver<Position>,
    checkpoint: watch::Sender<Position>,
    state: watch::Sender<RunnerState>,
    held: AtomicBool,
    letters: AtomicUsize,
    retries: AtomicU64,
    events: AtomicU64,
    /// The positions that somebody waits for, with how many do.
    awaited: parking_lot::Mutex<BTreeMap<Position, usize>>,
    /// The first of them; [`Position::MAX`]: nobody waits.
    first_awaited: AtomicU64,
    waiter: Notify,
    turn: Mutex<()>,
}

impl Shared {
    pub(super) fn new(
        name: &str,
        generation: u64,
        checkpoint: Position,
        head: watch::Receiver<Position>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            generation,
            head,
            checkpoint: watch::Sender::new(checkpoint),
            state: watch::Sender::new(RunnerState::CatchingUp),
            held: AtomicBool::new(false),
            letters: AtomicUsize::new(0),
            retries: AtomicU64::new(0),
            events: AtomicU64::new(0),
            awaited: parking_lot::Mutex::default(),
            first_awaited: AtomicU64::new(Position::MAX),
            waiter: Notify::new(),
            turn: Mutex::new(()),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn set_state(&self, state: RunnerState) {
        self.state.send_if_modified(|now| {
            let changed = *now != state;
            if changed {
                *now = state;
            }
            changed
        });
    }

    pub(super) fn set_held(&self, held: bool) {
        self.held.store(held, Ordering::Release);
    }

    pub(super) fn set_letters(&self, letters: usize) {
        self.letters.store(letters, Ordering::Relaxed);
    }

    pub(super) fn add_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn publish(&self, checkpoint: Position, letters: usize, events: u64) {
        self.set_letters(letters);
        self.events.store(events, Ordering::Relaxed);
        self.checkpoint.send_if_modified(|now| std::mem::replace(now, checkpoint) != checkpoint);
    }

    pub(super) fn has_waiters(&self) -> bool {
        self.is_awaited(Position::MAX - 1)
    }

    /// Whether somebody waits for a position up to this one. Who waits for a later one is served soonest by large batches.
    pub(super) fn is_awaited(&self, position: Position) -> bool {
        self.first_awaited.load(Ordering::Acquire) <= position
    }

    fn change_awaited(&self, change: impl FnOnce(&mut BTreeMap<Position, usize>)) {
        let mut awaited = self.awaited.lock();
        change(&mut awaited);
        let first = awaited.keys().next().copied().unwrap_or(Position::MAX);
        self.first_awaited.store(first, Ordering::Release);
    }

    pub(super) async fn waiter_came(&self) {
        self.waiter.notified().await;
    }
}

/// Says that somebody waits for a position, until dropped.
struct Waiting<'a> {
    shared: &'a Shared,
    position: Position,
}

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared, position: Position) -> Self {
        shared.change_awaited(|awaited| *awaited.entry(position).or_default() += 1);
        shared.waiter.notify_one();
        Self { shared, position }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.change_awaited(|awaited| {
            if let Entry::Occupied(mut waiters) = awaited.entry(self.position) {
                *waiters.get_mut() -= 1;
                if *waiters.get() == 0 {
                    waiters.remove();
                }
            }
        });
    }
}

/// A running projection. The thread stops when the last handle is dropped.
#[derive(Clone)]
pub struct ProjectionHandle {
    shared: Arc<Shared>,
    commands: mpsc::UnboundedSender<Command>,
}

impl ProjectionHandle {
    pub(super) const fn new(shared: Arc<Shared>, commands: mpsc::UnboundedSender<Command>) -> Self {
        Self { shared, commands }
    }

    /// The projection.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Which generation of it this is.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.generation
    }

    /// The position that queries see at least.
    #[must_use]
    pub fn checkpoint(&self) -> Position {
        *self.shared.checkpoint.borrow()
    }

    /// Follows the checkpoint.
    #[must_use]
    pub fn watch_checkpoint(&self) -> watch::Receiver<Position> {
        self.shared.checkpoint.subscribe()
    }

    /// What the runner is doing.
    #[must_use]
    pub fn state(&self) -> RunnerState {
        self.shared.state.borrow().clone()
    }

    /// Follows the state.
    #[must_use]
    pub fn watch_state(&self) -> watch::Receiver<RunnerState> {
        self.shared.state.subscribe()
    }

    /// Positions between checkpoint and head.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.shared.head.borrow().saturating_sub(self.checkpoint())
    }

    /// Everything an operator asks first.
    #[must_use]
    pub fn status(&self) -> ProjectionStatus {
        // The checkpoint first: the head may only be ahead of it.
        let checkpoint = self.checkpoint();
        let head = (*self.shared.head.borrow()).max(checkpoint);
        let dead_letters = self.shared.letters.load(Ordering::Relaxed);
        let (state, reason) = match self.state() {
            RunnerState::CatchingUp => ("catching_up", None),
            RunnerState::Running if dead_letters > 0 => ("degraded", None),
            RunnerState::Running => ("running", None),
            RunnerState::Following => ("following", None),
            RunnerState::Paused => ("paused", None),
            RunnerState::Retrying { reason, .. } => ("retrying", Some(reason)),
            RunnerState::Halted { reason } => ("halted", Some(reason)),
            RunnerState::Stopped => ("stopped", None),
        };
        ProjectionStatus {
            name: self.shared.name.clone(),
            generation: self.shared.generation,
            checkpoint,
            head,
            lag: head - checkpoint,
            state,
            reason,
            dead_letters,
            retries: self.shared.retries.load(Ordering::Relaxed),
            events: self.shared.events.load(Ordering::Relaxed),
            building: None,
        }
    }

    /// Waits until queries see `position`, at most `timeout`; the runner commits without delay meanwhile. Gives the checkpoint
    /// reached. [`RunnerError::Behind`] when time is up, at once if the runner has halted or stopped.
    pub async fn wait_for(&self, position: Position, timeout: Duration) -> Result<Position, RunnerError> {
        let mut checkpoint = self.shared.checkpoint.subscribe();
        let reached = *checkpoint.borrow_and_update();
        if reached >= position {
            return Ok(reached);
        }
        let mut state = self.shared.state.subscribe();
        let mut head = self.shared.head.clone();
        let reach = async {
            // What is not in the log yet can't be hurried. When the log is closed, the state tells.
            let _ = head.wait_for(|head| *head >= position).await;
            let _waiting = Waiting::new(&self.shared, position);
            checkpoint.wait_for(|reached| *reached >= position).await.map(|reached| *reached)
        };
        let name = || self.shared.name.clone();
        let wait = async {
            tokio::select! {
                reached = reach => reached.map_err(|_| RunnerError::Stopped(name())),
                ended = state.wait_for(|s| matches!(s, RunnerState::Halted { .. } | RunnerState::Stopped)) => {
                    Err(match ended.as_deref() {
                        Ok(RunnerState::Halted { reason }) => RunnerError::Halted { name: name(), reason: reason.clone() },
                        _ => RunnerError::Stopped(name()),
                    })
                }
            }
        };
        match tokio::time::timeout(timeout, wait).await {
            Ok(result) => result,
            Err(_) => {
                Err(RunnerError::Behind { name: name(), checkpoint: self.checkpoint(), wanted: position })
            }
        }
    }

    fn stopped(&self) -> RunnerError {
        RunnerError::Stopped(self.shared.name.clone())
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, RunnerError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).map_err(|_| self.stopped())?;
        answer.await.map_err(|_| self.stopped())
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Engine) -> T + Send + 'static,
    ) -> Result<T, RunnerError> {
        self.ask(|reply| {
            Command::Work(Box::new(move |engine| {
                let _ = reply.send(work(engine));
            }))
        })
        .await
    }

    /// Whether an operator wants it to stand still. It may do so for work of ours as well, which ends.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.shared.held.load(Ordering::Acquire)
    }

    /// Waits until nobody else does work that the projection is paused for. Whoever pauses it for work of its own, and has it go on
    /// afterwards, holds this meanwhile; an operator's pause needs none.
    pub async fn take_turn(&self) -> MutexGuard<'_, ()> {
        self.shared.turn.lock().await
    }

    /// Stops reading for an operator, until [`ProjectionHandle::resume`]; returns when nothing is uncommitted. No other process goes on
    /// with it either, as long as the store can be reached. Lasts as long as the runner: [`Projections::pause`] puts it on record.
    ///
    /// [`Projections::pause`]: crate::generations::Projections::pause
    pub(crate) async fn pause(&self) -> Result<(), RunnerError> {
        self.ask(|done| Command::Pause { by: Pauser::Operator, everywhere: true, done }).await
    }

    /// The same, in this process alone; another one that is told by itself.
    pub(crate) async fn pause_here(&self) -> Result<(), RunnerError> {
        self.ask(|done| Command::Pause { by: Pauser::Operator, everywhere: false, done }).await
    }

    /// Goes on after an operator's pause, or tries again after a halt.
    pub(crate) async fn resume(&self) -> Result<(), RunnerError> {
        self.ask(|done| Command::Resume { by: Pauser::Operator, done }).await
    }

    /// Stops reading for work of ours, by whoever has taken its turn, until [`ProjectionHandle::take_back`].
    pub async fn lend(&self) -> Result<(), RunnerError> {
        self.ask(|done| Command::Pause { by: Pauser::Work, everywhere: true, done }).await
    }

    /// The same, in this process; another one may go on.
    pub(crate) async fn lend_here(&self) -> Result<(), RunnerError> {
        self.ask(|done| Command::Pause { by: Pauser::Work, everywhere: false, done }).await
    }

    /// Goes on after [`ProjectionHandle::lend`], unless an operator has paused it.
    pub async fn take_back(&self) -> Result<(), RunnerError> {
        self.ask(|done| Command::Resume { by: Pauser::Work, done }).await
    }

    /// Does something with the read model between two commits, on the runner's thread: a snapshot, a repair. What it leaves
    /// uncommitted is dropped.
    pub async fn with_model<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn ReadModel) -> T + Send + 'static,
    ) -> Result<T, RunnerError> {
        self.work(|engine| work(&mut *engine.model)).await
    }

    /// The parked events in order of position, whichever process writes the read model.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>, RunnerError> {
        self.work(|engine| engine.model.dead_letters()).await?.map_err(|error| self.step_error(error.into()))
    }

    /// Applies parked events again, those of one stream or all, in order. Takes the writing from another process, if one has it.
    pub async fn retry_dead_letters(&self, stream: Option<String>) -> Result<LettersRetried, RunnerError> {
        self.work(move |engine| engine.retry_letters(stream.as_deref()))
            .await?
            .map_err(|error| self.step_error(error))
    }

    /// Gives up the first parked event of a stream for good, taking the writing from another process if one has it. The caller leaves an `operations.dead_letter_discarded` event.
    pub async fn discard_dead_letter(&self, position: Position) -> Result<DeadLetter, RunnerError> {
        self.work(move |engine| engine.discard_letter(position)).await?.map_err(|error| match error {
            DiscardError::Refused(reason) => RunnerError::Letter(reason),
            DiscardError::Failed(error) => self.step_error(error),
        })
    }

    fn step_error(&self, error: StepError) -> RunnerError {
        let name = self.shared.name.clone();
        match error {
            StepError::Retry(reason) => RunnerError::Unavailable { name, reason },
            StepError::Halt(reason) => RunnerError::Halted { name, reason },
        }
    }

    /// Commits what is pending and ends the thread; returns when its store is closed.
    pub async fn stop(&self) {
        let mut state = self.shared.state.subscribe();
        if self.commands.send(Command::Stop).is_ok() {
            let _ = state.wait_for(|state| *state == RunnerState::Stopped).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_awaited_positions_is_known_whoever_gives_up() {
        let (_head, head) = watch::channel(0);
        let shared = Shared::new("inventory", 1, 0, head);
        assert!(!shared.has_waiters());
        let late = Waiting::new(&shared, 90);
        let (one, other) = (Waiting::new(&shared, 10), Waiting::new(&shared, 10));
        assert!(shared.is_awaited(10) && !shared.is_awaited(9));
        drop(one);
        assert!(shared.is_awaited(10));
        drop(other);
        assert!(shared.is_awaited(90) && !shared.is_awaited(89) && shared.has_waiters());
        drop(late);
        assert!(!shared.has_waiters());
    }
}
