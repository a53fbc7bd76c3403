//! What the command line prints and what a refusal looks like, word for word. People and scripts read both, so that a change
//! has to be seen: `INSTA_UPDATE=always cargo test -p daybook-gateway --test e2e snapshots`, then read the difference.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::harness::{Client, DEADLINE, Server, binary, run};

/// Replaces what differs from run to run: the folder, ids, times, digests.
fn steady(text: &str, folder: &Path) -> String {
    let text = text.replace(&folder.display().to_string(), "[folder]");
    let part_of_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | ':' | '.');
    let mut steady = String::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let end = rest.find(|c| !part_of_word(c)).unwrap_or(rest.len());
        steady.push_str(name_of(&rest[..end]).unwrap_or(&rest[..end]));
        let next = rest[end..].chars().next().map_or(0, char::len_utf8);
        steady.push_str(&rest[end..end + next]);
        rest = &rest[end + next..];
    }
    steady
}

fn name_of(word: &str) -> Option<&'static str> {
    let hex = |word: &str| word.bytes().all(|b| b.is_ascii_hexdigit());
    let bytes = word.as_bytes();
    match bytes.len() {
        36 if hex(&word.replace('-', "")) => Some("[uuid]"),
        64 if hex(word) => Some("[sha256]"),
        32 if hex(word) => Some("[trace]"),
        20.. if bytes[4] == b'-' && bytes[10] == b'T' && word.ends_with('Z') => Some("[time]"),
        _ => None,
    }
}

fn shown(output: &Output, folder: &Path) -> String {
    let text = |bytes: &[u8]| steady(&String::from_utf8_lossy(bytes), folder);
    let code = output.status.code().expect("an exit, not a signal");
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    let mut shown = format!("exit {code}\n");
    // What succeeds may show progress there, as often as time passes.
    let error = if output.status.success() { String::new() } else { error };
    for (name, text) in [("standard output", out), ("standard error", error)] {
        if !text.is_empty() {
            shown.push_str(&format!("--- {name}\n{}\n", text.trim_end()));
        }
    }
    shown
}

/// The help of a command and of all below it.
fn help(path: &[&str], all: &mut Vec<(String, String)>) {
    let output = binary().args(path).arg("--help").output().expect("the binary runs");
    assert!(output.status.success(), "{path:?}");
    let text = String::from_utf8(output.stdout).expect("help is text");
    let commands = text.split("Commands:\n").nth(1).unwrap_or_default();
    let below: Vec<String> = commands
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .filter(|name| name != "help")
        .collect();
    let name = if path.is_empty() { "daybook".to_owned() } else { path.join("_") };
    all.push((name, text));
    for command in &below {
        help(&[path, &[command.as_str()]].concat(), all);
    }
}

#[test]
fn help_of_every_command() {
    let mut all = Vec::new();
    help(&[], &mut all);
    assert!(all.len() > 15, "commands are found by their place in the help");
    for (name, text) in all {
        insta::assert_snapshot!(format!("help_{name}"), text);
    }
}

/// A small shop whose log is the same each time but for ids and times.
async fn fill(client: &mut Client) -> String {
    client
        .command(
            "variant/navy/create",
            json!({
                "product_id": "shirt", "name": "Linen shirt", "brand": "Weaver", "category": "Shirts",
                "attributes": [{"type": "color", "value": "Navy", "hex": "#000080"}],
                "price": {"amount": "39.90", "currency": "GBP"}, "sku": {"strategy": "manual", "value": "NAVY-1"},
            }),
        )
        .await;
    client.command("variant/navy/submit", json!({})).await;
    client.command("variant/navy/approve", json!({"reason": "looks right"})).await;
    client.command("inventory/navy/receive", json!({"quantity": 10})).await;
    let order = json!({"customer_id": "ada", "payment_method": "card", "lines": [{"variant_id": "navy", "quantity": 2}]});
    let placed = client.command("order/o-1/place", order).await;
    placed["position"].as_str().expect("a position").to_owned()
}

