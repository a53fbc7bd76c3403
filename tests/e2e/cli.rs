//! The command line: what it prints, and what it refuses.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Server, binary, binary_on, eventually, number, run, run_json};

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
    let file = folder.path().join("there");
    std::fs::write(&file, "limits = 7").unwrap();
    let file = file.to_str().unwrap();
    // A folder with a log, for what is looked at after it.
    let data = folder.path().join("data");
    Server::start(&data).stop();
    let none = folder.path().join("none");
    // What the command line, the settings or a name in them get wrong: 2, with a server or without.
    for (data, arguments, word) in [
        (&none, &["frobnicate"][..], "unrecognized"),
        (&none, &["verify", "--fast"], "unexpected argument"),
        (&none, &["log", "head"], "there is no Daybook data"),
        (&none, &["reconcile"], "there is no Daybook data"),
        (&none, &["projections", "list"], "there is no Daybook data"),
        (&none, &["projections", "rebuild"], "there is no Daybook data"),
        (&none, &["projections", "digest"], "there is no Daybook data"),
        (&none, &["verify"], "there is no Daybook data"),
        (&none, &["export", "variants"], "there is no Daybook data"),
        (&none, &["price", "v"], "there is no Daybook data"),
        (&none, &["state", "spaceship", "x"], "there is no aggregate"),
        (&none, &["state", "order", "no id"], "an id is"),
        (&none, &["state", "order", "o", "--at", "yesterday"], "--at"),
        (
            &none,
            &["state", "order", "o", "--at", "2011-01-01T00:00:00Z", "--revision", "1"],
            "cannot be used with",
        ),
        (&none, &["price", "no id"], "invalid value"),
        (&none, &["lifecycle", "spaceship"], "there is no lifecycle"),
        (&none, &["import", "online-retail", "no-such-file.csv"], "no-such-file.csv"),
        (&none, &["import", "variants", "no-such-file.csv"], "no-such-file.csv"),
        (&none, &["import", "variants", file, "--errors", file], "--errors names the file"),
        (&none, &["log", "import", "no-such-file"], "no-such-file"),
        (&none, &["generate", "variants", "--count", "1", "--out", "no/such/folder"], "cannot open"),
        (&none, &["verify", "--config", "no-such-file.toml"], "no-such-file.toml"),
        (&none, &["config", "--config", file], "limits"),
        (&none, &["serve", "--listen", "everywhere"], "--listen"),
        (&none, &["serve", "--listen", "0.0.0.0:0"], "without credentials"),
        (&none, &["serve", "--server", "http://127.0.0.1:1"], "leave --server out"),
        (&none, &["config", "--server", "http://127.0.0.1:1"], "leave --server out"),
        (&none, &["log", "import", file, "--server", "http://127.0.0.1:1"], "at rest"),
        (&none, &["import", "variants", file, "--server", "http://127.0.0.1:1"], "at rest"),
        (&none, &["log", "head", "--server", "127.0.0.1:1"], "http://HOST:PORT"),
        (&none, &["load", "--server", "localhost"], "http://HOST:PORT"),
        (&none, &["load", "--duration", "0", "--server", "http://127.0.0.1:1"], "--duration"),
        (&none, &["projections", "pause", "search"], "there is no Daybook data"),
        (&none, &["projections", "dead-letters", "list", "search"], "there is no Daybook data"),
        (&data, &["projections", "pause", "spaceships"], "there is no projection"),
        (&data, &["projections", "resume", "spaceships"], "there is no projection"),
        (&data, &["projections", "dead-letters", "retry", "spaceships"], "there is no projection"),
        (&data, &["projections", "rebuild", "spaceships"], "there is no projection"),
        (&data, &["projections", "rollback", "spaceships"], "there is no projection"),
        (&data, &["projections", "digest", "spaceships"], "there is no projection"),
        (&data, &["reconcile", "inventory", "spaceships"], "there is no projection"),
        (&data, &["simulate", "drift", "--projection", "spaceships"], "there is no projection"),
        (&data, &["log", "stream", ""], "stream"),
        (&data, &["log", "export", file], "exists"),
        (&data, &["log", "export", "new", "--from", "99"], "the log ends at"),
    ] {
        let output = run(data, arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(word), "{arguments:?}: {text}");
    }
    assert!(!none.exists(), "nothing was made");
    // What may go otherwise another time: 1.
    for (arguments, word) in [
        (&["reconcile", "--server", "http://127.0.0.1:1"][..], "no server answers"),
        (&["state", "order", "none"], "has no events"),
        (&["log", "stream", "order-none"], "there is no stream"),
        (&["projections", "rollback", "search"], "no previous generation"),
        (&["log", "import", file], "not imported"),
    ] {
        let output = run(&data, arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
        assert!(text.contains(word), "{arguments:?}: {text}");
    }
    let foreign = folder.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("thesis.txt"), "precious").unwrap();
    let output = run(&foreign, &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(2));
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
        settings["settings"].as_array().unwrap().iter().find(|s| s["setting"] == name).unwrap()["source"]
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
    assert!(number(&failure["position"]).is_some_and(|position| position > 1), "{report}");
    let detail = failure["detail"].as_str().unwrap();
    assert!(detail.contains("seg-") && detail.contains("at byte"), "{detail}");
    let text = run(folder.path(), &["verify"]);
    assert_eq!(text.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&text.stdout).contains("NOT SOUND"), "{text:?}");
}

