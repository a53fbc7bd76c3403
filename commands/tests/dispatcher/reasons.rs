//! Why something was done stands in an event of every command that lets it be said.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Shop, data};

fn variant(product: &str) -> Value {
    json!({"product_id": product, "name": "Tee", "brand": "Acme", "category": "Tees",
           "price": {"amount": "10.00", "currency": "GBP"}})
}

fn size(value: &str) -> Value {
    json!({"category": "tees", "gender": "unisex", "region": "international", "value": value})
}

/// Steps with their paths and bodies.
type Way = Vec<(String, Value)>;

fn named<const N: usize>(steps: [(&str, Value); N]) -> Way {
    steps.into_iter().map(|(path, body)| (path.to_owned(), body)).collect()
}

/// A way through all commands that take a reason; the others, without one, lead there.
fn way() -> Way {
    [goods(), records(), lifecycles()].concat()
}

fn goods() -> Way {
    let price = json!({"amount": "9.00", "currency": "GBP"});
    let euros = json!({"amount": "9.00", "currency": "EUR"});
    let order = json!({"payment_method": "card", "lines": [{"variant_id": "v", "quantity": 1}]});
    let lock = json!({"scopes": ["details"]});
    let nothing = || json!({});
    named([
        ("variant/v/create", variant("p")),
        ("variant/v/submit", nothing()),
        ("variant/v/reject", nothing()),
        ("variant/v/submit", nothing()),
        ("variant/v/approve", nothing()),
        ("variant/v/change-price", json!({"price": price})),
        ("variant/v/change-price", json!({"price": price, "effective_from": "2030-01-01T00:00:00Z"})),
        ("variant/v/cancel-price-schedule", json!({})),
        ("variant/v/change-price", json!({"price": euros, "list": {}})),
        ("variant/v/end-price-list", json!({"list": {"currency": "EUR"}})),
        ("variant/v/change-details", json!({"description": "soft", "channels": ["web"]})),
        ("variant/v/change-segmentation", json!({"channels": ["app"]})),
        ("variant/v/lock", lock),
        ("variant/v/unlock", nothing()),
        ("inventory/v/receive", json!({"quantity": 9})),
        ("inventory/v/adjust", json!({"delta": -1})),
        ("inventory/v/damage", json!({"quantity": 1})),
        ("order/1/place", order.clone()),
        ("order/1/fail-payment", nothing()),
        ("order/1/cancel", nothing()),
        ("order/2/place", order),
        ("order/2/pay", nothing()),
        ("order/2/ship", nothing()),
        ("order/2/request-return", json!({"return_id": "r", "lines": [{"line_id": 1, "quantity": 1}]})),
        ("order/2/receive-return", json!({"return_id": "r"})),
        ("order/2/refund", json!({"return_id": "r"})),
        ("variant/v/mature", nothing()),
        ("variant/v/clear", nothing()),
        ("variant/v/discontinue", nothing()),
        ("variant/v/reactivate", nothing()),
        ("variant/w/create", variant("q")),
        ("variant/w/submit", nothing()),
        ("variant/w/activate", nothing()),
        ("variant/w/discontinue", nothing()),
        ("variant/w/archive", nothing()),
        ("product/p/set-rules", json!({"rules": {"closed": true}})),
        (
            "credit/c/issue",
            json!({"variant_id": "v", "sku": "V", "name": "Tee", "category": "Tees", "quantity": 1,
                   "amount": {"amount": "1.00", "currency": "GBP"}}),
        ),
        ("credit/b/adjust-bad-debt", json!({"amount": {"amount": "-1.00", "currency": "GBP"}})),
    ])
}

fn records() -> Way {
    let nothing = || json!({});
    named([
        ("size/s/create", size("M")),
        ("size/s/change", json!({"display_name": "Middle"})),
        ("color/n/create", json!({"name": "Navy", "hex": "#000080"})),
        ("color/n/change", json!({"name": "Deep navy"})),
        ("color/n/change-slug", json!({"slug": "deep-navy"})),
        ("color/n/protect", json!({"brand": "Acme"})),
        ("attribute_type/fit/create", json!({"name": "Fit", "data_type": "text"})),
        ("attribute_type/fit/change", json!({"name": "Cut"})),
        ("attribute_type/fit/change-segmentation", json!({"channels": ["web"]})),
        ("attribute_value/slim/create", json!({"type": "fit", "value": "Slim"})),
        ("attribute_value/slim/change", json!({"display_name": "Slim fit"})),
        ("attribute_value/slim/change-segmentation", json!({"channels": ["web"]})),
        ("attribute_value/slim/archive", nothing()),
        ("category/top/create", json!({"name": "Top"})),
        ("category/tees/create", json!({"name": "Tee shirts"})),
        ("category/tees/change", json!({"description": "all of them"})),
        ("category/tees/change-schema", json!({"attribute_schema": {"closed": true}})),
        ("category/tees/change-segmentation", json!({"channels": ["web"]})),
        ("category/tees/change-slug", json!({"slug": "t-shirts"})),
        ("category/tees/move", json!({"parent_id": "top"})),
        ("category/tees/move", json!({"parent_id": null})),
        ("attribute_type/cut/create", json!({"name": "Cut", "data_type": "text"})),
        ("attribute_type/cut/activate", nothing()),
        ("attribute_value/loose/create", json!({"type": "cut", "value": "Loose"})),
        ("attribute_value/loose/activate", nothing()),
        ("attribute_value/wide/create", json!({"type": "cut", "value": "Wide"})),
        ("size/l/create", size("L")),
        ("size/l/activate", nothing()),
        ("category/socks/create", json!({"name": "Socks"})),
        ("category/socks/activate", nothing()),
    ])
}

