//! Movements, counts, policy and signals.

use serde_json::json;

use super::*;
use crate::inventory::{Availability, MAX_LOCATIONS, MAX_UNITS, Policy, Signals};

#[test]
fn goods_arrive_and_the_first_ones_put_the_variant_in_stock() {
    let mut stock = empty();
    let events = stock.ok("receive", json!({"quantity": 5, "reference": "PO-1"}));
    assert_eq!(
        events,
        [(
            "inventory.received".to_owned(),
            json!({"location": "default", "quantity": 5, "reference": "PO-1"})
        )]
    );
    assert_eq!(stock.state.signals.stock, Availability::In);
    stock.writes("receive", json!({"quantity": 1, "location": "north"}), &["inventory.received"]);
    let totals = stock.state.totals();
    assert_eq!((totals.on_hand, totals.available), (6, 6));
    assert_eq!(at(&stock, "north").on_hand, 1);
}

#[test]
fn a_receipt_uses_up_expected_deliveries_of_its_location() {
    let mut stock = empty();
    stock.writes("expect-delivery", json!({"quantity": 5}), &["inventory.delivery_expected"]);
    assert_eq!(at(&stock, "default").incoming, 5);
    let events = stock.ok("receive", json!({"quantity": 3}));
    assert_eq!(events[0].1["from_incoming"], 3);
    assert_eq!(at(&stock, "default").incoming, 2);
    let events = stock.ok("receive", json!({"quantity": 9}));
    assert_eq!(events[0].1["from_incoming"], 2);
    let events = stock.ok("receive", json!({"quantity": 9, "location": "north"}));
    assert_eq!(events[0].1.get("from_incoming"), None);
    assert_eq!(at(&stock, "default").incoming, 0);
}

#[test]
fn adjustments_go_both_ways_but_not_by_zero_nor_below_what_is_there() {
    let mut stock = with(5);
    stock.ok("adjust", json!({"delta": 2, "reason": "found"}));
    stock.ok("adjust", json!({"delta": -3, "reason": "lost"}));
    assert_eq!(at(&stock, "default").on_hand, 4);
    stock.refuses("adjust", json!({"delta": 0, "reason": "why"}), "invalid_request");
    stock.refuses("adjust", json!({"delta": i64::MIN, "reason": "absurd"}), "invalid_request");
    stock.refuses("adjust", json!({"delta": i64::MAX, "reason": "absurd"}), "invalid_request");
    stock.refuses("adjust", json!({"delta": -5, "reason": "lost"}), "insufficient_stock");
    stock.refuses(
        "adjust",
        json!({"delta": -1, "reason": "lost", "location": "north"}),
        "insufficient_stock",
    );
}

#[test]
fn goods_move_between_two_locations() {
    let mut stock = with(5);
    stock.writes("transfer", json!({"to": "north", "quantity": 2}), &["inventory.transferred"]);
    assert_eq!((at(&stock, "default").on_hand, at(&stock, "north").on_hand), (3, 2));
    stock.refuses("transfer", json!({"to": "default", "quantity": 2}), "invalid_request");
    stock.refuses("transfer", json!({"to": "north", "quantity": 4}), "insufficient_stock");
    stock.refuses("transfer", json!({"from": "south", "to": "north", "quantity": 1}), "insufficient_stock");
}

#[test]
fn sales_returns_and_damage_move_their_quantities() {
    let mut stock = with(5);
    stock.writes("sell", json!({"quantity": 2}), &["inventory.sold"]);
    stock.writes("return", json!({"quantity": 1}), &["inventory.returned"]);
    stock.writes("return", json!({"quantity": 1, "damaged": true}), &["inventory.returned"]);
    stock.writes("damage", json!({"quantity": 1, "reason": "wet"}), &["inventory.damaged"]);
    let stock_there = at(&stock, "default");
    assert_eq!((stock_there.on_hand, stock_there.damaged), (3, 2));
    stock.refuses("sell", json!({"quantity": 4}), "insufficient_stock");
    stock.refuses("damage", json!({"quantity": 4}), "insufficient_stock");
}

#[test]
fn a_count_stands_only_on_the_books_that_it_was_made_with() {
    let mut stock = with(5);
    let refusal = stock.refused("count", json!({"expected": 4, "counted": 3}));
    assert_eq!((refusal.code, refusal.kind), ("count_mismatch", crate::Kind::Conflict));
    assert_eq!(refusal.detail, "expected 4 on hand, the books say 5: count again");
    stock.writes("count", json!({"expected": 5, "counted": 3}), &["inventory.counted"]);
    stock.writes("count", json!({"expected": 3, "counted": 3}), &["inventory.counted"]);
    stock.writes(
        "count",
        json!({"expected": 3, "counted": 0}),
        &["inventory.counted", "inventory.out_of_stock"],
    );
    stock.refuses("count", json!({"expected": 0, "counted": -1}), "invalid_request");
    stock.refuses("count", json!({"expected": 0, "counted": MAX_UNITS + 1}), "invalid_request");
}

