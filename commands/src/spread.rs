//! The process manager that carries changes of master data to the variants that use it: display name, colour, rank, deprecation.
//!
//! It follows the log, and for every value that changed gives each variant that uses it the command `refresh-attribute`, which
//! writes an event only where the variant says something else. So it may stop anywhere and go on, or start over from the
//! beginning of the log, and ends in the same state. Orders hold copies of their own and are never touched.
//!
//! Where several gateways are on one log and can settle who leads, one of them does it, and whoever leads after it goes on from its
//! last note. Where they can't, each does it: what one has done leaves the others nothing to write.
//!
//! A variant that can't be told for good is named in the server's own log and does not hold up the others; a value that fails for now
//! goes behind the others.
//!
//! Which variants use a value is asked of a read model through [`Users`], waited for until it has the change: every variant that was
//! created before the change is in it then, and one that is created later copies the changed value anyway.

mod note;
mod queue;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use daybook_eventlog::{EventLog, Filter, Position, RecordedEvent};
use daybook_schemas::variant::MasterKind;
use daybook_schemas::{ValueId, VariantId};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use tokio::sync::watch;
use tokio::time::Instant;

use self::note::Note;
use self::queue::{Pending, Queue};
use crate::dispatcher::Dispatcher;
use crate::error::{CommandError, ErrorKind};
use crate::request::{Principal, Request};

/// Events a page of the log, and their bytes.
const PAGE_EVENTS: usize = 1_000;
const PAGE_BYTES: usize = 4 << 20;
/// Least time between two notes.
const BETWEEN_NOTES: Duration = Duration::from_secs(1);
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

/// How far it is.
#[derive(Default)]
struct Progress {
    /// The log is read up to here.
    position: Position,
    queue: Queue,
    /// Whether the last note says less.
    dirty: bool,
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
    /// The position that the last note has, and when it was written.
    noted: Position,
    noted_at: Instant,
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
        Self { log, dispatcher, users, options, filter, noted: 0, noted_at: Instant::now(), progress: None }
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
            let (wait, news) = match self.turn().await {
                Ok(true) => continue,
                Ok(false) => (self.until_note(), true),
                Err(reason) => {
                    tracing::warn!(reason, "a change of master data could not be carried on; trying again");
                    (Some(PAUSE), false)
                }
            };
            tokio::select! {
                changed = stop.changed() => if changed.is_err() { return },
                changed = leader.changed() => if changed.is_err() { return },
                changed = head.changed(), if news => if changed.is_err() { return },
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            }
        }
    }

    /// One page of the log, or one batch of variants. Gives whether there is more to do. What fails is done again.
    async fn turn(&mut self) -> Result<bool, String> {
        let mut progress = match self.progress.take() {
            Some(progress) => progress,
            None => self.recall().await?,
        };
        let done = self.advance(&mut progress).await;
        self.progress = Some(progress);
        if self.until_note().is_some_and(|wait| wait.is_zero()) {
            self.save().await?;
        }
        done
    }

    async fn advance(&self, progress: &mut Progress) -> Result<bool, String> {
        let page = self
            .log
            .read_tail(progress.position, &self.filter, PAGE_EVENTS, PAGE_BYTES)
            .await
            .map_err(|error| error.to_string())?;
        page.events.iter().for_each(|event| progress.hear(event));
        progress.position = page.scanned_to;
        // A position that moved a little is not worth a write: reading on from before costs nothing but time.
        progress.dirty |= progress.position >= self.noted + WORTH_NOTING;
        if page.at_head {
            self.carry(progress).await?;
        }
        Ok(!page.at_head || !progress.queue.is_empty())
    }

    /// What was noted last. What can't be understood is as good as nothing.
    async fn recall(&mut self) -> Result<Progress, String> {
        let text = match &self.options.notes {
            Some(notes) => notes.read().await?,
            None => None,
        };
        let note = match text {
            Some(text) => Note::parse(&text, self.log.as_ref()).await.map_err(|error| error.to_string())?,
            None => None,
        };
        let mut progress = Progress::default();
        if let Some(note) = note {
            progress.position = note.position;
            note.pending.into_iter().for_each(|pending| progress.queue.put(pending));
        }
        self.noted = progress.position;
        Ok(progress)
    }

    /// How long until a note is due; `None`: the last one says it all.
    fn until_note(&self) -> Option<Duration> {
        let dirty = self.progress.as_ref().is_some_and(|progress| progress.dirty);
        let due = self.noted_at + BETWEEN_NOTES;
        dirty.then(|| due.saturating_duration_since(Instant::now()))
    }

    async fn save(&mut self) -> Result<(), String> {
        let Some(progress) = &mut self.progress else { return Ok(()) };
        if let Some(notes) = &self.options.notes {
            let note = Note::new(self.log.as_ref(), progress.position, &progress.queue).await;
            if let Some(note) = note.map_err(|error| error.to_string())? {
                notes.write(serde_json::to_vec(&note).expect("plain data serializes")).await?;
            }
        }
        progress.dirty = false;
        (self.noted, self.noted_at) = (progress.position, Instant::now());
        Ok(())
    }

    /// Tells the next variants of the first value.
    async fn carry(&self, progress: &mut Progress) -> Result<(), String> {
        let Some(first) = progress.queue.first().cloned() else { return Ok(()) };
        let told = self.tell(&first).await;
        match &told {
            Ok(Some(last)) => progress.queue.advance(last.clone()),
            Ok(None) => progress.queue.finish(),
            Err(_) => progress.queue.rotate(),
        }
        progress.dirty = true;
        told.map(|_| ())
    }

    /// Gives the last variant that was told; `None`: all were.
    async fn tell(&self, first: &Pending) -> Result<Option<VariantId>, String> {
        let began = Instant::now();
        let after = first.after.as_ref().map(VariantId::as_str);
        let variants =
            self.users.page(first.kind, &first.value_id, after, self.options.batch, first.position).await?;
        let answers = variants.iter().map(|variant| self.refresh(variant, &first.value_id));
        for answer in join_all(answers).await {
            answer?;
        }
        let fair = Duration::from_secs(1) * u32::try_from(variants.len()).unwrap_or(u32::MAX)
            / self.options.rate.max(1);
        tokio::time::sleep_until(began + fair).await;
        Ok(variants.into_iter().next_back())
    }

    /// Only what another try may mend is an error.
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
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Conflict) => {
                Err(error.to_string())
            }
            Err(error) => {
                tracing::error!(%variant, value = %value_id, code = error.code(), %error, "a variant can't be told of a change of master data");
                Ok(())
            }
        }
    }
}

impl Progress {
    fn hear(&mut self, event: &RecordedEvent) {
        let Some((kind, id)) = event.stream().split_once('-') else { return };
        let kind = match kind {
            "size" => MasterKind::Size,
            "color" => MasterKind::Color,
            "attribute_value" => MasterKind::AttributeValue,
            _ => return,
        };
        let Ok(value_id) = ValueId::new(id) else { return };
        self.queue.put(Pending { kind, value_id, position: event.position, after: None });
        self.dirty = true;
    }
}
