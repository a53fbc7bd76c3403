//! Master data with its claims, its tree and its usage counts; variants that refer to it.

use daybook_commands::{CommandError, Options};
use serde_json::{Value, json};

use crate::support::{Shop, data};

fn size(value: &str) -> Value {
    json!({"category": "shirts", "gender": "unisex", "region": "international", "value": value})
}

async fn color(shop: &Shop, id: &str, name: &str, hex: &str) {
    shop.ok(&format!("color/{id}/create"), json!({"name": name, "hex": hex})).await;
    shop.ok(&format!("color/{id}/submit"), json!({})).await;
    shop.ok(&format!("color/{id}/approve"), json!({})).await;
}

async fn sized(shop: &Shop, id: &str, value: &str) {
    shop.ok(&format!("size/{id}/create"), size(value)).await;
    shop.ok(&format!("size/{id}/activate"), json!({})).await;
}

/// The payload of the last event of a type in a stream.
async fn last(shop: &Shop, stream: &str, event_type: &str) -> Value {
    let events = shop.events().await;
    let found = events.iter().rev().find(|e| e.stream() == stream && e.event_type() == event_type);
    data(found.unwrap_or_else(|| panic!("{stream} has no {event_type}")))
}

fn shirt(color: &str, size: &str) -> Value {
    json!({
        "product_id": "shirt", "name": "Shirt", "brand": "Acme", "category": "Shirts",
        "price": {"amount": "10", "currency": "GBP"},
        "attributes": [
            {"type": "color", "value": color, "value_id": color}, {"type": "size", "value": size, "value_id": size},
        ],
    })
}

async fn refusal(shop: &Shop, path: &str, body: Value) -> daybook_aggregates::Refusal {
    match shop.send(path, body).await {
        Err(CommandError::Refused(refusal)) => *refusal,
        other => panic!("{path}: {other:?}"),
    }
}

#[tokio::test]
async fn what_is_unique_is_claimed_with_the_record_and_stays_claimed() {
    let shop = Shop::open().await;
    shop.ok("size/s1/create", size("M")).await;
    assert_eq!(shop.no("size/s2/create", size(" m ")).await, "duplicate_size");
    shop.ok("size/s2/create", size("L")).await;
    color(&shop, "c1", "Navy", "#000080").await;
    assert_eq!(
        shop.no("color/c2/create", json!({"name": "navy!", "hex": "#111111"})).await,
        "duplicate_slug"
    );
    shop.ok("color/c1/change-slug", json!({"slug": "midnight", "reason": "renamed"})).await;
    assert_eq!(shop.no("color/c2/create", json!({"name": "Navy", "hex": "#111111"})).await, "duplicate_slug");
    shop.ok("color/c1/change-slug", json!({"slug": "navy", "reason": "back"})).await;
    let of = json!({"code": "material", "name": "Material", "data_type": "text"});
    shop.ok("attribute_type/t1/create", of.clone()).await;
    assert_eq!(shop.no("attribute_type/t2/create", of).await, "duplicate_code");
    let value = json!({"type": "material", "value": "Wool"});
    shop.ok("attribute_value/v1/create", value.clone()).await;
    assert_eq!(shop.no("attribute_value/v2/create", value.clone()).await, "duplicate_value");
    assert!(shop.ok("attribute_value/v1/create", value).await.events.is_empty(), "a repeat");
    let shop = shop.restarted(Options::default()).await;
    assert_eq!(shop.no("size/s3/create", size("M")).await, "duplicate_size");
    let claimed = last(&shop, "size-s1", "size.created").await;
    assert_eq!(claimed["rank"], 500);
}

#[tokio::test]
async fn sixty_four_callers_race_for_one_of_each_and_one_wins() {
    let shop = Shop::open().await;
    let races: [(&str, Value, &str); 4] = [
        ("size", size("M"), "duplicate_size"),
        ("color", json!({"name": "Navy", "hex": "#000080"}), "duplicate_slug"),
        ("attribute_type", json!({"code": "fit", "name": "Fit", "data_type": "text"}), "duplicate_code"),
        ("category", json!({"name": "Shirts"}), "duplicate_slug"),
    ];
    for (aggregate, body, code) in races {
        let answers: Vec<_> =
            (0..64).map(|n| shop.send(&format!("{aggregate}/r{n}/create"), body.clone())).collect();
        let mut won = 0;
        for answer in answers {
            match answer.await {
                Ok(_) => won += 1,
                Err(error) => assert_eq!(error.code(), code),
            }
        }
        assert_eq!(won, 1, "{aggregate}");
    }
}

