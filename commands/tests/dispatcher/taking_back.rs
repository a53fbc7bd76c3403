//! Two nodes at the same streams: what met the other is taken back, whatever it was, and nothing of it is left in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cqrs_es::Aggregate;
use daybook_aggregates::inventory::Inventory;
use daybook_commands::Options;
use daybook_eventlog::EventLog;
use daybook_eventlog::memory::MemoryLog;
use daybook_schemas::AnyEvent;
use serde_json::{Value, json};

use crate::support::faulty::FaultyLog;
use crate::support::{Shop, until};

const VARIANTS: u64 = 3;
const CLIENTS: u64 = 8;
const EACH: u64 = 60;

async fn node(log: &Arc<dyn EventLog>, like: Option<&Shop>) -> Arc<Shop> {
    let options = Options { shared_log: true, ..Options::default() };
    Arc::new(match like {
        Some(shop) => Shop::at(Arc::clone(log), options, Arc::clone(&shop.clock)).await,
        None => Shop::with(Arc::clone(log), options).await,
    })
}

/// The stock of every variant as the log has it.
async fn folded(shop: &Shop) -> BTreeMap<String, Inventory> {
    let mut stock: BTreeMap<String, Inventory> = BTreeMap::new();
    for event in shop.events().await {
        if let Ok(AnyEvent::Inventory(inner)) =
            AnyEvent::decode(event.event_type(), event.version, event.data())
        {
            let variant = event.stream().trim_start_matches("inventory-").to_owned();
            stock.entry(variant).or_default().apply(inner);
        }
    }
    stock
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// A command at random; few customers and ids, so that they meet.
fn any_command(dice: &mut Dice) -> (String, Value) {
    let variant = dice.roll(VARIANTS);
    let id = format!("r{}", dice.roll(60));
    let (name, body) = match dice.roll(12) {
        0 => ("receive", json!({"quantity": 1 + dice.roll(9)})),
        1 => ("sell", json!({"quantity": 1 + dice.roll(3)})),
        2 => ("set-policy", json!({"reorder_point": dice.roll(20)})),
        3 | 4 => ("confirm", json!({"reservation_id": id})),
        5 => ("confirm", json!({"reservation_id": id, "quantity": 1})),
        6 => ("release", json!({"reservation_id": id})),
        _ => {
            let ttl = if dice.roll(3) == 0 { 1 + dice.roll(4) } else { 86_000 };
            let customer = format!("c{}", dice.roll(30));
            (
                "reserve",
                json!({"reservation_id": id, "customer_id": customer, "quantity": 1 + dice.roll(3), "ttl_seconds": ttl}),
            )
        }
    };
    (format!("inventory/v{variant}/{name}"), body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_meet_all_the_time_stay_true_to_the_log() {
    for seed in 1..=3_u64 {
        let faulty = FaultyLog::new(MemoryLog::new());
        let log: Arc<dyn EventLog> = Arc::new(faulty.clone());
        let one = node(&log, None).await;
        let two = node(&log, Some(&one)).await;
        for variant in 0..VARIANTS {
            one.ok(&format!("inventory/v{variant}/receive"), json!({"quantity": 60})).await;
        }
        // Neither hears of the other before it is told by a conflict.
        faulty.silence(true);
        let clients = (0..CLIENTS).map(|client| {
            let shop = if client % 2 == 0 { one.clone() } else { two.clone() };
            tokio::spawn(async move {
                let mut dice = Dice(seed * 1_000 + client + 1);
                for n in 0..EACH {
                    let (path, body) = any_command(&mut dice);
                    if let Err(error) = shop.send(&path, body).await {
                        assert_ne!(error.code(), "conflict", "{path}");
                        assert_ne!(error.code(), "internal", "{path}: {error:?}");
                    }
                    if client == 0 && n % 12 == 0 {
                        shop.clock.advance_secs(1);
                    }
                }
            })
        });
        for client in clients.collect::<Vec<_>>() {
            client.await.unwrap();
        }
        faulty.silence(false);
        one.clock.advance_secs(60);
        let (first, second) = (&one, &two);
        until("what ran out is on record", async || {
            let now = first.dispatcher.stats().snapshot();
            let stock = folded(first).await;
            let due = |stock: &Inventory| {
                stock.next_deadline().is_some_and(|at| at <= crate::support::now(&first.clock))
            };
            let holds = stock.values().map(|stock| stock.holds().count() as u64).sum::<u64>();
            let settled =
                now.active_holds == holds && second.dispatcher.stats().snapshot().active_holds == holds;
            !stock.values().any(due) && settled
        })
        .await;
        let retries: u64 = [&one, &two].iter().map(|shop| shop.dispatcher.stats().snapshot().retries).sum();
        assert!(retries > 10, "they met {retries} times");
        for (variant, stock) in folded(&one).await {
            let left = stock.totals().available;
            assert!(left >= 0 && stock.totals().reserved <= stock.totals().on_hand);
            for shop in [&one, &two] {
                let path = |command: &str| format!("inventory/{variant}/{command}");
                assert_eq!(shop.no(&path("sell"), json!({"quantity": left + 1})).await, "insufficient_stock");
                if left > 0 {
                    // The second of them may have to hear first that the first has put back what it sold.
                    let sell = || shop.send(&path("sell"), json!({"quantity": left}));
                    until("all of it is sold", async || sell().await.is_ok()).await;
                    shop.ok(&path("receive"), json!({"quantity": left})).await;
                }
            }
        }
    }
}

/// The five holds that a customer may have: one that was taken back is none of them, and one that came back is.
#[tokio::test]
async fn holds_of_a_decision_that_is_taken_back_do_not_count() {
    let log = FaultyLog::new(MemoryLog::new());
    let shared: Arc<dyn EventLog> = Arc::new(log.clone());
    let one = node(&shared, None).await;
    let two = node(&shared, Some(&one)).await;
    for variant in 0..6 {
        one.ok(&format!("inventory/v{variant}/receive"), json!({"quantity": 10})).await;
    }
    let hold =
        |id: &str| json!({"reservation_id": id, "customer_id": "c", "quantity": 1, "ttl_seconds": 900});
    for variant in 0..4 {
        two.ok(&format!("inventory/v{variant}/reserve"), hold(&format!("r{variant}"))).await;
    }
    let many = json!({"customer_id": "d", "quantity": 11});
    assert_eq!(two.no("inventory/v4/reserve", many).await, "insufficient_stock", "now it is in memory");
    let before = two.dispatcher.stats().snapshot();
    assert_eq!(before.active_holds, 4);
    // From now on neither hears of the other before it is told by a conflict.
    log.silence(true);
    one.ok("inventory/v4/sell", json!({"quantity": 10})).await;
    assert_eq!(
        two.no("inventory/v4/reserve", hold("r4")).await,
        "insufficient_stock",
        "decided on what the other did"
    );
    let after = two.dispatcher.stats().snapshot();
    assert!(after.retries > before.retries, "it met a conflict");
    assert_eq!(
        (after.active_holds, after.loads),
        (4, before.loads),
        "taken back, and the stream was not read again"
    );
    one.ok("inventory/v0/receive", json!({"quantity": 1})).await;
    two.ok("inventory/v0/release", json!({"reservation_id": "r0"})).await;
    until("taken back, and done again", async || two.dispatcher.stats().snapshot().active_holds == 3).await;
    for variant in [0, 5] {
        two.ok(&format!("inventory/v{variant}/reserve"), hold(&format!("again{variant}"))).await;
    }
    two.ok("inventory/v4/receive", json!({"quantity": 5})).await;
    assert_eq!(two.no("inventory/v4/reserve", hold("r4")).await, "too_many_reservations");
}

/// What was told while a write was in flight is missing when the next news comes: it is read, and not the whole stream.
#[tokio::test]
async fn news_after_a_gap_has_the_gap_read_and_nothing_else() {
    let memory = MemoryLog::new();
    let faulty = FaultyLog::new(memory.clone());
    let held: Arc<dyn EventLog> = Arc::new(faulty.clone());
    let open: Arc<dyn EventLog> = Arc::new(memory);
    let one = node(&held, None).await;
    let two = node(&open, Some(&one)).await;
    let receive = json!({"quantity": 1});
    one.ok("inventory/1/receive", receive.clone()).await;
    two.ok("inventory/1/receive", receive.clone()).await;
    let loads = one.dispatcher.stats().snapshot().loads;
    for _ in 0..30 {
        let groups = faulty.groups.load(Ordering::SeqCst);
        faulty.hold(true);
        let answer = one.send("inventory/1/receive", receive.clone());
        until("a write in flight", async || faulty.groups.load(Ordering::SeqCst) > groups).await;
        two.ok("inventory/1/receive", receive.clone()).await;
        faulty.hold(false);
        two.ok("inventory/1/receive", receive.clone()).await;
        answer.await.unwrap();
    }
    one.ok("inventory/1/receive", receive).await;
    until("everything is known", async || {
        let left = json!({"quantity": 93});
        one.send("inventory/1/sell", left).await.is_ok()
    })
    .await;
    assert_eq!(one.no("inventory/1/sell", json!({"quantity": 1})).await, "insufficient_stock");
    let stats = one.dispatcher.stats().snapshot();
    assert!(stats.retries > 0, "they met");
    assert_eq!(stats.loads, loads, "the stream was not read again");
}
