//! How far an import is, on disk, so that it goes on where it was broken off.
//!
//! A place counts only for the file that it was made with: it holds the hash of the rows before it, and an import reads those again
//! before it believes it. A lost or doubted place costs time and nothing else, as rows that are sent again change nothing.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::run::Report;

/// Where a place is kept.
#[derive(Debug)]
pub(super) struct Keeper {
    path: Option<PathBuf>,
}

/// Everything before it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Rows that are done.
    pub(super) rows: u64,
    /// SHA-256 over them.
    pub(super) hash: String,
    /// Bytes of the file of refused rows that belong to them.
    pub(super) error_bytes: u64,
    /// What they came to.
    pub(super) report: Report,
}

impl Keeper {
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        Self { path }
    }

    /// One that can't be read is as good as none.
    pub(super) fn load(&self) -> Option<Place> {
        serde_json::from_slice(&std::fs::read(self.path.as_deref()?).ok()?).ok()
    }

    /// Whole or not at all.
    pub(super) fn save(&self, place: &Place) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let beside = path.with_extension("new");
        std::fs::write(&beside, serde_json::to_vec(place).expect("plain data serializes"))?;
        std::fs::rename(&beside, path)
    }

    /// The import came to its end.
    pub(super) fn remove(&self) -> io::Result<()> {
        match self.path.as_deref().map(Path::new).map(std::fs::remove_file) {
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
