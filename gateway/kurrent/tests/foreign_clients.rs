//! The server as the official clients in other languages see it, by the scripts in `clients/`.
//!
//! The clients come from their registries at the first run. Where that fails the test says so and passes, unless
//! `DAYBOOK_TEST_REQUIRE_SERVERS=1`.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use daybook_eventlog::MemoryLog;

use crate::common::Server;

/// A client that can't be installed is no failure, unless it is asked for.
fn skip(client: &str, reason: &str) {
    let required = std::env::var("DAYBOOK_TEST_REQUIRE_SERVERS").is_ok_and(|value| value == "1");
    assert!(!required, "the {client} client can't be installed: {reason}");
    println!("SKIPPED: the {client} client can't be installed: {reason}");
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// A folder beside the build, kept from run to run.
fn installed(client: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(client)
}

fn run(command: &mut Command) -> Result<Output, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("{command:?} failed:\n{out}\n{err}"))
}

/// Runs a script against a server of its own; it prints `ok` when all that it checks holds.
fn check(client: &mut Command) {
    let server = Server::start(Arc::new(MemoryLog::new()));
    let output = run(client.arg(format!("kurrentdb://{}?tls=false", server.address))).unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "ok");
}

#[test]
fn the_node_client_works() {
    let folder = installed("node-client");
    if !folder.join("node_modules/@kurrent/kurrentdb-client/package.json").exists() {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(scripts().join("package.json"), folder.join("package.json")).unwrap();
        let install = run(Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"])
            .current_dir(&folder));
        if let Err(reason) = install {
            return skip("Node", &reason);
        }
    }
    std::fs::copy(scripts().join("client.mjs"), folder.join("client.mjs")).unwrap();
    check(Command::new("node").arg("client.mjs").current_dir(&folder));
}

#[test]
fn the_python_client_works() {
    let folder = installed("python-client");
    let python = folder.join("bin/python");
    let ready = |python: &Path| run(Command::new(python).args(["-c", "import kurrentdbclient"])).is_ok();
    if !ready(&python) {
        let install = run(Command::new("python3").args(["-m", "venv"]).arg(&folder)).and_then(|_| {
            let requirements = scripts().join("requirements.txt");
            run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "-r"]).arg(requirements))
        });
        if let Err(reason) = install {
            return skip("Python", &reason);
        }
    }
    check(Command::new(&python).arg(scripts().join("client.py")));
}
