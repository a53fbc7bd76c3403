//! `serve --kurrent-listen`: the event log for clients of KurrentDB/EventStoreDB.

use std::sync::Arc;

use daybook_eventlog::EventLog;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::KurrentServer;

/// Serves until `stop` turns true, and says on standard output where.
#[cfg(feature = "kurrent")]
pub(super) async fn serve(
    settings: KurrentServer,
    log: Arc<dyn EventLog>,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<JoinHandle<std::io::Result<()>>> {
    use anyhow::Context;
    use daybook_kurrent::{Credentials, Options};

    let listener = tokio::net::TcpListener::bind(settings.listen).await.with_context(|| {
        format!("cannot listen on {}; choose another address with --kurrent-listen", settings.listen)
    })?;
    let address = listener.local_addr().context("the listening address")?;
    let credentials = settings.user.zip(settings.password);
    let options = Options {
        credentials: credentials
            .map(|(user, password)| Credentials { user, password: password.expose().to_owned() }),
        advertise: settings.advertise,
    };
    let serving = tokio::spawn(daybook_kurrent::serve_with(listener, log, stop, options));
    super::print_line(format_args!("KurrentDB protocol on kurrentdb://{address}?tls=false"))?;
    Ok(serving)
}

#[cfg(not(feature = "kurrent"))]
pub(super) async fn serve(
    _: KurrentServer,
    _: Arc<dyn EventLog>,
    _: watch::Receiver<bool>,
) -> anyhow::Result<JoinHandle<std::io::Result<()>>> {
    anyhow::bail!(
        "kurrent_server.listen is set, but this build leaves the protocol out: build it with the feature kurrent"
    )
}
