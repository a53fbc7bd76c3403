use daybook_schemas::variant::Event;
use serde_json::{Value, json};

use super::query::{by_config_hash, by_id, by_product_group, by_sku, product_group};
use super::*;
use crate::testing::{On, World, each_engine};

fn event(wire_name: &str, data: Value) -> Event {
    Event::from_data(wire_name, &serde_json::to_vec(&data).unwrap()).unwrap().unwrap()
}

fn price(amount: &str) -> Value {
    json!({"amount": {"amount": amount, "currency": "GBP"}, "price_type": "regular"})
}

fn created(id: &str, group: &str, amount: Option<&str>) -> Event {
    let mut data = json!({
        "variant_id": id, "product_id": "p1", "product_group": group, "sku": format!("SKU-{id}"), "name": "Shirt", "brand": "Acme",
        "category": "Shirts", "attributes": [{"type": "color", "value": "Navy", "value_id": "color-navy", "display": "Navy", "hex": "#000080"}],
        "config_hash": format!("hash-{id}"), "config_signature": "color:navy", "channels": ["web"], "regions": [],
        "created_at": "2011-11-04T10:00:00Z",
    });
    if let Some(amount) = amount {
        data["price"] = price(amount);
    }
    event("variant.created", data)
}

fn price_changed(amount: &str, schedule: Option<&str>) -> Event {
    let mut data =
        json!({"price": price(amount), "effective_from": "2011-11-05T00:00:00Z", "reason": "because"});
    if let Some(schedule) = schedule {
        data["schedule_id"] = schedule.into();
    }
    event("variant.price_changed", data)
}

fn view(world: &World, id: &str) -> VariantView {
    let projection = world.project(|| Catalogue);
    let rows = projection.reader.begin().unwrap();
    by_id(&*rows, id).unwrap().unwrap().variant
}

fn a_created_variant_is_a_draft_with_all_its_fields(on: On) {
    let world = World::on(on);
    world.append("variant-v1", created("v1", "g1", Some("12.50")));
    let json = serde_json::to_value(view(&world, "v1")).unwrap();
    assert_eq!(json["price"], json!({"amount": "12.50", "currency": "GBP", "price_type": "regular"}));
    assert_eq!((&json["lifecycle"], &json["sellable"]), (&json!("draft"), &json!(false)));
    assert_eq!(json["attributes"][0]["hex"], "#000080");
    assert_eq!((&json["revision"], &json["position"]), (&json!(1), &json!("1")));
    assert_eq!(json["price_history"].as_array().unwrap().len(), 1);
}

fn each_lifecycle_event_enters_its_state(on: On) {
    let world = World::on(on);
    world.append("variant-v1", created("v1", "g1", None));
    let steps = [
        ("variant.submitted", "draft", Lifecycle::PendingApproval),
        ("variant.rejected", "pending_approval", Lifecycle::Draft),
        ("variant.activated", "pending_approval", Lifecycle::Active),
        ("variant.matured", "active", Lifecycle::Mature),
        ("variant.cleared", "mature", Lifecycle::Clearance),
        ("variant.discontinued", "clearance", Lifecycle::Discontinued),
        ("variant.reactivated", "discontinued", Lifecycle::Active),
        ("variant.archived", "discontinued", Lifecycle::Archived),
    ];
    for (wire_name, from, state) in steps {
        world.append("variant-v1", event(wire_name, json!({"from": from})));
        let view = view(&world, "v1");
        assert_eq!((view.lifecycle, view.sellable), (state, state.is_sellable()), "{wire_name}");
    }
}

fn a_schedule_stands_until_it_takes_effect_or_is_cancelled_and_history_is_bounded(on: On) {
    let world = World::on(on);
    world.append("variant-v1", created("v1", "g1", Some("10")));
    for (id, from) in
        [("s2", "2011-12-02T00:00:00Z"), ("s1", "2011-12-01T00:00:00Z"), ("s3", "2011-12-03T00:00:00Z")]
    {
        let data = json!({"schedule_id": id, "price": price("9"), "effective_from": from, "reason": "sale"});
        world.append("variant-v1", event("variant.price_scheduled", data));
    }
    let schedules = |world: &World| -> Vec<String> {
        view(world, "v1").schedules.iter().map(|s| s.schedule_id.to_string()).collect()
    };
    assert_eq!(schedules(&world), ["s1", "s2", "s3"]);
    world.append("variant-v1", price_changed("9", Some("s1")));
    world.append(
        "variant-v1",
        event("variant.price_schedule_cancelled", json!({"schedule_id": "s3", "reason": "no"})),
    );
    assert_eq!(schedules(&world), ["s2"]);
    for pence in 0..60 {
        world.append("variant-v1", price_changed(&format!("5.{pence:02}"), None));
    }
    let view = view(&world, "v1");
    assert_eq!(view.price_history.len(), MAX_PRICE_HISTORY);
    assert_eq!(view.price_history.last().unwrap().price, view.price);
    assert_eq!(view.price.unwrap().amount.to_string(), "5.59");
}

