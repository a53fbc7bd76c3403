//! On a shared log commands on one stream share an append, which stands or falls as a whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use daybook_commands::{Answer, Options};
use daybook_eventlog::memory::MemoryLog;
use daybook_eventlog::{Append, AppendError};
use parking_lot::Mutex;
use serde_json::json;

use crate::support::faulty::FaultyLog;
use crate::support::{Shop, code, until};

async fn shared() -> (FaultyLog, Shop) {
    let log = FaultyLog::new(MemoryLog::new());
    let options = Options { shared_log: true, ..Options::default() };
    let shop = Shop::with(Arc::new(log.clone()), options).await;
    (log, shop)
}

/// Sends commands while a commit is held back, so that they meet in the next group.
async fn meet(log: &FaultyLog, shop: &Shop, send: impl FnOnce() -> Vec<Answer>) -> Vec<Answer> {
    let before = log.groups.load(Ordering::SeqCst);
    log.hold(true);
    let first = shop.send("inventory/other/receive", json!({"quantity": 1}));
    until("a group in flight", async || log.groups.load(Ordering::SeqCst) > before).await;
    let answers = send();
    // Sent after them and refused without a commit: by then each of them was tried.
    assert_eq!(shop.no("inventory/none/sell", json!({"quantity": 1})).await, "insufficient_stock");
    log.hold(false);
    first.await.unwrap();
    answers
}

fn receive(shop: &Shop, quantity: u64) -> Answer {
    shop.send("inventory/1/receive", json!({"quantity": quantity}))
}

fn reserve(shop: &Shop, variant: &str, customer: &str) -> Answer {
    shop.send(&format!("inventory/{variant}/reserve"), json!({"customer_id": customer, "quantity": 1}))
}

/// Every append that the log is given from now on.
fn record(log: &FaultyLog) -> Arc<Mutex<Vec<Append>>> {
    let appends = Arc::new(Mutex::new(Vec::new()));
    let kept = appends.clone();
    log.fail(move |append| {
        kept.lock().push(append.clone());
        None
    });
    appends
}

#[tokio::test]
async fn a_hot_stream_costs_a_commit_a_group_and_not_a_commit_a_command() {
    let (log, shop) = shared().await;
    shop.ok("inventory/1/receive", json!({"quantity": 60})).await;
    let appends = record(&log);
    let answers =
        meet(&log, &shop, || (0..100).map(|n| reserve(&shop, "1", &format!("c{n}"))).collect()).await;
    let (mut sold, mut refused) = (0, 0);
    let mut revisions = Vec::new();
    for answer in answers {
        match answer.await {
            Ok(reply) => {
                sold += 1;
                revisions.push(reply.revision);
            }
            Err(error) => {
                assert_eq!(error.code(), "insufficient_stock");
                refused += 1;
            }
        }
    }
    assert_eq!((sold, refused), (60, 40));
    assert!(revisions.is_sorted_by(|a, b| a < b), "each command has a revision of its own: {revisions:?}");
    let hot: Vec<usize> = appends
        .lock()
        .iter()
        .filter(|append| append.streams[0].stream.as_str() == "inventory-1")
        .map(|append| {
            let events = append.streams[0].events.iter();
            events.filter(|event| event.event_type == "inventory.reserved").count()
        })
        .collect();
    assert_eq!(hot.iter().sum::<usize>(), 60);
    assert!(hot.len() <= 3, "{hot:?}");
}

#[tokio::test]
async fn streams_that_a_command_binds_together_stand_or_fall_together() {
    let (log, shop) = shared().await;
    for variant in ["1", "2", "3"] {
        shop.stock(variant, 10).await;
    }
    let appends = record(&log);
    let place = |id: &str, variants: [&str; 2], quantity: u64| {
        let lines = variants.map(|variant| json!({"variant_id": variant, "quantity": quantity}));
        let body = json!({"customer_id": id, "currency": "GBP", "payment_method": "card", "lines": lines});
        shop.send(&format!("order/{id}/place"), body)
    };
    let order = |id: &str, variants: [&str; 2]| place(id, variants, 1);
    // Refused, but now all that the orders look at is in memory: none of them is a step behind the others for reading it.
    for (id, variants) in [("o1", ["1", "2"]), ("o2", ["2", "3"])] {
        assert_eq!(code(place(id, variants, 99).await), "insufficient_stock");
    }
    let answers = meet(&log, &shop, || {
        vec![
            reserve(&shop, "1", "a"),
            reserve(&shop, "2", "b"),
            reserve(&shop, "3", "c"),
            order("o1", ["1", "2"]),
            reserve(&shop, "2", "d"),
            order("o2", ["2", "3"]),
        ]
    })
    .await;
    let mut positions = Vec::new();
    for answer in answers {
        positions.push(answer.await.unwrap().position);
    }
    let bound: Vec<Vec<String>> = appends
        .lock()
        .iter()
        .map(|append| append.streams.iter().map(|part| part.stream.to_string()).collect::<Vec<_>>())
        .filter(|streams| streams.iter().any(|stream| stream.starts_with("order-")))
        .collect();
    assert_eq!(bound.len(), 1, "two orders that have a variant in common share an append: {bound:?}");
    assert_eq!(bound[0].len(), 7, "three variants and two orders with their numbers: {bound:?}");
    positions.dedup();
    assert_eq!(positions.len(), 1, "whoever waits for one of them waits for the whole append");
    for variant in ["1", "2", "3"] {
        let left =
            shop.send(&format!("inventory/{variant}/reserve"), json!({"customer_id": "z", "quantity": 9}));
        assert_eq!(code(left.await), "insufficient_stock");
    }
}

