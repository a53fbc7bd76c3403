//! How far an import is, on disk, so that it goes on where it was broken off.
//!
//! A place counts only for the file that it was made with: it holds the hash of the rows before it, and an import reads those again
//! before it believes it. Nor does it count on another log, which lacks what the rows became, or where the file of refused rows is not
//! what it was. A lost or doubted place costs time and nothing else, as rows that are sent again change nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use daybook_commands::mark::Mark;
use daybook_eventlog::{EventLog, ReadError};
use serde::{Deserialize, Serialize};

use super::run::Report;

/// Where a place is kept.
pub(super) struct Keeper {
    path: Option<PathBuf>,
    log: Arc<dyn EventLog>,
}

/// Everything before it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Rows that are done.
    pub(super) rows: u64,
    /// SHA-256 over them.
    pub(super) hash: String,
    /// The newest event of the log: what the rows became is not after it.
    pub(super) mark: Mark,
    /// The file of refused rows, and how many of its bytes belong to them.
    pub(super) errors: PathBuf,
    pub(super) error_bytes: u64,
    /// What they came to.
    pub(super) report: Report,
}

impl Keeper {
    pub(super) fn new(path: Option<PathBuf>, log: Arc<dyn EventLog>) -> Self {
        Self { path, log }
    }

    /// The newest event of the log; `None`: nothing can be noted now.
    pub(super) async fn mark(&self) -> Result<Option<Mark>, ReadError> {
        if self.path.is_none() {
            return Ok(None);
        }
        let head = self.log.head().await?.position;
        Mark::at(self.log.as_ref(), head).await
    }

    /// One that can't be read is as good as none, and so is one that does not fit.
    pub(super) async fn load(&self, errors: &Path) -> Result<Option<Place>, ReadError> {
        let Some(place) = self.read() else { return Ok(None) };
        let there = std::fs::metadata(errors).map_or(0, |file| file.len());
        let fits = place.errors == errors && there >= place.error_bytes;
        Ok((fits && place.mark.is_in(self.log.as_ref()).await?).then_some(place))
    }

    fn read(&self) -> Option<Place> {
        serde_json::from_slice(&std::fs::read(self.path.as_deref()?).ok()?).ok()
    }

    /// Somebody else is about to write the file of refused rows: a place that counts on it is none any more.
    pub(super) fn give_up(&self, errors: &Path) -> io::Result<()> {
        match self.read() {
            Some(place) if place.errors == errors => self.remove(),
            Some(_) | None => Ok(()),
        }
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