#[tokio::test]
async fn a_type_counts_its_values_and_lends_them_its_rules() {
    let shop = Shop::open().await;
    let value = |value: &str| json!({"type": "material", "value": value});
    assert_eq!(shop.no("attribute_value/v1/create", value("Wool")).await, "unprocessable");
    let of = json!({"code": "material", "name": "Material", "data_type": "text", "allowed": {"one_of": ["Wool", "Silk"]}});
    shop.ok("attribute_type/t1/create", of).await;
    assert_eq!(shop.no("attribute_value/v1/create", value("Cotton")).await, "unprocessable");
    shop.ok("attribute_value/v1/create", value("Wool")).await;
    assert_eq!(shop.no("attribute_value/v1/activate", json!({})).await, "unprocessable");
    assert_eq!(shop.no("attribute_type/t1/archive", json!({})).await, "in_use");
    shop.ok("attribute_type/t1/activate", json!({})).await;
    shop.ok("attribute_value/v1/activate", json!({})).await;
    shop.ok("attribute_value/v1/deprecate", json!({})).await;
    shop.ok("attribute_value/v1/archive", json!({})).await;
    assert!(shop.ok("attribute_value/v1/archive", json!({})).await.events.is_empty());
    assert_eq!(last(&shop, "attribute_type-t1", "attribute_type.usage_changed").await["in_use"], 0);
    shop.ok("attribute_type/t1/deprecate", json!({})).await;
    assert_eq!(shop.no("attribute_value/v2/create", value("Silk")).await, "unprocessable");
    shop.ok("attribute_type/t1/archive", json!({})).await;
}

#[tokio::test]
async fn a_tree_stays_whole_through_moves_and_new_slugs() {
    let shop = Shop::open().await;
    for (id, parent) in [
        ("goods", None),
        ("apparel", Some("goods")),
        ("shirts", Some("apparel")),
        ("linen", Some("shirts")),
        ("home", None),
    ] {
        shop.ok(&format!("category/{id}/create"), json!({"name": id, "parent_id": parent})).await;
    }
    assert_eq!(last(&shop, "category-linen", "category.created").await["path"], "goods/apparel/shirts/linen");
    assert_eq!(
        shop.no("category/lost/create", json!({"name": "lost", "parent_id": "nowhere"})).await,
        "unprocessable"
    );
    for below in ["apparel", "shirts", "linen"] {
        let body = json!({"parent_id": below});
        assert_eq!(shop.no("category/apparel/move", body).await, "unprocessable", "below {below}");
    }
    let before = shop.events().await.len();
    shop.ok("category/apparel/move", json!({"parent_id": "home", "reason": "new tree"})).await;
    let events = shop.events().await;
    let written: Vec<_> =
        events[before..].iter().map(|e| format!("{} {}", e.stream(), e.event_type())).collect();
    let expected = [
        "category-shirts category.path_changed",
        "category-linen category.path_changed",
        "category-goods category.child_removed",
        "category-home category.child_added",
        "category-apparel category.moved",
    ];
    assert_eq!(written.len(), expected.len(), "{written:?}");
    assert!(expected.iter().all(|event| written.iter().any(|other| other == event)), "{written:?}");
    let path = json!({"path": "home/apparel/shirts/linen", "depth": 3});
    assert_eq!(last(&shop, "category-linen", "category.path_changed").await, path);
    shop.ok("category/apparel/change-slug", json!({"slug": "clothes", "reason": "plain words"})).await;
    let path = json!({"path": "home/clothes/shirts/linen", "depth": 3});
    assert_eq!(last(&shop, "category-linen", "category.path_changed").await, path);
    assert_eq!(shop.no("category/x/create", json!({"name": "Apparel"})).await, "duplicate_slug");
    shop.ok("category/home/move", json!({"parent_id": "goods"})).await;
    assert_eq!(shop.no("category/goods/move", json!({"parent_id": "linen"})).await, "unprocessable");
}

#[tokio::test]
async fn moves_at_the_same_time_never_make_a_cycle() {
    let shop = Shop::open().await;
    for n in 0..8 {
        shop.ok(&format!("category/n{n}/create"), json!({"name": format!("n{n}")})).await;
    }
    // Everyone below the next, the last below the first: one of them must be refused.
    let moves: Vec<_> = (0..8)
        .map(|n| shop.send(&format!("category/n{n}/move"), json!({"parent_id": format!("n{}", (n + 1) % 8)})))
        .collect();
    let mut refused = 0;
    for answer in moves {
        match answer.await {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.code(), "unprocessable");
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 1);
}

