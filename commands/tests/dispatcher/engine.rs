//! The decision thread: order, durability, refusals, conflicts, waiting.

use std::sync::Arc;

use daybook_aggregates::{Role, Roles};
use daybook_commands::{CommandError, IfMatch, Options, Request};
use daybook_eventlog::memory::MemoryLog;
use daybook_eventlog::{SegmentLog, SegmentOptions};
use serde_json::json;

use crate::support::faulty::FaultyLog;
use crate::support::{self, Shop, request, until};

#[tokio::test]
async fn a_command_is_decided_and_durable() {
    let shop = Shop::open().await;
    let reply = shop.ok("inventory/42/receive", json!({"quantity": 7})).await;
    assert_eq!((reply.stream.as_str(), reply.revision, reply.created), ("inventory-42", 1, true));
    assert_eq!(reply.events[0].event_type, "inventory.received");
    assert_eq!(reply.position, 1);
    assert_eq!(shop.history().await, ["inventory-42 inventory.received"]);
}

/// Streams that were read ahead are not read again: the command is carried out though nothing can be read any more.
#[tokio::test]
async fn a_command_that_was_told_of_finds_its_streams_in_memory() {
    let log = FaultyLog::new(MemoryLog::new());
    let shop = Shop::with(Arc::new(log.clone()), Options::default()).await;
    let receive = || request("inventory/1/receive", &json!({"quantity": 5})).with_key("k");
    shop.dispatcher.read_ahead(&receive());
    // What no command can be sent to is no stream to read.
    shop.dispatcher.read_ahead(&request("nothing/1/receive", &json!({})));
    // Its own, that of its key, and the variant's.
    until("all streams are read", async || shop.dispatcher.stats().snapshot().loads == 3).await;
    log.gate(|_| true);
    assert!(!shop.dispatcher.dispatch(receive()).await.unwrap().replayed);
    log.open_gate();
}

#[tokio::test]
async fn commands_of_one_caller_are_carried_out_in_order() {
    let shop = Shop::open().await;
    let answers: Vec<_> = (0..1_000)
        .map(|n| {
            let body = if n == 0 { json!({"quantity": 1_000}) } else { json!({"quantity": 1}) };
            shop.send(if n == 0 { "inventory/1/receive" } else { "inventory/1/sell" }, body)
        })
        .collect();
    let mut revision = 0;
    for answer in answers {
        let reply = answer.await.unwrap();
        assert!(reply.revision > revision);
        revision = reply.revision;
    }
    // They are counted a group at a time, once all of it are answered.
    until("all are counted", async || shop.dispatcher.stats().snapshot().commands == 1_000).await;
}

#[tokio::test]
async fn bad_requests_are_told_apart() {
    let shop = Shop::open().await;
    assert_eq!(shop.no("inventory/1/receive", json!({"quantity": 0})).await, "invalid_request");
    assert_eq!(
        shop.no("inventory/1/receive", json!({"quantity": 1, "colour": "red"})).await,
        "invalid_request"
    );
    assert_eq!(shop.no("inventory/1/explode", json!({})).await, "not_found");
    assert_eq!(shop.no("nothing/1/create", json!({})).await, "not_found");
    assert_eq!(shop.no("inventory/a b/receive", json!({"quantity": 1})).await, "invalid_request");
    assert_eq!(shop.no("inventory/1/sell", json!({"quantity": 1})).await, "insufficient_stock");
    assert!(shop.history().await.is_empty());
}

#[tokio::test]
async fn an_expected_revision_is_checked() {
    let shop = Shop::open().await;
    shop.ok("inventory/1/receive", json!({"quantity": 5})).await;
    let sell = || request("inventory/1/sell", &json!({"quantity": 1}));
    let error = shop.dispatcher.dispatch(sell().if_match(7)).await.unwrap_err();
    assert!(
        matches!(&error, CommandError::StaleRevision { expected, actual: 1, .. } if expected.to_string() == "7"),
        "{error:?}"
    );
    assert_eq!(shop.dispatcher.dispatch(sell().if_match(1)).await.unwrap().revision, 2);
    let is_there =
        |path: &str| Request { if_match: Some(IfMatch::Exists), ..request(path, &json!({"quantity": 1})) };
    let error = shop.dispatcher.dispatch(is_there("inventory/2/receive")).await.unwrap_err();
    assert!(matches!(&error, CommandError::StaleRevision { actual: 0, .. }), "{error:?}");
    assert_eq!(shop.dispatcher.dispatch(is_there("inventory/1/receive")).await.unwrap().revision, 3);
}

