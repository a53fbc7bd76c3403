//! Variants from the options of a product.

use std::collections::BTreeSet;

use daybook_commands::{CommandError, Options};
use serde_json::{Value, json};

use crate::support::{Shop, data};

fn values(prefix: &str, count: usize) -> Vec<Value> {
    (0..count).map(|n| json!({"value": format!("{prefix}{n}")})).collect()
}

fn matrix(colors: usize, sizes: usize, fields: Value) -> Value {
    let mut body = json!({
        "name": "Shirt", "brand": "Acme", "category": "Shirts",
        "options": [{"type": "color", "values": values("c", colors)}, {"type": "size", "values": values("s", sizes)}],
    });
    let Value::Object(fields) = fields else { panic!("an object") };
    body.as_object_mut().unwrap().extend(fields);
    body
}

async fn created(shop: &Shop) -> Vec<Value> {
    shop.events().await.iter().filter(|e| e.event_type() == "variant.created").map(data).collect()
}

#[tokio::test]
async fn every_combination_becomes_a_variant_and_a_repeat_makes_none() {
    let shop = Shop::open().await;
    let reply = shop.ok("product/shirt/generate-variants", matrix(3, 4, json!({}))).await;
    let record: Value = serde_json::from_slice(&reply.events[0].data).unwrap();
    assert_eq!(record["variants"].as_array().unwrap().len(), 12);
    let variants = created(&shop).await;
    let unique = |field: &str| variants.iter().map(|v| v[field].to_string()).collect::<BTreeSet<_>>().len();
    assert_eq!((unique("sku"), unique("config_hash"), unique("variant_id")), (12, 12, 12));
    assert!(shop.ok("product/shirt/generate-variants", matrix(3, 4, json!({}))).await.events.is_empty());
    let shop = shop.restarted(Options::default()).await;
    let more = shop.ok("product/shirt/generate-variants", matrix(3, 5, json!({}))).await;
    let record: Value = serde_json::from_slice(&more.events[0].data).unwrap();
    assert_eq!(record["variants"].as_array().unwrap().len(), 3, "only what is new");
}

#[tokio::test]
async fn two_thousand_and_forty_eight_at_once_in_one_append() {
    let shop = Shop::open().await;
    let body = matrix(64, 32, json!({"sku": {"strategy": "template", "template": "{brand}-{seq:5}"}}));
    shop.ok("product/shirt/generate-variants", body).await;
    let variants = created(&shop).await;
    let skus: BTreeSet<_> = variants.iter().map(|v| v["sku"].as_str().unwrap().to_owned()).collect();
    assert_eq!((variants.len(), skus.len()), (2_048, 2_048));
    assert_eq!(skus.last().unwrap(), "ACME-02048");
    let too_many = matrix(64, 33, json!({}));
    assert_eq!(shop.no("product/coat/generate-variants", too_many).await, "invalid_request");
}

#[tokio::test]
async fn all_or_nothing_tells_every_reason_and_each_makes_the_rest() {
    let shop = Shop::open().await;
    let rules = json!({"rules": {"forbidden": [
        {"first": "color-c0", "second": "size-s0"}, {"first": "color-c1", "second": "size-s1"},
    ]}});
    shop.ok("product/shirt/set-rules", rules).await;
    let single = json!({
        "product_id": "shirt", "name": "Shirt", "brand": "Acme", "category": "Shirts",
        "attributes": [{"type": "color", "value": "c0"}, {"type": "size", "value": "s1"}],
    });
    shop.ok("variant/single/create", single).await;
    let before = shop.events().await.len();
    let Err(CommandError::Refused(refusal)) =
        shop.send("product/shirt/generate-variants", matrix(2, 2, json!({}))).await
    else {
        panic!("accepted")
    };
    let subjects: BTreeSet<_> = refusal.errors.iter().map(|e| (e.subject.clone().unwrap(), e.code)).collect();
    let expected = [
        ("color:c0|size:s0", "combination_not_allowed"),
        ("color:c0|size:s1", "duplicate_configuration"),
        ("color:c1|size:s1", "combination_not_allowed"),
    ];
    assert_eq!(subjects, expected.map(|(subject, code)| (subject.to_owned(), code)).into());
    assert_eq!(shop.events().await.len(), before, "nothing was written");
    let reply = shop.ok("product/shirt/generate-variants", matrix(2, 2, json!({"mode": "each"}))).await;
    let record: Value = serde_json::from_slice(&reply.events[0].data).unwrap();
    assert_eq!(record["variants"][0]["signature"], "color:c1|size:s0");
    assert_eq!(record["left_out"].as_array().unwrap().len(), 3);
    assert_eq!(created(&shop).await.len(), 2);
}

#[tokio::test]
async fn nonsense_is_refused_before_anything_is_looked_up() {
    let shop = Shop::open().await;
    for fields in [
        json!({"options": []}),
        json!({"options": [{"type": "color", "values": []}]}),
        json!({"options": [{"type": "color", "values": [{"value": "a"}]}, {"type": "color", "values": [{"value": "b"}]}]}),
        json!({"attributes": [{"type": "size", "value": "M"}]}),
        json!({"sku": {"strategy": "manual", "value": "A"}}),
    ] {
        let code = shop.no("product/shirt/generate-variants", matrix(1, 1, fields.clone())).await;
        assert_eq!(code, "invalid_request", "{fields}");
    }
    let twice = json!({"options": [{"type": "color", "values": [{"value": "a"}, {"value": "A"}]}]});
    assert_eq!(
        shop.no("product/shirt/generate-variants", matrix(1, 1, twice)).await,
        "duplicate_configuration"
    );
}

#[tokio::test]
async fn callers_who_generate_the_same_at_once_make_it_once() {
    let shop = Shop::open().await;
    let template = json!({"sku": {"strategy": "template", "template": "{color}-{seq}"}});
    let answers: Vec<_> = (0..16)
        .map(|_| shop.send("product/shirt/generate-variants", matrix(4, 4, template.clone())))
        .collect();
    let mut made = 0;
    for answer in answers {
        made += usize::from(!answer.await.unwrap().events.is_empty());
    }
    assert_eq!((made, created(&shop).await.len()), (1, 16));
}

#[tokio::test]
async fn master_data_is_counted_once_for_all() {
    let shop = Shop::open().await;
    shop.ok("color/navy/create", json!({"name": "Navy", "hex": "#000080"})).await;
    shop.ok("color/navy/submit", json!({})).await;
    shop.ok("color/navy/approve", json!({})).await;
    let options = json!({"options": [
        {"type": "color", "values": [{"value": "Navy", "value_id": "navy"}, {"value": "Red"}]},
        {"type": "size", "values": [{"value": "S"}, {"value": "M"}, {"value": "L"}]},
    ]});
    shop.ok("product/shirt/generate-variants", matrix(1, 1, options)).await;
    let counts: Vec<_> =
        shop.events().await.iter().filter(|e| e.event_type() == "color.usage_changed").map(data).collect();
    assert_eq!(counts, [json!({"delta": 3, "in_use": 3, "recounted": false})]);
}
