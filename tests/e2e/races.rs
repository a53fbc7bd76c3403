//! Sixty-four clients create the same things while the server is killed and started again: one winner each, the right code for the
//! others, and every claim in the log belongs to somebody.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use daybook_gateway::load::client::Connection;
use serde_json::{Value, json};

use crate::harness::{DEADLINE, Server, run};

const CLIENTS: usize = 64;
const THINGS: usize = 24;
const KILLS: u64 = 4;

/// What all clients want: the client's own stream, the body, the code for those who come too late.
fn wish(thing: usize, client: usize) -> (String, Value, &'static str) {
    let tee = |product: String, sku: Value| json!({"product_id": product, "name": "Tee", "brand": "Acme", "category": "Tees", "sku": sku});
    match thing % 4 {
        0 => {
            let sku = json!({"strategy": "manual", "value": format!("S-{thing}")});
            (format!("variant/t{thing}-{client}"), tee(format!("sku-{thing}-{client}"), sku), "duplicate_sku")
        }
        1 => {
            let sku = json!({"strategy": "auto"});
            (
                format!("variant/t{thing}-{client}"),
                tee(format!("config-{thing}"), sku),
                "duplicate_configuration",
            )
        }
        2 => {
            let body = json!({"category": format!("c{thing}"), "gender": "unisex", "region": "international", "value": "M"});
            (format!("size/t{thing}-{client}"), body, "duplicate_size")
        }
        _ => {
            let body = json!({"name": format!("Navy {thing}"), "hex": "#000080"});
            (format!("color/t{thing}-{client}"), body, "duplicate_slug")
        }
    }
}

/// Asks for everything. Gives what the client was told is its own; stops when the server is gone.
async fn client(address: SocketAddr, number: usize) -> BTreeSet<usize> {
    let mut own = BTreeSet::new();
    let Ok(mut connection) = Connection::open(address).await else { return own };
    for thing in 0..THINGS {
        let (path, body, code) = wish(thing, number);
        match connection.post(&format!("/v1/commands/{path}/create"), &body).await {
            Ok(answer) if answer.status < 300 => {
                own.insert(thing);
            }
            Ok(answer) if answer.status == 503 => {}
            Ok(answer) => assert_eq!(answer.code().as_deref(), Some(code), "{path}"),
            Err(_) => break,
        }
    }
    own
}

async fn all(address: SocketAddr) -> BTreeMap<usize, BTreeSet<usize>> {
    let clients: Vec<_> = (0..CLIENTS).map(|number| tokio::spawn(client(address, number))).collect();
    let mut winners: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (number, client) in clients.into_iter().enumerate() {
        for thing in client.await.unwrap() {
            winners.entry(thing).or_default().insert(number);
        }
    }
    winners
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_sixty_four_gets_it_whenever_the_server_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut early: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for kill in 0..KILLS {
        let server = Server::start(folder.path());
        let clients = tokio::spawn(all(server.address));
        // Not a wait for something: the moment of the kill is meant to be arbitrary.
        tokio::time::sleep(Duration::from_millis(3 + 9 * kill)).await;
        server.kill();
        let told =
            tokio::time::timeout(DEADLINE, clients).await.expect("clients of a dead server end").unwrap();
        for (thing, winners) in told {
            early.entry(thing).or_default().extend(winners);
        }
    }
    let server = Server::start(folder.path());
    let winners = all(server.address).await;
    server.stop();
    assert_eq!(winners.keys().copied().collect::<Vec<_>>(), (0..THINGS).collect::<Vec<_>>());
    for (thing, winners) in &winners {
        assert_eq!(winners.len(), 1, "{thing} belongs to {winners:?}");
        assert!(
            early.get(thing).is_none_or(|early| early == winners),
            "{thing}: {early:?} were told that it is theirs"
        );
    }
    let output = run(folder.path(), &["log", "read"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids = |matches: &dyn Fn(&str) -> bool| -> BTreeSet<String> {
        let of = events.iter().filter(|event| matches(event["type"].as_str().unwrap()));
        of.map(|event| event["stream"].as_str().unwrap().split_once('-').unwrap().1.to_owned()).collect()
    };
    let created = ids(&|name| name.ends_with(".created"));
    assert_eq!(created.len(), THINGS);
    for event in events.iter().filter(|event| event["type"] == "claim.taken") {
        assert!(
            created.contains(event["data"]["owner"].as_str().unwrap()),
            "a claim without its owner: {event}"
        );
    }
}
