//! The thread of a projection: when to read, when to commit, when to wait.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use daybook_eventlog::{EventLog, Position};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use super::RunnerOptions;
use super::engine::{Engine, StepError, backoff};
use super::handle::{ProjectionHandle, RunnerState, Shared};
use crate::model::{ReadModel, StoreError};

/// How often it is asked how far another process is that writes the read model, and whether that one is still there;
const FOLLOW_PACE: Duration = Duration::from_millis(200);
/// and while somebody waits for a position.
const URGENT_FOLLOW_PACE: Duration = Duration::from_millis(10);

/// As many times as long as a batch took is the time to the next, if that is not too long.
const REST: u32 = 10;

/// What a handle asks of the thread.
pub(super) enum Command {
    Pause {
        by: Pauser,
        /// Whether to take the writing from another process first, so that nobody goes on.
        everywhere: bool,
        done: oneshot::Sender<()>,
    },
    Resume {
        by: Pauser,
        done: oneshot::Sender<()>,
    },
    /// Something to do with everything committed.
    Work(Box<dyn FnOnce(&mut Engine) + Send>),
    Stop,
}

/// On whose behalf a projection stands still. It goes on when neither wants it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pauser {
    Operator,
    /// Work of ours, which ends.
    Work,
}

/// Starts the thread of a projection. `runtime` drives the log's reads and must outlive the runner: a multi-threaded one, or one that
/// somebody blocks on.
pub fn start(
    name: &str,
    generation: u64,
    model: Box<dyn ReadModel>,
    log: Arc<dyn EventLog>,
    runtime: &Handle,
    options: RunnerOptions,
) -> Result<ProjectionHandle, StoreError> {
    let head = log.watch_head();
    let shared = Arc::new(Shared::new(name, generation, model.checkpoint(), head.clone()));
    let engine = Engine::new(model, log, runtime.clone(), options)?;
    shared.set_letters(engine.letters.len());
    let (commands, inbox) = mpsc::unbounded_channel();
    let held = engine.options.held;
    if held {
        shared.set_held(true);
        shared.set_state(RunnerState::Paused);
    }
    let mut runner = Runner {
        engine,
        held,
        lent: false,
        shared: Arc::clone(&shared),
        inbox,
        head,
        head_open: true,
        mode: Mode::Going,
        attempt: 0,
        following: false,
    };
    std::thread::Builder::new()
        .name(format!("projection-{name}"))
        .spawn(move || {
            daybook_eventlog::give_way(GIVE_WAY);
            let shared = Arc::clone(&runner.shared);
            let ended = std::panic::catch_unwind(AssertUnwindSafe(move || runner.run()));
            match ended {
                Ok(()) => shared.set_state(RunnerState::Stopped),
                Err(panic) => {
                    let reason = panic_text(&*panic);
                    tracing::error!(projection = shared.name(), reason, "the projector panicked");
                    shared.set_state(RunnerState::Halted {
                        reason: format!("the projector panicked: {reason}"),
                    });
                }
            }
        })
        .map_err(|e| StoreError::Unavailable(format!("cannot start a thread: {e}")))?;
    Ok(ProjectionHandle::new(shared, commands))
}

/// How much the threads of projections give way to those that answer requests (steps of `nice`). Where there is not enough
/// processor for both, commands and queries come first and read models lag a little: they fold larger batches then,
/// which costs less an event.
const GIVE_WAY: i32 = 5;

/// The least time to the next commit after a batch that took so long. A read model that has much to do commits less often: what many
/// events change is written once then, and takes the processor from commands for a smaller part of the time.
pub(super) fn pace_after(options: &RunnerOptions, took: Duration) -> Duration {
    options.pace.max((took * REST).min(options.longest_pace))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Unless it is held or lent.
    Going,
    Halted,
    Stopping,
}