/// Waits until every projection runs at the head.
async fn settle(client: &mut Client) {
    let began = std::time::Instant::now();
    loop {
        let list = client.get("/v1/projections").await;
        let rows = list["projections"].as_array().expect("a list");
        if rows.iter().all(|row| row["lag"] == 0 && row["state"] == "running") {
            return;
        }
        assert!(began.elapsed() < DEADLINE, "{list}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn output_on_a_small_log() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(&data);
    let mut client = server.connect().await;
    fill(&mut client).await;
    settle(&mut client).await;
    for format in ["text", "json"] {
        let arguments = ["projections", "list", "--server", &server.url(), "--format", format];
        let mut text = shown(&run(&data, &arguments), folder.path());
        if format == "json" {
            text = without_counts(&text);
        }
        insta::assert_snapshot!(format!("projections_list_{format}"), text);
    }
    server.stop();
    for command in [
        &["log", "head"][..],
        &["log", "stream", "inventory-navy"],
        &["state", "inventory", "navy"],
        &["verify"],
        &["reconcile"],
        &["config"],
    ] {
        for format in ["text", "json"] {
            let output = run(&data, &[command, &["--format", format]].concat());
            let name = format!("{}_{format}", command.join("_"));
            insta::assert_snapshot!(name, shown(&output, folder.path()));
        }
    }
}

/// How many pages a runner reads to catch up is a matter of timing.
fn without_counts(text: &str) -> String {
    let (head, body) = text.split_once('{').expect("an object");
    let mut value: Value = serde_json::from_str(&format!("{{{body}")).expect("one object");
    for row in value["projections"].as_array_mut().expect("a list") {
        let row = row.as_object_mut().expect("an object");
        assert!(row.remove("events").is_some_and(|events| events.is_u64()));
    }
    format!("{head}{}", serde_json::to_string_pretty(&value).expect("JSON"))
}

#[test]
fn errors_say_what_is_wrong_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("nothing");
    let foreign = folder.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("holiday.jpg"), "not ours").unwrap();
    let missing = folder.path().join("missing.csv");
    let missing = missing.to_str().unwrap();
    for (name, data, arguments) in [
        ("no_data", &empty, &["log", "head"][..]),
        ("foreign_folder", &foreign, &["serve"]),
        ("missing_file", &empty, &["import", "online-retail", missing]),
        ("unknown_command", &empty, &["explode"]),
        ("unknown_option", &empty, &["verify", "--fast"]),
        (
            "both_at_and_revision",
            &empty,
            &["state", "order", "o", "--at", "2011-01-01T00:00:00Z", "--revision", "1"],
        ),
        ("bad_time", &empty, &["state", "order", "o", "--at", "yesterday"]),
        ("local_with_a_server", &empty, &["config", "--server", "http://127.0.0.1:1"]),
        ("no_server_answers", &empty, &["projections", "list", "--server", "http://127.0.0.1:1"]),
        ("exposed_without_keys", &empty, &["serve", "--listen", "0.0.0.0:0"]),
    ] {
        insta::assert_snapshot!(format!("error_{name}"), shown(&run(data, arguments), folder.path()));
    }
}

/// Method, path, headers, body; and the code that is to be refused with.
type Case<'a> = (&'a str, &'a str, &'a str, Vec<(&'a str, &'a str)>, Value);

fn refusals() -> Vec<Case<'static>> {
    let post = |code, path, body| (code, "POST", path, Vec::new(), body);
    let get = |code, path| (code, "GET", path, Vec::new(), Value::Null);
    let shirt = |sku: &str, color: &str| {
        json!({"product_id": "shirt", "name": "Shirt", "brand": "Weaver", "category": "Shirts",
               "attributes": [{"type": "color", "value": color}], "sku": {"strategy": "manual", "value": sku}})
    };
    let hold =
        |id: &str, quantity: u32| json!({"reservation_id": id, "customer_id": "bob", "quantity": quantity});
    vec![
        post("invalid_request", "/v1/commands/inventory/navy/receive", json!({"quantity": "many"})),
        post("not_found", "/v1/commands/inventory/navy/explode", json!({})),
        post("insufficient_stock", "/v1/commands/inventory/navy/reserve", hold("r", 1_000)),
        post("duplicate_configuration", "/v1/commands/variant/other/create", shirt("OTHER-1", "Navy")),
        post("duplicate_sku", "/v1/commands/variant/other/create", shirt("NAVY-1", "Red")),
        post(
            "unprocessable",
            "/v1/commands/variant/navy/change-price",
            json!({"price": {"amount": "-1", "currency": "GBP"}, "reason": "a gift"}),
        ),
        post("invalid_transition", "/v1/commands/variant/navy/submit", json!({})),
        (
            "stale_revision",
            "POST",
            "/v1/commands/inventory/navy/receive",
            vec![("if-match", "\"1\"")],
            json!({"quantity": 1}),
        ),
        get("method_not_allowed", "/v1/commands/inventory/navy/receive"),
        get("projection_behind", "/v1/variants/navy?min_position=999999"),
    ]
}

#[tokio::test]
async fn problems_one_a_code() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    fill(&mut client).await;
    for (code, method, path, headers, body) in refusals() {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let answer = client.send(method, path, &headers, &body).await;
        let mut problem = answer.json().expect("a problem is JSON");
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], answer.status);
        let trace = problem["trace_id"].take();
        assert!(trace.as_str().is_some_and(|id| name_of(id) == Some("[trace]")), "{trace}");
        problem["trace_id"] = "[trace]".into();
        // The head of the moment is none of the words.
        let text = serde_json::to_string_pretty(&problem).expect("JSON");
        insta::assert_snapshot!(format!("problem_{code}"), steady(&text, folder.path()));
    }
    server.stop();
}
