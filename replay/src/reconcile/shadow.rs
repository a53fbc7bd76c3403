//! The shadow: a read model of the same kind, built from the log on a thread of its own, that nobody queries.

use std::path::PathBuf;
use std::sync::Arc;

use daybook_eventlog::{EventLog, Position};
use daybook_projections::generations::{Projections, ReadModelKind};
use daybook_projections::model::{ReadModel, RowAccess};
use daybook_projections::runner::{RunnerError, catch_up};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::{Progress, ReconcileError};

/// A shadow at its checkpoint. Left on disk if the process ends, so that the next reconciliation goes on from there.
pub(crate) struct Shadow {
    kind: Arc<dyn ReadModelKind>,
    log: Arc<dyn EventLog>,
    model: Box<dyn ReadModel>,
    place: PathBuf,
}

impl Shadow {
    /// Opens the shadow that an ended process left, or an empty one.
    pub(crate) fn open(projections: &Projections, name: &str) -> Result<Self, ReconcileError> {
        let kind = projections.kind(name)?;
        let kind = kind.shadow().unwrap_or(kind);
        let folder = projections.folder().join("shadow");
        std::fs::create_dir_all(&folder).map_err(ReconcileError::Files)?;
        let place = kind.place(&folder, 0);
        let opened = match kind.open(&place, 0) {
            Ok(opened) => opened,
            // Left by another version, or by a process that was killed while it made it: begin anew.
            Err(error) if !error.is_retryable() => {
                kind.remove(&place).map_err(ReconcileError::Files)?;
                kind.open(&place, 0)?
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self { kind, log: Arc::clone(projections.log()), model: opened.model, place })
    }

    pub(crate) fn checkpoint(&self) -> Position {
        self.model.checkpoint()
    }

    pub(crate) fn snapshot(&self) -> Result<Box<dyn RowAccess>, ReconcileError> {
        Ok(self.model.snapshot()?)
    }

    /// Replays the log to exactly `until`; a shadow that is there or beyond stays as it is.
    pub(crate) async fn advance(
        self,
        until: Position,
        progress: Progress<'_>,
    ) -> Result<Self, ReconcileError> {
        if self.checkpoint() >= until {
            return Ok(self);
        }
        let Self { kind, log, model, place } = self;
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let runtime = Handle::current();
        let name = kind.name();
        let (options, replay_log) = (kind.options(), Arc::clone(&log));
        let replay = tokio::task::spawn_blocking(move || -> Result<Box<dyn ReadModel>, RunnerError> {
            let mut report = |position| {
                // Nobody may be listening any more.
                let _ = sender.send(position);
            };
            catch_up(name, model, replay_log, &runtime, options, until, &mut report)
        });
        while let Some(position) = receiver.recv().await {
            progress(name, position, until);
        }
        Ok(Self { model: replay.await??, kind, log, place })
    }

    /// Removes the shadow.
    pub(crate) fn remove(self) -> Result<(), ReconcileError> {
        let Self { kind, model, place, .. } = self;
        drop(model);
        kind.remove(&place).map_err(ReconcileError::Files)
    }
}
