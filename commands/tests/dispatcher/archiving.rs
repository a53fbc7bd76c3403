//! Archiving a variant, and goods that come in or are held at that very moment: of the two one is refused, whatever is on its way to
//! the log, and whoever else writes to it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use daybook_commands::Options;
use daybook_eventlog::memory::MemoryLog;
use serde_json::{Value, json};

use crate::support::faulty::FaultyLog;
use crate::support::{Shop, code, request, until};

/// What is to be done with the stock of a variant that has none, while it is archived.
fn wishes() -> [(&'static str, Value); 3] {
    [
        ("receive", json!({"quantity": 1})),
        ("expect-delivery", json!({"quantity": 1})),
        ("reserve", json!({"customer_id": "c", "quantity": 1})),
    ]
}

/// A variant without stock that may be archived; more of it may be promised than there is.
async fn given(shop: &Shop, variant: &str) {
    shop.variant(variant, "10.00").await;
    shop.ok(&format!("inventory/{variant}/set-policy"), json!({"backorder_limit": 5})).await;
    shop.ok(&format!("variant/{variant}/discontinue"), json!({})).await;
}

#[tokio::test]
async fn one_of_two_is_refused_while_the_other_is_on_its_way() {
    for shared_log in [false, true] {
        let log = FaultyLog::new(MemoryLog::new());
        let options = Options { shared_log, ..Options::default() };
        let shop = Shop::with(Arc::new(log.clone()), options).await;
        for (number, (command, body)) in wishes().into_iter().enumerate() {
            for archives_first in [true, false] {
                let variant = format!("{number}-{archives_first}");
                given(&shop, &variant).await;
                let archive = || shop.send(&format!("variant/{variant}/archive"), json!({}));
                let stock = || shop.send(&format!("inventory/{variant}/{command}"), body.clone());
                let groups = log.groups.load(Ordering::SeqCst);
                log.hold(true);
                let (first, second) = if archives_first {
                    (archive(), stock())
                } else {
                    let stock = stock();
                    (archive(), stock)
                };
                until("the first is on its way", async || log.groups.load(Ordering::SeqCst) > groups).await;
                log.hold(false);
                let (archived, stocked) = (first.await, second.await);
                assert_eq!(
                    (archived.is_ok(), stocked.is_ok()),
                    (archives_first, !archives_first),
                    "{command}: {archived:?} {stocked:?}"
                );
                let refused = if archives_first { code(stocked) } else { code(archived) };
                assert_eq!(refused, if archives_first { "unprocessable" } else { "stock_left" }, "{command}");
            }
        }
    }
}

/// A node that has not heard yet finds out by a conflict.
#[tokio::test]
async fn nothing_comes_in_for_what_another_node_archived() {
    let log = FaultyLog::new(MemoryLog::new());
    let options = Options { shared_log: true, ..Options::default() };
    let a = Shop::with(Arc::new(log.clone()), options.clone()).await;
    let b = Shop::with(Arc::new(log.clone()), options).await;
    for (variant, (command, body)) in wishes().into_iter().enumerate() {
        let variant = variant.to_string();
        given(&a, &variant).await;
        // Node b has both streams in memory.
        b.no(&format!("variant/{variant}/mature"), json!({})).await;
        b.no(&format!("inventory/{variant}/sell"), json!({"quantity": 1})).await;
        log.silence(true);
        a.ok(&format!("variant/{variant}/archive"), json!({})).await;
        assert_eq!(b.no(&format!("inventory/{variant}/{command}"), body).await, "unprocessable", "{command}");
        log.silence(false);
        until("node b to hear of it", async || {
            b.dispatcher.dispatch(request(&format!("variant/{variant}/archive"), &json!({}))).await.is_ok()
        })
        .await;
    }
    let history = a.history().await;
    for event in ["inventory.received", "inventory.delivery_expected", "inventory.reserved"] {
        assert!(!history.iter().any(|line| line.ends_with(event)), "{history:?}");
    }
}