#[tokio::test]
async fn what_a_server_does_not_know_by_name_is_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(&data);
    let url = server.url();
    for (arguments, status, word) in [
        (&["projections", "pause", "spaceships"][..], 2, "there is no projection"),
        (&["projections", "rebuild", "spaceships"], 2, "there is no projection"),
        (&["projections", "dead-letters", "list", "spaceships"], 2, "there is no projection"),
        (&["reconcile", "spaceships"], 2, "there is no projection"),
        (&["projections", "digest", "spaceships"], 2, "there is no projection"),
        (&["state", "spaceship", "x"], 2, "there is no aggregate"),
        (&["state", "order", "none"], 1, "has no events"),
        (&["log", "stream", "order-none"], 1, "there is no stream"),
        (&["projections", "rollback", "search"], 1, "no previous generation"),
    ] {
        let output = run(&data, &[arguments, &["--server", &url]].concat());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {text}");
        assert!(text.contains(word), "{arguments:?}: {text}");
    }
    server.stop();
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    found
}

/// A crash tears the tail of a log. Who looks afterwards, before anything starts on it, must not take that from whoever looks next.
#[tokio::test]
async fn looking_at_a_log_at_rest_changes_no_byte_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(&data);
    let mut client = server.connect().await;
    for _ in 0..20 {
        client.command("inventory/v/receive", json!({"quantity": 5})).await;
    }
    server.kill();
    let segment = std::fs::read_dir(data.join("log")).unwrap().map(|entry| entry.unwrap().path());
    let segment = segment.filter(|path| path.to_str().unwrap().contains("seg-")).max().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let torn = end.next_multiple_of(8);
    bytes[torn..torn + 30].copy_from_slice(b"half an append, then a crash!!");
    std::fs::write(&segment, bytes).unwrap();
    let before = files(&data);

    let report = run_json(&data, &["verify"]);
    assert_eq!((&report["ok"], &report["failures"]), (&json!(true), &json!([])));
    let tail = &report["torn_tail"];
    assert_eq!((&tail["offset"], &tail["bytes"]), (&json!(torn), &json!(30)), "{report}");
    assert_eq!(number(&tail["position"]).unwrap(), number(&report["position"]).unwrap() + 1);
    assert!(segment.ends_with(tail["file"].as_str().unwrap()));
    let text = run(&data, &["verify"]);
    assert_eq!(text.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&text.stdout).contains("a torn tail of 30 bytes"), "{text:?}");
    let copy = folder.path().join("copy");
    for arguments in [
        &["log", "head"][..],
        &["log", "read"],
        &["log", "stream", "inventory-v"],
        &["log", "export", copy.to_str().unwrap()],
        &["state", "inventory", "v"],
    ] {
        let output = run(&data, arguments);
        assert!(output.status.success(), "{output:?}");
    }
    assert!(files(&data) == before, "a file was changed, made or removed");

    let root = report["root"].clone();
    Server::start(&data).stop();
    let after = run_json(&data, &["verify"]);
    assert_eq!(
        (&after["root"], &after["torn_tail"]),
        (&root, &Value::Null),
        "what was torn is cut, and nothing else"
    );
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
        &["log", "read", "--type", "inventory.received", "--stream-prefix", "inventory-"][..],
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
    for (path, method) in [
        ("/v1/projections/{name}/pause", "post"),
        ("/v1/projections/{name}/dead-letters/discard", "post"),
        ("/v1/projections/{name}/dead-letters", "get"),
        ("/v1/operations/reconcile", "post"),
        ("/v1/operations/export", "get"),
        ("/v1/operations/export/variants", "get"),
    ] {
        assert!(paths[path][method]["responses"]["200"].is_object(), "{path}");
    }
    // What is described is there: no route is unknown, and none refuses the method.
    let described = paths.iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().keys().map(move |method| (path.clone(), method.to_uppercase()))
    });
    for (path, method) in described.filter(|(path, _)| !path.starts_with("/v1/commands/")) {
        let place: String = path
            .split(['{', '}'])
            .enumerate()
            .map(|(n, part)| if n % 2 == 1 { "none" } else { part })
            .collect();
        let answer = client.send(&method, &place, &[], b"").await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(answer.status != 405 && !text.contains("there is no route"), "{method} {place}: {text}");
    }
    for page in ["/docs", "/console", "/assets/console.js", "/metrics", "/readyz"] {
        assert_eq!(client.status(page).await, 200, "{page}");
    }
    server.stop();
}
