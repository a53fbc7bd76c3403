//! Variants under master data: another category or brand, usage counts, what activation asks for.

use super::*;
use daybook_aggregates::attribute_type::AttributeType;
use daybook_aggregates::attribute_value::AttributeValue;
use daybook_aggregates::category::Category;
use daybook_aggregates::color::Color;
use daybook_aggregates::variant::{Existing, Variant};

/// A world with an active record of master data for each `(kind/id, body)`.
fn masters(records: &[(&str, Value)]) -> World {
    let mut world = World::given(&[]);
    for (path, body) in records {
        world.record(path, body);
    }
    world
}

impl World {
    fn record(&mut self, path: &str, body: &Value) {
        self.when(&format!("{path}/create"), body).unwrap_or_else(|error| panic!("{path}: {error:?}"));
        let activate = if path.starts_with("color/") { &["submit", "approve"][..] } else { &["activate"] };
        for step in activate {
            self.when(&format!("{path}/{step}"), &json!({}))
                .unwrap_or_else(|error| panic!("{path}: {error:?}"));
        }
    }

    fn state<D: crate::state::Resident>(&self, stream: &str) -> &D {
        let stream = StreamId::new(stream).unwrap();
        let state = self.table.get(&stream).and_then(|slot| slot.state.as_ref()).unwrap();
        D::of(state).unwrap()
    }

    fn variant(&self, id: &str) -> &Existing {
        self.state::<Variant>(&format!("variant-{id}")).existing().unwrap()
    }

    /// How many use a record.
    fn in_use(&self, stream: &str) -> u64 {
        match stream.split_once('-').unwrap().0 {
            "category" => self.state::<Category>(stream).existing().unwrap().governed.in_use,
            "color" => self.state::<Color>(stream).existing().unwrap().governed.in_use,
            "attribute_type" => self.state::<AttributeType>(stream).existing().unwrap().governed.in_use,
            _ => self.state::<AttributeValue>(stream).existing().unwrap().governed.in_use,
        }
    }

    fn refused(&mut self, path: &str, body: &Value) -> daybook_aggregates::Refusal {
        match self.when(path, body) {
            Err(CommandError::Refused(refusal)) => *refusal,
            other => panic!("{path}: {other:?}"),
        }
    }
}

