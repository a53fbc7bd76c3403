//! The composition root: the only place that names concrete backends.
//!
//! ```text
//! DATA/log/                 segment log, where that is the backend
//! DATA/log.json             which log the folder belongs to
//! DATA/projections/         one store a projection and generation that is kept in files, projections.json
//! DATA/snapshots/           states of long streams, disposable
//! DATA/spread.checkpoint    how far changes of master data are carried to variants, disposable; on PostgreSQL beside the lease
//! DATA/deadlines.checkpoint what the dispatcher knows of deadlines, disposable
//! ```

mod folder;
pub mod log;
mod read_models;
mod relay;
mod search;
mod settling;

use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use daybook_commands::clock::{Clock, SystemClock};
use daybook_commands::{Dispatcher, Options};
use daybook_eventlog::segment::Transfer;
use daybook_eventlog::{
    Breaker, CircuitStatus, EventLog, FileSnapshots, Leadership, LeaseOptions, LeaseStore, LeaseToken,
    Position,
};
use daybook_projections::generations::Projections;
use daybook_projections::runner::{ProjectionStatus, RunnerState};
use daybook_schemas::Timestamp;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::config::Config;
use log::{Log, Opening};
use read_models::ReadModels;

/// How long the projections may take to reach the head before an import gives up waiting.
const PROJECTING: Duration = Duration::from_secs(24 * 3_600);

/// Events between two snapshots of a stream on a shared log: what a conflict makes a gateway read again at most.
const SNAPSHOT_EVERY_SHARED: u64 = 1_000;

/// Everything of one process: log, dispatcher, projections.
pub struct Node {
    log: Log,
    dispatcher: Dispatcher,
    projections: Projections,
    read_models: ReadModels,
    clock: Arc<dyn Clock>,
    /// On a log in PostgreSQL: the leases of what one gateway does for all, by name.
    leaderships: Mutex<Vec<(&'static str, Leadership)>>,
    /// Before the server that searches, where there is one.
    search: Option<Arc<Breaker>>,
    /// Set once events are published.
    relay: OnceLock<relay::Relaying>,
    _lock: Option<folder::Lock>,
}

impl Node {
    /// Opens the data folder, which must be there, and starts everything on it.
    pub async fn open_existing(config: &Config) -> anyhow::Result<Self> {
        // Of a folder that belongs to another kind of log that is to be said first.
        folder::check_backend(config)?;
        folder::check_exists(config)?;
        Self::open(config).await
    }

    /// Opens or makes the data folder and starts everything on it.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        folder::check(&config.data)?;
        folder::check_backend(config)?;
        let shared = config.log.backend.is_shared();
        let lock = if shared { Some(folder::Lock::take(&config.data)?) } else { None };
        let log = Log::open(config, Opening::Make).await?;
        let events = Arc::clone(log.events());
        let belonging = folder::Belonging::check(config, &*events).await?;
        let read_models = ReadModels::open(config, &events).await?;
        let (registry, search) = search::add(config, &belonging, &events, read_models.registry())?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let timers = log.lease_store().map(|store| {
            let options = LeaseOptions::new("timers", holder());
            Leadership::compete(store, options)
        });
        let options = Options {
            max_outstanding: config.limits.queued_commands,
            cache_bytes: config.memory.state_cache_mib << 20,
            checkpoint: Some(config.data.join("deadlines.checkpoint")),
            snapshots: Some(Arc::new(
                FileSnapshots::open(config.data.join("snapshots")).context("the folder of snapshots")?,
            )),
            shared_log: shared,
            leader: timers.as_ref().map(Leadership::watch),
            snapshot_every: if shared { SNAPSHOT_EVERY_SHARED } else { Options::default().snapshot_every },
            ..Options::default()
        };
        let dispatcher = Dispatcher::start(Arc::clone(&events), options, Arc::clone(&clock))
            .await
            .context("the dispatcher did not start; `daybook verify` says what is wrong with the log")?;
        let events = settling::SettlingLog::before(events, belonging);
        let projections = {
            let (folder, runtime) = (config.data.join("projections"), Handle::current());
            // Stores on a server are waited for.
            tokio::task::spawn_blocking(move || Projections::open(&folder, &registry, events, runtime))
                .await?
                .context("the read models could not be opened")?
        };
        Ok(Self {
            log,
            dispatcher,
            projections,
            read_models,
            clock,
            leaderships: Mutex::new(timers.map(|timers| ("timers", timers)).into_iter().collect()),
            search,
            relay: OnceLock::new(),
            _lock: lock,
        })
    }

    /// Competes for a lease among the gateways on this log until [`Node::close`]. `None` where they can't settle who leads.
    pub(crate) fn compete(&self, name: &'static str) -> Option<Candidacy> {
        let store = self.log.lease_store()?;
        let leadership = Leadership::compete(Arc::clone(&store), LeaseOptions::new(name, holder()));
        let candidacy = Candidacy { store, leads: leadership.watch(), token: leadership.watch_token() };
        self.leaderships.lock().push((name, leadership));
        Some(candidacy)
    }

