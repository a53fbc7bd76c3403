//! Reconciliation names exactly the damaged rows, repairs them, and finds nothing afterwards.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use daybook_projections::generations::ReadModelKind;
use daybook_projections::model::RowKey;
use daybook_projections::rows::RowEngine;
use daybook_projections::rows::postgres::{PostgresOptions, PostgresSchemas};
use daybook_projections::search::SearchKind;
use daybook_projections::search::elastic::{ElasticKind, ElasticOptions};
use daybook_projections::standard;
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::backend::{read_models_are_files, read_models_on_postgres, settings};
use crate::harness::{Client, DEADLINE, Server, run, run_json, sample};

/// Read models in SQLite.
const STORES: [&str; 7] = ["catalogue", "inventory", "orders", "audit", "sales", "products", "customers"];

fn drift_of<'a>(report: &'a Value, projection: &str) -> Vec<(&'a str, &'a str)> {
    let projections = report["projections"].as_array().unwrap();
    let found = projections
        .iter()
        .find(|p| p["name"] == projection)
        .unwrap_or_else(|| panic!("{projection} in {report}"));
    let mut drift: Vec<_> = found["drift"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| (d["key"].as_str().unwrap(), d["kind"].as_str().unwrap()))
        .collect();
    drift.sort_unstable();
    drift
}

fn reconcile(data: &Path, arguments: &[&str], status: i32) -> Value {
    let output = run(data, &[&["reconcile", "--format", "json"], arguments].concat());
    assert_eq!(output.status.code(), Some(status), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Changes a row, deletes one and adds one in every table of a store. Gives what reconcile must name.
fn damage(file: &Path) -> Vec<(String, &'static str)> {
    let store = Connection::open(file).unwrap();
    let tables: Vec<String> = store
        .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'daybook%' AND name NOT LIKE 'sqlite%'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert!(!tables.is_empty());
    let mut expected = Vec::new();
    for table in tables {
        let keys: Vec<String> = store
            .prepare(&format!("SELECT CAST(key AS TEXT) FROM {table} ORDER BY key LIMIT 3"))
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let [changed, deleted, copied] = &keys[..] else { panic!("{table} has fewer than three rows") };
        let columns: Vec<String> = store
            .prepare(&format!("SELECT name FROM pragma_table_info('{table}') WHERE name <> 'key'"))
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let columns = columns.join(", ");
        // One byte more than the log gives is already drift; the other tests damage what a row says.
        let execute = |sql: String| assert_eq!(store.execute(&sql, []).unwrap(), 1, "{sql}");
        execute(format!("UPDATE {table} SET doc = doc || ' ' WHERE CAST(key AS TEXT) = '{changed}'"));
        execute(format!(
            "INSERT INTO {table} (key, {columns}) SELECT 999999999, {columns} FROM {table} WHERE CAST(key AS TEXT) = '{copied}'"
        ));
        execute(format!("DELETE FROM {table} WHERE CAST(key AS TEXT) = '{deleted}'"));
        let integer = store
            .query_row(&format!("SELECT typeof(key) = 'integer' FROM {table} LIMIT 1"), [], |row| {
                row.get::<_, bool>(0)
            })
            .unwrap();
        let shown =
            |key: &str| if integer { format!("{table}/{:0>20}", key) } else { format!("{table}/{key}") };
        expected.push((shown(changed), "changed"));
        expected.push((shown(deleted), "missing"));
        expected.push((shown("999999999"), "extra"));
    }
    expected.sort_unstable();
    expected
}

/// The same to a store on a server, through its writer.
fn damage_on_server(kind: &dyn ReadModelKind, place: &Path) -> Vec<(String, &'static str)> {
    let mut opened = kind.open(place, 1).unwrap();
    opened.model.seize().unwrap();
    let rows = opened.model.snapshot().unwrap();
    let (mut expected, mut writes) = (Vec::new(), Vec::new());
    for table in rows.tables() {
        let found = rows.scan(table, None, 3).unwrap();
        let [(changed, row), (deleted, _), (copied, copy)] = &found[..] else {
            panic!("{table} has fewer than three rows")
        };
        let more = String::from_utf8(row.clone()).unwrap().replacen("\"doc\":{", "\"doc\":{ ", 1);
        let positions = copied.len() == 20 && copied.bytes().all(|byte| byte.is_ascii_digit());
        let extra = if positions { format!("{:0>20}", 999_999_999) } else { "999999999".to_owned() };
        for (key, kind, json) in [
            (changed.clone(), "changed", Some(more.into_bytes())),
            (deleted.clone(), "missing", None),
            (extra, "extra", Some(copy.clone())),
        ] {
            expected.push((format!("{table}/{key}"), kind));
            writes.push((RowKey { table, key }, json));
        }
    }
    drop(rows);
    opened.model.repair(&writes).unwrap();
    expected.sort_unstable();
    expected
}

/// Damages every read model of tables; what must be named of each.
fn damage_all(data: &Path) -> Vec<(&'static str, Vec<(String, &'static str)>)> {
    let stores = data.join("projections");
    if !read_models_on_postgres() {
        return STORES.map(|name| (name, damage(&stores.join(format!("{name}@1.sqlite"))))).to_vec();
    }
    let setting = |wanted: &str| {
        settings(data).into_iter().find(|(name, _)| *name == wanted).unwrap_or_else(|| panic!("{wanted}")).1
    };
    let options = PostgresOptions::new(setting("DAYBOOK_READ_MODELS_URL"))
        .with_schema(setting("DAYBOOK_READ_MODELS_SCHEMA"));
    let engine: Arc<dyn RowEngine> = Arc::new(PostgresSchemas::connect(options).unwrap());
    let registry = standard::registry_on(&engine);
    STORES
        .map(|name| {
            let place = engine.place(&stores, name, 1);
            (name, damage_on_server(&**registry.get(name).unwrap(), &place))
        })
        .to_vec()
}

/// Search as the environment wants it.
fn search_kind(data: &Path) -> Box<dyn ReadModelKind> {
    let settings = settings(data);
    let setting =
        |wanted: &str| settings.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.clone());
    let Some(url) = setting("DAYBOOK_SEARCH_URL") else { return Box::new(SearchKind::default()) };
    let prefix = setting("DAYBOOK_SEARCH_PREFIX").unwrap();
    Box::new(ElasticKind::new(ElasticOptions { url, prefix, ..ElasticOptions::default() }).unwrap())
}

