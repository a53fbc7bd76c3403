//! Prices of lists: by currency, channel and customer group.

use std::collections::BTreeMap;

use daybook_schemas::prices::Wanted;
use daybook_schemas::{Currency, Timestamp, Token};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::variant::{MAX_PRICE_LISTS, MAX_SCHEDULES};

fn secs(secs: i64) -> String {
    Timestamp::from_secs(secs).to_string()
}

/// Such as `9 GBP web trade`; `-` for no channel or no group.
fn change(text: &str) -> Value {
    let words: Vec<&str> = text.split(' ').collect();
    let named = |word: &str| if word == "-" { Value::Null } else { word.into() };
    json!({"price": {"amount": words[0], "currency": words[1]}, "reason": "r",
        "list": {"channel": named(words[2]), "customer_group": named(words[3])}})
}

fn with(mut body: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else { panic!("an object") };
    body.as_object_mut().unwrap().extend(fields);
    body
}

fn wanted(text: &str) -> Wanted {
    let words: Vec<&str> = text.split(' ').collect();
    let token = |word: &str| (word != "-").then(|| Token::new(word).unwrap());
    let currency = (words[0] != "-").then(|| Currency::new(words[0]).unwrap());
    Wanted { currency, channel: token(words[1]), customer_group: token(words[2]) }
}

/// What a buyer pays, such as `9.00 GBP`.
fn pays(item: &Item, buyer: &str, at: i64) -> String {
    let price = item.state.price_for(&wanted(buyer), Timestamp::from_secs(at));
    price.map_or("none".to_owned(), |price| price.amount.to_string())
}

#[test]
fn a_price_of_a_list_says_its_list() {
    let mut item = draft();
    let events = item.ok("change-price", change("9 GBP web -"));
    assert_eq!(
        events,
        [(
            "variant.list_price_changed".to_owned(),
            json!({"list": {"currency": "GBP", "channel": "web"},
                "price": {"amount": {"amount": "9.00", "currency": "GBP"}, "price_type": "regular"},
                "effective_from": secs(1_000), "reason": "r"})
        )]
    );
    item.writes("change-price", change("9 GBP web -"), &[]);
    let events = item.pass(1).ok("change-price", change("8 GBP web -"));
    assert_eq!(events[0].1["previous"]["amount"]["amount"], "9.00");
    // The variant's own price is another.
    assert_eq!(
        (pays(&item, "- - -", 1_001), pays(&item, "- web -", 1_001)),
        ("12.50 GBP".into(), "8.00 GBP".into())
    );
    assert_eq!(existing(&item).price_lists.len(), 1);
}

#[test]
fn the_most_specific_list_that_fits_the_buyer_has_the_price() {
    let mut item = draft();
    for list in ["11 EUR - -", "10 EUR web -", "9 EUR - trade", "8 EUR web trade", "7 GBP web -"] {
        item.writes("change-price", change(list), &["variant.list_price_changed"]);
    }
    for (buyer, price) in [
        ("- - -", "12.50 GBP"),
        ("GBP - -", "12.50 GBP"),
        ("- web -", "7.00 GBP"),
        ("GBP web trade", "7.00 GBP"),
        ("GBP - trade", "12.50 GBP"),
        ("EUR - -", "11.00 EUR"),
        ("EUR app -", "11.00 EUR"),
        ("EUR web -", "10.00 EUR"),
        ("EUR - trade", "9.00 EUR"),
        ("EUR app trade", "9.00 EUR"),
        ("EUR web trade", "8.00 EUR"),
        ("EUR web staff", "10.00 EUR"),
        ("USD - -", "none"),
    ] {
        assert_eq!(pays(&item, buyer, 1_000), price, "{buyer}");
    }
    assert_eq!(pays(&item, "EUR web trade", 999), "none");
}

