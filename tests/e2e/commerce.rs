//! From a variant to a refund: commands, the events they give, and the read models that follow.

use serde_json::{Value, json};

use crate::harness::{Client, Server};

fn shirt(color: &str, size: &str) -> Value {
    json!({
        "product_id": "shirt", "name": format!("Linen shirt {color} {size}"), "brand": "Weaver", "category": "Shirts",
        "attributes": [{"type": "color", "value": color, "hex": "#000080"}, {"type": "size", "value": size, "rank": 3}],
        "price": {"amount": "39.90", "currency": "GBP"},
    })
}

async fn sellable(client: &mut Client, id: &str, color: &str, size: &str, stock: u32) {
    client.command(&format!("variant/{id}/create"), shirt(color, size)).await;
    client.command(&format!("variant/{id}/submit"), json!({})).await;
    client.command(&format!("variant/{id}/approve"), json!({"reason": "looks right"})).await;
    client.command(&format!("inventory/{id}/receive"), json!({"quantity": stock})).await;
}

#[tokio::test]
async fn an_order_from_placing_to_refund() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    sellable(&mut client, "navy-m", "Navy", "M", 10).await;
    sellable(&mut client, "navy-l", "Navy", "L", 1).await;

    let placed = client
        .command(
            "order/o-1/place",
            json!({
                "customer_id": "ada", "payment_method": "card", "shipping_address": {"country": "Norway"},
                "lines": [{"variant_id": "navy-m", "quantity": 2}, {"variant_id": "navy-l", "quantity": 1}],
            }),
        )
        .await;
    assert_eq!(placed["stream"], "order-o-1");
    let stock = client
        .get(&format!("/v1/inventory/navy-m?min_position={}", placed["position"].as_str().unwrap()))
        .await;
    assert_eq!(
        (&stock["on_hand"], &stock["reserved"], &stock["available"]),
        (&json!(10), &json!(2), &json!(8))
    );

    // One line too many: all lines are refused together, and nothing is held.
    let (status, code) = client
        .refused(
            "order/o-2/place",
            json!({
                "customer_id": "bob", "payment_method": "card",
                "lines": [{"variant_id": "navy-m", "quantity": 1}, {"variant_id": "navy-l", "quantity": 1}],
            }),
        )
        .await;
    assert_eq!((status, code.as_str()), (409, "insufficient_stock"));
    assert_eq!(client.get("/v1/inventory/navy-m").await["reserved"], 2);

    for step in ["pay", "ship", "deliver", "complete"] {
        client.command(&format!("order/o-1/{step}"), json!({})).await;
    }
    client
        .command(
            "order/o-1/request-return",
            json!({"return_id": "r-1", "lines": [{"line_id": 1, "quantity": 1}]}),
        )
        .await;
    client.command("order/o-1/receive-return", json!({"return_id": "r-1"})).await;
    let refund = client.command("order/o-1/refund", json!({"return_id": "r-1"})).await;
    let position = refund["position"].as_str().unwrap().to_owned();

    let order = client.get(&format!("/v1/orders/o-1?min_position={position}")).await;
    assert_eq!(order["total"], json!({"amount": "119.70", "currency": "GBP"}));
    assert_eq!(order["refunded"], json!({"amount": "39.90", "currency": "GBP"}));
    assert_eq!(order["lines"][0]["attributes"][0]["hex"], "#000080");
    let stock = client.get(&format!("/v1/inventory/navy-m?min_position={position}")).await;
    assert_eq!((&stock["on_hand"], &stock["reserved"]), (&json!(9), &json!(0)));
    let sales = client.get(&format!("/v1/analytics/sales?period=all&min_position={position}")).await;
    assert_eq!(sales["gross_revenue"]["amount"], "119.70");
    assert_eq!(sales["net_revenue"]["amount"], "79.80");
    assert_eq!(sales["by_country"][0]["country"], "Norway");
    let customer = client.get(&format!("/v1/analytics/customers/ada?min_position={position}")).await;
    assert_eq!(customer["orders"], 1);
    let found = client.get(&format!("/v1/search?q=linen+navy&in_stock=true&min_position={position}")).await;
    assert_eq!(found["total"], 1, "navy-l is sold out: {found}");
    server.stop();
}

