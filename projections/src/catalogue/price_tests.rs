//! Prices of lists in rows, and as of any time.

use std::collections::BTreeMap;

use daybook_schemas::prices::{Change, PriceList, PricePoint, Prices, Step, Wanted};
use daybook_schemas::variant::{Created, Price, PriceType};
use daybook_schemas::{Currency, Money, ScheduleId, Text, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::query::{by_id, effective_price, prices, product_group};
use super::*;
use crate::testing::{On, World, each_engine};

fn event(wire_name: &str, data: Value) -> Event {
    Event::from_data(wire_name, &serde_json::to_vec(&data).unwrap()).unwrap().unwrap()
}

fn secs(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn price(amount: u32, currency: &str) -> Price {
    let currency = Currency::new(currency).unwrap();
    let amount = Money::parse(&format!("{}.{:02}", amount / 100, amount % 100), currency).unwrap();
    Price { amount, compare_at: None, price_type: PriceType::Regular }
}

/// Created at second 1,000 at 10.00 GBP.
fn created(id: &str, group: &str) -> Event {
    let data = json!({
        "variant_id": id, "product_id": "p1", "product_group": group, "sku": format!("SKU-{id}"), "name": "Shirt", "brand": "Acme",
        "category": "Shirts", "attributes": [], "config_hash": format!("hash-{id}"), "config_signature": "", "channels": [],
        "regions": [], "price": price(1_000, "GBP"), "created_at": secs(1_000),
    });
    let created: Created = serde_json::from_value(data).unwrap();
    created.into()
}

fn web(currency: &str) -> PriceList {
    serde_json::from_value(json!({"currency": currency, "channel": "web"})).unwrap()
}

fn on_list(amount: Option<u32>, currency: &str, from: i64) -> Event {
    let price = amount.map(|amount| price(amount, currency));
    event(
        "variant.list_price_changed",
        json!({"list": web(currency), "price": price, "effective_from": secs(from), "reason": "r"}),
    )
}

fn asks(world: &World, wanted: &Wanted, at: i64) -> Value {
    let projection = world.project(|| Catalogue);
    let rows = projection.reader.begin().unwrap();
    serde_json::to_value(effective_price(&*rows, "v1", wanted, secs(at)).unwrap().unwrap()).unwrap()
}

fn a_list_has_a_row_of_its_own_and_the_variant_names_it(on: On) {
    let world = World::on(on);
    world.append("variant-v1", created("v1", "g1"));
    world.append("variant-v1", on_list(Some(900), "GBP", 1_100));
    let scheduled =
        json!({"list": web("GBP"), "schedule_id": "s1", "effective_from": secs(1_200), "reason": "over"});
    world.append("variant-v1", event("variant.list_price_scheduled", scheduled));
    let projection = world.project(|| Catalogue);
    let rows = projection.reader.begin().unwrap();
    let variant = by_id(&*rows, "v1").unwrap().unwrap();
    assert_eq!(variant.variant.price_lists, [web("GBP")]);
    assert_eq!(variant.variant.revision, 3);
    let prices = prices(&*rows, "v1").unwrap().unwrap();
    assert_eq!(prices.price.unwrap().amount.to_string(), "10.00");
    assert_eq!(prices.lists.len(), 1);
    let list = &prices.lists[0];
    assert_eq!((list.price.unwrap().amount.to_string(), list.schedules[0].price), ("9.00".to_owned(), None));
    assert_eq!(super::query::prices(&*rows, "v2").unwrap(), None);
}

fn the_effective_price_is_told_for_any_time(on: On) {
    let world = World::on(on);
    world.append("variant-v1", created("v1", "g1"));
    world.append("variant-v1", on_list(Some(900), "GBP", 1_100));
    let over =
        json!({"list": web("GBP"), "schedule_id": "s1", "effective_from": secs(1_200), "reason": "over"});
    world.append("variant-v1", event("variant.list_price_scheduled", over));
    let own = json!({"schedule_id": "s2", "price": price(700, "GBP"), "effective_from": secs(1_300), "reason": "r"});
    world.append("variant-v1", event("variant.price_scheduled", own));
    let wanted = Wanted { channel: Some(Token::new("web").unwrap()), ..Wanted::default() };
    let shown = |price: Option<&str>, list: bool, from: Option<i64>, next: Option<i64>, at: i64| {
        let mut shown = json!({"variant_id": "v1", "as_of": secs(at)});
        if let Some(amount) = price {
            shown["price"] = json!({"amount": amount, "currency": "GBP", "price_type": "regular"});
            shown["effective_from"] = json!(from.map(secs));
        }
        if list {
            shown["list"] = json!(web("GBP"));
        }
        if let Some(next) = next {
            shown["next_change"] = json!(secs(next));
        }
        shown
    };
    for (at, price, list, from, next) in [
        (999, None, false, None, Some(1_000)),
        (1_000, Some("10.00"), false, Some(1_000), Some(1_100)),
        (1_100, Some("9.00"), true, Some(1_100), Some(1_200)),
        (1_200, Some("10.00"), false, Some(1_000), Some(1_300)),
        (1_300, Some("7.00"), false, Some(1_300), None),
    ] {
        assert_eq!(asks(&world, &wanted, at), shown(price, list, from, next, at), "{at}");
    }
    let dollars = Wanted { currency: Some(Currency::new("USD").unwrap()), ..Wanted::default() };
    assert_eq!(asks(&world, &dollars, 1_150).get("price"), None);
}

fn a_group_has_its_range_on_every_list(on: On) {
    let world = World::on(on);
    for (id, amounts) in [("v1", [900, 1_200]), ("v2", [800, 1_300]), ("v3", [100, 9_900])] {
        let stream = format!("variant-{id}");
        world.append(&stream, created(id, if id == "v3" { "elsewhere" } else { "g1" }));
        world.append(&stream, on_list(Some(amounts[0]), "GBP", 1_100));
        world.append(&stream, on_list(Some(amounts[1]), "EUR", 1_100));
    }
    let ranges = |world: &World| -> Vec<(String, String, String)> {
        let projection = world.project(|| Catalogue);
        let rows = projection.reader.begin().unwrap();
        let group = product_group(&*rows, "g1").unwrap().unwrap();
        let range =
            |r: &super::query::ListPriceRange| (r.list.to_string(), r.min.to_string(), r.max.to_string());
        group.list_price_range.iter().map(range).collect()
    };
    let row = |list: &str, min: &str, max: &str| (list.to_owned(), min.to_owned(), max.to_owned());
    let euro = row("EUR, channel web", "12.00 EUR", "13.00 EUR");
    assert_eq!(ranges(&world), [euro.clone(), row("GBP, channel web", "8.00 GBP", "9.00 GBP")]);
    // A list that ended has no part in it, nor an archived variant; a variant brings its lists along to another group.
    world.append("variant-v2", on_list(None, "GBP", 1_200));
    assert_eq!(ranges(&world), [euro, row("GBP, channel web", "9.00 GBP", "9.00 GBP")]);
    world.append("variant-v3", event("variant.details_changed", json!({"product_group": "g1"})));
    world.append("variant-v2", event("variant.archived", json!({"from": "draft"})));
    assert_eq!(
        ranges(&world),
        [row("EUR, channel web", "12.00 EUR", "99.00 EUR"), row("GBP, channel web", "1.00 GBP", "9.00 GBP")]
    );
}

fn what_is_taken_back_or_archived_waits_no_more_on_any_list(on: On) {
    let world = World::on(on);
    world.append("variant-v1", created("v1", "g1"));
    for id in ["s1", "s2"] {
        let data = json!({"list": web("GBP"), "schedule_id": id, "price": price(1, "GBP"), "effective_from": secs(2_000), "reason": "r"});
        world.append("variant-v1", event("variant.list_price_scheduled", data));
    }
    let waiting = |world: &World| {
        let projection = world.project(|| Catalogue);
        let rows = projection.reader.begin().unwrap();
        let lists = prices(&*rows, "v1").unwrap().unwrap().lists;
        lists[0].schedules.iter().map(|s| s.schedule_id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(waiting(&world), ["s1", "s2"]);
    let cancelled = json!({"schedule_id": "s1", "reason": "no"});
    world.append("variant-v1", event("variant.price_schedule_cancelled", cancelled));
    assert_eq!(waiting(&world), ["s2"]);
    world.append("variant-v1", event("variant.archived", json!({"from": "draft"})));
    assert!(waiting(&world).is_empty());
}

each_engine!(
    a_list_has_a_row_of_its_own_and_the_variant_names_it,
    the_effective_price_is_told_for_any_time,
    a_group_has_its_range_on_every_list,
    what_is_taken_back_or_archived_waits_no_more_on_any_list,
);

/// One course with every price that it ever had, beside what the rows keep.
struct Whole {
    list: Option<PriceList>,
    prices: Prices,
    points: Vec<PricePoint>,
}

impl Whole {
    fn take(&mut self, world: &World, steps: Vec<Step>) {
        for step in steps {
            if let Step::Changed(changed) = &step {
                self.points.push(PricePoint { price: changed.price, effective_from: changed.effective_from });
            }
            world.append("variant-v1", step.into_event(self.list.as_ref()));
        }
    }

    /// By looking through everything.
    fn at(&self, at: i64) -> Option<Price> {
        if self.prices.next_deadline().is_some_and(|due| due <= secs(at)) {
            return self.prices.at(secs(at));
        }
        self.points.iter().rev().find(|point| point.effective_from <= secs(at)).and_then(|point| point.price)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// However many prices there were, every one is found at its time, and every one to come.
    #[test]
    fn rows_and_past_tell_the_price_of_any_time(
        steps in proptest::collection::vec(
            (0..3_i64, any::<bool>(), proptest::option::weighted(0.9, 1..99_u32), proptest::option::weighted(0.2, 1..30_i64),
             proptest::option::weighted(0.3, 1..20_i64)), 100..160),
    ) {
        let world = World::new();
        world.append("variant-v1", created("v1", "g1"));
        let own = Prices::own(Some(price(1_000, "GBP")), secs(1_000));
        let points = own.price_history.iter().copied().collect();
        let mut courses = [
            Whole { list: None, prices: own, points },
            Whole { list: Some(web("GBP")), prices: Prices::of_list(), points: Vec::new() },
        ];
        let (mut now, reason) = (1_000, Text::new("r").unwrap());
        for (number, (pass, listed, amount, from, length)) in steps.into_iter().enumerate() {
            now += pass;
            let course = &mut courses[usize::from(listed)];
            let due = course.prices.bring_up_to(secs(now));
            course.take(&world, due);
            if amount.is_none() && !listed {
                continue;
            }
            let begins = now + from.unwrap_or(0);
            let change = Change {
                price: amount.map(|amount| price(amount, "GBP")),
                from: secs(begins),
                to: length.filter(|_| amount.is_some()).map(|length| secs(begins + length)),
                reason: &reason,
                schedule_id: None,
            };
            let id = ScheduleId::new(format!("s{number}")).unwrap();
            let taken = match from {
                Some(_) => course.prices.schedule(&change, id),
                None => course.prices.change(&change, id),
            };
            course.take(&world, taken);
        }
        let projection = world.project(|| Catalogue);
        let rows = projection.reader.begin().unwrap();
        let wanted = Wanted { channel: Some(Token::new("web").unwrap()), ..Wanted::default() };
        let mut told: BTreeMap<i64, (Option<Price>, Option<Price>)> = BTreeMap::new();
        for at in 998..now + 60 {
            told.insert(at, (courses[0].at(at), courses[1].at(at)));
        }
        for (at, (own, listed)) in told {
            for (wanted, says) in [(&Wanted::default(), own), (&wanted, own.and(listed.or(own)))] {
                let found = effective_price(&*rows, "v1", wanted, secs(at)).unwrap().unwrap();
                prop_assert_eq!(found.price.map(|price| price.price()), says, "{:?} at {}", wanted, at);
                prop_assert!(found.effective_from.is_none_or(|from| from <= secs(at)));
                prop_assert!(found.next_change.is_none_or(|next| next > secs(at)));
            }
        }
    }
}
