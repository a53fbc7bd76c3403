//! A server of the KurrentDB/EventStoreDB gRPC protocol over any Daybook event log, so that clients in any language
//! append to, read and follow it.
//!
//! ```text
//!  client ──gRPC──▶ service ──▶ append, batch ──▶ write ──▶ EventLog
//!                     │                                        │
//!                     └───────▶ read, follow ◀── filter ◀──────┘ read_all, watch_head
//! ```
//!
//! Map: `service` dispatches the calls; `write` turns expectations into those of the log, `append` and `batch` are the
//! two calls that use it; `read` is what ends, `follow` what does not, `backwards` reads the log from its end; `filter`
//! selects events as clients ask; `event` converts events; `names` holds the types that clients brought; `cluster`
//! answers who is the leader and what the server can do; `auth` checks the user; `connection` makes replies prompt.
//!
//! How the two worlds meet:
//!
//! - The protocol's revisions count from 0, Daybook's from 1. Positions are Daybook's, commit and prepare alike.
//! - Names of streams and types are 1 to 255 visible ASCII characters; others are refused with `INVALID_ARGUMENT`.
//!   At most [`MAX_FOREIGN_TYPES`] different type names are taken from clients in the life of a process.
//! - `created` is the time that the event's writer recorded; for events written through this server, its own.
//! - The log keeps no content type: what parses as JSON is `application/json`.
//! - A log never deletes: Delete and Tombstone are refused with `UNIMPLEMENTED`. Stream metadata (`$$stream`) is kept
//!   and given back, but its limits (`$maxCount`, `$maxAge`, `$tb`, `$acl`) have no effect. Links are not resolved.
//!
//! What it deliberately does not do: persistent subscriptions, projections, users, clusters.

#![allow(
    clippy::result_large_err,
    reason = "the service's calls give tonic's `Status`, made once a refused call"
)]

mod append;
mod auth;
mod backwards;
mod batch;
mod cluster;
mod connection;
mod event;
mod filter;
mod follow;
mod names;
mod proto;
mod read;
mod service;
mod write;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use daybook_eventlog::EventLog;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;

pub use auth::Credentials;
pub use names::MAX_FOREIGN_TYPES;

use crate::proto::gossip::gossip_server::GossipServer;
use crate::proto::server_features::server_features_server::ServerFeaturesServer;
use crate::proto::streams::streams_server::StreamsServer;
use crate::service::Context;

/// The largest message that a client may send, in bytes: the largest append and what surrounds it.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// How long open calls have to end once the server is told to stop.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// How to serve.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whom to serve; everyone if `None`. Without TLS in front these cross the network in the clear.
    pub credentials: Option<Credentials>,
    /// The address that clients which ask for the cluster's members are sent to; the one they reached if `None`.
    pub advertise: Option<SocketAddr>,
}

/// Serves the log on the listener, to everyone, until `stop` holds `true`.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    log: Arc<dyn EventLog>,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    serve_with(listener, log, stop, Options::default()).await
}

/// Serves the log on the listener until `stop` holds `true` or its sender is gone. Subscriptions then end with
/// `UNAVAILABLE`, so that clients look for the server again.
///
/// # Errors
/// If the listener fails.
pub async fn serve_with(
    listener: TcpListener,
    log: Arc<dyn EventLog>,
    stop: watch::Receiver<bool>,
    options: Options,
) -> io::Result<()> {
    let context = Arc::new(Context::new(log, stop.clone(), options.advertise));
    let check = auth::Check::new(options.credentials);
    let streams = StreamsServer::from_arc(Arc::new(service::StreamsService(context.clone())))
        .max_decoding_message_size(MAX_MESSAGE_BYTES);
    let members = GossipServer::from_arc(Arc::new(cluster::Members(context.clone())));
    let serving = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(16 << 20)
        .add_service(InterceptedService::new(streams, check.clone()))
        .add_service(InterceptedService::new(members, check))
        // Asked before clients present themselves.
        .add_service(ServerFeaturesServer::new(cluster::Features))
        .serve_with_incoming_shutdown(connection::accept(listener), service::stopped(stop.clone()));
    tokio::select! {
        served = serving => served.map_err(io::Error::other),
        () = stopped_for(stop, STOP_WITHIN) => Ok(()),
    }
}

async fn stopped_for(stop: watch::Receiver<bool>, long: Duration) {
    service::stopped(stop).await;
    tokio::time::sleep(long).await;
}
