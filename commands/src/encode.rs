//! From decided events to what the log takes.

use bytes::Bytes;
use daybook_eventlog::{NewEvent, StreamId};
use daybook_schemas::{Actor, AnyEvent, CommandId, Label, Metadata, Timestamp};
use uuid::Uuid;

use crate::ids;

/// Encodes the events of one command. Their ids depend on the command, the stream and their number there, and on
/// nothing else: so a retry gives the same ids, also where an earlier attempt had come to some of the streams only.
#[derive(Debug, Clone)]
pub(crate) struct Encoder {
    pub(crate) command: Uuid,
    /// The stream that the command was sent to.
    pub(crate) main: StreamId,
    /// The id of its event 0, made ahead outside of the decision thread.
    pub(crate) first_event_id: Uuid,
    pub(crate) recorded_at: Timestamp,
    pub(crate) metadata: Bytes,
}

impl Encoder {
    /// `number` counts the events of the command in the stream from 0.
    pub(crate) fn encode(&self, event: &AnyEvent, stream: &StreamId, number: usize) -> NewEvent {
        let number = u32::try_from(number).expect("a command writes far fewer events");
        let event_id = if *stream != self.main {
            ids::of_event_elsewhere(self.command, stream.as_str(), number)
        } else if number == 0 {
            self.first_event_id
        } else {
            ids::of_event(self.command, number)
        };
        NewEvent {
            event_id,
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