/// What all records of master data go through, to the end where nothing is in the way.
fn lifecycles() -> Way {
    let mut way = Way::new();
    for record in ["size/s", "color/n", "attribute_type/fit", "category/tees", "attribute_value/wide"] {
        let mut step = |command: &str, body: Value| way.push((format!("{record}/{command}"), body));
        for command in ["submit", "reject", "submit", "approve", "deprecate", "reinstate"] {
            step(command, json!({}));
        }
        step("lock", json!({"scopes": ["details"]}));
        step("unlock", json!({}));
        step("deprecate", json!({}));
        step("archive", json!({}));
    }
    way
}

/// Every command whose body has a reason of its own.
fn commands_with_a_reason() -> BTreeSet<String> {
    let says = |spec: &daybook_aggregates::CommandSpec| {
        let schema = (spec.schema)().to_value();
        !spec.internal && schema["properties"]["reason"].is_object()
    };
    let specs = daybook_commands::specs().into_iter();
    specs
        .filter(|(_, spec)| says(spec))
        .map(|(aggregate, spec)| format!("{aggregate}/{}", spec.name))
        // Every colour is approved: the step stands in no line of its table.
        .filter(|name| name != "color/activate")
        .collect()
}

#[tokio::test]
async fn a_reason_that_is_given_stands_in_an_event() {
    let shop = Shop::open().await;
    let wanted = commands_with_a_reason();
    let mut seen = BTreeSet::new();
    for (number, (path, mut body)) in way().into_iter().enumerate() {
        let parts: Vec<&str> = path.split('/').collect();
        let command = format!("{}/{}", parts[0], parts[2]);
        let why = format!("why {number}");
        if wanted.contains(&command) {
            body["reason"] = json!(why);
        }
        if path.ends_with("cancel-price-schedule") {
            let events = shop.events().await;
            let scheduled =
                events.iter().rfind(|event| event.event_type() == "variant.price_scheduled").unwrap();
            body["schedule_id"] = data(scheduled)["schedule_id"].clone();
        }
        let before = shop.events().await.len();
        shop.ok(&path, body).await;
        let events = shop.events().await.split_off(before);
        if wanted.contains(&command) {
            let main = format!("{}-{}", parts[0], parts[1]);
            let own: Vec<_> = events.iter().filter(|event| event.stream() == main).map(data).collect();
            assert!(own.iter().any(|data| data["reason"] == why), "{path}: {own:?}");
            seen.insert(command);
        }
        for event in &events {
            let metadata: Value = serde_json::from_slice(event.metadata()).unwrap();
            assert_eq!(metadata["actor"], "test", "{path}");
        }
    }
    let missed: Vec<_> = wanted.difference(&seen).collect();
    assert!(missed.is_empty(), "not tried: {missed:?}");
}

#[tokio::test]
async fn a_reason_alone_changes_nothing() {
    let shop = Shop::open().await;
    for (path, body) in [
        ("variant/v/create", variant("p")),
        ("size/s/create", size("M")),
        ("color/n/create", json!({"name": "Navy", "hex": "#000080"})),
        ("attribute_type/fit/create", json!({"name": "Fit", "data_type": "text"})),
        ("attribute_type/fit/activate", json!({})),
        ("attribute_value/slim/create", json!({"type": "fit", "value": "Slim"})),
        ("category/tees/create", json!({"name": "Tees"})),
    ] {
        shop.ok(path, body).await;
    }
    let before = shop.events().await.len();
    for (path, mut body) in [
        ("variant/v/change-details", json!({"name": "Tee"})),
        ("variant/v/change-segmentation", json!({"channels": []})),
        ("size/s/change", json!({})),
        ("color/n/change", json!({"name": "Navy"})),
        ("attribute_type/fit/change", json!({})),
        ("attribute_type/fit/change-segmentation", json!({})),
        ("attribute_value/slim/change", json!({})),
        ("attribute_value/slim/change-segmentation", json!({"regions": []})),
        ("category/tees/change", json!({"name": "Tees"})),
        ("category/tees/change-schema", json!({"attribute_schema": {}})),
        ("category/tees/change-segmentation", json!({})),
    ] {
        body["reason"] = json!("as agreed");
        let reply = shop.ok(path, body).await;
        assert!(reply.events.is_empty(), "{path}: {reply:?}");
    }
    assert_eq!(shop.events().await.len(), before);
}