struct Runner {
    engine: Engine,
    shared: Arc<Shared>,
    inbox: mpsc::UnboundedReceiver<Command>,
    head: watch::Receiver<Position>,
    head_open: bool,
    mode: Mode,
    /// An operator wants it to stand still.
    held: bool,
    /// It stands still for work of ours.
    lent: bool,
    /// Failures in a row.
    attempt: u32,
    /// Another process was the one that wrote when last asked.
    following: bool,
}

/// What ends a wait, beside its time.
#[derive(Clone, Copy, Default)]
struct WakeOn {
    head: bool,
    waiter: bool,
}

impl Runner {
    fn run(&mut self) {
        let mut last_commit: Option<Instant> = None;
        // Since when the batch under way is worked on, and how long the last one took.
        let mut began: Option<Instant> = None;
        let mut took = Duration::ZERO;
        loop {
            while let Ok(command) = self.inbox.try_recv() {
                self.execute(command);
            }
            match self.mode {
                Mode::Stopping => break,
                Mode::Halted => {
                    self.wait(None, WakeOn::default());
                    continue;
                }
                Mode::Going if self.is_paused() => {
                    let due = self.engine.model.claim_due();
                    self.wait(due, WakeOn::default());
                    self.keep_claim();
                    continue;
                }
                Mode::Going => {}
            }
            // At rest nothing else would notice, however long.
            if let Err(error) = self.engine.check_not_ahead() {
                self.failed(error);
                continue;
            }
            match self.engine.claim() {
                // A busy log may never be found at rest, where the state is said otherwise.
                Ok(true) if std::mem::take(&mut self.following) => {
                    self.shared.set_state(RunnerState::CatchingUp);
                }
                Ok(true) => {}
                Ok(false) => {
                    self.follow();
                    continue;
                }
                Err(error) => {
                    self.failed(error);
                    continue;
                }
            }
            if *self.head.borrow_and_update() <= self.engine.applied() {
                self.caught_up();
                let due = self.engine.model.claim_due();
                self.wait(due, WakeOn { head: true, waiter: false });
                continue;
            }
            if let Some(last) = last_commit {
                let urgent = self.shared.has_waiters();
                let pace = if urgent {
                    self.engine.options.urgent_pace
                } else {
                    pace_after(&self.engine.options, took)
                };
                if last.elapsed() < pace {
                    self.wait(Some(last + pace), WakeOn { head: false, waiter: !urgent });
                    continue;
                }
            }
            let since = *began.get_or_insert_with(Instant::now);
            last_commit = self.step();
            if let Some(now) = last_commit {
                took = now - since;
                began = None;
            }
        }
        self.engine.settle();
        self.publish();
    }

    const fn is_paused(&self) -> bool {
        self.held || self.lent
    }

    /// One page. When that reached the head, or what somebody waits for, commits; gives the time when it reached the head.
    fn step(&mut self) -> Option<Instant> {
        self.engine.unhurried = !self.shared.has_waiters();
        let stepped = self.engine.step(Position::MAX).and_then(|at_head| {
            if at_head || self.shared.is_awaited(self.engine.applied()) {
                self.engine.commit()?;
            }
            Ok(at_head)
        });
        self.publish();
        match stepped {
            Ok(true) => {
                // A busy log may never be found at rest: what works again must not go on saying that it fails.
                if self.attempt > 0 {
                    self.shared.set_state(RunnerState::CatchingUp);
                }
                self.attempt = 0;
                Some(Instant::now())
            }
            Ok(false) => {
                self.attempt = 0;
                self.shared.set_state(RunnerState::CatchingUp);
                None
            }
            Err(error) => {
                self.failed(error);
                None
            }
        }
    }

    fn caught_up(&mut self) {
        if let Err(error) = self.engine.commit() {
            self.failed(error);
            return;
        }
        self.publish();
        self.shared.set_state(RunnerState::Running);
    }

    /// Another process writes: says how far it is, and looks again soon.
    fn follow(&mut self) {
        self.attempt = 0;
        self.following = true;
        self.publish();
        self.shared.set_state(RunnerState::Following);
        let urgent = self.shared.has_waiters();
        let pace = if urgent { URGENT_FOLLOW_PACE } else { FOLLOW_PACE };
        self.wait(Some(Instant::now() + pace), WakeOn { head: false, waiter: !urgent });
    }

