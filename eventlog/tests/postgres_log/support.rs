//! A schema for each test, servers that a test may kill, and events to write.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use daybook_eventlog::postgres::{PostgresLog, PostgresOptions};
use daybook_eventlog::{Append, EventLog, Expected, Filter, NewEvent, RecordedEvent, StreamAppend, StreamId};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use uuid::Uuid;

/// The longest wait for anything that must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The server that the environment names; `None`, said aloud, where there is none.
pub(crate) fn server_url() -> Option<String> {
    let url = std::env::var("DAYBOOK_TEST_POSTGRES_URL").ok().filter(|url| !url.is_empty());
    if url.is_none() {
        let required = std::env::var("DAYBOOK_TEST_REQUIRE_SERVERS").is_ok_and(|value| value == "1");
        assert!(!required, "DAYBOOK_TEST_REQUIRE_SERVERS=1, but DAYBOOK_TEST_POSTGRES_URL is not set");
        println!("skipped: DAYBOOK_TEST_POSTGRES_URL is not set");
    }
    url
}

pub(crate) fn unique_id() -> Uuid {
    // Test data, no event of a real log: the one id source is out of this crate's reach.
    #[allow(clippy::disallowed_methods)]
    Uuid::now_v7()
}

/// A schema that nobody else uses.
#[derive(Clone)]
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) schema: String,
}

impl Database {
    pub(crate) fn fresh() -> Option<Self> {
        server_url().map(Self::on)
    }

    pub(crate) fn on(url: String) -> Self {
        Self { url, schema: format!("t{}", unique_id().simple()) }
    }

    pub(crate) fn options(&self) -> PostgresOptions {
        PostgresOptions::new(&self.url).with_schema(&self.schema)
    }

    pub(crate) async fn log(&self) -> PostgresLog {
        PostgresLog::connect(self.options()).await.unwrap()
    }

    /// Connections as a stock writer has them.
    pub(crate) async fn pool(&self, connections: u32) -> PgPool {
        let options: PgConnectOptions = self.url.parse().unwrap();
        let options = options.options([("search_path", self.schema.as_str())]);
        PgPoolOptions::new().max_connections(connections).connect_with(options).await.unwrap()
    }

    /// Runs statements, separated by semicolons.
    pub(crate) async fn run(&self, sql: &str) {
        let pool = self.pool(1).await;
        sqlx::raw_sql(sql).execute(&pool).await.unwrap();
        pool.close().await;
    }
}

/// A server of the test's own, stopped and removed at the end.
pub(crate) struct Server {
    folder: tempfile::TempDir,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start() -> Option<Self> {
        server_url()?;
        let folder = tempfile::tempdir().unwrap();
        let output = script(&format!(
            "start_postgres {} && echo \"$DAYBOOK_TEST_POSTGRES_URL\"",
            folder.path().display()
        ));
        Some(Self { url: output.trim().to_owned(), folder })
    }

    pub(crate) fn database(&self) -> Database {
        Database::on(self.url.clone())
    }

    /// Stops the server as a crash does, and starts it again.
    pub(crate) fn crash_and_restart(&self) {
        script(&format!("restart_postgres {} immediate", self.folder.path().display()));
    }

    /// Stops (`STOP`) or goes on with (`CONT`) every process of the server.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = std::fs::read_to_string(self.folder.path().join("data/postmaster.pid")).unwrap();
        let pid: u32 = pid.lines().next().unwrap().trim().parse().unwrap();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        for pid in std::iter::once(pid.to_string()).chain(children.split_whitespace().map(str::to_owned)) {
            // A backend may have ended since.
            Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal("CONT");
        script(&format!("stop_postgres {}", self.folder.path().display()));
    }
}

fn script(command: &str) -> String {
    let servers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/servers.sh");
    let line = format!(". {} && {command}", servers.display());
    let output = Command::new("bash").args(["-c", &line]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn stream(name: &str) -> StreamId {
    StreamId::new(name).unwrap()
}

pub(crate) fn event(event_type: &'static str, data: impl Into<Bytes>) -> NewEvent {
    NewEvent {
        event_id: unique_id(),
        event_type,
        version: 1,
        recorded_at: 1_700_000_000_123_456,
        data: data.into(),
        metadata: Bytes::from_static(br#"{"actor":"test"}"#),
    }
}

pub(crate) fn happened(n: u64) -> NewEvent {
    event("test.happened", format!("{{\"n\":{n}}}"))
}

pub(crate) fn append(stream: &StreamId, expected: Expected, events: Vec<NewEvent>) -> Append {
    Append::new(vec![StreamAppend { stream: stream.clone(), expected, events }])
}

pub(crate) async fn whole_log(log: &dyn EventLog) -> Vec<RecordedEvent> {
    let (mut events, mut after) = (Vec::new(), 0);
    loop {
        let page = log.read_all(after, &Filter::default(), 1_000, usize::MAX).await.unwrap();
        after = page.scanned_to;
        events.extend(page.events);
        if page.at_head {
            return events;
        }
    }
}

/// Waits until the condition holds; panics with its name at the deadline.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < DEADLINE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
