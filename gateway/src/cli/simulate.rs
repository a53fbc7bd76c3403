//! `simulate`: against the server given with --server, or one of its own on a temporary folder.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::args::{Format, Global, Simulate};
use super::{Outcome, print_json, print_line};
use crate::config::{Config, LogConfig, SearchConfig};
use crate::http;
use crate::load::client::{self, Target};
use crate::load::simulate::{self, Drift, DriftSubject, Report};
use crate::node::Node;

pub(super) async fn run(global: &Global, config: Config, command: Simulate) -> anyhow::Result<Outcome> {
    let report = match (&command, &global.server, &global.data) {
        (Simulate::Drift { projection, share, repair }, None, Some(_)) => {
            let plan = Drift { projection: projection.clone(), share: *share, repair: *repair };
            drift_at_rest(&config, &plan).await?
        }
        (_, Some(url), _) => {
            let server = Target::new(client::address_of(url)?, global.api_key.as_deref());
            play(&server, &command, false).await?
        }
        (_, None, _) => {
            let own = OwnServer::start(config).await?;
            let report = play(&Target::new(own.address, None), &command, true).await;
            own.stop().await?;
            report?
        }
    };
    if global.format == Format::Json {
        print_json(&report)?;
    } else {
        print_line(format_args!("{}", report.text().trim_end()))?;
    }
    Ok(if report.ok() { Outcome::Done } else { Outcome::Failed })
}

/// `fresh`: the server has nothing but what the simulation brings.
async fn play(server: &Target, command: &Simulate, fresh: bool) -> anyhow::Result<Report> {
    // Ids of this run, so that it can be repeated on one server.
    let run = format!("{:x}", std::process::id());
    match command {
        Simulate::FlashSale { buyers, units } => simulate::flash_sale(server, *buyers, *units, &run).await,
        Simulate::Bots { bots, units } => simulate::bots(server, *bots, *units, &run).await,
        Simulate::DuplicateConfig { clients } => simulate::duplicate_config(server, *clients, &run).await,
        Simulate::Drift { projection, share, repair } => {
            if fresh {
                simulate::stock_up(server, &run).await?;
            }
            let plan = Drift { projection: projection.clone(), share: *share, repair: *repair };
            simulate::drift(&DriftSubject::Server(server), &plan).await
        }
        Simulate::Outage { projection, commands } => {
            simulate::outage(server, projection, *commands, &run).await
        }
    }
}

async fn drift_at_rest(config: &Config, plan: &Drift) -> anyhow::Result<Report> {
    // A folder without data is a mistake here, not one to be made.
    let node = Node::open_existing(config).await?;
    let report = simulate::drift(&DriftSubject::Node(&node), plan).await;
    node.close().await;
    report
}

struct OwnServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    server: tokio::task::JoinHandle<()>,
    node: Arc<Node>,
    _folder: tempfile::TempDir,
}

impl OwnServer {
    async fn start(mut config: Config) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("a temporary folder")?;
        config.data = folder.path().join("data");
        // A server that nobody else knows of: nothing on it is precious.
        config.api_keys.clear();
        config.allow_drift_injection = Some(true);
        // A scenario must not leave its events in the log of a shop.
        config.log = LogConfig::default();
        config.search = SearchConfig::default();
        config.relay = None;
        let listener = TcpListener::bind("127.0.0.1:0").await.context("a free port")?;
        let address = listener.local_addr().context("the listening address")?;
        let node = Arc::new(Node::open(&config).await?);
        let (stop, stopped) = watch::channel(false);
        let server = tokio::spawn(http::serve(listener, config, Arc::clone(&node), stopped));
        Ok(Self { address, stop, server, node, _folder: folder })
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.stop.send_replace(true);
        self.server.await.context("the server's task failed")?;
        self.node.close().await;
        Ok(())
    }
}
