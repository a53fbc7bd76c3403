//! Two gateways on one PostgreSQL log, one of them killed: stock stays exact, every acknowledged command is there once, and the
//! other takes the deadlines over.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::json;

use crate::backend::{postgres_settings, postgres_url};
use crate::harness::{Server, eventually, run_on};
use crate::workload::{Stubborn, check_log};

const UNITS: usize = 60;
const BUYERS: usize = 100;

pub async fn leads(server: &Server, lease: &str) -> bool {
    let answer = server.connect().await.send("GET", "/metrics", &[], &[]).await;
    String::from_utf8_lossy(&answer.body).contains(&format!("daybook_lease_held{{lease=\"{lease}\"}} 1"))
}

/// Every buyer asks once; how many got a unit, and how many were refused for lack of stock.
async fn buy(server: &Server, name: &str) -> BTreeMap<(u16, String), usize> {
    let mut buyers = tokio::task::JoinSet::new();
    for buyer in 0..BUYERS {
        let (mut client, customer) = (server.connect().await, format!("{name}-{buyer}"));
        buyers.spawn(async move {
            let body = json!({"customer_id": customer, "quantity": 1, "ttl_seconds": 3_600});
            loop {
                let answer = client.post("/v1/commands/inventory/hot/reserve", body.clone()).await;
                let code = answer.code().unwrap_or_default();
                // Many attempts lost against the other gateway: an answer that asks for another try.
                if code != "conflict" {
                    return (answer.status, code);
                }
            }
        });
    }
    let mut outcomes = BTreeMap::new();
    while let Some(outcome) = buyers.join_next().await {
        *outcomes.entry(outcome.unwrap()).or_default() += 1;
    }
    outcomes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_sell_what_there_is_and_one_takes_over_from_the_other() {
    let Some(url) = postgres_url() else { return };
    let folder = tempfile::tempdir().unwrap();
    let settings = postgres_settings(&url, folder.path());
    let data = ["a", "b"].map(|name| folder.path().join(name));
    let first = Server::start_on(&data[0], &settings);
    let mut to_first = first.connect().await;
    eventually("the first gateway leads", async || leads(&first, "timers").await).await;
    let second = Server::start_on(&data[1], &settings);
    let mut to_second = second.connect().await;

    // What one has written, the other decides on and answers from.
    let position =
        to_first.command("inventory/hot/receive", json!({"quantity": UNITS})).await["position"].clone();
    let stock =
        to_second.get(&format!("/v1/inventory/hot?min_position={}", position.as_str().unwrap())).await;
    assert_eq!(stock["on_hand"], UNITS);
    let (from_first, from_second) = tokio::join!(buy(&first, "a"), buy(&second, "b"));
    let total = |status: u16, code: &str| {
        let key = (status, code.to_owned());
        from_first.get(&key).copied().unwrap_or_default() + from_second.get(&key).copied().unwrap_or_default()
    };
    let sold = total(200, "") + total(201, "");
    assert_eq!(
        (sold, total(409, "insufficient_stock")),
        (UNITS, 2 * BUYERS - UNITS),
        "{from_first:?} {from_second:?}"
    );

    // A hold on a stream that the second gateway never had in memory; then its gateway dies.
    let load = Stubborn::start(&[first.address, second.address], 4, "two");
    load.wait_for_more(40).await;
    let mut to_first = first.connect().await;
    to_first.command("inventory/quiet/receive", json!({"quantity": 1})).await;
    to_first
        .command(
            "inventory/quiet/reserve",
            json!({"reservation_id": "r", "customer_id": "c", "quantity": 1, "ttl_seconds": 1}),
        )
        .await;
    let killed = Instant::now();
    first.kill();
    eventually("the second gateway leads", async || leads(&second, "timers").await).await;
    println!("taken over {:.1} s after the kill", killed.elapsed().as_secs_f64());
    eventually("the hold of the dead gateway runs out", async || {
        let events = second.connect().await.get("/v1/streams/inventory-quiet").await;
        let events = events["events"].as_array().unwrap().clone();
        events.iter().any(|event| event["type"] == "inventory.reservations_expired")
    })
    .await;
    load.wait_for_more(40).await;

    // The dead one comes back on its old folder and catches up.
    let first = Server::start_on(&data[0], &settings);
    let mut to_first = first.connect().await;
    let position =
        to_second.command("inventory/hot/receive", json!({"quantity": 1})).await["position"].clone();
    let stock = to_first.get(&format!("/v1/inventory/hot?min_position={}", position.as_str().unwrap())).await;
    assert_eq!((&stock["on_hand"], &stock["reserved"]), (&json!(UNITS + 1), &json!(UNITS)));
    let acknowledged = load.stop().await;
    first.stop();
    second.stop();
    let log = run_on(&data[0], &settings, &["log", "read"]);
    assert!(log.status.success(), "{}", String::from_utf8_lossy(&log.stderr));
    check_log(&log.stdout, &acknowledged);
    for data in &data {
        let output = run_on(data, &settings, &["reconcile"]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    }
}
