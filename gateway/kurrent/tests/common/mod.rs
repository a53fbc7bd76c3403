//! A server that can be killed, and a proxy that can cut and freeze its connections.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "shared by several test binaries")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use daybook_eventlog::kurrent::{KurrentLog, KurrentOptions};
use daybook_eventlog::{Append, EventLog, Expected, NewEvent, StreamAppend, StreamId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use uuid::Uuid;

/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A server on a runtime of its own, so that it can end at once.
pub struct Server {
    pub address: SocketAddr,
    pub log: Arc<dyn EventLog>,
    stop: watch::Sender<bool>,
    runtime: Option<Runtime>,
}

impl Server {
    pub fn start(log: Arc<dyn EventLog>) -> Self {
        Self::start_with(log, "127.0.0.1:0".parse().unwrap(), daybook_kurrent::Options::default())
    }

    pub fn start_with(
        log: Arc<dyn EventLog>,
        address: SocketAddr,
        options: daybook_kurrent::Options,
    ) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (stop, stopped) = watch::channel(false);
        let (bound, address_bound) = std::sync::mpsc::channel();
        let served = log.clone();
        runtime.spawn(async move {
            // A port that was used a moment ago may be in somebody's hands for another moment.
            let mut tries = 0;
            let listener = loop {
                match TcpListener::bind(address).await {
                    Ok(listener) => break listener,
                    Err(error) => assert!(tries < 300, "{address}: {error}"),
                }
                tries += 1;
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            };
            bound.send(listener.local_addr().unwrap()).unwrap();
            daybook_kurrent::serve_with(listener, served, stopped, options).await.unwrap();
        });
        Self { address: address_bound.recv().unwrap(), log, stop, runtime: Some(runtime) }
    }

    pub fn url(&self) -> String {
        url(self.address)
    }

    /// Ends without a word, as by `kill -9`.
    pub fn kill(mut self) -> (SocketAddr, Arc<dyn EventLog>) {
        let runtime = self.runtime.take().unwrap();
        // The address must be free again when this returns. Tasks may not wait for a runtime's end, other threads may.
        std::thread::spawn(move || runtime.shutdown_timeout(PATIENCE)).join().unwrap();
        (self.address, self.log.clone())
    }

    /// The same log at the same address.
    pub fn restart(killed: (SocketAddr, Arc<dyn EventLog>)) -> Self {
        Self::start_with(killed.1, killed.0, daybook_kurrent::Options::default())
    }

    pub fn stop(&self) {
        self.stop.send_replace(true);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub fn url(address: SocketAddr) -> String {
    format!("kurrentdb://{address}?tls=false&maxDiscoverAttempts=2&discoveryInterval=50")
}

/// Options that notice faults soon.
pub fn impatient(url: String) -> KurrentOptions {
    KurrentOptions {
        request_timeout: Duration::from_millis(800),
        append_timeout: Duration::from_secs(20),
        watchdog: Duration::from_millis(200),
        ..KurrentOptions::new(url)
    }
}

pub async fn connect(options: KurrentOptions) -> KurrentLog {
    KurrentLog::connect(options).await.unwrap()
}

pub fn event(id: u128) -> NewEvent {
    NewEvent {
        event_id: Uuid::from_u128(id),
        event_type: "test.happened",
        version: 1,
        recorded_at: 1_700_000_000_000_000,
        data: "{\"n\":1}".into(),
        metadata: "{\"actor\":\"test\"}".into(),
    }
}

pub fn one(stream: &str, expected: Expected, events: Vec<NewEvent>) -> Append {
    Append::new(vec![StreamAppend { stream: StreamId::new(stream).unwrap(), expected, events }])
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Passing,
    Frozen,
}

/// Passes bytes to a server, until told otherwise.
pub struct Proxy {
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
    cut: watch::Sender<u64>,
    accepted: Arc<AtomicUsize>,
}

impl Proxy {
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, modes) = watch::channel(Mode::Passing);
        let (cut, cuts) = watch::channel(0);
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (modes, mut cuts) = (modes.clone(), cuts.clone());
                cuts.mark_unchanged();
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(target).await else { return };
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    tokio::select! {
                        () = pass(from_client, to_server, modes.clone()) => {}
                        () = pass(from_server, to_client, modes) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        Self { address, mode, cut, accepted }
    }

    /// How many connections there were.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Connections stay open, and nothing passes.
    pub fn freeze(&self) {
        self.mode.send_replace(Mode::Frozen);
    }

    pub fn thaw(&self) {
        self.mode.send_replace(Mode::Passing);
    }

    /// Closes every connection.
    pub fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut modes: watch::Receiver<Mode>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(read) = from.read(&mut buffer).await else { return };
        if modes.wait_for(|mode| *mode == Mode::Passing).await.is_err() {
            return;
        }
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
