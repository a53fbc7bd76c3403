//! The search server dies, freezes and is cut off under load: commands go on, the gateway says that it is degraded, and search
//! catches up by itself.

use serde_json::json;

use crate::backend::{elastic_settings, shared_settings};
use crate::harness::{Server, eventually, run_on};
use crate::own_server::{Kind, OwnServer};
use crate::proxy::Proxy;
use crate::workload::{Stubborn, check_log};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_server_that_is_killed_frozen_and_cut_off_stops_no_command_and_catches_up() {
    let Some(elastic) = OwnServer::start(Kind::Elasticsearch) else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let place = elastic.url.trim_start_matches("http://").to_owned();
    let proxy = Proxy::before(place.clone()).await;
    let mut settings = elastic_settings(&elastic.url.replace(&place, &proxy.address().to_string()), data);
    settings.push(("DAYBOOK_SEARCH_REQUEST_TIMEOUT_MS", "4000".into()));
    let server = Server::start_on(data, &settings);
    let load = Stubborn::start(&[server.address], 4, "search");
    load.wait_for_more(100).await;

    elastic.kill();
    server.until_degraded("search server", "search").await;
    let mut client = server.connect().await;
    let refused = client.send("GET", "/v1/search?q=thing", &[], &[]).await;
    assert_eq!((refused.status, refused.code().as_deref()), (503, Some("unavailable")));
    load.wait_for_more(100).await;
    elastic.resume();
    server.until_ready().await;
    load.wait_for_more(100).await;

    elastic.freeze();
    server.until_degraded("search server", "search").await;
    load.wait_for_more(100).await;
    elastic.thaw();
    server.until_ready().await;

    for _ in 0..5 {
        load.wait_for_more(50).await;
        proxy.cut();
    }
    proxy.refuse(true);
    server.until_degraded("search server", "search").await;
    proxy.refuse(false);
    server.until_ready().await;

    let acknowledged = load.stop().await;
    // The first connection has been silent for too long.
    let mut client = server.connect().await;
    client
        .command(
            "variant/last/create",
            json!({"product_id": "last", "name": "Unmistakable", "brand": "B", "category": "C", "attributes": [],
        "price": {"amount": "1.00", "currency": "GBP"}}),
        )
        .await;
    client.command("variant/last/submit", json!({})).await;
    client.command("variant/last/approve", json!({})).await;
    server.until_projected().await;
    server.until_ready().await;
    let found = client.get("/v1/search?q=unmistakable").await;
    assert_eq!(found["total"], 1, "{found}");
    server.stop();
    let log = run_on(data, &settings, &["log", "read"]);
    assert!(log.status.success(), "{}", String::from_utf8_lossy(&log.stderr));
    check_log(&log.stdout, &acknowledged);
    let output = run_on(data, &settings, &["reconcile"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));

    // Another data folder does not take the index over, and says which setting to change.
    let other = folder.path().join("other");
    let server = Server::start_on(&other, &settings);
    eventually("the folder is refused", async || {
        let ready = server.connect().await.send("GET", "/readyz", &[], &[]).await;
        ready.status == 503 && String::from_utf8_lossy(&ready.body).contains("[search] prefix")
    })
    .await;
    server.stop();
}

#[tokio::test]
async fn a_gateway_starts_without_its_search_server_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    // A port that was free a moment ago.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = elastic_settings(&format!("http://ada:hunter2@{closed}"), folder.path());
    let server = Server::start_on(folder.path(), &settings);
    let mut client = server.connect().await;
    client.command("inventory/v/receive", json!({"quantity": 1})).await;
    server.until_degraded("search server", "search").await;
    let ready = client.send("GET", "/readyz", &[], &[]).await;
    assert!(!String::from_utf8_lossy(&ready.body).contains("hunter2"));
    server.stop();
}

/// Two gateways that share a log and an index: neither may wait for the search server, and once it is there one of them
/// takes the index.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_on_a_shared_log_start_without_their_search_server_and_one_fills_the_index_later() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut settings) = shared_settings(folder.path()) else { return };
    let Some((_, url)) = settings.iter_mut().find(|(name, _)| *name == "DAYBOOK_SEARCH_URL") else { return };
    let place = url.trim_start_matches("http://").to_owned();
    let proxy = Proxy::before(place.clone()).await;
    *url = url.replace(&place, &proxy.address().to_string());
    proxy.refuse(true);
    let servers = ["a", "b"].map(|name| Server::start_on(&folder.path().join(name), &settings));
    let mut client = servers[0].connect().await;
    let variant = json!({"product_id": "early", "name": "Early bird", "brand": "B", "category": "C", "attributes": [],
        "price": {"amount": "1.00", "currency": "GBP"}});
    client.command("variant/early/create", variant).await;
    client.command("variant/early/submit", json!({})).await;
    let position = client.command("variant/early/approve", json!({})).await["position"].clone();
    let early = format!("/v1/variants/early?min_position={}", position.as_str().unwrap());
    for server in &servers {
        server.until_degraded("search server", "search").await;
        let answer = server.connect().await.send("GET", "/v1/search?q=bird", &[], &[]).await;
        assert_eq!((answer.status, answer.code().as_deref()), (503, Some("unavailable")));
        let view = server.connect().await.get(&early).await;
        assert_eq!(view["name"], "Early bird", "the other read models go on: {view}");
    }

    proxy.refuse(false);
    for server in &servers {
        server.until_ready().await;
        server.until_projected().await;
        let found = server.connect().await.get("/v1/search?q=bird").await;
        assert_eq!(found["total"], 1, "{found}");
    }
    servers.into_iter().for_each(Server::stop);
}
