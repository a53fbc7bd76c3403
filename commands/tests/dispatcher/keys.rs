//! Idempotency keys.

use std::sync::Arc;

use daybook_commands::{Options, Request};
use daybook_eventlog::memory::MemoryLog;
use daybook_schemas::Label;
use serde_json::json;

use crate::support::faulty::FaultyLog;
use crate::support::{Shop, code, request};

fn receive(key: &str, quantity: u32) -> Request {
    request("inventory/1/receive", &json!({"quantity": quantity})).with_key(key)
}

#[tokio::test]
async fn the_same_key_gives_the_same_outcome_once_also_after_a_restart() {
    let shop = Shop::open().await;
    let first = shop.dispatcher.dispatch(receive("k", 5)).await.unwrap();
    assert_eq!((first.revision, first.position, first.replayed), (1, 2, false));
    shop.ok("inventory/1/sell", json!({"quantity": 1})).await;
    let again = shop.dispatcher.dispatch(receive("k", 5)).await.unwrap();
    assert!(again.replayed);
    assert_eq!(
        (again.revision, again.position, again.created, &again.events),
        (first.revision, first.position, first.created, &first.events)
    );
    assert_eq!(code(shop.dispatcher.dispatch(receive("k", 6)).await), "unprocessable");
    let shop = shop.restarted(Options::default()).await;
    let after = shop.dispatcher.dispatch(receive("k", 5)).await.unwrap();
    assert_eq!((after.revision, after.position, after.replayed), (1, 2, true));
    assert_eq!(code(shop.dispatcher.dispatch(receive("k", 6)).await), "unprocessable");
    let received = shop.history().await.iter().filter(|event| event.ends_with(".received")).count();
    assert_eq!(received, 1);
}

#[tokio::test]
async fn keys_of_two_principals_are_two_keys() {
    let shop = Shop::open().await;
    let mut other = receive("k", 5);
    other.principal.name = Label::new("other").unwrap();
    shop.dispatcher.dispatch(receive("k", 5)).await.unwrap();
    assert!(!shop.dispatcher.dispatch(other).await.unwrap().replayed);
}

#[tokio::test]
async fn a_second_request_with_the_key_waits_for_the_first() {
    let log = FaultyLog::new(MemoryLog::new());
    let shop = Shop::with(Arc::new(log.clone()), Options::default()).await;
    log.hold(true);
    let first = shop.dispatcher.dispatch(receive("k", 5));
    let mut second = shop.dispatcher.dispatch(receive("k", 5));
    let other = shop.dispatcher.dispatch(receive("k", 6));
    shop.no("inventory/2/sell", json!({"quantity": 1})).await;
    assert!(futures::poll!(&mut second).is_pending());
    log.hold(false);
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert!(!first.replayed && second.replayed);
    assert_eq!((first.revision, first.position), (second.revision, second.position));
    assert_eq!(code(other.await), "unprocessable");
}

#[tokio::test]
async fn a_refusal_is_remembered_and_an_accepted_nothing_is_recorded() {
    let shop = Shop::open().await;
    let sell = || request("inventory/1/sell", &json!({"quantity": 1})).with_key("s");
    assert_eq!(code(shop.dispatcher.dispatch(sell()).await), "insufficient_stock");
    shop.ok("inventory/1/receive", json!({"quantity": 5})).await;
    assert_eq!(code(shop.dispatcher.dispatch(sell()).await), "insufficient_stock");
    assert_eq!(
        code(
            shop.dispatcher
                .dispatch(request("inventory/1/sell", &json!({"quantity": 2})).with_key("s"))
                .await
        ),
        "unprocessable"
    );
    shop.ok("inventory/1/reserve", json!({"customer_id": "c", "quantity": 1})).await;
    let repeat = || request("inventory/1/reserve", &json!({"customer_id": "c", "quantity": 1})).with_key("r");
    let nothing = shop.dispatcher.dispatch(repeat()).await.unwrap();
    assert!(nothing.events.is_empty() && !nothing.replayed);
    let again = shop.dispatcher.dispatch(repeat()).await.unwrap();
    assert!(again.replayed && again.events.is_empty());
    assert_eq!((again.revision, again.position), (nothing.revision, nothing.position));
}

#[tokio::test]
async fn event_ids_follow_from_the_key() {
    let ids = async || {
        let shop = Shop::open().await;
        shop.dispatcher.dispatch(receive("k", 5)).await.unwrap();
        shop.events().await.iter().map(|event| event.event_id).collect::<Vec<_>>()
    };
    assert_eq!(ids().await, ids().await);
}
