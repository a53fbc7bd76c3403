//! Publishing the log on NATS JetStream while this gateway serves. Of several gateways on one log the holder of a lease does it;
//! where there are no leases every gateway tries, and the stream's own sequence lets one through.

use std::sync::Arc;

use daybook_eventlog::{CircuitStatus, EventLog, Leadership};
use daybook_projections::runner::ProjectionStatus;

use crate::config::RelayConfig;

#[cfg(feature = "nats")]
pub(super) use with_nats::Relaying;
#[cfg(not(feature = "nats"))]
pub(super) use without_nats::Relaying;

#[cfg(feature = "nats")]
mod with_nats {
    use anyhow::Context;
    use daybook_projections::relay::{Connection, NatsOptions, Relay};
    use daybook_projections::runner::ProjectionHandle;
    use parking_lot::Mutex;
    use tokio::runtime::Handle;
    use tokio::sync::watch;
    use tokio::task::JoinHandle;

    use super::*;

    /// A relay at work, or ready to be.
    pub(in crate::node) struct Relaying {
        connection: Connection,
        running: Arc<Mutex<Option<Arc<ProjectionHandle>>>>,
        leadership: Mutex<Option<Leadership>>,
        following: Mutex<Option<JoinHandle<()>>>,
    }

    impl Relaying {
        /// Begins to publish, at once or as soon as this gateway leads.
        pub(in crate::node) fn begin(
            config: &RelayConfig,
            log: Arc<dyn EventLog>,
            leadership: Option<Leadership>,
        ) -> anyhow::Result<Self> {
            let about = || format!("the relay (relay.url = \"{}\")", config.url);
            let options = NatsOptions {
                url: config.url.expose().to_owned(),
                tls_ca: config.tls_ca.clone(),
                prefix: config.prefix.clone(),
                source: config.source.clone(),
                max_age: config.max_age,
                max_bytes: config.max_bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
                replicas: config.replicas as usize,
                timeout: config.request_timeout,
                ..NatsOptions::default()
            };
            let connection = Connection::new(&options).with_context(about)?;
            let running = Arc::new(Mutex::new(None));
            // Who has nobody to compete with leads for good; the sender may go.
            let leads = leadership.as_ref().map_or_else(|| watch::channel(true).1, Leadership::watch);
            let following = tokio::spawn(follow(connection.clone(), log, leads, Arc::clone(&running)));
            Ok(Self {
                connection,
                running,
                leadership: Mutex::new(leadership),
                following: Mutex::new(Some(following)),
            })
        }

        /// How far it is; `None` while another gateway does it.
        pub(in crate::node) fn status(&self) -> Option<ProjectionStatus> {
            self.running.lock().as_ref().map(|handle| handle.status())
        }

        pub(in crate::node) fn circuit(&self) -> CircuitStatus {
            self.connection.breaker().status()
        }

        pub(in crate::node) fn leads(&self) -> Option<bool> {
            self.leadership.lock().as_ref().map(|leadership| leadership.token().is_some())
        }

        pub(in crate::node) async fn stop(&self) {
            let following = self.following.lock().take();
            if let Some(following) = following {
                following.abort();
                // Ended by us: what it says of that is no news.
                let _ = following.await;
            }
            let running = self.running.lock().take();
            if let Some(running) = running {
                running.stop().await;
            }
            let leadership = self.leadership.lock().take();
            if let Some(leadership) = leadership {
                leadership.resign().await;
            }
        }
    }

    /// Publishes while this gateway leads.
    async fn follow(
        connection: Connection,
        log: Arc<dyn EventLog>,
        mut leads: watch::Receiver<bool>,
        running: Arc<Mutex<Option<Arc<ProjectionHandle>>>>,
    ) {
        loop {
            let lead = *leads.borrow_and_update();
            let handle = running.lock().clone();
            match handle {
                None if lead => match start(&connection, &log).await {
                    Ok(handle) => *running.lock() = Some(handle),
                    Err(error) => tracing::error!(%error, "the relay does not start"),
                },
                Some(handle) if !lead => {
                    running.lock().take();
                    handle.stop().await;
                }
                _ => {}
            }
            if leads.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits for the server a while, so not on a thread that others need.
    async fn start(
        connection: &Connection,
        log: &Arc<dyn EventLog>,
    ) -> anyhow::Result<Arc<ProjectionHandle>> {
        let (connection, log, runtime) = (connection.clone(), Arc::clone(log), Handle::current());
        let started = tokio::task::spawn_blocking(move || Relay::start(&connection, log, &runtime));
        Ok(Arc::new(started.await??))
    }
}

#[cfg(not(feature = "nats"))]
mod without_nats {
    use super::*;

    /// There is none in this build.
    pub(in crate::node) enum Relaying {}

    impl Relaying {
        pub(in crate::node) fn begin(
            _: &RelayConfig,
            _: Arc<dyn EventLog>,
            _: Option<Leadership>,
        ) -> anyhow::Result<Self> {
            anyhow::bail!("relay.url is set, but this build leaves NATS out: build it with the feature nats")
        }

        pub(in crate::node) fn status(&self) -> Option<ProjectionStatus> {
            match *self {}
        }

        pub(in crate::node) fn circuit(&self) -> CircuitStatus {
            match *self {}
        }

        pub(in crate::node) fn leads(&self) -> Option<bool> {
            match *self {}
        }

        pub(in crate::node) async fn stop(&self) {
            match *self {}
        }
    }
}
