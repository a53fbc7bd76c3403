//! The command line: what it prints, and what it refuses.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Server, binary, run, run_json};

#[tokio::test]
async fn state_log_and_projections_at_rest() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    client.command("inventory/v/receive", json!({"quantity": 5})).await;
    client
        .command(
            "inventory/v/reserve",
            json!({"reservation_id": "r", "customer_id": "c", "quantity": 2, "ttl_seconds": 3600}),
        )
        .await;
    let running = run(folder.path(), &["log", "head"]);
    assert_eq!(running.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&running.stderr).contains("in use by another process"), "{running:?}");
    server.stop();

    let head = run_json(folder.path(), &["log", "head"]);
    let events = head["events"].as_u64().unwrap();
    assert_eq!(head["position"], events.to_string());
    let read = run(folder.path(), &["log", "read", "--format", "json"]);
    let lines: Vec<Value> = read
        .stdout
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect();
    assert_eq!(lines.len() as u64, events);
    assert_eq!(lines[0]["type"], "inventory.received");
    assert_eq!(lines[0]["metadata"]["actor"], "local");
    let stream = run(folder.path(), &["log", "stream", "inventory-v", "--from", "2", "--limit", "1"]);
    assert_eq!(String::from_utf8_lossy(&stream.stdout).lines().count(), 1);
    let now = run_json(folder.path(), &["state", "inventory", "v"]);
    let first = run_json(folder.path(), &["state", "inventory", "v", "--revision", "1"]);
    assert_eq!(first["revision"], 1);
    assert_ne!(now["state"], first["state"]);
    let then = run(folder.path(), &["state", "inventory", "v", "--at", "2001-01-01T00:00:00Z"]);
    assert_eq!(then.status.code(), Some(1));
    let projections = run_json(folder.path(), &["projections", "list"]);
    assert_eq!(projections["projections"].as_array().unwrap().len(), 9);
}

#[test]
fn mistakes_are_told_with_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, status, word) in [
        (&["log", "head"][..], 1, "there is no Daybook data"),
        (&["frobnicate"][..], 2, "unrecognized"),
        (&["state", "spaceship", "x"][..], 1, "there is no Daybook data"),
        (&["import", "online-retail", "no-such-file.csv"][..], 1, "no-such-file.csv"),
        (&["verify", "--config", "no-such-file.toml"][..], 1, "no-such-file.toml"),
        (&["reconcile", "--server", "http://127.0.0.1:1"][..], 1, "no server answers"),
    ] {
        let output = run(&folder.path().join("none"), arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {text}");
        assert!(text.contains(word), "{arguments:?}: {text}");
    }
    let foreign = folder.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("thesis.txt"), "precious").unwrap();
    let output = run(&foreign, &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no Daybook data folder"));
    assert_eq!(std::fs::read_dir(&foreign).unwrap().count(), 1, "nothing was written into it");
}

#[test]
fn the_configuration_says_where_each_value_came_from() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("daybook.toml");
    std::fs::write(&file, "currency = \"EUR\"\n").unwrap();
    let output = binary()
        .args(["config", "--format", "json", "--data", "somewhere", "--config"])
        .arg(&file)
        .env("DAYBOOK_LISTEN", "127.0.0.1:9")
        .output()
        .unwrap();
    let settings: Value = serde_json::from_slice(&output.stdout).unwrap();
    let source = |name: &str| {
        settings.as_array().unwrap().iter().find(|s| s["setting"] == name).unwrap()["source"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(source("data"), "flag --data");
    assert_eq!(source("listen"), "environment DAYBOOK_LISTEN");
    assert!(source("currency").starts_with("file "));
    assert_eq!(source("limits"), "default");
}

#[tokio::test]
async fn a_damaged_log_is_refused_with_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    for _ in 0..200 {
        client.command("inventory/v/receive", json!({"quantity": 5})).await;
    }
    server.stop();
    let log = folder.path().join("log");
    let segment = std::fs::read_dir(&log)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| std::fs::metadata(path).unwrap().len() > 100_000)
        .min()
        .expect("a segment");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[9_000] ^= 4;
    std::fs::write(&segment, bytes).unwrap();
    let output = run(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("damaged event log") && text.contains("at byte") && text.contains("backup"),
        "{text}"
    );
}

#[tokio::test]
async fn server_sent_events_resume() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    for n in 1..=3 {
        client.command("inventory/v/receive", json!({"quantity": n})).await;
    }
    // curl is not everywhere; python3 is what the suite needs anyway.
    let script = "import sys,urllib.request as u\nr=u.urlopen(u.Request(sys.argv[1],headers={'accept':'text/event-stream','last-event-id':sys.argv[2]}))\nfor _ in range(int(sys.argv[3])): print(r.readline().decode(),end='')";
    let url = format!("{}/v1/events?type=inventory.received", server.url());
    let output = Command::new("python3").args(["-c", script, &url, "1", "4"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = text.lines();
    let id = lines.next().unwrap().strip_prefix("id: ").unwrap().parse::<u64>().unwrap();
    assert!(id > 1);
    assert_eq!(lines.next(), Some("event: inventory.received"));
    let event: Value = serde_json::from_str(lines.next().unwrap().strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(event["data"]["quantity"], 2);
    server.stop();
}

#[tokio::test]
async fn the_openapi_document_describes_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    let document = client.get("/openapi.json").await;
    let paths = document["paths"].as_object().unwrap();
    for path in [
        "variant/{id}/create",
        "inventory/{id}/reserve",
        "order/{id}/place",
        "order/{id}/record",
        "credit/{id}/issue",
    ] {
        let operation = &paths[&format!("/v1/commands/{path}")]["post"];
        assert!(operation["summary"].as_str().is_some_and(|s| !s.is_empty()), "{path}");
    }
    // Every reference leads somewhere.
    let text = document.to_string();
    for reference in text.split("\"#/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(document.pointer(&format!("/{reference}")).is_some(), "{reference}");
    }
    for page in ["/docs", "/console", "/assets/console.js", "/metrics", "/readyz"] {
        assert_eq!(client.status(page).await, 200, "{page}");
    }
    server.stop();
}

/// A read model whose file is ruined takes only its own queries away, says what to do, and that helps.
#[tokio::test]
async fn a_ruined_read_model_is_rebuilt_beside_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    client.command("inventory/v/receive", json!({"quantity": 5})).await;
    server.stop();
    for ending in ["", "-wal", "-shm"] {
        let file = folder.path().join(format!("projections/inventory@1.sqlite{ending}"));
        if file.exists() {
            std::fs::write(&file, "no database at all, but long enough to look like the head of one")
                .unwrap();
        }
    }
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    let answer = client.send("GET", "/v1/inventory/v", &[], &[]).await;
    assert_eq!((answer.status, answer.code().as_deref()), (503, Some("projection_halted")));
    let detail = answer.json().unwrap()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("daybook projections rebuild"), "{detail}");
    assert_eq!(client.status("/readyz").await, 503);
    assert_eq!(client.get("/v1/orders").await["orders"], json!([]));
    let rebuilt = run(folder.path(), &["projections", "rebuild", "inventory", "--server", &server.url()]);
    assert!(rebuilt.status.success(), "{rebuilt:?}");
    assert_eq!(client.get("/v1/inventory/v").await["on_hand"], 5);
    assert_eq!(client.status("/readyz").await, 200);
    server.stop();
}