fn a_lock_says_who_and_why_and_is_lifted(on: On) {
    let world = World::on(on);
    world.append("variant-v1", created("v1", "g1", None));
    world.append("variant-v1", event("variant.locked", json!({"scopes": ["price"], "reason": "audit"})));
    let lock = view(&world, "v1").locks.pop().unwrap();
    assert_eq!((lock.reason.as_str(), lock.locked_by.unwrap().as_str()), ("audit", crate::testing::ACTOR));
    world.append("variant-v1", event("variant.unlocked", json!({"reason": "done"})));
    assert!(view(&world, "v1").locks.is_empty());
}

fn details_change_only_where_given(on: On) {
    let world = World::on(on);
    world.append("variant-v1", created("v1", "g1", None));
    world.append(
        "variant-v1",
        event("variant.details_changed", json!({"name": "Blouse", "description": "Fine"})),
    );
    world.append("variant-v1", event("variant.details_changed", json!({"brand": "Emca"})));
    world.append(
        "variant-v1",
        event("variant.segmentation_changed", json!({"channels": [], "regions": ["eu"]})),
    );
    let view = view(&world, "v1");
    assert_eq!(
        (view.name.as_str(), view.brand.as_str(), view.category.as_str()),
        ("Blouse", "Emca", "Shirts")
    );
    assert_eq!((view.description.unwrap().as_str(), view.channels.len(), view.regions.len()), ("Fine", 0, 1));
}

fn variants_are_found_by_sku_hash_and_group_page_by_page(on: On) {
    let world = World::on(on);
    for i in 0..7 {
        world.append(
            &format!("variant-v{i}"),
            created(&format!("v{i}"), if i < 5 { "g1" } else { "g2" }, None),
        );
    }
    let projection = world.project(|| Catalogue);
    let rows = projection.reader.begin().unwrap();
    assert_eq!(by_sku(&*rows, "SKU-v3").unwrap().unwrap().variant.variant_id.as_str(), "v3");
    assert_eq!(by_sku(&*rows, "SKU-v9").unwrap(), None);
    assert_eq!(by_config_hash(&*rows, "hash-v4", None, 10).unwrap().variants.len(), 1);
    let mut ids = Vec::new();
    let mut after = None;
    loop {
        let page = by_product_group(&*rows, "g1", after.as_deref(), 2).unwrap();
        ids.extend(page.variants.iter().map(|v| v.variant_id.to_string()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(ids, ["v0", "v1", "v2", "v3", "v4"]);
}

fn a_group_has_the_least_and_greatest_price_of_what_is_not_archived_by_currency(on: On) {
    let world = World::on(on);
    for (id, amount) in [("v1", "10"), ("v2", "9.99"), ("v3", "100"), ("v4", "1")] {
        world.append(&format!("variant-{id}"), created(id, "g1", Some(amount)));
    }
    world.append("variant-v4", event("variant.archived", json!({"from": "draft"})));
    let euro = json!({"price": {"amount": {"amount": "5", "currency": "EUR"}, "price_type": "regular"},
                      "effective_from": "2011-11-05T00:00:00Z", "reason": "move"});
    world.append("variant-v3", event("variant.price_changed", euro));
    let projection = world.project(|| Catalogue);
    let rows = projection.reader.begin().unwrap();
    let group = product_group(&*rows, "g1").unwrap().unwrap();
    let ranges: Vec<_> = group.price_range.iter().map(|r| (r.min.to_string(), r.max.to_string())).collect();
    assert_eq!(group.variants, 4);
    assert_eq!(
        ranges,
        [("5.00 EUR".to_owned(), "5.00 EUR".to_owned()), ("9.99 GBP".to_owned(), "10.00 GBP".to_owned())]
    );
    assert_eq!(product_group(&*rows, "g9").unwrap(), None);
}

fn an_event_before_the_creation_is_parked_by_name(on: On) {
    let world = World::on(on);
    world.append("variant-v1", event("variant.submitted", json!({"from": "draft"})));
    let mut projection = world.project(|| Catalogue);
    let letters = projection.model().dead_letters().unwrap();
    assert_eq!((letters[0].position, letters[0].event_type.as_str()), (1, "variant.submitted"));
    assert!(projection.dump().is_empty());
}

each_engine!(
    a_created_variant_is_a_draft_with_all_its_fields,
    each_lifecycle_event_enters_its_state,
    a_schedule_stands_until_it_takes_effect_or_is_cancelled_and_history_is_bounded,
    a_lock_says_who_and_why_and_is_lifted,
    details_change_only_where_given,
    variants_are_found_by_sku_hash_and_group_page_by_page,
    a_group_has_the_least_and_greatest_price_of_what_is_not_archived_by_currency,
    an_event_before_the_creation_is_parked_by_name,
);

#[test]
fn a_hash_that_only_begins_like_one_finds_nothing() {
    let world = World::new();
    // As long as a real one.
    let id = "7".repeat(59);
    world.append(&format!("variant-{id}"), created(&id, "g1", None));
    let projection = world.project(|| Catalogue);
    let rows = projection.reader.begin().unwrap();
    let hash = format!("hash-{id}");
    assert_eq!(by_config_hash(&*rows, &hash, None, 10).unwrap().variants.len(), 1);
    for wrong in [&hash[..32], &format!("{}0", &hash[..63]), &format!("{hash}0"), "", "é"] {
        assert!(by_config_hash(&*rows, wrong, None, 10).unwrap().variants.is_empty(), "{wrong}");
    }
}
