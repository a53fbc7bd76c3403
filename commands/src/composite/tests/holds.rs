//! Holds of orders, and holds from outside.

use super::*;

fn left_in_stock(world: &mut World, variant: &str, units: u32) -> bool {
    let sell = |quantity: u32| json!({"quantity": quantity});
    let path = format!("inventory/{variant}/sell");
    let all = units == 0 || world.when(&path, &sell(units)).is_ok();
    all && world.when(&path, &sell(1)).is_err_and(|error| error.code() == "insufficient_stock")
}

#[test]
fn what_an_order_holds_is_sold_and_given_back_by_the_order_alone() {
    let mut world = shop(&[("a", 5)]);
    world.when("order/1/place", &order(&json!([{"variant_id": "a", "quantity": 2}]))).unwrap();
    let id = world.hold_ids("a").pop().unwrap();
    for command in ["confirm", "release"] {
        for quantity in [json!(null), json!(1)] {
            let body = json!({"reservation_id": id, "quantity": quantity});
            assert_eq!(code(world.when(&format!("inventory/a/{command}"), &body)), "held_for_order");
        }
    }
    world.when("order/1/cancel", &json!({})).unwrap();
    assert!(left_in_stock(&mut world, "a", 5));
}

#[test]
fn a_hold_of_an_order_that_ran_out_is_told_as_such() {
    let mut world = shop(&[("a", 5)]);
    world.when("order/1/place", &order(&json!([{"variant_id": "a", "quantity": 2}]))).unwrap();
    let id = world.hold_ids("a").pop().unwrap();
    world.now = world.now.plus_secs(60);
    let body = json!({"reservation_id": id});
    assert_eq!(code(world.when("inventory/a/confirm", &body)), "reservation_expired");
}

/// A log from before the mark: the hold has the very id of its order.
#[test]
fn holds_of_orders_from_before_the_mark_are_the_orders_too() {
    let mut world = shop(&[("a", 5)]);
    let hold = json!({"reservation_id": "1", "order_id": "1", "customer_id": "c", "quantity": 2,
                      "allocations": [{"location": "default", "quantity": 2}],
                      "expires_at": world.now.plus_secs(60)});
    let reserved: daybook_schemas::inventory::Reserved = serde_json::from_value(hold).unwrap();
    let event = daybook_schemas::inventory::Event::from(reserved);
    let stock = StreamId::new("inventory-a").unwrap();
    world.table.get_mut(&stock).unwrap().state.as_mut().unwrap().apply(event.into()).unwrap();
    for command in ["confirm", "release"] {
        let body = json!({"reservation_id": "1"});
        assert_eq!(code(world.when(&format!("inventory/a/{command}"), &body)), "held_for_order");
    }
}

#[test]
fn only_those_who_speak_for_the_shop_hold_stock_in_the_name_of_an_order() {
    let mut world = shop(&[("a", 5)]);
    for body in [
        json!({"customer_id": "c", "order_id": "made-up", "quantity": 1}),
        json!({"order_id": "made-up", "quantity": 1}),
    ] {
        let storefront = Roles::of([Role::Storefront, Role::Merchandiser, Role::BrandOwner]);
        assert_eq!(code(world.by(storefront, "inventory/a/reserve", &body)), "forbidden");
    }
    let body = json!({"order_id": "of-the-old-shop", "reservation_id": "r", "quantity": 1});
    let operator = Roles::of([Role::Operator]);
    world.by(operator, "inventory/a/reserve", &body).unwrap();
    // No order of ours will ever sell it, so whoever took it does.
    world.by(operator, "inventory/a/confirm", &json!({"reservation_id": "r"})).unwrap();
    assert!(left_in_stock(&mut world, "a", 4));
}

#[test]
fn no_hold_from_outside_stands_in_the_way_of_an_order() {
    let mut world = shop(&[("a", 5)]);
    let lines = json!([{"variant_id": "a", "quantity": 1}]);
    for id in ["ord-77", "order-ord-77"] {
        let body = json!({"customer_id": id, "reservation_id": id, "quantity": 1});
        world.when("inventory/a/reserve", &body).unwrap();
    }
    world.when("order/ord-77/place", &order(&lines)).unwrap();
    let taken = world.hold_ids("a");
    let of_order = taken.iter().find(|id| !["ord-77", "order-ord-77"].contains(&id.as_str())).unwrap();
    world.when("order/ord-77/cancel", &json!({})).unwrap();
    for (id, order_id) in [(of_order.as_str(), None), ("order~other", None), ("x", Some("x"))] {
        let body = json!({"customer_id": "d", "reservation_id": id, "order_id": order_id, "quantity": 1});
        assert_eq!(code(world.when("inventory/a/reserve", &body)), "reservation_conflict", "{id}");
    }
}

