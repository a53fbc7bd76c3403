//! Deadlines: holds that run out, prices that take effect.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use daybook_commands::Options;
use daybook_eventlog::AppendError;
use daybook_eventlog::memory::MemoryLog;
use serde_json::json;

use crate::support::faulty::FaultyLog;
use crate::support::{Shop, data, start_time, until};

async fn wait_for(shop: &Shop, event: &str, count: usize) {
    until(event, async || shop.history().await.iter().filter(|line| line.ends_with(event)).count() >= count)
        .await;
}

#[tokio::test]
async fn a_hold_runs_out_by_itself() {
    let shop = Shop::open().await;
    shop.ok("inventory/1/receive", json!({"quantity": 1})).await;
    shop.ok("inventory/1/reserve", json!({"customer_id": "a", "quantity": 1, "ttl_seconds": 60})).await;
    shop.clock.advance_secs(59);
    assert_eq!(
        shop.no("inventory/1/reserve", json!({"customer_id": "b", "quantity": 1})).await,
        "insufficient_stock"
    );
    shop.clock.advance_secs(1);
    wait_for(&shop, "inventory.reservations_expired", 1).await;
    shop.ok("inventory/1/reserve", json!({"customer_id": "b", "quantity": 1})).await;
    assert_eq!(shop.dispatcher.stats().snapshot().timers_fired, 1);
}

#[tokio::test]
async fn a_hold_that_ran_out_while_nobody_was_there_runs_out_at_the_start() {
    let shop = Shop::open().await;
    shop.ok("inventory/1/receive", json!({"quantity": 1})).await;
    shop.ok("inventory/1/reserve", json!({"customer_id": "a", "quantity": 1})).await;
    shop.dispatcher.shutdown().await;
    shop.clock.advance_secs(3_600);
    let shop = Shop::at(shop.log, Options::default(), shop.clock).await;
    wait_for(&shop, "inventory.reservations_expired", 1).await;
}

#[tokio::test]
async fn a_scheduled_price_takes_effect_once_also_after_downtime() {
    let shop = Shop::open().await;
    shop.variant("v", "10.00").await;
    let change = |amount: &str, secs: i64| {
        json!({"price": {"amount": amount, "currency": "GBP"}, "reason": "sale",
               "effective_from": start_time().plus_secs(secs).to_string()})
    };
    shop.ok("variant/v/change-price", change("9.00", 60)).await;
    shop.ok("variant/v/change-price", change("8.00", 120)).await;
    shop.clock.advance_secs(60);
    wait_for(&shop, "variant.price_changed", 1).await;
    shop.dispatcher.shutdown().await;
    shop.clock.advance_secs(3_600);
    let shop = Shop::at(shop.log, Options::default(), shop.clock).await;
    wait_for(&shop, "variant.price_changed", 2).await;
    let shop = shop.restarted(Options::default()).await;
    shop.clock.advance_secs(3_600);
    shop.ok("variant/v/change-details", json!({"name": "New"})).await;
    let prices: Vec<_> = shop
        .events()
        .await
        .iter()
        .filter(|event| event.event_type() == "variant.price_changed")
        .map(|event| data(event)["price"]["amount"]["amount"].clone())
        .collect();
    assert_eq!(prices, ["9.00", "8.00"]);
}

/// A price of a list, of the given second.
fn on_the_web(amount: &str, secs: i64) -> serde_json::Value {
    json!({"price": {"amount": amount, "currency": "GBP"}, "list": {"channel": "web"}, "reason": "sale",
           "effective_from": start_time().plus_secs(secs).to_string()})
}

#[tokio::test]
async fn scheduled_prices_of_lists_take_effect_once_also_after_downtime() {
    let shop = Shop::open().await;
    shop.variant("v", "10.00").await;
    shop.ok("variant/v/change-price", on_the_web("9.00", 60)).await;
    shop.ok("variant/v/change-price", on_the_web("8.00", 120)).await;
    let taken_back = shop.ok("variant/v/change-price", on_the_web("1.00", 90)).await;
    let event: serde_json::Value = serde_json::from_slice(&taken_back.events[0].data).unwrap();
    let id = &event["schedule_id"];
    shop.ok("variant/v/cancel-price-schedule", json!({"schedule_id": id, "reason": "no"})).await;
    shop.clock.advance_secs(60);
    wait_for(&shop, "variant.list_price_changed", 1).await;
    shop.dispatcher.shutdown().await;
    shop.clock.advance_secs(3_600);
    let shop = Shop::at(shop.log, Options::default(), shop.clock).await;
    wait_for(&shop, "variant.list_price_changed", 2).await;
    let shop = shop.restarted(Options::default()).await;
    assert_eq!(shop.dispatcher.stats().snapshot().deadlines, 0);
    shop.clock.advance_secs(3_600);
    shop.ok("variant/v/change-details", json!({"name": "New"})).await;
    let amounts: Vec<_> = shop
        .events()
        .await
        .iter()
        .filter(|event| event.event_type() == "variant.list_price_changed")
        .map(|event| data(event)["price"]["amount"]["amount"].clone())
        .collect();
    assert_eq!(amounts, ["9.00", "8.00"]);
}

