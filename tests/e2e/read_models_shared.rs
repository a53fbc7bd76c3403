//! Two gateways on one event log and one set of read models in PostgreSQL, and one search index on Elasticsearch: one writes each
//! projection, the other follows and takes over when that one is killed or frozen; operators' commands work beside them.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use crate::backend::{postgres_url, read_model_settings, server_url, shared_settings};
use crate::harness::{Server, eventually, run_on};
use crate::own_server::{Kind, OwnServer};
use crate::proxy::{Proxy, place};
use crate::workload::{Stubborn, check_log};

type Settings = Vec<(&'static str, String)>;

/// Whether the gateways share a search index; else each has one of its own.
fn search_is_shared() -> bool {
    server_url(Kind::Elasticsearch).is_some()
}

/// The states of the shared projections at one gateway.
async fn states(server: &Server) -> Vec<String> {
    let list = server.connect().await.get("/v1/projections").await;
    let rows = list["projections"].as_array().unwrap().iter();
    rows.filter(|row| search_is_shared() || row["name"] != "search")
        .map(|row| row["state"].as_str().unwrap().to_owned())
        .collect()
}

pub async fn writes_all(server: &Server) -> bool {
    states(server).await.iter().all(|state| state == "running" || state == "catching_up")
}

pub async fn follows_all(server: &Server) -> bool {
    states(server).await.iter().all(|state| state == "following")
}

fn signal(server: &Server, name: &str) {
    let sent = Command::new("kill").args([name, &server.pid().to_string()]).status().unwrap();
    assert!(sent.success());
}

fn operate(data: &Path, settings: &Settings, arguments: &[&str], status: i32) -> Value {
    let output = run_on(data, settings, &[arguments, &["--format", "json"]].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {text}{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Both gateways answer with what was just written through the other one.
async fn check_reads(first: &Server, second: &Server, name: &str) {
    for (writer, reader, quantity) in [(first, second, 1), (second, first, 2)] {
        let path = format!("inventory/{name}/receive");
        let reply = writer.connect().await.command(&path, json!({"quantity": 1})).await;
        let position = reply["position"].as_str().unwrap();
        let stock =
            reader.connect().await.get(&format!("/v1/inventory/{name}?min_position={position}")).await;
        assert_eq!(stock["on_hand"], quantity);
        let variant = format!("variant/{name}-{quantity}");
        let sold = json!({
            "product_id": format!("{name}-{quantity}"), "name": format!("Lamp {name}{quantity}"), "brand": "B",
            "category": "C", "attributes": [], "price": {"amount": "1.00", "currency": "GBP"},
        });
        let mut client = writer.connect().await;
        client.command(&format!("{variant}/create"), sold).await;
        client.command(&format!("{variant}/submit"), json!({})).await;
        let reply = client.command(&format!("{variant}/approve"), json!({})).await;
        let position = reply["position"].as_str().unwrap();
        let path = format!("/v1/search?q=lamp+{name}{quantity}&min_position={position}");
        let found = reader.connect().await.get(&path).await;
        assert_eq!(found["total"], 1, "{found}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_gateway_writes_the_read_models_and_the_other_takes_over() {
    let folder = tempfile::tempdir().unwrap();
    let Some(settings) = shared_settings(folder.path()) else { return };
    let data = ["a", "b", "c"].map(|name| folder.path().join(name));
    let first = Server::start_on(&data[0], &settings);
    eventually("the first gateway writes", async || writes_all(&first).await).await;
    let second = Server::start_on(&data[1], &settings);
    eventually("the second gateway follows", async || follows_all(&second).await).await;
    check_reads(&first, &second, "calm").await;

    let load = Stubborn::start(&[first.address, second.address], 4, "shared");
    load.wait_for_more(40).await;
    let killed = Instant::now();
    first.kill();
    eventually("the second gateway writes", async || writes_all(&second).await).await;
    println!("killed: read models taken over after {:.1} s", killed.elapsed().as_secs_f64());
    load.wait_for_more(40).await;

    // A writer that is frozen loses its claims, and is refused when it wakes up.
    let third = Server::start_on(&data[0], &settings);
    eventually("the third gateway follows", async || follows_all(&third).await).await;
    let frozen = Instant::now();
    signal(&second, "-STOP");
    eventually("the third gateway writes", async || writes_all(&third).await).await;
    println!("frozen: read models taken over after {:.1} s", frozen.elapsed().as_secs_f64());
    signal(&second, "-CONT");
    eventually("the second gateway follows", async || follows_all(&second).await).await;
    load.wait_for_more(40).await;
    let acknowledged = load.stop().await;
    check_reads(&second, &third, "after").await;

    operators_work_beside_them(&data[2], &settings, &second, &third).await;
    second.stop();
    eventually("who is left writes", async || writes_all(&third).await).await;
    third.stop();
    let log = run_on(&data[2], &settings, &["log", "read"]);
    check_log(&log.stdout, &acknowledged);
    assert_eq!(operate(&data[2], &settings, &["reconcile"], 0)["clean"], true);
}

/// Rebuild, rollback, drill, repair and verify by a process beside two running gateways.
async fn operators_work_beside_them(data: &Path, settings: &Settings, one: &Server, other: &Server) {
    assert_eq!(operate(data, settings, &["reconcile"], 0)["clean"], true);
    let shared: &[&str] =
        if search_is_shared() { &["inventory", "audit", "search"] } else { &["inventory", "audit"] };
    let rebuilt = operate(data, settings, &[&["projections", "rebuild"], shared].concat(), 0);
    assert_eq!(rebuilt["projections"].as_array().unwrap().len(), shared.len());
    for server in [one, other] {
        eventually("both go over to the new generation", async || {
            let list = server.connect().await.get("/v1/projections").await;
            let rows = list["projections"].as_array().unwrap();
            let new = rows.iter().filter(|row| row["generation"] == 2);
            new.count() == shared.len()
        })
        .await;
    }
    check_reads(one, other, "rebuilt").await;
    operate(data, settings, &["projections", "rollback", "audit"], 0);

    // Damage through one gateway, found through the other, repaired by the operator's process.
    for name in shared.iter().filter(|name| **name != "audit") {
        let drill = json!({"projection": name, "share": 0.2});
        let damaged = one.connect().await.post("/v1/operations/drift", drill).await;
        assert_eq!(damaged.status, 200, "{}", String::from_utf8_lossy(&damaged.body));
        let damaged = damaged.json().unwrap()["damaged"].as_array().unwrap().len();
        let through_other = ["reconcile", name, "--server", &other.url()];
        let found = operate(data, settings, &through_other, 3);
        assert_eq!(found["projections"][0]["drift"].as_array().unwrap().len(), damaged);
        operate(data, settings, &["reconcile", name, "--repair"], 3);
        assert_eq!(operate(data, settings, &through_other, 0)["clean"], true);
    }
    assert_eq!(operate(data, settings, &["verify"], 0)["ok"], true);
    check_reads(one, other, "repaired").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_models_of_another_log_are_refused() {
    let Some(url) = postgres_url() else { return };
    let folder = tempfile::tempdir().unwrap();
    let settings = read_model_settings(&url, folder.path());
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    for data in [&first, &second] {
        // With a log of its own each, and read models in files, an event is written.
        let server = Server::start_on(data, &Vec::new());
        server.connect().await.command("inventory/v/receive", json!({"quantity": 1})).await;
        server.stop();
    }
    operate(&first, &settings, &["projections", "digest"], 0);
    let refused = run_on(&second, &settings, &["projections", "digest"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(text.contains("read_models.url") && text.contains("another event"), "{text}");
}

/// Whether queries are refused at once, and the gateway says that it is degraded and by what.
async fn is_degraded(server: &Server) -> bool {
    let mut client = server.connect().await;
    let query = client.send("GET", "/v1/inventory/v1", &[], &[]).await;
    let ready = client.send("GET", "/readyz", &[], &[]).await;
    let metrics = client.send("GET", "/metrics", &[], &[]).await;
    query.status == 503
        && ready.status == 503
        && String::from_utf8_lossy(&ready.body).contains("read models")
        && String::from_utf8_lossy(&metrics.body)
            .contains("daybook_circuit_state{dependency=\"read_models\"} 2")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_their_server_is_away_commands_go_on_and_afterwards_nothing_is_missing() {
    let Some(postgres) = OwnServer::start(Kind::Postgres) else { return };
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::before(place(&postgres.url)).await;
    let mut settings = read_model_settings(&proxy.url(&postgres.url), folder.path());
    settings.extend([
        ("DAYBOOK_READ_MODELS_CONNECT_TIMEOUT_MS", "1000".to_owned()),
        ("DAYBOOK_READ_MODELS_QUERY_TIMEOUT_MS", "1000".to_owned()),
        ("DAYBOOK_READ_MODELS_WRITE_TIMEOUT_MS", "2000".to_owned()),
    ]);
    let server = Server::start_on(folder.path(), &settings);
    let load = Stubborn::start(&[server.address], 4, "away");
    load.wait_for_more(40).await;
    for frozen in [false, true] {
        if frozen {
            postgres.freeze();
        } else {
            postgres.kill();
        }
        eventually("the gateway is degraded", async || is_degraded(&server).await).await;
        load.wait_for_more(40).await;
        if frozen {
            postgres.thaw();
        } else {
            postgres.resume();
        }
        server.until_ready().await;
        load.wait_for_more(40).await;
    }
    for _ in 0..5 {
        proxy.cut();
        load.wait_for_more(20).await;
    }
    proxy.refuse(true);
    eventually("the gateway is degraded", async || is_degraded(&server).await).await;
    proxy.refuse(false);
    server.until_ready().await;
    let acknowledged = load.stop().await;
    server.until_projected().await;
    server.stop();
    let log = run_on(folder.path(), &settings, &["log", "read"]);
    check_log(&log.stdout, &acknowledged);
    assert_eq!(operate(folder.path(), &settings, &["reconcile"], 0)["clean"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_their_server_right_after_they_were_made_leaves_them_there() {
    let Some(postgres) = OwnServer::start(Kind::Postgres) else { return };
    // What does not wait for the disk is lost.
    postgres.configure_postgres("wal_writer_delay = 10s");
    let folder = tempfile::tempdir().unwrap();
    let settings = read_model_settings(&postgres.url, folder.path());
    let server = Server::start_on(folder.path(), &settings);
    postgres.kill();
    postgres.resume();
    server.connect().await.command("inventory/v/receive", json!({"quantity": 1})).await;
    server.until_ready().await;
    server.until_projected().await;
    server.stop();
    assert_eq!(operate(folder.path(), &settings, &["reconcile"], 0)["clean"], true);
}
