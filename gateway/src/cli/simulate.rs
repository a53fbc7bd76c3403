//! `simulate`: against the server given with --server, or one of its own on a temporary folder.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::args::{Format, Global, Simulate};
use super::{Outcome, print_json, print_line};
use crate::config::Config;
use crate::http;
use crate::load::{client, simulate};
use crate::node::Node;

pub(super) async fn run(global: &Global, config: Config, command: Simulate) -> anyhow::Result<Outcome> {
    let own = match &global.server {
        Some(_) => None,
        None => Some(OwnServer::start(config).await?),
    };
    let server = match (&global.server, &own) {
        (Some(url), _) => client::address_of(url)?,
        (None, Some(own)) => own.address,
        (None, None) => unreachable!("one of the two is there by construction"),
    };
    // Ids of this run, so that it can be repeated on one server.
    let run = format!("{:x}", std::process::id());
    let report = match command {
        Simulate::FlashSale { buyers, units } => simulate::flash_sale(server, buyers, units, &run).await,
        Simulate::Bots { bots, units } => simulate::bots(server, bots, units, &run).await,
        Simulate::DuplicateConfig { clients } => simulate::duplicate_config(server, clients, &run).await,
    };
    if let Some(own) = own {
        own.stop().await?;
    }
    let report = report?;
    if global.format == Format::Json {
        print_json(&report)?;
    } else {
        print_line(format_args!("{}", report.text().trim_end()))?;
    }
    Ok(if report.ok() { Outcome::Done } else { Outcome::Failed })
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