/// Without a currency in the query: the configured one, else that of most orders; an explicit one always wins.
#[tokio::test]
async fn analytics_are_in_the_configured_currency() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(&data);
    let mut client = server.connect().await;
    let mut position = String::new();
    for (id, currency, orders) in [("in-eur", "EUR", 1), ("in-gbp", "GBP", 2)] {
        let mut new = shirt(id, "M");
        new["price"]["currency"] = json!(currency);
        client.command(&format!("variant/{id}/create"), new).await;
        client.command(&format!("variant/{id}/submit"), json!({})).await;
        client.command(&format!("variant/{id}/approve"), json!({})).await;
        client.command(&format!("inventory/{id}/receive"), json!({"quantity": 10})).await;
        for n in 0..orders {
            let lines = json!([{"variant_id": id, "quantity": 1}]);
            let order = json!({"customer_id": "ada", "payment_method": "card", "lines": lines});
            let placed = client.command(&format!("order/{id}-{n}/place"), order).await;
            position = placed["position"].as_str().unwrap().to_owned();
        }
    }
    let sales = format!("/v1/analytics/sales?min_position={position}");
    let ada = format!("/v1/analytics/customers/ada?min_position={position}");
    let product = format!("/v1/analytics/products/in-gbp?min_position={position}");
    for path in [&sales, &ada] {
        assert_eq!(client.get(path).await["currency"], "GBP", "{path}");
        assert_eq!(client.get(&format!("{path}&currency=EUR")).await["currency"], "EUR", "{path}");
    }
    server.stop();

    let file = folder.path().join("daybook.toml");
    std::fs::write(&file, "currency = \"EUR\"\n").unwrap();
    let server =
        Server::start_with(&data, &["serve", "--listen", "127.0.0.1:0", "--config", file.to_str().unwrap()]);
    let mut client = server.connect().await;
    for path in [&sales, &ada] {
        let report = client.get(path).await;
        assert_eq!((&report["currency"], &report["orders"]), (&json!("EUR"), &json!(1)), "{path}");
        assert_eq!(client.get(&format!("{path}&currency=GBP")).await["orders"], 2, "{path}");
    }
    // It was never sold in EUR: what there is, is shown, unless EUR is asked for.
    assert_eq!(client.get(&product).await["currency"], "GBP");
    assert_eq!(client.status(&format!("{product}&currency=EUR")).await, 404);
    server.stop();
}

#[tokio::test]
async fn configuration_and_sku_are_unique_and_the_lifecycle_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    client.command("variant/a/create", shirt("Navy", "M")).await;
    let refused = client.refused("variant/b/create", shirt("Navy", "M")).await;
    assert_eq!(refused, (409, "duplicate_configuration".to_owned()));
    let mut other = shirt("Navy", "S");
    other["sku"] = json!({"strategy": "manual", "value": "SKU-1"});
    client.command("variant/c/create", other.clone()).await;
    other["attributes"][1]["value"] = json!("XS");
    assert_eq!(client.refused("variant/d/create", other).await, (409, "duplicate_sku".to_owned()));
    assert_eq!(
        client.refused("variant/a/archive-everything", json!({})).await,
        (404, "not_found".to_owned())
    );
    assert_eq!(client.refused("variant/a/mature", json!({})).await, (409, "invalid_transition".to_owned()));
    assert_eq!(client.refused("variant/nobody/submit", json!({})).await, (404, "not_found".to_owned()));
    server.stop();
}