#[test]
fn no_decrease_touches_what_is_held_there() {
    for (name, body) in [
        ("sell", json!({"quantity": 2})),
        ("damage", json!({"quantity": 2})),
        ("transfer", json!({"to": "north", "quantity": 2})),
        ("adjust", json!({"delta": -2, "reason": "lost"})),
        ("count", json!({"expected": 5, "counted": 3})),
    ] {
        let mut stock = with(5);
        stock.ok("reserve", hold("r1", "c1", 4));
        let refusal = stock.refused(name, body.clone());
        assert_eq!(refusal.code, "insufficient_stock", "{name}");
        assert_eq!(refusal.detail, "asked for 2, available are 1 at location default", "{name}");
        // The deadline frees the goods; the expiry is put on record first.
        stock.pass(60);
        assert_eq!(stock.ok(name, body)[0].0, "inventory.reservations_expired", "{name}");
    }
}

#[test]
fn safety_stock_is_kept_from_reservations_not_from_movements() {
    let mut stock = with(5);
    stock.writes("set-policy", json!({"safety_stock": {"quantity": 3}}), &["inventory.policy_changed"]);
    assert_eq!(stock.state.totals().available, 2);
    stock.refuses("reserve", hold("r1", "c1", 3), "insufficient_stock");
    stock.ok("reserve", hold("r1", "c1", 2));
    stock.ok("sell", json!({"quantity": 3}));
    stock.refuses("sell", json!({"quantity": 1}), "insufficient_stock");
}

#[test]
fn only_a_policy_that_differs_is_written() {
    let mut stock = empty();
    let all = json!({"safety_stock": {"location": "north", "quantity": 2}, "reorder_point": 3,
        "reorder_quantity": 10, "backorder_limit": 4});
    stock.writes("set-policy", all.clone(), &["inventory.policy_changed", "inventory.low_stock"]);
    assert_eq!(
        stock.state.policy(),
        Policy { reorder_point: 3, reorder_quantity: Some(10), backorder_limit: 4 }
    );
    stock.writes("set-policy", all, &[]);
    stock.writes("set-policy", json!({}), &[]);
    let events = stock.ok("set-policy", json!({"reorder_point": 1, "backorder_limit": 4}));
    assert_eq!(events, [("inventory.policy_changed".to_owned(), json!({"reorder_point": 1}))]);
}

#[test]
fn stock_signals_flip_exactly_once() {
    let mut stock = with(10);
    stock.writes(
        "set-policy",
        json!({"reorder_point": 3, "reorder_quantity": 50}),
        &["inventory.policy_changed"],
    );
    stock.writes("sell", json!({"quantity": 6}), &["inventory.sold"]);
    let events = stock.ok("sell", json!({"quantity": 1}));
    assert_eq!(
        events[1],
        (
            "inventory.low_stock".to_owned(),
            json!({"available": 3, "reorder_point": 3, "reorder_quantity": 50})
        )
    );
    stock.writes("sell", json!({"quantity": 1}), &["inventory.sold"]);
    stock.writes("sell", json!({"quantity": 2}), &["inventory.sold", "inventory.out_of_stock"]);
    stock.writes("receive", json!({"quantity": 2}), &["inventory.received", "inventory.back_in_stock"]);
    stock.writes("receive", json!({"quantity": 2}), &["inventory.received"]);
    assert_eq!(stock.state.signals, Signals { stock: Availability::In, low: false });
    stock.writes("sell", json!({"quantity": 1}), &["inventory.sold", "inventory.low_stock"]);
    stock.writes("sell", json!({"quantity": 3}), &["inventory.sold", "inventory.out_of_stock"]);
}

#[test]
fn what_was_sold_out_is_back_in_stock_and_what_is_new_is_not() {
    for first in [
        ("receive", json!({"quantity": 2}), "inventory.received"),
        ("adjust", json!({"delta": 2, "reason": "found"}), "inventory.adjusted"),
        ("count", json!({"expected": 0, "counted": 2}), "inventory.counted"),
        ("return", json!({"quantity": 2}), "inventory.returned"),
    ] {
        let mut stock = empty();
        let (name, body, event) = first;
        stock.writes(name, body, &[event]);
        stock.writes("sell", json!({"quantity": 2}), &["inventory.sold", "inventory.out_of_stock"]);
        stock.writes("receive", json!({"quantity": 1}), &["inventory.received", "inventory.back_in_stock"]);
    }
}

#[test]
fn first_goods_of_which_none_can_be_had_come_with_out_of_stock() {
    let mut stock = empty();
    stock.writes("set-policy", json!({"safety_stock": {"quantity": 5}}), &["inventory.policy_changed"]);
    stock.writes("expect-delivery", json!({"quantity": 9}), &["inventory.delivery_expected"]);
    stock.writes("receive", json!({"quantity": 3}), &["inventory.received", "inventory.out_of_stock"]);
    stock.writes("receive", json!({"quantity": 1}), &["inventory.received"]);
    stock.writes("receive", json!({"quantity": 5}), &["inventory.received", "inventory.back_in_stock"]);
}

