//! Limits by customer, address and variant, as clients meet them; and shedding when too much is under way.

use std::path::Path;

use daybook_gateway::load::client::Answer;
use serde_json::{Value, json};

use crate::harness::{Client, DEADLINE, Server};

/// printf %s swordfish | sha256sum
const SWORDFISH: &str = "b9f195c5cc7ef6afadbfbc42892ad47d3b24c6bc94bb510c4564a90a14e8b799";
/// printf %s tuna | sha256sum
const TUNA: &str = "32d6e4a20c1cd7a5aabd13bbea315a557c08ea5a944b15345b89b0d713027b6c";

fn start(folder: &Path, configuration: &str) -> Server {
    let file = folder.join("daybook.toml");
    std::fs::write(&file, configuration).unwrap();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--config", file.to_str().unwrap()];
    Server::start_with(&folder.join("data"), &arguments)
}

async fn reserve(client: &mut Client, variant: &str, customer: &str, headers: &[(&str, &str)]) -> Answer {
    let body = json!({"customer_id": customer, "quantity": 1, "ttl_seconds": 3600}).to_string();
    client.send("POST", &format!("/v1/commands/inventory/{variant}/reserve"), headers, body.as_bytes()).await
}

fn limited_by(answer: &Answer) -> (u16, Option<String>, Option<&str>) {
    let policy = answer.hint("ratelimit-policy").and_then(|policy| policy.split('"').nth(1));
    (answer.status, answer.code(), policy)
}

#[tokio::test]
async fn a_customer_at_the_limit_is_told_so_and_when_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    // A token comes back every two hours: however slow the machine, none does during the test.
    let server = start(folder.path(), "[admission.customer]\nrequests = 10\nper_seconds = 72000");
    let mut client = server.connect().await;
    client.command("inventory/v/receive", json!({"quantity": 100})).await;
    for left in (0..10).rev() {
        // The same hold again and again: a retry counts as well, also one that is answered from the record of its key.
        let answer = reserve(&mut client, "v", "ada", &[("idempotency-key", "one")]).await;
        assert!(answer.status < 300, "{}", String::from_utf8_lossy(&answer.body));
        assert_eq!(answer.hint("ratelimit"), Some(&*format!("\"customer\";r={left};t=7200")));
        assert_eq!(answer.hint("ratelimit-policy"), Some("\"customer\";q=10;w=72000"));
    }
    let refused = reserve(&mut client, "v", "ada", &[]).await;
    assert_eq!(limited_by(&refused), (429, Some("rate_limited".to_owned()), Some("customer")));
    let seconds: u32 = refused.hint("retry-after").unwrap().parse().unwrap();
    assert!((7_000..=7_200).contains(&seconds), "{seconds}");
    assert_eq!(refused.hint("ratelimit"), Some(&*format!("\"customer\";r=0;t={seconds}")));
    // An order is no way around it, and neither is a batch.
    let lines = json!([{"variant_id": "v", "quantity": 1}]);
    let order = json!({"customer_id": "ada", "lines": lines, "payment_method": "card"});
    let placed = client.post("/v1/commands/order/o/place", order).await;
    assert_eq!((placed.status, placed.code().as_deref()), (429, Some("rate_limited")));
    let line = json!({"aggregate": "inventory", "id": "v", "command": "reserve", "data": {"customer_id": "ada", "quantity": 1}});
    let batch = client.send("POST", "/v1/commands", &[], line.to_string().as_bytes()).await;
    let result: Value = serde_json::from_slice(&batch.body).unwrap();
    assert_eq!((&result["status"], &result["code"]), (&json!(429), &json!("rate_limited")));
    assert!(result["retry_after"].as_u64().unwrap() > 7_000);
    // Nobody and nothing else is touched: others, guests, and what is no sale request.
    assert!(reserve(&mut client, "v", "bob", &[]).await.status < 300);
    assert_eq!(client.get("/v1/inventory/v?min_position=1").await["variant_id"], "v");
    let events = client.get("/v1/streams/inventory-v").await;
    let held = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .find(|event| event["type"] == "inventory.reserved")
        .unwrap();
    client.command("inventory/v/release", json!({"reservation_id": held["data"]["reservation_id"]})).await;
    let metrics = client.send("GET", "/metrics", &[], &[]).await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(metrics.contains("daybook_rate_limited_total{limit=\"customer\"} 3"), "{metrics}");
    server.stop();
}

