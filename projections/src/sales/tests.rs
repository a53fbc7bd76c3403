use std::collections::{BTreeMap, BTreeSet};

use daybook_schemas::Money;
use proptest::prelude::*;

use super::query::{SalesReport, report};
use super::*;
use crate::analytics::Period;
use crate::testing::orders::{
    Books, cancelled, credited, gbp, happenings, live, paid, payment_failed, placed, pounds, refunded,
};
use crate::testing::{On, World, each_engine};

fn sales(world: &World, period: &str) -> SalesReport {
    let projection = world.project(|| Sales);
    let rows = projection.reader.begin().unwrap();
    report(&*rows, &Period::parse(period).unwrap(), None).unwrap()
}

const NOV: &str = "2011-11-04T10:00:00Z";
const UK: Option<&str> = Some("United Kingdom");

fn one_order() -> World {
    let world = World::new();
    let lines = [("v1", "Toys", 2, 1050), ("v2", "Tea", 1, 300), ("v1", "Toys", 1, 1000)];
    world.append("order-o1", placed("o1", Some("c1"), UK, "card", NOV, &lines));
    world
}

#[test]
fn an_order_counts_in_its_day_month_year_and_in_all() {
    let world = one_order();
    for period in ["all", "2011", "2011-11", "2011-11-04"] {
        let report = sales(&world, period);
        assert_eq!(report.gross_revenue, gbp("34.00"), "{period}");
        assert_eq!((report.orders, report.quantity, report.unique_customers), (1, 4, 1));
        assert_eq!(report.average_order_value, gbp("34.00"));
        assert_eq!(report.by_country.len(), 1);
        assert_eq!(
            (report.by_country[0].country.as_str(), report.by_country[0].orders),
            ("United Kingdom", 1)
        );
        let top: Vec<_> =
            report.top_products.iter().map(|p| (p.variant_id.as_str(), p.orders, p.quantity)).collect();
        assert_eq!(top, [("v1", 1, 3), ("v2", 1, 1)], "two lines of one variant are one order");
        assert_eq!(report.daily.len(), 1);
        assert_eq!(report.daily[0].date, "2011-11-04");
    }
    assert_eq!(sales(&world, "2011-12").gross_revenue, gbp("0"));
    assert!(sales(&world, "2011-11-05").daily.is_empty());
}

#[test]
fn a_refund_counts_at_its_own_time_for_what_it_gives_back() {
    let world = one_order();
    world.append("order-o1", paid(3400, NOV));
    world.append("order-o1", refunded("f1", "2011-12-24T23:59:59Z", &[(2, 1, 250)]));
    let november = sales(&world, "2011-11");
    assert_eq!((november.gross_revenue, november.refunds), (gbp("34.00"), gbp("0")));
    let december = sales(&world, "2011-12");
    assert_eq!(
        (december.gross_revenue, december.refunds, december.net_revenue),
        (gbp("0"), gbp("2.50"), gbp("-2.50"))
    );
    assert_eq!(
        (december.by_category[0].category.as_str(), december.by_category[0].refunds),
        ("Tea", gbp("2.50"))
    );
    assert_eq!(december.by_payment_method[0].payment_method, "card");
    assert!(december.top_products.is_empty(), "what was only given back earned nothing");
    assert_eq!(sales(&world, "all").net_revenue, gbp("31.50"));
}

#[test]
fn an_unpaid_order_that_is_cancelled_is_taken_out_where_it_was_counted() {
    let world = one_order();
    world.append("order-o1", cancelled("2011-12-01T00:00:00Z"));
    let report = sales(&world, "2011-11");
    assert_eq!((report.orders, report.unique_customers, report.gross_revenue), (0, 0, gbp("0")));
    assert!(report.daily.is_empty() && report.top_products.is_empty() && report.by_country.is_empty());
}

