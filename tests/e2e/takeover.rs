//! The gateway that does everything that one does for all is killed: the other takes over its deadlines, the process manager and the
//! read models, all of it kept in PostgreSQL, and search in one index on Elasticsearch.

use std::time::Instant;

use serde_json::json;

use crate::backend::shared_settings;
use crate::harness::{Client, Server, eventually, run_on};
use crate::read_models_shared::{follows_all, writes_all};
use crate::two_gateways::leads;
use crate::workload::{Stubborn, check_log};

/// A colour, and a variant that has it.
async fn make_catalogue(client: &mut Client) {
    client.command("color/navy/create", json!({"name": "Navy", "hex": "#000080", "family": "blue"})).await;
    for step in ["submit", "approve"] {
        client.command(&format!("color/navy/{step}"), json!({})).await;
    }
    let variant = json!({
        "product_id": "linen", "name": "Linen shirt", "brand": "Weaver", "category": "Shirts",
        "attributes": [{"type": "color", "value": "Navy", "value_id": "navy"}],
    });
    client.command("variant/shirt/create", variant).await;
}

/// What the shirt's colour is called, by its own events.
async fn colour_of_shirt(server: &Server) -> String {
    let events = server.connect().await.get("/v1/streams/variant-shirt").await;
    let names = events["events"].as_array().unwrap().iter().rev().find_map(|event| {
        let text = event["data"].to_string();
        ["Midnight", "Ink", "Navy"].into_iter().find(|name| text.contains(name))
    });
    names.unwrap().to_owned()
}

async fn rename(server: &Server, name: &str) {
    server.connect().await.command("color/navy/change", json!({"name": name})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_killed_gateway_did_for_all_the_other_goes_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let Some(settings) = shared_settings(folder.path()) else { return };
    let data = ["a", "b"].map(|name| folder.path().join(name));
    let first = Server::start_on(&data[0], &settings);
    eventually("the first gateway does everything", async || {
        leads(&first, "timers").await && leads(&first, "spread").await && writes_all(&first).await
    })
    .await;
    let second = Server::start_on(&data[1], &settings);
    eventually("the second gateway follows", async || follows_all(&second).await).await;
    assert!(!leads(&second, "timers").await && !leads(&second, "spread").await);
    make_catalogue(&mut second.connect().await).await;
    rename(&second, "Midnight").await;
    eventually("the first gateway tells the shirt", async || colour_of_shirt(&second).await == "Midnight")
        .await;

    let load = Stubborn::start(&[first.address, second.address], 2, "takeover");
    load.wait_for_more(20).await;
    let killed = Instant::now();
    first.kill();
    // None of this could the dead one have done.
    let mut client = second.connect().await;
    client.command("inventory/quiet/receive", json!({"quantity": 1})).await;
    let hold = json!({"reservation_id": "r", "customer_id": "c", "quantity": 1, "ttl_seconds": 1});
    client.command("inventory/quiet/reserve", hold).await;
    rename(&second, "Ink").await;
    let stock = client.command("inventory/shirt/receive", json!({"quantity": 7})).await;
    let position = stock["position"].as_str().unwrap();
    let deadlines = async {
        eventually("the hold runs out", async || {
            let events = second.connect().await.get("/v1/streams/inventory-quiet").await;
            let events = events["events"].as_array().unwrap().clone();
            events.iter().any(|event| event["type"] == "inventory.reservations_expired")
        })
        .await;
        killed.elapsed()
    };
    let process_manager = async {
        eventually("the shirt is told of its colour", async || colour_of_shirt(&second).await == "Ink").await;
        killed.elapsed()
    };
    let read_models = async {
        let path = format!("/v1/inventory/shirt?min_position={position}");
        eventually("the read model has the stock", async || {
            let answer = second.connect().await.send("GET", &path, &[], &[]).await;
            answer.status == 200 && answer.json().unwrap()["on_hand"] == 7
        })
        .await;
        eventually("the second gateway writes all read models", async || writes_all(&second).await).await;
        killed.elapsed()
    };
    let (deadlines, process_manager, read_models) = tokio::join!(deadlines, process_manager, read_models);
    println!(
        "after the kill: deadlines {:.1} s (one of them the hold's own), process manager {:.1} s, read models {:.1} s",
        deadlines.as_secs_f64(),
        process_manager.as_secs_f64(),
        read_models.as_secs_f64()
    );
    load.wait_for_more(20).await;
    let acknowledged = load.stop().await;
    second.until_projected().await;
    second.stop();
    let log = run_on(&data[1], &settings, &["log", "read"]);
    check_log(&log.stdout, &acknowledged);
    for command in ["verify", "reconcile"] {
        let output = run_on(&data[1], &settings, &[command]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    }
}
