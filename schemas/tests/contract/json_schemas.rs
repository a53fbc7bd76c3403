//! The JSON Schemas that are checked in are those of the code, and change only compatibly.
//!
//! `UPDATE_SCHEMAS=1 cargo test -p daybook-schemas --test contract` writes what is new or changed compatibly. What
//! changed otherwise needs a new version, an upcaster and a fixture.

use std::collections::BTreeSet;

use super::compatibility::breaks;
use super::{files, folder, versions};
use serde_json::{Value, json};

#[test]
fn the_schemas_checked_in_are_those_of_the_code() {
    let update = std::env::var_os("UPDATE_SCHEMAS").is_some();
    let mut problems = Vec::new();
    for (spec, version, name) in versions() {
        let path = folder("json").join(format!("{name}.schema.json"));
        let stored: Option<Value> =
            std::fs::read(&path).ok().map(|text| serde_json::from_slice(&text).expect("a schema is JSON"));
        // The code knows only the current version; older ones stay as they were.
        if version < spec.version {
            if stored.is_none() {
                problems.push(format!("{name}: the schema of an old version is missing"));
            }
            continue;
        }
        let code = (spec.schema)().to_value();
        let breaking = stored.as_ref().map(|stored| breaks(stored, &code)).unwrap_or_default();
        if !breaking.is_empty() {
            problems.push(format!("{name}: needs a new version: {}", breaking.join("; ")));
        } else if stored.as_ref() != Some(&code) {
            if update {
                std::fs::create_dir_all(path.parent().expect("a folder an aggregate")).unwrap();
                std::fs::write(&path, format!("{}\n", serde_json::to_string_pretty(&code).unwrap())).unwrap();
            } else {
                problems.push(format!(
                    "{name}: missing or out of date, but compatible: run with UPDATE_SCHEMAS=1"
                ));
            }
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn there_are_no_other_files() {
    let expected: BTreeSet<String> =
        versions().into_iter().map(|(_, _, name)| format!("{name}.schema.json")).collect();
    let strays: Vec<_> = files(&folder("json")).difference(&expected).cloned().collect();
    assert!(strays.is_empty(), "an event type never disappears, nor a version: {strays:?}");
}

fn schema() -> Value {
    json!({
        "type": "object", "required": ["id"], "additionalProperties": false,
        "properties": {
            "id": {"$ref": "#/$defs/Id"},
            "state": {"type": "string", "enum": ["on", "off"]},
            "count": {"type": ["integer", "null"], "minimum": 0, "maximum": 9},
            "parts": {"type": "array", "items": {"$ref": "#/$defs/Id"}},
            "choice": {"anyOf": [{"$ref": "#/$defs/Id"}, {"type": "null"}]}
        },
        "$defs": {"Id": {"type": "string", "maxLength": 64, "pattern": "^a"}}
    })
}

/// The schema with the value at a pointer replaced, or removed.
fn with(pointer: &str, value: Option<Value>) -> Value {
    let mut changed = schema();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = changed.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => parent.insert(name.to_owned(), value),
        None => parent.remove(name),
    };
    changed
}

#[test]
fn what_widens_is_compatible() {
    assert_eq!(breaks(&schema(), &schema()), Vec::<String>::new());
    for (what, changed) in [
        ("new property", with("/properties/note", Some(json!({"type": "string"})))),
        ("other words", with("/description", Some(json!("An event.")))),
        ("no longer required", with("/required", Some(json!([])))),
        ("new value", with("/properties/state/enum", Some(json!(["on", "off", "broken"])))),
        ("wider", with("/properties/count/maximum", Some(json!(10)))),
        ("unbounded", with("/$defs/Id/maxLength", None)),
        (
            "new alternative",
            with(
                "/properties/choice/anyOf",
                Some(json!([{"$ref": "#/$defs/Id"}, {"type": "null"}, {"type": "integer"}])),
            ),
        ),
    ] {
        assert_eq!(breaks(&schema(), &changed), Vec::<String>::new(), "{what}");
    }
}

#[test]
fn what_narrows_or_changes_its_meaning_is_not() {
    for (what, changed) in [
        ("property gone", with("/properties/state", None)),
        ("now required", with("/required", Some(json!(["id", "state"])))),
        ("value gone", with("/properties/state/enum", Some(json!(["on"])))),
        ("other type", with("/properties/parts/type", Some(json!("object")))),
        ("no longer null", with("/properties/count/type", Some(json!("integer")))),
        ("tighter", with("/properties/count/maximum", Some(json!(8)))),
        ("higher", with("/properties/count/minimum", Some(json!(1)))),
        ("other pattern inside a definition", with("/$defs/Id/pattern", Some(json!("^b")))),
        ("shorter inside a definition", with("/$defs/Id/maxLength", Some(json!(8)))),
        ("other items", with("/properties/parts/items", Some(json!({"type": "integer"})))),
        ("alternative gone", with("/properties/choice/anyOf", Some(json!([{"$ref": "#/$defs/Id"}])))),
    ] {
        assert_ne!(breaks(&schema(), &changed), Vec::<String>::new(), "{what}");
    }
}
