//! Variants as imports bring them: created in the state they are in, checked without a trace.

use daybook_commands::CommandError;
use serde_json::{Value, json};

use crate::support::Shop;

fn tee(fields: Value) -> Value {
    let mut body = json!({
        "product_id": "tee", "name": "Tee", "brand": "Acme", "category": "Shirts",
        "attributes": [{"type": "color", "value": "Navy"}],
        "price": {"amount": "10", "currency": "GBP"}, "sku": {"strategy": "manual", "value": "TEE-1"},
    });
    let Value::Object(fields) = fields else { panic!("an object") };
    body.as_object_mut().unwrap().extend(fields);
    body
}

fn codes(result: Result<daybook_commands::Reply, CommandError>) -> Vec<&'static str> {
    match result {
        Err(CommandError::Refused(refusal)) => refusal.errors.iter().map(|error| error.code).collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_variant_comes_into_being_in_the_state_asked_for_in_one_append() {
    let shop = Shop::open().await;
    let reply = shop.ok("variant/a/create", tee(json!({"lifecycle": "active"}))).await;
    let names: Vec<_> = reply.events.iter().map(|event| event.event_type).collect();
    assert_eq!(names, ["variant.created", "variant.submitted", "variant.activated"]);
    assert_eq!(shop.events().await.len(), 5, "with the claims on SKU and configuration");
    assert!(shop.ok("variant/a/create", tee(json!({"lifecycle": "active"}))).await.events.is_empty());
    shop.ok("variant/a/clear", json!({})).await;
    let again = shop.ok("variant/a/create", tee(json!({"lifecycle": "active"}))).await;
    assert!(again.events.is_empty(), "a repeat does not take it back to where it began");
}

#[tokio::test]
async fn a_check_tells_everything_and_leaves_nothing() {
    let shop = Shop::open().await;
    shop.ok("variant/a/create", tee(json!({}))).await;
    shop.ok("product/tee/set-rules", json!({"rules": {"attributes": [{"type": "size", "required": true}]}}))
        .await;
    let before = shop.history().await;
    let bad = tee(json!({
        "price": {"amount": "-1", "currency": "GBP"}, "lifecycle": "archived",
    }));
    let mut told = codes(shop.send("variant/b/check", bad).await);
    told.sort_unstable();
    let expected = [
        "combination_not_allowed",
        "duplicate_configuration",
        "duplicate_sku",
        "invalid_request",
        "unprocessable",
    ];
    assert_eq!(told, expected);
    let good = tee(json!({
        "sku": {"strategy": "manual", "value": "TEE-2"}, "lifecycle": "active",
        "attributes": [{"type": "color", "value": "Navy"}, {"type": "size", "value": "M"}],
    }));
    let reply = shop.ok("variant/b/check", good.clone()).await;
    assert_eq!((reply.revision, reply.events.len()), (0, 0));
    assert_eq!(shop.history().await, before);
    shop.ok("variant/b/create", good.clone()).await;
    assert_eq!(shop.ok("variant/b/check", good.clone()).await.revision, 3, "what is there is no objection");
    assert_eq!(shop.no("variant/a/check", good).await, "duplicate_variant");
}

/// Each on its own: nothing that one check looked at stands in the way of the next.
#[tokio::test]
async fn checks_claim_nothing_from_each_other() {
    let shop = Shop::open().await;
    let template = tee(json!({"sku": {"strategy": "template", "template": "{brand}-{seq:3}"}}));
    let answers: Vec<_> =
        (0..32).map(|n| shop.send(&format!("variant/v{n}/check"), template.clone())).collect();
    for answer in answers {
        answer.await.unwrap();
    }
    assert!(shop.events().await.is_empty());
}