#[test]
fn what_everybody_pays_in_the_own_currency_is_no_list() {
    let mut item = draft();
    item.refuses("change-price", change("9 GBP - -"), "unprocessable");
    // Once the own price is in another currency, it is one; and as long as it is, it hides no own price.
    item.ok("change-price", json!({"price": {"amount": "10", "currency": "EUR"}, "reason": "move"}));
    item.ok("change-price", change("9 GBP - -"));
    assert_eq!(
        (pays(&item, "GBP - -", 1_000), pays(&item, "- - -", 1_000)),
        ("9.00 GBP".into(), "10.00 EUR".into())
    );
    let own = |currency: &str, from: Option<String>| json!({"price": {"amount": "12", "currency": currency}, "effective_from": from, "reason": "r"});
    for from in [None, Some(secs(3_000))] {
        item.refuses("change-price", own("GBP", from), "unprocessable");
    }
    let ended = json!({"list": {"currency": "GBP"}, "effective_from": secs(2_000), "reason": "over"});
    item.ok("end-price-list", ended);
    item.refuses("change-price", own("GBP", None), "unprocessable");
    item.ok("change-price", own("GBP", Some(secs(2_000))));
    // Nor does a list come to stand where the own price will be.
    item.refuses(
        "change-price",
        with(change("8 GBP - -"), json!({"effective_from": secs(2_500)})),
        "unprocessable",
    );
    item.ok("change-price", change("8 GBP - -"));
    item.refuses("change-price", change("8 EUR - -"), "unprocessable");
    item.ok("change-price", with(change("8 EUR - -"), json!({"effective_from": secs(2_500)})));
    item.pass(5_000);
    assert_eq!(
        (pays(&item, "GBP - -", 5_900), pays(&item, "EUR - -", 5_900)),
        ("12.00 GBP".into(), "8.00 EUR".into())
    );
}

#[test]
fn lists_have_schedules_of_their_own() {
    let mut item = draft();
    item.writes(
        "change-price",
        with(change("9 GBP web -"), json!({"effective_from": secs(2_000)})),
        &["variant.list_price_scheduled"],
    );
    item.ok(
        "change-price",
        json!({"price": {"amount": "11", "currency": "GBP"}, "effective_from": secs(1_500), "reason": "r"}),
    );
    assert_eq!(item.state.next_deadline(), Some(Timestamp::from_secs(1_500)));
    assert_eq!(
        (pays(&item, "- web -", 1_499), pays(&item, "- web -", 1_500), pays(&item, "- web -", 2_000)),
        ("12.50 GBP".into(), "11.00 GBP".into(), "9.00 GBP".into())
    );
    item.pass(600).writes("apply-due-prices", json!({}), &["variant.price_changed"]);
    assert_eq!(item.state.next_deadline(), Some(Timestamp::from_secs(2_000)));
    let events = item.pass(5_000).ok("apply-due-prices", json!({}));
    assert_eq!(events.len(), 1);
    assert_eq!(
        (&events[0].1["effective_from"], &events[0].1["schedule_id"]),
        (&json!(secs(2_000)), &json!("fresh-2"))
    );
    item.writes("apply-due-prices", json!({}), &[]);
    assert_eq!((item.state.next_deadline(), pays(&item, "- web -", 2_000)), (None, "9.00 GBP".into()));
}

#[test]
fn a_temporary_price_on_a_list_that_had_none_ends_the_list() {
    let mut item = draft();
    item.writes(
        "change-price",
        with(change("9 GBP web -"), json!({"effective_to": secs(1_100)})),
        &["variant.list_price_changed", "variant.list_price_scheduled"],
    );
    assert_eq!(
        (pays(&item, "- web -", 1_099), pays(&item, "- web -", 1_100)),
        ("9.00 GBP".into(), "12.50 GBP".into())
    );
    let events = item.pass(100).ok("apply-due-prices", json!({}));
    assert_eq!((events.len(), events[0].1.get("price")), (1, None));
    assert_eq!(pays(&item, "- web -", 1_050), "9.00 GBP");
}

