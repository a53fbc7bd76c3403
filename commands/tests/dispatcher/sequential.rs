//! A log that writes one stream at a time, and attempts that break off between two streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use daybook_commands::Options;
use daybook_eventlog::AppendError;
use daybook_eventlog::memory::MemoryLog;
use serde_json::{Value, json};

use crate::support::faulty::FaultyLog;
use crate::support::{Shop, code, request};

async fn open() -> (FaultyLog, Shop) {
    let log = FaultyLog::new(MemoryLog::new()).single_stream();
    let shop = Shop::with(Arc::new(log.clone()), Options::default()).await;
    (log, shop)
}

/// Lets so many appends through, then fails one.
fn fail_after(log: &FaultyLog, count: usize) {
    let seen = AtomicUsize::new(0);
    log.fail(move |_| {
        (seen.fetch_add(1, Ordering::SeqCst) == count)
            .then(|| (AppendError::DiskFull("no room".into()), false))
    });
}

fn shirt() -> Value {
    json!({"product_id": "shirt", "name": "Shirt", "brand": "Acme", "category": "Shirts",
           "sku": {"strategy": "manual", "value": "A"}, "price": {"amount": "1.00", "currency": "GBP"}})
}

#[tokio::test]
async fn a_create_goes_on_where_it_broke_off() {
    for broken in 0..3 {
        let (log, shop) = open().await;
        fail_after(&log, broken);
        assert_eq!(shop.no("variant/v1/create", shirt()).await, "disk_full");
        log.heal();
        shop.ok("variant/v1/create", shirt()).await;
        let mut history = shop.history().await;
        assert_eq!(history.len(), 3, "{history:?}");
        assert_eq!(history.pop().unwrap(), "variant-v1 variant.created");
    }
}

#[tokio::test]
async fn claims_of_a_create_that_never_came_run_out() {
    let (log, shop) = open().await;
    fail_after(&log, 2);
    assert_eq!(shop.no("variant/v1/create", shirt()).await, "disk_full");
    log.heal();
    assert_eq!(shop.no("variant/v2/create", shirt()).await, "duplicate_configuration");
    shop.clock.advance_secs(60);
    shop.ok("variant/v2/create", shirt()).await;
    assert_eq!(shop.no("variant/v1/create", shirt()).await, "duplicate_configuration");
    shop.clock.advance_secs(3_600);
    assert_eq!(shop.no("variant/v3/create", shirt()).await, "duplicate_configuration");
}

#[tokio::test]
async fn an_order_goes_on_where_it_broke_off_and_nothing_is_held_twice() {
    for broken in 0..4 {
        let (log, shop) = open().await;
        shop.stock("a", 3).await;
        shop.stock("b", 3).await;
        let order = json!({"customer_id": "c", "payment_method": "card",
                           "lines": [{"variant_id": "a", "quantity": 3}, {"variant_id": "b", "quantity": 3}]});
        let place = || request("order/1/place", &order).with_key("k");
        fail_after(&log, broken);
        assert_eq!(code(shop.dispatcher.dispatch(place()).await), "disk_full", "{broken}");
        log.heal();
        let reply = shop.dispatcher.dispatch(place()).await.unwrap();
        assert!(!reply.replayed);
        assert_eq!(reply.events.len(), 2);
        let again = shop.dispatcher.dispatch(place()).await.unwrap();
        assert!(again.replayed);
        assert_eq!(again.events, reply.events);
        let history = shop.history().await;
        assert_eq!(history.iter().filter(|event| event.ends_with("inventory.reserved")).count(), 2);
        shop.ok("order/1/pay", json!({})).await;
    }
}

#[tokio::test]
async fn a_key_counts_only_with_its_events() {
    let (log, shop) = open().await;
    let receive = || request("inventory/1/receive", &json!({"quantity": 5})).with_key("k");
    fail_after(&log, 1);
    assert_eq!(code(shop.dispatcher.dispatch(receive()).await), "disk_full");
    log.heal();
    let shop = shop.restarted(Options::default()).await;
    assert!(!shop.dispatcher.dispatch(receive()).await.unwrap().replayed);
    assert!(shop.dispatcher.dispatch(receive()).await.unwrap().replayed);
    shop.ok("inventory/1/sell", json!({"quantity": 5})).await;
    assert_eq!(shop.no("inventory/1/sell", json!({"quantity": 1})).await, "insufficient_stock");
}

