//! Prices now, later, and for a time.

use daybook_schemas::{Timestamp, Token};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{Command, Decider, Roles};

fn secs(secs: i64) -> String {
    Timestamp::from_secs(secs).to_string()
}

fn price(amount: &str) -> Value {
    json!({"amount": amount, "currency": "GBP"})
}

fn price_at(item: &Item, at: i64) -> String {
    item.state
        .price_at(Timestamp::from_secs(at))
        .map_or("none".to_owned(), |price| price.amount.amount().to_string())
}

#[test]
fn a_price_changes_now() {
    let mut item = draft();
    let events = item.ok("change-price", json!({"price": price("10"), "reason": "cheaper"}));
    assert_eq!(
        events,
        [(
            "variant.price_changed".to_owned(),
            json!({"price": {"amount": {"amount": "10.00", "currency": "GBP"}, "price_type": "regular"},
                "previous": {"amount": {"amount": "12.50", "currency": "GBP"}, "price_type": "regular"},
                "effective_from": secs(1_000), "reason": "cheaper"})
        )]
    );
    item.writes("change-price", json!({"price": price("10.00"), "reason": "again"}), &[]);
    // A time that has passed means now: the past is not rewritten.
    let events = item
        .pass(10)
        .ok("change-price", json!({"price": price("9"), "effective_from": secs(5), "reason": "r"}));
    assert_eq!(events[0].1["effective_from"], secs(1_010));
    assert_eq!(
        (price_at(&item, 999), price_at(&item, 1_005), price_at(&item, 1_010)),
        ("none".to_owned(), "10.00".to_owned(), "9.00".to_owned())
    );
}

#[test]
fn a_later_price_takes_effect_at_its_time_however_late_that_is_noticed() {
    let mut item = draft();
    item.writes(
        "change-price",
        json!({"price": price("8"), "effective_from": secs(2_000), "reason": "r"}),
        &["variant.price_scheduled"],
    );
    item.ok("change-price", json!({"price": price("9"), "effective_from": secs(1_500), "reason": "r"}));
    assert_eq!(item.state.next_deadline(), Some(Timestamp::from_secs(1_500)));
    item.pass(400).writes("apply-due-prices", json!({}), &[]);
    item.pass(5_000);
    assert_eq!(
        (price_at(&item, 1_499), price_at(&item, 1_999), price_at(&item, 2_000)),
        ("12.50".to_owned(), "9.00".to_owned(), "8.00".to_owned())
    );
    let events = item.ok("apply-due-prices", json!({}));
    assert_eq!(events.len(), 2);
    assert_eq!(
        (&events[0].1["effective_from"], &events[0].1["schedule_id"]),
        (&json!(secs(1_500)), &json!("fresh-3"))
    );
    assert_eq!(
        (&events[1].1["effective_from"], &events[1].1["schedule_id"]),
        (&json!(secs(2_000)), &json!("fresh-2"))
    );
    item.writes("apply-due-prices", json!({}), &[]);
    assert_eq!(item.state.next_deadline(), None);
    assert_eq!((price_at(&item, 1_600), price_at(&item, 2_000)), ("9.00".to_owned(), "8.00".to_owned()));
}

#[test]
fn a_temporary_price_gives_way_to_the_one_before() {
    let mut item = draft();
    let sale = json!({"price": price("8"), "effective_to": secs(1_100), "reason": "sale"});
    item.writes("change-price", sale.clone(), &["variant.price_changed", "variant.price_scheduled"]);
    item.writes("change-price", sale, &[]);
    assert_eq!((price_at(&item, 1_099), price_at(&item, 1_100)), ("8.00".to_owned(), "12.50".to_owned()));
    let events = item.pass(100).ok("apply-due-prices", json!({}));
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].1["price"]["amount"]["amount"], "12.50");
    assert_eq!(item.state.next_deadline(), None);
}

#[test]
fn a_later_temporary_price_restores_what_stood_before_it() {
    let mut item = draft();
    item.writes(
        "change-price",
        json!({"price": price("8"), "effective_from": secs(2_000), "effective_to": secs(3_000), "reason": "sale"}),
        &["variant.price_scheduled"],
    );
    item.ok("change-price", json!({"price": price("11"), "reason": "meanwhile"}));
    assert_eq!((price_at(&item, 2_000), price_at(&item, 3_000)), ("8.00".to_owned(), "11.00".to_owned()));
    item.pass(9_000).writes(
        "apply-due-prices",
        json!({}),
        &["variant.price_changed", "variant.price_scheduled", "variant.price_changed"],
    );
    assert_eq!(price_at(&item, 9_000), "11.00");
}

