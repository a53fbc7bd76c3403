//! Prices over HTTP and on the command line: lists, any time, and schedules that survive kills.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use daybook_schemas::Timestamp;
use serde_json::{Value, json};

use crate::harness::{Client, DEADLINE, Server, eventually, run, run_json};

async fn create(client: &mut Client, id: &str) {
    let body = json!({"product_id": id, "name": "Lamp", "brand": "Acme", "category": "lamps",
        "price": {"amount": "12.50", "currency": "GBP"}});
    client.command(&format!("variant/{id}/create"), body).await;
}

/// When the last event of the stream was recorded: the server's clock.
async fn last_recorded(client: &mut Client, stream: &str) -> Timestamp {
    let events = client.get(&format!("/v1/streams/{stream}")).await;
    let last = events["events"].as_array().and_then(|events| events.last()).expect("an event").clone();
    Timestamp::parse(last["recorded_at"].as_str().expect("a time")).expect("a time")
}

#[tokio::test]
async fn a_buyer_asks_for_a_price_as_of_any_time() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    create(&mut client, "lamp").await;
    let began = last_recorded(&mut client, "variant-lamp").await;
    let later = began.plus_secs(86_400);
    client
        .command(
            "variant/lamp/change-price",
            json!({"price": {"amount": "11.00", "currency": "GBP"}, "list": {"channel": "web"}, "reason": "launch"}),
        )
        .await;
    let reply = client
        .command(
            "variant/lamp/change-price",
            json!({"price": {"amount": "9.00", "currency": "GBP"}, "list": {"channel": "web", "customer_group": "trade"},
                "effective_from": later, "reason": "trade"}),
        )
        .await;
    let position = reply["position"].as_str().unwrap().to_owned();
    let trade = "channel=web&customer_group=trade";
    for (query, amount) in [
        (format!("as_of={later}"), "12.50"),
        ("channel=web".to_owned(), "11.00"),
        (format!("{trade}&as_of={}", later.plus_secs(-1)), "11.00"),
        (format!("{trade}&as_of={later}"), "9.00"),
    ] {
        let price = client.get(&format!("/v1/variants/lamp/price?{query}&min_position={position}")).await;
        assert_eq!(price["price"]["amount"], amount, "{query}: {price}");
        let variant = client.get(&format!("/v1/variants/lamp?{query}")).await;
        assert_eq!(variant["effective_price"]["price"]["amount"], amount, "{query}");
    }
    let plain = client.get("/v1/variants/lamp").await;
    assert_eq!((plain.get("effective_price"), &plain["price_lists"][0]["channel"]), (None, &json!("web")));
    let none = client.get("/v1/variants/lamp/price?currency=USD").await;
    assert_eq!(none.get("price"), None);
    assert_eq!(client.get("/v1/variants/lamp/prices").await["lists"].as_array().unwrap().len(), 2);
    for (path, status) in [
        ("/v1/variants/nothing/price", 404),
        ("/v1/variants/lamp/price?currency=pounds", 400),
        ("/v1/variants/lamp/price?as_of=yesterday", 400),
        ("/v1/variants/lamp/price?color=red", 400),
    ] {
        assert_eq!(client.status(path).await, status, "{path}");
    }
    let asked = format!("/v1/variants/lamp/price?{trade}&as_of={later}");
    let answer = client.get(&asked).await;
    let at = later.to_string();
    let arguments = ["price", "lamp", "--channel", "web", "--customer-group", "trade", "--at", at.as_str()];
    let url = server.url();
    let running = run_json(folder.path(), &[&arguments[..], &["--server", &url]].concat());
    server.stop();
    // From the log alone, and from the read model: the same.
    assert_eq!(run_json(folder.path(), &arguments), answer);
    assert_eq!(running, answer);
    let unknown = run(folder.path(), &["price", "nothing"]);
    assert_eq!(unknown.status.code(), Some(1));
}

const VARIANTS: i64 = 8;

/// How often each schedule took effect.
fn times_fired(folder: &Path) -> BTreeMap<String, usize> {
    let read = run(folder, &["log", "read", "--format", "json"]);
    let text = String::from_utf8(read.stdout).unwrap();
    let mut times = BTreeMap::new();
    for event in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        if let Some(schedule) = event["data"]["schedule_id"].as_str()
            && matches!(event["type"].as_str(), Some("variant.price_changed" | "variant.list_price_changed"))
        {
            *times.entry(schedule.to_owned()).or_default() += 1;
        }
    }
    times
}

/// A price of the variant itself and one of a list, a few seconds from now; their schedules.
async fn schedule(client: &mut Client, number: i64) -> Vec<String> {
    let id = format!("v{number}");
    create(client, &id).await;
    let now = last_recorded(client, &format!("variant-{id}")).await;
    let due = Timestamp::from_micros(now.as_micros() + 5_000_000 + 150_000 * number);
    let mut schedules = Vec::new();
    for list in [Value::Null, json!({"channel": "web"})] {
        let price = json!({"amount": "9.00", "currency": "GBP"});
        let body = json!({"price": price, "list": list, "effective_from": due, "reason": "r"});
        let reply = client.command(&format!("variant/{id}/change-price"), body).await;
        // Where all this took longer than that, the price stands at once.
        schedules.extend(reply["events"][0]["data"]["schedule_id"].as_str().map(str::to_owned));
    }
    schedules
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scheduled_prices_take_effect_once_however_often_the_server_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    let mut scheduled = Vec::new();
    for number in 0..VARIANTS {
        scheduled.extend(schedule(&mut client, number).await);
    }
    drop(client);
    server.kill();
    assert!(!scheduled.is_empty(), "nothing was scheduled in time");
    let began = Instant::now();
    let mut kills = 0;
    while times_fired(folder.path()).is_empty() {
        assert!(began.elapsed() < DEADLINE, "no price took effect in {kills} lives");
        let server = Server::start(folder.path());
        // Not a wait for something: the moment of the kill is meant to be arbitrary.
        tokio::time::sleep(Duration::from_millis(30 + 70 * (kills % 8))).await;
        server.kill();
        kills += 1;
    }
    let server = Server::start(folder.path());
    eventually("all prices to take effect", async || {
        let mut client = server.connect().await;
        for number in 0..VARIANTS {
            let prices = client.get(&format!("/v1/variants/v{number}/prices")).await;
            if prices["price"]["amount"] != "9.00" || prices["lists"][0]["price"]["amount"] != "9.00" {
                return false;
            }
        }
        true
    })
    .await;
    server.stop();
    let times = times_fired(folder.path());
    assert_eq!(times.len(), scheduled.len());
    for schedule in scheduled {
        assert_eq!(times.get(&schedule), Some(&1), "{schedule}");
    }
}
