//! How an event is stored on the server: payload as it is, and a metadata envelope for what the server has no place
//! for. The metadata stays JSON where it is JSON, with Daybook's fields beside those of the writer:
//!
//! ```text
//! {"$daybook":{"version":1,"recorded_at":1700000000000000,"metadata":"members"},"actor":"a", … }   a JSON object
//! {"$daybook":{"version":1,"recorded_at":1700000000000000,"metadata":"value"},"value": … }         other JSON
//! {"$daybook":{"version":1,"recorded_at":1700000000000000,"metadata":"base64"},"value":"…"}        anything else
//! {"$daybook":{"version":1,"recorded_at":1700000000000000,"metadata":"none"}}                      nothing
//! ```
//!
//! What does not begin like this was written by others, and is metadata as it stands.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use eventstore::EventData;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::connection::Fault;
use crate::event::{NewEvent, RecordedEvent, RecordedHeader};
use crate::log::ReadError;

const BEGIN: &str = "{\"$daybook\":{\"version\":";
const RECORDED_AT: &str = ",\"recorded_at\":";
const FORM: &str = ",\"metadata\":\"";
const VALUE: &str = ",\"value\":";

/// Key of the system metadata in which Daybook's own server carries the schema version.
const VERSION_PROPERTY: &str = "daybook-version";

/// The event as the client sends it, with its id.
pub(super) fn to_event_data(event: &NewEvent) -> EventData {
    let metadata = Bytes::from(wrap(event.version, event.recorded_at, &event.metadata));
    // The content type is JSON only if that keeps every byte.
    let json: Option<&RawValue> = serde_json::from_slice(&event.data)
        .ok()
        .filter(|raw: &&RawValue| raw.get().len() == event.data.len());
    let data = json
        .and_then(|raw| EventData::json(event.event_type, &raw).ok())
        .unwrap_or_else(|| EventData::binary(event.event_type, event.data.clone()));
    data.id(event.event_id).metadata(metadata)
}

/// The event as the log gives it. An error if it can't be one of an event log.
pub(super) fn from_recorded(event: &eventstore::RecordedEvent) -> Result<RecordedEvent, Fault> {
    let position = event.position.commit;
    let damaged = |detail: String| {
        Fault::Unusable(ReadError::Damaged {
            file: format!("stream {} on KurrentDB", event.stream_id),
            offset: event.revision,
            position,
            detail,
        })
    };
    if event.position.commit != event.position.prepare {
        return Err(damaged("an event of a multi-write transaction, whose positions are not unique".into()));
    }
    let (envelope, metadata) = match unwrap(&event.custom_metadata) {
        Some((envelope, metadata)) => (envelope, metadata),
        None => (foreign(event), event.custom_metadata.to_vec()),
    };
    let header = RecordedHeader {
        position,
        revision: event.revision + 1,
        event_id: event.id,
        version: envelope.version,
        recorded_at: envelope.recorded_at,
    };
    let (stream, event_type) = (event.stream_id.as_str(), event.event_type.as_str());
    let mut buffer = Vec::with_capacity(stream.len() + event_type.len() + event.data.len() + metadata.len());
    for part in [stream.as_bytes(), event_type.as_bytes(), &event.data, &metadata] {
        buffer.extend_from_slice(part);
    }
    RecordedEvent::from_buffer(header, Bytes::from(buffer), stream.len(), event_type.len(), event.data.len())
        .ok_or_else(|| {
            damaged(format!("the names of the stream and of type {event_type:?} are not both ASCII"))
        })
}

#[derive(Debug, PartialEq, Eq)]
struct Envelope {
    version: u16,
    recorded_at: i64,
}

/// Of an event that others wrote: the server's time, in ticks of 100 ns, and version 1 unless stated.
fn foreign(event: &eventstore::RecordedEvent) -> Envelope {
    let property = |name: &str| event.metadata.get(name);
    let ticks: i64 = property("created").and_then(|text| text.parse().ok()).unwrap_or_default();
    let version =
        property(VERSION_PROPERTY).and_then(|text| text.parse().ok()).filter(|version| *version > 0);
    Envelope { version: version.unwrap_or(1), recorded_at: ticks / 10 }
}

