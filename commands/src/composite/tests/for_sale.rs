//! Stock and the lifecycle of its variant.

use super::*;

const REFUSED: &str = "unprocessable";

fn receive() -> Value {
    json!({"quantity": 2})
}

fn reserve(customer: &str) -> Value {
    json!({"customer_id": customer, "reservation_id": customer, "quantity": 1})
}

fn archived(variant: &str) -> World {
    World::given(&[
        (&format!("variant/{variant}/create"), create(variant)),
        (&format!("variant/{variant}/archive"), json!({})),
    ])
}

#[test]
fn no_goods_come_in_or_are_held_for_an_archived_variant() {
    let mut world = archived("v");
    // Also where more may be promised than there is.
    world.when("inventory/v/set-policy", &json!({"backorder_limit": 9})).unwrap();
    for (command, body) in [("receive", receive()), ("expect-delivery", receive()), ("reserve", reserve("c"))]
    {
        assert_eq!(code(world.when(&format!("inventory/v/{command}"), &body)), REFUSED, "{command}");
        world.cool_all();
    }
    // Books say what is there: goods that come back are counted, and can be taken out again.
    world.when("inventory/v/return", &json!({"quantity": 1})).unwrap();
    assert_eq!(code(world.when("inventory/v/reserve", &reserve("c"))), REFUSED);
    world.when("inventory/v/adjust", &json!({"delta": -1, "reason": "given away"})).unwrap();
}

#[test]
fn who_sells_holds_only_what_is_for_sale_and_operators_put_aside() {
    let steps = [
        ("create", create("v"), false),
        ("submit", json!({}), false),
        ("approve", json!({}), true),
        ("mature", json!({}), true),
        ("clear", json!({}), true),
        ("discontinue", json!({}), false),
        ("reactivate", json!({}), true),
    ];
    let mut world = World::given(&[("inventory/v/receive", json!({"quantity": 99}))]);
    let by = |role| Roles::of([role]);
    world.by(by(Role::Buyer), "inventory/v/reserve", &reserve("nobodys-catalogue")).unwrap();
    for (step, body, for_sale) in steps {
        world.when(&format!("variant/v/{step}"), &body).unwrap();
        for role in [Role::Buyer, Role::Storefront] {
            let held =
                world.by(by(role), "inventory/v/reserve", &reserve(&format!("{step}-{}", role.as_str())));
            match held {
                Ok(_) => assert!(for_sale, "{step}"),
                Err(error) => assert_eq!((error.code(), for_sale), (REFUSED, false), "{step}"),
            }
        }
        world.by(by(Role::Operator), "inventory/v/reserve", &reserve(&format!("{step}-operator"))).unwrap();
        world.when("inventory/v/receive", &receive()).unwrap();
    }
}

#[test]
fn a_hold_from_before_is_told_again_and_sold() {
    let mut world = shop(&[("v", 2)]);
    let storefront = Roles::of([Role::Storefront]);
    world.by(storefront, "inventory/v/reserve", &reserve("c")).unwrap();
    world.when("variant/v/discontinue", &json!({})).unwrap();
    assert_eq!(world.by(storefront, "inventory/v/reserve", &reserve("c")).unwrap(), [""; 0]);
    assert_eq!(code(world.by(storefront, "inventory/v/reserve", &reserve("d"))), REFUSED);
    world.by(storefront, "inventory/v/confirm", &json!({"reservation_id": "c"})).unwrap();
}

/// The hold ran out, the goods were sold and the variant archived; then the money came. What may be promised beyond the stock must not
/// be promised of it.
#[test]
fn money_for_what_was_archived_meanwhile_goes_back() {
    for archived in [false, true] {
        let mut world = shop(&[("v", 1)]);
        world.when("inventory/v/set-policy", &json!({"backorder_limit": 9})).unwrap();
        world.when("order/1/place", &order(&json!([{"variant_id": "v", "quantity": 1}]))).unwrap();
        world.now = world.now.plus_secs(60);
        world.when("inventory/v/sell", &json!({"quantity": 1})).unwrap();
        world.when("variant/v/discontinue", &json!({})).unwrap();
        if archived {
            world.when("variant/v/archive", &json!({})).unwrap();
        }
        let events = world.when("order/1/pay", &json!({})).unwrap();
        assert_eq!(events.contains(&"order-1 order.refunded".to_owned()), archived, "{events:?}");
        assert_eq!(events.contains(&"inventory-v inventory.confirmed".to_owned()), !archived, "{events:?}");
    }
}

/// Goods of an order come back whatever became of the variant.
#[test]
fn orders_of_an_archived_variant_are_cancelled_and_returned() {
    let mut world = shop(&[("v", 2)]);
    let lines = json!([{"variant_id": "v", "quantity": 1}]);
    for id in ["1", "2"] {
        world.when(&format!("order/{id}/place"), &order(&lines)).unwrap();
        world.when(&format!("order/{id}/pay"), &json!({})).unwrap();
    }
    world.when("order/2/ship", &json!({})).unwrap();
    world.when("variant/v/discontinue", &json!({})).unwrap();
    world.when("variant/v/archive", &json!({})).unwrap();
    assert_eq!(code(world.when("order/3/place", &order(&lines))), REFUSED);
    world.when("order/1/cancel", &json!({})).unwrap();
    world
        .when("order/2/request-return", &json!({"return_id": "r", "lines": [{"line_id": 1, "quantity": 1}]}))
        .unwrap();
    world.when("order/2/receive-return", &json!({"return_id": "r"})).unwrap();
    world.when("inventory/v/sell", &json!({"quantity": 2})).unwrap();
}
