//! How far the process manager is, as it is noted. A note that is lost, damaged or of another log costs time and nothing else: what
//! is told a second time changes nothing.

use daybook_eventlog::{EventLog, Position, ReadError};
use serde::{Deserialize, Serialize};

use super::queue::{Pending, Queue};
use crate::mark::Mark;

/// How far it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Note {
    /// The log is read up to here.
    pub(super) position: Position,
    /// The event there.
    mark: Mark,
    pub(super) pending: Vec<Pending>,
}

impl Note {
    /// `None`: there is no event at the position, and nothing can be noted.
    pub(super) async fn new(
        log: &dyn EventLog,
        position: Position,
        queue: &Queue,
    ) -> Result<Option<Self>, ReadError> {
        let mark = Mark::at(log, position).await?;
        Ok(mark.map(|mark| Self { position, mark, pending: queue.iter().cloned().collect() }))
    }

    /// The note, if it can be understood and is of this log.
    pub(super) async fn parse(text: &[u8], log: &dyn EventLog) -> Result<Option<Self>, ReadError> {
        let Ok(note) = serde_json::from_slice::<Self>(text) else {
            tracing::warn!("the note of master data is damaged or of another version; reading the whole log");
            return Ok(None);
        };
        if note.mark.is_in(log).await? {
            return Ok(Some(note));
        }
        tracing::warn!("the note of master data belongs to another log; reading the whole log");
        Ok(None)
    }
}
