//! What a variant brings along from elsewhere.

use daybook_schemas::prices::{PricePoint, Prices, Schedule};
use daybook_schemas::variant::Price;
use daybook_schemas::{Timestamp, Token};
use serde_json::json;

use super::*;
use crate::variant::MAX_PAST_PRICES;
use crate::{Role, Roles};

fn secs(secs: i64) -> String {
    Timestamp::from_secs(secs).to_string()
}

fn gbp(amount: &str) -> Value {
    json!({"amount": amount, "currency": "GBP"})
}

fn past(amount: &str, from: i64) -> Value {
    json!({"price": gbp(amount), "effective_from": secs(from), "reason": "r"})
}

/// The body of a creation at second 500, with this history.
fn brings(price: &str, history: Value) -> Value {
    body(json!({"price": gbp(price), "created_at": secs(500), "history": history}))
}

#[test]
fn a_variant_comes_with_its_past_its_future_and_its_lock() {
    let mut item = absent();
    let history = json!({
        "prices": [{"price": gbp("12.50"), "effective_from": secs(500)}, past("9", 600)],
        "schedules": [{"schedule_id": "s1", "price": gbp("8"), "effective_from": secs(2_000), "reason": "r"}],
        "lists": [{"list": {"currency": "GBP", "channel": "web"},
            "prices": [past("7", 650), {"effective_from": secs(700), "reason": "over"}],
            "schedules": [{"schedule_id": "s2", "price": gbp("6"), "effective_from": secs(1_500), "reason": "r"}]}],
        "lock": {"scopes": ["price", "price"], "reason": "audit", "locked_by": "ann"},
    });
    let events = item.ok(
        "create",
        body(json!({"price": gbp("9"), "created_at": secs(500), "history": history, "lifecycle": "active"})),
    );
    assert_eq!(
        events.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        [
            "variant.created",
            "variant.price_changed",
            "variant.price_scheduled",
            "variant.list_price_changed",
            "variant.list_price_changed",
            "variant.list_price_scheduled",
            "variant.locked",
            "variant.submitted",
            "variant.activated"
        ]
    );
    assert_eq!(events[0].1["price"]["amount"]["amount"], "12.50");
    assert_eq!(events[1].1["previous"]["amount"]["amount"], "12.50");
    assert_eq!((&events[6].1["scopes"], &events[6].1["locked_by"]), (&json!(["price"]), &json!("ann")));
    let paid = |item: &Item, at: i64| {
        let price = item.state.price_at(Timestamp::from_secs(at));
        price.map(|price| price.amount.amount().to_string())
    };
    assert_eq!(
        [499, 500, 600, 2_000].map(|at| paid(&item, at)),
        [None, Some("12.50".into()), Some("9.00".into()), Some("8.00".into())]
    );
    assert_eq!(item.state.next_deadline(), Some(Timestamp::from_secs(1_500)));
    item.refuses("change-price", json!({"price": gbp("1"), "reason": "r"}), "locked");
    // The same once more changes nothing.
    let again =
        body(json!({"price": gbp("9"), "created_at": secs(500), "history": history, "lifecycle": "active"}));
    item.writes("create", again, &[]);
}

