//! Master data over HTTP: from a colour to the variants that use it.

use std::time::{Duration, Instant};

use daybook_eventlog::{
    Append, EventLog, Expected, NewEvent, SegmentLog, SegmentOptions, StreamAppend, StreamId,
};
use serde_json::{Value, json};

use crate::harness::{Client, Server};

async fn active(client: &mut Client, path: &str, body: Value) {
    client.command(&format!("{path}/create"), body).await;
    client.command(&format!("{path}/submit"), json!({})).await;
    client.command(&format!("{path}/approve"), json!({})).await;
}

#[tokio::test]
async fn master_data_from_creation_to_the_variants_that_follow_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    active(&mut client, "color/navy", json!({"name": "Navy", "hex": "#000080", "family": "blue"})).await;
    for (id, value) in [("m", "M"), ("l", "L")] {
        let body =
            json!({"category": "shirts", "gender": "unisex", "region": "international", "value": value});
        active(&mut client, &format!("size/{id}"), body).await;
    }
    let schema = json!({"attributes": [{"type": "color", "required": true}]});
    active(&mut client, "category/shirts", json!({"name": "Shirts", "attribute_schema": schema})).await;

    let made = client
        .command(
            "product/linen/generate-variants",
            json!({"name": "Linen shirt", "brand": "Weaver", "category": "Shirts", "options": [
                {"type": "color", "values": [{"value": "Navy", "value_id": "navy"}]},
                {"type": "size", "values": [{"value": "M", "value_id": "m"}, {"value": "L", "value_id": "l"}]},
            ], "price": {"amount": "39.90", "currency": "GBP"}}),
        )
        .await;
    let variants = made["events"][0]["data"]["variants"].as_array().unwrap().clone();
    assert_eq!(variants.len(), 2);
    let position = made["position"].as_str().unwrap();
    let colors = client.get(&format!("/v1/colors?family=blue&min_position={position}")).await;
    let shown = &colors["items"][0];
    assert_eq!(
        (&shown["slug"], &shown["in_use"], &shown["hsl"]["h"]),
        (&json!("navy"), &json!(2), &json!(240))
    );
    let sizes = client.get("/v1/sizes?category=shirts").await;
    let order: Vec<_> = sizes["items"].as_array().unwrap().iter().map(|size| size["value"].clone()).collect();
    assert_eq!(order, ["M", "L"]);
    assert_eq!(client.get("/v1/categories?slug=shirts").await["items"][0]["in_use"], 2);
    assert_eq!(client.get("/v1/categories/shirts").await["path"], "shirts");

    client.command("color/navy/change", json!({"name": "Midnight", "hex": "#000070"})).await;
    let deadline = Instant::now() + Duration::from_secs(90);
    for variant in &variants {
        let id = variant["variant_id"].as_str().unwrap();
        let path = format!("/v1/variants/{id}?min_position={position}");
        loop {
            let shown = client.get(&path).await;
            let color = &shown["attributes"][0];
            if color["display"] == "Midnight" && color["hex"] == "#000070" {
                assert_eq!(color["value_id"], "navy");
                break;
            }
            assert!(Instant::now() < deadline, "the variants did not follow: {shown}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let (status, code) = client.refused("color/navy/archive", json!({})).await;
    assert_eq!((status, code.as_str()), (409, "invalid_transition"));
    client.command("color/navy/deprecate", json!({"reason": "end of season"})).await;
    let (status, code) = client.refused("color/navy/archive", json!({})).await;
    assert_eq!((status, code.as_str()), (409, "in_use"));
    server.stop();
    let report = crate::harness::run_json(folder.path(), &["reconcile"]);
    assert_eq!(report["clean"], true, "{report}");
}

/// Appends an event to the end of a stream past every rule, as damage does.
async fn plant(log: &dyn EventLog, stream: &str, event_type: &'static str, data: Value) {
    let stream = StreamId::new(stream).unwrap();
    let before = log.stream_revision(&stream).await.unwrap();
    let metadata = json!({"command_id": "x", "correlation_id": "x", "causation_id": "x", "actor": "test"});
    let event = NewEvent {
        event_id: uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("{stream}{before}").as_bytes()),
        event_type,
        version: 1,
        recorded_at: 1_700_000_000_000_000,
        data: data.to_string().into(),
        metadata: metadata.to_string().into(),
    };
    let streams = vec![StreamAppend { stream, expected: Expected::Exact(before), events: vec![event] }];
    log.append(Append::new(streams)).await.unwrap();
}

fn findings(report: &Value) -> Vec<(String, String, bool)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut found: Vec<_> = report["integrity"]["findings"]
        .as_array()
        .unwrap_or_else(|| panic!("{report}"))
        .iter()
        .map(|f| (text(&f["kind"]), text(&f["key"]), f["repaired"].as_bool().unwrap()))
        .collect();
    found.sort_unstable();
    found
}

