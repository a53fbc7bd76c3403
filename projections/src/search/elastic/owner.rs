//! Whose indices they are: positions of one log mean nothing in another.

use std::sync::{Arc, OnceLock};

use crate::model::StoreError;

/// Who fills indices, and whether others may.
#[derive(Debug, Clone, Default)]
pub enum Owner {
    /// Nobody asks: for indices that nobody else can know of.
    #[default]
    Anybody,
    /// One folder, which one process has at a time.
    Folder(String),
    /// All processes on one log, named by its first event; that is set as soon as there is one.
    Log(Arc<OnceLock<String>>),
}

impl Owner {
    /// Its name on record.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Anybody => None,
            Self::Folder(name) => Some(name),
            Self::Log(first_event) => first_event.get().map(String::as_str),
        }
    }

    /// Whether several processes may write in turn.
    pub(super) const fn is_shared(&self) -> bool {
        matches!(self, Self::Log(_))
    }

    /// [`StoreError::Unfit`] if what `place` names is somebody else's, by its record.
    pub(super) fn check(&self, recorded: Option<&str>, place: &str) -> Result<(), StoreError> {
        match (self.name(), recorded) {
            (Some(own), Some(other)) if own != other => {}
            (None, Some(_)) if self.is_shared() => {
                return Err(StoreError::Unavailable(format!(
                    "the log has no event yet, and {place} is of one that has"
                )));
            }
            _ => return Ok(()),
        }
        let whose = if self.is_shared() { "event log, or to one data folder" } else { "data folder" };
        Err(StoreError::Unfit(format!(
            "[search] prefix: the index behind {place} belongs to another {whose}; choose another prefix, or delete the indices of \
             this one if nobody uses them"
        )))
    }
}
