//! The event log that the configuration chose, with what only some backends can do.

use std::fmt;
use std::io::{Read, Write};
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use daybook_eventlog::segment::{self, OpenError, Transfer};
use daybook_eventlog::{
    CircuitStatus, EventLog, GuardedLog, LeaseStore, Position, ReadError, SegmentLog, SegmentOptions,
};
use daybook_replay::verify;

use super::folder;
use crate::config::{Config, LogBackend};
use crate::usage::Usage;

/// An open event log.
pub struct Log {
    events: Arc<dyn EventLog>,
    files: Option<Arc<SegmentLog>>,
    remote: Option<Remote>,
}

/// What is known of a log on a server.
struct Remote {
    guard: Arc<GuardedLog>,
    /// Why the writer does not reach the server now, if it does not.
    trouble: Box<dyn Fn() -> Option<String> + Send + Sync>,
    leases: Option<Arc<dyn LeaseStore>>,
}

/// What a log in the data folder is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// To write. It is made if it is not there.
    Make,
    /// To read. It must be there (an operator who names a wrong folder does not want an empty log), and stays as it is, byte by byte.
    Read,
}

impl Log {
    /// Opens the log. Events go through a circuit breaker where it lies on a server.
    pub async fn open(config: &Config, opening: Opening) -> anyhow::Result<Self> {
        match config.log.backend {
            LogBackend::Segment => {
                folder::check(&config.data)?;
                let files = match opening {
                    Opening::Make => open_segments(&config.data)?,
                    Opening::Read => {
                        folder::check_exists(config)?;
                        let folder = config.data.join("log");
                        Arc::new(SegmentLog::open_to_read(folder, SegmentOptions::default())?)
                    }
                };
                Ok(Self { events: Arc::<SegmentLog>::clone(&files), files: Some(files), remote: None })
            }
            LogBackend::Postgres => open_postgres(config).await,
            LogBackend::Kurrent => open_kurrent(config).await,
        }
    }

    #[must_use]
    pub fn events(&self) -> &Arc<dyn EventLog> {
        &self.events
    }

    /// Why the log takes no appends now, if it does not.
    #[must_use]
    pub fn stopped(&self) -> Option<String> {
        if let Some(files) = &self.files {
            return files.stopped().map(|error| error.to_string());
        }
        let remote = self.remote.as_ref()?;
        remote.guard.status().reason.or_else(|| (remote.trouble)())
    }

    /// The circuit breaker before the server, where there is one.
    #[must_use]
    pub fn circuit(&self) -> Option<CircuitStatus> {
        self.remote.as_ref().map(|remote| remote.guard.status())
    }

    /// Where several gateways on this log settle who leads. `None`: nowhere.
    #[must_use]
    pub fn lease_store(&self) -> Option<Arc<dyn LeaseStore>> {
        self.remote.as_ref()?.leases.clone()
    }

    /// Writes a consistent copy of the log while it runs. Blocks.
    pub fn export(&self, out: &mut dyn Write, after: Position) -> anyhow::Result<Transfer> {
        let files = self.files.as_ref().ok_or(NoCopy)?;
        Ok(files.export(out, after)?)
    }

    /// Where stored bytes are not what was written, if that is why the log could not be opened.
    #[must_use]
    pub fn damage(error: &anyhow::Error) -> Option<verify::Failure> {
        let OpenError::Damaged { file, offset, position, detail } = error.downcast_ref::<OpenError>()? else {
            return None;
        };
        Some(verify::Failure {
            position: *position,
            stream: String::new(),
            revision: 0,
            code: "damaged".to_owned(),
            detail: format!("{detail} ({file} at byte {offset})"),
        })
    }

    /// What a crash left half written at the end of the files.
    #[must_use]
    pub fn torn_tail(&self) -> Option<verify::TornTail> {
        let cut = self.files.as_ref()?.open_report().cut.clone()?;
        let segment::Cut { file, offset, bytes, position } = cut;
        Some(verify::TornTail { position, file, offset, bytes })
    }

    /// What the backend's own files say that its events don't. Blocks.
    pub fn verify_files(&self) -> Result<Vec<verify::Failure>, ReadError> {
        let mut found = Vec::new();
        let Some(files) = &self.files else { return Ok(found) };
        files.verify(|finding| {
            found.push(verify::Failure {
                position: finding.position,
                stream: finding.stream.unwrap_or_default(),
                revision: finding.revision.unwrap_or_default(),
                code: finding.code.to_owned(),
                detail: finding.detail,
            });
        })?;
        Ok(found)
    }
}

impl Deref for Log {
    type Target = dyn EventLog;
    fn deref(&self) -> &Self::Target {
        &*self.events
    }
}

/// The log lies on a server, where nothing of ours can be copied.
#[derive(Debug)]
pub struct NoCopy;

