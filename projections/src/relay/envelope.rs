//! An event as a CloudEvent (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>) in structured mode, JSON.
//!
//! The payload stands in `data` byte for byte as it is in the log (in `data_base64` if it is no JSON). What CloudEvents has no
//! name for is in extension attributes: `daybookposition` (text, for it has 64 bits), `daybookrevision` (text),
//! `daybookversion` (of the schema) and `daybookmetadata` (text).

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use daybook_eventlog::RecordedEvent;
use daybook_eventlog::event::RecordedHeader;
use daybook_schemas::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Content type of a message.
pub(super) const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";

/// Why a message is not one of ours.
#[derive(Debug, Clone, thiserror::Error)]
#[error("not an event of Daybook: {0}")]
pub struct EnvelopeError(String);

#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    specversion: &'a str,
    id: uuid::Uuid,
    source: std::borrow::Cow<'a, str>,
    #[serde(rename = "type")]
    kind: std::borrow::Cow<'a, str>,
    subject: std::borrow::Cow<'a, str>,
    time: Timestamp,
    datacontenttype: &'a str,
    daybookposition: String,
    daybookrevision: String,
    daybookversion: u16,
    daybookmetadata: std::borrow::Cow<'a, str>,
    /// The recording time to the microsecond, where `time` has no room for it.
    daybookrecorded: String,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

/// The message of an event.
#[must_use]
pub fn encode(source: &str, event: &RecordedEvent) -> Bytes {
    let raw: Option<&RawValue> = serde_json::from_slice(event.data()).ok();
    let data = raw.filter(|raw| raw.get().as_bytes() == event.data());
    let envelope = Envelope {
        specversion: "1.0",
        id: event.event_id,
        source: source.into(),
        kind: event.event_type().into(),
        subject: event.stream().into(),
        time: Timestamp::from_micros(event.recorded_at),
        datacontenttype: "application/json",
        daybookposition: event.position.to_string(),
        daybookrevision: event.revision.to_string(),
        daybookversion: event.version,
        daybookmetadata: String::from_utf8_lossy(event.metadata()),
        daybookrecorded: event.recorded_at.to_string(),
        data,
        data_base64: data.is_none().then(|| STANDARD.encode(event.data())),
    };
    Bytes::from(serde_json::to_vec(&envelope).expect("plain data with string keys"))
}

/// The event in a message.
pub fn decode(message: &[u8]) -> Result<RecordedEvent, EnvelopeError> {
    let wrong = |e: &dyn std::fmt::Display| EnvelopeError(e.to_string());
    let envelope: Envelope<'_> = serde_json::from_slice(message).map_err(|e| wrong(&e))?;
    if envelope.specversion != "1.0" {
        return Err(wrong(&format!("CloudEvents {} is not known here", envelope.specversion)));
    }
    let number = |text: &str| text.parse::<u64>().map_err(|e| wrong(&e));
    let decoded;
    let data = match (envelope.data, &envelope.data_base64) {
        (Some(raw), None) => raw.get().as_bytes(),
        (None, Some(text)) => {
            decoded = STANDARD.decode(text).map_err(|e| wrong(&e))?;
            &decoded
        }
        _ => return Err(wrong(&"one of data and data_base64")),
    };
    let header = RecordedHeader {
        position: number(&envelope.daybookposition)?,
        revision: number(&envelope.daybookrevision)?,
        event_id: envelope.id,
        version: envelope.daybookversion,
        recorded_at: envelope.daybookrecorded.parse().map_err(|e| wrong(&e))?,
    };
    if !(envelope.subject.is_ascii() && envelope.kind.is_ascii()) {
        return Err(wrong(&"names are ASCII"));
    }
    let metadata = envelope.daybookmetadata.as_bytes();
    Ok(RecordedEvent::from_parts(header, &envelope.subject, &envelope.kind, data, metadata))
}

