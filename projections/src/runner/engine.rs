//! One step of a projection: read, check, decode, apply, commit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use daybook_eventlog::{EventLog, Filter, Page, Position, ReadError, RecordedEvent};
use daybook_schemas::AnyEvent;
use hashbrown::HashMap;
use tokio::runtime::Handle;

use super::{RunnerError, RunnerOptions};
use crate::model::{Claim, DeadLetter, LetterChange, ProjectError, Projected, ReadModel, StoreError};

/// Events folded between two looks at the time.
const BREATHE_EVERY: u64 = 16;

/// What comes between two commits under heavy load is at most so many pages; whoever has more to read is behind.
const PAGES_A_BATCH: u32 = 16;

/// Why a step was not made. In both cases the read model stands at its checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StepError {
    /// It may work later.
    Retry(String),
    /// It will not: an operator has to look.
    Halt(String),
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        if error.is_retryable() { Self::Retry(error.to_string()) } else { Self::Halt(error.to_string()) }
    }
}

impl From<ReadError> for StepError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable(_) => Self::Retry(error.to_string()),
            ReadError::Damaged { .. } => Self::Halt(error.to_string()),
        }
    }
}

/// A read model, the log it follows, and how far it has come.
pub(super) struct Engine {
    pub(super) model: Box<dyn ReadModel>,
    pub(super) log: Arc<dyn EventLog>,
    pub(super) runtime: Handle,
    pub(super) options: RunnerOptions,
    dense: bool,
    /// Everything up to here is in the read model, committed or pending.
    applied: Position,
    pending_events: usize,
    last_commit: Instant,
    /// Events that the projector rejected before their batch was rolled back: parked when they come by again.
    poison: HashMap<Position, String>,
    commit_due: bool,
    /// The checkpoint when the letters were last known.
    committed: Position,
    /// Whether it is yet to be seen that the read model is of this log: at the start, after an operator's resume, and when the
    /// store was found at another checkpoint than it was left at.
    check_due: bool,
    pub(super) pending_letters: Vec<LetterChange>,
    pub(super) letters: BTreeMap<Position, DeadLetter>,
    /// Streams with parked events, pending ones included.
    parked: HashMap<String, Position>,
    pub(super) events: u64,
    /// Requests are answered meanwhile, and none of them waits for this read model.
    pub(super) unhurried: bool,
    /// Pages read since the head was last reached.
    full_pages: u32,
    /// Whether checkpoint and letters are to be read anew before anything else.
    reload_due: bool,
}

impl Engine {
    pub(super) fn new(
        model: Box<dyn ReadModel>,
        log: Arc<dyn EventLog>,
        runtime: Handle,
        options: RunnerOptions,
    ) -> Result<Self, StoreError> {
        let letters = model.dead_letters()?.into_iter().map(|letter| (letter.position, letter)).collect();
        let mut engine = Self {
            applied: model.checkpoint(),
            dense: log.capabilities().dense_positions,
            model,
            log,
            runtime,
            options,
            pending_events: 0,
            last_commit: Instant::now(),
            poison: HashMap::new(),
            commit_due: false,
            committed: 0,
            check_due: true,
            pending_letters: Vec::new(),
            letters,
            parked: HashMap::new(),
            events: 0,
            unhurried: false,
            full_pages: 0,
            reload_due: false,
        };
        engine.committed = engine.applied;
        engine.rebuild_parked();
        Ok(engine)
    }

    pub(super) const fn applied(&self) -> Position {
        self.applied
    }

    pub(super) fn has_pending(&self) -> bool {
        self.applied != self.model.checkpoint() || !self.pending_letters.is_empty()
    }

    /// Whether this process is the one that writes. Must say so before anything is read or applied: afterwards all that is known
    /// of the store holds.
    pub(super) fn claim(&mut self) -> Result<bool, StepError> {
        let claim = self.model.claim();
        self.claimed(claim)
    }