impl fmt::Display for NoCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "log export and import copy segment files; a log on a server is backed up with the server's own tools (pg_dump, for instance)",
        )
    }
}

impl std::error::Error for NoCopy {}

/// Brings in an exported copy: a whole one into a folder without a log, or one that continues the folder's log. Blocks.
pub fn import(config: &Config, input: &mut dyn Read) -> anyhow::Result<Transfer> {
    if config.log.backend != LogBackend::Segment {
        return Err(Usage::of(NoCopy));
    }
    folder::check(&config.data)?;
    let folder = config.data.join("log");
    if folder.is_dir() {
        return Ok(open_segments(&config.data)?.import(input)?);
    }
    std::fs::create_dir_all(&config.data)
        .with_context(|| format!("data folder {}", config.data.display()))?;
    let log = SegmentLog::restore(&folder, SegmentOptions::default(), input)?;
    let events = log.head_position();
    Ok(Transfer { first: 1, last: events, events })
}

fn open_segments(data: &Path) -> anyhow::Result<Arc<SegmentLog>> {
    std::fs::create_dir_all(data).with_context(|| format!("data folder {}", data.display()))?;
    let log = SegmentLog::open(data.join("log"), SegmentOptions::default())?;
    if let Some(cut) = &log.open_report().cut {
        tracing::warn!(
            file = cut.file,
            offset = cut.offset,
            bytes = cut.bytes,
            "cut a torn tail that was never acknowledged"
        );
    }
    Ok(Arc::new(log))
}

/// What errors of connecting are about.
#[cfg(any(feature = "postgres", feature = "kurrent"))]
fn about(config: &Config) -> String {
    let url = config.log.url.as_ref().map(ToString::to_string).unwrap_or_default();
    format!("the event log (log.backend = {:?}, log.url = {url:?})", config.log.backend.name())
}

#[cfg(any(feature = "postgres", feature = "kurrent"))]
fn url(config: &Config) -> anyhow::Result<String> {
    let url = config.log.server_url().context("log.url is not set")?;
    Ok(url.expose().to_owned())
}

#[cfg(any(feature = "postgres", feature = "kurrent"))]
fn guard(config: &Config, inner: Arc<dyn EventLog>) -> Arc<GuardedLog> {
    // A server that is only slow must not be left alone: it gets the patience that calls have, and half as much again.
    let options = daybook_eventlog::GuardOptions {
        probe_timeout: config.log.request_timeout / 2,
        ..Default::default()
    };
    Arc::new(GuardedLog::new(inner, options))
}

#[cfg(feature = "postgres")]
async fn open_postgres(config: &Config) -> anyhow::Result<Log> {
    use daybook_eventlog::postgres::{PostgresLog, PostgresOptions, Status};
    let log = &config.log;
    let options = PostgresOptions {
        schema: log.schema.clone(),
        read_connections: log.pool,
        connect_timeout: log.connect_timeout,
        statement_timeout: log.request_timeout,
        append_timeout: log.append_timeout,
        ..PostgresOptions::new(url(config)?)
    };
    let postgres = PostgresLog::connect(options).await.with_context(|| about(config))?;
    let status = postgres.watch_status();
    let guard = guard(config, Arc::new(postgres.clone()));
    let trouble = Box::new(move || match &*status.borrow() {
        Status::Up => None,
        Status::Down(reason) => Some(reason.clone()),
    });
    let events: Arc<dyn EventLog> = Arc::<GuardedLog>::clone(&guard);
    Ok(Log { events, files: None, remote: Some(Remote { guard, trouble, leases: Some(Arc::new(postgres)) }) })
}

#[cfg(not(feature = "postgres"))]
async fn open_postgres(_: &Config) -> anyhow::Result<Log> {
    anyhow::bail!(
        "log.backend is \"postgres\", which this build leaves out: build it with the feature postgres"
    )
}

#[cfg(feature = "kurrent")]
async fn open_kurrent(config: &Config) -> anyhow::Result<Log> {
    use daybook_eventlog::kurrent::{KurrentLog, KurrentOptions};
    let options = KurrentOptions {
        request_timeout: config.log.request_timeout,
        append_timeout: config.log.append_timeout,
        ..KurrentOptions::new(url(config)?)
    };
    let log = KurrentLog::connect(options).await.with_context(|| about(config))?;
    let guard = guard(config, Arc::new(log));
    let events: Arc<dyn EventLog> = Arc::<GuardedLog>::clone(&guard);
    let remote = Remote { guard, trouble: Box::new(|| None), leases: None };
    Ok(Log { events, files: None, remote: Some(remote) })
}

#[cfg(not(feature = "kurrent"))]
async fn open_kurrent(_: &Config) -> anyhow::Result<Log> {
    anyhow::bail!(
        "log.backend is \"kurrent\", which this build leaves out: build it with the feature kurrent"
    )
}
