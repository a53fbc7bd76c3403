//! Money that arrives when nobody waits for it any more: for goods, refunded, or refused.

use super::*;
use daybook_aggregates::order::{Order, Status};

fn placed() -> World {
    let mut world = shop(&[("a", 5)]);
    world.when("order/1/place", &order(&json!([{"variant_id": "a", "quantity": 3}]))).unwrap();
    world
}

fn of_order(events: &[String]) -> Vec<&str> {
    events.iter().filter_map(|event| event.strip_prefix("order-1 order.")).collect()
}

fn status(world: &World) -> (Status, bool) {
    let stream = StreamId::new("order-1").unwrap();
    let state = world.table.get(&stream).and_then(|slot| slot.state.as_ref()).unwrap();
    let order = <Order as crate::state::Resident>::of(state).unwrap().existing().unwrap();
    (order.status, order.refunded == order.total)
}

#[test]
fn a_cancelled_order_takes_no_payment() {
    let mut world = placed();
    world.when("order/1/cancel", &json!({})).unwrap();
    assert_eq!(code(world.when("order/1/pay", &json!({}))), "invalid_transition");
    world.when("inventory/a/sell", &json!({"quantity": 5})).unwrap();
}

#[test]
fn a_payment_after_one_that_failed_takes_the_goods_anew_or_goes_back() {
    for (sold_meanwhile, expected) in [(2, &["paid"][..]), (3, &["paid", "cancelled", "refunded"])] {
        let mut world = placed();
        world.when("order/1/fail-payment", &json!({"reason": "card refused"})).unwrap();
        world.when("inventory/a/sell", &json!({"quantity": sold_meanwhile})).unwrap();
        let events = world.when("order/1/pay", &json!({})).unwrap();
        assert_eq!(of_order(&events), expected, "{events:?}");
        let paid = expected.len() == 1;
        assert_eq!(status(&world), if paid { (Status::Paid, false) } else { (Status::Cancelled, true) });
        let left = if paid { 0 } else { 2 };
        assert_eq!(world.when("inventory/a/sell", &json!({"quantity": left.max(1)})).is_ok(), left > 0);
        if paid {
            assert_eq!(world.when("order/1/pay", &json!({})).unwrap(), [""; 0], "a repeat");
            world.when("order/1/ship", &json!({})).unwrap();
        }
    }
}