fn damage_search(kind: &dyn ReadModelKind, place: &Path) -> Vec<(String, &'static str)> {
    let mut opened = kind.open(place, 1).unwrap();
    let rows = opened.model.snapshot().unwrap();
    let found = rows.scan("documents", None, 3).unwrap();
    let [(stale, row), (deleted, _), (copied, copy)] = &found[..] else {
        panic!("fewer than three documents")
    };
    let mut document: Value = serde_json::from_slice(row).unwrap();
    let name = document.pointer_mut("/listing/name").expect("a document has a name");
    *name = json!("an old name");
    let mut extra: Value = serde_json::from_slice(copy).unwrap();
    extra["variant_id"] = json!("zz-extra");
    let key = |key: &str| RowKey { table: "documents", key: key.to_owned() };
    opened
        .model
        .repair(&[
            (key(stale), Some(document.to_string().into_bytes())),
            (key(deleted), None),
            (key("zz-extra"), Some(extra.to_string().into_bytes())),
        ])
        .unwrap();
    assert!(!copied.is_empty());
    let mut expected = vec![
        (format!("documents/{stale}"), "changed"),
        (format!("documents/{deleted}"), "missing"),
        ("documents/zz-extra".to_owned(), "extra"),
    ];
    expected.sort_unstable();
    expected
}

