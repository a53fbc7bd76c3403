//! What the runner drives, and what reconciliation reads.

use std::time::Instant;

use daybook_eventlog::{Position, RecordedEvent};
use daybook_schemas::{AnyEvent, DecodeError};
use serde::{Deserialize, Serialize};

/// An event as projectors see it: as recorded, and decoded to the current version.
#[derive(Debug, Clone)]
pub struct Projected {
    pub recorded: RecordedEvent,
    pub event: AnyEvent,
}

/// Why a projector could not take an event. The runner retries what can be retried, and parks the event (and what
/// follows it in the same stream) in the dead-letter queue when it can't; it never skips.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// A view's stream jumped: the log or the view lost an event. The projector halts.
    #[error("stream {stream} went from revision {from} to {to} in read model {model}: an event is missing")]
    Gap { model: &'static str, stream: String, from: u64, to: u64 },
    /// The payload cannot be read. The projector halts.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The event does not make sense to this projector: to the dead-letter queue.
    #[error("{0}")]
    Rejected(String),
    /// The store failed: retried with backoff.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A failing store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// May pass: retried with backoff.
    #[error("the read model's store is unavailable: {0}")]
    Unavailable(String),
    /// What is stored is not what this build writes, or not readable: rebuild the projection.
    #[error("the read model's store is damaged: {0}; run `daybook projections rebuild`")]
    Damaged(String),
    /// Settings that no waiting and no rebuild makes fit, or a place that is somebody else's; says what to change.
    #[error("the read model cannot be kept where the settings say: {0}")]
    Unfit(String),
    /// Sound, but written by another version of the projector: rebuild the projection.
    #[error("the read model's store is of another version: {0}; run `daybook projections rebuild`")]
    Outdated(String),
}

impl StoreError {
    /// Whether the same work may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// An event that a projector could not take, or one that stands behind such an event in its stream. The event itself
/// stays in the log; the letter says which one, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    #[serde(with = "crate::position_text")]
    pub position: Position,
    pub stream: String,
    pub revision: u64,
    pub event_type: String,
    pub reason: String,
    /// Whether the projector never saw it, because an earlier event of its stream is parked.
    pub blocked: bool,
}

/// A change of the dead-letter queue, written with the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LetterChange {
    /// The event is parked.
    Park(DeadLetter),
    /// The event at the position was applied after all, or given up.
    Drop(Position),
}

/// Which process writes a read model that several can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// This one, as before: all that it knows of the store holds.
    Held,
    /// This one from now on. Another may have written meanwhile, or a commit whose outcome was not known succeeded: the checkpoint and
    /// the dead letters are to be looked at anew. What was not committed is gone.
    Taken,
    /// Another one. The checkpoint is what that one has reached; nothing can be written.
    Elsewhere,
}

/// A read model being written: a store and the pure fold that fills it. The runner owns it on one thread.
///
/// `apply` collects changes in memory; `commit` writes them **and the checkpoint** atomically. After an error, or a
/// crash at any instant, the store is exactly as of its checkpoint. After `apply` fails, what is pending may hold half
/// an event: the runner calls `rollback` and reads on from the checkpoint.
pub trait ReadModel: Send {
    /// The position up to which the store is current.
    fn checkpoint(&self) -> Position;

    /// Makes sure that this process is the one that writes; called before every batch. Where stores are not shared, it always is.
    ///
    /// Also finds the way back after [`StoreError::Unavailable`]: what became of a commit that failed half way is known only after
    /// the next claim.
    fn claim(&mut self) -> Result<Claim, StoreError> {
        Ok(Claim::Held)
    }

    /// When the claim has to be renewed at the latest, though there be nothing to write.
    fn claim_due(&self) -> Option<Instant> {
        None
    }

    /// Like [`ReadModel::claim`], and takes the writing from another process, which then commits nothing more.
    fn seize(&mut self) -> Result<Claim, StoreError> {
        self.claim()
    }

    /// Whether events of this type change the read model; others are passed over without decoding.
    fn handles(&self, event_type: &str) -> bool;

    /// Takes one event into the uncommitted changes.
    fn apply(&mut self, event: &Projected) -> Result<(), ProjectError>;

    /// Whether [`ReadModel::apply`] wants the event decoded. Where not, [`ReadModel::apply_recorded`] is called instead, and
    /// the runner saves the decoding.
    fn needs_decoding(&self) -> bool {
        true
    }

    /// Takes one event as recorded. Called only where [`ReadModel::needs_decoding`] says no.
    fn apply_recorded(&mut self, event: &RecordedEvent) -> Result<(), ProjectError> {
        let _ = event;
        Err(ProjectError::Rejected("this read model takes decoded events only".to_owned()))
    }

    /// Notes that an event of a stream is given up for good: its revision counts as seen, and nothing else changes.
    fn pass_over(&mut self, event: &RecordedEvent) -> Result<(), ProjectError> {
        let _ = event;
        Ok(())
    }

    /// Whether [`ReadModel::commit_with_letters`] keeps dead letters. Where not, a rejected event halts the projector.
    fn keeps_dead_letters(&self) -> bool {
        false
    }

    /// Like [`ReadModel::commit`], and writes the changes of the dead-letter queue in the same transaction.
    fn commit_with_letters(
        &mut self,
        checkpoint: Position,
        letters: &[LetterChange],
    ) -> Result<(), StoreError> {
        if letters.is_empty() {
            self.commit(checkpoint)
        } else {
            Err(StoreError::Unavailable("this read model keeps no dead letters".to_owned()))
        }
    }

    /// The dead-letter queue as committed, in order of position.
    fn dead_letters(&self) -> Result<Vec<DeadLetter>, StoreError> {
        Ok(Vec::new())
    }

    /// About how many bytes the uncommitted changes hold; the runner commits before it grows too far.
    fn pending_bytes(&self) -> usize;

    /// Writes all changes and the checkpoint atomically. Readers see all of it or none.
    fn commit(&mut self, checkpoint: Position) -> Result<(), StoreError>;

    /// Drops what is not committed; the store stays as of its checkpoint.
    fn rollback(&mut self);

    /// A consistent view of all rows as of the checkpoint, not disturbed by later commits.
    fn snapshot(&self) -> Result<Box<dyn RowAccess>, StoreError>;

    /// Puts rows right, atomically, without moving the checkpoint: `None` deletes. Only between commits.
    fn repair(&mut self, rows: &[(RowKey, Option<Vec<u8>>)]) -> Result<(), StoreError>;
}

/// Names a row: table and key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowKey {
    pub table: &'static str,
    pub key: String,
}

/// Rows of a read model at one checkpoint, in a form that two generations can be compared in.
pub trait RowAccess: Send {
    /// The position that the rows are current to.
    fn checkpoint(&self) -> Position;

    /// The tables, in a fixed order.
    fn tables(&self) -> Vec<&'static str>;

    /// Whether the keys of a table are positions, which belong to the log and not to what it tells.
    fn keys_are_positions(&self, table: &str) -> bool {
        let _ = table;
        false
    }

    /// Rows of a table in ascending byte order of the key, after `after`, at most `limit`: key and canonical JSON. The JSON covers
    /// all that the row holds, indexed copies included, so that damage to any of it shows.
    fn scan(
        &self,
        table: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError>;

    /// One row.
    fn get(&self, key: &RowKey) -> Result<Option<Vec<u8>>, StoreError>;
}