    /// Writes a consistent copy of the log while it runs. Blocks.
    pub fn export_log(&self, out: &mut dyn Write, after: Position) -> anyhow::Result<Transfer> {
        self.log.export(out, after)
    }

    pub fn log(&self) -> &Arc<dyn EventLog> {
        self.log.events()
    }

    pub fn dispatcher(&self) -> &Dispatcher {
        &self.dispatcher
    }

    pub fn projections(&self) -> &Projections {
        &self.projections
    }

    /// Why the log takes no appends now, if it does not.
    pub fn log_stopped(&self) -> Option<String> {
        self.log.stopped()
    }

    /// Circuit breakers by the name of what they guard.
    pub fn circuits(&self) -> Vec<(&'static str, CircuitStatus)> {
        let log = self.log.circuit().map(|status| ("event_log", status));
        let search = self.search.as_ref().map(|breaker| ("search", breaker.status()));
        let relay = self.relay.get().map(|relay| ("relay", relay.circuit()));
        let read_models = self.read_models.circuit().map(|status| ("read_models", status));
        log.into_iter().chain(read_models).chain(search).chain(relay).collect()
    }

    /// Begins to publish every event, if the configuration names a server. For processes that serve: an operator's command
    /// does not publish.
    pub fn begin_relay(&self, config: &Config) -> anyhow::Result<()> {
        let Some(settings) = &config.relay else { return Ok(()) };
        let leadership = self
            .log
            .lease_store()
            .map(|store| Leadership::compete(store, LeaseOptions::new("relay", holder())));
        let relay = relay::Relaying::begin(settings, Arc::clone(self.log()), leadership)?;
        anyhow::ensure!(self.relay.set(relay).is_ok(), "the relay has begun already");
        Ok(())
    }

    /// How far the relay is, if this gateway does it.
    pub fn relay_status(&self) -> Option<ProjectionStatus> {
        self.relay.get()?.status()
    }

    /// Whether this gateway holds each lease that gateways compete for; empty where they don't.
    pub fn leases(&self) -> Vec<(&'static str, bool)> {
        let held = |(name, leadership): &(&'static str, Leadership)| (*name, leadership.token().is_some());
        let leases: Vec<_> = self.leaderships.lock().iter().map(held).collect();
        let relay = self.relay.get().and_then(relay::Relaying::leads).map(|leads| ("relay", leads));
        leases.into_iter().chain(relay).collect()
    }

    /// The time by the one clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The state of every projection.
    pub fn projection_statuses(&self) -> Vec<ProjectionStatus> {
        self.projections.status()
    }

    /// Waits until every projection has what the log holds now, but for those that an operator has paused. `progress` gets positions done and in all.
    pub async fn wait_until_current(&self, mut progress: impl FnMut(u64, u64)) -> anyhow::Result<()> {
        let head = self.log.head().await?.position;
        for name in self.projections.names() {
            let live = self.projections.live(name)?;
            let mut checkpoint = live.handle.watch_checkpoint();
            let mut state = live.handle.watch_state();
            let done = live.handle.wait_for(head, PROJECTING);
            tokio::pin!(done);
            loop {
                tokio::select! {
                    biased;
                    result = &mut done => {
                        result?;
                        break;
                    }
                    // It would be waited for until somebody else resumes it.
                    _ = state.wait_for(|state| *state == RunnerState::Paused), if live.handle.is_held() => {
                        tracing::warn!(projection = name, "is paused, and stays where it is");
                        break;
                    }
                    _ = checkpoint.changed() => {
                        checkpoint.borrow_and_update();
                        let slowest = self.projections.status().iter().map(|status| status.checkpoint).min();
                        progress(slowest.unwrap_or(head), head);
                    }
                }
            }
        }
        Ok(())
    }

    /// Carries out what was accepted, commits what was read, closes the log. Nothing is lost.
    pub async fn close(&self) {
        self.dispatcher.shutdown().await;
        // Another gateway takes the deadlines over at once, and what else one does for all.
        let leaderships = std::mem::take(&mut *self.leaderships.lock());
        for (_, leadership) in leaderships {
            leadership.resign().await;
        }
        if let Some(relay) = self.relay.get() {
            relay.stop().await;
        }
        self.projections.stop().await;
        self.log.close().await;
    }
}

/// Who competes for a lease.
pub(crate) struct Candidacy {
    pub(crate) store: Arc<dyn LeaseStore>,
    pub(crate) leads: watch::Receiver<bool>,
    pub(crate) token: watch::Receiver<Option<LeaseToken>>,
}

/// A name that no other process has, nor this one after a restart.
fn holder() -> String {
    // For people who look into the table; the number alone makes it unique.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let start = RandomState::new().hash_one(std::process::id());
    format!("{}-{}-{start:016x}", host.trim(), std::process::id())
}
