//! Reservations: retries, deadlines, parts, limits, locations, backorder.

use serde_json::json;

use super::*;
use crate::inventory::{
    MAX_EXPIRED_PER_COMMAND, MAX_EXPIRED_PER_EVENT, Outcome, REMEMBERED_OUTCOMES, Reserve,
};

#[test]
fn a_hold_takes_stock_until_it_is_confirmed() {
    let mut stock = with(5);
    let events = stock.ok("reserve", json!({"customer_id": "c1", "quantity": 2}));
    assert_eq!(
        events,
        [(
            "inventory.reserved".to_owned(),
            json!({"reservation_id": "fresh-2", "customer_id": "c1", "quantity": 2,
                "allocations": [{"location": "default", "quantity": 2}], "expires_at": "1970-01-01T00:17:40Z"})
        )]
    );
    assert_eq!((at(&stock, "default").reserved, stock.state.totals().available), (2, 3));
    assert_eq!(stock.state.next_deadline(), Some(stock.now.plus_secs(60)));
    let events = stock.ok("confirm", json!({"reservation_id": "fresh-2"}));
    assert_eq!(events[0].1["remaining"], 0);
    assert_eq!((at(&stock, "default").on_hand, at(&stock, "default").reserved), (3, 0));
    assert_eq!(stock.state.next_deadline(), None);
}

#[test]
fn more_than_is_available_is_refused_with_the_numbers() {
    let mut stock = with(5);
    stock.ok("reserve", hold("r1", "c1", 4));
    let refusal = stock.refused("reserve", hold("r2", "c2", 2));
    assert_eq!((refusal.code, refusal.kind), ("insufficient_stock", crate::Kind::Conflict));
    assert_eq!(refusal.detail, "asked for 2, available are 1");
    let refusal = stock.refused("reserve", hold("r2", "c2", 6));
    assert_eq!(refusal.detail, "asked for 6, available are 1");
    empty().refuses("reserve", hold("r1", "c1", 1), "insufficient_stock");
    stock.refuses(
        "reserve",
        json!({"customer_id": "c2", "quantity": 1, "location": "north"}),
        "insufficient_stock",
    );
}

#[test]
fn the_last_unit_held_puts_the_variant_out_of_stock_and_expiry_brings_it_back() {
    let mut stock = with(1);
    stock.writes("reserve", hold("r1", "c1", 1), &["inventory.reserved", "inventory.out_of_stock"]);
    stock.pass(60).writes(
        "expire",
        json!({}),
        &["inventory.reservations_expired", "inventory.back_in_stock"],
    );
    stock.writes("expire", json!({}), &[]);
}

#[test]
fn a_retry_gives_the_same_hold() {
    let mut stock = with(5);
    stock.ok("reserve", hold("r1", "c1", 2));
    stock.writes("reserve", hold("r1", "c1", 2), &[]);
    // Without an id of its own the customer's hold is found.
    stock.writes("reserve", json!({"customer_id": "c1", "quantity": 2}), &[]);
    let found = stock.state.active_hold_of(&customer("c1"), stock.now).unwrap();
    assert_eq!(found.reservation_id, reservation("r1"));
    assert_eq!(at(&stock, "default").reserved, 2);
}

#[test]
fn an_id_stands_for_one_hold() {
    let mut stock = with(9);
    stock.ok("reserve", hold("r1", "c1", 2));
    stock.refuses("reserve", hold("r1", "c1", 3), "reservation_conflict");
    stock.refuses("reserve", hold("r1", "c2", 2), "reservation_conflict");
    stock.ok("confirm", json!({"reservation_id": "r1"}));
    stock.refuses("reserve", hold("r1", "c1", 2), "reservation_conflict");
    stock.ok("reserve", hold("r2", "c1", 2));
    stock.ok("release", json!({"reservation_id": "r2"}));
    stock.refuses("reserve", hold("r2", "c1", 2), "reservation_conflict");
    stock.ok("reserve", hold("r3", "c1", 2));
    stock.pass(60).refuses("reserve", hold("r3", "c1", 2), "reservation_expired");
    stock.ok("expire", json!({}));
    stock.refuses("reserve", hold("r3", "c1", 2), "reservation_expired");
}