/// `<prefix>.<aggregate>.<id>.<type>`: of stream `variant-a.1` and type `variant.created`, `daybook.variant.a%2E1.created`.
/// Whatever could break a subject apart or be a wildcard is escaped as in a URL; a part that is empty is `%`.
#[must_use]
pub fn subject(prefix: &str, stream: &str, event_type: &str) -> String {
    let (aggregate, id) = stream.split_once('-').unwrap_or((stream, ""));
    let own = event_type.strip_prefix(aggregate).and_then(|rest| rest.strip_prefix('.'));
    let mut subject = prefix.to_owned();
    for part in [aggregate, id, own.unwrap_or(event_type)] {
        subject.push('.');
        push_escaped(part, &mut subject);
    }
    subject
}

fn push_escaped(part: &str, to: &mut String) {
    if part.is_empty() {
        to.push('%');
    }
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            to.push(char::from(byte));
        } else {
            write!(to, "%{byte:02X}").expect("a String takes every write");
        }
    }
}

#[cfg(test)]
mod tests {
    use daybook_eventlog::event::RecordedHeader;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_in_a_name_breaks_a_subject() {
        for (stream, kind, expected) in [
            ("variant-a", "variant.created", "d.variant.a.created"),
            ("variant-a.1", "variant.price_changed", "d.variant.a%2E1.price_changed"),
            ("order-*->", "order.placed", "d.order.%2A-%3E.placed"),
            ("variant-", "other.thing.x", "d.variant.%.other%2Ething%2Ex"),
            ("lonely", "lonely", "d.lonely.%.lonely"),
            ("a%2E-b", "x", "d.a%252E.b.x"),
        ] {
            assert_eq!(subject("d", stream, kind), expected);
        }
    }

    proptest! {
        #[test]
        fn events_come_back_byte_for_byte(
            (position, revision, recorded_at) in (1..=u64::MAX, 1..=u64::MAX, 0..4_000_000_000_000_000_i64),
            stream in "[!-~]{1,40}", kind in "[a-z.]{1,20}",
            data in prop_oneof![
                Just(b"{\"a\": 1.50,\"b\":[null]}".to_vec()), Just(b" {}".to_vec()), Just(b"".to_vec()),
                proptest::collection::vec(any::<u8>(), 0..50),
            ],
        ) {
            let header = RecordedHeader { position, revision, event_id: uuid::Uuid::from_u128(7), version: 3, recorded_at };
            let event = RecordedEvent::from_parts(header, &stream, &kind, &data, b"{\"actor\":\"a\"}");
            let message = encode("/shop", &event);
            prop_assert_eq!(decode(&message).unwrap(), event);
            let subject = subject("daybook", &stream, &kind);
            prop_assert_eq!(subject.split('.').count(), 4);
            prop_assert!(!subject.contains(['*', '>', ' ']) && subject.split('.').all(|part| !part.is_empty()));
        }
    }

    #[test]
    fn a_message_is_a_cloud_event() {
        let header = RecordedHeader {
            position: 9_007_199_254_740_993,
            revision: 2,
            event_id: uuid::Uuid::from_u128(1),
            version: 1,
            recorded_at: 1_700_000_000_123_456,
        };
        let event = RecordedEvent::from_parts(header, "variant-a", "variant.locked", b"{\"x\":1}", b"{}");
        let message: serde_json::Value = serde_json::from_slice(&encode("/shop", &event)).unwrap();
        for (name, value) in [
            ("specversion", "1.0"),
            ("id", "00000000-0000-0000-0000-000000000001"),
            ("source", "/shop"),
            ("type", "variant.locked"),
            ("subject", "variant-a"),
            ("datacontenttype", "application/json"),
            ("daybookposition", "9007199254740993"),
        ] {
            assert_eq!(message[name], value);
        }
        assert_eq!(message["data"]["x"], 1);
        assert!(message["time"].as_str().unwrap().starts_with("2023-11-14T22:13:20.123"));
    }
}
