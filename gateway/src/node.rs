//! The composition root: the only place that names concrete backends.
//!
//! ```text
//! DATA/log/                 segment log
//! DATA/projections/         one store a projection and generation, projections.json
//! DATA/snapshots/           states of long streams, disposable
//! DATA/spread.checkpoint    how far changes of master data are carried to variants, disposable
//! DATA/deadlines.checkpoint what the dispatcher knows of deadlines, disposable
//! ```

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use daybook_commands::clock::{Clock, SystemClock};
use daybook_commands::{Dispatcher, Options};
use daybook_eventlog::segment::Transfer;
use daybook_eventlog::{EventLog, FileSnapshots, Position, SegmentLog, SegmentOptions};
use daybook_projections::generations::{Projections, Registry};
use daybook_projections::runner::ProjectionStatus;
use daybook_projections::search::{SearchKind, SearchOptions};
use daybook_projections::standard;
use daybook_schemas::Timestamp;
use tokio::runtime::Handle;

use crate::config::Config;

/// How long the projections may take to reach the head before an import gives up waiting.
const PROJECTING: Duration = Duration::from_secs(24 * 3_600);

/// Everything of one process: log, dispatcher, projections.
pub struct Node {
    log: Arc<dyn EventLog>,
    segments: Arc<SegmentLog>,
    dispatcher: Dispatcher,
    projections: Projections,
    clock: Arc<dyn Clock>,
}

impl Node {
    /// Opens or makes the data folder and starts everything on it.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        check_folder(&config.data)?;
        let segments = open_segments(&config.data)?;
        let log: Arc<dyn EventLog> = Arc::<SegmentLog>::clone(&segments);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let options = Options {
            max_outstanding: config.limits.queued_commands,
            cache_bytes: config.memory.state_cache_mib << 20,
            checkpoint: Some(config.data.join("deadlines.checkpoint")),
            snapshots: Some(Arc::new(
                FileSnapshots::open(config.data.join("snapshots")).context("the folder of snapshots")?,
            )),
            ..Options::default()
        };
        let dispatcher = Dispatcher::start(Arc::clone(&log), options, Arc::clone(&clock))
            .await
            .context("the dispatcher did not start; `daybook verify` says what is wrong with the log")?;
        let projections = Projections::open(
            &config.data.join("projections"),
            &registry(config),
            Arc::clone(&log),
            Handle::current(),
        )
        .context("the read models could not be opened")?;
        Ok(Self { log, segments, dispatcher, projections, clock })
    }

    /// Opens the log alone, of a folder that has one.
    pub fn open_log(config: &Config) -> anyhow::Result<Arc<SegmentLog>> {
        check_folder(&config.data)?;
        if !config.data.join("log").is_dir() {
            bail!(
                "there is no Daybook data in {}; name the folder with --data, or make one with `daybook serve` or `daybook import`",
                config.data.display()
            );
        }
        open_segments(&config.data)
    }

    /// Brings in an exported copy: a whole one into a folder without a log, or one that continues the folder's log. Blocks.
    pub fn import_log(config: &Config, input: &mut dyn Read) -> anyhow::Result<Transfer> {
        check_folder(&config.data)?;
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

    /// Writes a consistent copy of the log while it runs. Blocks.
    pub fn export_log(&self, out: &mut dyn Write, after: Position) -> anyhow::Result<Transfer> {
        Ok(self.segments.export(out, after)?)
    }

    pub fn log(&self) -> &Arc<dyn EventLog> {
        &self.log
    }

    pub fn dispatcher(&self) -> &Dispatcher {
        &self.dispatcher
    }

    pub fn projections(&self) -> &Projections {
        &self.projections
    }

    /// Why the log takes no more appends, if it does not.
    pub fn log_stopped(&self) -> Option<String> {
        self.segments.stopped().map(|error| error.to_string())
    }

    /// The time by the one clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The state of every projection.
    pub fn projection_statuses(&self) -> Vec<ProjectionStatus> {
        self.projections.status()
    }

    /// Waits until every projection has what the log holds now. `progress` gets positions done and in all.
    pub async fn wait_until_current(&self, mut progress: impl FnMut(u64, u64)) -> anyhow::Result<()> {
        let head = self.log.head().await?.position;
        for name in self.projections.names() {
            let live = self.projections.live(name)?;
            let mut checkpoint = live.handle.watch_checkpoint();
            let done = live.handle.wait_for(head, PROJECTING);
            tokio::pin!(done);
            loop {
                tokio::select! {
                    result = &mut done => {
                        result?;
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
        self.projections.stop().await;
        self.log.close().await;
    }
}

/// Refuses a folder that holds something else.
fn check_folder(data: &Path) -> anyhow::Result<()> {
    let entries = match std::fs::read_dir(data) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("data folder {}", data.display())),
    };
    let names: Vec<_> =
        entries.collect::<Result<Vec<_>, _>>()?.into_iter().map(|entry| entry.file_name()).collect();
    if names.is_empty() || names.iter().any(|name| name == "log") {
        return Ok(());
    }
    bail!(
        "{} is no Daybook data folder: it holds other files ({}); name an empty or a new folder with --data",
        data.display(),
        names.iter().take(3).map(|name| name.to_string_lossy()).collect::<Vec<_>>().join(", ")
    )
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

fn registry(config: &Config) -> Registry {
    let heap = config.memory.search_writer_mib << 20;
    standard::registry()
        .with(SearchKind::new(SearchOptions { writer_heap_bytes: heap, ..SearchOptions::default() }))
}
