//! Daybook: servers of its own, and its own load tool in processes of their own.

use std::future::Future;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::Contender;
use crate::measure::Settings;

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
    name: &'static str,
    program: String,
    gateways: Vec<Gateway>,
    folder: PathBuf,
}

struct Gateway {
    server: Child,
    url: String,
}

impl Daybook {
    /// So many gateways, on files of their own or on one log in PostgreSQL.
    pub(crate) fn start(
        program: &str,
        name: &'static str,
        postgres: Option<&str>,
        gateways: u32,
    ) -> anyhow::Result<Self> {
        let schema = format!("gateways_{gateways}_{}", std::process::id());
        let kind = if postgres.is_some() { &schema } else { "files" };
        let folder = std::env::temp_dir().join(format!("daybook-peers-{}-{kind}", std::process::id()));
        std::fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let log =
            postgres.map(|url| format!("[log]\nbackend = 'postgres'\nurl = '{url}'\nschema = '{schema}'\n"));
        let file = folder.join("daybook.toml");
        std::fs::write(&file, format!("{CONFIGURATION}{}", log.unwrap_or_default()))?;
        let mut daybook = Self { name, program: program.to_owned(), gateways: Vec::new(), folder };
        for number in 0..gateways {
            daybook.add(number)?;
        }
        Ok(daybook)
    }

    fn add(&mut self, number: u32) -> anyhow::Result<()> {
        let mut server = Command::new(&self.program)
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(self.folder.join("daybook.toml"))
            .arg("--data")
            .arg(self.folder.join(format!("data-{number}")))
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.program))?;
        let mut line = String::new();
        BufReader::new(server.stdout.take().context("standard output")?).read_line(&mut line)?;
        let url = line.trim().strip_prefix("listening on ").unwrap_or_default().to_owned();
        let started = !url.is_empty();
        // Also where it did not start: whoever drops this ends it.
        self.gateways.push(Gateway { server, url });
        ensure!(started, "the server did not start; it said {line:?}");
        Ok(())
    }

    /// The sum over all gateways, each with its share of the clients, all asking for the same items.
    async fn load(&self, settings: Settings, items: u64, round: u64) -> anyhow::Result<f64> {
        let clients = settings.clients / u32::try_from(self.gateways.len())?;
        let loads = self.gateways.iter().map(|gateway| {
            let mut command = Command::new(&self.program);
            command
                .args(["load", "--format", "json", "--warm-up", "0.5", "--server", &gateway.url])
                .args(["--connections", &clients.to_string(), "--variants", &items.to_string()])
                .args(["--duration", &settings.seconds.to_string(), "--run", &format!("{items}-{round}")])
                .stderr(Stdio::inherit());
            tokio::task::spawn_blocking(move || command.output())
        });
        let mut sum = 0.0;
        // They run beside each other from the first on.
        for load in loads.collect::<Vec<_>>() {
            let output = load.await??;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
            let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
            sum += report["accepted_per_second"].as_f64().context("a rate in the report")?;
        }
        for gateway in &self.gateways {
            let address = gateway.url.trim_start_matches("http://").to_owned();
            let lag = tokio::task::spawn_blocking(move || catch_up(&address)).await??;
            eprintln!("the read models were up to date {:.1} s after the load", lag.as_secs_f64());
        }
        Ok(sum)
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
        self.name
    }

    fn round(
        &mut self,
        settings: Settings,
        items: u64,
        round: u64,
    ) -> Pin<Box<dyn Future<Output = anyhow::Result<f64>> + '_>> {
        Box::pin(self.load(settings, items, round))
    }
}

impl Drop for Daybook {
    fn drop(&mut self) {
        for gateway in &mut self.gateways {
            let _ = gateway.server.kill();
            let _ = gateway.server.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
