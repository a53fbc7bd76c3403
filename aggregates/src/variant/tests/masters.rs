//! Master data in variants: snapshots, combination rules, segmentation, refreshes.

use daybook_schemas::Label;
use daybook_schemas::master::Lifecycle as MasterState;
use daybook_schemas::variant::{HexColor, MasterKind, ReferencesBound};
use daybook_schemas::{CategoryId, Token, ValueId};
use serde_json::json;

use super::*;
use crate::variant::masters::{CategoryFacts, Limit, Looked, MasterFacts, NamedRules, ValueFacts, resolve};
use crate::variant::{Create, RefreshAttribute};
use crate::{Refusal, Reject};

fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}

fn navy() -> ValueFacts {
    ValueFacts {
        kind: MasterKind::Color,
        value_id: ValueId::new("navy").unwrap(),
        value: label("Navy"),
        display: label("Deep navy"),
        hex: Some(HexColor::new("#000080").unwrap()),
        rank: Some(3),
        lifecycle: MasterState::Active,
        brand: None,
        counted_type: None,
    }
}

fn create(fields: Value) -> Create {
    serde_json::from_value(body(fields)).unwrap()
}

/// Facts about the attributes size, color of [`body`].
fn facts(color: Looked) -> MasterFacts {
    MasterFacts { values: vec![Looked::Inline, color], ..MasterFacts::default() }
}

fn codes(create: &Create, facts: &MasterFacts) -> Vec<&'static str> {
    resolve(create, facts).reasons.iter().map(Reject::code).collect()
}

fn tokens(names: &[&str]) -> Vec<Token> {
    names.iter().map(|name| Token::new(name).unwrap()).collect()
}

#[test]
fn facts_become_snapshots_and_references() {
    let category = CategoryFacts {
        category_id: CategoryId::new("c1").unwrap(),
        name: label("Shirts & Blouses"),
        lifecycle: MasterState::Active,
    };
    let facts = MasterFacts { category: Some(category), ..facts(Looked::Found(Box::new(navy()))) };
    let resolved = resolve(&create(json!({})), &facts).accepted().unwrap();
    let mut item = absent();
    let events = item.act(Action::Create(Box::new(resolved))).unwrap();
    let events: Vec<_> = events.iter().map(crate::testing::written).collect();
    assert_eq!(events[0].1["category"], "Shirts & Blouses");
    assert_eq!(
        events[0].1["attributes"][0],
        json!({"type": "color", "value": "Navy", "value_id": "navy", "display": "Deep navy", "hex": "#000080", "rank": 3})
    );
    assert_eq!(events[0].1["attributes"][1]["value_id"], "size-m", "inline as it was");
    let bound = json!({"category_id": "c1", "values": [{"kind": "color", "value_id": "navy"}]});
    assert_eq!(events[1], ("variant.references_bound".to_owned(), bound));
}

#[test]
fn without_master_data_nothing_changes() {
    let plain = create(json!({}));
    let resolved = resolve(&plain, &facts(Looked::Inline)).accepted().unwrap();
    assert_eq!(resolved, plain);
    assert_eq!(existing(&draft()).references, ReferencesBound::default());
}

#[test]
fn every_reason_is_told() {
    let category = CategoryFacts {
        category_id: CategoryId::new("c1").unwrap(),
        name: label("Shirts"),
        lifecycle: MasterState::Draft,
    };
    let value = ValueFacts { lifecycle: MasterState::Deprecated, brand: Some(label("Other")), ..navy() };
    let rules = serde_json::from_value(json!({
        "attributes": [{"type": "material", "required": true}, {"type": "color", "allowed": ["red"]}],
        "forbidden": [{"first": "size-m", "second": "navy"}], "closed": true,
    }));
    let facts = MasterFacts {
        category: Some(category),
        rules: vec![NamedRules { source: "category c1".to_owned(), rules: rules.unwrap() }],
        limits: vec![Limit { source: "brand Acme".to_owned(), channels: tokens(&["web"]), regions: vec![] }],
        ..facts(Looked::Found(Box::new(value)))
    };
    let refused = resolve(&create(json!({"channels": ["shop"]})), &facts).accepted().unwrap_err();
    let refusal = Refusal::from(refused);
    let codes: Vec<_> = refusal.errors.iter().map(|error| error.code).collect();
    let combination = "combination_not_allowed";
    let expected = [
        "unprocessable",
        "unprocessable",
        "unprocessable",
        combination,
        combination,
        combination,
        combination,
        "unprocessable",
    ];
    assert_eq!(codes, expected, "{:?}", refusal.errors);
    assert!(refusal.errors[7].detail.contains("brand Acme"), "{:?}", refusal.errors[7]);
}

