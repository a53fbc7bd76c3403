//! The process manager that carries changes of master data to the variants that use it: display name, colour, rank, deprecation.
//!
//! It follows the log, and for every value that changed gives each variant that uses it the command `refresh-attribute`, which
//! writes an event only where the variant says something else. So it may stop anywhere and go on, or start over from the
//! beginning of the log, and ends in the same state. Orders hold copies of their own and are never touched.
//!
//! Where several gateways are on one log and can settle who leads, one of them does it, and whoever leads after it goes on from its
//! last note. Where they can't, each does it: what one has done leaves the others nothing to write.
//!
//! Which variants use a value is asked of a read model through [`Users`], waited for until it has the change: every variant that was
//! created before the change is in it then, and one that is created later copies the changed value anyway.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use daybook_eventlog::{EventLog, Filter, Position, RecordedEvent};
use daybook_schemas::variant::MasterKind;
use daybook_schemas::{ValueId, VariantId};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::dispatcher::Dispatcher;
use crate::error::{CommandError, ErrorKind};
use crate::request::{Principal, Request};

/// Events a page of the log, and their bytes.
const PAGE_EVENTS: usize = 1_000;
const PAGE_BYTES: usize = 4 << 20;
/// Positions after which the place in the log is noted even if nothing changed.
const WORTH_NOTING: Position = 100_000;
/// The pause after an error; what was to be done is done then.
const PAUSE: Duration = Duration::from_secs(1);

/// Which variants use a value of the master data.
pub trait Users: Send + Sync {
    /// Variants that use the value, in the order of their ids, after `after`, at most `limit`; as of a position not before
    /// `position`.
    fn page<'a>(
        &'a self,
        kind: MasterKind,
        value_id: &'a ValueId,
        after: Option<&'a str>,
        limit: usize,
        position: Position,
    ) -> BoxFuture<'a, Result<Vec<VariantId>, String>>;
}

/// Where it is noted how far the work is, for the next start or the next leader.
pub trait Notes: Send + Sync {
    /// The last note.
    fn read(&self) -> BoxFuture<'_, Result<Option<Vec<u8>>, String>>;

    /// Replaces the note, whole or not at all. An error too if another leads by now.
    fn write(&self, note: Vec<u8>) -> BoxFuture<'_, Result<(), String>>;
}

/// A note in a file, of which a process is the only writer.
pub struct FileNotes(pub PathBuf);

impl Notes for FileNotes {
    fn read(&self) -> BoxFuture<'_, Result<Option<Vec<u8>>, String>> {
        // One that can't be read is as good as none.
        async { Ok(std::fs::read(&self.0).ok()) }.boxed()
    }

    fn write(&self, note: Vec<u8>) -> BoxFuture<'_, Result<(), String>> {
        let path = self.0.clone();
        let write = move || {
            let beside = path.with_extension("new");
            std::fs::write(&beside, note).and_then(|()| std::fs::rename(&beside, &path))
        };
        async move {
            let written = tokio::task::spawn_blocking(write).await.map_err(|error| error.to_string())?;
            written.map_err(|error| format!("the checkpoint could not be written: {error}"))
        }
        .boxed()
    }
}

/// How it works.
#[derive(Clone)]
pub struct SpreadOptions {
    /// Without it, every start begins with the first event of the log.
    pub notes: Option<Arc<dyn Notes>>,
    /// Whether it is this process that does it; `None`: always.
    pub leader: Option<watch::Receiver<bool>>,
    /// Variants under way at once.
    pub batch: usize,
    /// Variants a second at most, so that others are not held up.
    pub rate: u32,
}

impl Default for SpreadOptions {
    fn default() -> Self {
        Self { notes: None, leader: None, batch: 128, rate: 2_000 }
    }
}

/// A value that changed, and how far its variants know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pending {
    kind: MasterKind,
    value_id: ValueId,
    /// The position of the change.
    position: Position,
    /// The last variant that knows.
    after: Option<VariantId>,
}

/// How far it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    /// The log is read up to here.
    position: Position,
    pending: Vec<Pending>,
}

/// The process manager.
pub struct Spread {
    log: Arc<dyn EventLog>,
    dispatcher: Dispatcher,
    users: Arc<dyn Users>,
    options: SpreadOptions,
    filter: Filter,
    /// `None` until the last note was read, again after every time that another may have led.
    progress: Option<Progress>,
    /// The position that the last note has.
    noted: Position,
}

impl Spread {
    /// To go on where it was stopped.
    #[must_use]
    pub fn new(
        log: Arc<dyn EventLog>,
        dispatcher: Dispatcher,
        users: Arc<dyn Users>,
        options: SpreadOptions,
    ) -> Self {
        let types = ["size", "color", "attribute_value"]
            .iter()
            .flat_map(|kind| {
                ["changed", "deprecated", "reinstated", "archived"].map(|event| format!("{kind}.{event}"))
            })
            .collect();
        let filter = Filter { types, stream_prefixes: Vec::new() };
        Self { log, dispatcher, users, options, filter, noted: 0, progress: None }
    }

