use daybook_schemas::inventory::Event;
use daybook_schemas::{Timestamp, inventory};
use serde_json::json;

use super::query::{InventorySummary, by_variant};
use super::*;
use crate::testing::{On, World, each_engine, payload};

const T0: &str = "2011-11-04T10:00:00Z";

fn event(wire_name: &str, data: serde_json::Value) -> Event {
    Event::from_data(wire_name, &serde_json::to_vec(&data).unwrap()).unwrap().unwrap()
}

fn received(quantity: u32) -> Event {
    event("inventory.received", json!({"location": "default", "quantity": quantity}))
}

fn reserved(id: &str, quantity: u32, expires_at: &str) -> Event {
    let allocations = json!([{"location": "default", "quantity": quantity}]);
    event(
        "inventory.reserved",
        json!({"reservation_id": id, "customer_id": "c1", "quantity": quantity, "allocations": allocations, "expires_at": expires_at}),
    )
}

fn summary(world: &World, now: &str) -> InventorySummary {
    let projection = world.project(|| Inventory);
    let rows = projection.reader.begin().unwrap();
    by_variant(&*rows, "42", Timestamp::parse(now).unwrap()).unwrap().unwrap()
}

fn given(on: On, events: Vec<Event>) -> World {
    let world = World::on(on);
    for event in events {
        world.append("inventory-42", event);
    }
    world
}

fn available_is_on_hand_less_reserved_less_safety_stock(on: On) {
    let world = given(
        on,
        vec![
            received(100),
            event(
                "inventory.policy_changed",
                json!({"safety_stock": {"location": "default", "quantity": 10}, "reorder_point": 60}),
            ),
            reserved("r1", 30, "2011-11-04T10:01:00Z"),
        ],
    );
    let summary = summary(&world, T0);
    assert_eq!((summary.on_hand, summary.reserved, summary.available), (100, 30, 60));
    assert!(summary.low_stock);
    assert_eq!((summary.revision, summary.position), (3, 3));
    assert_eq!(summary.locations.len(), 1);
    assert_eq!(summary.locations[0].safety_stock, 10);
}

fn a_hold_stops_counting_at_its_deadline_though_no_event_says_so(on: On) {
    let world = given(
        on,
        vec![
            received(100),
            reserved("r1", 30, "2011-11-04T10:01:00Z"),
            reserved("r2", 5, "2011-11-04T10:02:00.050Z"),
        ],
    );
    assert_eq!(summary(&world, "2011-11-04T10:00:59.999999Z").reserved, 35);
    assert_eq!(summary(&world, "2011-11-04T10:01:00Z").reserved, 5);
    assert_eq!(summary(&world, "2011-11-04T10:02:00.050Z").reserved, 5, "deadlines are rounded up to 100 ms");
    assert_eq!(summary(&world, "2011-11-04T10:02:00.100Z").reserved, 0);
}

fn the_expiry_on_record_changes_nothing_more(on: On) {
    let world = given(on, vec![received(100), reserved("r1", 30, "2011-11-04T10:01:00Z")]);
    let before = summary(&world, "2011-11-04T10:02:00Z");
    let allocations = json!([{"location": "default", "quantity": 30}]);
    let expired = json!({"reservation_id": "r1", "quantity": 30, "allocations": allocations, "expires_at": "2011-11-04T10:01:00Z"});
    world.append("inventory-42", event("inventory.reservations_expired", json!({"reservations": [expired]})));
    let after = summary(&world, "2011-11-04T10:02:00Z");
    assert_eq!((before.reserved, before.available), (0, 100));
    assert_eq!((after.reserved, after.available), (0, 100));
}

fn confirming_and_releasing_a_part_keeps_the_rest_under_the_same_deadline(on: On) {
    let part = |remaining: u32| {
        json!({"reservation_id": "r1", "quantity": 10, "remaining": remaining,
               "allocations": [{"location": "default", "quantity": 10}], "expires_at": "2011-11-04T10:01:00Z"})
    };
    let world = given(
        on,
        vec![
            received(100),
            reserved("r1", 30, "2011-11-04T10:01:00Z"),
            event("inventory.confirmed", part(20)),
            event("inventory.released", part(10)),
        ],
    );
    let now = summary(&world, T0);
    assert_eq!((now.on_hand, now.reserved, now.available), (90, 10, 80));
    let later = summary(&world, "2011-11-04T10:01:00Z");
    assert_eq!((later.on_hand, later.reserved, later.available), (90, 0, 90));
}

fn a_backorder_shows_as_such_and_not_as_negative_stock(on: On) {
    let world = given(
        on,
        vec![
            event("inventory.policy_changed", json!({"backorder_limit": 10})),
            received(5),
            reserved("r1", 8, "2011-11-04T10:01:00Z"),
        ],
    );
    let summary = summary(&world, T0);
    assert_eq!((summary.available, summary.backordered, summary.reserved), (0, 3, 8));
}

fn goods_move_between_locations_and_states(on: On) {
    let world = given(
        on,
        vec![
            event("inventory.delivery_expected", json!({"location": "default", "quantity": 50})),
            event("inventory.received", json!({"location": "default", "quantity": 40, "from_incoming": 40})),
            event("inventory.transferred", json!({"from": "default", "to": "store", "quantity": 15})),
            event("inventory.damaged", json!({"location": "store", "quantity": 2})),
            event("inventory.returned", json!({"location": "store", "quantity": 1, "damaged": true})),
            event("inventory.sold", json!({"location": "store", "quantity": 3})),
            event("inventory.counted", json!({"location": "default", "expected": 25, "counted": 24})),
            event("inventory.adjusted", json!({"location": "default", "delta": -4, "reason": "lost"})),
        ],
    );
    let summary = summary(&world, T0);
    let figures: Vec<_> = summary
        .locations
        .iter()
        .map(|l| (l.location.as_str(), l.on_hand, l.damaged, l.incoming, l.available))
        .collect();
    assert_eq!(figures, [("default", 20, 0, 10, 20), ("store", 10, 3, 0, 10)]);
    assert_eq!((summary.on_hand, summary.damaged, summary.incoming, summary.available), (30, 3, 10, 30));
}

#[test]
fn a_hot_row_stays_small() {
    let mut locations = Vec::new();
    for i in 0..10_000_i64 {
        let at = Timestamp::from_micros(1_320_000_000_000_000 + i * 1_000);
        let reserved: inventory::Reserved = payload(json!({
            "reservation_id": format!("r{i}"), "quantity": 1, "expires_at": at,
            "allocations": [{"location": "default", "quantity": 1}],
        }));
        stock::move_goods(&mut locations, &reserved.into());
    }
    assert_eq!(locations[0].reserved, 10_000);
    assert!(locations[0].held.len() <= 101, "ten seconds of deadlines are a hundred steps");
}

fn signals_are_no_movement(on: On) {
    let world = given(on, vec![received(1), event("inventory.back_in_stock", json!({"available": 1}))]);
    let summary = summary(&world, T0);
    assert_eq!(summary.last_movement, Some(Timestamp::from_micros(1_320_000_001_000_000)));
    assert_eq!(summary.revision, 2);
}

each_engine!(
    available_is_on_hand_less_reserved_less_safety_stock,
    a_hold_stops_counting_at_its_deadline_though_no_event_says_so,
    the_expiry_on_record_changes_nothing_more,
    confirming_and_releasing_a_part_keeps_the_rest_under_the_same_deadline,
    a_backorder_shows_as_such_and_not_as_negative_stock,
    goods_move_between_locations_and_states,
    signals_are_no_movement,
);