#[tokio::test]
async fn a_made_up_forwarded_address_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let limits = "exempt_local = false\n[admission.ip]\nrequests = 3\nper_seconds = 72000";
    // A proxy is trusted, but it is not the one that sends.
    let server = start(folder.path(), &format!("[admission]\ntrusted_proxies = ['192.0.2.0/24']\n{limits}"));
    let mut client = server.connect().await;
    client.command("inventory/v/receive", json!({"quantity": 100})).await;
    for n in 0..5 {
        let made_up = format!("198.51.100.{n}");
        let headers = [("x-forwarded-for", &*made_up), ("forwarded", &*format!("for={made_up}"))];
        let answer = reserve(&mut client, "v", &format!("c{n}"), &headers).await;
        if n < 3 {
            assert!(answer.status < 300, "{n}: {}", String::from_utf8_lossy(&answer.body));
        } else {
            assert_eq!(limited_by(&answer), (429, Some("rate_limited".to_owned()), Some("ip")));
        }
    }
    server.stop();
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_is_limited_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let limits = "[admission.ip]\nrequests = 2\nper_seconds = 72000";
    let server = start(folder.path(), &format!("[admission]\ntrusted_proxies = ['127.0.0.1']\n{limits}"));
    let mut client = server.connect().await;
    client.command("inventory/v/receive", json!({"quantity": 100})).await;
    for (n, client_address) in
        ["198.51.100.1", "198.51.100.1", "198.51.100.2", "198.51.100.1", "198.51.100.2"].iter().enumerate()
    {
        // What the client itself sent stands further left, and counts for nothing.
        let forwarded = format!("203.0.113.{n}, {client_address}");
        let answer = reserve(&mut client, "v", &format!("c{n}"), &[("x-forwarded-for", &forwarded)]).await;
        assert_eq!(answer.status == 429, n == 3, "{n}: {}", String::from_utf8_lossy(&answer.body));
    }
    server.stop();
}

#[tokio::test]
async fn services_act_for_many_and_public_keys_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let key = |name: &str, sha256: &str, more: &str| {
        format!(
            "[[api_keys]]\nname = \"{name}\"\nsha256 = \"{sha256}\"\nroles = [\"storefront\", \"operator\"]\n{more}\n"
        )
    };
    let limits = "[admission]\nexempt_local = false\n[admission.ip]\nrequests = 2\nper_seconds = 72000\n";
    let configuration =
        format!("{}{}{limits}", key("shop", SWORDFISH, ""), key("page", TUNA, "public = true"));
    let server = start(folder.path(), &configuration);
    let mut client = server.connect().await;
    let (service, page) = ([("authorization", "Bearer swordfish")], [("authorization", "Bearer tuna")]);
    let stock =
        client.send("POST", "/v1/commands/inventory/v/receive", &service, br#"{"quantity": 100}"#).await;
    assert!(stock.status < 300, "{}", String::from_utf8_lossy(&stock.body));
    for n in 0..6 {
        assert!(reserve(&mut client, "v", &format!("s{n}"), &service).await.status < 300);
    }
    for n in 0..4 {
        let answer = reserve(&mut client, "v", &format!("p{n}"), &page).await;
        assert_eq!(answer.status == 429, n >= 2, "{n}: {}", String::from_utf8_lossy(&answer.body));
    }
    server.stop();
}