#[tokio::test]
async fn an_order_of_the_past_goes_on_where_it_broke_off() {
    for broken in 0..3 {
        let (log, shop) = open().await;
        shop.stock("a", 3).await;
        shop.stock("b", 3).await;
        let order = json!({"payment_method": "card", "placed_at": "2011-11-04T10:00:00Z",
                           "lines": [{"variant_id": "a", "quantity": 3}, {"variant_id": "b", "quantity": 3}]});
        fail_after(&log, broken);
        assert_eq!(shop.no("order/1/record", order.clone()).await, "disk_full");
        log.heal();
        assert_eq!(shop.ok("order/1/record", order).await.events.len(), 5);
        let history = shop.history().await;
        assert_eq!(history.iter().filter(|event| event.ends_with("inventory.confirmed")).count(), 2);
    }
}

#[tokio::test]
async fn a_payment_that_takes_goods_anew_goes_on_where_it_broke_off() {
    for broken in 0..3 {
        let (log, shop) = open().await;
        shop.stock("a", 3).await;
        shop.stock("b", 3).await;
        let order = json!({"customer_id": "c", "payment_method": "card",
                           "lines": [{"variant_id": "a", "quantity": 3}, {"variant_id": "b", "quantity": 3}]});
        shop.ok("order/1/place", order).await;
        shop.ok("order/1/fail-payment", json!({"reason": "card refused"})).await;
        fail_after(&log, broken);
        assert_eq!(shop.no("order/1/pay", json!({})).await, "disk_full");
        log.heal();
        let paid = shop.ok("order/1/pay", json!({})).await;
        let events: Vec<_> = paid.events.iter().map(|event| event.event_type).collect();
        assert_eq!(events, ["order.paid"], "{broken}");
        for variant in ["a", "b"] {
            let sell = json!({"quantity": 1});
            assert_eq!(shop.no(&format!("inventory/{variant}/sell"), sell).await, "insufficient_stock");
        }
        let history = shop.history().await;
        let sold = history.iter().filter(|event| event.ends_with("inventory.confirmed")).count();
        assert_eq!(sold, 2, "{broken}: each once");
    }
}

/// What a broken payment took goes back when the order is given up, and is taken again by the next payment.
#[tokio::test]
async fn goods_of_a_payment_that_broke_off_are_not_lost() {
    for last in ["order/1/cancel", "order/1/fail-payment"] {
        let (log, shop) = open().await;
        shop.stock("a", 3).await;
        let order = json!({"customer_id": "c", "payment_method": "card",
                           "lines": [{"variant_id": "a", "quantity": 3}]});
        shop.ok("order/1/place", order).await;
        fail_after(&log, 1);
        assert_eq!(shop.no("order/1/pay", json!({})).await, "disk_full");
        log.heal();
        shop.ok(last, json!({"reason": "given up"})).await;
        if last.ends_with("fail-payment") {
            shop.ok("order/1/pay", json!({})).await;
            shop.ok("order/1/cancel", json!({})).await;
        }
        shop.ok("inventory/a/sell", json!({"quantity": 3})).await;
        assert_eq!(shop.no("inventory/a/sell", json!({"quantity": 1})).await, "insufficient_stock");
    }
}

fn numbered(number: &str) -> Value {
    json!({"payment_method": "card", "order_number": number, "lines": [{"variant_id": "a", "quantity": 1}]})
}

/// Wherever it breaks off, the order itself goes on, nobody else has its number meanwhile, and a number whose order never came passes on.
#[tokio::test]
async fn the_number_of_an_order_that_broke_off() {
    let mut passed_on = 0;
    for broken in 0..3 {
        for goes_on in [true, false] {
            let (log, shop) = open().await;
            shop.stock("a", 5).await;
            fail_after(&log, broken);
            assert_eq!(shop.no("order/1/place", numbered("R")).await, "disk_full");
            log.heal();
            let claimed = shop
                .history()
                .await
                .iter()
                .any(|line| line.ends_with("claim.taken") && line.contains("order_number"));
            passed_on += usize::from(claimed && !goes_on);
            if claimed {
                assert_eq!(shop.no("order/2/place", numbered("R")).await, "duplicate_order_number");
            }
            let heir = if goes_on {
                "1"
            } else {
                shop.clock.advance_secs(60);
                "2"
            };
            shop.ok(&format!("order/{heir}/place"), numbered("R")).await;
            shop.clock.advance_secs(3_600);
            assert_eq!(shop.no("order/3/place", numbered("R")).await, "duplicate_order_number");
            let placed = shop.history().await.iter().filter(|line| line.ends_with("order.placed")).count();
            assert_eq!(placed, 1, "{broken} {goes_on}");
        }
    }
    assert!(passed_on > 0, "no attempt broke off after its claim");
}
