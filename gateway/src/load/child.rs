//! A server in a process of its own, on a temporary folder, for measurements that must not share a runtime with it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};

/// Ends with the value; nothing of it stays.
#[derive(Debug)]
pub struct ChildServer {
    child: Child,
    pub address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl ChildServer {
    /// Starts `program serve` on a free loopback port and waits until it answers. `configuration` is the text of a
    /// configuration file.
    pub fn start(program: &Path, configuration: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("a temporary folder")?;
        let file = folder.path().join("daybook.toml");
        std::fs::write(&file, configuration).context("the server's configuration")?;
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(&file)
            .arg("--data")
            .arg(folder.path().join("data"))
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut line = String::new();
        let read = BufReader::new(child.stdout.take().expect("piped above")).read_line(&mut line);
        let address = line.trim().strip_prefix("listening on http://").and_then(|text| text.parse().ok());
        let server = |address| Self { child, address, _folder: folder };
        match (read, address) {
            (Ok(_), Some(address)) => Ok(server(address)),
            _ => {
                // Dropped, so that the child does not outlive the failure.
                drop(server(SocketAddr::from(([127, 0, 0, 1], 0))));
                bail!("the server did not start; it said {:?}", line.trim())
            }
        }
    }
}

impl Drop for ChildServer {
    fn drop(&mut self) {
        // Its folder goes with it: nothing is worth a clean stop.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
