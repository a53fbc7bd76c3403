//! A server of a test's own, which it may kill, freeze and start again.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::backend::server_url;

/// The servers that `tests/servers.sh` starts.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Postgres,
    Elasticsearch,
    Nats,
}

impl Kind {
    /// In the names of functions, and of variables in capitals.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Elasticsearch => "elasticsearch",
            Self::Nats => "nats",
        }
    }
}

/// Stopped and removed when dropped.
pub struct OwnServer {
    kind: Kind,
    folder: tempfile::TempDir,
    pub url: String,
}

impl OwnServer {
    /// `None`, said aloud, where the environment names no such server: then tests with it are not asked for.
    pub fn start(kind: Kind) -> Option<Self> {
        server_url(kind)?;
        let folder = tempfile::tempdir().unwrap();
        let variable = format!("DAYBOOK_TEST_{}_URL", kind.name().to_uppercase());
        let start = format!("start_{} {} && echo \"${variable}\"", kind.name(), folder.path().display());
        let url = script(&start).trim().to_owned();
        Some(Self { kind, url, folder })
    }

    /// Adds a line to a PostgreSQL server's configuration, and starts it again with that.
    pub fn configure_postgres(&self, line: &str) {
        let folder = self.folder.path().display();
        script(&format!("echo '{line}' >> {folder}/data/postgresql.conf && restart_postgres {folder}"));
    }

    /// `kill -9` of every process.
    pub fn kill(&self) {
        self.run("kill");
    }

    /// Starts again after a kill, on the same address.
    pub fn resume(&self) {
        self.run("resume");
    }

    /// SIGSTOP for every process.
    pub fn freeze(&self) {
        self.run("freeze");
    }

    pub fn thaw(&self) {
        self.run("thaw");
    }

    fn run(&self, verb: &str) {
        script(&format!("{verb}_{} {}", self.kind.name(), self.folder.path().display()));
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.thaw();
        script(&format!("stop_{} {} || true", self.kind.name(), self.folder.path().display()));
    }
}

fn script(command: &str) -> String {
    let servers: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/servers.sh");
    let line = format!(". {} && {command}", servers.display());
    let output = Command::new("bash").args(["-c", &line]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