fn variant(fields: Value) -> Value {
    let mut body = create("p");
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

/// Shirts are sold in acme-shop; toys need an age and are sold in toy-shop; Acme and Other are brands of the master data; trim
/// has colours for values, of which one is Acme's own.
fn shirts_and_toys() -> World {
    masters(&[
        ("category/shirts", json!({"name": "Shirts", "channels": ["acme-shop"]})),
        (
            "category/toys",
            json!({"name": "Toys", "channels": ["toy-shop"],
                   "attribute_schema": {"attributes": [{"type": "age", "required": true}]}}),
        ),
        ("category/caps", json!({"name": "Caps"})),
        ("attribute_type/brand", json!({"name": "Brand", "data_type": "text"})),
        ("attribute_type/trim", json!({"name": "Trim", "data_type": "color"})),
        ("attribute_value/b-1", json!({"type": "brand", "value": "Acme"})),
        ("attribute_value/b-2", json!({"type": "brand", "value": "Other", "channels": ["other-shop"]})),
        ("attribute_value/b-3", json!({"type": "brand", "value": "Third"})),
        ("color/red", json!({"name": "Acme red", "hex": "#ff0000", "brand": "Acme"})),
        ("color/navy", json!({"name": "Navy", "hex": "#000080"})),
    ])
}

#[test]
fn another_category_is_looked_at_as_by_a_new_variant() {
    let mut world = shirts_and_toys();
    world.when("variant/v/create", &variant(json!({}))).unwrap();
    assert_eq!(world.variant("v").channels.len(), 1);
    let refusal = world.refused("variant/v/change-details", &json!({"category": "Toys"}));
    let told: Vec<_> = refusal.errors.iter().map(|item| item.code).collect();
    assert_eq!(told, ["combination_not_allowed", "unprocessable"], "{refusal:?}");
    let (before, shirts, caps) = (world.variant("v").clone(), "category-shirts", "category-caps");
    assert_eq!((world.in_use(shirts), world.in_use(caps)), (1, 0));
    let events = world.when("variant/v/change-details", &json!({"category": "caps"})).unwrap();
    assert!(events.contains(&"variant-v variant.references_bound".to_owned()), "{events:?}");
    assert_eq!((world.in_use(shirts), world.in_use(caps)), (0, 1));
    let now = world.variant("v");
    assert_eq!(now.category.as_str(), "Caps", "its own name");
    assert_eq!(now.references.category_id.as_ref().unwrap().as_str(), "caps");
    assert_eq!((now.channels.clone(), now.config_hash.clone()), (before.channels, before.config_hash));
    assert_eq!(
        world.when("variant/v/change-details", &json!({"category": "Caps"})).unwrap(),
        [""; 0],
        "a repeat"
    );
    // What nobody uses any more can go; what it came to can't.
    world.when("category/shirts/deprecate", &json!({})).unwrap();
    world.when("category/shirts/archive", &json!({})).unwrap();
    world.when("category/caps/deprecate", &json!({})).unwrap();
    assert_eq!(code(world.when("category/caps/archive", &json!({}))), "in_use");
    let refusal = world.refused("variant/v/change-details", &json!({"category": "Shirts"}));
    assert!(refusal.detail.contains("archived"), "{refusal:?}");
}

#[test]
fn a_category_sold_elsewhere_asks_for_its_channels_in_the_same_command() {
    let mut world = shirts_and_toys();
    let age = json!({"attributes": [{"type": "age", "value": "3+"}]});
    world.when("variant/v/create", &variant(age)).unwrap();
    assert_eq!(code(world.when("variant/v/change-details", &json!({"category": "Toys"}))), "unprocessable");
    let body = json!({"category": "Toys", "channels": ["toy-shop"]});
    world.when("variant/v/change-details", &body).unwrap();
    assert_eq!(world.variant("v").channels[0].as_str(), "toy-shop");
    // Nowhere in particular becomes everywhere that is allowed, as for a new variant.
    world.when("variant/v/change-details", &json!({"category": "Caps", "channels": []})).unwrap();
    assert!(world.variant("v").channels.is_empty());
    world.when("variant/v/change-details", &json!({"category": "Shirts"})).unwrap();
    assert_eq!(world.variant("v").channels[0].as_str(), "acme-shop");
    let lock = json!({"scopes": ["segmentation"], "reason": "campaign"});
    world.when("variant/v/lock", &lock).unwrap();
    assert_eq!(code(world.when("variant/v/change-details", &body)), "locked");
    world.when("variant/v/change-details", &json!({"name": "Still free"})).unwrap();
}

#[test]
fn another_brand_keeps_colours_and_channels_of_brands() {
    let mut world = shirts_and_toys();
    let trim = |value: &str| json!({"category": "Caps", "attributes": [{"type": "trim", "value": value}]});
    assert_eq!(
        code(world.when(
            "variant/x/create",
            &variant(json!({"brand": "Other",
            "attributes": [{"type": "trim", "value": "Acme red"}]}))
        )),
        "unprocessable"
    );
    world.when("variant/v/create", &variant(trim("Acme red"))).unwrap();
    let refusal = world.refused("variant/v/change-details", &json!({"brand": "Third"}));
    assert!(refusal.detail.contains("belongs to the brand Acme"), "{refusal:?}");
    assert_eq!((world.in_use("attribute_value-b-1"), world.in_use("attribute_value-b-3")), (1, 0));
    world.when("variant/w/create", &variant(trim("Navy"))).unwrap();
    world.when("variant/w/change-details", &json!({"brand": "Other"})).unwrap();
    assert_eq!(world.variant("w").channels[0].as_str(), "other-shop");
    assert_eq!((world.in_use("attribute_value-b-1"), world.in_use("attribute_value-b-2")), (1, 1));
    // Out of the master data again.
    world.when("variant/w/change-details", &json!({"brand": "Free"})).unwrap();
    assert_eq!(world.in_use("attribute_value-b-2"), 0);
}

#[test]
fn types_and_brands_in_use_are_not_archived() {
    let mut world = shirts_and_toys();
    let body = variant(json!({"category": "Caps", "attributes": [{"type": "trim", "value": "Navy"}]}));
    world.when("variant/v/create", &body).unwrap();
    let used = ["attribute_type/trim", "attribute_value/b-1"];
    for path in used {
        world.when(&format!("{path}/deprecate"), &json!({})).unwrap();
        assert_eq!(code(world.when(&format!("{path}/archive"), &json!({}))), "in_use", "{path}");
    }
    let again = variant(json!({"product_id": "q", "category": "Caps"}));
    let refusal = world.refused("variant/w/create", &again);
    assert!(refusal.detail.contains("b-1 is deprecated"), "{refusal:?}");
    // Nor is what uses them activated.
    world.when("variant/v/submit", &json!({})).unwrap();
    let refusal = world.refused("variant/v/activate", &json!({}));
    let subjects: Vec<_> = refusal.errors.iter().filter_map(|item| item.subject.clone()).collect();
    assert_eq!(subjects, ["b-1", "trim"], "{refusal:?}");
    world.when("variant/v/reject", &json!({})).unwrap();
    world.when("variant/v/archive", &json!({})).unwrap();
    for path in used {
        world
            .when(&format!("{path}/archive"), &json!({}))
            .unwrap_or_else(|error| panic!("{path}: {error:?}"));
    }
}

#[test]
fn generated_variants_count_for_brand_and_type_too() {
    let mut world = shirts_and_toys();
    let body = json!({"name": "P", "brand": "Acme", "category": "Caps",
        "options": [{"type": "trim", "values": [{"value": "Navy"}, {"value": "Acme red"}]}]});
    world.when("product/p/generate-variants", &body).unwrap();
    assert_eq!((world.in_use("attribute_type-trim"), world.in_use("attribute_value-b-1")), (2, 2));
}

#[test]
fn every_way_to_become_active_asks_for_live_masters_and_allowed_combinations() {
    let narrower = json!({"attribute_schema": {"attributes": [{"type": "age", "required": true}]}});
    for (way, last) in [
        (&["submit"][..], "approve"),
        (&["submit"], "activate"),
        (&["submit", "approve", "discontinue"], "reactivate"),
    ] {
        let mut world = shirts_and_toys();
        world.when("variant/v/create", &variant(json!({}))).unwrap();
        for step in way {
            world.when(&format!("variant/v/{step}"), &json!({})).unwrap();
        }
        let last = format!("variant/v/{last}");
        world.when("category/shirts/change-schema", &narrower).unwrap();
        assert_eq!(code(world.when(&last, &json!({}))), "combination_not_allowed", "{last}");
        world.when("category/shirts/change-schema", &json!({"attribute_schema": {}})).unwrap();
        world.when("category/shirts/deprecate", &json!({})).unwrap();
        let refusal = world.refused(&last, &json!({}));
        assert!(refusal.detail.contains("category shirts is deprecated"), "{last}: {refusal:?}");
        world.when("category/shirts/reinstate", &json!({})).unwrap();
        world.when(&last, &json!({})).unwrap_or_else(|error| panic!("{last}: {error:?}"));
    }
}

#[test]
fn only_owners_create_a_colour_that_belongs_to_a_brand() {
    let mut world = World::given(&[]);
    let editor = Roles::of([Role::Merchandiser]);
    let body = |brand: Option<&str>| json!({"name": "Red", "hex": "#ff0000", "brand": brand});
    assert_eq!(code(world.by(editor, "color/red/create", &body(Some("Acme")))), "forbidden");
    world.by(editor, "color/red/create", &body(None)).unwrap();
    let owner = Roles::of([Role::BrandOwner]);
    world
        .by(owner, "color/rouge/create", &json!({"name": "Rouge", "hex": "#ff0000", "brand": "Acme"}))
        .unwrap();
}

#[test]
fn what_is_active_is_not_moved_below_what_is_not() {
    let mut world = masters(&[("category/top", json!({"name": "Top"}))]);
    world.when("category/draft/create", &json!({"name": "Draft"})).unwrap();
    world.record("category/leaf", &json!({"name": "Leaf", "parent_id": "top"}));
    let below = json!({"parent_id": "draft"});
    let refusal = world.refused("category/leaf/move", &below);
    assert!(refusal.detail.contains("category draft is draft"), "{refusal:?}");
    world.when("category/draft/activate", &json!({})).unwrap();
    world.when("category/leaf/move", &below).unwrap();
}

/// Channels and regions that attribute types and values allow bind a variant at its creation and afterwards.
#[test]
fn types_and_values_say_where_a_variant_is_sold() {
    let mut world = masters(&[
        ("attribute_type/fabric", json!({"name": "Fabric", "data_type": "text", "channels": ["app", "web"]})),
        ("attribute_value/silk", json!({"type": "fabric", "value": "Silk", "regions": ["eu", "uk"]})),
    ]);
    let body = |fields: Value| {
        let mut body = variant(json!({"attributes": [{"type": "fabric", "value": "Silk"}]}));
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        body
    };
    for outside in [json!({"channels": ["shop"]}), json!({"regions": ["us"]})] {
        assert_eq!(
            code(world.when("variant/v/create", &body(outside.clone()))),
            "unprocessable",
            "{outside}"
        );
    }
    world.when("variant/v/create", &body(json!({}))).unwrap();
    let names = |tokens: &[Token]| tokens.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&world.variant("v").channels), ["app", "web"]);
    assert_eq!(names(&world.variant("v").regions), ["eu", "uk"]);
    for outside in [json!({"channels": ["shop"]}), json!({"regions": ["us"]})] {
        let path = "variant/v/change-segmentation";
        assert_eq!(code(world.when(path, &outside)), "unprocessable", "{outside}");
    }
    world.when("variant/v/change-segmentation", &json!({"channels": ["web"], "regions": ["uk"]})).unwrap();
}