#[tokio::test]
async fn a_key_gives_one_outcome_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    let path = "/v1/commands/inventory/v/receive";
    let headers = [("content-type", "application/json"), ("idempotency-key", "k-1")];
    let first = client.send("POST", path, &headers, br#"{"quantity": 5}"#).await;
    assert_eq!(first.status, 201);
    let again = client.send("POST", path, &headers, br#"{"quantity": 5}"#).await;
    assert_eq!(again.json().unwrap(), first.json().unwrap());
    server.stop();

    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    let again = client.send("POST", path, &headers, br#"{"quantity": 5}"#).await;
    assert_eq!(again.json().unwrap(), first.json().unwrap());
    let other = client.send("POST", path, &headers, br#"{"quantity": 6}"#).await;
    assert_eq!((other.status, other.code().as_deref()), (422, Some("unprocessable")));
    let position = first.json().unwrap()["position"].as_str().unwrap().to_owned();
    let stock = client.get(&format!("/v1/inventory/v?min_position={position}")).await;
    assert_eq!(stock["on_hand"], 5);
    server.stop();
}

#[tokio::test]
async fn expectations_expiry_and_limits() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    for variant in 0..7 {
        client.command(&format!("inventory/v{variant}/receive"), json!({"quantity": 1})).await;
    }
    let stale = client
        .send("POST", "/v1/commands/inventory/v0/receive", &[("if-match", "\"9\"")], br#"{"quantity":1}"#)
        .await;
    assert_eq!((stale.status, stale.code().as_deref()), (412, Some("stale_revision")));

    let hold = client
        .command(
            "inventory/v6/reserve",
            json!({"reservation_id": "h", "customer_id": "eve", "quantity": 1, "ttl_seconds": 1}),
        )
        .await;
    assert_eq!(hold["events"][0]["type"], "inventory.reserved");
    let position = hold["position"].as_str().unwrap().to_owned();
    assert_eq!(
        client.refused("inventory/v6/reserve", json!({"customer_id": "bob", "quantity": 1})).await.1,
        "insufficient_stock"
    );
    let began = std::time::Instant::now();
    loop {
        let stock = client.get(&format!("/v1/inventory/v6?min_position={position}")).await;
        if stock["available"] == 1 {
            break;
        }
        assert!(began.elapsed() < crate::harness::DEADLINE, "the hold never ran out: {stock}");
    }
    assert_eq!(
        client.refused("inventory/v6/confirm", json!({"reservation_id": "h"})).await,
        (409, "reservation_expired".to_owned())
    );

    for variant in 0..5 {
        client
            .command(&format!("inventory/v{variant}/reserve"), json!({"customer_id": "eve", "quantity": 1}))
            .await;
    }
    let refused = client.refused("inventory/v5/reserve", json!({"customer_id": "eve", "quantity": 1})).await;
    assert_eq!(refused, (409, "too_many_reservations".to_owned()));
    // A retry gives the same hold, and no second one.
    let retry = client.command("inventory/v0/reserve", json!({"customer_id": "eve", "quantity": 1})).await;
    assert_eq!(retry["events"], json!([]));
    server.stop();
}

#[tokio::test]
async fn batches_answer_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let lines = [
        json!({"aggregate": "inventory", "id": "v", "command": "receive", "data": {"quantity": 2}}).to_string(),
        "not json".to_owned(),
        json!({"aggregate": "inventory", "id": "v", "command": "reserve", "data": {"customer_id": "ada", "quantity": 3}}).to_string(),
        json!({"aggregate": "inventory", "id": "v", "command": "reserve", "data": {"customer_id": "ada", "quantity": 2}, "key": "k"}).to_string(),
    ];
    let body = lines.join("\n");
    let output = std::process::Command::new("python3")
        .args(["-c", "import sys,urllib.request as u; r=u.Request(sys.argv[1],data=sys.argv[2].encode(),headers={'content-type':'application/x-ndjson'}); print(u.urlopen(r).read().decode(),end='')"])
        .args([format!("{}/v1/commands", server.url()), body])
        .output()
        .expect("python3 runs");
    assert!(output.status.success(), "{output:?}");
    let results: Vec<Value> = output
        .stdout
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect();
    let outcomes: Vec<_> = results
        .iter()
        .map(|r| (r["line"].as_u64().unwrap(), r["status"].as_u64().unwrap(), r["code"].as_str()))
        .collect();
    assert_eq!(
        outcomes,
        [
            (1, 201, None),
            (2, 400, Some("invalid_request")),
            (3, 409, Some("insufficient_stock")),
            (4, 200, None)
        ]
    );
    server.stop();
}

#[tokio::test]
async fn an_archived_variant_is_neither_stocked_nor_held_nor_sold() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    sellable(&mut client, "gone", "Navy", "M", 1).await;
    client.command("variant/gone/discontinue", json!({})).await;
    let refused = (422, "unprocessable".to_owned());
    let lines = json!([{"variant_id": "gone", "quantity": 1}]);
    let order = json!({"payment_method": "card", "lines": lines});
    assert_eq!(client.refused("order/o/place", order.clone()).await, refused);
    let stock_left = client.refused("variant/gone/archive", json!({})).await;
    assert_eq!(stock_left, (409, "stock_left".to_owned()));
    client.command("inventory/gone/sell", json!({"quantity": 1})).await;
    client.command("variant/gone/archive", json!({"reason": "out of fashion"})).await;
    let hold = json!({"customer_id": "ada", "quantity": 1});
    for (path, body) in [
        ("inventory/gone/receive", json!({"quantity": 1})),
        ("inventory/gone/expect-delivery", json!({"quantity": 1})),
        ("inventory/gone/reserve", hold.clone()),
        ("order/o/place", order),
    ] {
        assert_eq!(client.refused(path, body).await, refused, "{path}");
    }
    // Stock that is no variant's goes as ever.
    client.command("inventory/nobodys/receive", json!({"quantity": 1})).await;
    client.command("inventory/nobodys/reserve", hold).await;
    server.stop();
}

#[tokio::test]
async fn an_order_is_found_by_its_number_which_no_other_has() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    sellable(&mut client, "v", "Navy", "M", 9).await;
    let order = |number: Value| {
        let lines = json!([{"variant_id": "v", "quantity": 1}]);
        json!({"payment_method": "card", "lines": lines, "order_number": number})
    };
    client.command("order/a/place", order(json!("2026/1"))).await;
    let again = client.command("order/a/place", order(json!("2026/1"))).await;
    assert_eq!(again["events"], json!([]));
    let placed = client.command("order/b/place", order(json!("c"))).await;
    let taken = (409, "duplicate_order_number".to_owned());
    for (path, number) in
        [("order/x/place", json!("2026/1")), ("order/c/place", json!(null)), ("order/x/place", json!("c"))]
    {
        assert_eq!(client.refused(path, order(number.clone())).await, taken, "{path} {number}");
    }
    let position = placed["position"].as_str().unwrap();
    let found = client.get(&format!("/v1/orders?number=2026/1&min_position={position}")).await;
    let ids: Vec<_> = found["orders"].as_array().unwrap().iter().map(|order| &order["order_id"]).collect();
    assert_eq!(ids, ["a"]);
    server.stop();
}

