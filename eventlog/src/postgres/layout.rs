//! How streams and events look in the tables of `postgres-es`, and how the bytes come back unchanged.
//!
//! ```text
//! stream        inventory-42        aggregate_type inventory, aggregate_id 42: split at the first hyphen
//! revision      7                   sequence 7
//! type          inventory.reserved  event_type; version 1 is event_version "1"
//! data          {"quantity":1}      payload {"inventory.reserved":{"quantity":1}}, as serde tags an enum externally
//! metadata      {"actor":"api"}     metadata, where it is an object of strings, as postgres-es reads it
//! ```
//!
//! Both columns are `json`, which keeps a text as it is given (`jsonb` would not). Data or metadata that such a column
//! cannot hold, or could not give back byte for byte, goes into a `bytea` column beside it.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::value::RawValue;

use crate::event::NewEvent;

/// Splits a stream name into aggregate type and id. A name without a hyphen, or with one in front, has an empty
/// type and is the id as a whole: so every name has its own pair, and [`stream_name`] is the inverse.
pub(super) fn split(stream: &str) -> (&str, &str) {
    match stream.split_once('-') {
        Some((kind, id)) if !kind.is_empty() => (kind, id),
        _ => ("", stream),
    }
}

/// The stream that a row belongs to.
pub(super) fn stream_name(aggregate_type: &str, aggregate_id: &str) -> String {
    if aggregate_type.is_empty() {
        return aggregate_id.to_owned();
    }
    let mut name = String::with_capacity(aggregate_type.len() + 1 + aggregate_id.len());
    name.push_str(aggregate_type);
    name.push('-');
    name.push_str(aggregate_id);
    name
}

/// The columns that hold the bytes of one event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) payload: String,
    pub(super) metadata: String,
    pub(super) raw_data: Option<Vec<u8>>,
    pub(super) raw_metadata: Option<Vec<u8>>,
}

impl Columns {
    /// Lays an event out. With `raw`, the bytes go into the `bytea` columns whatever they are: for texts that Rust takes
    /// for JSON and the server does not.
    pub(super) fn of(event: &NewEvent, raw: bool) -> Self {
        let data = if raw { None } else { json_text(&event.data) };
        let metadata = if raw { None } else { map_of_strings(&event.metadata) };
        Self {
            payload: wrap(event.event_type, data.unwrap_or("null")),
            metadata: metadata.unwrap_or("{}").to_owned(),
            raw_data: data.is_none().then(|| event.data.to_vec()),
            raw_metadata: metadata.is_none().then(|| event.metadata.to_vec()),
        }
    }
}

/// The bytes as a JSON text without white space around it, which could not be told from a wrapper's own.
fn json_text(bytes: &[u8]) -> Option<&str> {
    let text: &RawValue = serde_json::from_slice(bytes).ok()?;
    (text.get().len() == bytes.len()).then_some(text.get())
}

/// The bytes as the JSON text of an object whose values are all strings: what stock `postgres-es` reads.
fn map_of_strings(bytes: &[u8]) -> Option<&str> {
    let text = json_text(bytes)?;
    // A map that borrows fails on escapes, so owned strings; metadata is short.
    serde_json::from_str::<HashMap<String, String>>(text).ok().map(|_| text)
}

fn prefix(event_type: &str) -> String {
    let mut prefix = String::with_capacity(event_type.len() + 4);
    prefix.push_str("{\"");
    for c in event_type.chars() {
        if matches!(c, '"' | '\\') {
            prefix.push('\\');
        }
        prefix.push(c);
    }
    prefix.push_str("\":");
    prefix
}

fn wrap(event_type: &str, data: &str) -> String {
    let mut payload = prefix(event_type);
    payload.reserve_exact(data.len() + 1);
    payload.push_str(data);
    payload.push('}');
    payload
}

/// The data in a payload that Daybook wrote; `None` if it is not one.
pub(super) fn unwrap_own<'a>(event_type: &str, payload: &'a str) -> Option<&'a str> {
    let rest = payload.strip_prefix("{\"")?;
    let rest = if event_type.contains(['"', '\\']) {
        payload.strip_prefix(prefix(event_type).as_str())?
    } else {
        rest.strip_prefix(event_type)?.strip_prefix("\":")?
    };
    rest.strip_suffix('}')
}

/// The data in a payload that stock `postgres-es` wrote: what an externally tagged enum holds under the name of the
/// type; the payload as a whole in any other form.
pub(super) fn unwrap_stock<'a>(event_type: &str, payload: &'a str) -> &'a str {
    match serde_json::from_str::<HashMap<String, &RawValue>>(payload) {
        Ok(fields) if fields.len() == 1 => {
            fields.get(event_type).map_or_else(|| payload.trim_ascii(), |data| data.get())
        }
        _ => payload.trim_ascii(),
    }
}

