//! Events on NATS JetStream: the server dies, freezes and is cut off under load; commands go on, and every event arrives in order.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use daybook_eventlog::{Position, RecordedEvent};
use daybook_projections::model::{ProjectError, Projected, ReadModel, RowAccess, RowKey, StoreError};
use daybook_projections::relay::{Follower, NatsOptions};
use parking_lot::Mutex;
use serde_json::Value;

use crate::backend::{postgres_settings, postgres_url, relay_prefix, relay_settings, server_url};
use crate::harness::{DEADLINE, Server, eventually, run_on};
use crate::own_server::{Kind, OwnServer};
use crate::proxy::Proxy;
use crate::workload::{Stubborn, check_log};

/// A read model that only notes what comes.
struct Noted {
    events: Arc<Mutex<Vec<RecordedEvent>>>,
    pending: Vec<RecordedEvent>,
    checkpoint: Position,
}

impl ReadModel for Noted {
    fn checkpoint(&self) -> Position {
        self.checkpoint
    }

    fn handles(&self, _event_type: &str) -> bool {
        true
    }

    fn needs_decoding(&self) -> bool {
        false
    }

    fn apply(&mut self, event: &Projected) -> Result<(), ProjectError> {
        self.apply_recorded(&event.recorded)
    }

    fn apply_recorded(&mut self, event: &RecordedEvent) -> Result<(), ProjectError> {
        self.pending.push(event.clone());
        Ok(())
    }

    fn pending_bytes(&self) -> usize {
        self.pending.len()
    }

    fn commit(&mut self, checkpoint: Position) -> Result<(), StoreError> {
        self.events.lock().append(&mut self.pending);
        self.checkpoint = checkpoint;
        Ok(())
    }

    fn rollback(&mut self) {
        self.pending.clear();
    }

    fn snapshot(&self) -> Result<Box<dyn RowAccess>, StoreError> {
        Err(StoreError::Unavailable("it has no rows".to_owned()))
    }

    fn repair(&mut self, _: &[(RowKey, Option<Vec<u8>>)]) -> Result<(), StoreError> {
        Err(StoreError::Unavailable("it has no rows".to_owned()))
    }
}