#[test]
fn a_customer_has_one_hold_of_their_own() {
    let mut stock = with(9);
    stock.ok("reserve", hold("r1", "c1", 2));
    stock.refuses("reserve", hold("r2", "c1", 2), "already_reserved");
    stock.refuses("reserve", json!({"customer_id": "c1", "quantity": 3}), "already_reserved");
    // An order's hold is another matter, and so is the time after the deadline.
    stock
        .ok("reserve", json!({"reservation_id": "o1", "customer_id": "c1", "order_id": "o1", "quantity": 1}));
    stock.pass(60).writes(
        "reserve",
        hold("r2", "c1", 2),
        &["inventory.reservations_expired", "inventory.reserved"],
    );
    let found = stock.state.active_hold_of(&customer("c1"), stock.now).unwrap();
    assert_eq!(found.reservation_id, reservation("r2"));
}

#[test]
fn a_customer_has_at_most_five_holds_over_all_variants() {
    let mut stock = with(9);
    let reserve = |stock: &mut Stock, order: Option<&str>, holds| {
        let mut body = json!({"customer_id": "c1", "quantity": 1});
        if let Some(order) = order {
            body["order_id"] = json!(order);
        }
        let Action::Reserve(reserve) = stock.parsed("reserve", &body) else { panic!("another action") };
        stock.act(Action::Reserve(Reserve { customer_active_holds: Some(holds), ..reserve }))
    };
    let refusal: crate::Refusal = reserve(&mut stock, None, 5).unwrap_err().into();
    assert_eq!((refusal.code, refusal.kind), ("too_many_reservations", crate::Kind::Conflict));
    assert_eq!(reserve(&mut stock, Some("o1"), 5).unwrap().len(), 1);
    assert_eq!(reserve(&mut stock, None, 4).unwrap().len(), 1);
    // The fifth is there now: a retry adds none.
    assert_eq!(reserve(&mut stock, None, 5).unwrap().len(), 0);
}

#[test]
fn a_hold_is_for_somebody_and_for_a_bounded_time() {
    let mut stock = with(9);
    stock.refuses("reserve", json!({"quantity": 1}), "invalid_request");
    stock.refuses("reserve", json!({"customer_id": "c", "quantity": 1, "ttl_seconds": 0}), "invalid_request");
    stock.refuses(
        "reserve",
        json!({"customer_id": "c", "quantity": 1, "ttl_seconds": 86_401}),
        "invalid_request",
    );
    stock.ok("reserve", json!({"order_id": "guest-order", "quantity": 1, "ttl_seconds": 86_400}));
    assert_eq!(stock.state.next_deadline(), Some(stock.now.plus_secs(86_400)));
}

#[test]
fn a_hold_stops_counting_at_its_deadline_without_a_sweeper() {
    let mut stock = with(2);
    stock.ok("reserve", hold("r1", "c1", 2));
    stock.pass(59).refuses("reserve", hold("r2", "c2", 1), "insufficient_stock");
    stock.pass(1);
    assert_eq!(stock.state.reserved_at(stock.now), 0);
    assert!(stock.state.active_hold_of(&customer("c1"), stock.now).is_none());
    let events = stock.ok("reserve", hold("r2", "c2", 1));
    assert_eq!(events[0].0, "inventory.reservations_expired");
    assert_eq!(events[0].1["reservations"][0]["reservation_id"], "r1");
    assert_eq!(events[0].1["reservations"][0]["quantity"], 2);
    assert_eq!(events[1].0, "inventory.reserved");
    // Sold out, then one of two is free: it is back in stock.
    assert_eq!(events[2], ("inventory.back_in_stock".to_owned(), json!({"available": 1})));
}

#[test]
fn what_is_used_up_says_what_became_of_it() {
    let mut stock = with(9);
    for id in ["confirmed", "released", "expired"] {
        stock.ok("reserve", hold(id, id, 1));
    }
    stock.ok("confirm", json!({"reservation_id": "confirmed"}));
    stock.ok("release", json!({"reservation_id": "released"}));
    stock.pass(60);
    for sweep in [false, true] {
        if sweep {
            stock.ok("expire", json!({}));
        }
        stock.refuses("confirm", json!({"reservation_id": "expired"}), "reservation_expired");
        stock.refuses("release", json!({"reservation_id": "expired"}), "reservation_expired");
    }
    assert_eq!(stock.state.outcome(&reservation("expired")), Some(Outcome::Expired));
    stock.writes("confirm", json!({"reservation_id": "confirmed"}), &[]);
    stock.writes("release", json!({"reservation_id": "released"}), &[]);
    stock.refuses("release", json!({"reservation_id": "confirmed"}), "reservation_confirmed");
    stock.refuses("confirm", json!({"reservation_id": "released"}), "reservation_released");
    let refusal = stock.refused("confirm", json!({"reservation_id": "nobody"}));
    assert_eq!((refusal.code, refusal.kind), ("not_found", crate::Kind::NotFound));
    stock.refuses("release", json!({"reservation_id": "nobody"}), "not_found");
}