#[tokio::test]
async fn a_hundred_bots_get_no_more_than_their_limits() {
    const BOTS: usize = 100;
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "[admission.customer]\nrequests = 10\nper_seconds = 72000");
    let mut client = server.connect().await;
    let variants: Vec<String> = (0..8).map(|n| format!("v{n}")).collect();
    for variant in &variants {
        client.command(&format!("inventory/{variant}/receive"), json!({"quantity": 50})).await;
    }
    let mut bots = tokio::task::JoinSet::new();
    for bot in 0..BOTS {
        let (mut client, variants) = (server.connect().await, variants.clone());
        bots.spawn(async move {
            let (mut through, mut codes) = (0, Vec::new());
            for round in 0..3 {
                for variant in &variants {
                    let answer = reserve(&mut client, variant, &format!("bot-{bot}"), &[]).await;
                    through += usize::from(answer.status != 429);
                    codes.extend(answer.code());
                    assert!(answer.status != 429 || answer.hint("retry-after").is_some(), "round {round}");
                }
            }
            (through, codes)
        });
    }
    let mut codes = std::collections::BTreeSet::new();
    while let Some(bot) = bots.join_next().await {
        let (through, refusals) = bot.unwrap();
        assert_eq!(through, 10, "no bot is decided on more often than its customer's limit");
        codes.extend(refusals);
    }
    assert!(codes.contains("rate_limited") && codes.contains("insufficient_stock"), "{codes:?}");
    let mut held = std::collections::BTreeMap::<String, u32>::new();
    for variant in &variants {
        let events = client.get(&format!("/v1/streams/inventory-{variant}?limit=1000")).await;
        let holds =
            events["events"].as_array().unwrap().iter().filter(|event| event["type"] == "inventory.reserved");
        let mut units = 0;
        for hold in holds {
            units += hold["data"]["quantity"].as_u64().unwrap();
            *held.entry(hold["data"]["customer_id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        assert!(units <= 50, "{variant}: {units}");
    }
    assert!(held.values().all(|holds| *holds <= 5), "{held:?}");
    server.stop();
}

#[tokio::test]
async fn a_variant_over_its_rate_is_refused_and_still_sells_out() {
    let folder = tempfile::tempdir().unwrap();
    // Slow enough that the crowd is over it, fast enough that buyers who come back as told are all let in soon.
    let limits = "[admission]\nexempt_local = false\n[admission.ip]\nenabled = false\n[admission.variant]\nrequests = 5\nburst = 20";
    let server = start(folder.path(), limits);
    let mut client = server.connect().await;
    client.command("inventory/v/receive", json!({"quantity": 25})).await;
    let began = std::time::Instant::now();
    let mut buyers = tokio::task::JoinSet::new();
    for buyer in 0..40 {
        let mut client = server.connect().await;
        buyers.spawn(async move {
            let mut turned_away = 0;
            loop {
                let answer = reserve(&mut client, "v", &format!("b{buyer}"), &[]).await;
                if answer.status != 429 {
                    return (turned_away, answer.status, answer.code());
                }
                assert_eq!(limited_by(&answer).2, Some("variant"));
                turned_away += 1;
                assert!(began.elapsed() < DEADLINE);
                let seconds = answer.hint("retry-after").unwrap().parse().unwrap();
                tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
            }
        });
    }
    let (mut sold, mut turned_away) = (0, 0);
    while let Some(buyer) = buyers.join_next().await {
        let (again, status, code) = buyer.unwrap();
        turned_away += again;
        match (status, code.as_deref()) {
            (200 | 201, _) => sold += 1,
            (409, Some("insufficient_stock")) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(sold, 25);
    assert!(turned_away > 0, "the crowd was never over the limit");
    // Others are not in its way.
    client.command("inventory/w/receive", json!({"quantity": 1})).await;
    assert!(reserve(&mut client, "w", "zoe", &[]).await.status < 300);
    server.stop();
}

#[tokio::test]
async fn what_does_not_fit_into_the_queue_is_shed_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "[limits]\nqueued_commands = 1");
    let mut lanes = tokio::task::JoinSet::new();
    let (found, stop) = tokio::sync::watch::channel(false);
    let began = std::time::Instant::now();
    for lane in 0..32 {
        let (mut client, found, stop) = (server.connect().await, found.clone(), stop.clone());
        lanes.spawn(async move {
            // Until one command meets another that is not answered yet.
            while !*stop.borrow() {
                assert!(began.elapsed() < DEADLINE, "nothing was ever shed");
                let answer = client
                    .post(&format!("/v1/commands/inventory/q{lane}/receive"), json!({"quantity": 1}))
                    .await;
                if answer.status >= 300 {
                    assert_eq!((answer.status, answer.code().as_deref()), (503, Some("overloaded")));
                    assert_eq!(answer.hint("retry-after"), Some("1"));
                    found.send_replace(true);
                }
            }
        });
    }
    while let Some(lane) = lanes.join_next().await {
        lane.unwrap();
    }
    // It takes commands again, once the last place is free.
    let mut client = server.connect().await;
    while client.post("/v1/commands/inventory/after/receive", json!({"quantity": 1})).await.status == 503 {
        assert!(began.elapsed() < DEADLINE, "commands are refused for good");
    }
    let events = client.get("/v1/streams/inventory-after").await;
    let received =
        events["events"].as_array().unwrap().iter().filter(|event| event["type"] == "inventory.received");
    assert_eq!(received.count(), 1, "what was shed left nothing");
    server.stop();
}