#[test]
fn orders_with_the_longest_ids_hold_stock_apart() {
    let mut world = shop(&[("a", 5)]);
    let lines = json!([{"variant_id": "a", "quantity": 1}]);
    let ids: Vec<String> = (0..2).map(|n| format!("{}{n}", "o".repeat(63))).collect();
    for id in &ids {
        world.when(&format!("order/{id}/place"), &order(&lines)).unwrap();
    }
    assert_eq!(world.hold_ids("a").len(), 2);
    for id in &ids {
        world.when(&format!("order/{id}/pay"), &json!({})).unwrap();
    }
    assert!(left_in_stock(&mut world, "a", 3));
}

/// Who holds a public key is nobody in particular: neither of the shop nor the customer that is named.
#[test]
fn a_buyer_does_not_speak_for_the_shop() {
    let buyer = Roles::of([Role::Buyer]);
    let mut world = shop(&[("a", 9)]);
    let lines = json!([{"variant_id": "a", "quantity": 1}]);
    for word in [
        json!({"customer_group": "trade"}),
        json!({"placed_at": "2199-01-01T00:00:00Z"}),
        json!({"order_number": "R-1"}),
        json!({"lines": [{"variant_id": "a", "quantity": 1, "unit_price": {"amount": "0.01", "currency": "GBP"}}]}),
    ] {
        let mut body = order(&lines);
        body.as_object_mut().unwrap().extend(word.as_object().unwrap().clone());
        assert_eq!(code(world.by(buyer, "order/1/place", &body)), "forbidden", "{word}");
    }
    let made_up = json!({"order_id": "made-up", "quantity": 1});
    assert_eq!(code(world.by(buyer, "inventory/a/reserve", &made_up)), "forbidden");
    // What is not paid is called off by whoever knows its id; what is paid is not.
    for (id, pays) in [("1", false), ("2", true)] {
        world.by(buyer, &format!("order/{id}/place"), &order(&lines)).unwrap();
        if pays {
            world.when(&format!("order/{id}/pay"), &json!({})).unwrap();
            assert_eq!(code(world.by(buyer, &format!("order/{id}/cancel"), &json!({}))), "forbidden");
        }
        let canceller = if pays { Roles::of([Role::Storefront]) } else { buyer };
        world.by(canceller, &format!("order/{id}/cancel"), &json!({})).unwrap();
    }
    assert!(left_in_stock(&mut world, "a", 9));
}

/// The id of a hold is all that it takes to release it.
#[test]
fn a_buyer_is_not_told_the_hold_of_another() {
    let mut world = shop(&[("a", 9)]);
    let body = |quantity: u32| json!({"customer_id": "bob", "quantity": quantity});
    world.by(Roles::of([Role::Buyer]), "inventory/a/reserve", &body(1)).unwrap();
    let id = world.hold_ids("a").pop().unwrap();
    for (role, told) in [(Role::Buyer, false), (Role::Storefront, true)] {
        let Err(CommandError::Refused(refusal)) =
            world.by(Roles::of([role]), "inventory/a/reserve", &body(2))
        else {
            panic!("accepted")
        };
        assert_eq!(refusal.code, "already_reserved");
        assert_eq!(refusal.detail.contains(&id), told, "{refusal:?}");
    }
}

/// Goods that left the stock while the order was not paid go back with the order. They did in logs from before orders kept their holds.
#[test]
fn goods_of_a_hold_that_was_confirmed_from_outside_come_back_with_the_order() {
    let mut world = shop(&[("a", 5)]);
    world.when("order/1/place", &order(&json!([{"variant_id": "a", "quantity": 2}]))).unwrap();
    let id = world.hold_ids("a").pop().unwrap();
    let confirmed = json!({"reservation_id": id, "order_id": "1", "customer_id": "c", "quantity": 2,
                           "allocations": [{"location": "default", "quantity": 2}], "remaining": 0,
                           "expires_at": world.now.plus_secs(60)});
    let confirmed: daybook_schemas::inventory::Confirmed = serde_json::from_value(confirmed).unwrap();
    let event = daybook_schemas::inventory::Event::from(confirmed);
    let stock = StreamId::new("inventory-a").unwrap();
    world.table.get_mut(&stock).unwrap().state.as_mut().unwrap().apply(event.into()).unwrap();
    assert_eq!(code(world.when("inventory/a/sell", &json!({"quantity": 4}))), "insufficient_stock");
    world.when("order/1/cancel", &json!({})).unwrap();
    assert!(left_in_stock(&mut world, "a", 5));
}
