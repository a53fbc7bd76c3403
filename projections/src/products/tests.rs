use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::query::{ProductReport, report};
use super::*;
use crate::analytics::Period;
use crate::testing::orders::{cancelled, gbp, happenings, live, placed, pounds};
use crate::testing::{On, World, each_engine};

fn product(world: &World, variant: &str, period: &str) -> Option<ProductReport> {
    let projection = world.project(|| Products);
    let rows = projection.reader.begin().unwrap();
    report(&*rows, variant, &Period::parse(period).unwrap(), None).unwrap()
}

fn a_product_is_reported_by_period_with_its_best_customers(on: On) {
    let world = World::on(on);
    let place = |id: &str, customer: &str, at: &str, quantity: u32| {
        let lines = [("v1", "Toys", quantity, 100)];
        world.append(&format!("order-{id}"), placed(id, Some(customer), None, "card", at, &lines));
    };
    place("o1", "c1", "2011-11-04T10:00:00Z", 5);
    place("o2", "c2", "2011-11-30T10:00:00Z", 2);
    place("o3", "c2", "2011-12-01T00:00:00Z", 9);
    let november = product(&world, "v1", "2011-11").unwrap();
    assert_eq!((november.orders, november.quantity, november.unique_customers), (2, 7, 2));
    assert_eq!((november.gross_revenue, november.average_order_value), (gbp("7.00"), gbp("3.50")));
    let best = |report: ProductReport| -> Vec<(String, i64)> {
        report.top_customers.into_iter().map(|c| (c.customer_id, c.quantity)).collect()
    };
    assert_eq!(best(november), [("c1".to_owned(), 5), ("c2".to_owned(), 2)]);
    assert_eq!(best(product(&world, "v1", "all").unwrap()), [("c2".to_owned(), 11), ("c1".to_owned(), 5)]);
    let day = product(&world, "v1", "2011-12-01").unwrap();
    assert_eq!((day.orders, day.daily.len(), day.unique_customers), (1, 1, 1));
    let other_year = product(&world, "v1", "2012").unwrap();
    assert_eq!((other_year.orders, other_year.daily.len(), other_year.top_customers.len()), (0, 0, 0));
    assert_eq!(product(&world, "v2", "all"), None);
}

fn a_product_whose_only_order_was_taken_out_is_not_there(on: On) {
    let world = World::on(on);
    let at = "2011-11-04T10:00:00Z";
    world.append("order-o1", placed("o1", Some("c1"), None, "card", at, &[("v1", "Toys", 1, 100)]));
    world.append("order-o1", cancelled(at));
    assert_eq!(product(&world, "v1", "all"), None);
    let left = world.project(|| Products).dump();
    let kept = |row: &String| row.starts_with("order_facts/") || row.starts_with("names/");
    assert!(left.iter().all(kept), "{left:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn reports_agree_with_books_kept_by_hand(happenings in happenings()) {
        let world = World::new();
        let books = live(&world, &happenings);
        let projection = world.project(|| Products);
        let rows = projection.reader.begin().unwrap();
        for period in ["all", "2010", "2011", "2011-03"] {
            let period = Period::parse(period).unwrap();
            for variant in 0..6 {
                let variant = format!("v{variant}");
                let (mut gross, mut orders, mut units, mut refunds) = (0, 0, 0, 0);
                let mut buyers: BTreeMap<&str, (u32, i64)> = BTreeMap::new();
                let mut days: BTreeSet<&str> = BTreeSet::new();
                for order in books.orders.iter().filter(|o| o.counted && period.contains(&o.day)) {
                    let lines: Vec<_> = order.lines.iter().filter(|line| line.0 == variant).collect();
                    if lines.is_empty() {
                        continue;
                    }
                    let spent: u32 = lines.iter().map(|line| line.2 * line.3).sum();
                    gross += spent;
                    orders += 1;
                    units += lines.iter().map(|line| i64::from(line.2)).sum::<i64>();
                    days.insert(&order.day);
                    if let Some(customer) = &order.customer {
                        let buyer = buyers.entry(customer).or_default();
                        *buyer = (buyer.0 + spent, buyer.1 + 1);
                    }
                }
                for refund in books.given_back.iter().filter(|r| r.variant == variant && period.contains(&r.day)) {
                    refunds += refund.pence;
                    if refund.pence > 0 {
                        days.insert(&refund.day);
                    }
                }
                let Some(report) = report(&*rows, &variant, &period, None).unwrap() else {
                    prop_assert_eq!((gross, orders, refunds), (0, 0, 0));
                    continue;
                };
                prop_assert_eq!(report.gross_revenue, gbp(&pounds(gross)));
                prop_assert_eq!(report.refunds, gbp(&pounds(refunds)));
                prop_assert_eq!((report.orders, report.quantity), (orders, units));
                prop_assert_eq!(report.unique_customers, i64::try_from(buyers.len()).unwrap());
                prop_assert_eq!(report.daily.iter().map(|d| d.date.as_str()).collect::<BTreeSet<_>>(), days);
                let mut best: Vec<_> = buyers.into_iter().collect();
                best.sort_by(|a, b| b.1.0.cmp(&a.1.0).then(a.0.cmp(b.0)));
                let best: Vec<_> = best.into_iter().map(|(c, (spent, orders))| (c.to_owned(), gbp(&pounds(spent)), orders)).collect();
                let actual: Vec<_> = report.top_customers.iter().map(|c| (c.customer_id.clone(), c.gross_revenue, c.orders)).collect();
                prop_assert_eq!(actual, best);
            }
        }
    }
}

each_engine!(
    a_product_is_reported_by_period_with_its_best_customers,
    a_product_whose_only_order_was_taken_out_is_not_there,
);
