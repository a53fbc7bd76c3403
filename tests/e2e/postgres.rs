//! A PostgreSQL server of a test's own, which it may kill and freeze.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::backend::postgres_url;

/// Stopped and removed when dropped.
pub struct Postgres {
    folder: tempfile::TempDir,
    pub url: String,
}

impl Postgres {
    /// `None`, said aloud, where the environment names no server: then there is no PostgreSQL to run tests on.
    pub fn start() -> Option<Self> {
        postgres_url()?;
        let folder = tempfile::tempdir().unwrap();
        let start =
            format!("start_postgres {} && echo \"$DAYBOOK_TEST_POSTGRES_URL\"", folder.path().display());
        let url = script(&start).trim().to_owned();
        Some(Self { url, folder })
    }

    /// `kill -9` of every process.
    pub fn kill(&self) {
        self.run("kill_postgres");
    }

    /// Starts again after a kill.
    pub fn resume(&self) {
        self.run("resume_postgres");
    }

    /// SIGSTOP for every process.
    pub fn freeze(&self) {
        self.run("freeze_postgres");
    }

    pub fn thaw(&self) {
        self.run("thaw_postgres");
    }

    fn run(&self, function: &str) {
        script(&format!("{function} {}", self.folder.path().display()));
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.thaw();
        let stop = format!("stop_postgres {} || true", self.folder.path().display());
        script(&stop);
    }
}

fn script(command: &str) -> String {
    let servers: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/servers.sh");
    let line = format!(". {} && {command}", servers.display());
    let output = Command::new("bash").args(["-c", &line]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
