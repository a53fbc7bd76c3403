//! Details of the HTTP contract that hold for every route: positions, preconditions, negotiation, what may be left out, and what
//! a key in the hands of buyers opens.

use daybook_gateway::load::client::Answer;
use serde_json::{Value, json};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{Client, DEADLINE, Server};

fn position(answer: &Answer) -> Option<u64> {
    answer.hint("daybook-position")?.parse().ok()
}

fn told(answer: &Answer) -> (u16, Option<String>) {
    (answer.status, answer.code())
}

async fn get(client: &mut Client, path: &str, headers: &[(&str, &str)]) -> Answer {
    client.send("GET", path, headers, &[]).await
}

/// With something behind every query.
async fn filled(server: &Server) -> u64 {
    let mut client = server.connect().await;
    let variant = json!({
        "product_id": "p", "name": "Shirt", "brand": "Weaver", "category": "Shirts", "sku": {"strategy": "manual", "value": "V"},
        "price": {"amount": "10.00", "currency": "GBP"}, "attributes": [],
    });
    client.command("variant/v/create", variant).await;
    client.command("variant/v/submit", json!({})).await;
    client.command("variant/v/approve", json!({})).await;
    client.command("inventory/v/receive", json!({"quantity": 10})).await;
    let lines = json!([{"variant_id": "v", "quantity": 1}]);
    let order = json!({"customer_id": "ada", "payment_method": "card", "lines": lines});
    let placed = client.command("order/o/place", order).await;
    placed["position"].as_str().unwrap().parse().unwrap()
}

const QUERIES: [&str; 14] = [
    "/v1/variants/v",
    "/v1/variants?sku=V",
    "/v1/search?q=shirt",
    "/v1/inventory/v",
    "/v1/orders/o",
    "/v1/orders?customer_id=ada",
    "/v1/analytics/sales",
    "/v1/audit",
    "/v1/sizes",
    "/v1/streams/order-o",
    "/v1/events",
    "/v1/projections",
    "/v1/state/order/o",
    "/v1/operations/head",
];

fn with(path: &str, parameter: &str) -> String {
    format!("{path}{}{parameter}", if path.contains('?') { '&' } else { '?' })
}

#[tokio::test]
async fn every_query_waits_for_a_position_and_says_how_current_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let head = filled(&server).await;
    let mut client = server.connect().await;
    let mut waits = tokio::task::JoinSet::new();
    for path in QUERIES {
        // As the server waits two seconds at most, a busy machine may have to ask again.
        client.get(&with(path, &format!("min_position={head}"))).await;
        let answer = get(&mut client, path, &[]).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(position(&answer).is_some_and(|position| position >= head), "{path}: {:?}", answer.hints);
        for wrong in ["min_position=soon", "min_position=-1", "colour=red"] {
            let refused = get(&mut client, &with(path, wrong), &[]).await;
            assert_eq!(told(&refused), (400, Some("invalid_request".to_owned())), "{path} {wrong}");
        }
        // Each waits for what never comes.
        let mut client = server.connect().await;
        waits.spawn(async move { (path, get(&mut client, &with(path, "min_position=999999"), &[]).await) });
    }
    while let Some(done) = waits.join_next().await {
        let (path, answer) = done.unwrap();
        assert_eq!(told(&answer), (503, Some("projection_behind".to_owned())), "{path}");
    }
    for path in [
        "/v1/variants/none",
        "/v1/inventory/none",
        "/v1/orders/none",
        "/v1/sizes/none",
        "/v1/analytics/customers/none",
        "/v1/streams/order-none",
        "/v1/state/order/none",
        "/v1/state/order/o?revision=99",
    ] {
        let answer = get(&mut client, path, &[]).await;
        assert_eq!(told(&answer), (404, Some("not_found".to_owned())), "{path}");
        assert!(position(&answer).is_some_and(|position| position >= head), "{path}: {:?}", answer.hints);
    }
    server.stop();
}