    /// Takes the writing from another process.
    pub(super) fn seize(&mut self) -> Result<bool, StepError> {
        let claim = self.model.seize();
        self.claimed(claim)
    }

    fn claimed(&mut self, claim: Result<Claim, StoreError>) -> Result<bool, StepError> {
        let claim = claim?;
        let moved = self.applied != self.model.checkpoint() || !self.pending_letters.is_empty();
        // Parked events can be retried or given up there without the checkpoint moving.
        let changed = moved || !self.letters.is_empty();
        self.reload_due |= claim == Claim::Taken || (claim == Claim::Elsewhere && changed);
        if self.reload_due {
            self.rollback();
            let letters = self.model.dead_letters()?;
            self.letters = letters.into_iter().map(|letter| (letter.position, letter)).collect();
            self.rebuild_parked();
            self.reload_due = false;
        }
        Ok(claim != Claim::Elsewhere)
    }

    /// A read model that has seen more than the log holds belongs to another log, or the log was restored from a
    /// backup older than the read model.
    pub(super) fn check_not_ahead(&mut self) -> Result<(), StepError> {
        if !self.check_due {
            return Ok(());
        }
        let head = self.runtime.block_on(self.log.head())?.position;
        if self.model.checkpoint() > head {
            return Err(StepError::Halt(format!(
                "the read model is at position {}, beyond the log's end at {head}: it belongs to another log or to a \
                 later state of this one; run `daybook projections rebuild`",
                self.model.checkpoint()
            )));
        }
        self.check_due = false;
        Ok(())
    }

    /// Has [`Engine::check_not_ahead`] look again.
    pub(super) const fn check_again(&mut self) {
        self.check_due = true;
    }

    /// Reads and applies one page, not beyond `until`; commits when much is pending. Whether the head was reached.
    pub(super) fn step(&mut self, until: Position) -> Result<bool, StepError> {
        self.check_not_ahead()?;
        let room = usize::try_from(until.saturating_sub(self.applied)).unwrap_or(usize::MAX);
        let limit = self.options.page_events.min(room).max(1);
        let read = self.log.read_tail(self.applied, &ALL, limit, self.options.page_bytes);
        let page = self.runtime.block_on(read)?;
        // What is far behind hurries; what keeps up has time between its commits.
        self.full_pages = if page.at_head { 0 } else { self.full_pages.saturating_add(1) };
        daybook_eventlog::in_portions(self.unhurried && self.full_pages < PAGES_A_BATCH);
        let at_head = page.at_head || page.scanned_to >= until;
        match self.take(page, until) {
            Ok(()) => Ok(at_head),
            Err(TakeError::Restart) => Ok(false),
            Err(TakeError::Failed(error)) => Err(error),
        }
    }

    fn take(&mut self, page: Page, until: Position) -> Result<(), TakeError> {
        let scanned_to = page.scanned_to.min(until);
        for event in page.events {
            let position = event.position;
            if position > until {
                break;
            }
            self.check_order(position)?;
            if self.model.handles(event.event_type()) {
                self.take_event(event)?;
            }
            self.applied = position;
            self.pending_events += 1;
            self.events += 1;
            if self.events.is_multiple_of(BREATHE_EVERY) {
                daybook_eventlog::breathe();
            }
            if self.is_commit_due() {
                self.commit()?;
            }
        }
        if self.dense && scanned_to > self.applied {
            return Err(self.fail(StepError::Halt(format!(
                "the log was read to position {scanned_to} but gave no event after {}: an event is missing",
                self.applied
            ))));
        }
        self.applied = self.applied.max(scanned_to);
        Ok(())
    }

    fn check_order(&mut self, position: Position) -> Result<(), TakeError> {
        let fits = if self.dense { position == self.applied + 1 } else { position > self.applied };
        if fits {
            return Ok(());
        }
        let applied = self.applied;
        Err(self.fail(StepError::Halt(format!("position {position} follows {applied}: an event is missing"))))
    }