#[tokio::test]
async fn a_category_is_live_below_live_ones_and_archived_when_nothing_is_left_below() {
    let shop = Shop::open().await;
    shop.ok("category/a/create", json!({"name": "a"})).await;
    shop.ok("category/b/create", json!({"name": "b", "parent_id": "a"})).await;
    assert_eq!(shop.no("category/b/activate", json!({})).await, "unprocessable");
    shop.ok("category/a/activate", json!({})).await;
    shop.ok("category/b/activate", json!({})).await;
    shop.ok("category/a/deprecate", json!({})).await;
    let refusal = refusal(&shop, "category/a/archive", json!({})).await;
    assert_eq!(refusal.detail, "category b below it is active: archive it first");
    shop.ok("category/b/deprecate", json!({})).await;
    shop.ok("category/b/archive", json!({})).await;
    shop.ok("category/a/archive", json!({})).await;
}

#[tokio::test]
async fn a_variant_copies_master_data_and_counts_as_its_user() {
    let shop = Shop::open().await;
    color(&shop, "navy", "Deep Navy", "#000080").await;
    sized(&shop, "size-m", "M").await;
    shop.ok("category/c1/create", json!({"name": "Shirts", "channels": ["web", "app"]})).await;
    assert_eq!(shop.no("variant/v1/create", shirt("navy", "size-m")).await, "unprocessable");
    shop.ok("category/c1/activate", json!({})).await;
    shop.ok("variant/v1/create", shirt("navy", "size-m")).await;
    let created = last(&shop, "variant-v1", "variant.created").await;
    assert_eq!(
        created["attributes"],
        json!([
            {"type": "color", "value": "Deep Navy", "value_id": "navy", "display": "Deep Navy", "hex": "#000080"},
            {"type": "size", "value": "M", "value_id": "size-m", "display": "M", "rank": 500},
        ])
    );
    assert_eq!(created["channels"], json!(["app", "web"]), "it is sold where its category allows");
    assert_eq!(created["config_signature"], "color:deep navy|size:m");
    for (stream, event) in [("color-navy", "color"), ("size-size-m", "size"), ("category-c1", "category")] {
        let count = last(&shop, stream, &format!("{event}.usage_changed")).await;
        assert_eq!((&count["delta"], &count["in_use"]), (&json!(1), &json!(1)));
    }
    assert!(shop.ok("variant/v1/create", shirt("navy", "size-m")).await.events.is_empty(), "a repeat");
    assert_eq!(
        shop.no("variant/v1/change-segmentation", json!({"channels": ["shop"]})).await,
        "unprocessable"
    );
    shop.ok("color/navy/deprecate", json!({})).await;
    assert_eq!(shop.no("color/navy/archive", json!({})).await, "in_use");
    shop.ok("variant/v1/submit", json!({})).await;
    let refusal = refusal(&shop, "variant/v1/approve", json!({})).await;
    assert_eq!(refusal.detail, "color navy is deprecated: it must be active");
    shop.ok("variant/v1/reject", json!({})).await;
    shop.ok("variant/v1/archive", json!({})).await;
    assert_eq!(last(&shop, "color-navy", "color.usage_changed").await["in_use"], 0);
    shop.ok("color/navy/archive", json!({})).await;
}

#[tokio::test]
async fn a_registered_type_is_strict_and_others_stay_text() {
    let shop = Shop::open().await;
    let of = json!({"name": "Colour", "data_type": "color"});
    shop.ok("attribute_type/color/create", of).await;
    let inline = |color: &str, product: &str| {
        json!({"product_id": product, "name": "x", "brand": "Acme", "category": "Shirts",
            "attributes": [{"type": "color", "value": color}, {"type": "fit", "value": "slim"}]})
    };
    shop.ok("variant/v0/create", inline("Navy", "p0")).await;
    shop.ok("attribute_type/color/activate", json!({})).await;
    let refusal = refusal(&shop, "variant/v1/create", inline("Navy", "p1")).await;
    assert!(refusal.detail.contains("registered"), "{refusal}");
    color(&shop, "c7", "Navy", "#000080").await;
    shop.ok("variant/v1/create", inline("navy", "p1")).await;
    let created = last(&shop, "variant-v1", "variant.created").await;
    assert_eq!(created["attributes"][0]["value_id"], "c7", "found by its slug");
    assert_eq!(created["attributes"][1]["value_id"], "fit-slim");
    shop.ok("variant/v0/submit", json!({})).await;
    shop.ok("variant/v0/change-price", json!({"price": {"amount": "1", "currency": "GBP"}, "reason": "r"}))
        .await;
    shop.ok("variant/v0/approve", json!({})).await;
}