#[test]
fn a_list_ends_now_or_later_and_can_begin_again() {
    let mut item = draft();
    let list = json!({"currency": "GBP", "channel": "web"});
    let end = |from: Option<i64>| json!({"list": list, "effective_from": from.map(secs), "reason": "over"});
    item.refuses("end-price-list", end(None), "not_found");
    item.ok("change-price", change("9 GBP web -"));
    item.writes("end-price-list", end(Some(1_100)), &["variant.list_price_scheduled"]);
    assert_eq!(
        (pays(&item, "- web -", 1_099), pays(&item, "- web -", 1_100)),
        ("9.00 GBP".into(), "12.50 GBP".into())
    );
    item.ok("cancel-price-schedule", json!({"schedule_id": "fresh-4", "reason": "stays"}));
    assert_eq!(pays(&item, "- web -", 1_100), "9.00 GBP");
    item.pass(10).writes("end-price-list", end(None), &["variant.list_price_changed"]);
    item.writes("end-price-list", end(None), &[]);
    item.pass(10).ok("change-price", change("6 GBP web -"));
    assert_eq!(
        [1_009, 1_010, 1_020].map(|at| pays(&item, "- web -", at)),
        ["9.00 GBP", "12.50 GBP", "6.00 GBP"]
    );
}

#[test]
fn what_is_due_can_no_longer_be_taken_back() {
    let mut item = draft();
    item.ok("change-price", with(change("9 GBP web -"), json!({"effective_from": secs(1_100)})));
    let cancel = json!({"schedule_id": "fresh-2", "reason": "r"});
    item.pass(100).refuses("cancel-price-schedule", cancel, "not_found");
}

#[test]
fn a_sale_whose_return_was_taken_back_is_for_good() {
    let mut item = draft();
    item.ok(
        "change-price",
        json!({"price": {"amount": "7", "currency": "GBP"}, "effective_to": secs(1_100), "reason": "sale"}),
    );
    item.ok("cancel-price-schedule", json!({"schedule_id": "fresh-2", "reason": "stays"}));
    // A price for the very moment when the sale would have ended is no return: another change does not take its place.
    item.ok(
        "change-price",
        json!({"price": {"amount": "8", "currency": "GBP"}, "effective_from": secs(1_100), "reason": "r"}),
    );
    item.writes(
        "change-price",
        json!({"price": {"amount": "6", "currency": "GBP"}, "reason": "r"}),
        &["variant.price_changed"],
    );
    assert_eq!(
        (pays(&item, "- - -", 1_099), pays(&item, "- - -", 1_100)),
        ("6.00 GBP".into(), "8.00 GBP".into())
    );
}

#[test]
fn prices_of_lists_are_checked_like_any() {
    let mut item = draft();
    item.refuses("change-price", change("-1 GBP web -"), "unprocessable");
    item.refuses(
        "change-price",
        with(change("9 GBP web -"), json!({"effective_to": secs(1_000)})),
        "unprocessable",
    );
    let crossed = json!({"price": {"amount": "9", "currency": "GBP", "compare_at": "8"}});
    item.refuses("change-price", with(change("9 GBP web -"), crossed), "unprocessable");
    item.ok("change-price", change("9 GBP web -"));
    item.ok("lock", json!({"scopes": ["price"], "reason": "audit"}));
    item.refuses("change-price", change("8 GBP web -"), "locked");
    let end = json!({"list": {"currency": "GBP", "channel": "web"}, "reason": "over"});
    item.refuses("end-price-list", end, "locked");
}

#[test]
fn an_archived_variant_forgets_what_was_scheduled_on_any_list() {
    let mut item = draft();
    item.ok("change-price", with(change("9 GBP web -"), json!({"effective_from": secs(1_100)})));
    archive(&mut item, Some(StockFacts::default())).unwrap();
    assert_eq!((item.state.next_deadline(), pays(&item, "- web -", 1_100)), (None, "12.50 GBP".into()));
    item.refuses(
        "end-price-list",
        json!({"list": {"currency": "GBP", "channel": "web"}, "reason": "r"}),
        "invalid_transition",
    );
}

#[test]
fn lists_and_schedules_are_bounded() {
    let mut item = draft();
    for n in 0..MAX_PRICE_LISTS {
        item.ok("change-price", change(&format!("9 GBP - g{n}")));
    }
    item.refuses("change-price", change("9 GBP - another"), "unprocessable");
    item.ok("change-price", change("8 GBP - g0"));
    // Schedules count over all lists.
    for n in 0..MAX_SCHEDULES {
        let from = json!({"effective_from": secs(2_000 + i64::try_from(n).unwrap())});
        let action = item.parsed("change-price", &with(change(&format!("7 GBP - g{}", n % 100)), from));
        let fresh_id = Token::new(format!("s{n}")).unwrap();
        let command = crate::Command { now: item.now, fresh_id, roles: crate::Roles::ALL, action };
        for event in crate::Decider::decide(&item.state, &command).unwrap() {
            cqrs_es::Aggregate::apply(&mut item.state, event);
        }
    }
    item.refuses("change-price", change("5 GBP - g150"), "unprocessable");
}

