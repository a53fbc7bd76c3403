//! What ties a note on disk to its log: positions mean nothing in another log, nor in one that was put back to an older copy.

use daybook_eventlog::{EventLog, Filter, Position, ReadError};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An event that was in the log when the note was written. A log that has it has everything before it as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub position: Position,
    pub event_id: Uuid,
}

impl Mark {
    /// The event at this position. `None`: there is none.
    pub async fn at(log: &dyn EventLog, position: Position) -> Result<Option<Self>, ReadError> {
        let page = log.read_all(position.saturating_sub(1), &Filter::default(), 1, 1).await?;
        let event = page.events.first().filter(|event| event.position == position);
        Ok(event.map(|event| Self { position, event_id: event.event_id }))
    }

    /// Whether the log has the very event.
    pub async fn is_in(&self, log: &dyn EventLog) -> Result<bool, ReadError> {
        Ok(Self::at(log, self.position).await? == Some(*self))
    }
}