#[test]
fn a_history_is_for_operators_and_checked() {
    let schedule = |id: &str| json!({"schedule_id": id, "price": gbp("8"), "effective_from": secs(2_000), "reason": "r"});
    let many = |count: usize| (0..count).map(|_| past("9", 600)).collect::<Vec<_>>();
    let list = |fields: Value| json!({"prices": [past("9", 600)], "lists": [fields]});
    for (why, history, code) in [
        ("another price stands", json!({"prices": [past("8", 600)]}), "invalid_request"),
        ("no price stands", json!({}), "invalid_request"),
        (
            "the own price ends",
            json!({"prices": [{"effective_from": secs(600)}, past("9", 600)]}),
            "invalid_request",
        ),
        ("in the future", json!({"prices": [past("9", 1_001)]}), "invalid_request"),
        (
            "an id twice",
            json!({"prices": [past("9", 600)], "schedules": [schedule("a"), schedule("a")]}),
            "invalid_request",
        ),
        ("below zero", json!({"prices": [past("-1", 500), past("9", 600)]}), "unprocessable"),
        ("too many", json!({"prices": many(MAX_PAST_PRICES + 1)}), "invalid_request"),
        (
            "another currency",
            list(json!({"list": {"currency": "EUR"}, "prices": [past("9", 600)]})),
            "invalid_request",
        ),
        (
            "a lock on nothing",
            json!({"prices": [past("9", 600)], "lock": {"scopes": [], "reason": "r"}}),
            "invalid_request",
        ),
    ] {
        let refusal = absent().refused("create", brings("9", history));
        assert_eq!(refusal.code, code, "{why}: {refusal}");
    }
    let mut item = absent();
    item.roles = Roles::of([Role::Merchandiser]);
    item.refuses("create", brings("9", json!({"prices": [past("9", 600)]})), "forbidden");
    item.roles = Roles::of([Role::Merchandiser, Role::Operator]);
    item.ok("create", brings("9", json!({"prices": [past("9", 600)]})));
}

/// As an export would tell it.
fn told(prices: &Prices) -> (Value, Value) {
    let price = |price: Option<Price>| {
        price.map(|price| json!({"amount": price.amount.amount().to_string(), "currency": price.currency()}))
    };
    let point = |point: &PricePoint| json!({"price": price(point.price), "effective_from": point.effective_from, "reason": "r"});
    let waiting = |waiting: &Schedule| {
        json!({"schedule_id": waiting.schedule_id, "price": price(waiting.price), "effective_from": waiting.effective_from,
            "effective_to": waiting.effective_to, "reason": waiting.reason})
    };
    let mut history: Vec<Value> = prices.price_history.iter().map(point).collect();
    if let Some(last) = history.last_mut() {
        last["effective_to"] = json!(prices.temporary_until);
    }
    (history.into(), prices.schedules.iter().map(waiting).collect())
}

#[test]
fn what_is_told_of_a_variant_makes_the_same_variant() {
    let mut item = draft();
    for (list, amount, from, to) in [
        (Value::Null, "8", None, Some(1_500)),
        (Value::Null, "7", Some(1_200), None),
        (json!({"channel": "web"}), "6", None, Some(1_250)),
        (json!({"channel": "web"}), "5", Some(1_100), Some(1_300)),
        (json!({"customer_group": "trade"}), "4", Some(1_600), None),
    ] {
        let body = json!({"price": gbp(amount), "list": list, "effective_from": from.map(secs), "effective_to": to.map(secs), "reason": "r"});
        item.pass(10).ok("change-price", body);
    }
    item.pass(100).ok("apply-due-prices", json!({}));
    let original = existing(&item).clone();
    let (mut prices, schedules) = told(&original.prices);
    prices[0].as_object_mut().unwrap().remove("reason");
    let lists: Vec<Value> = original
        .price_lists
        .iter()
        .map(|known| {
            let (prices, schedules) = told(&known.prices);
            json!({"list": known.list, "prices": prices, "schedules": schedules})
        })
        .collect();
    let price = gbp(&original.prices.price.unwrap().amount.amount().to_string());
    let mut copy = absent();
    copy.pass(1_000);
    copy.ok(
        "create",
        body(json!({"price": price, "created_at": original.created_at,
        "history": {"prices": prices, "schedules": schedules, "lists": lists}})),
    );
    assert_eq!(
        (&existing(&copy).prices, &existing(&copy).price_lists),
        (&original.prices, &original.price_lists)
    );
    assert_eq!(
        copy.state
            .price_for(
                &daybook_schemas::prices::Wanted {
                    channel: Some(Token::new("web").unwrap()),
                    ..Default::default()
                },
                Timestamp::from_secs(1_350)
            )
            .unwrap()
            .amount
            .amount()
            .to_string(),
        "7.00"
    );
}
