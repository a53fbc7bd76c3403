//! The system test that matters most: a seeded workload with kills and restarts, after which every acknowledged command is
//! in the log exactly once, revisions are gapless, and every read model equals its rebuild.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::harness::{Server, run};

const KILLS: u64 = 50;
const LANES: u64 = 6;

/// A small generator; the seed makes the workload the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Sends commands, each with a reference of its own, until the server is gone. Notes what was acknowledged.
async fn lane(server: std::net::SocketAddr, lane: u64, round: u64, acknowledged: Arc<Mutex<Vec<String>>>) {
    let Ok(mut connection) = daybook_gateway::load::client::Connection::open(server).await else { return };
    let mut dice = Dice(lane * 1_000 + round);
    for count in 0.. {
        let reference = format!("{round}-{lane}-{count}");
        let variant = dice.roll(8);
        let (path, body) = match dice.roll(4) {
            0 => (
                format!("inventory/v{variant}/adjust"),
                json!({"delta": 3, "reason": "kill test", "reference": reference}),
            ),
            1 => (
                format!("inventory/v{variant}/reserve"),
                json!({"reservation_id": reference, "customer_id": format!("c-{reference}"), "quantity": 1, "ttl_seconds": 1}),
            ),
            2 => {
                let body = json!({"product_id": reference, "name": "Thing", "brand": "B", "category": "C", "attributes": [],
                                  "price": {"amount": "1.25", "currency": "GBP"}});
                (format!("variant/{reference}/create"), body)
            }
            _ => (format!("inventory/v{variant}/receive"), json!({"quantity": 2, "reference": reference})),
        };
        match connection.post(&format!("/v1/commands/{path}"), &body).await {
            Ok(answer) if answer.status < 300 => acknowledged.lock().push(reference),
            Ok(answer) if answer.status < 500 => {}
            _ => return,
        }
    }
}

/// The reference that an event carries, if it is one that the workload counts.
fn reference(event: &Value) -> Option<&str> {
    let data = &event["data"];
    match event["type"].as_str()? {
        "inventory.received" | "inventory.adjusted" => data["reference"].as_str(),
        "inventory.reserved" => data["reservation_id"].as_str(),
        "variant.created" => data["variant_id"].as_str(),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_lose_nothing_and_double_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let mut dice = Dice(20_261_121);
    for round in 0..KILLS {
        let server = Server::start(folder.path());
        let lanes: Vec<_> = (0..LANES)
            .map(|n| tokio::spawn(lane(server.address, n, round, Arc::clone(&acknowledged))))
            .collect();
        // Not a wait for something: the moment of the kill is meant to be arbitrary.
        tokio::time::sleep(Duration::from_millis(5 + dice.roll(150))).await;
        server.kill();
        for lane in lanes {
            lane.await.unwrap();
        }
    }

    let output = run(folder.path(), &["log", "read"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut seen: HashMap<String, u32> = HashMap::new();
    let mut revisions: HashMap<String, u64> = HashMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let revision = revisions.entry(event["stream"].as_str().unwrap().to_owned()).or_default();
        *revision += 1;
        assert_eq!(event["revision"], *revision, "{line}");
        if let Some(reference) = reference(&event) {
            *seen.entry(reference.to_owned()).or_default() += 1;
        }
    }
    let acknowledged = acknowledged.lock();
    assert!(acknowledged.len() > 1_000, "the workload got only {} commands through", acknowledged.len());
    for reference in acknowledged.iter() {
        assert_eq!(seen.get(reference), Some(&1), "{reference} was acknowledged");
    }
    assert!(seen.values().all(|count| *count == 1), "no command happened twice");

    let verified = run(folder.path(), &["verify"]);
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stdout));
    let reconciled = run(folder.path(), &["reconcile"]);
    assert_eq!(reconciled.status.code(), Some(0), "{}", String::from_utf8_lossy(&reconciled.stdout));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_stop_under_load_loses_and_fails_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path());
    let mut lanes = tokio::task::JoinSet::new();
    for lane in 0..8_u64 {
        let mut client = server.connect().await;
        lanes.spawn(async move {
            let mut accepted = 0_u64;
            loop {
                match client
                    .try_send(
                        "POST",
                        &format!("/v1/commands/inventory/lane-{lane}/receive"),
                        &[],
                        br#"{"quantity":1}"#,
                    )
                    .await
                {
                    Ok(answer) => {
                        assert!(answer.status < 300, "{}", String::from_utf8_lossy(&answer.body));
                        accepted += 1;
                    }
                    // Between two requests the server may close; within one it must not.
                    Err(_) => return (lane, accepted),
                }
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.terminate();
    assert!(server.wait_for_exit().success());
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    while let Some(lane) = lanes.join_next().await {
        let (lane, accepted) = lane.unwrap();
        let events = client.get(&format!("/v1/streams/inventory-lane-{lane}?limit=1&from=1")).await;
        assert_eq!(events["events"][0]["revision"], 1);
        let position = client.get("/v1/operations/head").await["position"].as_str().unwrap().to_owned();
        let stock = client.get(&format!("/v1/inventory/lane-{lane}?min_position={position}")).await;
        assert_eq!(stock["on_hand"], accepted, "lane {lane}: what was answered, and nothing else");
    }
    server.stop();
}