fn fold(events: &[(&str, &str)]) -> Inventory {
    use cqrs_es::Aggregate as _;
    let mut state = Inventory::default();
    for (name, data) in events {
        state.apply(Event::from_data(name, data.as_bytes()).unwrap().unwrap());
    }
    state
}

/// Earlier versions wrote nothing where none of the first goods could be had.
#[test]
fn a_log_that_does_not_say_that_the_first_goods_are_out_of_stock_gives_the_same_state() {
    let new = [
        ("inventory.policy_changed", r#"{"safety_stock":{"location":"default","quantity":5}}"#),
        ("inventory.received", r#"{"location":"default","quantity":3}"#),
        ("inventory.out_of_stock", "{}"),
    ];
    assert_eq!(fold(&new[..2]), fold(&new));
    assert_eq!(fold(&new).signals, Signals { stock: Availability::Out, low: false });
}

/// Earlier versions wrote that the first goods were back in stock.
#[test]
fn a_log_in_which_the_first_goods_were_back_in_stock_gives_the_same_state() {
    let receipt = json!({"location": "default", "quantity": 3}).to_string();
    let old = [("inventory.received", receipt.as_str()), ("inventory.back_in_stock", r#"{"available":3}"#)];
    let new = fold(&old[..1]);
    assert_eq!(fold(&old), new);
    assert_eq!(new.signals, Signals { stock: Availability::In, low: false });
}

#[test]
fn a_policy_can_flip_the_signals() {
    let mut stock = with(5);
    stock.writes(
        "set-policy",
        json!({"reorder_point": 5}),
        &["inventory.policy_changed", "inventory.low_stock"],
    );
    stock.writes(
        "set-policy",
        json!({"safety_stock": {"quantity": 5}}),
        &["inventory.policy_changed", "inventory.out_of_stock"],
    );
    stock.writes("set-policy", json!({"reorder_point": 0}), &["inventory.policy_changed"]);
    stock.writes(
        "set-policy",
        json!({"safety_stock": {"quantity": 0}}),
        &["inventory.policy_changed", "inventory.back_in_stock"],
    );
}

#[test]
fn quantities_and_locations_are_bounded() {
    let mut stock = empty();
    stock.ok("adjust", json!({"delta": MAX_UNITS, "reason": "as many as there may be"}));
    for (name, body) in [
        ("receive", json!({"quantity": 1})),
        ("return", json!({"quantity": 1})),
        ("adjust", json!({"delta": 1, "reason": "more"})),
        ("expect-delivery", json!({"quantity": 1})),
    ] {
        stock.refuses(name, body, "unprocessable");
    }
    for n in 1..MAX_LOCATIONS {
        stock
            .act(Action::Receive(crate::inventory::Receive {
                location: LocationId::new(format!("l{n}")).unwrap(),
                quantity: daybook_schemas::Quantity::new(1).unwrap(),
                reference: None,
            }))
            .unwrap();
    }
    for (name, body) in [
        ("receive", json!({"quantity": 1, "location": "one-more"})),
        ("transfer", json!({"from": "l1", "to": "one-more", "quantity": 1})),
        ("count", json!({"expected": 0, "counted": 0, "location": "one-more"})),
        ("set-policy", json!({"safety_stock": {"quantity": 1, "location": "one-more"}})),
    ] {
        stock.refuses(name, body, "unprocessable");
    }
}

#[test]
fn bodies_are_strict() {
    for (name, body) in [
        ("receive", r#"{"quantity": 1, "colour": "red"}"#),
        ("receive", r#"{"quantity": 0}"#),
        ("receive", r#"{"quantity": 1.5}"#),
        ("receive", r#"{"quantity": "1"}"#),
        ("receive", r#"{"quantity": -1}"#),
        ("receive", r#"{"quantity": 99999999999999999999}"#),
        ("receive", r#"{"quantity": 1, "location": "no spaces"}"#),
        ("receive", ""),
        ("receive", "[]"),
        ("adjust", r#"{"delta": 1}"#),
        ("reserve", r#"{"customer_id": "c", "quantity": 1, "customer_active_holds": 0}"#),
        ("expire", r#"{"now": 1}"#),
    ] {
        assert!(Action::parse(name, body.as_bytes()).unwrap().is_err(), "{name} {body}");
    }
    assert!(Action::parse("expire", b" ").unwrap().is_ok());
    assert!(Action::parse("steal", b"{}").is_none());
    for spec in Action::specs() {
        assert!(Action::NAMES.contains(&spec.name));
        assert_eq!((spec.schema)().get("type"), Some(&json!("object")), "{}", spec.name);
    }
    assert_eq!(Action::specs().len(), Action::NAMES.len());
}
