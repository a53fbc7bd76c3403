//! Shipping, delivering, returning.

use super::*;

fn lines(parts: &[(u32, u32)]) -> serde_json::Value {
    json!(
        parts
            .iter()
            .map(|(line, quantity)| json!({"line_id": line, "quantity": quantity}))
            .collect::<Vec<_>>()
    )
}

#[test]
fn everything_ships_at_once_unless_a_part_is_named() {
    let mut deal = paid();
    let events = deal.ok("ship", json!({"carrier": "Post", "tracking_number": "T1"}));
    assert_eq!(events[0].1["lines"], lines(&[(1, 3), (2, 2), (3, 1)]));
    assert_eq!(events[0].1["shipment_id"], format!("fresh-{}", deal.commands));
    assert_eq!(order(&deal).status, Status::Shipped);
    deal.refuses("ship", json!({}), "invalid_transition");
}

#[test]
fn parts_ship_one_after_the_other() {
    let mut deal = paid();
    deal.ok("ship", json!({"shipment_id": "s1", "lines": lines(&[(1, 2)])}));
    assert_eq!(order(&deal).status, Status::PartiallyShipped);
    deal.refuses("ship", json!({"lines": lines(&[(1, 2)])}), "exceeds_ordered");
    deal.refuses("ship", json!({"lines": lines(&[(4, 1)])}), "unprocessable");
    deal.refuses("ship", json!({"lines": lines(&[(2, 1), (2, 1)])}), "invalid_request");
    deal.refuses("ship", json!({"lines": []}), "invalid_request");
    deal.writes("ship", json!({"shipment_id": "s1"}), &[]);
    deal.writes("ship", json!({"shipment_id": "s1", "lines": lines(&[(1, 2)])}), &[]);
    deal.refuses("ship", json!({"shipment_id": "s1", "lines": lines(&[(1, 1)])}), "duplicate_shipment");
    deal.ok("deliver", json!({}));
    assert_eq!(order(&deal).status, Status::PartiallyShipped);
    deal.refuses("complete", json!({}), "invalid_transition");
    let events = deal.ok("ship", json!({"shipment_id": "s2"}));
    assert_eq!(events[0].1["lines"], lines(&[(1, 1), (2, 2), (3, 1)]));
    assert_eq!(order(&deal).status, Status::Shipped);
}

#[test]
fn an_order_is_delivered_with_its_last_parcel() {
    let mut deal = paid();
    deal.refuses("deliver", json!({}), "invalid_transition");
    deal.ok("ship", json!({"shipment_id": "s1", "lines": lines(&[(1, 1)])}));
    deal.ok("ship", json!({"shipment_id": "s2"}));
    deal.refuses("deliver", json!({"shipment_id": "s3"}), "not_found");
    deal.writes("deliver", json!({"shipment_id": "s2"}), &["order.delivered"]);
    assert_eq!(order(&deal).status, Status::Shipped);
    deal.writes("deliver", json!({"shipment_id": "s2"}), &[]);
    deal.writes("deliver", json!({}), &["order.delivered"]);
    assert_eq!(order(&deal).status, Status::Delivered);
    deal.writes("deliver", json!({}), &[]);
    deal.writes("complete", json!({}), &["order.completed"]);
    deal.writes("complete", json!({}), &[]);
    deal.writes("deliver", json!({}), &[]);
    let statuses: Vec<_> = order(&deal).history.iter().map(|(status, _)| status.as_str()).collect();
    assert_eq!(
        statuses,
        ["placed", "reserved", "paid", "partially_shipped", "shipped", "delivered", "completed"]
    );
}

#[test]
fn two_parcels_arrive_with_one_command() {
    let mut deal = paid();
    deal.ok("ship", json!({"lines": lines(&[(1, 1)])}));
    deal.ok("ship", json!({}));
    deal.writes("deliver", json!({}), &["order.delivered", "order.delivered"]);
}

#[test]
fn no_more_comes_back_than_was_shipped() {
    paid().refuses("request-return", json!({"lines": lines(&[(1, 1)])}), "invalid_transition");
    let mut deal = paid();
    deal.ok("ship", json!({"lines": lines(&[(1, 2)])}));
    deal.refuses("request-return", json!({"lines": lines(&[(1, 3)])}), "exceeds_shipped");
    deal.refuses("request-return", json!({"lines": lines(&[(2, 1)])}), "exceeds_shipped");
    deal.refuses("request-return", json!({"lines": lines(&[(9, 1)])}), "unprocessable");
    deal.refuses("request-return", json!({"lines": lines(&[(1, 1), (1, 1)])}), "invalid_request");
    deal.refuses("request-return", json!({"lines": []}), "invalid_request");
    let request = json!({"return_id": "r1", "lines": lines(&[(1, 1)]), "reason": "too blue"});
    deal.writes("request-return", request.clone(), &["order.return_requested"]);
    deal.writes("request-return", request, &[]);
    deal.refuses("request-return", json!({"return_id": "r1", "lines": lines(&[(1, 2)])}), "duplicate_return");
    deal.ok("request-return", json!({"return_id": "r2", "lines": lines(&[(1, 1)])}));
    deal.refuses("request-return", json!({"return_id": "r3", "lines": lines(&[(1, 1)])}), "exceeds_shipped");
    deal.ok("ship", json!({}));
    deal.ok("request-return", json!({"return_id": "r3", "lines": lines(&[(1, 1)])}));
}