/// `event_version` as Daybook writes it.
pub(super) fn version_text(version: u16) -> String {
    let mut text = String::with_capacity(5);
    write!(text, "{version}").expect("a String takes every write");
    text
}

/// The schema version in an `event_version`: its first number, so that the `1.0` of the `cqrs-es` book is 1; 1 where
/// there is none.
pub(super) fn version_number(text: &str) -> u16 {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text[..digits].parse().unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn event(event_type: &'static str, data: &[u8], metadata: &[u8]) -> NewEvent {
        NewEvent {
            event_id: Uuid::from_u128(7),
            event_type,
            version: 1,
            recorded_at: 0,
            data: Bytes::copy_from_slice(data),
            metadata: Bytes::copy_from_slice(metadata),
        }
    }

    fn data_back(event_type: &str, columns: &Columns) -> Vec<u8> {
        columns.raw_data.clone().unwrap_or_else(|| {
            unwrap_own(event_type, &columns.payload).expect("own payloads have the wrapper").into()
        })
    }

    #[test]
    fn streams_split_at_the_first_hyphen() {
        assert_eq!(split("inventory-42"), ("inventory", "42"));
        assert_eq!(split("claim-sku-a-b"), ("claim", "sku-a-b"));
        assert_eq!(split("single"), ("", "single"));
        assert_eq!(split("-42"), ("", "-42"));
        assert_eq!(split("a-"), ("a", ""));
    }

    #[test]
    fn json_is_wrapped_by_its_type() {
        let columns = Columns::of(&event("order.paid", br#"{"b":1,  "a":2}"#, br#"{"actor":"api"}"#), false);
        assert_eq!(columns.payload, r#"{"order.paid":{"b":1,  "a":2}}"#);
        assert_eq!(columns.metadata, r#"{"actor":"api"}"#);
        assert_eq!((columns.raw_data, columns.raw_metadata), (None, None));
    }

    #[test]
    fn what_a_json_column_cannot_give_back_is_kept_as_bytes() {
        for data in [&b""[..], b"\xff\xfe", b" 1", b"1\n", b"{", b"\0"] {
            let columns = Columns::of(&event("t", data, b"{}"), false);
            assert_eq!(columns.raw_data.as_deref(), Some(data));
            assert_eq!(columns.payload, r#"{"t":null}"#);
        }
        for metadata in [&b""[..], br#"{"a":1}"#, b"[]", b" {}"] {
            let columns = Columns::of(&event("t", b"1", metadata), false);
            assert_eq!((columns.metadata.as_str(), columns.raw_metadata.as_deref()), ("{}", Some(metadata)));
        }
    }

    #[test]
    fn stock_payloads_give_what_the_tag_holds() {
        assert_eq!(unwrap_stock("a.b", r#"{"a.b": {"x": 1}}"#), r#"{"x": 1}"#);
        assert_eq!(unwrap_stock("Created", r#""Created""#), r#""Created""#);
        assert_eq!(
            unwrap_stock("Created", r#"{"type": "Created", "x": 1}"#),
            r#"{"type": "Created", "x": 1}"#
        );
        assert_eq!(unwrap_stock("Created", r#"{"Other": 1}"#), r#"{"Other": 1}"#);
    }

    #[test]
    fn versions_are_the_first_number() {
        for (text, version) in [("1", 1), ("1.0", 1), ("12", 12), ("", 1), ("v2", 1), ("0", 1), ("99999", 1)]
        {
            assert_eq!(version_number(text), version, "{text:?}");
        }
        assert_eq!(version_number(&version_text(u16::MAX)), u16::MAX);
    }

    proptest! {
        #[test]
        fn every_stream_has_its_own_pair(name in "[!-~]{1,40}") {
            let (kind, id) = split(&name);
            prop_assert_eq!(stream_name(kind, id), name.as_str());
            prop_assert!(!kind.contains('-'));
        }

        #[test]
        fn all_bytes_come_back(
            data in prop_oneof![any::<Vec<u8>>(), "[{}\\[\\]\", :a0\\\\ ]{0,12}".prop_map(String::into_bytes)],
            name in 0..3usize,
        ) {
            let name = ["order.paid", "quo\"te", "back\\slash"][name];
            let columns = Columns::of(&event(name, &data, b"{}"), false);
            prop_assert!(serde_json::from_str::<&RawValue>(&columns.payload).is_ok());
            prop_assert_eq!(data_back(name, &columns), data);
        }
    }
}
