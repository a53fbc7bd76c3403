//! A seeded workload whose commands carry references, and the check that each acknowledged one is in the log once.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use daybook_gateway::load::client::Connection;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// A small generator; the seed makes the workload the same every time.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A command on one of eight variants, or a new variant: route and body.
pub fn command(dice: &mut Dice, reference: &str) -> (String, Value) {
    let variant = dice.roll(8);
    let (path, body) = match dice.roll(4) {
        0 => (
            format!("inventory/v{variant}/adjust"),
            json!({"delta": 3, "reason": "kill test", "reference": reference}),
        ),
        1 => (
            format!("inventory/v{variant}/reserve"),
            json!({"reservation_id": reference, "customer_id": format!("c-{reference}"), "quantity": 1, "ttl_seconds": 1}),
        ),
        2 => {
            let body = json!({"product_id": reference, "name": "Thing", "brand": "B", "category": "C", "attributes": [],
                              "price": {"amount": "1.25", "currency": "GBP"}});
            (format!("variant/{reference}/create"), body)
        }
        _ => (format!("inventory/v{variant}/receive"), json!({"quantity": 2, "reference": reference})),
    };
    (format!("/v1/commands/{path}"), body)
}

/// The reference that an event carries, if it is one that the workload counts.
fn reference(event: &Value) -> Option<&str> {
    let data = &event["data"];
    match event["type"].as_str()? {
        "inventory.received" | "inventory.adjusted" => data["reference"].as_str(),
        "inventory.reserved" => data["reservation_id"].as_str(),
        "variant.created" => data["variant_id"].as_str(),
        _ => None,
    }
}

/// Every acknowledged command is in the log once, none is there twice, and revisions are gapless. `lines` is what
/// `daybook log read` prints.
pub fn check_log(lines: &[u8], acknowledged: &[String]) {
    let mut seen: HashMap<String, u32> = HashMap::new();
    let mut revisions: HashMap<String, u64> = HashMap::new();
    for line in lines.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let event: Value = serde_json::from_slice(line).unwrap();
        let revision = revisions.entry(event["stream"].as_str().unwrap().to_owned()).or_default();
        *revision += 1;
        assert_eq!(event["revision"], *revision, "{event}");
        if let Some(reference) = reference(&event) {
            *seen.entry(reference.to_owned()).or_default() += 1;
        }
    }
    for reference in acknowledged {
        assert_eq!(seen.get(reference), Some(&1), "{reference} was acknowledged");
    }
    assert!(seen.values().all(|count| *count == 1), "no command happened twice");
}

/// Clients that go on whatever happens to the server: a command without a clear answer is not repeated, and not counted. While
/// nobody waits for more they go on slowly: what follows the log, at the pace of a slow disk, is to come to its end in time.
pub struct Stubborn {
    progress: Arc<Progress>,
    lanes: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Progress {
    stop: AtomicBool,
    wanted: AtomicUsize,
    acknowledged: Mutex<Vec<String>>,
}

/// Between two commands of a lane while nobody waits for more.
const PAUSE: Duration = Duration::from_millis(20);

impl Stubborn {
    /// Lanes on each of the servers. `name` keeps references apart.
    pub fn start(servers: &[SocketAddr], lanes_each: u64, name: &str) -> Self {
        let progress = Arc::new(Progress::default());
        let mut lanes = Vec::new();
        for (number, server) in servers.iter().enumerate() {
            for lane in 0..lanes_each {
                let name = format!("{name}-{number}-{lane}");
                lanes.push(tokio::spawn(stubborn_lane(*server, name, Arc::clone(&progress))));
            }
        }
        Self { progress, lanes }
    }

    /// Waits until so many more commands were acknowledged.
    pub async fn wait_for_more(&self, more: usize) {
        let wanted = self.progress.acknowledged.lock().len() + more;
        self.progress.wanted.fetch_max(wanted, Ordering::SeqCst);
        crate::harness::eventually("commands are acknowledged", async || {
            self.progress.acknowledged.lock().len() >= wanted
        })
        .await;
    }

    pub async fn stop(self) -> Vec<String> {
        self.progress.stop.store(true, Ordering::SeqCst);
        for lane in self.lanes {
            lane.await.unwrap();
        }
        std::mem::take(&mut self.progress.acknowledged.lock())
    }
}

async fn stubborn_lane(server: SocketAddr, name: String, progress: Arc<Progress>) {
    let mut dice = Dice(name.bytes().map(u64::from).sum());
    let mut connection = None;
    for count in 0.. {
        if progress.stop.load(Ordering::SeqCst) {
            return;
        }
        if progress.acknowledged.lock().len() >= progress.wanted.load(Ordering::SeqCst) {
            tokio::time::sleep(PAUSE).await;
        }
        let open = match connection.take() {
            Some(open) => Some(open),
            None => Connection::open(server).await.ok(),
        };
        let reference = format!("{name}-{count}");
        let (path, body) = command(&mut dice, &reference);
        let failed = match open {
            None => true,
            Some(mut open) => match open.post(&path, &body).await {
                Ok(answer) => {
                    if answer.status < 300 {
                        progress.acknowledged.lock().push(reference);
                    }
                    connection = Some(open);
                    answer.status >= 500
                }
                Err(_) => true,
            },
        };
        if failed {
            // A client's own pause before it goes on, as Retry-After asks for.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