fn check(report: &Value, projection: &str, expected: &[(String, &'static str)]) {
    let expected: Vec<_> = expected.iter().map(|(key, kind)| (key.as_str(), *kind)).collect();
    assert_eq!(drift_of(report, projection), expected, "{projection}");
}

/// The real year has no price lists, and no variant with more prices than its row keeps.
async fn set_many_prices(data: &Path) {
    let server = Server::start(data);
    let mut client = server.connect().await;
    let page = client.get("/v1/variants?limit=3").await;
    let ids: Vec<&str> =
        page["variants"].as_array().unwrap().iter().map(|v| v["variant_id"].as_str().unwrap()).collect();
    let price = |amount: u32| json!({"amount": format!("{amount}.00"), "currency": "GBP"});
    for id in &ids {
        let body = json!({"price": price(1), "list": {"channel": "web"}, "reason": "r"});
        client.command(&format!("variant/{id}/change-price"), body).await;
    }
    for amount in 1..=60 {
        let body = json!({"price": price(amount), "reason": "r"});
        client.command(&format!("variant/{}/change-price", ids[0]), body).await;
    }
    server.until_projected().await;
    server.stop();
}

#[tokio::test]
async fn every_damaged_row_is_named_and_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    run_json(&data, &["import", "online-retail", sample().to_str().unwrap()]);
    set_many_prices(&data).await;
    assert_eq!(reconcile(&data, &[], 0)["clean"], true);

    let damaged = data.clone();
    // Stores on a server block the thread while it answers.
    let expected = tokio::task::spawn_blocking(move || {
        let mut expected = damage_all(&damaged);
        let place = damaged.join("projections/search@1");
        expected.push(("search", damage_search(&*search_kind(&damaged), &place)));
        expected
    });
    let expected = expected.await.unwrap();

    let report = reconcile(&data, &[], 3);
    assert_eq!(report["clean"], false);
    for (projection, rows) in &expected {
        check(&report, projection, rows);
    }
    // One projection alone, and only that one.
    let one = reconcile(&data, &["inventory"], 3);
    assert_eq!(one["projections"].as_array().unwrap().len(), 1);

    let repaired = reconcile(&data, &["--repair"], 3);
    for (projection, rows) in &expected {
        let found =
            repaired["projections"].as_array().unwrap().iter().find(|p| p["name"] == *projection).unwrap();
        assert_eq!(found["repaired"], rows.len(), "{projection}");
    }
    let clean = reconcile(&data, &[], 0);
    assert_eq!(clean["clean"], true);
    // The repair is on record.
    let output = run(&data, &["log", "read", "--type", "operations.projection_repaired"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), expected.len());
    let server = Server::start(&data);
    let sales = server.connect().await.get("/v1/analytics/sales?period=2010-12").await;
    assert!(sales["orders"].as_u64().unwrap() > 1_000);
    server.stop();
}

#[tokio::test]
async fn a_wrong_configuration_hash_and_a_wrong_quantity_are_found_on_a_running_server() {
    if !read_models_are_files() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    for n in 0..20 {
        let body = json!({"product_id": format!("p{n}"), "name": format!("Thing {n}"), "brand": "B", "category": "C", "attributes": []});
        client.command(&format!("variant/v{n}/create"), body).await;
        client.command(&format!("inventory/v{n}/receive"), json!({"quantity": 7})).await;
    }
    let url = server.url();
    let clean = run(folder.path(), &["reconcile", "--server", &url, "--format", "json"]);
    assert_eq!(clean.status.code(), Some(0), "{}", String::from_utf8_lossy(&clean.stdout));
    let damage = |file: &str, sql: &str| {
        let store = Connection::open(folder.path().join("projections").join(file)).unwrap();
        store.busy_timeout(crate::harness::DEADLINE).unwrap();
        assert_eq!(store.execute(sql, []).unwrap(), 1);
    };
    damage("catalogue@1.sqlite", "UPDATE variants SET config_hash = 'ff' WHERE key = 'v3'");
    damage(
        "inventory@1.sqlite",
        "UPDATE stock SET doc = replace(doc, '\"on_hand\":7', '\"on_hand\":9') WHERE key = 'v5'",
    );
    let found = run(folder.path(), &["reconcile", "--server", &url, "--repair", "--format", "json"]);
    assert_eq!(found.status.code(), Some(3));
    let report: Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(drift_of(&report, "catalogue"), [("variants/v3", "changed")]);
    assert_eq!(drift_of(&report, "inventory"), [("stock/v5", "changed")]);
    assert_eq!(client.get("/v1/inventory/v5").await["on_hand"], 7);
    let clean = run(folder.path(), &["reconcile", "--server", &url]);
    assert_eq!(clean.status.code(), Some(0));
    server.stop();
}

#[tokio::test]
async fn a_rebuild_under_load_swaps_without_an_error_to_any_reader() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    client.command("inventory/v/receive", json!({"quantity": 1})).await;
    let url = server.url();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut load = tokio::task::JoinSet::new();
    for lane in 0..2 {
        let (mut client, stopped) = (server.connect().await, stopped.clone());
        load.spawn(async move {
            let mut sent = 0_u64;
            while !*stopped.borrow() {
                // Writes and reads its own write, through every swap.
                let reply =
                    client.command(&format!("inventory/lane-{lane}/receive"), json!({"quantity": 1})).await;
                let position = reply["position"].as_str().unwrap();
                let stock = client.get(&format!("/v1/inventory/lane-{lane}?min_position={position}")).await;
                sent += 1;
                assert_eq!(stock["on_hand"], sent);
            }
            sent
        });
    }
    let data = folder.path().to_owned();
    let rebuilt = tokio::task::spawn_blocking(move || {
        let output = run(
            &data,
            &[
                "projections",
                "rebuild",
                "inventory",
                "catalogue",
                "audit",
                "search",
                "--server",
                &url,
                "--format",
                "json",
            ],
        );
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let rollback =
            run(&data, &["projections", "rollback", "audit", "--server", &url, "--format", "json"]);
        assert!(rollback.status.success(), "{}", String::from_utf8_lossy(&rollback.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    })
    .await
    .unwrap();
    stop.send_replace(true);
    while let Some(sent) = load.join_next().await {
        assert!(sent.unwrap() > 0);
    }
    for report in rebuilt["projections"].as_array().unwrap() {
        assert_eq!((&report["from_generation"], &report["to_generation"]), (&json!(1), &json!(2)));
    }
    server.stop();
    assert_eq!(reconcile(folder.path(), &[], 0)["clean"], true);
}

async fn audit_of(client: &mut Client) -> Value {
    let mut list = client.get("/v1/projections").await;
    let all = list["projections"].as_array_mut().unwrap();
    all.iter_mut().find(|projection| projection["name"] == "audit").unwrap().take()
}

#[tokio::test]
async fn a_rebuild_goes_on_when_its_client_goes_away() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    for n in 0..200 {
        client.command(&format!("inventory/v{n}/receive"), json!({"quantity": 1})).await;
    }
    let deadline = Instant::now() + DEADLINE;
    let mut audit = audit_of(&mut client).await;
    let mut caught_half_way = false;
    while !caught_half_way {
        let before = audit["generation"].as_u64().unwrap();
        let mut hasty = tokio::net::TcpStream::connect(server.address).await.unwrap();
        let request = b"POST /v1/projections/audit/rebuild HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
        hasty.write_all(request).await.unwrap();
        // Gone before the rebuild has begun, the client would have asked for nothing.
        while audit["building"].is_null() && audit["generation"] == before {
            assert!(Instant::now() < deadline, "{audit}");
            audit = audit_of(&mut client).await;
        }
        caught_half_way = !audit["building"].is_null();
        drop(hasty);
        while audit["state"] != "running" || !audit["building"].is_null() || audit["generation"] == before {
            assert!(Instant::now() < deadline, "{audit}");
            audit = audit_of(&mut client).await;
        }
    }
    server.stop();
}

#[tokio::test]
async fn drills_and_repairs_leave_a_projection_paused_that_was() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    for n in 0..30 {
        client.command(&format!("inventory/v{n}/receive"), json!({"quantity": 7})).await;
    }
    let reply = client.command("inventory/v0/receive", json!({"quantity": 7})).await;
    client.get(&format!("/v1/inventory/v0?min_position={}", reply["position"].as_str().unwrap())).await;
    assert_eq!(client.post("/v1/projections/inventory/pause", json!({})).await.status, 200);
    let drill = ["simulate", "drift", "--projection", "inventory", "--share", "0.2", "--repair"];
    let output = run(folder.path(), &[&drill[..], &["--server", &server.url()]].concat());
    assert!(output.status.success(), "{output:?}");
    let list = client.get("/v1/projections").await;
    let stock = list["projections"].as_array().unwrap().iter().find(|p| p["name"] == "inventory").unwrap();
    assert_eq!(stock["state"], "paused", "{stock}");
    server.stop();
}