    /// While paused: nobody else shall go on with what is paused here.
    fn keep_claim(&mut self) {
        if self.mode == Mode::Going
            && self.is_paused()
            && let Err(error) = self.engine.claim()
        {
            tracing::warn!(
                projection = self.shared.name(),
                ?error,
                "cannot renew the claim of a paused read model"
            );
        }
        self.publish();
    }

    fn failed(&mut self, error: StepError) {
        self.engine.rollback();
        match error {
            StepError::Halt(reason) => {
                tracing::error!(projection = self.shared.name(), reason, "the projector has halted");
                self.mode = Mode::Halted;
                self.shared.set_state(RunnerState::Halted { reason });
            }
            StepError::Retry(reason) => {
                let pause = backoff(&self.engine.options, self.attempt);
                self.attempt += 1;
                tracing::warn!(
                    projection = self.shared.name(),
                    attempt = self.attempt,
                    reason,
                    "will try again"
                );
                self.shared.add_retry();
                self.shared.set_state(RunnerState::Retrying { reason, attempt: self.attempt });
                let until = Instant::now() + pause;
                while self.mode == Mode::Going && !self.is_paused() && Instant::now() < until {
                    self.wait(Some(until), WakeOn::default());
                }
            }
        }
    }

    fn publish(&self) {
        self.shared.publish(self.engine.model.checkpoint(), self.engine.letters.len(), self.engine.events);
    }

    fn execute(&mut self, command: Command) {
        self.engine.settle();
        self.publish();
        match command {
            Command::Pause { by, everywhere, done } => {
                if everywhere && let Err(error) = self.engine.seize() {
                    tracing::warn!(projection = self.shared.name(), ?error, "paused in this process only");
                }
                self.publish();
                self.set_paused(by, true);
                if self.mode == Mode::Going {
                    self.shared.set_state(RunnerState::Paused);
                }
                let _ = done.send(());
            }
            Command::Resume { by, done } => {
                let stood = self.is_paused() || self.mode == Mode::Halted;
                self.set_paused(by, false);
                if stood && matches!(self.mode, Mode::Going | Mode::Halted) {
                    self.mode = Mode::Going;
                    self.attempt = 0;
                    let paused = self.is_paused();
                    self.shared.set_state(if paused { RunnerState::Paused } else { RunnerState::CatchingUp });
                    self.engine.check_again();
                }
                let _ = done.send(());
            }
            Command::Work(work) => {
                work(&mut self.engine);
                // Whatever the work left uncommitted was not meant to stay.
                self.engine.rollback();
                self.publish();
            }
            Command::Stop => self.mode = Mode::Stopping,
        }
    }

    fn set_paused(&mut self, by: Pauser, paused: bool) {
        match by {
            Pauser::Operator => {
                self.held = paused;
                self.shared.set_held(paused);
            }
            Pauser::Work => self.lent = paused,
        }
    }

    /// Waits for a command (and carries it out), for the time, or for what `wake` names.
    fn wait(&mut self, until: Option<Instant>, wake: WakeOn) {
        let Self { engine, shared, inbox, head, head_open, .. } = self;
        let on_head = wake.head && *head_open;
        let command = engine.runtime.block_on(async {
            tokio::select! {
                biased;
                command = inbox.recv() => Some(command.unwrap_or(Command::Stop)),
                () = shared.waiter_came(), if wake.waiter => None,
                changed = head.changed(), if on_head => {
                    // A log that is closed appends nothing more; what is in it stays readable.
                    *head_open = changed.is_ok();
                    None
                }
                () = sleep_until(until), if until.is_some() => None,
            }
        });
        if let Some(command) = command {
            self.execute(command);
        }
    }
}

async fn sleep_until(until: Option<Instant>) {
    if let Some(until) = until {
        tokio::time::sleep_until(until.into()).await;
    }
}
