//! Daybook: a server of its own, and its own load tool in a process of its own.

use std::future::Future;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::Contender;
use crate::measure::{CLIENTS, Settings};

/// Every limit counts every request, and none refuses. The holds of all rounds stay active, and their states must find room.
const CONFIGURATION: &str = "
[memory]
state_cache_mib = 1024
[admission]
exempt_local = false
[admission.ip]
requests = 1000000000
[admission.variant]
requests = 1000000000
";

const LONGEST_CATCH_UP: Duration = Duration::from_secs(300);

pub(crate) struct Daybook {
    program: String,
    server: Child,
    url: String,
    folder: PathBuf,
}

impl Daybook {
    pub(crate) fn start(program: &str) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("daybook-peers-{}", std::process::id()));
        std::fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let file = folder.join("daybook.toml");
        std::fs::write(&file, CONFIGURATION)?;
        let mut server = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(&file)
            .arg("--data")
            .arg(folder.join("data"))
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        let mut line = String::new();
        BufReader::new(server.stdout.take().context("standard output")?).read_line(&mut line)?;
        let url = line.trim().strip_prefix("listening on ").unwrap_or_default().to_owned();
        let daybook = Self { program: program.to_owned(), server, url, folder };
        if daybook.url.is_empty() {
            bail!("the server did not start; it said {line:?}");
        }
        Ok(daybook)
    }

    async fn load(&self, settings: Settings, items: u64) -> anyhow::Result<f64> {
        let mut command = Command::new(&self.program);
        command
            .args(["load", "--format", "json", "--warm-up", "0.5", "--server", &self.url])
            .args(["--connections", &CLIENTS.to_string(), "--variants", &items.to_string()])
            .args(["--duration", &settings.seconds.to_string()])
            .stderr(Stdio::inherit());
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let address = self.url.trim_start_matches("http://").to_owned();
        let lag = tokio::task::spawn_blocking(move || catch_up(&address)).await??;
        eprintln!("the read models were up to date {:.1} s after the load", lag.as_secs_f64());
        report["accepted_per_second"].as_f64().context("a rate in the report")
    }
}

/// Waits until every read model has all events, so that none of the work left is done beside the next contender.
fn catch_up(address: &str) -> anyhow::Result<Duration> {
    let start = Instant::now();
    while start.elapsed() < LONGEST_CATCH_UP {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"GET /v1/projections HTTP/1.1\r\nhost: daybook\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").context("an answer with a body")?;
        let body: serde_json::Value = serde_json::from_str(body)?;
        let projections = body["projections"].as_array().context("projections")?;
        if projections.iter().all(|projection| projection["lag"].as_u64() == Some(0)) {
            return Ok(start.elapsed());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("the read models do not catch up")
}

impl Contender for Daybook {
    fn name(&self) -> &'static str {
        "Daybook, over HTTP"
    }

    fn round(
        &mut self,
        settings: Settings,
        items: u64,
        _: u64,
    ) -> Pin<Box<dyn Future<Output = anyhow::Result<f64>> + '_>> {
        Box::pin(self.load(settings, items))
    }
}

impl Drop for Daybook {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