#[test]
fn an_order_whose_payment_failed_counts_again_once_it_is_paid() {
    let world = one_order();
    world.append("order-o1", payment_failed(NOV));
    assert_eq!(sales(&world, "all").orders, 0);
    world.append("order-o1", paid(3400, NOV));
    assert_eq!(sales(&world, "all").orders, 1);
    world.append("order-o1", cancelled(NOV));
    assert_eq!(sales(&world, "all").orders, 1, "cancelled after payment, it stays; its refund counts");
}

fn a_credit_counts_as_a_refund_and_a_bad_debt_nowhere(on: On) {
    let world = World::on(on);
    world.append("credit-k1", credited("k1", Some("c1"), "v9", 499, NOV));
    let debt = serde_json::json!({"credit_id": "k2", "amount": {"amount": "-11062.06", "currency": "GBP"}, "adjusted_at": NOV});
    let debt: daybook_schemas::credit::BadDebtAdjusted = crate::testing::payload(debt);
    world.append("credit-k2", daybook_schemas::credit::Event::from(debt));
    let report = sales(&world, "2011");
    assert_eq!((report.refunds, report.gross_revenue, report.orders), (gbp("4.99"), gbp("0"), 0));
    assert_eq!((report.by_country[0].country.as_str(), report.unique_customers), ("France", 0));
    assert_eq!(report.by_payment_method[0].payment_method, "unknown");
}

#[test]
fn currencies_are_kept_apart() {
    let world = one_order();
    let mut euros =
        serde_json::to_string(&placed("o2", Some("c1"), UK, "card", NOV, &[("v1", "Toys", 1, 100)])).unwrap();
    euros = euros.replace("GBP", "EUR");
    let event: daybook_schemas::order::Event = serde_json::from_str(&euros).unwrap();
    world.append("order-o2", event);
    let projection = world.project(|| Sales);
    let rows = projection.reader.begin().unwrap();
    let euro = Currency::new("EUR").unwrap();
    let report = |currency| report(&*rows, &Period::all(), currency).unwrap();
    assert_eq!(report(Some(euro)).gross_revenue.to_string(), "1.00 EUR");
    assert_eq!(report(Some(Currency::GBP)).orders, 1);
    assert_eq!(report(None).currency, euro, "of equals the first by code");
    assert_eq!(super::query::currencies(&*rows).unwrap(), [euro, Currency::GBP]);
}

fn total(pence: u32) -> Money {
    gbp(&pounds(pence))
}

