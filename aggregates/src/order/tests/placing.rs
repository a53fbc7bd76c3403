//! Placing, reserving, paying, calling off.

use daybook_schemas::Currency;
use proptest::prelude::*;
use rust_decimal::Decimal;

use super::*;
use crate::order::{MAX_LINES, PlaceBody};
use crate::{Kind, Refusal};

fn refusal(lines: Vec<NewLine>) -> Refusal {
    absent().act(Action::Place(Box::new(place(lines)))).unwrap_err().into()
}

#[test]
fn totals_add_up_exactly() {
    let mut discounted = line("pen", 3, "0.001", true);
    discounted.discounts = vec![discount("0.002")];
    discounted.tax = Some(gbp("0.20"));
    let deal = placed(vec![discounted, line("pad", 2, "1.25", true)]);
    let order = order(&deal);
    let totals: Vec<_> = order.lines.iter().map(|state| (state.line.line_id, state.line.total)).collect();
    assert_eq!(totals, [(1, gbp("0.201")), (2, gbp("2.50"))]);
    assert_eq!(order.total, gbp("2.701"));
    assert_eq!((order.order_number.as_str(), order.placed_at), ("o1", deal.now));
}

#[test]
fn what_makes_no_sense_is_refused() {
    assert_eq!(refusal(vec![]).code, "invalid_request");
    assert_eq!(refusal(vec![line("pen", 1, "1", true); MAX_LINES + 1]).code, "invalid_request");
    let mut euros = line("pad", 1, "1", true);
    euros.unit_price = Money::parse("1", Currency::new("EUR").unwrap()).unwrap();
    let mixed = refusal(vec![line("pen", 1, "1", true), euros]);
    assert_eq!((mixed.code, mixed.kind), ("unprocessable", Kind::Unprocessable));
    assert_eq!(mixed.detail, "all lines of an order are in one currency, line 2 is in EUR, not GBP");
    type Change = fn(&mut NewLine);
    let changes: [(&str, Change); 7] = [
        ("a negative price", |line| line.unit_price = gbp("-1")),
        ("a negative tax", |line| line.tax = Some(gbp("-1"))),
        ("a discount of nothing", |line| line.discounts = vec![discount("0")]),
        ("a negative discount", |line| line.discounts = vec![discount("-1")]),
        ("more discount than price", |line| line.discounts = vec![discount("1"), discount("1.01")]),
        ("a tax in another currency", |line| line.tax = Some(Money::zero(Currency::new("EUR").unwrap()))),
        ("more than money can say", |line| {
            line.unit_price = gbp("999999999999999");
            line.quantity = Quantity::new(1_000).unwrap();
        }),
    ];
    for (what, change) in changes {
        let mut changed = line("pen", 2, "1", true);
        change(&mut changed);
        assert_eq!(refusal(vec![changed]).code, "unprocessable", "{what}");
    }
}

#[test]
fn a_repeat_changes_nothing_and_another_content_is_refused() {
    let mut deal = placed(vec![line("pen", 1, "2", true)]);
    deal.pass(10);
    assert_eq!(deal.act(Action::Place(Box::new(place(vec![line("pen", 1, "2", true)])))).unwrap(), []);
    let other = deal.act(Action::Place(Box::new(place(vec![line("pen", 2, "2", true)]))));
    let refusal = Refusal::from(other.unwrap_err());
    assert_eq!((refusal.code, refusal.kind), ("duplicate_order", Kind::Conflict));
    let mut guest = place(vec![line("pen", 1, "2", true)]);
    guest.customer_id = None;
    assert_eq!(Refusal::from(deal.act(Action::Place(Box::new(guest))).unwrap_err()).code, "duplicate_order");
}

#[test]
fn the_holds_cover_exactly_the_lines_that_take_from_stock() {
    let lines = || vec![line("pen", 1, "2", true), line("pen", 2, "2", true), line("postage", 1, "3", false)];
    for wrong in [
        vec![],
        vec![hold("pen", 2)],
        vec![hold("pen", 1), hold("pen", 2)],
        vec![hold("pen", 3), hold("postage", 1)],
        vec![hold("pad", 3)],
    ] {
        let refusal = Refusal::from(placed(lines()).act(reserve(wrong)).unwrap_err());
        assert_eq!(refusal.code, "unprocessable");
    }
    let mut deal = placed(lines());
    assert_eq!(deal.act(reserve(vec![hold("pen", 3)])).unwrap().len(), 1);
    assert_eq!(order(&deal).status, Status::Reserved);
    assert_eq!(deal.act(reserve(vec![hold("pen", 3)])).unwrap().len(), 0);
    assert_eq!(order(&deal).stocked_units(), [(VariantId::new("pen").unwrap(), 3)]);
}

#[test]
fn exactly_the_total_is_paid_once() {
    let mut deal = placed(vec![line("pen", 1, "2", true)]);
    let refusal = deal.refused("pay", json!({}));
    assert_eq!((refusal.code, refusal.kind), ("invalid_transition", Kind::Conflict));
    deal.act(reserve(vec![hold("pen", 1)])).unwrap();
    deal.refuses("pay", json!({"amount": {"amount": "1.99", "currency": "GBP"}}), "unprocessable");
    deal.refuses("pay", json!({"amount": {"amount": "2", "currency": "EUR"}}), "unprocessable");
    deal.writes("pay", json!({"amount": {"amount": "2", "currency": "GBP"}}), &["order.paid"]);
    assert_eq!((order(&deal).status, order(&deal).holds.len()), (Status::Paid, 0));
    deal.writes("pay", json!({}), &[]);
    deal.refuses("pay", json!({"payment_reference": "another"}), "invalid_transition");
}

