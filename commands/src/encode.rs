//! From decided events to what the log takes.

use bytes::Bytes;
use daybook_eventlog::NewEvent;
use daybook_schemas::{Actor, AnyEvent, CommandId, Label, Metadata, Timestamp};
use uuid::Uuid;

use crate::ids;

/// Encodes the events of one command, numbering their ids.
#[derive(Debug, Clone)]
pub(crate) struct Encoder {
    pub(crate) command: Uuid,
    /// The id of event 0, made ahead outside of the decision thread.
    pub(crate) first_event_id: Uuid,
    pub(crate) next: u32,
    pub(crate) recorded_at: Timestamp,
    pub(crate) metadata: Bytes,
}

impl Encoder {
    pub(crate) fn encode(&mut self, event: &AnyEvent) -> NewEvent {
        let index = self.next;
        self.next += 1;
        NewEvent {
            event_id: if index == 0 { self.first_event_id } else { ids::of_event(self.command, index) },
            event_type: event.wire_name(),
            version: event.version(),
            recorded_at: self.recorded_at.as_micros(),
            data: Bytes::from(event.to_data()),
            metadata: self.metadata.clone(),
        }
    }
}

/// The metadata that all events of a command share, as JSON.
pub(crate) fn metadata(
    command: Uuid,
    correlation: Option<&CommandId>,
    causation: Option<&CommandId>,
    actor: &Label,
) -> Bytes {
    let command_id = ids::command_id(command);
    let metadata = Metadata {
        correlation_id: correlation.unwrap_or(&command_id).clone(),
        causation_id: causation.unwrap_or(&command_id).clone(),
        command_id,
        actor: Actor(actor.clone()),
    };
    let bytes = serde_json::to_vec(&metadata).expect("strings serialize, and a Vec takes every write");
    Bytes::from(bytes)
}
