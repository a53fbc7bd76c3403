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
        (format!("inventory/{long_id}/receive"), r#"{"quantity": 1}"#.into(), 400, "invalid_request"),
        ("inventory/a%20b/receive".into(), r#"{"quantity": 1}"#.into(), 400, "invalid_request"),
        ("inventory/a%ff/receive".into(), r#"{"quantity": 1}"#.into(), 400, "invalid_request"),
        ("inventory/v/explode".into(), "{}".into(), 404, "not_found"),
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
        ("/v1/search?limit=100000", 400, "invalid_request"),
        ("/v1/search?colour=navy", 400, "invalid_request"),
        ("/v1/search?price_min=cheap", 400, "invalid_request"),
        ("/v1/search?cursor=abc", 400, "invalid_request"),
        ("/v1/orders?status=lost", 400, "invalid_request"),
        ("/v1/events?from=now", 400, "invalid_request"),
        ("/v1/events?limit=0", 400, "invalid_request"),
        ("/v1/analytics/sales?period=yesterday", 400, "invalid_request"),
        ("/v1/analytics/sales?period=2011-13", 400, "invalid_request"),
        ("/v1/variants/x?min_position=999999999", 503, "projection_behind"),
    ] {
        let answer = client.send("GET", path, &[], &[]).await;
        assert_eq!(
            (answer.status, answer.code().as_deref()),
            (status, Some(code)),
            "{path}: {}",
            String::from_utf8_lossy(&answer.body)
        );
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
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("credentials"));
}