#[tokio::test]
async fn a_stale_revision_is_no_outcome_of_a_key() {
    let shop = Shop::open().await;
    shop.ok("inventory/1/receive", json!({"quantity": 5})).await;
    let sell = || request("inventory/1/sell", &json!({"quantity": 1})).with_key("k");
    for _ in 0..2 {
        let error = shop.dispatcher.dispatch(sell().if_match(7)).await.unwrap_err();
        assert!(matches!(&error, CommandError::StaleRevision { actual: 1, .. }), "{error:?}");
    }
    assert_eq!(shop.dispatcher.dispatch(sell().if_match(1)).await.unwrap().revision, 2);
    // From now on it has one, whatever revision a retry names.
    let again = shop.dispatcher.dispatch(sell().if_match(7)).await.unwrap();
    assert_eq!((again.revision, again.replayed), (2, true));
}

#[tokio::test]
async fn replies_wait_for_the_commit_and_refusals_do_not() {
    let log = FaultyLog::new(MemoryLog::new());
    let shop = Shop::with(Arc::new(log.clone()), Options::default()).await;
    log.hold(true);
    let received = shop.send("inventory/1/receive", json!({"quantity": 2}));
    let reserved = shop.send("inventory/1/reserve", json!({"customer_id": "c", "quantity": 2}));
    // Decided on the state that is not durable yet.
    let repeated = shop.send("inventory/1/reserve", json!({"customer_id": "c", "quantity": 2}));
    assert_eq!(
        shop.no("inventory/1/reserve", json!({"customer_id": "d", "quantity": 1})).await,
        "insufficient_stock"
    );
    let mut waiting = Box::pin(async move { (received.await, reserved.await, repeated.await) });
    assert!(futures::poll!(&mut waiting).is_pending());
    log.hold(false);
    let (received, reserved, repeated) = waiting.await;
    assert!(received.is_ok());
    let (reserved, repeated) = (reserved.unwrap(), repeated.unwrap());
    assert_eq!(repeated.revision, reserved.revision);
    assert!(repeated.events.is_empty());
    assert!(repeated.position >= reserved.position);
}

#[tokio::test]
async fn a_cold_stream_does_not_stall_others_and_keeps_its_order() {
    let log = FaultyLog::new(MemoryLog::new());
    let shop = Shop::with(Arc::new(log.clone()), Options::default()).await;
    shop.ok("inventory/hot/receive", json!({"quantity": 100})).await;
    log.gate(|stream| stream.as_str() == "inventory-cold");
    let first = shop.send("inventory/cold/receive", json!({"quantity": 1}));
    let second = shop.send("inventory/cold/sell", json!({"quantity": 1}));
    for _ in 0..10 {
        shop.ok("inventory/hot/sell", json!({"quantity": 1})).await;
    }
    until("two parked commands", async || shop.dispatcher.stats().snapshot().parked == 2).await;
    log.open_gate();
    assert_eq!(first.await.unwrap().revision, 1);
    assert!(second.await.unwrap().revision > 1);
}

#[tokio::test]
async fn the_queue_is_bounded() {
    let log = FaultyLog::new(MemoryLog::new());
    let options = Options { max_outstanding: 3, ..Options::default() };
    let shop = Shop::with(Arc::new(log.clone()), options).await;
    log.hold(true);
    let send = || shop.send("inventory/1/receive", json!({"quantity": 1}));
    let accepted = [send(), send(), send()];
    assert_eq!(support::code(send().await), "overloaded");
    log.hold(false);
    for answer in accepted {
        answer.await.unwrap();
    }
    send().await.unwrap();
}