/// The plainest account of one list: what stands at each second, told second by second.
#[derive(Clone, Default)]
struct Plain {
    standing: Option<u32>,
    /// When temporary prices give way, and to what; the one that stands last.
    back: Vec<(i64, Option<u32>)>,
    /// From, until, price; in the order in which they were scheduled.
    waiting: Vec<(i64, Option<i64>, Option<u32>)>,
    told: BTreeMap<i64, Option<u32>>,
}

impl Plain {
    fn put(&mut self, at: i64, price: Option<u32>, until: Option<i64>) {
        let mut before = self.standing;
        while let Some((_, base)) = self.back.pop_if(|(end, _)| until.is_none_or(|until| *end <= until)) {
            before = base;
        }
        self.standing = price;
        self.back.extend(until.map(|until| (until, before)));
        self.told.insert(at, price);
    }

    fn tick(&mut self, at: i64) {
        if let Some((_, before)) = self.back.pop_if(|(until, _)| *until == at) {
            self.standing = before;
        }
        for (_, until, price) in self.waiting.extract_if(.., |(from, ..)| *from == at).collect::<Vec<_>>() {
            self.put(at, price, until);
        }
        self.told.insert(at, self.standing);
    }
}

const END: i64 = 1_260;
/// The own price, and the lists that the property is about.
const COURSES: [&str; 6] = ["GBP", "EUR - -", "GBP web -", "GBP - trade", "GBP web trade", "EUR web -"];

/// By the rule as it is written down, spelt out.
fn plainly(plain: &[Plain], currency: Option<&str>, channel: &str, group: &str, at: i64) -> Option<u32> {
    let told = |name: &str| {
        let course = COURSES.iter().position(|course| *course == name)?;
        plain[course].told.get(&at).copied().flatten()
    };
    let own = told("GBP");
    let currency = match (currency, own) {
        (Some(currency), _) => currency,
        (None, Some(_)) => "GBP",
        (None, None) => return None,
    };
    told(&format!("{currency} {channel} {group}"))
        .or_else(|| told(&format!("{currency} - {group}")))
        .or_else(|| told(&format!("{currency} {channel} -")))
        .or_else(|| told(&format!("{currency} - -")))
        .or_else(|| own.filter(|_| currency == "GBP"))
}

