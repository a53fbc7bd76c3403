//! Creation: configuration, value ids, SKUs.

use daybook_schemas::{Label, Sku, Token, ValueId};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::variant::sku::{self, SkuPlan};
use crate::variant::{Create, MAX_ATTRIBUTES, configuration, value_id};

fn create(fields: Value) -> Create {
    match absent().parsed("create", &body(fields)) {
        Action::Create(create) => *create,
        other => panic!("another action: {other:?}"),
    }
}

#[test]
fn a_variant_is_created_complete() {
    let events = absent().ok("create", body(json!({"channels": ["web", "app", "web"]})));
    let hash = daybook_schemas::configuration::hash(
        &daybook_schemas::ProductId::new("shirt").unwrap(),
        &[ValueId::new("size-m").unwrap(), ValueId::new("color-navy").unwrap()],
    );
    let sku = events[0].1["sku"].as_str().unwrap().to_owned();
    assert_eq!(
        events,
        [(
            "variant.created".to_owned(),
            json!({"variant_id": "fresh-1", "product_id": "shirt", "product_group": "shirt", "sku": sku,
                "name": "Shirt", "brand": "Acme", "category": "shirts",
                "attributes": [
                    {"type": "color", "value": "Navy", "value_id": "color-navy", "display": "Navy", "hex": "#000080"},
                    {"type": "size", "value": "M", "value_id": "size-m", "display": "M", "rank": 3}],
                "config_hash": hash, "config_signature": "color:navy|size:m", "channels": ["app", "web"],
                "regions": [], "price": {"amount": {"amount": "12.50", "currency": "GBP"}, "price_type": "regular"},
                "created_at": "1970-01-01T00:16:40Z"})
        )]
    );
    assert_eq!((sku.len(), &sku[..2]), (14, "V-"));
}

#[test]
fn a_repeat_changes_nothing_and_another_content_is_refused() {
    let mut item = draft();
    let mut repeat = create(json!({}));
    repeat.variant_id = Some(existing(&item).variant_id.clone());
    assert_eq!(item.act(Action::Create(Box::new(repeat))).unwrap(), []);
    // Also where the automatic SKU was taken and grew.
    let mut grown = absent();
    let mut first = create(json!({"sku": {"strategy": "auto"}}));
    first.variant_id = Some(existing(&item).variant_id.clone());
    let repeat = first.clone();
    first.resolved_sku = sku::longer(&first, &existing(&item).sku);
    assert_eq!(grown.act(Action::Create(Box::new(first))).unwrap().len(), 1);
    assert_ne!(existing(&grown).sku, existing(&item).sku);
    assert_eq!(grown.act(Action::Create(Box::new(repeat))).unwrap(), []);
    let refusal = item.refused("create", body(json!({"name": "Other"})));
    assert_eq!((refusal.code, refusal.kind), ("duplicate_variant", crate::Kind::Conflict));
}

#[test]
fn prices_are_checked() {
    let price = |amount: &str, compare_at: &str| json!({"amount": amount, "currency": "GBP", "compare_at": compare_at});
    absent().refuses("create", body(json!({"price": price("-1", "2")})), "unprocessable");
    absent().refuses("create", body(json!({"price": price("2", "1.99")})), "unprocessable");
    absent().refuses("create", body(json!({"price": price("two", "3")})), "invalid_request");
    absent().refuses("create", body(json!({"price": price("1", "1e3")})), "invalid_request");
    absent().ok("create", body(json!({"price": price("0", "0")})));
    absent().ok("create", body(json!({"price": price("2", "2.50")})));
}

#[test]
fn attributes_are_a_set_without_ambiguity() {
    let twice = json!([{"type": "size", "value": "M"}, {"type": "size", "value": "M"}]);
    let events = absent().ok("create", body(json!({"attributes": twice})));
    assert_eq!(events[0].1["attributes"].as_array().unwrap().len(), 1);
    for ambiguous in [
        json!([{"type": "size", "value": "M", "value_id": "m"}, {"type": "size", "value": "Medium", "value_id": "m"}]),
        json!([{"type": "size", "value": "M", "value_id": "m"}, {"type": "fit", "value": "M", "value_id": "m"}]),
    ] {
        absent().refuses("create", body(json!({"attributes": ambiguous})), "unprocessable");
    }
    let many: Vec<_> = (0..=MAX_ATTRIBUTES).map(|n| json!({"type": "t", "value": format!("v{n}")})).collect();
    absent().refuses("create", body(json!({"attributes": many})), "invalid_request");
}

