use daybook_schemas::Timestamp;
use proptest::prelude::*;

use super::query::{CustomerReport, Rfm, Segment, report};
use super::*;
use crate::testing::orders::{cancelled, credited, gbp, happenings, live, paid, placed, pounds, refunded};
use crate::testing::{On, World, each_engine};

fn customer(world: &World, id: &str) -> Option<CustomerReport> {
    let projection = world.project(|| Customers);
    let rows = projection.reader.begin().unwrap();
    report(&*rows, id, None, Timestamp::EPOCH).unwrap()
}

fn a_lifetime_in_figures(on: On) {
    let world = World::on(on);
    let lines = [("v1", "Toys", 2, 500), ("v2", "Tea", 1, 300)];
    world.append("order-o1", placed("o1", Some("c1"), None, "card", "2011-11-04T10:00:00Z", &lines));
    world.append(
        "order-o2",
        placed("o2", Some("c1"), None, "paypal", "2011-01-01T10:00:00Z", &[("v2", "Tea", 3, 300)]),
    );
    world.append(
        "order-o3",
        placed("o3", Some("c1"), None, "paypal", "2011-06-01T10:00:00Z", &[("v3", "Art", 1, 1)]),
    );
    world.append("order-o1", paid(1300, "2011-11-04T10:00:00Z"));
    world.append("order-o1", refunded("f1", "2011-12-01T00:00:00Z", &[(1, 1, 500)]));
    world.append("credit-k1", credited("k1", Some("c1"), "v9", 100, "2011-12-02T00:00:00Z"));
    let report = customer(&world, "c1").unwrap();
    assert_eq!((report.orders, report.gross_spend, report.refunds), (3, gbp("22.01"), gbp("6.00")));
    assert_eq!((report.net_spend, report.average_order_value), (gbp("16.01"), gbp("7.34")));
    assert_eq!(report.first_order_at.unwrap().to_string(), "2011-01-01T10:00:00Z");
    assert_eq!(report.last_order_at.unwrap().to_string(), "2011-11-04T10:00:00Z");
    assert_eq!(report.favourite_categories, ["Tea", "Toys", "Art"]);
    assert_eq!(report.preferred_payment_method.as_deref(), Some("paypal"));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(
        (&json["items_per_order"], &json["return_rate"]),
        (&serde_json::json!(2.3333), &serde_json::json!(0.4286))
    );
}

fn guests_have_no_rows_and_a_credit_alone_gives_no_scores(on: On) {
    let world = World::on(on);
    world.append(
        "order-o1",
        placed("o1", None, None, "card", "2011-11-04T10:00:00Z", &[("v1", "Toys", 2, 500)]),
    );
    world.append("credit-k1", credited("k1", Some("c7"), "v9", 100, "2011-12-02T00:00:00Z"));
    assert!(customer(&world, "c1").is_none());
    let report = customer(&world, "c7").unwrap();
    assert_eq!((report.rfm, report.segment, report.orders), (None, Segment::NoOrders, 0));
}

fn scores_are_fifths_of_all_customers_and_equals_get_the_same(on: On) {
    let world = World::on(on);
    for i in 1..=10_u32 {
        // Customer i orders i times, last on day i; the first two spend the same.
        for n in 1..=i {
            let (id, at) = (format!("o{i}-{n}"), format!("2011-11-{n:02}T10:00:00Z"));
            let event = placed(
                &id,
                Some(&format!("c{i:02}")),
                None,
                "card",
                &at,
                &[("v1", "Toys", 1, if i == 1 { 200 } else { 100 })],
            );
            world.append(&format!("order-{id}"), event);
        }
    }
    let scores = |id: &str| customer(&world, id).unwrap().rfm.unwrap();
    assert_eq!(scores("c01"), Rfm { recency: 1, frequency: 1, monetary: 1 });
    assert_eq!(scores("c02"), Rfm { recency: 1, frequency: 1, monetary: 1 });
    assert_eq!(scores("c03"), Rfm { recency: 2, frequency: 2, monetary: 2 });
    assert_eq!(scores("c10"), Rfm { recency: 5, frequency: 5, monetary: 5 });
    assert_eq!(customer(&world, "c10").unwrap().segment, Segment::Champion);
    assert_eq!(customer(&world, "c01").unwrap().segment, Segment::Lost);
}