#[tokio::test]
async fn rules_of_product_category_and_brand_hold_together() {
    let shop = Shop::open().await;
    color(&shop, "navy", "Navy", "#000080").await;
    let schema = json!({"attributes": [{"type": "size", "required": true}]});
    shop.ok(
        "category/top/create",
        json!({"name": "Tops", "attribute_schema": schema, "regions": ["eu", "uk"]}),
    )
    .await;
    shop.ok("category/c1/create", json!({"name": "Shirts", "parent_id": "top"})).await;
    shop.ok("category/top/activate", json!({})).await;
    shop.ok("category/c1/activate", json!({})).await;
    shop.ok(
        "product/shirt/set-rules",
        json!({"rules": {"forbidden": [{"first": "navy", "second": "size-l"}]}}),
    )
    .await;
    shop.ok("attribute_type/brand/create", json!({"name": "Brand", "data_type": "text"})).await;
    shop.ok(
        "attribute_value/brand-acme/create",
        json!({"type": "brand", "value": "Acme", "regions": ["uk", "us"]}),
    )
    .await;
    shop.ok("attribute_type/brand/activate", json!({})).await;
    shop.ok("attribute_value/brand-acme/activate", json!({})).await;
    let mut body = shirt("navy", "size-l");
    body["regions"] = json!(["us"]);
    let refused = refusal(&shop, "variant/v1/create", body).await;
    let told: Vec<_> = refused.errors.iter().map(|error| error.detail.as_str()).collect();
    assert_eq!(
        told,
        [
            "navy and size-l do not go together (rules of product shirt)",
            "region us is outside of what category top allows",
        ]
    );
    let no_size = json!({"product_id": "shirt", "name": "x", "brand": "Acme", "category": "Shirts"});
    assert_eq!(shop.no("variant/v1/create", no_size).await, "combination_not_allowed");
    shop.ok("variant/v1/create", shirt("navy", "size-m")).await;
    assert_eq!(last(&shop, "variant-v1", "variant.created").await["regions"], json!(["uk"]));
}

#[tokio::test]
async fn a_change_of_master_data_is_taken_over_once() {
    let shop = Shop::open().await;
    color(&shop, "navy", "Navy", "#000080").await;
    shop.ok("variant/v1/create", shirt("navy", "size-m")).await;
    let refresh = json!({"value_id": "navy"});
    assert!(shop.ok("variant/v1/refresh-attribute", refresh.clone()).await.events.is_empty());
    shop.ok("color/navy/change", json!({"name": "Midnight", "hex": "#000070"})).await;
    shop.ok("variant/v1/refresh-attribute", refresh.clone()).await;
    let refreshed = last(&shop, "variant-v1", "variant.attribute_refreshed").await;
    assert_eq!(
        refreshed,
        json!({"value_id": "navy", "display": "Midnight", "hex": "#000070", "deprecated": false})
    );
    assert!(shop.ok("variant/v1/refresh-attribute", refresh).await.events.is_empty());
    let inline = json!({"value_id": "size-m"});
    assert!(
        shop.ok("variant/v1/refresh-attribute", inline).await.events.is_empty(),
        "inline text has no master"
    );
}

#[tokio::test]
async fn a_repeated_creation_finds_its_variant_whatever_the_master_data_is_called_by_now() {
    let shop = Shop::open().await;
    color(&shop, "navy", "Navy", "#000080").await;
    shop.ok("category/shirts/create", json!({"name": "Shirts"})).await;
    shop.ok("category/shirts/activate", json!({})).await;
    let of = |sku: Value, variant: &str| {
        let mut body = shirt("navy", "size-m");
        body["sku"] = sku;
        body["product_id"] = variant.into();
        body
    };
    let bodies = [
        ("v1", of(json!({"strategy": "auto"}), "v1")),
        ("v2", of(json!({"strategy": "template", "template": "T-{color}-{size}"}), "v2")),
        ("v3", of(json!({"strategy": "manual", "value": "V3"}), "v3")),
    ];
    for (id, body) in &bodies {
        shop.ok(&format!("variant/{id}/create"), body.clone()).await;
    }
    let repeats = async |when: &str| {
        for (id, body) in &bodies {
            let reply = shop.ok(&format!("variant/{id}/create"), body.clone()).await;
            assert!(reply.events.is_empty(), "{id} {when}");
        }
    };
    shop.ok("color/navy/change", json!({"name": "Midnight", "hex": "#000070"})).await;
    shop.ok("category/shirts/change", json!({"name": "Tops"})).await;
    repeats("before the change is carried on").await;
    shop.ok("variant/v1/refresh-attribute", json!({"value_id": "navy"})).await;
    repeats("after it").await;
    // Another value is another configuration, and another text that is bound to nothing is no repeat.
    color(&shop, "red", "Red", "#ff0000").await;
    let mut other = bodies[0].1.clone();
    other["attributes"][0] = json!({"type": "color", "value": "Red", "value_id": "red"});
    shop.no("variant/v1/create", other).await;
    let mut other = bodies[0].1.clone();
    other["attributes"][1]["display"] = "medium".into();
    assert_eq!(shop.no("variant/v1/create", other).await, "duplicate_variant");
}