/// A text value that is in use can't go, whoever looks at its type.
#[test]
fn values_count_the_variants_that_have_them() {
    let mut world = masters(&[
        ("attribute_type/fabric", json!({"name": "Fabric", "data_type": "text"})),
        ("attribute_value/silk", json!({"type": "fabric", "value": "Silk"})),
    ]);
    let body = variant(json!({"attributes": [{"type": "fabric", "value": "Silk"}]}));
    world.when("variant/v/create", &body).unwrap();
    assert_eq!(world.in_use("attribute_value-silk"), 1);
    world.when("attribute_value/silk/deprecate", &json!({})).unwrap();
    assert_eq!(code(world.when("attribute_value/silk/archive", &json!({}))), "in_use");
    world.when("variant/v/archive", &json!({})).unwrap();
    assert_eq!(world.in_use("attribute_value-silk"), 0);
}

/// A brand that is not in force yet binds nobody.
#[test]
fn a_brand_in_preparation_does_not_say_where_a_variant_is_sold() {
    let mut world = masters(&[("attribute_type/brand", json!({"name": "Brand", "data_type": "text"}))]);
    let value = json!({"type": "brand", "value": "Acme", "channels": ["acme-shop"]});
    world.when("attribute_value/b-1/create", &value).unwrap();
    world.when("variant/v/create", &variant(json!({"channels": ["web"]}))).unwrap();
    world.when("attribute_value/b-1/activate", &json!({})).unwrap();
    let elsewhere = json!({"channels": ["app"]});
    assert_eq!(code(world.when("variant/v/change-segmentation", &elsewhere)), "unprocessable");
}