#[test]
fn an_order_without_goods_from_stock_is_paid_directly() {
    let mut deal = placed(vec![line("postage", 1, "2", false)]);
    assert_eq!(Refusal::from(deal.act(reserve(vec![])).unwrap_err()).code, "unprocessable");
    deal.writes("pay", json!({}), &["order.paid"]);
}

#[test]
fn a_failed_payment_can_be_tried_again() {
    let mut deal = placed(vec![line("pen", 1, "2", true)]);
    deal.act(reserve(vec![hold("pen", 1)])).unwrap();
    deal.writes("fail-payment", json!({"reason": "no funds"}), &["order.payment_failed"]);
    deal.writes("fail-payment", json!({}), &[]);
    deal.act(reserve(vec![hold("pen", 1)])).unwrap();
    deal.ok("pay", json!({}));
    deal.refuses("fail-payment", json!({}), "invalid_transition");
    let statuses: Vec<_> = order(&deal).history.iter().map(|(status, _)| status.as_str()).collect();
    assert_eq!(statuses, ["placed", "reserved", "payment_failed", "reserved", "paid"]);
}

#[test]
fn an_order_is_called_off_until_something_left() {
    let reserved = || {
        let mut deal = placed(vec![line("pen", 1, "2", true)]);
        deal.act(reserve(vec![hold("pen", 1)])).unwrap();
        deal
    };
    let mut failed = reserved();
    failed.ok("fail-payment", json!({}));
    for mut deal in [placed(vec![line("pen", 1, "2", true)]), reserved(), failed, paid()] {
        deal.writes("cancel", json!({"reason": "changed my mind"}), &["order.cancelled"]);
        deal.writes("cancel", json!({}), &[]);
        assert!(order(&deal).holds.is_empty());
        for name in ["pay", "fail-payment", "ship", "complete"] {
            deal.refuses(name, json!({}), "invalid_transition");
        }
    }
    shipped().refuses("cancel", json!({}), "invalid_transition");
}

#[test]
fn what_was_never_placed_is_not_found() {
    for name in Action::NAMES.iter().filter(|name| **name != "place") {
        let body = match *name {
            "request-return" => json!({"lines": []}),
            "receive-return" => json!({"return_id": "r"}),
            _ => json!({}),
        };
        let refusal = absent().refused(name, body);
        assert_eq!((refusal.code, refusal.kind), ("not_found", Kind::NotFound), "{name}");
    }
    let refusal = Refusal::from(absent().act(reserve(vec![])).unwrap_err());
    assert_eq!(refusal.code, "not_found");
}

#[test]
fn bodies_are_strict() {
    let body = r#"{"lines": [{"variant_id": "v", "quantity": 1}], "payment_method": "card"}"#;
    assert_eq!(PlaceBody::parse(body.as_bytes()).unwrap().lines.len(), 1);
    for wrong in [
        "",
        r#"{"lines": [{"variant_id": "v", "quantity": 0}], "payment_method": "card"}"#,
        r#"{"lines": [{"variant_id": "v", "quantity": 1, "total": 1}], "payment_method": "card"}"#,
        r#"{"lines": [], "payment_method": "card", "status": "paid"}"#,
    ] {
        assert!(PlaceBody::parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
    assert!(Action::parse("place", body.as_bytes()).is_none(), "snapshots must be looked up first");
    assert!(Action::parse("mark-reserved", b"{}").is_none(), "no client says so");
    assert!(Action::parse("ship", br#"{"lines": [{"line_id": 1}]}"#).unwrap().is_err());
    assert_eq!(Action::specs().len(), Action::NAMES.len());
}

#[test]
fn addresses_are_understood_in_several_spellings_and_kept_in_one() {
    let parsed = |address: serde_json::Value| {
        let lines = json!([{"variant_id": "v", "quantity": 1}]);
        let body = json!({"lines": lines, "payment_method": "card", "shipping_address": address});
        let body = PlaceBody::parse(body.to_string().as_bytes())?;
        serde_json::to_value(body.shipping_address)
    };
    let kept = json!({"line1": "1 High Street", "line2": "Flat 2", "postal_code": "E1", "region": "London", "country": "GB"});
    for (line1, line2, postal_code, region) in [
        ("line1", "line2", "postal_code", "region"),
        ("street", "address_line2", "postcode", "state"),
        ("address_line1", "line2", "zip", "region"),
    ] {
        let said = json!({line1: "1 High Street", line2: "Flat 2", postal_code: "E1", region: "London", "country": "GB"});
        assert_eq!(parsed(said).unwrap(), kept);
    }
    let error = parsed(json!({"street": "a", "line1": "b", "country": "GB"})).unwrap_err().to_string();
    assert!(error.contains("duplicate field"), "{error}");
    assert!(parsed(json!({"postalCode": "E1", "country": "GB"})).is_err());
}

proptest! {
    #[test]
    fn totals_are_the_exact_sum(
        lines in proptest::collection::vec((1..1_000_u64, 0..10_000_000_u64, 0..7_u32, 0..100_u64), 1..20)
    ) {
        let mut sum = Decimal::ZERO;
        let lines: Vec<_> = lines
            .into_iter()
            .map(|(quantity, units, scale, tax)| {
                let price = Decimal::new(i64::try_from(units).unwrap(), scale.min(6));
                let tax = Decimal::new(i64::try_from(tax).unwrap(), 2);
                sum += price * Decimal::from(quantity) + tax;
                let mut line = line("pen", quantity, &price.to_string(), true);
                line.tax = Some(gbp(&tax.to_string()));
                line
            })
            .collect();
        prop_assert_eq!(order(&placed(lines)).total.amount(), sum);
    }
}
