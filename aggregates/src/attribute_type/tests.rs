//! Given / when / then for every rule of attribute types that is their own.

use daybook_schemas::Label;
use daybook_schemas::attribute_type::{AllowedValues, DataType};
use serde_json::{Value, json};

use super::{Action, AttributeType, LIFECYCLE, check_value};
use crate::testing::{Scene, every_command_in_every_state, governing_body};

fn absent() -> Scene<AttributeType> {
    Scene::new(Action::parse)
}

fn body(fields: Value) -> Value {
    let mut body = json!({"code": "material", "name": "Material", "data_type": "text"});
    let Value::Object(fields) = fields else { panic!("an object") };
    body.as_object_mut().unwrap().extend(fields);
    body
}

fn draft() -> Scene<AttributeType> {
    let mut of = absent();
    of.ok("create", body(json!({})));
    of
}

#[test]
fn every_command_in_every_state_by_every_role() {
    let body = |name: &str| {
        governing_body(name).unwrap_or_else(|| match name {
            "change-segmentation" => json!({"channels": ["web"]}),
            _ => json!({"name": "Fabric"}),
        })
    };
    let state = |of: &AttributeType| of.existing().unwrap().governed.lifecycle;
    every_command_in_every_state(draft, state, &LIFECYCLE.sheet(), &Action::specs(), body);
}

#[test]
fn the_code_is_the_id_unless_given() {
    let events = absent()
        .ok("create", json!({"name": "Material", "data_type": "text", "regions": ["uk", "eu", "uk"]}));
    assert_eq!((&events[0].1["code"], &events[0].1["regions"]), (&json!("fresh-1"), &json!(["eu", "uk"])));
}

#[test]
fn every_change_of_the_definition_counts_up() {
    let mut of = draft();
    let events = of.ok("change", json!({"name": "Fabric", "unit": "cm"}));
    assert_eq!(events[0].1, json!({"definition": 2, "name": "Fabric", "unit": "cm"}));
    of.writes("change", json!({"name": "Fabric"}), &[]);
    let events = of.ok("change", json!({"allowed": {"max_length": 5}, "description": "d"}));
    assert_eq!(events[0].1["definition"], 3);
    assert_eq!(of.state.existing().unwrap().definition, 3);
}

#[test]
fn bounds_fit_the_data_type_and_each_other() {
    for (data_type, allowed) in [
        ("text", json!({"min": "1"})),
        ("number", json!({"min": "2", "max": "1"})),
        ("number", json!({"one_of": ["many"]})),
        ("number", json!({"one_of": ["7"], "max": "5"})),
        ("boolean", json!({"one_of": ["yes"]})),
        ("color", json!({"one_of": ["Navy"]})),
        ("text", json!({"one_of": ["Cotton"], "max_length": 3})),
    ] {
        let body = body(json!({"data_type": data_type, "allowed": allowed}));
        absent().refuses("create", body, "unprocessable");
    }
    let many: Vec<_> = (0..=super::MAX_ONE_OF).map(|n| format!("v{n}")).collect();
    absent().refuses("create", body(json!({"allowed": {"one_of": many}})), "invalid_request");
    let mut of = absent();
    of.ok("create", body(json!({"data_type": "number", "allowed": {"min": "0.5", "max": "2"}})));
    of.refuses("change", json!({"allowed": {"min": "3", "max": "2"}}), "unprocessable");
}

#[test]
fn a_value_is_one_of_the_type() {
    let allowed: AllowedValues = serde_json::from_value(
        json!({"min": "0.5", "max": "2", "one_of": ["0.5", "1", "9"], "max_length": 3}),
    )
    .unwrap();
    let any = AllowedValues::default();
    let check = |data_type, allowed: &AllowedValues, value: &str| {
        check_value(data_type, allowed, &Label::new(value).unwrap()).is_ok()
    };
    assert!(check(DataType::Number, &allowed, "0.5") && check(DataType::Number, &allowed, "1"));
    for bad in ["2", "9", "1.000", "one"] {
        assert!(!check(DataType::Number, &allowed, bad), "{bad}");
    }
    for number in ["0", "10", "-2.5", "0.05", "1000000"] {
        assert!(check(DataType::Number, &any, number), "{number}");
    }
    for other in ["10.0", "1_0", "+5", "-0", "007", ".5", "5.", "1e3", "1,5", "-"] {
        assert!(!check(DataType::Number, &any, other), "{other:?} is not how a number is written");
    }
    assert!(check(DataType::Boolean, &any, "true") && !check(DataType::Boolean, &any, "yes"));
    assert!(!check(DataType::Color, &any, "Navy") && !check(DataType::Size, &any, "M"));
    let names: AllowedValues = serde_json::from_value(json!({"one_of": ["Pure Wool"]})).unwrap();
    assert!(check(DataType::Text, &names, "pure  wool") && !check(DataType::Text, &names, "Cotton"));
}

#[test]
fn a_repeat_changes_nothing_and_another_content_is_refused() {
    let mut of = draft();
    of.writes("create", body(json!({})), &[]);
    of.refuses("create", body(json!({"name": "Other"})), "duplicate_id");
    let events = of.ok("change-segmentation", json!({"channels": ["web", "app"]}));
    assert_eq!(events[0].1, json!({"channels": ["app", "web"], "regions": []}));
    of.writes("change-segmentation", json!({"channels": ["app", "web"]}), &[]);
    let many: Vec<_> = (0..=crate::master::MAX_SEGMENTS).map(|n| format!("c{n}")).collect();
    of.refuses("change-segmentation", json!({"channels": many}), "invalid_request");
}