#[test]
fn a_return_arrives_once() {
    let mut deal = shipped();
    deal.ok("request-return", json!({"return_id": "r1", "lines": lines(&[(1, 1)])}));
    deal.refuses("receive-return", json!({"return_id": "r2"}), "not_found");
    let events = deal.ok("receive-return", json!({"return_id": "r1"}));
    assert_eq!(events[0].1["restocked"], true);
    deal.writes("receive-return", json!({"return_id": "r1"}), &[]);
    deal.refuses("receive-return", json!({"return_id": "r1", "restock": false}), "invalid_transition");
}

#[test]
fn a_return_without_lines_is_of_all_that_was_shipped_and_is_not_coming_back() {
    let refused = paid().refused("request-return", json!({}));
    assert_eq!(
        (refused.code, refused.detail.as_str()),
        (
            "invalid_transition",
            "request-return is not possible in state paid; possible there: ship, cancel, refund"
        )
    );
    let mut deal = paid();
    deal.ok("ship", json!({"lines": lines(&[(1, 3), (2, 1)])}));
    deal.ok("request-return", json!({"return_id": "r1", "lines": lines(&[(1, 1)])}));
    let events = deal.ok("request-return", json!({"return_id": "r2"}));
    assert_eq!(events[0].1["lines"], lines(&[(1, 2), (2, 1)]));
    deal.writes("request-return", json!({"return_id": "r2"}), &[]);
    let refused = deal.refused("request-return", json!({}));
    assert_eq!(
        (refused.code, refused.detail.as_str()),
        ("exceeds_shipped", "all that was shipped is coming back already")
    );
    deal.ok("ship", json!({}));
    let events = deal.ok("request-return", json!({"lines": null}));
    assert_eq!(events[0].1["lines"], lines(&[(2, 1), (3, 1)]));
}

#[test]
fn a_return_that_is_not_named_is_the_only_one_on_its_way() {
    let mut deal = shipped();
    let refused = deal.refused("receive-return", json!({}));
    assert_eq!(
        (refused.code, refused.detail.as_str()),
        ("invalid_transition", "there is no return that has not arrived")
    );
    deal.ok("request-return", json!({"return_id": "r1", "lines": lines(&[(1, 1)])}));
    deal.ok("request-return", json!({"return_id": "r2", "lines": lines(&[(1, 1)])}));
    let refused = deal.refused("receive-return", json!({}));
    assert_eq!((refused.code, refused.detail.as_str()), ("invalid_request", "say which return: r1, r2"));
    deal.ok("receive-return", json!({"return_id": "r1"}));
    let events = deal.ok("receive-return", json!({"restock": false}));
    assert_eq!((&events[0].1["return_id"], &events[0].1["restocked"]), (&json!("r2"), &json!(false)));
    deal.refuses("receive-return", json!({}), "invalid_transition");
}

#[test]
fn what_is_not_possible_says_what_is() {
    let said = |deal: &mut Deal, command: &str| deal.refused(command, json!({})).detail;
    let possible = |status: &str, command: &str, steps: &str| {
        format!("{command} is not possible in state {status}; possible there: {steps}")
    };
    let mut deal = placed(vec![line("pen", 1, "2", true)]);
    assert_eq!(said(&mut deal, "ship"), possible("placed", "ship", "fail-payment, cancel"));
    deal.act(reserve(vec![hold("pen", 1)])).unwrap();
    assert_eq!(said(&mut deal, "ship"), possible("reserved", "ship", "pay, fail-payment, cancel"));
    deal.ok("fail-payment", json!({}));
    assert_eq!(said(&mut deal, "ship"), possible("payment_failed", "ship", "pay, cancel"));
    deal.ok("cancel", json!({}));
    assert_eq!(said(&mut deal, "refund"), possible("cancelled", "refund", "nothing"));
    let mut deal = shipped();
    assert_eq!(said(&mut deal, "cancel"), possible("shipped", "cancel", "deliver, request-return, refund"));
    deal.ok("deliver", json!({}));
    deal.ok("request-return", json!({}));
    assert_eq!(
        said(&mut deal, "cancel"),
        possible("delivered", "cancel", "complete, receive-return, refund")
    );
}

#[test]
fn returns_are_possible_as_long_as_there_is_an_order() {
    let mut deal = shipped();
    deal.ok("deliver", json!({}));
    deal.ok("request-return", json!({"lines": lines(&[(1, 1)])}));
    deal.ok("complete", json!({}));
    deal.ok("request-return", json!({"lines": lines(&[(1, 1)])}));
    assert_eq!(order(&deal).status, Status::Completed);
}