fn wrap(version: u16, recorded_at: i64, metadata: &[u8]) -> Vec<u8> {
    let (form, value) = match metadata {
        [] => ("none", Vec::new()),
        [b'{', rest @ ..] if has_members(metadata) => ("members", [b",", rest].concat()),
        json if serde_json::from_slice::<IgnoredAny>(json).is_ok() => {
            ("value", [VALUE.as_bytes(), json, b"}"].concat())
        }
        bytes => ("base64", format!("{VALUE}\"{}\"}}", STANDARD.encode(bytes)).into_bytes()),
    };
    let mut wrapped = format!("{BEGIN}{version}{RECORDED_AT}{recorded_at}{FORM}{form}\"}}").into_bytes();
    wrapped.extend_from_slice(&value);
    if form == "none" {
        wrapped.push(b'}');
    }
    wrapped
}

/// Whether the bytes are a JSON object that is not empty.
fn has_members(bytes: &[u8]) -> bool {
    let first = bytes[1..].iter().find(|byte| !byte.is_ascii_whitespace());
    first == Some(&b'"') && serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

fn unwrap(wrapped: &[u8]) -> Option<(Envelope, Vec<u8>)> {
    let rest = wrapped.strip_prefix(BEGIN.as_bytes())?;
    let (version, rest) = number(rest)?;
    let rest = rest.strip_prefix(RECORDED_AT.as_bytes())?;
    let (recorded_at, rest) = number(rest)?;
    let rest = rest.strip_prefix(FORM.as_bytes())?;
    let quote = rest.iter().position(|byte| *byte == b'"')?;
    let (form, rest) = (&rest[..quote], rest[quote + 1..].strip_prefix(b"}")?);
    let metadata = match form {
        b"none" => Vec::new(),
        b"members" => [b"{", rest.strip_prefix(b",")?].concat(),
        b"value" => rest.strip_prefix(VALUE.as_bytes())?.strip_suffix(b"}")?.to_vec(),
        b"base64" => {
            let text = rest.strip_prefix(VALUE.as_bytes())?.strip_prefix(b"\"")?.strip_suffix(b"\"}")?;
            STANDARD.decode(text).ok()?
        }
        _ => return None,
    };
    Some((Envelope { version: version.try_into().ok()?, recorded_at }, metadata))
}

fn number(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'-')?;
    let value = std::str::from_utf8(&bytes[..end]).ok()?.parse().ok()?;
    Some((value, &bytes[end..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::{Envelope, unwrap, wrap};

    #[test]
    fn json_stays_json_beside_daybooks_fields() {
        for (metadata, key) in [("{\"actor\":\"a\"}", "actor"), ("[1, 2]", "value"), ("\"x\"", "value")] {
            let wrapped: Value = serde_json::from_slice(&wrap(3, -5, metadata.as_bytes())).unwrap();
            assert_eq!(wrapped["$daybook"]["version"], 3);
            assert_eq!(wrapped["$daybook"]["recorded_at"], -5);
            assert!(wrapped.get(key).is_some(), "{wrapped}");
        }
    }

    #[test]
    fn what_others_wrote_is_left_alone() {
        for foreign in ["", "{}", "{\"$daybook\":1}", "{\"$daybook\":{\"version\":1}}", "text"] {
            assert_eq!(unwrap(foreign.as_bytes()), None, "{foreign}");
        }
    }

    proptest! {
        #[test]
        fn every_metadata_survives_byte_for_byte(
            version in 1u16..,
            recorded_at: i64,
            metadata in prop_oneof![
                any::<Vec<u8>>(),
                "[ \\n]{0,2}[{]?[ ]?(\"[a-z]\":[0-9]{1,3})?[ ]?[}]?[ ]?".prop_map(String::into_bytes),
                "[\\[{\"a-z0-9: ,}\\]\\n]{0,12}".prop_map(String::into_bytes),
            ],
        ) {
            let wrapped = wrap(version, recorded_at, &metadata);
            prop_assert!(serde_json::from_slice::<Value>(&wrapped).is_ok());
            prop_assert_eq!(unwrap(&wrapped), Some((Envelope { version, recorded_at }, metadata)));
        }
    }
}
