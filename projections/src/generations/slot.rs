//! One projection: its generations as this process has them open, and as the ledger has them on record.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use super::{Generation, GenerationError, Generations, Ledger, ReadModelKind};
use crate::model::StoreError;

/// The generations of one projection, here and on record.
pub(super) struct Slot {
    pub(super) kind: Arc<dyn ReadModelKind>,
    pub(super) ledger: Arc<dyn Ledger>,
    /// Whether other processes may change the ledger.
    pub(super) shared: bool,
    pub(super) live: ArcSwapOption<Generation>,
    pub(super) building: ArcSwapOption<Generation>,
    /// Which generation should be live but could not be opened, and why.
    pub(super) fault: Mutex<Option<(u64, StoreError)>>,
    /// Held over changes of generations.
    pub(super) changing: tokio::sync::Mutex<()>,
    /// Held while a generation is compared with a shadow.
    pub(super) proving: Arc<tokio::sync::Mutex<()>>,
    /// Held while the live generation is told to stand still or go on.
    pub(super) pausing: tokio::sync::Mutex<()>,
}

impl Slot {
    pub(super) fn generations(&self) -> Result<Generations, GenerationError> {
        let name = self.kind.name();
        self.ledger.get(name)?.ok_or_else(|| GenerationError::Unknown(name.to_owned()))
    }

    /// The same, with the first ones put on record if there are none.
    pub(super) fn recorded(&self) -> Result<Generations, GenerationError> {
        let name = self.kind.name();
        if let Some(generations) = self.ledger.get(name)? {
            return Ok(generations);
        }
        match self.ledger.replace(name, None, &Generations::first()) {
            // Another process was quicker.
            Ok(()) | Err(GenerationError::Changed(_)) => self.generations(),
            Err(error) => Err(error),
        }
    }

    /// Leaves it to [`Slot::record_pause`] whether the projection stands still, which may change at any time.
    pub(super) fn replace(&self, before: &Generations, after: &Generations) -> Result<(), GenerationError> {
        let name = self.kind.name();
        match self.ledger.replace(name, Some(before), after) {
            Err(GenerationError::Changed(_)) => {
                let now = self.generations()?;
                if (Generations { paused: before.paused, ..now.clone() }) != *before {
                    return Err(GenerationError::Changed(name.to_owned()));
                }
                let after = Generations { paused: now.paused, ..after.clone() };
                self.ledger.replace(name, Some(&now), &after)
            }
            other => other,
        }
    }

    pub(super) fn record_pause(&self, paused: bool) -> Result<(), GenerationError> {
        const ATTEMPTS: u32 = 10;
        let name = self.kind.name();
        for _ in 0..ATTEMPTS {
            let before = self.recorded()?;
            if before.paused == paused {
                return Ok(());
            }
            match self.ledger.replace(name, Some(&before), &Generations { paused, ..before.clone() }) {
                // Generations are swapped, or somebody else pauses: what they did stands.
                Err(GenerationError::Changed(_)) => {}
                other => return other,
            }
        }
        Err(GenerationError::Changed(name.to_owned()))
    }
}