#[test]
fn a_part_can_be_confirmed_or_released() {
    let mut stock = with(9);
    stock.ok("reserve", hold("r1", "c1", 5));
    stock.refuses("confirm", json!({"reservation_id": "r1", "quantity": 6}), "unprocessable");
    stock.refuses("release", json!({"reservation_id": "r1", "quantity": 6}), "unprocessable");
    let events = stock.ok("confirm", json!({"reservation_id": "r1", "quantity": 2}));
    assert_eq!(events[0].1["remaining"], 3);
    assert_eq!((at(&stock, "default").on_hand, at(&stock, "default").reserved), (7, 3));
    let events = stock.ok("release", json!({"reservation_id": "r1", "quantity": 2}));
    assert_eq!(events[0].1["remaining"], 1);
    assert_eq!(stock.state.hold(&reservation("r1")).unwrap().quantity.get(), 1);
    stock.pass(60).ok("expire", json!({}));
    assert_eq!((at(&stock, "default").on_hand, at(&stock, "default").reserved), (7, 0));
    assert_eq!(stock.state.outcome(&reservation("r1")), Some(Outcome::Expired));
}

#[test]
fn goods_come_from_default_first_then_by_name() {
    let mut stock = empty();
    for (location, quantity) in [("alpha", 2), ("default", 1), ("beta", 3)] {
        stock.ok("receive", json!({"location": location, "quantity": quantity}));
    }
    let events = stock.ok("reserve", hold("r1", "c1", 4));
    assert_eq!(
        events[0].1["allocations"],
        json!([{"location": "default", "quantity": 1}, {"location": "alpha", "quantity": 2},
            {"location": "beta", "quantity": 1}])
    );
    let events = stock.ok("confirm", json!({"reservation_id": "r1", "quantity": 2}));
    assert_eq!(
        events[0].1["allocations"],
        json!([{"location": "default", "quantity": 1}, {"location": "alpha", "quantity": 1}])
    );
    assert_eq!((at(&stock, "alpha").on_hand, at(&stock, "alpha").reserved), (1, 1));
    let events = stock.ok("release", json!({"reservation_id": "r1"}));
    assert_eq!(
        events[0].1["allocations"],
        json!([{"location": "alpha", "quantity": 1}, {"location": "beta", "quantity": 1}])
    );
    let named = json!({"customer_id": "c2", "quantity": 3, "location": "beta"});
    let events = stock.ok("reserve", named);
    assert_eq!(events[0].1["allocations"], json!([{"location": "beta", "quantity": 3}]));
    stock.refuses(
        "reserve",
        json!({"customer_id": "c3", "quantity": 2, "location": "alpha"}),
        "insufficient_stock",
    );
}

#[test]
fn backorder_reserves_beyond_what_is_there_up_to_the_limit() {
    let mut stock = with(2);
    stock.ok("set-policy", json!({"backorder_limit": 3}));
    stock.writes("reserve", hold("r1", "c1", 4), &["inventory.reserved", "inventory.out_of_stock"]);
    assert_eq!(at(&stock, "default").available(), -2);
    stock.refuses("reserve", hold("r2", "c2", 2), "insufficient_stock");
    stock.ok("reserve", hold("r2", "c2", 1));
    stock.refuses("reserve", hold("r3", "c3", 1), "insufficient_stock");
    // Goods that were promised beyond what is there are owed when they are sold; they still count against the limit.
    stock.ok("confirm", json!({"reservation_id": "r1"}));
    stock.ok("confirm", json!({"reservation_id": "r2"}));
    assert_eq!((at(&stock, "default").on_hand, at(&stock, "default").reserved), (-3, 0));
    stock.refuses("reserve", hold("r3", "c3", 1), "insufficient_stock");
    stock.refuses("sell", json!({"quantity": 1}), "insufficient_stock");
    stock.writes("receive", json!({"quantity": 4}), &["inventory.received", "inventory.back_in_stock"]);
    let events = empty_with_backorder(2).ok("reserve", hold("r1", "c1", 2));
    assert_eq!(events[0].1["allocations"], json!([{"location": "default", "quantity": 2}]));
}

fn empty_with_backorder(limit: u32) -> Stock {
    let mut stock = empty();
    stock.ok("set-policy", json!({"backorder_limit": limit}));
    stock
}

#[test]
fn a_backorder_lies_at_the_first_location() {
    let mut stock = empty_with_backorder(5);
    stock.ok("receive", json!({"location": "beta", "quantity": 1}));
    stock.ok("receive", json!({"location": "alpha", "quantity": 1}));
    let events = stock.ok("reserve", hold("r1", "c1", 4));
    assert_eq!(
        events[0].1["allocations"],
        json!([{"location": "alpha", "quantity": 3}, {"location": "beta", "quantity": 1}])
    );
}

