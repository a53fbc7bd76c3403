//! An operator's pause of a read model: it lasts until it is lifted, and nothing waits for what stands still.

use serde_json::{Value, json};

use crate::harness::{Client, Server, eventually, run, run_json};

async fn state_of(client: &mut Client, name: &str) -> Value {
    let list = client.get("/v1/projections").await;
    let rows = list["projections"].as_array().unwrap();
    rows.iter().find(|row| row["name"] == name).unwrap()["state"].clone()
}

#[tokio::test]
async fn a_pause_outlives_the_process_however_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(&data);
    let mut client = server.connect().await;
    client.command("inventory/v/receive", json!({"quantity": 1})).await;
    server.until_projected().await;
    let paused = run_json(&data, &["projections", "pause", "inventory", "--server", &server.url()]);
    assert_eq!(paused["state"], "paused");
    server.kill();

    let server = Server::start(&data);
    let mut client = server.connect().await;
    assert_eq!(state_of(&mut client, "inventory").await, "paused");
    let ready = client.send("GET", "/readyz", &[], &[]).await;
    assert_eq!(ready.status, 503);
    let failing = ready.json().unwrap()["failing"].to_string();
    assert!(
        failing.contains("projection inventory") && failing.contains("paused by an operator"),
        "{failing}"
    );
    let position = client.command("inventory/v/receive", json!({"quantity": 1})).await["position"].clone();
    let fresh = format!("/v1/inventory/v?min_position={}", position.as_str().unwrap());
    assert_eq!(client.send("GET", &fresh, &[], &[]).await.code().as_deref(), Some("projection_behind"));
    assert_eq!(client.get("/v1/inventory/v").await["on_hand"], 1, "as it was");
    // A rebuild makes it current, and leaves it paused; so does a restart after that.
    let rebuilt = run(&data, &["projections", "rebuild", "inventory", "--server", &server.url()]);
    assert!(rebuilt.status.success(), "{rebuilt:?}");
    assert_eq!(client.get("/v1/inventory/v").await["on_hand"], 2);
    server.stop();
    let server = Server::start(&data);
    let mut client = server.connect().await;
    assert_eq!(state_of(&mut client, "inventory").await, "paused");
    client.command("inventory/v/receive", json!({"quantity": 1})).await;
    let resumed = run(&data, &["projections", "resume", "inventory", "--server", &server.url()]);
    assert!(resumed.status.success(), "{resumed:?}");
    server.until_projected().await;
    assert_eq!(client.get("/v1/inventory/v").await["on_hand"], 3);
    server.until_ready().await;
    server.kill();
    let server = Server::start(&data);
    eventually("it runs after the next start as well", async || {
        state_of(&mut server.connect().await, "inventory").await == "running"
    })
    .await;
    server.stop();
}

#[tokio::test]
async fn a_folder_at_rest_is_told_to_pause_and_nothing_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(&data);
    let mut client = server.connect().await;
    client.command("inventory/v/receive", json!({"quantity": 1})).await;
    server.stop();
    let text = run(&data, &["projections", "pause", "catalogue"]);
    assert_eq!(String::from_utf8_lossy(&text.stdout), "catalogue: paused\n", "{text:?}");
    let list = run_json(&data, &["projections", "list"]);
    let rows = list["projections"].as_array().unwrap();
    assert_eq!(rows.iter().find(|row| row["name"] == "catalogue").unwrap()["state"], "paused");
    let rows = folder.path().join("rows.ndjson");
    let row = json!({"aggregate": "variant", "id": "x", "command": "create", "data": {
        "product_id": "shirt", "name": "Shirt", "brand": "Weaver", "category": "Shirts", "attributes": []}});
    std::fs::write(&rows, format!("{row}\n")).unwrap();
    let imported = run(&data, &["import", "variants", rows.to_str().unwrap()]);
    assert!(imported.status.success(), "{imported:?}");
    let refused = run(&data, &["export", "variants"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("projections resume catalogue"), "{refused:?}");
    assert!(refused.stdout.is_empty());
    let letters = run_json(&data, &["projections", "dead-letters", "list", "catalogue"]);
    assert_eq!(letters["dead_letters"], json!([]));
    assert!(run(&data, &["projections", "resume", "catalogue"]).status.success());
    let exported = run(&data, &["export", "variants"]);
    assert!(exported.status.success() && exported.stdout.len() > 10, "{exported:?}");
}
