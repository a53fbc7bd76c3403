//! What can go wrong with generations.

use std::path::PathBuf;

use crate::model::StoreError;
use crate::runner::RunnerError;

/// Why generations could not be opened or changed.
#[derive(Debug, thiserror::Error)]
pub enum GenerationError {
    #[error("there is no projection {0:?}")]
    Unknown(String),
    #[error("projection {0} has no live generation: its store could not be opened")]
    NotOpen(String),
    #[error("projection {0} has no previous generation to go back to")]
    NoPrevious(String),
    #[error("generation {generation} of projection {name} is not the one being built")]
    NotBuilding { name: String, generation: u64 },
    #[error("the generations of projection {0} were changed by another process; look again")]
    Changed(String),
    #[error("{path}: {reason}")]
    Manifest { path: PathBuf, reason: String },
    #[error("{path}: {source}")]
    Files { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Runner(#[from] RunnerError),
}
