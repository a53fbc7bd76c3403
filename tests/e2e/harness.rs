//! Starts and stops the real binary, and talks to it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use daybook_gateway::load::client::{Answer, Connection, request};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::backend::settings;

/// How long anything in a test may take before it counts as hanging.
pub const DEADLINE: Duration = Duration::from_secs(120);

pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_daybook"));
    for (name, _) in std::env::vars() {
        if name.starts_with("DAYBOOK_") {
            command.env_remove(name);
        }
    }
    command
}

/// The binary on a data folder, with the log that the tests run on.
pub fn binary_on(data: &Path) -> Command {
    let mut command = binary();
    command.arg("--data").arg(data).envs(settings(data));
    command
}

/// Runs a command line to its end.
pub fn run(data: &Path, arguments: &[&str]) -> Output {
    binary().args(arguments).arg("--data").arg(data).envs(settings(data)).output().expect("the binary runs")
}

/// Runs a command line to its end, on a log that the given environment names.
pub fn run_on(data: &Path, settings: &[(&'static str, String)], arguments: &[&str]) -> Output {
    let mut command = binary();
    command.args(arguments).arg("--data").arg(data);
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    command.output().expect("the binary runs")
}

/// Waits until the condition holds; panics with its name at the deadline.
pub async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < DEADLINE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs a command line that is to succeed and prints JSON.
pub fn run_json(data: &Path, arguments: &[&str]) -> Value {
    let output = run(data, &[arguments, &["--format", "json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON on standard output")
}

/// A running `daybook serve`, killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

impl Server {
    pub fn start(data: &Path) -> Self {
        Self::start_with(data, &["serve", "--listen", "127.0.0.1:0"])
    }

    pub fn start_with(data: &Path, arguments: &[&str]) -> Self {
        let mut command = binary_on(data);
        command.args(arguments);
        Self::spawn(command)
    }

    /// On a log that the given environment names.
    pub fn start_on(data: &Path, settings: &[(&'static str, String)]) -> Self {
        let mut command = binary();
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .envs(settings.iter().map(|(name, value)| (name, value)));
        Self::spawn(command)
    }

    /// With what it logs in a file.
    pub fn start_logged(data: &Path, arguments: &[&str], log: &Path) -> Self {
        let mut command = binary_on(data);
        command.args(arguments);
        Self::spawn_to(command, std::fs::File::create(log).expect("a file").into())
    }

    fn spawn(command: Command) -> Self {
        Self::spawn_to(command, Stdio::inherit())
    }

    fn spawn_to(mut command: Command, log: Stdio) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let address = loop {
            let line = lines.next().expect("a line that says where it listens").expect("text");
            if let Some(address) = line.strip_prefix("listening on http://") {
                break address.parse().expect("an address");
            }
        };
        // Keep reading, so that the server never blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub async fn connect(&self) -> Client {
        Client(Connection::open(self.address).await.expect("the server takes connections"))
    }

    /// Sends bytes as they are and gives all that comes back until the server closes the connection.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await.expect("the server takes connections");
            // The server may answer and close before it has read everything.
            let _ = stream.write_all(bytes).await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            String::from_utf8_lossy(&answer).into_owned()
        };
        tokio::time::timeout(DEADLINE, exchange).await.expect("the server closes the connection")
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().expect("a running child");
        self.child.wait().expect("a killed child");
    }

    /// SIGTERM, then waits for a clean exit.
    pub fn stop(mut self) {
        self.terminate();
        let status = wait(&mut self.child);
        assert!(status.success(), "the server stopped with {status}");
    }

    pub fn terminate(&self) {
        let status = Command::new("kill").arg(self.pid().to_string()).status().expect("kill runs");
        assert!(status.success());
    }

    /// Waits until `/readyz` names the part that is away, and the circuit before it is open.
    pub async fn until_degraded(&self, part: &str, dependency: &str) {
        let open = format!("daybook_circuit_state{{dependency=\"{dependency}\"}} 2");
        eventually(&format!("/readyz says that {part} is away, and the circuit is open"), async || {
            let mut client = self.connect().await;
            let answer = client.send("GET", "/readyz", &[], &[]).await;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            if answer.status != 503 || !text.contains(part) {
                return false;
            }
            let metrics = client.send("GET", "/metrics", &[], &[]).await;
            String::from_utf8_lossy(&metrics.body).contains(&open)
        })
        .await;
    }

    pub async fn until_ready(&self) {
        let began = Instant::now();
        loop {
            let answer = self.connect().await.send("GET", "/readyz", &[], &[]).await;
            if answer.status == 200 {
                return;
            }
            let failing = String::from_utf8_lossy(&answer.body);
            assert!(began.elapsed() < DEADLINE, "never ready: {failing}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until every projection, and the relay if there is one, has what the log holds now; gives the log's
    /// position.
    pub async fn until_projected(&self) -> u64 {
        let head = self.connect().await.get("/v1/operations/head").await["position"].clone();
        let head = number(&head).expect("a position");
        // However much there is to do: it fails once nothing moves any more.
        let (mut moved, mut last) = (Instant::now(), Value::Null);
        loop {
            let list = self.connect().await.get("/v1/projections").await;
            let projections = list["projections"].as_array().unwrap().iter();
            let is_behind = |p: &&Value| number(&p["checkpoint"]).is_none_or(|checkpoint| checkpoint < head);
            let behind: Vec<&Value> = projections.chain(list.get("relay")).filter(is_behind).collect();
            if behind.is_empty() {
                return head;
            }
            let now: Value = behind.iter().map(|p| p["checkpoint"].clone()).collect();
            if now != last {
                (moved, last) = (Instant::now(), now);
            }
            assert!(moved.elapsed() < DEADLINE, "never at {head}: {behind:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn wait_for_exit(&mut self) -> std::process::ExitStatus {
        wait(&mut self.child)
    }
}

fn wait(child: &mut Child) -> std::process::ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status;
        }
        assert!(began.elapsed() < DEADLINE, "the process does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One connection.
pub struct Client(Connection);

impl Client {
    pub async fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.try_send(method, path, headers, body).await.expect("an answer")
    }

    pub async fn try_send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Answer> {
        tokio::time::timeout(DEADLINE, self.0.send(&request(method, path, headers, body)))
            .await
            .unwrap_or_else(|_| panic!("{method} {path}: no answer"))
    }

    pub async fn post(&mut self, path: &str, body: Value) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string().as_bytes()).await
    }

    /// A command that is to be accepted; gives the reply.
    pub async fn command(&mut self, path: &str, body: Value) -> Value {
        let answer = self.post(&format!("/v1/commands/{path}"), body).await;
        assert!(
            answer.status == 200 || answer.status == 201,
            "{path}: {} {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
        answer.json().expect("JSON")
    }

    /// A command that is to be refused; gives status and code.
    pub async fn refused(&mut self, path: &str, body: Value) -> (u16, String) {
        let answer = self.post(&format!("/v1/commands/{path}"), body).await;
        (
            answer.status,
            answer.code().unwrap_or_else(|| {
                panic!("{path}: no problem code: {}", String::from_utf8_lossy(&answer.body))
            }),
        )
    }

    /// A query that is to succeed.
    pub async fn get(&mut self, path: &str) -> Value {
        let began = Instant::now();
        loop {
            let answer = self.send("GET", path, &[], &[]).await;
            // The server waits some seconds for `min_position`; a busy machine may need longer.
            if answer.code().as_deref() == Some("projection_behind") && began.elapsed() < DEADLINE {
                continue;
            }
            assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
            return answer.json().expect("JSON");
        }
    }

    pub async fn status(&mut self, path: &str) -> u16 {
        self.send("GET", path, &[], &[]).await.status
    }
}

/// The full data set if it lies beside the project, else the bundled month.
pub fn data_set() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the gateway lies in the workspace");
    let full = root.join("../shared/data/online-retail.csv.gz");
    if full.exists() { full } else { root.join("gateway/sample/online-retail-2010-12.csv.gz") }
}

pub fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sample/online-retail-2010-12.csv.gz")
}

/// A position, which is a string in every JSON.
pub fn number(position: &Value) -> Option<u64> {
    position.as_str()?.parse().ok()
}