/// Everything that a consumer gets up to a position is what the log holds, in its order and byte for byte. `log` is what
/// `daybook log read` prints; after the position there may be deadlines that came while the gateway stopped.
fn check_relayed(url: &str, prefix: String, log: &[u8], end: u64) {
    let logged: Vec<Value> = log
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice::<Value>(line).unwrap())
        .filter(|event| event["position"].as_str().unwrap().parse::<u64>().unwrap() <= end)
        .collect();
    let events = Arc::new(Mutex::new(Vec::new()));
    let noted = Noted { events: Arc::clone(&events), pending: Vec::new(), checkpoint: 0 };
    let options = NatsOptions { url: url.to_owned(), prefix, ..NatsOptions::default() };
    let follower = Follower::start(&options, "check", Box::new(noted)).unwrap();
    let checkpoint = follower.watch_checkpoint();
    let began = std::time::Instant::now();
    while *checkpoint.borrow() < end {
        assert!(began.elapsed() < DEADLINE, "only {} of {end}", *checkpoint.borrow());
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(follower.stop());
    let mut events = events.lock();
    events.retain(|event| event.position <= end);
    assert_eq!(events.len(), logged.len());
    for (event, line) in events.iter().zip(&logged) {
        assert_eq!(line["position"], event.position.to_string());
        assert_eq!((&line["stream"], &line["revision"]), (&event.stream().into(), &event.revision.into()));
        assert_eq!(
            (&line["type"], &line["event_id"]),
            (&event.event_type().into(), &event.event_id.to_string().into())
        );
        assert_eq!(line["data"], serde_json::from_slice::<Value>(event.data()).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_whose_server_is_killed_frozen_and_cut_off_stops_no_command_and_loses_no_event() {
    let Some(nats) = OwnServer::start(Kind::Nats) else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let place = nats.url.trim_start_matches("nats://").to_owned();
    let proxy = Proxy::before(place.clone()).await;
    let mut settings = relay_settings(&nats.url.replace(&place, &proxy.address().to_string()), data);
    settings.push(("DAYBOOK_RELAY_REQUEST_TIMEOUT_MS", "2000".into()));
    let server = Server::start_on(data, &settings);
    let load = Stubborn::start(&[server.address], 4, "relay");
    load.wait_for_more(200).await;
    server.until_ready().await;

    nats.kill();
    server.until_degraded("relay", "relay").await;
    load.wait_for_more(200).await;
    nats.resume();
    server.until_ready().await;
    load.wait_for_more(200).await;

    nats.freeze();
    server.until_degraded("relay", "relay").await;
    load.wait_for_more(200).await;
    nats.thaw();
    server.until_ready().await;

    for _ in 0..5 {
        load.wait_for_more(50).await;
        proxy.cut();
    }
    proxy.refuse(true);
    server.until_degraded("relay", "relay").await;
    proxy.refuse(false);
    server.until_ready().await;
    load.wait_for_more(50).await;

    // The gateway itself dies in the middle of it.
    server.kill();
    let acknowledged = load.stop().await;
    let server = Server::start_on(data, &settings);
    let end = server.until_projected().await;
    server.stop();
    let log = run_on(data, &settings, &["log", "read"]);
    assert!(log.status.success(), "{}", String::from_utf8_lossy(&log.stderr));
    check_log(&log.stdout, &acknowledged);
    let (url, prefix) = (nats.url.clone(), relay_prefix(data));
    tokio::task::spawn_blocking(move || check_relayed(&url, prefix, &log.stdout, end)).await.unwrap();
}

async fn relays(server: &Server) -> bool {
    server.connect().await.get("/v1/projections").await["relay"].is_object()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_gateways_one_relays_and_the_other_takes_over() {
    let (Some(postgres), Some(nats)) = (postgres_url(), server_url(Kind::Nats)) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut settings = postgres_settings(&postgres, folder.path());
    settings.extend(relay_settings(&nats, folder.path()));
    let data = ["a", "b"].map(|name| folder.path().join(name));
    let first = Server::start_on(&data[0], &settings);
    eventually("the first gateway relays", async || relays(&first).await).await;
    let second = Server::start_on(&data[1], &settings);
    let load = Stubborn::start(&[first.address, second.address], 3, "relays");
    load.wait_for_more(100).await;
    assert!(!relays(&second).await, "one of them");
    first.kill();
    let killed = std::time::Instant::now();
    eventually("the second gateway relays", async || relays(&second).await).await;
    println!("taken over {:.1} s after the kill", killed.elapsed().as_secs_f64());
    load.wait_for_more(100).await;
    let acknowledged = load.stop().await;
    let end = second.until_projected().await;
    second.stop();
    let log = run_on(&data[1], &settings, &["log", "read"]);
    check_log(&log.stdout, &acknowledged);
    let prefix = relay_prefix(folder.path());
    tokio::task::spawn_blocking(move || check_relayed(&nats, prefix, &log.stdout, end)).await.unwrap();
}

/// Publishes over the server's text protocol, and waits until the stream has it.
fn publish(url: &str, subject: &str, payload: &str) {
    let mut socket = TcpStream::connect(url.trim_start_matches("nats://")).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let length = payload.len();
    write!(
        socket,
        "CONNECT {{\"verbose\":false}}\r\nSUB stored 1\r\nPUB {subject} stored {length}\r\n{payload}\r\n"
    )
    .unwrap();
    let stored =
        BufReader::new(socket).lines().map(Result::unwrap).any(|line| line.starts_with("MSG stored"));
    assert!(stored);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_can_not_start_says_why_and_starts_when_it_can() {
    let Some(nats) = server_url(Kind::Nats) else { return };
    let folder = tempfile::tempdir().unwrap();
    let settings = relay_settings(&nats, folder.path());
    let mark = format!("{}-relay", relay_prefix(folder.path()));
    let server = Server::start_on(folder.path(), &settings);
    server.connect().await.command("inventory/v/receive", serde_json::json!({"quantity": 1})).await;
    server.until_projected().await;
    server.stop();
    publish(&nats, &mark, "no mark");
    let server = Server::start_on(folder.path(), &settings);
    eventually("/readyz names the relay and what is wrong", async || {
        let answer = server.connect().await.send("GET", "/readyz", &[], &[]).await;
        answer.status == 503 && String::from_utf8_lossy(&answer.body).contains("mark on NATS is not readable")
    })
    .await;
    assert_eq!(server.connect().await.get("/v1/projections").await["relay"]["state"], "retrying");
    publish(&nats, &mark, "{\"position\":\"0\",\"sequence\":0}");
    server.until_ready().await;
    server.until_projected().await;
    server.stop();
}