    fn is_commit_due(&self) -> bool {
        self.commit_due
            || self.pending_events >= self.options.max_pending_events
            || self.model.pending_bytes() >= self.options.max_pending_bytes
            // Asking the clock for each event would cost more than many an event.
            || (self.pending_events.is_multiple_of(256)
                && self.last_commit.elapsed() >= self.options.max_pending_time)
    }

    fn take_event(&mut self, event: RecordedEvent) -> Result<(), TakeError> {
        if !self.parked.is_empty()
            && let Some(first) = self.parked.get(event.stream())
        {
            let reason = format!("waits behind the event at position {first}");
            return self.park(&event, reason, true);
        }
        if !self.poison.is_empty()
            && let Some(reason) = self.poison.get(&event.position).cloned()
        {
            // Committed at once, so that the next rejection does not bring all this back.
            self.commit_due = true;
            return self.park(&event, reason, false);
        }
        let position = event.position;
        match apply(&mut *self.model, event) {
            Ok(()) => Ok(()),
            Err(ProjectError::Rejected(reason)) if self.model.keeps_dead_letters() => {
                // The projector may have changed some rows already: back to the checkpoint, and past it next time.
                self.poison.insert(position, reason);
                self.rollback();
                Err(TakeError::Restart)
            }
            Err(error) => {
                let error = match error {
                    ProjectError::Store(error) => error.into(),
                    error => StepError::Halt(format!("at position {position}: {error}")),
                };
                Err(self.fail(error))
            }
        }
    }

    fn park(&mut self, event: &RecordedEvent, reason: String, blocked: bool) -> Result<(), TakeError> {
        if self.letters.len() + self.pending_letters.len() >= self.options.max_dead_letters {
            let error = format!(
                "more than {} events are parked; the last: {reason} (position {})",
                self.options.max_dead_letters, event.position
            );
            return Err(self.fail(StepError::Halt(error)));
        }
        self.parked.entry_ref(event.stream()).or_insert(event.position);
        self.pending_letters.push(LetterChange::Park(DeadLetter {
            position: event.position,
            stream: event.stream().to_owned(),
            revision: event.revision,
            event_type: event.event_type().to_owned(),
            reason,
            blocked,
        }));
        Ok(())
    }

    fn fail(&mut self, error: StepError) -> TakeError {
        self.rollback();
        TakeError::Failed(error)
    }

    /// Commits what is pending, with the checkpoint.
    pub(super) fn commit(&mut self) -> Result<(), StepError> {
        self.last_commit = Instant::now();
        if !self.has_pending() {
            return Ok(());
        }
        if let Err(error) = self.model.commit_with_letters(self.applied, &self.pending_letters) {
            self.rollback();
            return Err(error.into());
        }
        self.committed = self.model.checkpoint();
        for change in self.pending_letters.drain(..) {
            match change {
                LetterChange::Park(letter) => {
                    self.poison.remove(&letter.position);
                    self.letters.insert(letter.position, letter);
                }
                LetterChange::Drop(position) => {
                    self.letters.remove(&position);
                }
            }
        }
        self.pending_events = 0;
        self.commit_due = false;
        Ok(())
    }

    /// Back to the checkpoint.
    pub(super) fn rollback(&mut self) {
        self.model.rollback();
        self.applied = self.model.checkpoint();
        self.pending_letters.clear();
        self.pending_events = 0;
        self.commit_due = false;
        if self.applied != self.committed {
            self.follow_store();
        }
        self.rebuild_parked();
    }

    /// A store on a server may be elsewhere than it was left: a commit that seemed to fail stands, another process wrote on,
    /// or the store was lost and begins again. Its letters are then the ones that count.
    fn follow_store(&mut self) {
        self.committed = self.applied;
        self.check_due = true;
        match self.model.dead_letters() {
            Ok(letters) => {
                self.letters = letters.into_iter().map(|letter| (letter.position, letter)).collect();
            }
            Err(error) => {
                tracing::error!(%error, "the dead letters of a read model cannot be read");
                // Nothing may be applied until it is known what is parked.
                self.reload_due = true;
            }
        }
    }