/// However much master data a variant is under, it is read in a few rounds: what is looked at alone is waited for alone.
#[test]
fn master_data_of_a_step_is_read_together() {
    let mut records = vec![
        ("attribute_type/brand".to_owned(), json!({"name": "Brand", "data_type": "text"})),
        ("attribute_value/b-1".to_owned(), json!({"type": "brand", "value": "Acme"})),
        ("category/shirts".to_owned(), json!({"name": "Shirts"})),
        ("category/caps".to_owned(), json!({"name": "Caps"})),
    ];
    let mut attributes = Vec::new();
    for n in 0..8 {
        records.push((format!("attribute_type/t{n}"), json!({"name": "T", "data_type": "text"})));
        records.push((format!("attribute_value/v{n}"), json!({"type": format!("t{n}"), "value": "V"})));
        attributes.push(json!({"type": format!("t{n}"), "value": "V"}));
    }
    let records: Vec<(&str, Value)> =
        records.iter().map(|(path, body)| (path.as_str(), body.clone())).collect();
    let mut world = masters(&records);
    world.when("variant/v/create", &variant(json!({"attributes": attributes}))).unwrap();
    world.when("variant/v/submit", &json!({})).unwrap();
    for (command, body) in [
        ("approve", json!({})),
        ("change-segmentation", json!({"channels": ["web"]})),
        ("change-details", json!({"category": "Caps", "brand": "Other"})),
    ] {
        world.cool_all();
        world.waits = 0;
        world.when(&format!("variant/v/{command}"), &body).unwrap();
        assert!(world.waits <= 6, "{command} waited {} times", world.waits);
    }
}
