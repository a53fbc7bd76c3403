//! Refunds: never more than was paid.

use daybook_schemas::Currency;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::Kind;

/// A return that arrived.
fn returned(parts: &[(u32, u32)]) -> Deal {
    let mut deal = shipped();
    let lines: Vec<_> =
        parts.iter().map(|(line, quantity)| json!({"line_id": line, "quantity": quantity})).collect();
    deal.ok("request-return", json!({"return_id": "r1", "lines": lines}));
    deal.ok("receive-return", json!({"return_id": "r1"}));
    deal
}

fn money(amount: &str) -> Value {
    json!({"amount": amount, "currency": "GBP"})
}

#[test]
fn a_refund_gives_back_what_was_paid_for_the_return() {
    let mut deal = returned(&[(1, 2), (2, 1)]);
    let events = deal.ok("refund", json!({"refund_id": "f1", "return_id": "r1"}));
    assert_eq!(
        events[0].1["lines"],
        json!([{"line_id": 1, "quantity": 2, "amount": money("4.00")},
            {"line_id": 2, "quantity": 1, "amount": money("1.25")}])
    );
    assert_eq!(events[0].1["amount"], money("5.25"));
    assert_eq!(order(&deal).refunded, gbp("5.25"));
    deal.writes("refund", json!({"refund_id": "f1", "return_id": "r1"}), &[]);
    let again = deal.refused("refund", json!({"refund_id": "f2", "return_id": "r1"}));
    assert_eq!((again.code, again.kind), ("exceeds_paid", Kind::Conflict));
}

#[test]
fn a_refund_of_nothing_named_is_of_the_only_return_that_waits_for_it() {
    let mut deal = returned(&[(1, 2)]);
    deal.ok("refund", json!({"return_id": "r1", "lines": [{"line_id": 1, "quantity": 1}]}));
    deal.ok("request-return", json!({"return_id": "on-its-way", "lines": [{"line_id": 2, "quantity": 1}]}));
    let events = deal.ok("refund", json!({"refund_id": "f2"}));
    assert_eq!((&events[0].1["return_id"], &events[0].1["amount"]), (&json!("r1"), &money("2.00")));
    deal.writes("refund", json!({"refund_id": "f2"}), &[]);
    deal.refuses("refund", json!({"refund_id": "f2", "lines": [{"line_id": 1}]}), "duplicate_refund");
    let refused = deal.refused("refund", json!({}));
    assert_eq!(refused.code, "invalid_request");
    assert!(refused.detail.starts_with("say what to refund"), "{}", refused.detail);
    deal.ok("receive-return", json!({}));
    deal.ok("request-return", json!({"return_id": "r3", "lines": [{"line_id": 1, "quantity": 1}]}));
    deal.ok("receive-return", json!({}));
    let refused = deal.refused("refund", json!({}));
    assert_eq!(
        (refused.code, refused.detail.as_str()),
        ("invalid_request", "say which return: on-its-way, r3")
    );
}

#[test]
fn a_return_is_refunded_in_parts() {
    let mut deal = returned(&[(1, 2)]);
    let part = |quantity: u32| json!({"return_id": "r1", "lines": [{"line_id": 1, "quantity": quantity}]});
    deal.ok("refund", part(1));
    deal.refuses("refund", part(2), "exceeds_returned");
    deal.refuses("refund", json!({"return_id": "r1", "lines": [{"line_id": 2}]}), "exceeds_returned");
    let events =
        deal.ok("refund", json!({"return_id": "r1", "lines": [{"line_id": 1, "amount": money("0.50")}]}));
    assert_eq!(events[0].1["lines"], json!([{"line_id": 1, "quantity": 1, "amount": money("0.50")}]));
    deal.refuses("refund", part(1), "exceeds_returned");
}

#[test]
fn a_return_is_refunded_only_once_it_arrived() {
    let mut deal = shipped();
    deal.ok("request-return", json!({"return_id": "r1", "lines": [{"line_id": 1, "quantity": 1}]}));
    let refusal = deal.refused("refund", json!({"return_id": "r1"}));
    assert_eq!(
        (refusal.code, refusal.detail.as_str()),
        ("invalid_transition", "the goods of return r1 have not arrived")
    );
    deal.refuses("refund", json!({"return_id": "r2"}), "not_found");
}

#[test]
fn nothing_is_refunded_that_was_not_paid() {
    let mut deal = placed(vec![line("pen", 1, "2", true)]);
    deal.refuses("refund", json!({"lines": [{"line_id": 1}]}), "invalid_transition");
    deal.ok("cancel", json!({}));
    deal.refuses("refund", json!({}), "invalid_transition");
}

#[test]
fn a_cancelled_order_that_was_paid_is_refunded_whole() {
    let mut deal = paid();
    deal.refuses("refund", json!({}), "invalid_request");
    deal.ok("refund", json!({"refund_id": "f1", "lines": [{"line_id": 1, "amount": money("1")}]}));
    deal.ok("cancel", json!({}));
    let events = deal.ok("refund", json!({"refund_id": "f2"}));
    assert_eq!(events[0].1["amount"], money("10.50"));
    assert_eq!(order(&deal).refunded, order(&deal).total);
    deal.refuses("refund", json!({"refund_id": "f3"}), "exceeds_paid");
}