#[tokio::test]
async fn a_page_says_where_to_go_on_also_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    for _ in 0..3 {
        client.command("inventory/v/receive", json!({"quantity": 1})).await;
    }
    for route in ["/v1/events?stream_prefix=inventory-&type=", "/v1/streams/inventory-v"] {
        let first = client.get(&with(route, "limit=1")).await;
        assert_eq!((first["events"].as_array().unwrap().len(), &first["next"]), (1, &first["resume"]));
        let all = client.get(route).await;
        assert!(all["next"].is_null() && all["events"].as_array().unwrap().len() >= 3, "{all}");
        let resume = all["resume"].as_str().unwrap();
        let behind = client.get(&with(route, &format!("from={resume}"))).await;
        assert_eq!((&behind["events"], &behind["resume"]), (&json!([]), &all["resume"]));
        client.command("inventory/v/receive", json!({"quantity": 1})).await;
        let later = client.get(&with(route, &format!("from={resume}"))).await;
        assert_eq!(later["events"].as_array().unwrap().len(), 1, "{later}");
    }
    // JSON to whoever does not rather want a stream.
    let accept = [("accept", "text/event-stream;q=0"), ("last-event-id", "")];
    assert!(get(&mut client, "/v1/events", &accept).await.json().unwrap()["events"].is_array());
    let wish = b"GET /v1/events HTTP/1.1\r\nhost: x\r\naccept: Text/Event-Stream\r\nlast-event-id: \r\n\r\n";
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(wish).await.unwrap();
    let mut answer = Vec::new();
    let first = async {
        while !answer.windows(4).any(|part| part == b"id: ") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "the stream goes on");
        }
    };
    timeout(DEADLINE, first).await.expect("the first event");
    assert!(String::from_utf8_lossy(&answer).contains("content-type: text/event-stream"));
    drop(stream);
    server.stop();
}

#[tokio::test]
async fn events_are_selected_by_streams_prefixes_and_types() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    for stream in ["v", "v2", "w"] {
        client.command(&format!("inventory/{stream}/receive"), json!({"quantity": 2})).await;
        client.command(&format!("inventory/{stream}/sell"), json!({"quantity": 1})).await;
    }
    let name = |event: &Value| {
        let (stream, kind) = (event["stream"].as_str().unwrap(), event["type"].as_str().unwrap());
        format!("{} {}", stream.trim_start_matches("inventory-"), kind.trim_start_matches("inventory."))
    };
    for (query, expected) in [
        ("stream=inventory-v", &["v received", "v sold"][..]),
        ("stream=inventory-v&limit=1", &["v received"]),
        ("stream=inventory-v&stream=inventory-w&type=inventory.sold", &["v sold", "w sold"]),
        ("stream=inventory-w&prefix=inventory-v2", &["v2 received", "v2 sold", "w received", "w sold"]),
        ("stream_prefix=inventory-v&type=inventory.sold", &["v sold", "v2 sold"]),
        ("prefix=inventory-v&type=inventory.sold,%20inventory.low_stock", &["v sold", "v2 sold"]),
        ("stream=inventory-w&type=inventory.sold,inventory.received", &["w received", "w sold"]),
        ("stream=inventory-none", &[]),
    ] {
        let page = client.get(&format!("/v1/events?{query}")).await;
        let found: Vec<String> = page["events"].as_array().unwrap().iter().map(name).collect();
        assert_eq!(found, expected, "{query}");
    }
    for refused in ["stream=a%20b", "type=%20,"] {
        let refused = get(&mut client, &format!("/v1/events?{refused}"), &[]).await;
        assert_eq!(told(&refused), (400, Some("invalid_request".to_owned())));
    }
    // Server-sent events end after so many, and the answer with them.
    let accept = [("accept", "text/event-stream")];
    let path = "/v1/events?stream=inventory-v&stream=inventory-w&limit=3";
    let streamed = timeout(DEADLINE, get(&mut client, path, &accept)).await.expect("it ends");
    let text = String::from_utf8(streamed.body.to_vec()).unwrap();
    let events: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| name(&serde_json::from_str(data).unwrap()))
        .collect();
    assert_eq!(events, ["v received", "v sold", "w received"]);
    // However much lies between that only begins like the name, a page is filled, and says where to go on.
    let before = client.get("/v1/events?from=0&limit=1000").await["resume"].as_str().unwrap().to_owned();
    for _ in 0..70 {
        client.command("inventory/v2/receive", json!({"quantity": 1})).await;
    }
    for _ in 0..2 {
        client.command("inventory/v/receive", json!({"quantity": 1})).await;
    }
    let mut from = before;
    for _ in 0..2 {
        let page = client.get(&format!("/v1/events?stream=inventory-v&limit=1&from={from}")).await;
        assert_eq!(name(&page["events"][0]), "v received", "{page}");
        from = page["resume"].as_str().unwrap().to_owned();
    }
    let end = client.get(&format!("/v1/events?stream=inventory-v&limit=1&from={from}")).await;
    assert_eq!(end["events"], json!([]));
    server.stop();
}

