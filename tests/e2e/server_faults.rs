//! The event log's server dies, freezes and is cut off under load: nothing acknowledged is lost, nothing happens twice, the
//! gateway says that it is degraded, and recovers by itself.

use std::path::Path;

use serde_json::Value;

use crate::backend::{postgres_settings, postgres_url};
use crate::harness::{Server, run_on};
use crate::own_server::{Kind, OwnServer};
use crate::proxy::{Proxy, place};
use crate::workload::{Stubborn, check_log};

type Settings = Vec<(&'static str, String)>;

/// A log with little patience, so that a test needs little as well.
fn impatient(url: &str, data: &Path) -> Settings {
    let mut settings = postgres_settings(url, data);
    settings.push(("DAYBOOK_LOG_CONNECT_TIMEOUT_MS", "2000".into()));
    settings.push(("DAYBOOK_LOG_REQUEST_TIMEOUT_MS", "2000".into()));
    settings.push(("DAYBOOK_LOG_APPEND_TIMEOUT_MS", "4000".into()));
    settings
}

async fn until_degraded(server: &Server) {
    server.until_degraded("event log", "event_log").await;
}

fn check(data: &Path, settings: &Settings, acknowledged: &[String]) {
    let log = run_on(data, settings, &["log", "read"]);
    assert!(log.status.success(), "{}", String::from_utf8_lossy(&log.stderr));
    check_log(&log.stdout, acknowledged);
    for command in ["verify", "reconcile"] {
        let output = run_on(data, settings, &[command]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{command}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_killed_and_one_that_freezes_lose_and_double_nothing() {
    let Some(postgres) = OwnServer::start(Kind::Postgres) else { return };
    let folder = tempfile::tempdir().unwrap();
    let settings = impatient(&postgres.url, folder.path());
    let server = Server::start_on(folder.path(), &settings);
    let load = Stubborn::start(&[server.address], 6, "faults");
    load.wait_for_more(50).await;

    postgres.kill();
    until_degraded(&server).await;
    let refused = server
        .connect()
        .await
        .post("/v1/commands/inventory/v1/receive", serde_json::json!({"quantity": 1}))
        .await;
    assert_eq!((refused.status, refused.code().as_deref()), (503, Some("unavailable")));
    postgres.resume();
    server.until_ready().await;
    load.wait_for_more(50).await;

    postgres.freeze();
    until_degraded(&server).await;
    postgres.thaw();
    server.until_ready().await;
    load.wait_for_more(50).await;

    let acknowledged = load.stop().await;
    server.until_projected().await;
    server.stop();
    check(folder.path(), &settings, &acknowledged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_lose_and_double_nothing() {
    let Some(url) = postgres_url() else { return };
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::before(place(&url)).await;
    let settings = impatient(&proxy.url(&url), folder.path());
    let server = Server::start_on(folder.path(), &settings);
    let load = Stubborn::start(&[server.address], 6, "cuts");
    for _ in 0..10 {
        load.wait_for_more(20).await;
        proxy.cut();
    }
    proxy.refuse(true);
    until_degraded(&server).await;
    proxy.refuse(false);
    server.until_ready().await;
    load.wait_for_more(50).await;
    let acknowledged = load.stop().await;
    server.until_projected().await;
    server.stop();
    check(folder.path(), &settings, &acknowledged);
}

#[tokio::test]
async fn a_gateway_without_its_database_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let start = |settings: &Settings| run_on(folder.path(), settings, &["serve", "--listen", "127.0.0.1:0"]);
    // A port that was free a moment ago.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = impatient(&format!("postgres://ada:hunter2@{closed}/shop"), folder.path());
    let output = start(&settings);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    for word in ["log.backend", "log.url", "Check host and port", "ada:***@"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
    let head = run_on(folder.path(), &settings, &["log", "head"]);
    assert_eq!(head.status.code(), Some(1));
    // What the first start left does not make the folder somebody else's.
    let again = start(&settings);
    let text = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(again.status.code() == Some(1) && text.contains("Check host and port"), "{text}");
}

#[tokio::test]
async fn a_data_folder_stays_with_its_log() {
    let Some(url) = postgres_url() else { return };
    let folder = tempfile::tempdir().unwrap();
    let settings = postgres_settings(&url, folder.path());
    let server = Server::start_on(folder.path(), &settings);
    server.connect().await.command("inventory/v/receive", serde_json::json!({"quantity": 1})).await;
    // The folder is taken while a gateway runs on it; the log is not.
    let second = run_on(folder.path(), &settings, &["reconcile"]);
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(second.status.code() == Some(1) && text.contains("--data"), "{text}");
    let head = run_on(folder.path(), &settings, &["log", "head", "--format", "json"]);
    assert!(serde_json::from_slice::<Value>(&head.stdout).unwrap()["events"].as_u64().unwrap() > 0);
    server.stop();
    Server::start_on(folder.path(), &settings).stop();
    let other = postgres_settings(&url, &folder.path().join("other"));
    for (settings, word) in [(other, "begins with another event"), (Vec::new(), "postgres")] {
        let output = run_on(folder.path(), &settings, &["reconcile"]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && text.contains(word) && text.contains("--data"), "{text}");
    }
}