/// The outcome of a joined append is unknown: it was done, it was not, or it comes through only when it was looked for in vain.
#[tokio::test]
async fn a_joined_append_of_unknown_outcome_is_never_done_twice() {
    for outcome in ["done", "lost", "late"] {
        let (log, shop) = shared().await;
        shop.ok("inventory/1/receive", json!({"quantity": 100})).await;
        let joined: Arc<Mutex<Option<Append>>> = Arc::default();
        let (inner, late, failures) = (log.clone(), joined.clone(), Arc::new(AtomicUsize::new(0)));
        let failed = failures.clone();
        log.fail(move |append| {
            if append.streams[0].stream.as_str() != "inventory-1" {
                return None;
            }
            if failed.fetch_add(1, Ordering::SeqCst) == 0 {
                *late.lock() = Some(append.clone());
                let error =
                    AppendError::Unavailable { reason: "connection lost".into(), indeterminate: true };
                return Some((error, outcome == "done"));
            }
            if outcome == "late"
                && let Some(append) = late.lock().take()
            {
                inner.write_behind(append);
            }
            None
        });
        let answers = meet(&log, &shop, || (1..=5).map(|n| receive(&shop, n)).collect()).await;
        for answer in answers {
            answer.await.unwrap();
        }
        let first = joined.lock().as_ref().map_or(5, |append| append.streams[0].events.len());
        assert_eq!(first, 5, "{outcome}: all five were in the append that failed");
        assert_eq!(shop.no("inventory/1/sell", json!({"quantity": 116})).await, "insufficient_stock");
        shop.ok("inventory/1/sell", json!({"quantity": 115})).await;
        let received =
            shop.history().await.iter().filter(|line| *line == "inventory-1 inventory.received").count();
        assert_eq!(received, 6, "{outcome}");
    }
}

#[tokio::test]
async fn what_cannot_be_written_does_not_take_those_beside_it_along() {
    let (log, shop) = shared().await;
    shop.ok("inventory/1/receive", json!({"quantity": 1})).await;
    let refused = Arc::new(AtomicUsize::new(0));
    let counted = refused.clone();
    log.fail(move |append| {
        let mut events = append.streams.iter().flat_map(|part| &part.events);
        events.any(|event| String::from_utf8_lossy(&event.data).contains("\"quantity\":13")).then(|| {
            counted.fetch_add(1, Ordering::SeqCst);
            (AppendError::Invalid("not this one".into()), false)
        })
    });
    let answers = meet(&log, &shop, || [2, 13, 3].into_iter().map(|n| receive(&shop, n)).collect()).await;
    let mut outcomes = Vec::new();
    for answer in answers {
        outcomes.push(answer.await.is_ok());
    }
    assert_eq!(outcomes, [true, false, true]);
    assert_eq!(refused.load(Ordering::SeqCst), 2, "once with the others, once alone");
    shop.ok("inventory/1/sell", json!({"quantity": 6})).await;
}

/// Whoever loses a stream to another node asks for the next turn, and the winner leaves it: nobody is told `conflict`, however
/// fast the other is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_take_turns_at_a_hot_stream() {
    const BUYERS: usize = 16;
    const EACH: usize = 40;
    let log = MemoryLog::new();
    let options = Options { shared_log: true, ..Options::default() };
    let one = Arc::new(Shop::with(Arc::new(log.clone()), options.clone()).await);
    let two = Arc::new(Shop::with(Arc::new(log), options).await);
    one.ok("inventory/1/receive", json!({"quantity": 10_000})).await;
    let buyers = (0..BUYERS).map(|buyer| {
        let shop = if buyer % 2 == 0 { one.clone() } else { two.clone() };
        tokio::spawn(async move {
            for n in 0..EACH {
                let mut answer = reserve(&shop, "1", &format!("c{buyer}-{n}")).await;
                // The other node has not heard of the stock yet.
                while answer.as_ref().is_err_and(|error| error.code() == "insufficient_stock") {
                    tokio::task::yield_now().await;
                    answer = reserve(&shop, "1", &format!("c{buyer}-{n}")).await;
                }
                answer.unwrap();
            }
        })
    });
    for buyer in buyers.collect::<Vec<_>>() {
        buyer.await.unwrap();
    }
    let reserved = one.history().await.iter().filter(|line| line.ends_with("inventory.reserved")).count();
    assert_eq!(reserved, BUYERS * EACH);
}

/// Where another node went on with a long stream, a node reads what came since, and not the whole again.
#[tokio::test]
async fn a_long_stream_is_read_from_where_it_was_read_last() {
    let (log, one) = shared().await;
    for _ in 0..300 {
        receive(&one, 1).await.unwrap();
    }
    let options = Options { shared_log: true, ..Options::default() };
    let two = Shop::with(Arc::new(log.clone()), options).await;
    receive(&two, 1).await.unwrap();
    assert!(log.count_reads() >= 300, "the other node has read it whole");
    // Both know what the other did, then hear no more.
    receive(&one, 1).await.unwrap();
    receive(&two, 1).await.unwrap();
    receive(&one, 1).await.unwrap();
    log.count_reads();
    log.silence(true);
    let retries = two.dispatcher.stats().snapshot().retries;
    receive(&one, 1).await.unwrap();
    receive(&two, 1).await.unwrap();
    assert!(two.dispatcher.stats().snapshot().retries > retries, "it met a conflict");
    let read = log.count_reads();
    assert!(read < 20, "{read} events were read");
    two.ok("inventory/1/sell", json!({"quantity": 306})).await;
}
