//! Numbers of orders.

use super::*;

const TAKEN: &str = "duplicate_order_number";

fn numbered(number: &str) -> Value {
    let mut body = order(&json!([{"variant_id": "a", "quantity": 1}]));
    body["order_number"] = json!(number);
    body
}

fn past(number: Option<&str>) -> Value {
    json!({"payment_method": "card", "placed_at": "2011-11-04T10:00:00Z", "order_number": number,
           "lines": [{"variant_id": "a", "quantity": 1}]})
}

#[test]
fn no_two_orders_have_one_number() {
    let mut world = shop(&[("a", 9)]);
    let plain = order(&json!([{"variant_id": "a", "quantity": 1}]));
    world.when("order/1/place", &numbered("R 1 / 2026")).unwrap();
    assert_eq!(world.when("order/1/place", &numbered("R 1 / 2026")).unwrap(), [""; 0], "a repeat is none");
    for path in ["order/2/place", "order/2/record"] {
        let body = if path.ends_with("record") { past(Some("R 1 / 2026")) } else { numbered("R 1 / 2026") };
        assert_eq!(code(world.when(path, &body)), TAKEN, "{path}");
    }
    // A number that is not given is the id.
    world.when("order/3/place", &numbered("4")).unwrap();
    assert_eq!(code(world.when("order/4/place", &plain)), TAKEN);
    assert_eq!(code(world.when("order/4/record", &past(None))), TAKEN);
    world.when("order/4/place", &numbered("5")).unwrap();
    world.when("order/6/record", &past(None)).unwrap();
    assert_eq!(code(world.when("order/7/place", &numbered("6"))), TAKEN);
    world.when("order/7/place", &numbered("7")).unwrap();
    // What is called off keeps its number, and nothing was held or sold for what was refused.
    world.when("order/7/cancel", &json!({})).unwrap();
    assert_eq!(code(world.when("order/8/place", &numbered("7"))), TAKEN);
    assert_eq!(world.hold_ids("a").len(), 3);
    world.when("inventory/a/sell", &json!({"quantity": 5})).unwrap();
}

/// Whoever knows the id of an order may call it off.
#[test]
fn the_shop_alone_is_told_whose_number_it_is() {
    let mut world = shop(&[("a", 9)]);
    world.when("order/secret/place", &numbered("1002")).unwrap();
    let plain = order(&json!([{"variant_id": "a", "quantity": 1}]));
    for (role, told) in [(Role::Storefront, true), (Role::Buyer, false)] {
        let refused = world.by(Roles::of([role]), "order/1002/place", &plain).unwrap_err();
        assert_eq!(refused.code(), TAKEN);
        assert_eq!(format!("{refused:?}").contains("secret"), told, "{refused:?}");
    }
}