/// Many holds of one unit, all due at the same second.
fn crowd(holds: usize) -> Stock {
    let mut stock = with(u32::try_from(holds).unwrap());
    for n in 0..holds {
        let action = stock.parsed("reserve", &hold(&format!("r{n}"), &format!("c{n}"), 1));
        apply_only(&mut stock, action);
    }
    stock
}

#[test]
fn expiries_are_written_in_bounded_events() {
    let mut stock = crowd(MAX_EXPIRED_PER_EVENT + 1);
    let events = stock.pass(60).ok("expire", json!({}));
    let counts: Vec<_> =
        events.iter().filter_map(|(_, data)| Some(data.get("reservations")?.as_array()?.len())).collect();
    assert_eq!(counts, [MAX_EXPIRED_PER_EVENT, 1]);
}

#[test]
fn a_storm_of_deadlines_is_written_in_turns_yet_never_refuses_what_is_free() {
    let holds = MAX_EXPIRED_PER_COMMAND + 2_500;
    let expired = |events: &[crate::testing::Written]| -> usize {
        events.iter().filter_map(|(_, data)| Some(data.get("reservations")?.as_array()?.len())).sum()
    };
    let mut stock = crowd(holds);
    let events = stock.pass(60).ok("expire", json!({}));
    assert_eq!(expired(&events), MAX_EXPIRED_PER_COMMAND);
    assert_eq!(stock.state.next_deadline(), Some(stock.now));
    assert_eq!(expired(&stock.ok("expire", json!({}))), 2_500);

    let mut stock = crowd(holds);
    let all = u32::try_from(holds).unwrap();
    let events = stock.pass(60).ok("reserve", hold("all", "all", all));
    assert_eq!(expired(&events), holds);
    assert_eq!(at(&stock, "default").reserved, i64::from(all));
}

#[test]
fn used_up_ids_are_remembered_in_bounds() {
    let mut stock = with(u32::try_from(REMEMBERED_OUTCOMES).unwrap() + 10);
    for n in 0..=REMEMBERED_OUTCOMES {
        let id = format!("r{n}");
        let action = stock.parsed("reserve", &hold(&id, "c1", 1));
        apply_only(&mut stock, action);
        let action = stock.parsed("release", &json!({"reservation_id": id}));
        apply_only(&mut stock, action);
    }
    assert_eq!(stock.state.outcome(&reservation("r0")), None);
    assert_eq!(stock.state.outcome(&reservation("r1")), Some(Outcome::Released));
    stock.ok("reserve", hold("r0", "c1", 1));
}

/// Without the costly check of the snapshot that [`Scene::act`] makes.
fn apply_only(stock: &mut Stock, action: Action) {
    let command = crate::Command {
        now: stock.now,
        fresh_id: daybook_schemas::Token::new("unused").unwrap(),
        roles: crate::Roles::ALL,
        action,
    };
    for event in crate::Decider::decide(&stock.state, &command).unwrap() {
        cqrs_es::Aggregate::apply(&mut stock.state, event);
    }
}

#[test]
fn outcomes_that_made_room_for_others_come_back_with_them() {
    use daybook_schemas::inventory::{ExpiredReservation, ReservationsExpired};
    use daybook_schemas::{Quantity, Timestamp};

    let mut stock = with(u32::try_from(REMEMBERED_OUTCOMES).unwrap() + 10);
    let expired = |ids: std::ops::Range<usize>| {
        let reservations = ids.map(|n| ExpiredReservation {
            reservation_id: reservation(&format!("r{n}")),
            customer_id: None,
            order_id: None,
            quantity: Quantity::new(1).unwrap(),
            allocations: Vec::new(),
            expires_at: Timestamp::EPOCH,
        });
        Event::ReservationsExpired(ReservationsExpired { reservations: reservations.collect() })
    };
    for (before, after) in
        [(0..3, 3..5), (5..REMEMBERED_OUTCOMES, 2_000..2_007), (3_000..3_001, 4_000..6_000)]
    {
        cqrs_es::Aggregate::apply(&mut stock.state, expired(before));
        let was = stock.state.clone();
        // One of them a second time, so that it is known already.
        for event in [expired(after), expired(4_999..5_001), expired(2..4)] {
            let undo = stock.state.apply_undoable(event);
            stock.state.undo(undo);
            assert!(stock.state == was);
        }
    }
}