#[test]
fn any_change_takes_the_place_of_a_pending_return() {
    let mut item = draft();
    item.ok("change-price", json!({"price": price("8"), "effective_to": secs(1_100), "reason": "sale"}));
    item.writes(
        "change-price",
        json!({"price": price("9"), "reason": "for good"}),
        &["variant.price_schedule_cancelled", "variant.price_changed"],
    );
    assert_eq!(price_at(&item, 5_000), "9.00");
    // One temporary price after another: the end of the last brings back what stood before the first.
    item.ok("change-price", json!({"price": price("7"), "effective_to": secs(1_100), "reason": "sale"}));
    item.writes(
        "change-price",
        json!({"price": price("6"), "effective_to": secs(1_200), "reason": "longer sale"}),
        &["variant.price_schedule_cancelled", "variant.price_changed", "variant.price_scheduled"],
    );
    assert_eq!((price_at(&item, 1_150), price_at(&item, 1_200)), ("6.00".to_owned(), "9.00".to_owned()));
}

#[test]
fn a_short_sale_within_a_longer_one_goes_back_to_it() {
    let mut item = draft();
    item.ok("change-price", json!({"price": price("8"), "effective_to": secs(4_600), "reason": "sale"}));
    let flash = json!({"price": price("5"), "effective_to": secs(1_060), "reason": "flash"});
    item.writes("change-price", flash, &["variant.price_changed", "variant.price_scheduled"]);
    let shown = |item: &Item| [1_059, 1_060, 4_599, 4_600].map(|at| price_at(item, at));
    let as_agreed = ["5.00", "8.00", "8.00", "12.50"].map(str::to_owned);
    assert_eq!(shown(&item), as_agreed);
    let events = item.pass(100).ok("apply-due-prices", json!({}));
    assert_eq!(
        (events.len(), &events[0].1["effective_to"]),
        (1, &json!(secs(4_600))),
        "the sale, until its end"
    );
    assert_eq!(shown(&item)[1..], as_agreed[1..]);
    // A price for good ends all of it.
    item.ok("change-price", json!({"price": price("6"), "effective_to": secs(1_200), "reason": "flash"}));
    item.writes(
        "change-price",
        json!({"price": price("9"), "reason": "for good"}),
        &["variant.price_schedule_cancelled", "variant.price_schedule_cancelled", "variant.price_changed"],
    );
    assert_eq!(price_at(&item, 9_999), "9.00");
}

/// One temporary price three deep, one taken back, and one that outlasts what is around it.
#[test]
fn temporary_prices_end_each_at_its_time() {
    let mut item = draft();
    for (amount, to) in [("8", 2_000), ("7", 1_900), ("6", 1_800)] {
        item.ok("change-price", json!({"price": price(amount), "effective_to": secs(to), "reason": "r"}));
    }
    let shown = |item: &Item| [1_799, 1_800, 1_900, 2_000].map(|at| price_at(item, at)).join(" ");
    assert_eq!(shown(&item), "6.00 7.00 8.00 12.50");
    item.ok("cancel-price-schedule", json!({"schedule_id": "fresh-4", "reason": "stays"}));
    assert_eq!(shown(&item), "6.00 6.00 8.00 12.50", "until the price around it ends");
    item.ok("change-price", json!({"price": price("5"), "effective_to": secs(1_950), "reason": "r"}));
    assert_eq!(shown(&item), "5.00 5.00 5.00 12.50");
    assert_eq!(price_at(&item, 1_950), "8.00");
}

#[test]
fn a_change_puts_what_is_due_on_record_first() {
    let mut item = draft();
    item.ok("change-price", json!({"price": price("8"), "effective_from": secs(1_100), "reason": "r"}));
    let events = item.pass(200).ok("change-price", json!({"price": price("9"), "reason": "r"}));
    assert_eq!(events.len(), 2);
    assert_eq!(events[1].1["previous"]["amount"]["amount"], "8.00");
}

#[test]
fn a_scheduled_price_can_be_taken_back() {
    let mut item = draft();
    item.ok("change-price", json!({"price": price("8"), "effective_from": secs(1_100), "reason": "r"}));
    let cancel = json!({"schedule_id": "fresh-2", "reason": "r"});
    item.writes("cancel-price-schedule", cancel.clone(), &["variant.price_schedule_cancelled"]);
    item.refuses("cancel-price-schedule", cancel, "not_found");
    assert_eq!((price_at(&item, 1_100), item.state.next_deadline()), ("12.50".to_owned(), None));
    // A sale whose return is taken back stays.
    item.ok("change-price", json!({"price": price("7"), "effective_to": secs(1_100), "reason": "r"}));
    item.ok("cancel-price-schedule", json!({"schedule_id": "fresh-5", "reason": "stays"}));
    assert_eq!(price_at(&item, 9_999), "7.00");
}

#[test]
fn a_lock_on_prices_does_not_stop_what_was_scheduled_before() {
    let mut item = draft();
    item.ok("change-price", json!({"price": price("8"), "effective_from": secs(1_100), "reason": "r"}));
    item.ok("lock", json!({"scopes": ["price"], "reason": "audit"}));
    item.pass(100).writes("apply-due-prices", json!({}), &["variant.price_changed"]);
}