fn taking_out_an_order_brings_back_the_times_of_those_that_are_left(on: On) {
    let world = World::on(on);
    for (id, at) in
        [("o1", "1969-11-01T10:00:00Z"), ("o2", "2011-11-02T10:00:00Z"), ("o3", "2011-11-03T10:00:00Z")]
    {
        world.append(
            &format!("order-{id}"),
            placed(id, Some("c1"), None, "card", at, &[("v1", "Toys", 1, 100)]),
        );
    }
    let times = || {
        let report = customer(&world, "c1")?;
        Some((report.first_order_at?.date(), report.last_order_at?.date()))
    };
    assert_eq!(times(), Some(("1969-11-01".to_owned(), "2011-11-03".to_owned())));
    world.append("order-o3", cancelled("2011-12-01T00:00:00Z"));
    assert_eq!(times(), Some(("1969-11-01".to_owned(), "2011-11-02".to_owned())));
    world.append("order-o1", cancelled("2011-12-01T00:00:00Z"));
    assert_eq!(times(), Some(("2011-11-02".to_owned(), "2011-11-02".to_owned())));
    world.append("order-o2", cancelled("2011-12-01T00:00:00Z"));
    assert_eq!(times(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn reports_agree_with_books_kept_by_hand_and_with_a_rebuild(happenings in happenings(), cut in 1..30_u64) {
        let world = World::new();
        let books = live(&world, &happenings);
        let mut projection = world.open(|| Customers, "live");
        projection.catch_up_to(&world, cut.min(world.head()));
        drop(projection);
        let mut projection = world.open(|| Customers, "live");
        projection.catch_up(&world);
        prop_assert_eq!(projection.dump(), world.project(|| Customers).dump());
        let rows = projection.reader.begin().unwrap();
        for number in 1..6 {
            let id = format!("c{number}");
            let orders: Vec<_> =
                books.orders.iter().filter(|o| o.counted && o.customer.as_deref() == Some(id.as_str())).collect();
            let back: Vec<_> = books.given_back.iter().filter(|r| r.customer.as_deref() == Some(id.as_str())).collect();
            let Some(report) = report(&*rows, &id, None, Timestamp::EPOCH).unwrap() else {
                prop_assert!(orders.is_empty() && back.is_empty());
                continue;
            };
            let spent: u32 = orders.iter().flat_map(|o| &o.lines).map(|line| line.2 * line.3).sum();
            prop_assert_eq!(report.orders, i64::try_from(orders.len()).unwrap());
            prop_assert_eq!(report.gross_spend, gbp(&pounds(spent)));
            prop_assert_eq!(report.refunds, gbp(&pounds(back.iter().map(|r| r.pence).sum())));
            prop_assert_eq!(report.first_order_at.map(Timestamp::date), orders.iter().map(|o| o.day.clone()).min());
            prop_assert_eq!(report.last_order_at.map(Timestamp::date), orders.iter().map(|o| o.day.clone()).max());
            let (units, units_back): (u32, u32) =
                (orders.iter().flat_map(|o| &o.lines).map(|line| line.2).sum(), back.iter().map(|r| r.units).sum());
            let rate = if units == 0 { 0.0 } else { f64::from(units_back) / f64::from(units) };
            prop_assert!((report.return_rate - rate).abs() <= 0.000_051);
        }
    }
}

each_engine!(
    a_lifetime_in_figures,
    guests_have_no_rows_and_a_credit_alone_gives_no_scores,
    scores_are_fifths_of_all_customers_and_equals_get_the_same,
    taking_out_an_order_brings_back_the_times_of_those_that_are_left,
);
