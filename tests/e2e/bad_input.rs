//! Hostile and mistaken input gets a 4xx problem with a stable code, and never a panic.

use serde_json::json;

use crate::harness::Server;

#[tokio::test]
async fn every_mistake_is_a_problem_with_a_code() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    let long_id = "x".repeat(65);
    let huge = "9".repeat(400);
    let epic = "x".repeat(10_001);
    let cases: Vec<(String, String, u16, &str)> = vec![
        ("inventory/v/receive".into(), "{".into(), 400, "invalid_request"),
        ("inventory/v/receive".into(), "[]".into(), 400, "invalid_request"),
        ("inventory/v/receive".into(), "\u{0}\u{1}".into(), 400, "invalid_request"),
        ("inventory/v/receive".into(), r#"{"quantity": 1, "extra": 1}"#.into(), 400, "invalid_request"),
        ("inventory/v/receive".into(), r#"{"quantity": "1"}"#.into(), 400, "invalid_request"),
        ("inventory/v/receive".into(), r#"{"quantity": 0}"#.into(), 400, "invalid_request"),
        ("inventory/v/receive".into(), r#"{"quantity": -1}"#.into(), 400, "invalid_request"),
        ("inventory/v/receive".into(), r#"{"quantity": 1.5}"#.into(), 400, "invalid_request"),
        ("inventory/v/receive".into(), format!(r#"{{"quantity": {huge}}}"#), 400, "invalid_request"),
        ("inventory/v/receive".into(), r#"{"quantity": 1, "location": ""}"#.into(), 400, "invalid_request"),
        ("inventory/v/adjust".into(), r#"{"delta": 0, "reason": "x"}"#.into(), 400, "invalid_request"),
        ("variant/v/change-details".into(), format!(r#"{{"name": "n", "reason": "{epic}"}}"#), 400, "invalid_request"),
        ("category/c/change".into(), r#"{"name": "n", "reason": "a\u0000b"}"#.into(), 400, "invalid_request"),
        ("color/n/change".into(), r#"{"name": "n", "reason": "\ud800"}"#.into(), 400, "invalid_request"),
        ("size/s/change".into(), r#"{"rank": 1, "reason": ["why"]}"#.into(), 400, "invalid_request"),
        (format!("inventory/{long_id}/receive"), r#"{"quantity": 1}"#.into(), 400, "invalid_request"),
        ("inventory/a%20b/receive".into(), r#"{"quantity": 1}"#.into(), 400, "invalid_request"),
        ("inventory/a%ff/receive".into(), r#"{"quantity": 1}"#.into(), 400, "invalid_request"),
        ("inventory/v/explode".into(), "{}".into(), 404, "not_found"),
        // An array is no object, at no depth: the limits look at objects.
        ("inventory/v/receive".into(), r#"["default", 1, null]"#.into(), 400, "invalid_request"),
        ("inventory/v/reserve".into(), r#"["r", "bot", 1]"#.into(), 400, "invalid_request"),
        ("order/o/place".into(), r#"{"lines": [["v", 1]], "payment_method": "card"}"#.into(), 400, "invalid_request"),
        ("variant/v/create".into(), r#"{"product_id": "p", "name": "n", "brand": "b", "category": "c", "attributes": [["color", "red"]]}"#.into(), 400, "invalid_request"),
        ("variant/v/create".into(), r#"{"product_id": "p", "name": "n", "brand": "b", "category": "c", "sku": ["auto"]}"#.into(), 400, "invalid_request"),
        ("spaceship/v/receive".into(), "{}".into(), 404, "not_found"),
        ("variant/v/create".into(), r#"{"product_id": "p"}"#.into(), 400, "invalid_request"),
        ("order/o/place".into(), r#"{"customer_id": "c", "lines": [], "payment_method": "card"}"#.into(), 400, "invalid_request"),
        ("order/o/place".into(), r#"{"customer_id": "c", "lines": [{"variant_id": "nope", "quantity": 1}], "payment_method": "card"}"#.into(), 404, "not_found"),
        ("order/o/pay".into(), "{}".into(), 404, "not_found"),
    ];
    for (path, body, status, code) in cases {
        let answer = client.send("POST", &format!("/v1/commands/{path}"), &[], body.as_bytes()).await;
        let shown = String::from_utf8_lossy(&answer.body).into_owned();
        assert!((400..500).contains(&answer.status), "{path} {body}: {shown}");
        assert_eq!((answer.status, answer.code().as_deref()), (status, Some(code)), "{path} {body}: {shown}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let answer = client.send("POST", "/v1/commands/inventory/v/receive", &[], deep.as_bytes()).await;
    assert_eq!(answer.code().as_deref(), Some("invalid_request"));
    let large = vec![b' '; 3 << 20];
    let answer =
        server.connect().await.try_send("POST", "/v1/commands/inventory/v/receive", &[], &large).await;
    // The server may answer and close before the body is sent to its end.
    if let Ok(answer) = answer {
        assert_eq!((answer.status, answer.code().as_deref()), (413, Some("payload_too_large")));
    }
    assert_eq!(server.connect().await.status("/healthz").await, 200);
    server.stop();
}

/// Bodies that try to cost more than they are worth, or to mean two things at once.
#[tokio::test]
async fn hostile_bodies_are_problems() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    let receive = "/v1/commands/inventory/v/receive";
    let create = "/v1/commands/variant/v/create";
    let deep =
        |open: &str, close: &str| format!("{}{}", open.repeat(50_000), close.repeat(50_000)).into_bytes();
    let variant = |name: &str| {
        format!(r#"{{"product_id": "p", "name": {name}, "brand": "b", "category": "c", "attributes": []}}"#)
            .into_bytes()
    };
    let price = |amount: &str, currency: &str| {
        let price = format!(r#"{{"amount": {amount}, "currency": {currency}}}"#);
        format!(r#"{{"product_id": "p", "name": "n", "brand": "b", "category": "c", "attributes": [], "price": {price}}}"#)
            .into_bytes()
    };
    let attributes = format!("[{}]", vec![r#"{"type": "color", "value": "x"}"#; 20_000].join(","));
    let many = format!(
        r#"{{"product_id": "p", "name": "n", "brand": "b", "category": "c", "attributes": {attributes}}}"#
    );
    let lines = format!("[{}]", vec![r#"{"variant_id": "v", "quantity": 1}"#; 20_000].join(","));
    let long_order = format!(r#"{{"customer_id": "c", "payment_method": "card", "lines": {lines}}}"#);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        (receive, deep("[", "]")),
        (receive, deep(r#"{"quantity":"#, "}")),
        (create, variant(&format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000)))),
        (receive, br#"{"quantity": 1, "quantity": 2}"#.to_vec()),
        (receive, br#"{"quantity": 1, "\u0071uantity": 2}"#.to_vec()),
        (receive, b"{\"quantity\": 1, \"reference\": \"\xff\xfe\"}".to_vec()),
        (receive, b"{\"quantity\": 1, \"reference\": \"\xed\xa0\x80\"}".to_vec()),
        (receive, br#"{"quantity": 1, "reference": "\ud800"}"#.to_vec()),
        (receive, b"\xef\xbb\xbf{\"quantity\": 1}".to_vec()),
        (receive, br#"{"quantity": 1} {"quantity": 1}"#.to_vec()),
        (receive, br#"{"quantity": 1e400}"#.to_vec()),
        (receive, br#"{"quantity": 18446744073709551616}"#.to_vec()),
        (receive, br#"{"quantity": -0}"#.to_vec()),
        (receive, br#"{"quantity": NaN}"#.to_vec()),
        (receive, br#"{"quantity": null}"#.to_vec()),
        (receive, br#"{"quantity": true}"#.to_vec()),
        (receive, vec![0; 4_096]),
        (create, variant(r#""""#)),
        (create, variant(&format!("\"{}\"", "n".repeat(100_000)))),
        (create, variant(r#""bell \u0007""#)),
        (create, many.into_bytes()),
        (create, price(r#""1e5""#, r#""GBP""#)),
        (create, price(r#""0.0000001""#, r#""GBP""#)),
        (create, price(&format!("\"{}\"", "9".repeat(60)), r#""GBP""#)),
        (create, price("12.5", r#""GBP""#)),
        (create, price(r#""1""#, r#""pounds""#)),
        ("/v1/commands/order/o/place", long_order.into_bytes()),
        ("/v1/commands/inventory/v/adjust", br#"{"delta": -9223372036854775808, "reason": "x"}"#.to_vec()),
        (
            "/v1/commands/inventory/v/reserve",
            br#"{"customer_id": "c", "quantity": 1, "ttl_seconds": 18446744073709551615}"#.to_vec(),
        ),
        ("/v1/commands/inventory/v/reserve", br#"{"customer_id": "", "quantity": 1}"#.to_vec()),
    ];
    for (path, body) in cases {
        let answer = client.send("POST", path, &[], &body).await;
        let shown: String = String::from_utf8_lossy(&body).chars().take(120).collect();
        let detail = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(
            (answer.status, answer.code().as_deref()),
            (400, Some("invalid_request")),
            "{path} {shown}: {detail}"
        );
        assert!(answer.body.len() < 4_096, "a refusal does not repeat what it refuses: {shown}");
    }
    assert_eq!(client.get("/v1/operations/head").await["events"], 0, "nothing of it was taken");
    server.stop();
}

/// Lines of a batch are refused one by one; a line that can't be read ends nothing but itself.
#[tokio::test]
async fn hostile_lines_are_answered_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let good = r#"{"aggregate": "inventory", "id": "v", "command": "receive", "data": {"quantity": 1}}"#;
    let mut body = Vec::new();
    for line in [
        good.as_bytes(),
        b"{",
        b"\xff\xfe",
        br#"{"aggregate": "inventory", "id": "v", "command": "receive", "data": {"quantity": 1}, "data": {}}"#,
        br#"{"aggregate": "inventory", "id": "v", "command": "receive", "data": {"quantity": 1}, "key": ""}"#,
        br#"{"aggregate": "inventory", "id": "a b", "command": "receive", "data": {"quantity": 1}}"#,
        br#"{"aggregate": "spaceship", "id": "v", "command": "receive"}"#,
        br#"["inventory", "v", "receive", {"quantity": 1}, null]"#,
        br#"{"aggregate": "inventory", "id": "v", "command": "reserve", "data": ["r", "bot", 1]}"#,
        format!(r#"{{"aggregate": "inventory", "id": "v", "command": "receive", "data": {}1{}}}"#, "[".repeat(50_000), "]".repeat(50_000)).as_bytes(),
        good.as_bytes(),
    ] {
        body.extend_from_slice(line);
        body.push(b'\n');
    }
    let head = format!(
        "POST /v1/commands HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let answer = server.raw(&[head.as_bytes(), &body].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let results: Vec<serde_json::Value> = answer
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let statuses: Vec<_> = results.iter().map(|result| result["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 400, 400, 400, 400, 400, 404, 400, 400, 400, 200], "{answer}");
    assert!(
        results.iter().filter(|r| r["status"] != 200 && r["status"] != 201).all(|r| r["code"].is_string())
    );
    server.stop();
}

/// What goes wrong before a handler sees the request.
#[tokio::test]
async fn hostile_heads_and_slow_clients_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("daybook.toml");
    std::fs::write(&file, "[limits]\nheader_timeout_ms = 2000\nbody_timeout_ms = 2000\nbody_bytes = 10000\n")
        .unwrap();
    let data = folder.path().join("data");
    let server =
        Server::start_with(&data, &["serve", "--listen", "127.0.0.1:0", "--config", file.to_str().unwrap()]);
    let path = "/v1/commands/inventory/v/receive";
    let get = |target: &str, fields: &str| {
        format!("GET {target} HTTP/1.1\r\nhost: x\r\n{fields}connection: close\r\n\r\n").into_bytes()
    };
    let post = |fields: &str, body: &str| {
        format!("POST {path} HTTP/1.1\r\nhost: x\r\n{fields}connection: close\r\n\r\n{body}").into_bytes()
    };
    let field = |bytes: usize| format!("x-padding: {}\r\n", "y".repeat(bytes));
    let chunk = format!("2000\r\n{}\r\n", " ".repeat(0x2000));
    // With a code: a problem. Without: the protocol library refuses what is no request.
    for (name, request, status, code) in [
        ("a large field", get("/healthz", &field(20_000)), 431, Some("headers_too_large")),
        ("many fields", get("/healthz", &"a: b\r\n".repeat(5_000)), 431, None),
        ("an enormous field", get("/healthz", &field(1 << 20)), 431, None),
        (
            "a long target",
            get(&format!("/v1/search?q={}", "z".repeat(20_000)), ""),
            414,
            Some("uri_too_long"),
        ),
        ("a field that is no text", get("/healthz", "x: \u{0}\r\n"), 400, None),
        ("no HTTP", b"EHLO example.org\r\n\r\n".to_vec(), 400, None),
        ("two lengths", post("content-length: 2\r\ncontent-length: 3\r\n", "{}"), 400, None),
        ("a length below zero", post("content-length: -1\r\n", "{}"), 400, None),
        (
            "a body that is declared too large",
            post("content-length: 99999999999\r\n", "{}"),
            413,
            Some("payload_too_large"),
        ),
        (
            "chunks that grow too large",
            post("transfer-encoding: chunked\r\n", &chunk.repeat(3)),
            413,
            Some("payload_too_large"),
        ),
        (
            "a chunk that is none",
            post("transfer-encoding: chunked\r\n", "zz\r\n"),
            400,
            Some("invalid_request"),
        ),
        ("a body that never ends", post("content-length: 20\r\n", "{"), 408, Some("request_timeout")),
        ("a path that is no text", get("/v1/variants/%ff", ""), 400, Some("invalid_request")),
        ("a query that is no text", get("/v1/search?q=%ff", ""), 400, Some("invalid_request")),
        ("a path upwards", get("/assets/..%2f..%2fCargo.toml", ""), 404, Some("not_found")),
        (
            "a key that is no text",
            post("idempotency-key: \u{e9}\r\ncontent-length: 2\r\n", "{}"),
            400,
            Some("invalid_request"),
        ),
        (
            "a revision that is none",
            post("if-match: \"x\"\r\ncontent-length: 2\r\n", "{}"),
            400,
            Some("invalid_request"),
        ),
    ] {
        let answer = server.raw(&request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{name}: {answer}");
        if let Some(code) = code {
            assert!(
                answer.contains("application/problem+json") && answer.contains(&format!("\"{code}\"")),
                "{name}: {answer}"
            );
        }
    }
    // A head that does not come to its end, and a connection on which nothing comes at all.
    assert_eq!(server.raw(b"GET / HTTP/1.1\r\nhost: x\r\nslow: ").await, "");
    assert_eq!(server.raw(b"").await, "");
    assert_eq!(server.connect().await.status("/healthz").await, 200);
    server.stop();
}

#[tokio::test]
async fn queries_refuse_what_they_do_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    for (path, status, code) in [
        ("/v1/variants/nope", 404, "not_found"),
        ("/v1/orders/nope", 404, "not_found"),
        ("/v1/inventory/nope", 404, "not_found"),
        ("/v1/streams/inventory-nope", 404, "not_found"),
        ("/v1/nothing", 404, "not_found"),
        ("/v1/search?sort=best", 400, "invalid_request"),
        ("/v1/search?limit=0", 400, "invalid_request"),
        ("/v1/search?colour=navy", 400, "invalid_request"),
        ("/v1/search?price_min=cheap", 400, "invalid_request"),
        ("/v1/search?cursor=abc", 400, "invalid_request"),
        ("/v1/orders?status=lost", 400, "invalid_request"),
        ("/v1/events?from=now", 400, "invalid_request"),
        ("/v1/events?limit=0", 400, "invalid_request"),
        ("/v1/analytics/sales?period=yesterday", 400, "invalid_request"),
        ("/v1/analytics/sales?period=2011-13", 400, "invalid_request"),
        ("/v1/variants/x?min_position=999999999", 503, "projection_behind"),
        ("/v1/variants/x?min_position=99999999999999999999999", 400, "invalid_request"),
        ("/v1/variants/x?min_position=-1", 400, "invalid_request"),
        ("/v1/variants?sku=a&sku=b", 400, "invalid_request"),
        ("/v1/variants?limit=all", 400, "invalid_request"),
        ("/v1/search?q=a&q=b", 400, "invalid_request"),
        ("/v1/search?price_min=1e999", 400, "invalid_request"),
        ("/v1/orders?cursor=%00", 400, "invalid_request"),
        ("/v1/audit?cursor=9%3A99999999999999999999", 400, "invalid_request"),
        ("/v1/audit?since=yesterday", 400, "invalid_request"),
        ("/v1/audit?reason=a&reason=b", 400, "invalid_request"),
        ("/v1/audit?reason=%ff", 400, "invalid_request"),
        ("/v1/streams/inventory-v?from=x", 400, "invalid_request"),
        ("/v1/streams/a%20b", 400, "invalid_request"),
        ("/v1/state/inventory/v?at=2011-01-01T00:00:00Z&revision=1", 400, "invalid_request"),
        ("/v1/state/spaceship/v", 404, "not_found"),
        ("/v1/analytics/sales?currency=pounds", 400, "invalid_request"),
        ("/v1/analytics/customers/%25%5F", 404, "not_found"),
    ] {
        let answer = client.send("GET", path, &[], &[]).await;
        assert_eq!(
            (answer.status, answer.code().as_deref()),
            (status, Some(code)),
            "{path}: {}",
            String::from_utf8_lossy(&answer.body)
        );
    }
    // Too much of what is understood is as much as there is.
    for path in [
        "/v1/search?limit=100000",
        "/v1/events?limit=100000",
        "/v1/sizes?limit=18446744073709551615",
        "/v1/orders?customer_id=ada&limit=99999999999999999999999",
    ] {
        client.get(path).await;
    }
    let answer = client.send("DELETE", "/v1/orders/x", &[], &[]).await;
    assert_eq!((answer.status, answer.code().as_deref()), (405, Some("method_not_allowed")));
    server.stop();
}

#[tokio::test]
async fn keys_guard_what_is_not_local() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("daybook.toml");
    // printf %s swordfish | sha256sum
    std::fs::write(&file, "[[api_keys]]\nname = \"shop\"\nsha256 = \"b9f195c5cc7ef6afadbfbc42892ad47d3b24c6bc94bb510c4564a90a14e8b799\"\nroles = [\"storefront\"]\n").unwrap();
    let data = folder.path().join("data");
    let server =
        Server::start_with(&data, &["serve", "--listen", "127.0.0.1:0", "--config", file.to_str().unwrap()]);
    let mut client = server.connect().await;
    let body = json!({"quantity": 1}).to_string();
    let path = "/v1/commands/inventory/v/receive";
    for (header, status, code) in [
        (None, 401, "unauthenticated"),
        (Some("Bearer wrong"), 401, "unauthenticated"),
        (Some("Bearer swordfish"), 403, "forbidden"),
    ] {
        let headers: Vec<_> = header.map(|value| ("authorization", value)).into_iter().collect();
        let answer = client.send("POST", path, &headers, body.as_bytes()).await;
        assert_eq!((answer.status, answer.code().as_deref()), (status, Some(code)));
    }
    assert_eq!(client.status("/v1/projections").await, 401);
    assert_eq!(client.status("/healthz").await, 200);
    server.stop();
    let refused = crate::harness::run(&data, &["serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("credentials"));
}