#[test]
fn periods_are_checked() {
    let mut item = draft();
    for (from, to) in
        [(None, 1_000), (None, 999), (Some(1_200), 1_200), (Some(1_200), 1_100), (Some(500), 900)]
    {
        let body = json!({"price": price("8"), "effective_from": from.map(secs), "effective_to": secs(to), "reason": "r"});
        item.refuses("change-price", body, "unprocessable");
    }
    let mut item = absent();
    item.ok("create", body(json!({"price": null})));
    for from in [None, Some(secs(1_050))] {
        let sale =
            json!({"price": price("8"), "effective_from": from, "effective_to": secs(1_100), "reason": "r"});
        item.refuses("change-price", sale, "unprocessable");
    }
    // A price that comes later is none that could come back.
    item.ok("change-price", json!({"price": price("9"), "effective_from": secs(4_600), "reason": "r"}));
    let sale = |from, to| json!({"price": price("1"), "effective_from": secs(from), "effective_to": secs(to), "reason": "r"});
    item.refuses("change-price", sale(1_001, 1_003), "unprocessable");
    item.ok("change-price", sale(5_000, 5_002));
    assert_eq!((price_at(&item, 5_001), price_at(&item, 5_002)), ("1.00".to_owned(), "9.00".to_owned()));
}

/// What a temporary price is to go back to is not taken from under it.
#[test]
fn a_temporary_price_keeps_what_comes_before_it() {
    let mut item = absent();
    item.ok("create", body(json!({"price": null})));
    item.ok("change-price", json!({"price": price("12"), "effective_from": secs(2_000), "reason": "r"}));
    item.ok("change-price", json!({"price": price("1"), "effective_from": secs(3_000), "effective_to": secs(3_002), "reason": "r"}));
    let cancel = |id: &str| json!({"schedule_id": id, "reason": "r"});
    item.refuses("cancel-price-schedule", cancel("fresh-2"), "unprocessable");
    item.ok("cancel-price-schedule", cancel("fresh-3"));
    item.ok("cancel-price-schedule", cancel("fresh-2"));
}

#[test]
fn scheduled_prices_are_bounded_and_so_is_the_memory_of_past_ones() {
    let mut item = draft();
    for n in 0..100_i64 {
        item.pass(1).ok("change-price", json!({"price": price(&format!("{n}")), "reason": "r"}));
    }
    assert_eq!(existing(&item).prices.price_history.len(), daybook_schemas::prices::REMEMBERED_PRICES);
    for n in 0..crate::variant::MAX_SCHEDULES {
        let from = item.now.plus_secs(10 + i64::try_from(n).unwrap()).to_string();
        let change =
            item.parsed("change-price", &json!({"price": price("1"), "effective_from": from, "reason": "r"}));
        let fresh_id = Token::new(format!("s{n}")).unwrap();
        let command = Command { now: item.now, fresh_id, roles: Roles::ALL, action: change };
        for event in item.state.decide(&command).unwrap() {
            cqrs_es::Aggregate::apply(&mut item.state, event);
        }
    }
    item.refuses("change-price", json!({"price": price("500"), "reason": "r"}), "unprocessable");
}

proptest! {
    /// However often and however late what is due is put on record, the same prices hold at the same times.
    #[test]
    fn prices_do_not_depend_on_when_they_are_put_on_record(
        changes in proptest::collection::vec((0..30_i64, 1..9_u32, proptest::option::of(0..60_i64), proptest::option::of(1..60_i64)), 1..20),
        sweeps in proptest::collection::vec(any::<bool>(), 20),
    ) {
        let (mut eager, mut lazy) = (draft(), draft());
        for ((pass, amount, from, length), sweep) in changes.into_iter().zip(sweeps) {
            for item in [&mut eager, &mut lazy] {
                item.pass(pass);
            }
            let due = eager.parsed("apply-due-prices", &json!({}));
            eager.act(due.clone()).unwrap();
            if sweep {
                lazy.act(due).unwrap();
            }
            let start = from.map(|from| eager.now.plus_secs(from));
            let end = length.map(|length| start.unwrap_or(eager.now).plus_secs(length).to_string());
            let change = json!({"price": price(&amount.to_string()), "effective_from": start.map(|t| t.to_string()),
                "effective_to": end, "reason": "r"});
            for item in [&mut eager, &mut lazy] {
                item.commands = item.commands.max(1_000) + 1;
            }
            lazy.commands = eager.commands;
            let action = eager.parsed("change-price", &change);
            eager.act(action.clone()).unwrap();
            lazy.act(action).unwrap();
            for at in (1_000..4_000).step_by(7) {
                prop_assert_eq!(price_at(&eager, at), price_at(&lazy, at), "at {}", at);
            }
        }
        prop_assert_eq!(&eager.state, &lazy.state);
    }
}
