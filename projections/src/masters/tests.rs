use daybook_schemas::AnyEvent;
use serde_json::{Value, json};

use super::query;
use super::*;
use crate::testing::{On, World, each_engine};

fn event(wire_name: &str, data: &Value) -> AnyEvent {
    AnyEvent::decode(wire_name, 1, &serde_json::to_vec(data).unwrap()).unwrap()
}

fn category(id: &str, parent: Option<&str>, path: &str) -> AnyEvent {
    let slug = path.rsplit('/').next().unwrap();
    let depth = path.matches('/').count();
    event(
        "category.created",
        &json!({"category_id": id, "slug": slug, "name": slug, "parent_id": parent, "path": path, "depth": depth,
            "attribute_schema": {}, "channels": [], "regions": []}),
    )
}

fn color(id: &str, slug: &str) -> AnyEvent {
    let tone =
        json!({"hex": "#000080", "rgb": {"r": 0, "g": 0, "b": 128}, "hsl": {"h": 240, "s": 100, "l": 25}});
    event(
        "color.created",
        &json!({"color_id": id, "slug": slug, "name": slug, "tone": tone, "visual_category": "solid", "family": "blue"}),
    )
}

fn a_colour_is_found_under_every_slug_it_ever_had(on: On) {
    let world = World::on(on);
    world.append("color-c1", color("c1", "navy"));
    let renamed = json!({"slug": "midnight", "previous": "navy", "reason": "r"});
    world.append("color-c1", event("color.slug_changed", &renamed));
    world.append("color-c1", event("color.submitted", &json!({"from": "draft"})));
    world.append("color-c1", event("color.activated", &json!({"from": "pending_approval"})));
    world.append("color-c1", event("color.usage_changed", &json!({"delta": 2, "in_use": 2})));
    let lock = json!({"scopes": ["details"], "reason": "audit", "locked_by": "desk"});
    world.append("color-c1", event("color.locked", &lock));
    let projection = world.project(|| Masters);
    let rows = projection.reader.begin().unwrap();
    for slug in ["navy", "midnight"] {
        let found: ColorView = query::by_slug(&*rows, "color", slug).unwrap().unwrap();
        assert_eq!((found.color_id.as_str(), found.slug.as_str()), ("c1", "midnight"));
    }
    assert_eq!(query::by_slug::<ColorView>(&*rows, "color", "red").unwrap(), None);
    let page = query::colors(&*rows, Some("blue"), None, 10).unwrap();
    let json = serde_json::to_value(&page).unwrap();
    let shown = &json["items"][0];
    assert_eq!(
        (&shown["lifecycle"], &shown["in_use"], &shown["hsl"]["h"]),
        (&json!("active"), &json!(2), &json!(240))
    );
    assert_eq!((&shown["lock"]["locked_by"], &shown["revision"]), (&json!("desk"), &json!(6)));
}

fn a_tree_is_read_level_by_level_or_whole(on: On) {
    let world = World::on(on);
    for (id, parent, path) in [
        ("a", None, "apparel"),
        ("b", Some("a"), "apparel/shirts"),
        ("c", Some("b"), "apparel/shirts/linen"),
        ("d", Some("a"), "apparel/shoes"),
        ("e", None, "apparel-x"),
    ] {
        world.append(&format!("category-{id}"), category(id, parent, path));
        if let Some(parent) = parent {
            let added = json!({"child_id": id});
            world.append(&format!("category-{parent}"), event("category.child_added", &added));
        }
    }
    let moved = json!({"from_parent": "a", "to_parent": "e", "path": "apparel-x/shoes", "depth": 1});
    world.append("category-d", event("category.moved", &moved));
    world.append("category-a", event("category.child_removed", &json!({"child_id": "d"})));
    let projection = world.project(|| Masters);
    let rows = projection.reader.begin().unwrap();
    let ids = |items: Vec<CategoryView>| -> Vec<String> {
        items.into_iter().map(|category| category.category_id.to_string()).collect()
    };
    assert_eq!(ids(query::categories(&*rows, Some("a"), None, 10).unwrap().items), ["b"]);
    assert_eq!(ids(query::categories(&*rows, None, None, 10).unwrap().items), ["a", "b", "c", "d", "e"]);
    assert_eq!(ids(query::subtree(&*rows, "apparel", None, 10).unwrap().items), ["b", "c"]);
    let first = query::subtree(&*rows, "apparel", None, 1).unwrap();
    assert_eq!(first.next.as_deref(), Some("apparel/shirts:b"));
    let second = query::subtree(&*rows, "apparel", first.next.as_deref(), 1).unwrap();
    assert_eq!((ids(second.items), second.next), (vec!["c".to_owned()], None));
    assert_eq!(query::by_id::<CategoryView>(&*rows, "a").unwrap().unwrap().children, 1);
}