fn reconcile(data: &std::path::Path, arguments: &[&str], status: i32) -> Value {
    let output = crate::harness::run(data, &[&["reconcile", "--format", "json"], arguments].concat());
    assert_eq!(output.status.code(), Some(status), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn reconcile_finds_what_does_not_agree_and_puts_right_what_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    active(&mut client, "color/navy", json!({"name": "Navy", "hex": "#000080"})).await;
    active(&mut client, "color/red", json!({"name": "Red", "hex": "#ff0000"})).await;
    let tee = |value: &str| {
        json!({"product_id": "tee", "name": "Tee", "brand": "Acme", "category": "Shirts",
            "attributes": [{"type": "color", "value": value, "value_id": value}]})
    };
    client.command("variant/v1/create", tee("navy")).await;
    client.command("variant/v2/create", tee("red")).await;
    // A variant that is bound to master data of every kind.
    let size = json!({"category": "jeans", "gender": "unisex", "region": "international", "value": "M"});
    active(&mut client, "size/m", size).await;
    active(&mut client, "category/jeans", json!({"name": "Jeans"})).await;
    active(&mut client, "attribute_type/cut", json!({"name": "Cut", "data_type": "text"})).await;
    active(&mut client, "attribute_value/slim", json!({"type": "cut", "value": "Slim"})).await;
    let jeans = json!({"product_id": "jeans", "name": "Jeans", "brand": "Acme", "category": "Jeans", "attributes": [
        {"type": "size", "value": "M", "value_id": "m"}, {"type": "cut", "value": "Slim", "value_id": "slim"}]});
    client.command("variant/v0/create", jeans).await;
    server.stop();
    let report = reconcile(folder.path(), &[], 0);
    assert_eq!((findings(&report).len(), &report["integrity"]["checked"]), (0, &json!(9)));

    let log = SegmentLog::open(folder.path().join("log"), SegmentOptions::default()).unwrap();
    let usage = json!({"delta": 6, "in_use": 7, "recounted": false});
    plant(&log, "color-navy", "color.usage_changed", usage).await;
    for (stream, event_type) in [
        ("size-m", "size.usage_changed"),
        ("category-jeans", "category.usage_changed"),
        ("attribute_type-cut", "attribute_type.usage_changed"),
        ("attribute_value-slim", "attribute_value.usage_changed"),
    ] {
        plant(&log, stream, event_type, json!({"delta": -1, "in_use": 0, "recounted": false})).await;
    }
    let gone = json!({"values": [{"kind": "color", "value_id": "gone"}]});
    plant(&log, "variant-v2", "variant.references_bound", gone).await;
    let created = json!({"variant_id": "v3", "product_id": "tee", "product_group": "tee", "sku": "T-3", "name": "Tee", "brand": "Acme",
        "category": "Shirts", "attributes": [{"type": "color", "value": "Lime", "value_id": "lime", "display": "Lime"}],
        "config_hash": "0".repeat(64), "config_signature": "color:lime", "channels": [], "regions": [],
        "created_at": "2026-01-01T00:00:00Z"});
    plant(&log, "variant-v3", "variant.created", created.clone()).await;
    let mut twin = created;
    twin["variant_id"] = json!("v4");
    plant(&log, "variant-v4", "variant.created", twin).await;
    log.close().await;

    let wrong = |repaired| {
        let finding = |kind: &str, key: &str, repaired| (kind.to_owned(), key.to_owned(), repaired);
        vec![
            finding("configuration_hash", "variant-v3", false),
            finding("configuration_hash", "variant-v4", false),
            finding("duplicate_configuration", "variant-v4", false),
            finding("duplicate_sku", "variant-v4", false),
            finding("orphaned_reference", "color-gone", false),
            finding("usage_count", "attribute_type-cut", repaired),
            finding("usage_count", "attribute_value-slim", repaired),
            finding("usage_count", "category-jeans", repaired),
            finding("usage_count", "color-navy", repaired),
            finding("usage_count", "color-red", repaired),
            finding("usage_count", "size-m", repaired),
        ]
    };
    assert_eq!(findings(&reconcile(folder.path(), &[], 3)), wrong(false));
    let repaired = reconcile(folder.path(), &["--repair"], 3);
    assert_eq!((findings(&repaired), &repaired["integrity"]["repaired"]), (wrong(true), &json!(6)));
    let rest = findings(&reconcile(folder.path(), &[], 3));
    assert_eq!(rest, wrong(true)[..5], "what needs a decision stays until somebody takes it");
}