proptest! {
    /// Whatever is changed, scheduled, ended and swept when: every buyer pays at every second, past and to come, what the plain
    /// account says.
    #[test]
    fn every_buyer_pays_at_every_second_what_a_plain_account_says(
        steps in proptest::collection::vec(
            (0..12_i64, 0..COURSES.len(), proptest::option::weighted(0.85, 1..99_u32), proptest::option::of(-3..40_i64),
             proptest::option::of(1..40_i64), any::<bool>()), 1..14),
    ) {
        let mut item = draft();
        let mut plain = vec![Plain::default(); COURSES.len()];
        plain[0].put(1_000, Some(1_250), None);
        let mut now = 1_000;
        for (pass, course, amount, from, length, sweep) in steps {
            for at in now + 1..=now + pass {
                plain.iter_mut().for_each(|plain| plain.tick(at));
            }
            now += pass;
            item.pass(pass);
            if sweep {
                item.ok("apply-due-prices", json!({}));
            }
            let starts = from.map(|from| now + from).filter(|from| *from > now);
            let until = length.map(|length| starts.unwrap_or(now) + length);
            let times = json!({"effective_from": from.map(|from| secs(now + from)), "effective_to": until.map(secs)});
            let (name, until, body) = match (amount, COURSES[course].split_once(' ')) {
                (None, None) => continue,
                (None, Some((currency, rest))) => {
                    let buyer = wanted(&format!("{currency} {rest}"));
                    let list = json!({"currency": currency, "channel": buyer.channel, "customer_group": buyer.customer_group});
                    ("end-price-list", None, json!({"list": list, "effective_from": times["effective_from"], "reason": "r"}))
                }
                (Some(amount), None) => {
                    let price = json!({"amount": format!("{}.{:02}", amount / 100, amount % 100), "currency": "GBP"});
                    ("change-price", until, with(json!({"price": price, "reason": "r"}), times))
                }
                (Some(amount), Some(_)) => {
                    let list = format!("{}.{:02} {}", amount / 100, amount % 100, COURSES[course]);
                    ("change-price", until, with(change(&list), times))
                }
            };
            let action = item.parsed(name, &body);
            match item.act(action) {
                Ok(_) => match starts {
                    Some(starts) => plain[course].waiting.push((starts, until, amount)),
                    None => plain[course].put(now, amount, until),
                },
                Err(refused) => prop_assert_eq!(crate::Refusal::from(refused).code, "not_found"),
            }
        }
        for at in now + 1..END {
            plain.iter_mut().for_each(|plain| plain.tick(at));
        }
        for at in 1_000..END {
            for (currency, channel, group) in buyers(&[None, Some("GBP"), Some("EUR")], &["-", "web", "app"], &["-", "trade"]) {
                let buyer = format!("{} {channel} {group}", currency.unwrap_or("-"));
                let says = plainly(&plain, currency, channel, group, at);
                let pays = item.state.price_for(&wanted(&buyer), Timestamp::from_secs(at));
                let pence = pays.map(|price| price.amount.amount() * rust_decimal::Decimal::from(100));
                prop_assert_eq!(pence, says.map(rust_decimal::Decimal::from), "{} at {}", buyer, at);
            }
        }
    }
}

/// All combinations.
fn buyers<'a>(
    currencies: &[Option<&'a str>],
    channels: &[&'a str],
    groups: &[&'a str],
) -> Vec<(Option<&'a str>, &'a str, &'a str)> {
    let pairs = |currency: Option<&'a str>| {
        channels.iter().flat_map(move |channel| groups.iter().map(move |group| (currency, *channel, *group)))
    };
    currencies.iter().flat_map(|currency| pairs(*currency)).collect()
}

/// No list for everybody hides the own price, whatever comes back, ends or is taken back in between.
#[test]
fn the_own_price_is_hidden_at_no_time() {
    let own = |currency: &str, from: i64, to: Option<i64>| json!({"price": {"amount": "9", "currency": currency}, "effective_from": secs(from), "effective_to": to.map(secs), "reason": "r"});
    let list = |from: i64| with(change("20 GBP - -"), json!({"effective_from": secs(from)}));
    let cancel = |id: &str| json!({"schedule_id": id, "reason": "r"});
    // The own price comes back while the list stands.
    let mut item = draft();
    item.ok("change-price", own("EUR", 2_000, Some(4_000)));
    item.refuses("change-price", list(3_000), "unprocessable");
    item.ok("change-price", with(list(3_000), json!({"effective_to": secs(4_000)})));
    assert_eq!(
        (pays(&item, "GBP - -", 3_999), pays(&item, "GBP - -", 4_000)),
        ("20.00 GBP".into(), "12.50 GBP".into())
    );
    // What made room for the list is taken back.
    let mut item = draft();
    item.ok("change-price", own("EUR", 2_000, None));
    item.ok("change-price", list(2_000));
    item.refuses("cancel-price-schedule", cancel("fresh-2"), "unprocessable");
    item.ok("cancel-price-schedule", cancel("fresh-3"));
    item.ok("cancel-price-schedule", cancel("fresh-2"));
    // So is the end of a list that the own price came after.
    let mut item = draft();
    item.ok("change-price", change("11 EUR - -"));
    item.ok(
        "end-price-list",
        json!({"list": {"currency": "EUR"}, "effective_from": secs(2_000), "reason": "over"}),
    );
    item.ok("change-price", own("EUR", 2_000, None));
    item.refuses("cancel-price-schedule", cancel("fresh-3"), "unprocessable");
}
