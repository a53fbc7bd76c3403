//! The system test that matters most: a seeded workload with kills and restarts, after which every acknowledged command is
//! in the log exactly once, revisions are gapless, and every read model equals its rebuild.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::backend::{Backend, backend};
use crate::harness::{Server, eventually, run};
use crate::workload::{Dice, check_log, command};

/// Kills of the embedded log, whose files are at stake; on a server's log only the gateway is killed.
const KILLS: u64 = 50;
const KILLS_ON_SERVER: u64 = 12;
const LANES: u64 = 6;

/// Sends commands, each with a reference of its own, until the server is gone. Notes what was acknowledged.
async fn lane(server: std::net::SocketAddr, lane: u64, round: u64, acknowledged: Arc<Mutex<Vec<String>>>) {
    let Ok(mut connection) = daybook_gateway::load::client::Connection::open(server).await else { return };
    let mut dice = Dice(lane * 1_000 + round);
    for count in 0.. {
        let reference = format!("{round}-{lane}-{count}");
        let (path, body) = command(&mut dice, &reference);
        match connection.post(&path, &body).await {
            Ok(answer) if answer.status < 300 => acknowledged.lock().push(reference),
            Ok(answer) if answer.status < 500 => {}
            _ => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_nothing_and_double_nothing() {
    let kills = if backend() == Backend::Embedded { KILLS } else { KILLS_ON_SERVER };
    let folder = tempfile::tempdir().unwrap();
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let enough = if backend() == Backend::Embedded { 20 } else { 2 };
    let mut dice = Dice(20_261_121);
    for round in 0..kills {
        let server = Server::start(folder.path());
        let lanes: Vec<_> = (0..LANES)
            .map(|n| tokio::spawn(lane(server.address, n, round, Arc::clone(&acknowledged))))
            .collect();
        // The moment of the kill is arbitrary, also before anything is done; but on a slow machine too, most rounds get somewhere.
        if round % 4 > 0 {
            let before = acknowledged.lock().len();
            let worked = async || acknowledged.lock().len() >= before + enough;
            eventually("commands are acknowledged", worked).await;
        }
        tokio::time::sleep(Duration::from_millis(dice.roll(100))).await;
        server.kill();
        for lane in lanes {
            lane.await.unwrap();
        }
    }

    let acknowledged = acknowledged.lock();
    let output = run(folder.path(), &["log", "read"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    check_log(&output.stdout, &acknowledged);

    let verified = run(folder.path(), &["verify"]);
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stdout));
    let reconciled = run(folder.path(), &["reconcile"]);
    assert_eq!(reconciled.status.code(), Some(0), "{}", String::from_utf8_lossy(&reconciled.stdout));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_stop_under_load_loses_and_fails_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path());
    let mut lanes = tokio::task::JoinSet::new();
    let answered = Arc::new(AtomicU64::new(0));
    for lane in 0..8_u64 {
        let mut client = server.connect().await;
        let answered = Arc::clone(&answered);
        lanes.spawn(async move {
            let mut accepted = 0_u64;
            loop {
                match client
                    .try_send(
                        "POST",
                        &format!("/v1/commands/inventory/lane-{lane}/receive"),
                        &[],
                        br#"{"quantity":1}"#,
                    )
                    .await
                {
                    Ok(answer) => {
                        assert!(answer.status < 300, "{}", String::from_utf8_lossy(&answer.body));
                        accepted += 1;
                        if accepted == 1 {
                            answered.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                    // Between two requests the server may close; within one it must not.
                    Err(_) => return (lane, accepted),
                }
            }
        });
    }
    eventually("every lane is under way", async || answered.load(Ordering::SeqCst) == 8).await;
    server.terminate();
    assert!(server.wait_for_exit().success());
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    while let Some(lane) = lanes.join_next().await {
        let (lane, accepted) = lane.unwrap();
        let events = client.get(&format!("/v1/streams/inventory-lane-{lane}?limit=1&from=1")).await;
        assert_eq!(events["events"][0]["revision"], 1);
        let position = client.get("/v1/operations/head").await["position"].as_str().unwrap().to_owned();
        let stock = client.get(&format!("/v1/inventory/lane-{lane}?min_position={position}")).await;
        assert_eq!(stock["on_hand"], accepted, "lane {lane}: what was answered, and nothing else");
    }
    server.stop();
}
