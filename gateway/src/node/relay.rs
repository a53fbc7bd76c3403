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
    use std::time::Duration;

    use anyhow::Context;
    use daybook_eventlog::Position;
    use daybook_projections::relay::{Connection, NatsOptions, Relay, WakeUps, publisher};
    use daybook_projections::runner::ProjectionHandle;
    use parking_lot::Mutex;
    use tokio::runtime::Handle;
    use tokio::sync::watch;
    use tokio::task::JoinHandle;

    use super::*;

    /// How long a relay that did not start is left alone.
    const PAUSE: Duration = Duration::from_secs(5);

    /// What there is of the relay in this process.
    #[derive(Default)]
    enum State {
        /// Another gateway publishes, or it is just being begun.
        #[default]
        Idle,
        Running(Arc<ProjectionHandle>),
        /// It is this gateway's turn, and the relay did not start.
        Failed(String),
    }

    /// A relay at work, or ready to be.
    pub(in crate::node) struct Relaying {
        connection: Connection,
        state: Arc<Mutex<State>>,
        head: watch::Receiver<Position>,
        leadership: Mutex<Option<Leadership>>,
        following: Mutex<Option<JoinHandle<()>>>,
        _wake_ups: Option<WakeUps>,
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
            let state = Arc::new(Mutex::new(State::Idle));
            let head = log.watch_head();
            // Who has nobody to compete with leads for good; the sender may go.
            let leads = leadership.as_ref().map_or_else(|| watch::channel(true).1, Leadership::watch);
            // Where there are leases there may be other gateways.
            let wake_ups = leadership.is_some().then(|| WakeUps::begin(&connection, Arc::clone(&log)));
            let following = tokio::spawn(follow(connection.clone(), log, leads, Arc::clone(&state)));
            Ok(Self {
                connection,
                state,
                head,
                leadership: Mutex::new(leadership),
                following: Mutex::new(Some(following)),
                _wake_ups: wake_ups,
            })
        }

        /// How far it is; `None` while another gateway does it. Of one that did not start nothing is known but why.
        pub(in crate::node) fn status(&self) -> Option<ProjectionStatus> {
            match &*self.state.lock() {
                State::Idle => None,
                State::Running(handle) => Some(handle.status()),
                State::Failed(reason) => {
                    let head = *self.head.borrow();
                    Some(ProjectionStatus {
                        name: publisher::NAME.to_owned(),
                        generation: 0,
                        checkpoint: 0,
                        head,
                        lag: head,
                        state: "retrying",
                        reason: Some(reason.clone()),
                        dead_letters: 0,
                        retries: 0,
                        events: 0,
                        building: None,
                    })
                }
            }
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
            let state = std::mem::take(&mut *self.state.lock());
            if let State::Running(handle) = state {
                handle.stop().await;
            }
            let leadership = self.leadership.lock().take();
            if let Some(leadership) = leadership {
                leadership.resign().await;
            }
        }
    }

    /// Publishes while this gateway leads. What keeps the relay from starting may be mended at any time (a stream that belongs to
    /// somebody else, a subject that overlaps), so it is tried again for as long as it is this gateway's turn.
    async fn follow(
        connection: Connection,
        log: Arc<dyn EventLog>,
        mut leads: watch::Receiver<bool>,
        state: Arc<Mutex<State>>,
    ) {
        loop {
            let lead = *leads.borrow_and_update();
            let running = matches!(&*state.lock(), State::Running(_));
            if lead && !running {
                let started = start(&connection, &log).await;
                *state.lock() = match started {
                    Ok(handle) => State::Running(handle),
                    Err(error) => {
                        let reason = format!("{error:#}");
                        tracing::error!(reason, "the relay does not start; trying again");
                        State::Failed(reason)
                    }
                };
            } else if !lead {
                let before = std::mem::take(&mut *state.lock());
                if let State::Running(handle) = before {
                    handle.stop().await;
                }
            }
            let failed = matches!(&*state.lock(), State::Failed(_));
            tokio::select! {
                changed = leads.changed() => match changed {
                    Ok(()) => {}
                    // Who leads for good has nobody to hear from.
                    Err(_) if failed => tokio::time::sleep(PAUSE).await,
                    Err(_) => return,
                },
                () = tokio::time::sleep(PAUSE), if failed => {}
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
