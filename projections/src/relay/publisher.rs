//! The relay: driven by a runner like a read model, it publishes where others write rows.

use std::sync::Arc;

use daybook_eventlog::{EventLog, Position, RecordedEvent};
use tokio::runtime::Handle;

use super::stream::{Connection, Mark, Message};
use super::{encode, runner_options, subject};
use crate::model::{ProjectError, Projected, ReadModel, RowAccess, RowKey, StoreError};
use crate::runner::{self, ProjectionHandle};

/// Name of the relay among projections.
pub const NAME: &str = "relay";

/// Publishes every event of a log to JetStream. Its checkpoint is on the server, beside the events.
pub struct Relay {
    connection: Connection,
    mark: Mark,
    /// Whether `mark` is what the server says; after a failure it is asked again.
    known: bool,
    pending: Vec<Message>,
    pending_bytes: usize,
}

impl Relay {
    /// Prepares a relay. A server that does not answer is no reason to fail: it is asked again when there is something to
    /// publish.
    pub(super) fn open(connection: &Connection) -> Result<Self, StoreError> {
        let connection = connection.clone();
        let mut relay =
            Self { connection, mark: Mark::default(), known: false, pending: Vec::new(), pending_bytes: 0 };
        match relay.ask() {
            Ok(()) => Ok(relay),
            Err(error) if error.is_retryable() => {
                tracing::warn!(%error, "the relay begins when the server answers");
                Ok(relay)
            }
            Err(error) => Err(error),
        }
    }

    /// Starts a thread that relays a log until the handle is dropped.
    pub fn start(
        connection: &Connection,
        log: Arc<dyn EventLog>,
        runtime: &Handle,
    ) -> Result<ProjectionHandle, StoreError> {
        runner::start(NAME, 0, Box::new(Self::open(connection)?), log, runtime, runner_options())
    }

    /// Asks the server how far the relay is.
    fn ask(&mut self) -> Result<(), StoreError> {
        let connection = self.connection.clone();
        let (mark, lost) = self.connection.wait(async move { connection.stand().await })?;
        if lost {
            tracing::error!("the relay's stream was lost; publishing the log from its beginning");
            self.mark = mark;
        } else {
            // Duplicates that the server dropped are in no message, but acknowledged.
            self.mark = Mark { position: mark.position.max(self.mark.position), ..mark };
        }
        self.known = true;
        Ok(())
    }

    /// Makes sure that the mark is right; if it moved, an error tells the runner to read on from there.
    fn known(&mut self) -> Result<(), StoreError> {
        if self.known {
            return Ok(());
        }
        let before = self.mark.position;
        self.ask()?;
        if self.mark.position == before {
            return Ok(());
        }
        Err(StoreError::Unavailable(format!(
            "the relay stands at position {}, not {before}; reading on from there",
            self.mark.position
        )))
    }
}

impl ReadModel for Relay {
    fn checkpoint(&self) -> Position {
        self.mark.position
    }

    fn handles(&self, _event_type: &str) -> bool {
        true
    }

    fn needs_decoding(&self) -> bool {
        false
    }

    fn apply(&mut self, event: &Projected) -> Result<(), ProjectError> {
        self.apply_recorded(&event.recorded)
    }

    fn apply_recorded(&mut self, event: &RecordedEvent) -> Result<(), ProjectError> {
        self.known()?;
        let options = &self.connection.options;
        let payload = encode(&options.source, event);
        self.pending_bytes += payload.len();
        self.pending.push(Message {
            position: event.position,
            id: event.event_id,
            subject: subject(&options.prefix, event.stream(), event.event_type()),
            payload,
        });
        Ok(())
    }

    fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    fn commit(&mut self, checkpoint: Position) -> Result<(), StoreError> {
        self.known()?;
        let messages = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let (connection, from) = (self.connection.clone(), self.mark);
        // Until the server has said otherwise.
        self.known = false;
        let published = self.connection.wait(async move {
            let (reached, published) = connection.publish(from, messages).await;
            let reached = match &published {
                Ok(()) => Mark { position: reached.position.max(checkpoint), ..reached },
                Err(_) => reached,
            };
            let noted = if reached == from { Ok(()) } else { connection.note(reached).await };
            Ok((reached, published.and(noted)))
        })?;
        let (reached, done) = published;
        self.mark = reached;
        done?;
        self.known = true;
        Ok(())
    }

    fn rollback(&mut self) {
        self.pending.clear();
        self.pending_bytes = 0;
    }

    fn snapshot(&self) -> Result<Box<dyn RowAccess>, StoreError> {
        Err(StoreError::Unavailable("a relay has no rows".to_owned()))
    }

    fn repair(&mut self, _rows: &[(RowKey, Option<Vec<u8>>)]) -> Result<(), StoreError> {
        Err(StoreError::Unavailable("a relay has no rows".to_owned()))
    }
}
