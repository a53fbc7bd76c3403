//! The command line: what it prints, and what it refuses.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Server, binary, binary_on, eventually, run, run_json};

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
    let beyond = run(folder.path(), &["state", "inventory", "v", "--revision", "99"]);
    assert_eq!(beyond.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&beyond.stderr).contains("which is before 99"), "{beyond:?}");
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
        (&["reconcile"][..], 1, "there is no Daybook data"),
        (&["projections", "list"][..], 1, "there is no Daybook data"),
        (&["projections", "rebuild"][..], 1, "there is no Daybook data"),
        (&["projections", "digest"][..], 1, "there is no Daybook data"),
        (&["verify"][..], 1, "there is no Daybook data"),
        (&["export", "variants"][..], 1, "there is no Daybook data"),
    ] {
        let output = run(&folder.path().join("none"), arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {text}");
        assert!(text.contains(word), "{arguments:?}: {text}");
    }
    assert!(!folder.path().join("none").exists(), "nothing was made");
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
    // Verification finds it where it is, with the report of a failure.
    let verified = run(folder.path(), &["verify", "--format", "json"]);
    assert_eq!(verified.status.code(), Some(3), "{verified:?}");
    let report: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!((&report["ok"], &report["events"], &report["root"]), (&json!(false), &json!(0), &Value::Null));
    let failure = &report["failures"][0];
    assert_eq!((&failure["code"], &failure["stream"]), (&json!("damaged"), &json!("")));
    assert!(failure["position"].as_u64().is_some_and(|position| position > 1), "{report}");
    let detail = failure["detail"].as_str().unwrap();
    assert!(detail.contains("seg-") && detail.contains("at byte"), "{detail}");
    let text = run(folder.path(), &["verify"]);
    assert_eq!(text.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&text.stdout).contains("NOT SOUND"), "{text:?}");
}

/// What can be asked of a log at rest can be asked of a server's, with the same answer.
#[tokio::test]
async fn the_log_of_a_server_is_read_as_at_rest() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(&data);
    let mut client = server.connect().await;
    let line = json!({"aggregate": "inventory", "id": "v", "command": "receive", "data": {"quantity": 1}});
    // More than a page.
    let lines = format!("{line}\n").repeat(1_200);
    let done = client.send("POST", "/v1/commands", &[], lines.as_bytes()).await;
    assert_eq!(done.status, 200);
    client.command("inventory/w/receive", json!({"quantity": 1})).await;
    let url = server.url();
    let questions = [
        &["log", "read"][..],
        &["log", "read", "--from", "3", "--limit", "1100"][..],
        &["log", "read", "--type", "inventory.back_in_stock", "--stream-prefix", "inventory-"][..],
        &["log", "stream", "inventory-v"][..],
        &["log", "stream", "inventory-v", "--from", "5", "--limit", "2"][..],
    ];
    let remote = |arguments: &[&str]| run(&data, &[arguments, &["--server", &url]].concat());
    let asked: Vec<_> = questions.iter().map(|arguments| remote(arguments)).collect();
    let none = remote(&["log", "stream", "inventory-none"]);
    assert!(String::from_utf8_lossy(&none.stderr).contains("there is no stream"), "{none:?}");
    server.stop();
    for (arguments, remote) in questions.iter().zip(asked) {
        let local = run(&data, arguments);
        assert!(local.status.success() && remote.status.success(), "{arguments:?}: {remote:?}");
        assert!(!local.stdout.is_empty() && local.stdout == remote.stdout, "{arguments:?}: {remote:?}");
    }
}

/// Scripts wait for one line and for an exit status: neither may tell of a demonstration that is not there.
#[tokio::test]
async fn a_demonstration_is_told_of_once_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let demo = |data: &Path| {
        let mut command = binary_on(data);
        command.args(["demo", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let terminate = |child: &Child| {
        assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    };
    let data = folder.path().join("stopped");
    let child = demo(&data);
    // From then on the import is under way; it takes seconds.
    eventually("the demonstration has its log", async || data.join("log/LOG").exists()).await;
    terminate(&child);
    let stopped = child.wait_with_output().unwrap();
    assert_eq!(stopped.status.code(), Some(1), "{stopped:?}");
    assert!(stopped.stdout.is_empty(), "{stopped:?}");
    assert!(String::from_utf8_lossy(&stopped.stderr).contains("stopped before the sample"), "{stopped:?}");

    let mut child = demo(&data);
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut errors = child.stderr.take().unwrap();
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        errors.read_to_string(&mut text).map(|_| text)
    });
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert!(line.starts_with("listening on http://127.0.0.1:"), "{line}");
    terminate(&child);
    assert!(child.wait().unwrap().success());
    assert!(errors.join().unwrap().unwrap().contains("net "), "the summary stands elsewhere");
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
