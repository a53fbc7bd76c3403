use daybook_schemas::Timestamp;
use serde_json::json;

use super::query::{OrderCursor, OrderFilter, by_id, by_number, list};
use super::*;
use crate::testing::orders::{cancelled, event, gbp, paid, placed, refunded};
use crate::testing::{On, World, each_engine};

fn view(world: &World, id: &str) -> OrderView {
    let projection = world.project(|| Orders);
    let rows = projection.reader.begin().unwrap();
    by_id(&*rows, id).unwrap().unwrap()
}

fn shipped(id: &str, lines: &[(u32, u32)], at: &str) -> Event {
    let lines: Vec<_> =
        lines.iter().map(|(line, quantity)| json!({"line_id": line, "quantity": quantity})).collect();
    event("order.shipped", json!({"shipment_id": id, "lines": lines, "shipped_at": at}))
}

fn an_order_through_its_whole_life(on: On) {
    let world = World::on(on);
    let stream = "order-o1";
    let lines = [("v1", "Toys", 2, 500), ("v2", "Tea", 1, 300)];
    world.append(stream, placed("o1", Some("c1"), Some("France"), "card", "2011-11-04T10:00:00Z", &lines));
    let hold = json!({"variant_id": "v1", "reservation_id": "r1", "quantity": 2});
    world.append(
        stream,
        event("order.reserved", json!({"holds": [hold], "expires_at": "2011-11-04T10:15:00Z"})),
    );
    world.append(stream, paid(1300, "2011-11-04T10:01:00Z"));
    world.append(stream, shipped("s1", &[(1, 2)], "2011-11-05T00:00:00Z"));
    assert_eq!(view(&world, "o1").status, OrderStatus::PartiallyShipped);
    world.append(stream, shipped("s2", &[(2, 1)], "2011-11-06T00:00:00Z"));
    for (shipment, at) in [("s1", "2011-11-07T00:00:00Z"), ("s2", "2011-11-08T00:00:00Z")] {
        world.append(stream, event("order.delivered", json!({"shipment_id": shipment, "delivered_at": at})));
    }
    world.append(stream, event("order.completed", json!({"completed_at": "2011-11-20T00:00:00Z"})));
    let back = json!({"return_id": "t1", "lines": [{"line_id": 1, "quantity": 1}], "requested_at": "2011-11-21T00:00:00Z"});
    world.append(stream, event("order.return_requested", back));
    let arrived = json!({"return_id": "t1", "restocked": true, "received_at": "2011-11-22T00:00:00Z"});
    world.append(stream, event("order.return_received", arrived));
    world.append(stream, refunded("f1", "2011-11-23T00:00:00Z", &[(1, 1, 500)]));

    let view = view(&world, "o1");
    let history: Vec<_> = view.history.iter().map(|h| (h.status.as_str(), h.at.date())).collect();
    let on = |day: &str| format!("2011-11-{day}");
    assert_eq!(
        history,
        [
            ("placed", on("04")),
            ("reserved", on("04")),
            ("paid", on("04")),
            ("partially_shipped", on("05")),
            ("shipped", on("06")),
            ("delivered", on("08")),
            ("completed", on("20")),
        ]
    );
    assert_eq!((view.total, view.refunded), (gbp("13.00"), gbp("5.00")));
    assert_eq!((view.lines[0].shipped, view.lines[0].returned, view.lines[0].refunded), (2, 1, gbp("5.00")));
    assert_eq!((view.returns[0].restocked, view.shipments.len()), (Some(true), 2));
    assert_eq!((view.guest, view.revision, view.position), (false, 11, 11));
    let json = serde_json::to_value(&view).unwrap();
    assert_eq!(json["total"], json!({"amount": "13.00", "currency": "GBP"}));
    assert_eq!(
        (&json["position"], &json["history"][0]["actor"]),
        (&json!("11"), &json!(crate::testing::ACTOR))
    );
}

fn lists_are_newest_first_and_page_exactly(on: On) {
    let world = World::on(on);
    for i in 0..12_u32 {
        let (id, at) = (format!("o{i:02}"), format!("2011-11-{:02}T00:00:00Z", 1 + i / 3));
        let customer = if i % 2 == 0 { Some("c1") } else { None };
        world.append(
            &format!("order-{id}"),
            placed(&id, customer, None, "card", &at, &[("v1", "Toys", 1, 1)]),
        );
        if i % 4 == 0 {
            world.append(&format!("order-{id}"), cancelled("2011-12-01T00:00:00Z"));
        }
    }
    let projection = world.project(|| Orders);
    let rows = projection.reader.begin().unwrap();
    let ids = |filter: &OrderFilter| -> Vec<String> {
        let mut ids = Vec::new();
        let mut after: Option<OrderCursor> = None;
        loop {
            let page = list(&*rows, filter, after.as_ref(), 2).unwrap();
            ids.extend(page.orders.iter().map(|order| order.order_id.to_string()));
            match page.next {
                Some(next) => after = Some(OrderCursor::parse(&next).unwrap()),
                None => return ids,
            }
        }
    };
    let expected = |keep: fn(u32) -> bool| -> Vec<String> {
        (0..12).rev().filter(|i| keep(*i)).map(|i| format!("o{i:02}")).collect()
    };
    assert_eq!(ids(&OrderFilter::default()), expected(|_| true));
    let of_customer = OrderFilter { customer_id: Some("c1".to_owned()), ..OrderFilter::default() };
    assert_eq!(ids(&of_customer), expected(|i| i % 2 == 0));
    let cancelled = OrderFilter { status: Some(OrderStatus::Cancelled), ..OrderFilter::default() };
    assert_eq!(ids(&cancelled), expected(|i| i % 4 == 0));
    let both = OrderFilter { customer_id: Some("c1".to_owned()), ..cancelled };
    assert_eq!(ids(&both), expected(|i| i % 4 == 0));
    let days = OrderFilter {
        placed_from: Some(Timestamp::parse("2011-11-02T00:00:00Z").unwrap()),
        placed_before: Some(Timestamp::parse("2011-11-04T00:00:00Z").unwrap()),
        ..OrderFilter::default()
    };
    assert_eq!(ids(&days), expected(|i| (3..9).contains(&i)));
    assert_eq!(by_number(&*rows, "N-o03").unwrap().orders.len(), 1);
    assert!(by_id(&*rows, "o99").unwrap().is_none());
    for text in ["", "x", "1:", ":o1", "1"] {
        assert!(OrderCursor::parse(text).is_err(), "{text}");
    }
}

each_engine!(an_order_through_its_whole_life, lists_are_newest_first_and_page_exactly,);