#[test]
fn goodwill_stays_within_what_was_paid_for_the_line() {
    let mut deal = shipped();
    let goodwill = |id: &str, line: u32, amount: Value| json!({"refund_id": id, "lines": [{"line_id": line, "amount": amount}]});
    deal.ok("refund", goodwill("f1", 1, money("5.99")));
    deal.writes("refund", goodwill("f1", 1, money("5.99")), &[]);
    deal.refuses("refund", goodwill("f1", 1, money("5.98")), "duplicate_refund");
    deal.refuses("refund", goodwill("f2", 1, money("0.02")), "exceeds_paid");
    deal.refuses("refund", goodwill("f2", 1, money("0")), "unprocessable");
    deal.refuses("refund", goodwill("f2", 1, money("-1")), "unprocessable");
    deal.refuses("refund", goodwill("f2", 9, money("1")), "unprocessable");
    deal.refuses("refund", goodwill("f2", 1, json!({"amount": "0.01", "currency": "EUR"})), "unprocessable");
    deal.refuses("refund", json!({"lines": []}), "invalid_request");
    deal.refuses("refund", json!({"lines": [{"line_id": 1}, {"line_id": 1}]}), "invalid_request");
    deal.refuses("refund", json!({"lines": [{"line_id": 1, "quantity": 4}]}), "exceeds_returned");
    // What the price of the units would be is cut to what is left.
    let events = deal.ok("refund", json!({"lines": [{"line_id": 1, "quantity": 1}]}));
    assert_eq!(events[0].1["amount"], money("0.01"));
}

#[test]
fn shares_that_do_not_come_out_even_are_rounded_and_the_rest_follows() {
    let mut odd = line("pen", 3, "1", true);
    odd.discounts = vec![discount("1")];
    let mut exact = line("pad", 4, "0.001", true);
    exact.tax = None;
    let mut deal = placed(vec![odd, exact]);
    deal.act(reserve(vec![hold("pen", 3), hold("pad", 4)])).unwrap();
    deal.ok("pay", json!({}));
    deal.ok("ship", json!({}));
    let one = |deal: &mut Deal, line: u32| {
        let events = deal.ok("refund", json!({"lines": [{"line_id": line, "quantity": 1}]}));
        events[0].1["amount"]["amount"].as_str().unwrap().to_owned()
    };
    assert_eq!([one(&mut deal, 1), one(&mut deal, 1), one(&mut deal, 1)], ["0.67", "0.67", "0.66"]);
    assert_eq!([one(&mut deal, 2), one(&mut deal, 2)], ["0.001", "0.001"]);
    assert_eq!(order(&deal).lines[0].refunded, gbp("2"));
}

#[test]
fn amounts_in_two_currencies_never_meet() {
    let deal = shipped();
    assert!(order(&deal).total.plus(Money::zero(Currency::new("EUR").unwrap())).is_err());
}

proptest! {
    /// Whatever is asked in whatever order: nothing panics, and no line gives back more than went out or was paid.
    #[test]
    fn an_order_never_gives_back_too_much(
        steps in proptest::collection::vec((0..12_u8, 1..4_u32, 1..4_u32, 0..3_u8, proptest::option::of(1..500_i64)), 1..60)
    ) {
        let mut deal = paid();
        for (kind, line, quantity, id, cents) in steps {
            let part = json!([{"line_id": line, "quantity": quantity}]);
            let amount = cents.map(|cents| money(&format!("{}.{:02}", cents / 100, cents % 100)));
            let refund = json!([{"line_id": line, "quantity": quantity, "amount": amount}]);
            let (name, body) = match kind {
                0 | 1 => ("ship", json!({"lines": part})),
                2 => ("deliver", json!({})),
                3 => ("request-return", json!({"return_id": format!("r{id}"), "lines": part})),
                4 => ("receive-return", json!({"return_id": format!("r{id}")})),
                5 => ("refund", json!({"return_id": format!("r{id}")})),
                6 => ("refund", json!({"lines": refund})),
                7 => ("refund", json!({"return_id": format!("r{id}"), "lines": refund})),
                8 => ("request-return", json!({})),
                9 => ("receive-return", json!({})),
                10 => ("refund", json!({})),
                _ => ("cancel", json!({})),
            };
            let action = deal.parsed(name, &body);
            let _ = deal.act(action);
            let order = order(&deal);
            let mut refunded = Money::zero(order.total.currency());
            for state in &order.lines {
                prop_assert!(state.shipped <= state.line.quantity.get());
                prop_assert!(state.returned <= state.shipped);
                prop_assert!(!state.line.total.minus(state.refunded).unwrap().is_negative());
                refunded = refunded.plus(state.refunded).unwrap();
            }
            prop_assert_eq!(refunded, order.refunded);
            for returned in &order.returns {
                prop_assert!(returned.lines.iter().zip(&returned.refunded).all(|(part, n)| *n <= part.quantity.get()));
            }
            prop_assert!(order.status != Status::Cancelled || order.shipments.is_empty());
        }
    }
}
