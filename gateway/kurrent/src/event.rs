//! Events as the protocol carries them, and as the log holds them.

use std::collections::HashMap;

use bytes::Bytes;
use daybook_eventlog::{NewEvent, Position, RecordedEvent, Revision, StreamId};
use serde::de::IgnoredAny;
use tonic::Status;
use uuid::Uuid;

use crate::names;
use crate::proto::shared::{self, StreamIdentifier};
use crate::proto::streams::{ReadResp, read_resp};

/// Key of the system metadata that carries the schema version of events whose version is not 1.
const VERSION: &str = "daybook-version";

const JSON: &str = "application/json";
const BINARY: &str = "application/octet-stream";

/// An event as a client proposes it, by either call.
pub(crate) struct Proposed {
    pub(crate) id: Option<shared::Uuid>,
    pub(crate) metadata: HashMap<String, String>,
    pub(crate) custom_metadata: Bytes,
    pub(crate) data: Bytes,
}

impl Proposed {
    /// About the bytes that it takes in the log.
    pub(crate) fn len_bytes(&self) -> usize {
        self.metadata.get("type").map_or(0, String::len) + self.custom_metadata.len() + self.data.len()
    }

    /// The event to append, recorded at `now_us`.
    pub(crate) fn into_event(self, now_us: i64) -> Result<NewEvent, Status> {
        let event_id = parse_id(self.id.as_ref())?;
        let Some(name) = self.metadata.get("type") else {
            return Err(Status::invalid_argument("an event lacks the metadata property `type`"));
        };
        if name.is_empty() || name.len() > 255 || !name.bytes().all(|b| b.is_ascii_graphic()) {
            let detail = format!("an event type is 1 to 255 visible ASCII characters, got {name:?}");
            return Err(Status::invalid_argument(detail));
        }
        let Some(event_type) = names::intern(name) else {
            let detail = format!(
                "the event type {name} is new, and this server has seen its most of {} different types",
                names::MAX_FOREIGN_TYPES
            );
            return Err(Status::resource_exhausted(detail));
        };
        let version = match self.metadata.get(VERSION) {
            Some(text) => text.parse().ok().filter(|version| *version > 0).ok_or_else(|| {
                Status::invalid_argument(format!("the metadata property `{VERSION}` is no version: {text:?}"))
            })?,
            None => 1,
        };
        Ok(NewEvent {
            event_id,
            event_type,
            version,
            recorded_at: now_us,
            data: self.data,
            metadata: self.custom_metadata,
        })
    }
}

/// The id in either of the protocol's forms.
pub(crate) fn parse_id(id: Option<&shared::Uuid>) -> Result<Uuid, Status> {
    use shared::uuid::Value;
    match id.and_then(|id| id.value.as_ref()) {
        Some(Value::String(text)) => {
            Uuid::parse_str(text).map_err(|_| Status::invalid_argument(format!("{text:?} is no UUID")))
        }
        Some(Value::Structured(parts)) => Ok(Uuid::from_u64_pair(
            parts.most_significant_bits.cast_unsigned(),
            parts.least_significant_bits.cast_unsigned(),
        )),
        None => Err(Status::invalid_argument("a UUID is missing")),
    }
}

fn id_to_proto(id: Uuid, structured: bool) -> shared::Uuid {
    use shared::uuid::{Structured, Value};
    let value = if structured {
        let (most, least) = id.as_u64_pair();
        Value::Structured(Structured {
            most_significant_bits: most.cast_signed(),
            least_significant_bits: least.cast_signed(),
        })
    } else {
        Value::String(id.to_string())
    };
    shared::Uuid { value: Some(value) }
}

/// The name of a stream that a client may write or read.
pub(crate) fn parse_stream(identifier: Option<&StreamIdentifier>) -> Result<StreamId, Status> {
    let Some(identifier) = identifier else {
        return Err(Status::invalid_argument("a stream name is missing"));
    };
    let name = String::from_utf8_lossy(&identifier.stream_name);
    StreamId::new(&name).map_err(|error| Status::invalid_argument(error.to_string()))
}

pub(crate) fn stream_to_proto(stream: &StreamId) -> StreamIdentifier {
    StreamIdentifier { stream_name: Bytes::copy_from_slice(stream.as_str().as_bytes()) }
}

/// The protocol's revision of an event, which counts from 0.
pub(crate) fn wire_revision(revision: Revision) -> u64 {
    revision.saturating_sub(1)
}

/// A recorded event as a reply to a read.
pub(crate) fn to_reply(event: &RecordedEvent, structured_ids: bool) -> ReadResp {
    use read_resp::read_event;
    let position: Position = event.position;
    let is_json = serde_json::from_slice::<IgnoredAny>(event.data()).is_ok();
    // Ticks of 100 ns; the protocol knows no time before 1970.
    let created = event.recorded_at.max(0).saturating_mul(10);
    let mut metadata = HashMap::with_capacity(4);
    metadata.insert("type".to_owned(), event.event_type().to_owned());
    metadata.insert("created".to_owned(), created.to_string());
    metadata.insert("content-type".to_owned(), if is_json { JSON } else { BINARY }.to_owned());
    if event.version != 1 {
        metadata.insert(VERSION.to_owned(), event.version.to_string());
    }
    let recorded = read_event::RecordedEvent {
        id: Some(id_to_proto(event.event_id, structured_ids)),
        stream_identifier: Some(StreamIdentifier {
            stream_name: Bytes::copy_from_slice(event.stream().as_bytes()),
        }),
        stream_revision: wire_revision(event.revision),
        prepare_position: position,
        commit_position: position,
        metadata,
        custom_metadata: Bytes::copy_from_slice(event.metadata()),
        data: Bytes::copy_from_slice(event.data()),
    };
    let event = read_resp::ReadEvent {
        event: Some(recorded),
        link: None,
        position: Some(read_event::Position::CommitPosition(position)),
    };
    ReadResp { content: Some(read_resp::Content::Event(event)) }
}

#[cfg(test)]
mod tests {
    use super::{id_to_proto, parse_id};
    use uuid::Uuid;

    #[test]
    fn ids_survive_both_forms() {
        let id = Uuid::from_u128(0xf1e2_d3c4_b5a6_9788_8796_a5b4_c3d2_e1f0);
        for structured in [false, true] {
            assert_eq!(parse_id(Some(&id_to_proto(id, structured))).unwrap(), id);
        }
        assert!(parse_id(None).is_err());
    }
}