    /// Works until `stop` turns true.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut head = self.log.watch_head();
        // Who has nobody to compete with leads for good.
        let (_alone, always) = watch::channel(true);
        let mut leader = self.options.leader.take().unwrap_or(always);
        while !*stop.borrow_and_update() {
            if !*leader.borrow_and_update() {
                self.progress = None;
                tokio::select! {
                    changed = stop.changed() => if changed.is_err() { return },
                    changed = leader.changed() => if changed.is_err() { return },
                }
                continue;
            }
            head.borrow_and_update();
            let wait = match self.turn().await {
                Ok(true) => continue,
                Ok(false) => None,
                Err(reason) => {
                    tracing::warn!(reason, "a change of master data could not be carried on; trying again");
                    Some(PAUSE)
                }
            };
            tokio::select! {
                changed = stop.changed() => if changed.is_err() { return },
                changed = leader.changed() => if changed.is_err() { return },
                changed = head.changed(), if wait.is_none() => if changed.is_err() { return },
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            }
        }
    }

    /// One page of the log, or one batch of variants. Gives whether there is more to do. What fails is done again.
    async fn turn(&mut self) -> Result<bool, String> {
        let before = match &self.progress {
            Some(progress) => progress.clone(),
            None => self.recall().await?,
        };
        let mut now = before.clone();
        let page = self
            .log
            .read_all(before.position, &self.filter, PAGE_EVENTS, PAGE_BYTES)
            .await
            .map_err(|error| error.to_string())?;
        page.events.iter().for_each(|event| now.note(event));
        now.position = page.scanned_to;
        if page.at_head && !now.pending.is_empty() {
            self.carry(&mut now).await?;
        }
        // A position that moved a little is not worth a write: reading on from before costs nothing but time.
        if now.pending != before.pending || now.position >= self.noted + WORTH_NOTING {
            self.save(&now).await?;
            self.noted = now.position;
        }
        let more = !page.at_head || !now.pending.is_empty();
        self.progress = Some(now);
        Ok(more)
    }

    /// What was noted last. What can't be understood is as good as nothing.
    async fn recall(&mut self) -> Result<Progress, String> {
        let note = match &self.options.notes {
            Some(notes) => notes.read().await?,
            None => None,
        };
        let progress: Progress = note.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        self.noted = progress.position;
        Ok(progress)
    }

    async fn save(&self, progress: &Progress) -> Result<(), String> {
        let Some(notes) = &self.options.notes else { return Ok(()) };
        notes.write(serde_json::to_vec(progress).expect("plain data serializes")).await
    }

    /// Tells the next variants of the first value.
    async fn carry(&self, progress: &mut Progress) -> Result<(), String> {
        let began = Instant::now();
        let first = progress.pending[0].clone();
        let after = first.after.as_ref().map(VariantId::as_str);
        let variants =
            self.users.page(first.kind, &first.value_id, after, self.options.batch, first.position).await?;
        let Some(last) = variants.last().cloned() else {
            progress.pending.remove(0);
            return Ok(());
        };
        let answers = variants.iter().map(|variant| self.refresh(variant, &first.value_id));
        for answer in join_all(answers).await {
            answer?;
        }
        progress.pending[0].after = Some(last);
        let fair = Duration::from_secs(1) * u32::try_from(variants.len()).unwrap_or(u32::MAX)
            / self.options.rate.max(1);
        tokio::time::sleep_until(began + fair).await;
        Ok(())
    }

    async fn refresh(&self, variant: &VariantId, value_id: &ValueId) -> Result<(), String> {
        let body = serde_json::json!({ "value_id": value_id }).to_string();
        let request = Request::new(
            "variant",
            variant.as_str(),
            "refresh-attribute",
            Bytes::from(body),
            Principal::system(),
        );
        match self.dispatcher.dispatch(request).await {
            Ok(_) => Ok(()),
            // An archived variant stays as it was.
            Err(CommandError::Refused(_)) => Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::Unknown) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Progress {
    fn note(&mut self, event: &RecordedEvent) {
        let Some((kind, id)) = event.stream().split_once('-') else { return };
        let kind = match kind {
            "size" => MasterKind::Size,
            "color" => MasterKind::Color,
            "attribute_value" => MasterKind::AttributeValue,
            _ => return,
        };
        let Ok(value_id) = ValueId::new(id) else { return };
        // Another change of a value that is under way: its variants have to know that one too.
        self.pending.retain(|other| other.kind != kind || other.value_id != value_id);
        self.pending.push(Pending { kind, value_id, position: event.position, after: None });
    }
}
