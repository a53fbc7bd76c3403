//! Two dispatchers on one log: each hears what the other does, and one of them fires the deadlines.

use std::sync::Arc;

use daybook_commands::Options;
use daybook_eventlog::EventLog;
use daybook_eventlog::memory::MemoryLog;
use serde_json::json;
use tokio::sync::watch;

use crate::support::faulty::FaultyLog;
use crate::support::{Shop, request, until};

async fn node(log: &Arc<dyn EventLog>, leader: watch::Receiver<bool>, like: Option<&Shop>) -> Shop {
    let options = Options { shared_log: true, leader: Some(leader), ..Options::default() };
    match like {
        Some(shop) => Shop::at(Arc::clone(log), options, Arc::clone(&shop.clock)).await,
        None => Shop::with(Arc::clone(log), options).await,
    }
}

fn expired(history: &[String]) -> usize {
    history.iter().filter(|line| line.ends_with("inventory.reservations_expired")).count()
}

#[tokio::test]
async fn whoever_leads_fires_deadlines_also_of_streams_it_never_saw() {
    let log: Arc<dyn EventLog> = Arc::new(MemoryLog::new());
    let (lead_a, is_a) = watch::channel(true);
    let (lead_b, is_b) = watch::channel(false);
    let a = node(&log, is_a, None).await;
    let b = node(&log, is_b, Some(&a)).await;
    for variant in ["1", "2", "3"] {
        a.ok(&format!("inventory/{variant}/receive"), json!({"quantity": 1})).await;
    }
    let hold = |secs: u64| json!({"customer_id": "c", "quantity": 1, "ttl_seconds": secs});
    // Of a stream that the leader hears of only.
    b.ok("inventory/1/reserve", hold(10)).await;
    a.clock.advance_secs(10);
    until("the leader fires", async || expired(&a.history().await) == 1).await;
    assert_eq!(b.dispatcher.stats().snapshot().timers_fired, 0);

    a.ok("inventory/2/reserve", hold(10)).await;
    lead_a.send_replace(false);
    a.ok("inventory/3/reserve", hold(20)).await;
    a.clock.advance_secs(30);
    // Nobody leads: nothing fires, and nothing is forgotten.
    until("both have noticed", async || {
        a.dispatcher.stats().snapshot().deadlines == 0 && b.dispatcher.stats().snapshot().deadlines == 0
    })
    .await;
    assert_eq!(expired(&a.history().await), 1);
    lead_b.send_replace(true);
    until("the other has taken over", async || expired(&b.history().await) == 3).await;
    // A stream that must be read first may fire again while it is; it then finds nothing to do.
    assert!(b.dispatcher.stats().snapshot().timers_fired >= 2);
    assert_eq!(a.dispatcher.stats().snapshot().timers_fired, 1);
    assert_eq!(
        a.history().await.iter().filter(|line| line.ends_with("inventory.reservations_expired")).count(),
        3
    );
}

#[tokio::test]
async fn a_standby_that_never_had_a_command_fires_what_it_heard_of_when_it_takes_over() {
    let log: Arc<dyn EventLog> = Arc::new(MemoryLog::new());
    let (lead_a, is_a) = watch::channel(true);
    let (lead_b, is_b) = watch::channel(false);
    let a = node(&log, is_a, None).await;
    let b = node(&log, is_b, Some(&a)).await;
    for variant in ["1", "2"] {
        a.ok(&format!("inventory/{variant}/receive"), json!({"quantity": 1})).await;
    }
    a.ok("inventory/1/reserve", json!({"customer_id": "c", "quantity": 1, "ttl_seconds": 10})).await;
    until("the standby has heard of the hold", async || b.dispatcher.stats().snapshot().active_holds == 1)
        .await;
    lead_a.send_replace(false);
    until("the first leads no more", async || a.dispatcher.stats().snapshot().deadlines == 0).await;
    a.clock.advance_secs(20);
    lead_b.send_replace(true);
    until("the standby fires", async || expired(&b.history().await) == 1).await;
}

#[tokio::test]
async fn holds_that_another_node_took_count_here() {
    let log: Arc<dyn EventLog> = Arc::new(MemoryLog::new());
    let (_lead, is_a) = watch::channel(true);
    let (_follow, is_b) = watch::channel(false);
    let a = node(&log, is_a, None).await;
    let b = node(&log, is_b, Some(&a)).await;
    let hold = json!({"customer_id": "c", "quantity": 1, "ttl_seconds": 600});
    for variant in 0..6 {
        a.ok(&format!("inventory/{variant}/receive"), json!({"quantity": 1})).await;
    }
    for variant in 0..5 {
        a.ok(&format!("inventory/{variant}/reserve"), hold.clone()).await;
    }
    until("the other has heard", async || b.dispatcher.stats().snapshot().active_holds == 5).await;
    assert_eq!(b.no("inventory/5/reserve", hold.clone()).await, "too_many_reservations");
    // A state in memory follows without being read again.
    b.ok("inventory/5/receive", json!({"quantity": 1})).await;
    let loads = b.dispatcher.stats().snapshot().loads;
    for _ in 0..20 {
        a.ok("inventory/5/receive", json!({"quantity": 1})).await;
    }
    until("the other follows", async || {
        b.ok("inventory/5/receive", json!({"quantity": 1})).await.revision >= 23
    })
    .await;
    assert!(b.dispatcher.stats().snapshot().loads <= loads + 2, "streams are not read again and again");
}

/// What a decision looks at without writing to it is as good as what it writes to: a node that has not heard yet what another
/// did there finds out by a conflict, and decides again.
#[tokio::test]
async fn nothing_is_decided_on_what_another_node_has_changed() {
    let log = FaultyLog::new(MemoryLog::new());
    let options = Options { shared_log: true, ..Options::default() };
    let a = Shop::with(Arc::new(log.clone()), options.clone()).await;
    a.stock("1", 5).await;
    a.variant("2", "10.00").await;
    let b = Shop::with(Arc::new(log.clone()), options).await;
    let order = |id: &str| {
        (
            format!("order/{id}/place"),
            json!({"customer_id": "c", "payment_method": "card",
        "lines": [{"variant_id": "1", "quantity": 1}]}),
        )
    };
    // Node b has read everything it needs.
    let (path, body) = order("before");
    b.ok(&path, body).await;
    b.ok("variant/2/discontinue", json!({})).await;
    b.no("inventory/2/sell", json!({"quantity": 1})).await;
    // From now on it hears nothing.
    until("node a to hear of the last change", async || {
        a.dispatcher
            .dispatch(request("variant/2/change-details", &json!({"description": "a knows it"})))
            .await
            .is_ok()
    })
    .await;
    log.silence(true);
    a.ok("variant/1/discontinue", json!({})).await;
    a.ok("inventory/2/receive", json!({"quantity": 1})).await;
    let (path, body) = order("after");
    assert_eq!(b.no(&path, body).await, "unprocessable");
    assert_eq!(b.no("variant/2/archive", json!({})).await, "stock_left");
    log.silence(false);
    let placed = a.history().await.iter().filter(|line| line.ends_with("order.placed")).count();
    assert_eq!(placed, 1);
}
