//! Given / when / then for every rule of attribute values that is their own.

use daybook_schemas::attribute_type::{AllowedValues, DataType};
use daybook_schemas::{Label, Token};
use serde_json::{Value, json};

use super::{Action, AttributeValue, LIFECYCLE, TypeFacts, claim_key};
use crate::lifecycle::{BrokenRule, Rule};
use crate::master;
use crate::testing::{Scene, every_command_in_every_state, governing_body, written};
use crate::{Kind, Refusal};

fn absent() -> Scene<AttributeValue> {
    Scene::new(Action::parse)
}

fn create(
    scene: &mut Scene<AttributeValue>,
    fields: Value,
    allowed: AllowedValues,
) -> Result<Vec<(String, Value)>, Refusal> {
    let mut body = json!({"type": "material", "value": "Wool"});
    let Value::Object(fields) = fields else { panic!("an object") };
    body.as_object_mut().unwrap().extend(fields);
    let Action::Create(mut create) = scene.parsed("create", &body) else { panic!("a creation") };
    create.type_facts = Some(TypeFacts {
        attribute_type_id: Token::new("material").unwrap(),
        data_type: DataType::Text,
        allowed,
    });
    let events = scene.act(Action::Create(create)).map_err(Refusal::from)?;
    Ok(events.iter().map(written).collect())
}

fn draft() -> Scene<AttributeValue> {
    let mut value = absent();
    create(&mut value, json!({}), AllowedValues::default()).unwrap();
    value
}

#[test]
fn every_command_in_every_state_by_every_role() {
    let body = |name: &str| {
        governing_body(name).unwrap_or_else(|| match name {
            "change-segmentation" => json!({"regions": ["eu"]}),
            _ => json!({"display_name": "Pure wool"}),
        })
    };
    let state = |value: &AttributeValue| value.existing().unwrap().governed.lifecycle;
    every_command_in_every_state(draft, state, &LIFECYCLE.sheet(), &Action::specs(), body);
}

#[test]
fn a_value_belongs_to_a_type_that_takes_it() {
    let body = json!({"type": "material", "value": "Wool"});
    absent().refuses("create", body, "unprocessable");
    let events =
        create(&mut absent(), json!({"hex": "#EEEEEE", "rank": 2}), AllowedValues::default()).unwrap();
    assert_eq!((&events[0].1["hex"], &events[0].1["display_name"]), (&json!("#eeeeee"), &json!("Wool")));
    let only: AllowedValues = serde_json::from_value(json!({"one_of": ["Cotton"]})).unwrap();
    assert_eq!(create(&mut absent(), json!({}), only.clone()).unwrap_err().code, "unprocessable");
    let mut value = draft();
    assert_eq!(create(&mut value, json!({}), only).unwrap(), [], "a repeat is not judged again");
    let refusal = create(&mut value, json!({"rank": 9}), AllowedValues::default()).unwrap_err();
    assert_eq!(refusal.code, "duplicate_id");
}

#[test]
fn it_becomes_active_only_under_an_active_type() {
    let mut value = draft();
    let broken = BrokenRule {
        rule: Rule::LiveParent,
        what: "attribute type",
        id: "material".to_owned(),
        state: "draft",
    };
    let step = master::Step { reason: None, broken: vec![broken] };
    let refusal = Refusal::from(value.act(Action::Govern(master::Action::Activate(step))).unwrap_err());
    assert_eq!((refusal.code, refusal.kind), ("unprocessable", Kind::Unprocessable));
    assert_eq!(refusal.detail, "attribute type material is draft: it must be active");
    value.ok("activate", json!({}));
}

#[test]
fn every_change_counts_up_and_only_what_differs_is_written() {
    let mut value = draft();
    let events = value.ok("change", json!({"display_name": "Pure wool", "hex": "#FFFFFF"}));
    assert_eq!(events[0].1, json!({"definition": 2, "display_name": "Pure wool", "hex": "#ffffff"}));
    value.writes("change", json!({"hex": "#ffffff"}), &[]);
    value.refuses("change", json!({"hex": "white"}), "invalid_request");
    assert_eq!(value.ok("change", json!({"rank": 4}))[0].1, json!({"definition": 3, "rank": 4}));
    absent().refuses("change", json!({}), "not_found");
}

#[test]
fn what_is_unique_is_compared_without_case_and_blanks() {
    let key = |value: &str| claim_key(&Token::new("material").unwrap(), &Label::new(value).unwrap());
    assert_eq!(key("Pure  Wool"), key("pure wool"));
    assert_eq!(key("Wool"), "material|wool");
}
