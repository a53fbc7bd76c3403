//! Makes a read model of a pure projector and a row store.

use std::sync::Arc;
use std::time::Instant;

use daybook_eventlog::{Position, RecordedEvent};

use super::cache::{Cache, Rows};
use super::spec::StoreSpec;
use super::store::{Batch, RowReader, RowStore};
use crate::model::{
    Claim, DeadLetter, LetterChange, ProjectError, Projected, ReadModel, RowAccess, RowKey, StoreError,
};

/// Bytes of rows that one read model keeps in memory between commits, by estimate.
pub const DEFAULT_CACHE_BYTES: usize = 10 << 20;

/// A fold of events into rows. It holds no state of its own: all it knows is in the rows, so that a restart at any
/// checkpoint goes on as if nothing had been.
pub trait Projector: Send + 'static {
    /// Name, version and tables. The version counts up whenever the same events would give other rows.
    fn spec(&self) -> StoreSpec;

    /// Whether events of this type change rows.
    fn handles(&self, event_type: &str) -> bool;

    /// Folds one event into the rows.
    fn project(&self, event: &Projected, rows: &mut Rows<'_>) -> Result<(), ProjectError>;

    /// Whether [`Projector::project`] needs the event decoded; if not, [`Projector::project_recorded`] gets it.
    fn needs_decoding(&self) -> bool {
        true
    }

    /// Folds one event as recorded.
    fn project_recorded(&self, event: &RecordedEvent, rows: &mut Rows<'_>) -> Result<(), ProjectError> {
        let _ = (event, rows);
        Err(ProjectError::Rejected("this projector takes decoded events only".to_owned()))
    }

    /// Notes that an event was given up: its revision counts as seen.
    fn pass_over(&self, event: &RecordedEvent, rows: &mut Rows<'_>) -> Result<(), ProjectError> {
        let _ = (event, rows);
        Ok(())
    }
}

/// A [`Projector`] over a [`RowStore`].
pub struct RowModel<P> {
    projector: P,
    cache: Cache,
    store: Box<dyn RowStore>,
}

impl<P: Projector> RowModel<P> {
    /// The store must be one of this projector's spec.
    #[must_use]
    pub fn new(projector: P, store: Box<dyn RowStore>) -> Self {
        Self::with_cache(projector, store, DEFAULT_CACHE_BYTES)
    }

    /// With a cache of this size.
    #[must_use]
    pub fn with_cache(projector: P, store: Box<dyn RowStore>, cache_bytes: usize) -> Self {
        assert_eq!(
            projector.spec().fingerprint(),
            store.spec().fingerprint(),
            "a read model's store is opened with its projector's spec"
        );
        Self { projector, cache: Cache::new(cache_bytes), store }
    }

    /// The handle for queries.
    #[must_use]
    pub fn reader(&self) -> Arc<dyn RowReader> {
        self.store.reader()
    }

    /// Rows that another process may have written are not to be built on.
    fn claimed(&mut self, claim: Result<Claim, StoreError>) -> Result<Claim, StoreError> {
        if !matches!(claim, Ok(Claim::Held)) {
            self.cache.clear();
        }
        claim
    }

    fn rows(&mut self) -> (&P, Rows<'_>) {
        (&self.projector, Rows { cache: &mut self.cache, store: &mut *self.store })
    }
}

impl<P: Projector> ReadModel for RowModel<P> {
    fn checkpoint(&self) -> Position {
        self.store.checkpoint()
    }

    fn claim(&mut self) -> Result<Claim, StoreError> {
        let claim = self.store.claim();
        self.claimed(claim)
    }

    fn claim_due(&self) -> Option<Instant> {
        self.store.claim_due()
    }

    fn seize(&mut self) -> Result<Claim, StoreError> {
        let claim = self.store.seize();
        self.claimed(claim)
    }

    fn handles(&self, event_type: &str) -> bool {
        self.projector.handles(event_type)
    }

    fn apply(&mut self, event: &Projected) -> Result<(), ProjectError> {
        self.cache.expect_event(event.recorded.data().len());
        let (projector, mut rows) = self.rows();
        projector.project(event, &mut rows)
    }

    fn needs_decoding(&self) -> bool {
        self.projector.needs_decoding()
    }

    fn apply_recorded(&mut self, event: &RecordedEvent) -> Result<(), ProjectError> {
        self.cache.expect_event(event.data().len());
        let (projector, mut rows) = self.rows();
        projector.project_recorded(event, &mut rows)
    }

    fn pass_over(&mut self, event: &RecordedEvent) -> Result<(), ProjectError> {
        let (projector, mut rows) = self.rows();
        projector.pass_over(event, &mut rows)
    }

    fn keeps_dead_letters(&self) -> bool {
        true
    }

    fn pending_bytes(&self) -> usize {
        self.cache.pending_bytes()
    }

    fn commit(&mut self, checkpoint: Position) -> Result<(), StoreError> {
        self.commit_with_letters(checkpoint, &[])
    }

    fn commit_with_letters(
        &mut self,
        checkpoint: Position,
        letters: &[LetterChange],
    ) -> Result<(), StoreError> {
        let writes = self.cache.writes();
        self.store.commit(&Batch { checkpoint, writes: &writes, letters })?;
        self.cache.committed();
        Ok(())
    }

    fn dead_letters(&self) -> Result<Vec<DeadLetter>, StoreError> {
        self.store.dead_letters()
    }

    fn rollback(&mut self) {
        self.cache.rollback();
    }

    fn snapshot(&self) -> Result<Box<dyn RowAccess>, StoreError> {
        self.store.snapshot()
    }

    fn repair(&mut self, rows: &[(RowKey, Option<Vec<u8>>)]) -> Result<(), StoreError> {
        // Uncommitted changes would be lost or, worse, be built on rows that are about to change.
        if self.cache.pending_bytes() > 0 {
            return Err(StoreError::Unavailable("a repair runs between commits only".to_owned()));
        }
        self.cache.clear();
        self.store.repair(rows)
    }
}