#[tokio::test]
async fn metrics_come_in_the_format_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    client.command("inventory/v/receive", json!({"quantity": 1})).await;
    let mut text = async |headers: &[(&str, &str)]| {
        String::from_utf8(get(&mut client, "/metrics", headers).await.body.to_vec()).unwrap()
    };
    let plain = text(&[]).await;
    assert!(plain.contains("# TYPE daybook_commands_total counter\ndaybook_commands_total 1\n"), "{plain}");
    assert!(!plain.contains("# EOF"));
    let open = text(&[("accept", "application/openmetrics-text; version=1.0.0, text/plain;q=0.5")]).await;
    assert!(open.contains("# TYPE daybook_commands counter\ndaybook_commands_total 1\n"), "{open}");
    assert!(open.ends_with("# EOF\n"));
    server.stop();
}

#[tokio::test]
async fn preconditions_are_those_of_http() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    let receive = async |client: &mut Client, id: &str, headers: &[(&str, &str)]| {
        let path = format!("/v1/commands/inventory/{id}/receive");
        told(&client.send("POST", &path, headers, br#"{"quantity": 1}"#).await)
    };
    let stale = (412, Some("stale_revision".to_owned()));
    assert_eq!(receive(&mut client, "v", &[("if-match", "*")]).await, stale);
    let reply = client.command("inventory/v/receive", json!({"quantity": 1})).await;
    let now = reply["revision"].as_u64().unwrap();
    assert_eq!(receive(&mut client, "v", &[("if-match", "*")]).await, (200, None));
    assert_eq!(receive(&mut client, "v", &[("if-match", "\"900\", \"901\"")]).await, stale);
    // Under a key: what was stale is not its outcome.
    let key = |revision: &'static str| [("idempotency-key", "k"), ("if-match", revision)];
    assert_eq!(receive(&mut client, "v", &key("\"900\"")).await, stale);
    let right: &'static str = format!("\"900\", \"{}\"", now + 1).leak();
    assert_eq!(receive(&mut client, "v", &key(right)).await, (200, None));
    assert_eq!(receive(&mut client, "v", &key("\"900\"")).await, (200, None), "the outcome, once");
    let invalid = (400, Some("invalid_request".to_owned()));
    for bad in ["1", "W/\"1\"", "\"+1\"", "\"\""] {
        assert_eq!(receive(&mut client, "v", &[("if-match", bad)]).await, invalid, "{bad}");
    }
    assert_eq!(
        receive(&mut client, "v", &[("idempotency-key", "a"), ("idempotency-key", "b")]).await,
        invalid
    );
    let path = "/v1/commands/inventory/v/receive?min_position=1";
    assert_eq!(told(&client.send("POST", path, &[], br#"{"quantity": 1}"#).await), invalid);
    let state = client.get("/v1/inventory/v?min_position=1").await;
    assert!(state["on_hand"].as_i64().is_some_and(|on_hand| on_hand <= 3), "{state}");
    server.stop();
}

#[tokio::test]
async fn null_is_absent_and_lines_end_as_they_may() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    let variant = json!({
        "product_id": "p", "product_group": null, "name": "Shirt", "brand": "Weaver", "category": "Shirts", "attributes": null,
        "price": null, "sku": null, "channels": null, "regions": null, "description": "soft\r\nand warm",
    });
    let created = client.command("variant/v/create", variant).await;
    assert_eq!(created["events"][0]["data"]["description"], "soft\nand warm");
    let receive = json!({"location": null, "quantity": 5, "reference": null});
    client.command("inventory/v/receive", receive).await;
    let hold = json!({
        "reservation_id": null, "customer_id": "ada", "quantity": 1, "ttl_seconds": null, "order_id": null, "location": null,
    });
    client.command("inventory/v/reserve", hold).await;
    assert_eq!(
        client.refused("inventory/v/receive", json!({"quantity": null})).await,
        (400, "invalid_request".to_owned()),
        "what must be there is not there"
    );
    server.stop();
}

/// printf %s tuna | sha256sum
const TUNA: &str = "32d6e4a20c1cd7a5aabd13bbea315a557c08ea5a944b15345b89b0d713027b6c";

#[tokio::test]
async fn a_public_key_is_for_what_buyers_do_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(&data);
    filled(&server).await;
    server.until_projected().await;
    server.stop();
    let file = folder.path().join("daybook.toml");
    let key = format!(
        "[[api_keys]]\nname = \"page\"\nsha256 = \"{TUNA}\"\nroles = [\"storefront\", \"operator\"]\npublic = true\n"
    );
    std::fs::write(&file, key).unwrap();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--config", file.to_str().unwrap()];
    let server = Server::start_with(&data, &arguments);
    let mut client = server.connect().await;
    let page = [("authorization", "Bearer tuna")];
    for open in
        ["/v1/variants/v", "/v1/variants/v/price", "/v1/search?q=shirt", "/v1/inventory/v", "/v1/sizes"]
    {
        assert_eq!(get(&mut client, open, &page).await.status, 200, "{open}");
    }
    let forbidden = (403, Some("forbidden".to_owned()));
    for closed in [
        "/v1/orders",
        "/v1/orders/o",
        "/v1/audit",
        "/v1/events",
        "/v1/streams/order-o",
        "/v1/state/order/o",
        "/v1/analytics/sales",
        "/v1/analytics/customers/ada",
        "/v1/projections",
        "/v1/operations/head",
    ] {
        assert_eq!(told(&get(&mut client, closed, &page).await), forbidden, "{closed}");
    }
    let mut send = async |path: &str, body: Value| {
        let path = format!("/v1/commands/{path}");
        told(&client.send("POST", &path, &page, body.to_string().as_bytes()).await)
    };
    let hold = json!({"reservation_id": "r", "customer_id": "bob", "quantity": 1});
    assert_eq!(send("inventory/v/reserve", hold).await, (200, None));
    for (closed, body) in [
        ("order/o/pay", json!({})),
        ("order/o/fail-payment", json!({})),
        ("order/o/request-return", json!({})),
        ("inventory/v/confirm", json!({"reservation_id": "r"})),
        ("inventory/v/receive", json!({"quantity": 1})),
        ("variant/v/submit", json!({})),
    ] {
        assert_eq!(send(closed, body).await, forbidden, "{closed}");
    }
    assert_eq!(send("inventory/v/release", json!({"reservation_id": "r"})).await, (200, None));
    let lines = json!([{"variant_id": "v", "quantity": 1}]);
    let order = json!({"customer_id": "bob", "payment_method": "card", "lines": lines});
    assert_eq!(send("order/p/place", order).await, (201, None));
    assert_eq!(send("order/p/cancel", json!({"reason": "changed my mind"})).await, (200, None));
    // Its roles open nothing more: no prices of one's own, no goods held for an order that is none.
    let cheap =
        json!([{"variant_id": "v", "quantity": 1, "unit_price": {"amount": "0.01", "currency": "GBP"}}]);
    let order = json!({"customer_id": "bob", "payment_method": "card", "lines": cheap});
    assert_eq!(send("order/q/place", order).await, forbidden);
    assert_eq!(send("inventory/v/reserve", json!({"order_id": "made-up", "quantity": 1})).await, forbidden);
    let line = json!({"aggregate": "order", "id": "o", "command": "pay", "data": {}}).to_string();
    let batch = client.send("POST", "/v1/commands", &page, line.as_bytes()).await;
    assert_eq!(batch.json().unwrap()["code"], "forbidden");
    server.stop();
}
