//! Every version of every event that was ever written can still be read, and means what it meant.
//!
//! `fixtures/<aggregate>/<event>.v<n>.json` is a payload as it was stored, never edited; beside it
//! `<event>.v<n>.expected.json`, what it is in the current version.

use std::collections::BTreeSet;

use super::{files, folder, versions};
use daybook_schemas::AnyEvent;
use proptest::prelude::*;
use serde_json::Value;

fn read(name: &str) -> Vec<u8> {
    let path = folder("fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}: add the fixture", path.display()))
}

#[test]
fn every_version_ever_written_is_read_as_expected() {
    for (spec, version, name) in versions() {
        let event = AnyEvent::decode(spec.wire_name, version, &read(&format!("{name}.json")))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((event.wire_name(), event.version()), (spec.wire_name, spec.version));
        let written = event.to_data();
        let expected: Value = serde_json::from_slice(&read(&format!("{name}.expected.json"))).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), expected, "{name}");
        assert_eq!(AnyEvent::decode(spec.wire_name, spec.version, &written).unwrap(), event, "{name}");
    }
}

/// A fixture that leaves a field out would not notice its loss.
#[test]
fn the_fixture_of_the_current_version_has_every_field() {
    for (spec, version, name) in versions() {
        if version < spec.version {
            continue;
        }
        let fixture: Value = serde_json::from_slice(&read(&format!("{name}.json"))).unwrap();
        let schema = (spec.schema)().to_value();
        let fields = |object: Option<&Value>| -> BTreeSet<String> {
            object
                .and_then(Value::as_object)
                .map(|fields| fields.keys().cloned().collect())
                .unwrap_or_default()
        };
        assert_eq!(fields(Some(&fixture)), fields(schema.get("properties")), "{name}");
    }
}

#[test]
fn there_are_no_other_files() {
    let expected: BTreeSet<String> = versions()
        .into_iter()
        .flat_map(|(_, _, name)| [format!("{name}.json"), format!("{name}.expected.json")])
        .collect();
    let strays: Vec<_> = files(&folder("fixtures")).difference(&expected).cloned().collect();
    assert!(strays.is_empty(), "an event type never disappears, nor a version: {strays:?}");
}

#[test]
fn unknown_fields_are_refused() {
    for (spec, version, name) in versions() {
        let mut fixture: Value = serde_json::from_slice(&read(&format!("{name}.json"))).unwrap();
        fixture.as_object_mut().unwrap().insert("surprise".to_owned(), Value::Null);
        let decoded = AnyEvent::decode(spec.wire_name, version, fixture.to_string().as_bytes());
        assert!(decoded.unwrap_err().to_string().contains("surprise"), "{name}");
    }
}

proptest! {
    /// Damaged payloads are errors, or other events: never a panic.
    #[test]
    fn damaged_payloads_never_panic(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let all = versions();
        let (spec, version, name) = which.get(&all);
        let mut data = read(&format!("{name}.json"));
        let at = at.index(data.len());
        if cut {
            data.truncate(at);
        } else {
            data[at] = byte;
        }
        let _ = AnyEvent::decode(spec.wire_name, *version, &data);
    }
}
