//! `serve` and `demo`.

use std::sync::Arc;

use anyhow::Context;
use daybook_commands::Principal;
use daybook_replay::import::online_retail;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::kurrent;
use super::progress::Progress;
use super::{Outcome, print_line};
use crate::config::Config;
use crate::http;
use crate::node::Node;
use crate::{renewal, spread};

/// Connections that may wait to be accepted; the system caps it (net.core.somaxconn).
const BACKLOG: u32 = 16_384;

/// The sample that `demo` imports; its README names source and licence.
const SAMPLE: &[u8] = include_bytes!("../../sample/online-retail-2010-12.csv.gz");

/// `daybook serve`.
pub(super) async fn serve(config: Config) -> anyhow::Result<Outcome> {
    let listener = listen(&config)?;
    let node = Arc::new(Node::open(&config).await?);
    serve_until_stopped(listener, config, node).await
}

/// `daybook demo`.
pub(super) async fn demo(config: Config) -> anyhow::Result<Outcome> {
    let listener = listen(&config)?;
    let stop = stop_signal()?;
    let node = Arc::new(Node::open(&config).await?);
    let principal = Principal::system();
    let mut progress = Progress::new("Importing December 2010 of Online Retail", "rows");
    let import = online_retail::import(
        SAMPLE,
        node.dispatcher(),
        node.log(),
        &principal,
        online_retail::Options::default(),
        |done, total| progress.update(done, total),
    );
    let mut stopped = stop.clone();
    let report = tokio::select! {
        report = import => report.context("the sample could not be imported")?,
        _ = stopped.wait_for(|stop| *stop) => {
            node.close().await;
            anyhow::bail!("stopped before the sample was imported; start again to go on");
        }
    };
    progress.finish();
    // Standard output is for the one line that says where it listens.
    eprintln!(
        "{} orders and {} variants from {} rows, net {} GBP",
        report.orders, report.variants, report.rows, report.net
    );
    let mut progress = Progress::new("Projecting", "events");
    node.wait_until_current(|done, total| progress.update(done, total)).await?;
    progress.finish();
    run(listener, config, node, stop).await
}

async fn serve_until_stopped(
    listener: TcpListener,
    config: Config,
    node: Arc<Node>,
) -> anyhow::Result<Outcome> {
    let stop = stop_signal()?;
    run(listener, config, node, stop).await
}

async fn run(
    listener: TcpListener,
    config: Config,
    node: Arc<Node>,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<Outcome> {
    let address = listener.local_addr().context("the listening address")?;
    let spread = tokio::spawn(spread::run(&config, Arc::clone(&node), stop.clone()));
    let renewal = tokio::spawn(renewal::run(Arc::clone(&node), stop.clone()));
    let protocol = match config.kurrent_server.clone() {
        Some(settings) => Some(kurrent::serve(settings, Arc::clone(node.log()), stop.clone()).await?),
        None => None,
    };
    node.begin_relay(&config)?;
    let server = tokio::spawn(http::serve(listener, config, Arc::clone(&node), stop));
    print_line(format_args!("listening on http://{address}"))?;
    tracing::info!(%address, "API under /v1, documentation under /docs, console under /console");
    let served = server.await;
    // It may wait for a read model; what it has not done it does after the next start.
    spread.abort();
    renewal.abort();
    let protocol = match protocol {
        Some(protocol) => protocol.await,
        None => Ok(Ok(())),
    };
    node.close().await;
    served.context("the server's task failed")?;
    protocol
        .context("the task of the KurrentDB protocol failed")?
        .context("serving the KurrentDB protocol")?;
    tracing::info!("stopped; nothing is left undone");
    Ok(Outcome::Done)
}

fn listen(config: &Config) -> anyhow::Result<TcpListener> {
    let socket = if config.listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }
        .context("opening a socket")?;
    socket.set_reuseaddr(true).context("opening a socket")?;
    socket
        .bind(config.listen)
        .and_then(|()| socket.listen(BACKLOG))
        .with_context(|| format!("cannot listen on {}; choose another address with --listen", config.listen))
}

/// Turns true at SIGINT or SIGTERM.
fn stop_signal() -> anyhow::Result<watch::Receiver<bool>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("watching for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("watching for SIGTERM")?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping: finishing what is under way");
        sender.send_replace(true);
    });
    Ok(receiver)
}
