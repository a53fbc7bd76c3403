//! Master data over HTTP: from a colour to the variants that use it.

use std::time::{Duration, Instant};

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
    let deadline = Instant::now() + Duration::from_secs(20);
    for variant in &variants {
        let path = format!("/v1/variants/{}", variant["variant_id"].as_str().unwrap());
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
    let report = crate::harness::run_json(folder.path(), &["reconcile", "--format", "json"]);
    assert_eq!(report["clean"], true, "{report}");
}