    pub(super) fn rebuild_parked(&mut self) {
        self.parked.clear();
        for letter in self.letters.values() {
            self.parked.entry_ref(letter.stream.as_str()).or_insert(letter.position);
        }
    }

    /// Leaves nothing uncommitted: commits, or falls back to the checkpoint.
    pub(super) fn settle(&mut self) {
        if self.commit().is_err() {
            self.rollback();
        }
    }
}

static ALL: Filter = Filter { types: Vec::new(), stream_prefixes: Vec::new() };

enum TakeError {
    /// The batch was rolled back; reading on from the checkpoint goes past what caused it.
    Restart,
    Failed(StepError),
}

impl From<StepError> for TakeError {
    fn from(error: StepError) -> Self {
        Self::Failed(error)
    }
}

/// Decodes the event if the read model wants that, and applies it.
pub(super) fn apply(model: &mut dyn ReadModel, event: RecordedEvent) -> Result<(), ProjectError> {
    if !model.needs_decoding() {
        return model.apply_recorded(&event);
    }
    let decoded = AnyEvent::decode(event.event_type(), event.version, event.data())?;
    model.apply(&Projected { recorded: event, event: decoded })
}

/// Brings a read model to exactly position `until`, on the calling thread: for shadows and rebuilds at rest. `progress` is
/// told each position committed. Must not be called on a thread that drives async tasks.
///
/// Failures that may pass are retried with backoff for about a minute.
pub fn catch_up(
    name: &str,
    model: Box<dyn ReadModel>,
    log: Arc<dyn EventLog>,
    runtime: &Handle,
    options: RunnerOptions,
    until: Position,
    progress: &mut dyn FnMut(Position),
) -> Result<Box<dyn ReadModel>, RunnerError> {
    const MAX_ATTEMPTS: u32 = 12;
    let halted = |reason: String| RunnerError::Halted { name: name.to_owned(), reason };
    let unavailable = |reason: String| RunnerError::Unavailable { name: name.to_owned(), reason };
    let mut engine = Engine::new(model, log, runtime.clone(), options).map_err(|e| halted(e.to_string()))?;
    let mut attempt = 0;
    while engine.model.checkpoint() < until {
        let before = engine.model.checkpoint();
        let claimed = engine.claim().and_then(|ours| match ours {
            true => Ok(()),
            false => Err(StepError::Retry("another process writes the read model".to_owned())),
        });
        let step = claimed.and_then(|()| engine.step(until)).and_then(|at_head| {
            if at_head && engine.applied() < until && engine.log_ends_before(until)? {
                return Err(StepError::Halt(format!("the log ends before position {until}")));
            }
            if engine.applied() >= until { engine.commit() } else { Ok(()) }
        });
        match step {
            Ok(()) => attempt = 0,
            Err(StepError::Halt(reason)) => return Err(halted(reason)),
            Err(StepError::Retry(reason)) if attempt == MAX_ATTEMPTS => return Err(unavailable(reason)),
            Err(StepError::Retry(_)) => {
                std::thread::sleep(backoff(&engine.options, attempt));
                attempt += 1;
            }
        }
        if engine.model.checkpoint() > before {
            progress(engine.model.checkpoint());
        }
    }
    Ok(engine.model)
}

impl Engine {
    fn log_ends_before(&self, until: Position) -> Result<bool, StepError> {
        Ok(self.runtime.block_on(self.log.head())?.position < until)
    }
}

/// How long to pause after the failure number `attempt` (from 0).
pub(super) fn backoff(options: &RunnerOptions, attempt: u32) -> std::time::Duration {
    options.backoff.saturating_mul(1 << attempt.min(20)).min(options.max_backoff)
}