#[tokio::test]
async fn the_audit_view_says_who_did_what_why_and_when() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    sellable(&mut client, "v", "Navy", "M", 9).await;
    sellable(&mut client, "w", "Navy", "L", 9).await;
    client.command("inventory/v/adjust", json!({"delta": -1, "reason": "Water damage"})).await;
    client.command("variant/v/change-details", json!({"name": "Old shirt", "reason": "water damage"})).await;
    let last = client.command("variant/w/discontinue", json!({})).await;
    let position = last["position"].as_str().unwrap();
    let mut audit = async |query: &str| -> Vec<(String, Value)> {
        let page = client.get(&format!("/v1/audit?{query}&min_position={position}")).await;
        let entries = page["entries"].as_array().unwrap();
        entries.iter().map(|entry| (entry["type"].as_str().unwrap().to_owned(), entry.clone())).collect()
    };
    let types =
        |entries: &[(String, Value)]| entries.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let why = audit("reason=WATER%20damage").await;
    assert_eq!(types(&why), ["variant.details_changed", "inventory.adjusted"]);
    assert_eq!((&why[0].1["reason"], &why[0].1["stream"]), (&json!("water damage"), &json!("variant-v")));
    let actor = why[0].1["actor"].as_str().unwrap().to_owned();
    let since = why[1].1["recorded_at"].as_str().unwrap().to_owned();
    let of_variant = audit("stream=variant-v").await;
    assert_eq!(
        types(&of_variant),
        ["variant.details_changed", "variant.activated", "variant.submitted", "variant.created"]
    );
    assert_eq!(of_variant[1].1["reason"], "looks right");
    assert!(of_variant[2].1.get("reason").is_none(), "none was given");
    let all = audit(&format!("actor={actor}&since={since}")).await;
    assert_eq!(types(&all).first().map(String::as_str), Some("variant.discontinued"));
    assert!(all.iter().all(|(_, entry)| entry["actor"] == actor.as_str()));
    assert_eq!(types(&audit("reason=water%20damage&stream=inventory-v").await), ["inventory.adjusted"]);
    assert!(audit("actor=nobody").await.is_empty());
    for nobodys in ["%00".to_owned(), "%25".to_owned(), "water".to_owned(), "x".repeat(6_000)] {
        assert!(audit(&format!("reason={nobodys}")).await.is_empty(), "{nobodys}");
    }
    assert_eq!(audit("reason=").await.len(), audit("").await.len(), "an empty parameter is none");
    server.stop();
}