/// The report from the tests' own books, by going through them.
fn check(books: &Books, period: &Period, report: &SalesReport) {
    let orders: Vec<_> = books.orders.iter().filter(|o| o.counted && period.contains(&o.day)).collect();
    let refunds: Vec<_> = books.given_back.iter().filter(|r| period.contains(&r.day)).collect();
    let gross = |lines: &[(String, &str, u32, u32)]| {
        lines.iter().map(|(_, _, quantity, pence)| quantity * pence).sum::<u32>()
    };
    assert_eq!(report.gross_revenue, total(orders.iter().map(|o| gross(&o.lines)).sum()));
    assert_eq!(report.refunds, total(refunds.iter().map(|r| r.pence).sum()));
    assert_eq!(report.orders, i64::try_from(orders.len()).unwrap());
    let units: u32 = orders.iter().flat_map(|o| &o.lines).map(|line| line.2).sum();
    assert_eq!(report.quantity, i64::from(units));
    let customers: BTreeSet<_> = orders.iter().filter_map(|o| o.customer.as_ref()).collect();
    assert_eq!(report.unique_customers, i64::try_from(customers.len()).unwrap());

    let mut countries: BTreeMap<&str, (u32, u32, i64)> = BTreeMap::new();
    let mut categories: BTreeMap<&str, (u32, u32, i64)> = BTreeMap::new();
    let mut days: BTreeMap<&str, (u32, u32, i64)> = BTreeMap::new();
    let mut variants: BTreeMap<&str, (u32, i64)> = BTreeMap::new();
    for order in &orders {
        for (map, key) in [(&mut countries, order.country), (&mut days, order.day.as_str())] {
            let row = map.entry(key).or_default();
            row.0 += gross(&order.lines);
            row.2 += 1;
        }
        for (variant, category, quantity, pence) in &order.lines {
            categories.entry(category).or_default().0 += quantity * pence;
            variants.entry(variant).or_default().0 += quantity * pence;
        }
        for category in order.lines.iter().map(|line| line.1).collect::<BTreeSet<_>>() {
            categories.entry(category).or_default().2 += 1;
        }
        for variant in order.lines.iter().map(|line| line.0.as_str()).collect::<BTreeSet<_>>() {
            variants.entry(variant).or_default().1 += 1;
        }
    }
    for refund in &refunds {
        for (map, key) in [
            (&mut countries, refund.country),
            (&mut categories, refund.category),
            (&mut days, refund.day.as_str()),
        ] {
            map.entry(key).or_default().1 += refund.pence;
        }
    }
    // A refund of nothing alone leaves no row.
    let rows = |map: BTreeMap<&str, (u32, u32, i64)>| -> BTreeSet<(String, String, String, i64)> {
        map.into_iter()
            .filter(|(_, (gross, refunds, orders))| (*gross, *refunds, *orders) != (0, 0, 0))
            .map(|(key, (gross, refunds, orders))| {
                (key.to_owned(), total(gross).to_string(), total(refunds).to_string(), orders)
            })
            .collect()
    };
    let actual = report
        .by_country
        .iter()
        .map(|r| (r.country.clone(), r.gross_revenue.to_string(), r.refunds.to_string(), r.orders));
    assert_eq!(actual.collect::<BTreeSet<_>>(), rows(countries));
    let actual = report
        .by_category
        .iter()
        .map(|r| (r.category.clone(), r.gross_revenue.to_string(), r.refunds.to_string(), r.orders));
    assert_eq!(actual.collect::<BTreeSet<_>>(), rows(categories));
    let actual = report
        .daily
        .iter()
        .map(|r| (r.date.clone(), r.gross_revenue.to_string(), r.refunds.to_string(), r.orders));
    assert_eq!(actual.collect::<BTreeSet<_>>(), rows(days));
    let mut top: Vec<_> = variants.into_iter().collect();
    top.sort_by(|a, b| b.1.0.cmp(&a.1.0).then(a.0.cmp(b.0)));
    let top: Vec<_> = top
        .into_iter()
        .map(|(variant, (gross, orders))| (variant.to_owned(), total(gross), orders))
        .collect();
    let actual: Vec<_> =
        report.top_products.iter().map(|p| (p.variant_id.clone(), p.gross_revenue, p.orders)).collect();
    assert_eq!(actual, top);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn reports_agree_with_books_kept_by_hand_and_with_a_rebuild(happenings in happenings(), cut in 0.0..1.0_f64) {
        let world = World::new();
        let books = live(&world, &happenings);
        let mut projection = world.open(|| Sales, "live");
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let until = (world.head() as f64 * cut) as u64;
        projection.catch_up_to(&world, until);
        drop(projection);
        let mut projection = world.open(|| Sales, "live");
        projection.catch_up(&world);
        prop_assert_eq!(projection.dump(), world.project(|| Sales).dump());
        let rows = projection.reader.begin().unwrap();
        let days = books.orders.iter().map(|o| o.day.clone()).chain(books.given_back.iter().map(|r| r.day.clone()));
        let mut periods: BTreeSet<String> = BTreeSet::from(["all".to_owned()]);
        periods.extend(days.flat_map(|day| [day[..4].to_owned(), day[..7].to_owned(), day]));
        for period in periods {
            let period = Period::parse(&period).unwrap();
            check(&books, &period, &report(&*rows, &period, None).unwrap());
        }
    }
}

each_engine!(a_credit_counts_as_a_refund_and_a_bad_debt_nowhere,);