#[test]
fn a_registered_type_has_only_its_values_and_is_active() {
    assert_eq!(codes(&create(json!({})), &facts(Looked::Missing)), ["unprocessable"]);
    assert_eq!(
        codes(&create(json!({})), &facts(Looked::DeadType(MasterState::Deprecated))),
        ["unprocessable"]
    );
}

#[test]
fn a_brands_colour_is_for_that_brand() {
    let of = |brand: &str| ValueFacts { brand: Some(label(brand)), ..navy() };
    assert_eq!(codes(&create(json!({})), &facts(Looked::Found(Box::new(of("ACME"))))), [""; 0]);
    assert_eq!(codes(&create(json!({})), &facts(Looked::Found(Box::new(of("Emca"))))), ["unprocessable"]);
}

#[test]
fn a_variant_is_sold_within_all_that_is_allowed() {
    let limit = |channels: &[&str], regions: &[&str]| Limit {
        source: "category".to_owned(),
        channels: tokens(channels),
        regions: tokens(regions),
    };
    let with = |limits| MasterFacts { limits, ..facts(Looked::Inline) };
    let both = with(vec![limit(&["app", "web"], &[]), limit(&["shop", "web"], &["eu"])]);
    let inherited = resolve(&create(json!({})), &both).accepted().unwrap();
    assert_eq!((inherited.channels, inherited.regions), (tokens(&["web"]), tokens(&["eu"])));
    assert_eq!(codes(&create(json!({"channels": ["web"]})), &both), [""; 0]);
    assert_eq!(codes(&create(json!({"channels": ["shop", "kiosk"]})), &both), ["unprocessable"; 3]);
    let nothing = with(vec![limit(&["app"], &[]), limit(&["shop"], &[])]);
    assert_eq!(codes(&create(json!({})), &nothing), ["unprocessable"]);

    let mut item = draft();
    let Action::ChangeSegmentation(mut change) =
        item.parsed("change-segmentation", &json!({"channels": ["shop"], "regions": ["us"]}))
    else {
        panic!("a segmentation")
    };
    change.limits = vec![limit(&["web"], &["eu"])];
    let refusal = Refusal::from(item.act(Action::ChangeSegmentation(change)).unwrap_err());
    assert_eq!((refusal.code, refusal.errors.len()), ("unprocessable", 2));
}

#[test]
fn what_customers_see_follows_the_master_data_and_the_configuration_stays() {
    let mut item = absent();
    let resolved = resolve(&create(json!({})), &facts(Looked::Found(Box::new(navy())))).accepted().unwrap();
    item.act(Action::Create(Box::new(resolved))).unwrap();
    let hash = existing(&item).config_hash.clone();
    let mut refresh = |value: ValueFacts| {
        let refresh = RefreshAttribute { value_id: value.value_id.clone(), value: Some(value) };
        let events = item.act(Action::RefreshAttribute(refresh)).unwrap();
        (events.iter().map(crate::testing::written).collect::<Vec<_>>(), existing(&item).clone())
    };
    assert_eq!(refresh(navy()).0, []);
    let renamed = ValueFacts { display: label("Midnight"), rank: None, ..navy() };
    let (events, now) = refresh(renamed.clone());
    let expected = json!({"value_id": "navy", "display": "Midnight", "hex": "#000080", "deprecated": false});
    assert_eq!(events, [("variant.attribute_refreshed".to_owned(), expected)]);
    assert_eq!((now.attributes[0].display.as_str(), &now.config_hash), ("Midnight", &hash));
    let (events, now) = refresh(ValueFacts { lifecycle: MasterState::Deprecated, ..renamed.clone() });
    assert_eq!((&events[0].1["deprecated"], now.deprecated_values.len()), (&json!(true), 1));
    assert_eq!(refresh(ValueFacts { lifecycle: MasterState::Archived, ..renamed.clone() }).0, []);
    assert_eq!(refresh(renamed).1.deprecated_values, []);
    assert_eq!(refresh(ValueFacts { value_id: ValueId::new("other").unwrap(), ..navy() }).0, []);
}