fn sizes_of_a_category_are_in_the_order_of_their_ranks(on: On) {
    let world = World::on(on);
    for (id, value, rank) in [("s1", "10", 11_000), ("s2", "9", 10_900), ("s3", "9.5", 10_950)] {
        let data = json!({"size_id": id, "category": "shoes", "gender": "men", "region": "uk", "value": value,
            "display_name": value, "conversions": {"uk": value}, "rank": rank});
        world.append(&format!("size-{id}"), event("size.created", &data));
    }
    let projection = world.project(|| Masters);
    let rows = projection.reader.begin().unwrap();
    let mut values = Vec::new();
    let mut after = None;
    loop {
        let page = query::sizes(&*rows, Some("shoes"), after.as_deref(), 1).unwrap();
        values.extend(page.items.into_iter().map(|size| size.value.to_string()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(values, ["9", "9.5", "10"]);
    assert_eq!(query::sizes(&*rows, None, None, 10).unwrap().items.len(), 3);
}

fn types_and_values_carry_their_definition(on: On) {
    let world = World::on(on);
    let of = json!({"attribute_type_id": "t1", "code": "material", "name": "Material", "data_type": "text", "allowed": {},
        "channels": [], "regions": []});
    world.append("attribute_type-t1", event("attribute_type.created", &of));
    world.append(
        "attribute_type-t1",
        event("attribute_type.changed", &json!({"definition": 2, "unit": "cm"})),
    );
    let value = json!({"attribute_value_id": "v1", "attribute_type_id": "t1", "type": "material", "value": "Wool",
        "display_name": "Wool", "channels": [], "regions": []});
    world.append("attribute_value-v1", event("attribute_value.created", &value));
    let changed = json!({"definition": 2, "display_name": "Pure wool"});
    world.append("attribute_value-v1", event("attribute_value.changed", &changed));
    let narrowed = json!({"channels": ["web"], "regions": []});
    world.append("attribute_value-v1", event("attribute_value.segmentation_changed", &narrowed));
    let projection = world.project(|| Masters);
    let rows = projection.reader.begin().unwrap();
    let types = query::attribute_types(&*rows, Some("material"), None, 10).unwrap().items;
    assert_eq!((types[0].definition, types[0].unit.as_ref().unwrap().as_str()), (2, "cm"));
    let values = query::attribute_values(&*rows, Some("material"), None, 10).unwrap().items;
    assert_eq!((values[0].display_name.as_str(), values[0].channels.len()), ("Pure wool", 1));
    assert!(query::attribute_values(&*rows, Some("other"), None, 10).unwrap().items.is_empty());
}

fn an_event_before_the_creation_is_parked(on: On) {
    let world = World::on(on);
    world.append("size-s1", event("size.submitted", &json!({"from": "draft"})));
    let mut projection = world.project(|| Masters);
    assert_eq!(projection.model().dead_letters().unwrap().len(), 1);
    assert!(projection.dump().is_empty());
}

fn who_uses_a_value_is_known_until_the_variant_is_archived(on: On) {
    let world = World::on(on);
    let bound = json!({"category_id": "c1", "values": [{"kind": "color", "value_id": "navy"}]});
    for variant in ["v1", "v2", "v3"] {
        world.append(&format!("variant-{variant}"), event("variant.references_bound", &bound));
    }
    world.append("color-navy-2", color("navy-2", "navy-2"));
    world.append("variant-v2", event("variant.archived", &json!({"from": "draft"})));
    world.append("variant-v9", event("variant.archived", &json!({"from": "draft"})));
    let projection = world.project(|| Masters);
    let rows = projection.reader.begin().unwrap();
    assert_eq!(query::users(&*rows, "color", "navy", None, 10).unwrap(), ["v1", "v3"]);
    assert_eq!(query::users(&*rows, "color", "navy", Some("v1"), 10).unwrap(), ["v3"]);
    assert_eq!(query::users(&*rows, "color", "navy", None, 1).unwrap(), ["v1"]);
    assert_eq!(query::users(&*rows, "category", "c1", None, 10).unwrap().len(), 2);
    assert_eq!(query::count_users(&*rows, "color", "navy").unwrap(), 2);
    assert_eq!(query::count_users(&*rows, "color", "nav").unwrap(), 0);
}

/// Of every kind there is one that is used, one that nobody uses, and one that is not there.
fn users_are_counted_for_every_kind_of_master_data(on: On) {
    let world = World::on(on);
    for id in ["used", "idle"] {
        world.append(&format!("color-{id}"), color(id, id));
        world.append(&format!("category-{id}"), category(id, None, id));
        let size = json!({"size_id": id, "category": "shoes", "gender": "men", "region": "uk", "value": id,
            "display_name": id, "conversions": {"uk": id}, "rank": 1});
        world.append(&format!("size-{id}"), event("size.created", &size));
        let of = json!({"attribute_type_id": id, "code": format!("code-{id}"), "name": id, "data_type": "text", "allowed": {},
            "channels": [], "regions": []});
        world.append(&format!("attribute_type-{id}"), event("attribute_type.created", &of));
    }
    for id in ["used", "idle", "gone"] {
        let value = json!({"attribute_value_id": id, "attribute_type_id": "used", "type": "code-used", "value": id,
            "display_name": id, "channels": [], "regions": []});
        world.append(&format!("attribute_value-{id}"), event("attribute_value.created", &value));
    }
    world.append("attribute_value-gone", event("attribute_value.archived", &json!({"from": "draft"})));
    for (variant, id) in [("v1", "used"), ("v2", "used"), ("v3", "lost")] {
        let value = |kind: &str| json!({"kind": kind, "value_id": id});
        let bound = json!({"category_id": id, "values": [value("size"), value("color"), value("attribute_value")],
            "attribute_types": [id]});
        world.append(&format!("variant-{variant}"), event("variant.references_bound", &bound));
    }
    let elsewhere = json!({"values": []});
    world.append(
        "variant-v4",
        event("variant.references_bound", &json!({"category_id": "idle", "values": []})),
    );
    world.append("variant-v4", event("variant.references_bound", &elsewhere));
    let projection = world.project(|| Masters);
    let rows = projection.reader.begin().unwrap();
    let mut told = Vec::new();
    query::usages(&*rows, &mut |usage| {
        told.push((usage.aggregate, usage.id, usage.said.is_some(), usage.users))
    })
    .unwrap();
    told.sort_unstable();
    let kind = |aggregate, used| {
        [("idle", true, 0), ("lost", false, 1), ("used", true, used)]
            .map(|(id, there, users)| (aggregate, id.to_owned(), there, users))
    };
    let mut expected: Vec<(&str, String, bool, u64)> = Vec::new();
    for aggregate in ["attribute_value", "category", "color", "size"] {
        expected.extend(kind(aggregate, 2));
    }
    // Its two values that are not archived use it as well.
    expected.extend(kind("attribute_type", 4));
    expected.push(("attribute_value", "gone".to_owned(), true, 0));
    expected.sort_unstable();
    assert_eq!(told, expected);
}

each_engine!(
    a_colour_is_found_under_every_slug_it_ever_had,
    a_tree_is_read_level_by_level_or_whole,
    sizes_of_a_category_are_in_the_order_of_their_ranks,
    types_and_values_carry_their_definition,
    an_event_before_the_creation_is_parked,
    who_uses_a_value_is_known_until_the_variant_is_archived,
    users_are_counted_for_every_kind_of_master_data,
);
