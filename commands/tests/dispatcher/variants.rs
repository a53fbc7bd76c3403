//! Variants with their claims.

use daybook_commands::{CommandError, Options};
use serde_json::{Value, json};

use crate::support::{Shop, data};

fn shirt(size: &str, sku: Value) -> Value {
    json!({
        "product_id": "shirt", "name": "Shirt", "brand": "Acme", "category": "Shirts", "sku": sku,
        "attributes": [{"type": "color", "value": "Navy"}, {"type": "size", "value": size}],
    })
}

fn manual(sku: &str) -> Value {
    json!({"strategy": "manual", "value": sku})
}

async fn sku_of(shop: &Shop, variant: &str) -> String {
    let events = shop.events().await;
    let created = events.iter().find(|e| e.stream() == format!("variant-{variant}")).unwrap();
    data(created)["sku"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_variant_and_its_claims_are_one_append() {
    let shop = Shop::open().await;
    let reply = shop.ok("variant/v1/create", shirt("M", manual("A"))).await;
    assert!(reply.created);
    assert_eq!((reply.revision, reply.events.len(), reply.position), (1, 1, 3));
    let history = shop.history().await;
    assert!(
        history[0].starts_with("claim-config-") && history[1] == "claim-sku-A claim.taken",
        "{history:?}"
    );
    assert_eq!(history[2], "variant-v1 variant.created");
    assert!(shop.ok("variant/v1/create", shirt("M", manual("A"))).await.events.is_empty(), "a repeat");
}

#[tokio::test]
async fn no_two_variants_share_a_sku_or_a_configuration() {
    let shop = Shop::open().await;
    shop.ok("variant/v1/create", shirt("M", manual("A"))).await;
    let Err(CommandError::Refused(refusal)) = shop.send("variant/v2/create", shirt("M", manual("B"))).await
    else {
        panic!("accepted")
    };
    assert_eq!(refusal.code, "duplicate_configuration");
    assert!(refusal.detail.contains("v1"), "{}", refusal.detail);
    assert_eq!(shop.no("variant/v2/create", shirt("L", manual("A"))).await, "duplicate_sku");
    let shop = shop.restarted(Options::default()).await;
    assert_eq!(
        shop.no("variant/v2/create", shirt("M", json!({"strategy": "auto"}))).await,
        "duplicate_configuration"
    );
    shop.ok("variant/v2/create", shirt("L", manual("B"))).await;
}

#[tokio::test]
async fn sixty_four_callers_race_for_one_configuration_and_one_wins() {
    let shop = Shop::open().await;
    let answers: Vec<_> = (0..64)
        .map(|n| {
            let sku = if n % 2 == 0 { manual("A") } else { json!({"strategy": "auto"}) };
            shop.send(&format!("variant/v{n}/create"), shirt("M", sku))
        })
        .collect();
    let mut won = 0;
    for answer in answers {
        match answer.await {
            Ok(_) => won += 1,
            Err(error) => assert_eq!(error.code(), "duplicate_configuration"),
        }
    }
    assert_eq!(won, 1);
    assert_eq!(shop.history().await.len(), 3);
}

#[tokio::test]
async fn templates_draw_numbers_and_skip_taken_skus() {
    let shop = Shop::open().await;
    let template = json!({"strategy": "template", "template": "{brand}-{size}-{seq:3}"});
    shop.ok("variant/v1/create", shirt("M", template.clone())).await;
    let mut other = shirt("M", manual("ACME-M-002"));
    other["product_id"] = json!("skirt");
    shop.ok("variant/v2/create", other).await;
    let mut third = shirt("M", template);
    third["product_id"] = json!("coat");
    shop.ok("variant/v3/create", third.clone()).await;
    assert_eq!(sku_of(&shop, "v1").await, "ACME-M-001");
    assert_eq!(sku_of(&shop, "v3").await, "ACME-M-003");
    assert!(shop.ok("variant/v3/create", third).await.events.is_empty(), "a repeat draws no number");
}

#[tokio::test]
async fn an_archived_variant_gives_its_configuration_back_but_not_its_sku() {
    let shop = Shop::open().await;
    shop.ok("variant/v1/create", shirt("M", json!({"strategy": "auto"}))).await;
    shop.ok("inventory/v1/receive", json!({"quantity": 1})).await;
    assert_eq!(shop.no("variant/v1/archive", json!({})).await, "stock_left");
    shop.ok("inventory/v1/sell", json!({"quantity": 1})).await;
    shop.ok("variant/v1/archive", json!({"reason": "gone"})).await;
    assert!(shop.ok("variant/v1/archive", json!({})).await.events.is_empty());
    shop.ok("variant/v2/create", shirt("M", json!({"strategy": "auto"}))).await;
    let (first, second) = (sku_of(&shop, "v1").await, sku_of(&shop, "v2").await);
    assert!(second.starts_with(&first) && second.len() > first.len(), "{first} {second}");
}
