//! Given / when / then for every rule of credits.

use cqrs_es::test::TestFramework;
use daybook_schemas::{CreditId, Currency, Money, Timestamp, Token};
use serde_json::{Value, json};

use super::{Action, AdjustBadDebt, Credit, Event, Issue};
use crate::testing::Scene;
use crate::{Command, Kind, Roles};

fn scene() -> Scene<Credit> {
    Scene::new(Action::parse)
}

fn issue(amount: &str) -> Value {
    json!({"variant_id": "v", "sku": "V", "name": "Thing", "category": "things", "quantity": 2,
        "amount": {"amount": amount, "currency": "GBP"}, "reference": "C123"})
}

fn adjust(amount: &str) -> Value {
    json!({"amount": {"amount": amount, "currency": "GBP"}, "reason": "bad debt"})
}

#[test]
fn a_credit_is_issued_once() {
    let mut credit = scene();
    let events = credit.ok("issue", issue("3.50"));
    assert_eq!(events[0].0, "credit.issued");
    assert_eq!(
        (&events[0].1["credit_id"], &events[0].1["issued_at"]),
        (&json!("fresh-1"), &json!("1970-01-01T00:16:40Z"))
    );
    credit.pass(5).writes("issue", issue("3.50"), &[]);
    let refusal = credit.refused("issue", issue("3.51"));
    assert_eq!((refusal.code, refusal.kind), ("duplicate_credit", Kind::Conflict));
    credit.refuses("adjust-bad-debt", adjust("-1"), "duplicate_credit");
    let Action::Issue(body) = credit.parsed("issue", &issue("3.50")) else { panic!("another action") };
    let other = Issue { credit_id: Some(CreditId::new("other").unwrap()), ..*body.clone() };
    assert!(credit.act(Action::Issue(Box::new(other))).is_err());
    let later = Issue { issued_at: Some(credit.now), ..*body };
    assert!(credit.act(Action::Issue(Box::new(later))).is_err());
}

#[test]
fn bad_debt_is_adjusted_once() {
    let mut credit = scene();
    credit.writes("adjust-bad-debt", adjust("-11062.06"), &["credit.bad_debt_adjusted"]);
    credit.pass(5).writes("adjust-bad-debt", adjust("-11062.06"), &[]);
    credit.refuses("adjust-bad-debt", adjust("11062.06"), "duplicate_credit");
    credit.refuses("issue", issue("1"), "duplicate_credit");
}

#[test]
fn amounts_make_sense() {
    let refusal = scene().refused("issue", issue("-0.01"));
    assert_eq!((refusal.code, refusal.kind), ("unprocessable", Kind::Unprocessable));
    scene().refuses("adjust-bad-debt", adjust("0"), "unprocessable");
    scene().ok("issue", issue("0"));
    assert!(Action::parse("issue", br#"{"credit_id": "x"}"#).unwrap().is_err());
    assert_eq!(Action::specs().len(), Action::NAMES.len());
}

#[test]
fn runs_under_the_stock_test_framework() {
    let amount = Money::parse("-5", Currency::GBP).unwrap();
    let command = || Command {
        now: Timestamp::from_secs(1),
        fresh_id: Token::new("c1").unwrap(),
        roles: Roles::ALL,
        action: Action::AdjustBadDebt(AdjustBadDebt {
            amount,
            country: None,
            reference: None,
            reason: None,
            adjusted_at: None,
            credit_id: None,
        }),
    };
    let booked: Event = daybook_schemas::credit::BadDebtAdjusted {
        credit_id: CreditId::new("c1").unwrap(),
        amount,
        country: None,
        reference: None,
        reason: None,
        adjusted_at: Timestamp::from_secs(1),
    }
    .into();
    TestFramework::<Credit>::with(())
        .given_no_previous_events()
        .when(command())
        .then_expect_events(vec![booked.clone()]);
    TestFramework::<Credit>::with(()).given(vec![booked]).when(command()).then_expect_events(vec![]);
}