#[tokio::test]
async fn a_shutdown_finishes_what_was_queued() {
    let log = FaultyLog::new(MemoryLog::new());
    let shop = Shop::with(Arc::new(log.clone()), Options::default()).await;
    log.hold(true);
    let answers: Vec<_> =
        (0..100).map(|n| shop.send(&format!("inventory/{n}/receive"), json!({"quantity": 1}))).collect();
    let shutdown = shop.dispatcher.shutdown();
    tokio::pin!(shutdown);
    assert!(futures::poll!(&mut shutdown).is_pending());
    assert_eq!(shop.no("inventory/1/receive", json!({"quantity": 1})).await, "unavailable");
    log.hold(false);
    shutdown.await;
    for answer in answers {
        answer.await.unwrap();
    }
}

#[tokio::test]
async fn a_stream_that_begins_is_not_read_and_one_that_is_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let log = Arc::new(SegmentLog::open(folder.path(), SegmentOptions::default()).unwrap());
    let loads = |shop: &Shop| shop.dispatcher.stats().snapshot().loads;
    let shop = Shop::with(log, Options::default()).await;
    let answers: Vec<_> =
        (0..50).map(|n| shop.send(&format!("inventory/{n}/receive"), json!({"quantity": 1}))).collect();
    for answer in answers {
        assert!(answer.await.unwrap().created);
    }
    assert_eq!(loads(&shop), 0);
    let shop = shop.restarted(Options::default()).await;
    for n in 0..50 {
        let path = format!("inventory/{n}/sell");
        assert_eq!(shop.no(&path, json!({"quantity": 2})).await, "insufficient_stock");
        shop.ok(&path, json!({"quantity": 1})).await;
    }
    assert_eq!(loads(&shop), 50);
}

#[tokio::test]
async fn a_long_stream_is_read_from_its_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let snapshots = Arc::new(daybook_eventlog::FileSnapshots::open(folder.path()).unwrap());
    let options = Options { snapshots: Some(snapshots), snapshot_every: 500, ..Options::default() };
    let log = FaultyLog::new(MemoryLog::new());
    let shop = Shop::with(Arc::new(log.clone()), options.clone()).await;
    shop.ok("inventory/1/receive", json!({"quantity": 3_000})).await;
    let answers: Vec<_> = (0..3_000).map(|_| shop.send("inventory/1/sell", json!({"quantity": 1}))).collect();
    for answer in answers {
        answer.await.unwrap();
    }
    until("a snapshot", async || shop.dispatcher.stats().snapshot().snapshots >= 1).await;
    // It was due six times; the stream is read once.
    assert!(log.count_reads() < 4_500);
    let shop = shop.restarted(options).await;
    log.count_reads();
    assert_eq!(shop.no("inventory/1/sell", json!({"quantity": 1})).await, "insufficient_stock");
    assert!(log.count_reads() < 3_000, "the whole stream was read");
    let reply = shop.ok("inventory/1/receive", json!({"quantity": 1})).await;
    // One receipt, the sales, sold out, and this receipt.
    assert_eq!(reply.revision, 3_004);
}

/// Whoever asks again without an id learns which hold stands; a buyer who knows somebody's id does not.
#[tokio::test]
async fn a_repeated_reservation_tells_which_hold_stands() {
    let shop = Shop::open().await;
    shop.ok("inventory/1/receive", json!({"quantity": 5})).await;
    let body = json!({"customer_id": "c", "quantity": 2});
    let first = shop.ok("inventory/1/reserve", body.clone()).await;
    let made =
        serde_json::from_slice::<serde_json::Value>(&first.events[0].data).unwrap()["reservation_id"].clone();
    assert_eq!(first.reservation, None, "its event says it");
    let again = shop.ok("inventory/1/reserve", body.clone()).await;
    assert!(again.events.is_empty());
    assert_eq!(json!(again.reservation), made);
    let mut request = request("inventory/1/reserve", &body);
    request.principal.roles = Roles::of([Role::Buyer]);
    let stranger = shop.dispatcher.dispatch(request).await.unwrap();
    assert_eq!((stranger.events.len(), stranger.reservation), (0, None));
    let named = json!({"customer_id": "c", "quantity": 2, "reservation_id": made});
    assert_eq!(shop.ok("inventory/1/reserve", named).await.reservation, None, "who names it knows it");
    assert_eq!(shop.ok("inventory/1/receive", json!({"quantity": 1})).await.reservation, None);
}