/// The firing was written and nobody heard of it, or it was not written at all: once either way.
#[tokio::test]
async fn a_price_whose_firing_was_cut_off_takes_effect_once() {
    for written in [true, false] {
        let log = FaultyLog::new(MemoryLog::new());
        let shop = Shop::with(Arc::new(log.clone()), Options::default()).await;
        shop.variant("v", "10.00").await;
        shop.ok("variant/v/change-price", on_the_web("9.00", 60)).await;
        let (failed, once) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let seen = failed.clone();
        log.fail(move |_| {
            (!once.swap(true, Ordering::SeqCst)).then(|| {
                failed.store(true, Ordering::SeqCst);
                (AppendError::Unavailable { reason: "cut off".into(), indeterminate: true }, written)
            })
        });
        shop.clock.advance_secs(60);
        until("the firing that fails", async || seen.load(Ordering::SeqCst)).await;
        // The process ends before it could find out.
        let shop = shop.restarted(Options::default()).await;
        wait_for(&shop, "variant.list_price_changed", 1).await;
        let shop = shop.restarted(Options::default()).await;
        shop.clock.advance_secs(3_600);
        shop.ok("variant/v/change-details", json!({"name": "New"})).await;
        let count = shop.history().await.iter().filter(|line| line.ends_with("list_price_changed")).count();
        assert_eq!(count, 1, "{written}");
    }
}

#[tokio::test]
async fn a_clock_that_jumps_back_brings_no_hold_back() {
    let shop = Shop::open().await;
    shop.ok("inventory/1/receive", json!({"quantity": 1})).await;
    shop.ok("inventory/1/reserve", json!({"customer_id": "a", "quantity": 1, "reservation_id": "a"})).await;
    shop.clock.advance_secs(60);
    wait_for(&shop, "inventory.reservations_expired", 1).await;
    shop.clock.advance_secs(-3_600);
    assert_eq!(shop.no("inventory/1/confirm", json!({"reservation_id": "a"})).await, "reservation_expired");
    shop.ok("inventory/1/reserve", json!({"customer_id": "b", "quantity": 1})).await;
    // Time runs on at half speed until the clock has caught up.
    shop.clock.advance_secs(121);
    wait_for(&shop, "inventory.reservations_expired", 2).await;
}

#[tokio::test]
async fn five_holds_a_customer_over_all_variants_also_after_a_restart() {
    let shop = Shop::open().await;
    for n in 0..8 {
        shop.ok(&format!("inventory/{n}/receive"), json!({"quantity": 10})).await;
    }
    let reserve = |n: u32| (format!("inventory/{n}/reserve"), json!({"customer_id": "c", "quantity": 1}));
    let answers: Vec<_> = (0..8).map(|n| shop.send(&reserve(n).0, reserve(n).1)).collect();
    let mut accepted = 0;
    for answer in answers {
        match answer.await {
            Ok(_) => accepted += 1,
            Err(error) => assert_eq!(error.code(), "too_many_reservations"),
        }
    }
    assert_eq!(accepted, 5);
    let shop = shop.restarted(Options::default()).await;
    assert_eq!(shop.no(&reserve(7).0, reserve(7).1).await, "too_many_reservations");
    shop.clock.advance_secs(60);
    shop.ok(&reserve(7).0, reserve(7).1).await;
}

#[tokio::test]
async fn the_limit_holds_when_streams_leave_memory() {
    let options = Options { cache_bytes: 1, ..Options::default() };
    let shop = Shop::with(Arc::new(MemoryLog::new()), options).await;
    for n in 0..7 {
        shop.ok(&format!("inventory/{n}/receive"), json!({"quantity": 10})).await;
    }
    for n in 0..5 {
        shop.ok(&format!("inventory/{n}/reserve"), json!({"customer_id": "c", "quantity": 1})).await;
    }
    let sixth = json!({"customer_id": "c", "quantity": 1});
    assert_eq!(shop.no("inventory/5/reserve", sixth.clone()).await, "too_many_reservations");
    let hold = shop.ok("inventory/2/reserve", sixth.clone()).await;
    assert!(hold.events.is_empty(), "the owner's retry gives the same hold");
    let events = shop.events().await;
    let id = data(events.iter().rfind(|e| e.stream() == "inventory-2").unwrap())["reservation_id"].clone();
    shop.ok("inventory/2/release", json!({"reservation_id": id})).await;
    shop.ok("inventory/5/reserve", sixth).await;
    assert!(shop.dispatcher.stats().snapshot().evictions > 0);
}

#[tokio::test]
async fn with_a_checkpoint_a_start_reads_only_the_end_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deadlines");
    let options = Options { checkpoint: Some(path.clone()), ..Options::default() };
    let shop = Shop::with(Arc::new(MemoryLog::new()), options.clone()).await;
    for n in 0..5 {
        shop.ok(&format!("inventory/{n}/receive"), json!({"quantity": 10})).await;
        shop.ok(&format!("inventory/{n}/reserve"), json!({"customer_id": "c", "quantity": 1})).await;
    }
    let shop = shop.restarted(options.clone()).await;
    assert_eq!(shop.dispatcher.stats().snapshot().scanned, 0);
    let sixth = json!({"customer_id": "c", "quantity": 1});
    shop.ok("inventory/5/receive", json!({"quantity": 10})).await;
    assert_eq!(shop.no("inventory/5/reserve", sixth).await, "too_many_reservations");
    // The log goes on without the file; what is missing in it is read.
    let shop = shop.restarted(Options::default()).await;
    assert_eq!(shop.dispatcher.stats().snapshot().scanned, 5);
    shop.clock.advance_secs(60);
    wait_for(&shop, "inventory.reservations_expired", 5).await;
    let shop = shop.restarted(options.clone()).await;
    assert_eq!(shop.dispatcher.stats().snapshot().scanned, 5);
    assert_eq!(shop.dispatcher.stats().snapshot().deadlines, 0);
    // A file of another log is no use.
    let other = Shop::with(Arc::new(MemoryLog::new()), options).await;
    other.ok("inventory/1/receive", json!({"quantity": 10})).await;
    assert_eq!(other.dispatcher.stats().snapshot().active_holds, 0);
}