#[test]
fn bodies_are_strict() {
    for fields in [
        json!({"colour": "red"}),
        json!({"name": " "}),
        json!({"sku": {"strategy": "auto", "value": "X"}}),
        json!({"sku": {"strategy": "manual"}}),
        json!({"sku": {"strategy": "manual", "value": "not legal"}}),
        json!({"sku": {"strategy": "random"}}),
        json!({"price": {"amount": 12.5, "currency": "GBP"}}),
        json!({"price": {"amount": "12.5", "currency": "pounds"}}),
        json!({"attributes": [{"type": "color", "value": "Navy", "hex": "blue"}]}),
        json!({"attributes": [{"type": "color"}]}),
        json!({"variant_id": "x"}),
        json!({"resolved_sku": "x"}),
    ] {
        let text = body(fields).to_string();
        assert!(Action::parse("create", text.as_bytes()).unwrap().is_err(), "{text}");
    }
    assert!(Action::parse("archive", br#"{"stock": {}}"#).unwrap().is_err());
    assert!(Action::parse("submit", b"").unwrap().is_ok());
    let upper = create(json!({"attributes": [{"type": "color", "value": "Navy", "hex": "#AABBCC"}]}));
    assert_eq!(upper.attributes[0].hex.as_ref().unwrap().as_str(), "#aabbcc");
    assert_eq!(Action::specs().len(), Action::NAMES.len());
}

#[test]
fn value_ids_are_readable_where_they_can_be_and_never_run_together() {
    let id = |kind: &str, value: &str| {
        value_id(&Token::new(kind).unwrap(), &Label::new(value).unwrap()).unwrap().to_string()
    };
    assert_eq!(id("color", "Navy Blue"), "color-navy-blue");
    assert_eq!(id("Size", "10.5"), "size-10.5");
    assert_eq!(id("size", "M / L"), "size-m-l");
    assert_ne!(id("color", "红"), id("color", "蓝"));
    assert_ne!(id("cup", "C+"), id("cup", "C"));
    assert_eq!(id("cup", "C"), "cup-c");
    assert!(id("size", &"long ".repeat(30)).len() <= 64);
    assert_ne!(id("size", &"long ".repeat(30)), id("size", &"long ".repeat(31)));
    assert!(id(&"k".repeat(64), "v").len() <= 64);
}

#[test]
fn skus_are_given_or_made_from_a_template() {
    let manual = create(json!({"sku": {"strategy": "manual", "value": "ABC-1"}}));
    assert_eq!(sku::plan(&manual).unwrap(), SkuPlan::Fixed(Sku::new("ABC-1").unwrap()));
    let template = |template: &str| create(json!({"sku": {"strategy": "template", "template": template}}));
    let fixed = |text: &str| match sku::plan(&template(text)).unwrap() {
        SkuPlan::Fixed(sku) => sku.to_string(),
        SkuPlan::NeedsSequence(name) => panic!("needs {name}"),
    };
    assert_eq!(fixed("{brand:2}-{color}-{size}"), "AC-NAVY-M");
    assert_eq!(fixed("{product}.{category}_{name}"), "SHIRT.SHIRTS_SHIRT");
    let numbered = template("{brand}-{color}-{size}-{seq:4}");
    assert_eq!(sku::plan(&numbered).unwrap(), SkuPlan::NeedsSequence(Token::new("ACME-NAVY-M-~").unwrap()));
    assert_eq!(sku::with_number(&numbered, 7).unwrap().as_str(), "ACME-NAVY-M-0007");
    assert_eq!(sku::with_number(&numbered, 12_345).unwrap().as_str(), "ACME-NAVY-M-12345");
    for wrong in ["{brand", "{material}", "a b", "{brand:0}", "{brand:x}", "~", "", "ünï"] {
        let refusal: crate::Refusal = sku::plan(&template(wrong)).unwrap_err().into();
        assert_eq!(refusal.code, "unprocessable", "{wrong}");
    }
    let short =
        create(json!({"sku": {"strategy": "template", "template": "{brand}-{color}", "max_length": 8}}));
    assert!(sku::plan(&short).is_err());
}

#[test]
fn a_numbered_sku_arrives_with_the_command() {
    let fields = json!({"sku": {"strategy": "template", "template": "{brand}-{seq}"}});
    absent().refuses("create", body(fields.clone()), "unprocessable");
    let mut item = absent();
    let mut action = create(fields);
    action.resolved_sku = Some(sku::with_number(&action, 3).unwrap());
    item.act(Action::Create(Box::new(action))).unwrap();
    assert_eq!(existing(&item).sku.as_str(), "ACME-3");
}

#[test]
fn an_automatic_sku_that_is_taken_grows_until_the_hash_is_used_up() {
    let create = create(json!({}));
    let SkuPlan::Fixed(mut taken) = sku::plan(&create).unwrap() else { panic!("automatic") };
    let mut tries = 0;
    while let Some(next) = sku::longer(&create, &taken) {
        assert!(next.as_str().starts_with(taken.as_str()));
        taken = next;
        tries += 1;
    }
    assert_eq!((tries, taken.as_str().len()), (10, 53));
}

proptest! {
    #[test]
    fn the_configuration_does_not_depend_on_the_order(
        values in proptest::collection::vec(("[a-c]", "[a-z]{1,3}"), 0..8),
        shift in 0..8_usize,
    ) {
        let attributes = |values: &[(String, String)]| {
            json!({"attributes": values.iter().map(|(k, v)| json!({"type": k, "value": v})).collect::<Vec<_>>()})
        };
        let mut turned = values.clone();
        turned.rotate_left(shift % values.len().max(1));
        turned.extend(values.first().cloned());
        prop_assert_eq!(
            configuration(&create(attributes(&values))).unwrap(),
            configuration(&create(attributes(&turned))).unwrap()
        );
    }

    #[test]
    fn templates_never_panic(template in ".{0,60}", number in any::<u64>()) {
        let create = create(json!({"sku": {"strategy": "template", "template": template}}));
        let _ = sku::plan(&create);
        let _ = sku::with_number(&create, number);
    }

    #[test]
    fn value_ids_are_always_legal(kind in "[A-Za-z0-9._~-]{1,64}", value in "\\PC{1,80}") {
        if let Ok(value) = Label::new(&value) {
            value_id(&Token::new(kind).unwrap(), &value).unwrap();
        }
    }
}
