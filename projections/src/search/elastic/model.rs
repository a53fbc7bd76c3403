//! The writer: events wait, and at a commit the rows they touch are read, folded and written, all or nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use daybook_eventlog::{Position, RecordedEvent};
use daybook_schemas::VariantId;
use serde_json::json;

use super::super::NAME;
use super::super::document::Said;
use super::super::index::{handles, id_of};
use super::super::query::{Engine, SearchReader};
use super::super::schema::{COUNTERS, DOCUMENTS, key};
use super::ElasticOptions;
use super::bulk::{self, Refused};
use super::claim::Lease;
use super::control::{self, Batch, EventRef, ReadError, Row, State, WriteError, Written, changed_letters};
use super::fold::{Change, Folded, Touch, fold};
use super::query::Searches;
use super::rows::Rows;
use super::server::{Method, Request, Server};
use crate::model::{
    Claim, DeadLetter, LetterChange, ProjectError, Projected, ReadModel, RowAccess, RowKey, StoreError,
};

/// Rows read in one request.
const READ_ROWS: usize = 1_000;
/// How often it is tried to open a view between two commits of another process, and the pause that grows with the tries.
const SNAPSHOT_TRIES: u32 = 60;
const SNAPSHOT_PAUSE: Duration = Duration::from_millis(5);
/// Bytes that a waiting event is counted as beside its own.
const TOUCH_OVERHEAD_BYTES: usize = 400;

/// The search read model on Elasticsearch: one index for a generation.
pub struct ElasticModel {
    pub(super) server: Server,
    pub(super) alias: Arc<str>,
    pub(super) options: ElasticOptions,
    pub(super) generation: u64,
    /// As last read or written; without its batch where another process writes.
    pub(super) state: State,
    /// The last write of the control document. `None`: not known, or another process's; read it before anything else.
    pub(super) written: Option<Written>,
    /// Where several processes share the index: whose turn it is to write.
    pub(super) lease: Option<Lease>,
    /// Whether the index is known to be of this build.
    pub(super) checked: bool,
    /// What searches see.
    shown: Arc<AtomicU64>,
    touches: BTreeMap<VariantId, Vec<Touch>>,
    pending_bytes: usize,
}

impl ElasticModel {
    /// Opens the index of a generation, or makes it. A server that does not answer is no reason to fail: the index is opened
    /// when it does.
    ///
    /// [`StoreError::Outdated`], [`StoreError::Damaged`]: the index is of another build, or not Daybook's.
    pub(super) fn open(server: Server, options: ElasticOptions, generation: u64) -> Result<Self, StoreError> {
        let alias = Arc::from(options.alias_of(generation));
        let lease = options.owner.is_shared().then(|| Lease::new(options.claim_time));
        let mut model = Self {
            server,
            alias,
            options,
            lease,
            checked: false,
            generation,
            state: State::default(),
            written: None,
            shown: Arc::new(AtomicU64::new(0)),
            touches: BTreeMap::new(),
            pending_bytes: 0,
        };
        let opened = match model.lease {
            Some(_) => model.follow(),
            None => model.attempt(Self::recover),
        };
        match opened {
            Ok(()) => {}
            Err(error) if error.is_retryable() => {
                tracing::warn!(%error, "the search index is opened when the server answers");
            }
            Err(error) => return Err(error),
        }
        Ok(model)
    }

    /// A handle for queries. It sees every commit from the moment `commit` returns.
    #[must_use]
    pub fn reader(&self) -> SearchReader {
        let searches: Arc<dyn Engine> = Arc::new(Searches {
            server: self.server.clone(),
            alias: Arc::clone(&self.alias),
            shown: Arc::clone(&self.shown),
            synonyms: self.options.synonyms.clone(),
        });
        SearchReader::new(searches)
    }

    /// Makes sure that what is in memory is what the index says. If that moved the checkpoint, an error tells the runner to
    /// read on from there.
    fn known(&mut self) -> Result<(), StoreError> {
        if self.written.is_some() {
            return Ok(());
        }
        if self.lease.is_some() {
            return Err(not_ours());
        }
        let before = self.state.checkpoint;
        let recovered = self.attempt(Self::recover);
        let now = self.state.checkpoint;
        if now != before {
            let how = if now < before { "went back" } else { "stands" };
            let said =
                format!("the search index {how} at position {now}, not {before}; reading on from there");
            if now < before {
                tracing::error!(
                    checkpoint = now,
                    before,
                    "the search index was lost or restored; filling it again"
                );
            }
            return Err(StoreError::Unavailable(said));
        }
        recovered
    }

    /// Runs a write; after a failure nothing is taken for known.
    pub(super) fn attempt<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let done = work(self);
        if done.is_err() {
            self.written = None;
        }
        done
    }

    pub(super) fn write_control(&mut self, mut state: State) -> Result<(), WriteError> {
        state.owner = self.options.owner.name().map(str::to_owned).or(state.owner);
        if self.lease.is_some() && state.owner.is_none() && (state.checkpoint > 0 || state.batch.is_some()) {
            let said = "which log the search index is of is not known yet".to_owned();
            return Err(WriteError::Store(StoreError::Unavailable(said)));
        }
        let renewed = Instant::now();
        let written = control::write(&self.server, &self.alias, &state, self.written)?;
        self.written = Some(written);
        self.state = state;
        if let Some(lease) = &mut self.lease {
            lease.renewed = renewed;
        }
        Ok(())
    }

    /// Writes the batch that is decided. Rows that the server refuses for good stay as they were, and their events are parked.
    pub(super) fn finish(&mut self) -> Result<(), StoreError> {
        let Some(batch) = self.state.batch.clone() else { return Ok(()) };
        // Earlier builds did not number their batches.
        let version = batch.version.max(batch.to);
        let (server, alias) = (self.server.clone(), Arc::clone(&self.alias));
        let refused = bulk::write(&server, &alias, &batch.rows, version, &mut || self.still_writing())?;
        let parked = parked(&batch.rows, &refused);
        let letters = changed_letters(&batch.letters, &parked);
        // Shown before it counts: whoever sees the checkpoint may search, in whichever process.
        self.refresh()?;
        self.write_control(State { checkpoint: batch.to, batch: None, letters, ..self.state.clone() })?;
        self.show();
        if let Some(LetterChange::Park(first)) = parked.first() {
            // The commit stands; the runner learns of the letters as of a store that has moved.
            return Err(StoreError::Unavailable(format!(
                "{} events were parked, the first at position {}: {}",
                parked.len(),
                first.position,
                first.reason
            )));
        }
        Ok(())
    }

    /// Shows what is written to searches.
    pub(super) fn refresh(&self) -> Result<(), StoreError> {
        self.server.call(Request::new(Method::Post, format!("{}/_refresh", self.alias)))?;
        Ok(())
    }

    /// Tells searches how far what they see is current.
    pub(super) fn show(&self) {
        self.shown.store(self.state.checkpoint, Ordering::Release);
    }

    /// The rows that the waiting events touch, before them.
    fn stored(&self, ids: &[&VariantId]) -> Result<BTreeMap<String, String>, StoreError> {
        let keys: Vec<String> =
            ids.iter().flat_map(|id| [DOCUMENTS, COUNTERS].map(|table| key(table, id.as_str()))).collect();
        let mut found = BTreeMap::new();
        for part in keys.chunks(READ_ROWS) {
            let request = Request::new(Method::Post, format!("{}/_mget", self.alias))
                .with("_source_includes", "row")
                .json(&json!({ "ids": part }));
            let answer = self.server.call(request)?;
            let docs = answer["docs"].as_array().filter(|docs| docs.len() == part.len());
            let docs = docs.ok_or_else(|| {
                StoreError::Unavailable("Elasticsearch did not answer for every row".to_owned())
            })?;
            for (key, doc) in part.iter().zip(docs) {
                if doc["error"].is_object() {
                    let said = doc["error"]["reason"].as_str().unwrap_or_default();
                    return Err(StoreError::Unavailable(format!("a search row is not to be had: {said}")));
                }
                if let Some(row) = doc["_source"]["row"].as_str() {
                    found.insert(key.clone(), row.to_owned());
                }
            }
        }
        Ok(found)
    }

    /// The rows after the waiting events.
    fn folded(&self) -> Result<(Vec<Row>, Vec<LetterChange>), StoreError> {
        let ids: Vec<&VariantId> = self.touches.keys().collect();
        let mut stored = self.stored(&ids)?;
        let (mut rows, mut letters) = (Vec::new(), Vec::new());
        for (id, touches) in &self.touches {
            let mut before = |table| stored.remove(&key(table, id.as_str()));
            let (document, counter) = (before(DOCUMENTS), before(COUNTERS));
            let Folded { document, counter, parked } =
                fold(id, document.as_deref(), counter.as_deref(), touches)?;
            letters.extend(parked.into_iter().map(LetterChange::Park));
            let mut push = |table: &str, row: Option<String>, events| {
                if let Some(row) = row {
                    let (table, key) = (table.to_owned(), id.to_string());
                    rows.push(Row { table, key, row: Some(row), events });
                }
            };
            let own = touches.iter().filter(|touch| !matches!(touch.change, Change::Sold(_)));
            push(DOCUMENTS, document, own.map(|touch| touch.event.clone()).collect());
            push(COUNTERS, counter, Vec::new());
        }
        Ok((rows, letters))
    }

    fn commit_known(&mut self, checkpoint: Position, changes: &[LetterChange]) -> Result<(), StoreError> {
        let (rows, own) = match self.folded() {
            // Events after rows that somebody else has taken further look as if some were missing.
            Err(error) if !error.is_retryable() && !self.is_unchanged()? => return Err(not_ours()),
            folded => folded?,
        };
        let letters = changed_letters(&changed_letters(&self.state.letters, changes), &own);
        let misfits = own.len();
        if rows.is_empty() {
            self.write_control(State { checkpoint, letters, ..self.state.clone() })?;
            self.show();
        } else {
            let version = self.state.next_version(checkpoint);
            self.decide(Batch { to: checkpoint, version, rows, letters })?;
        }
        self.rollback();
        if misfits > 0 {
            return Err(StoreError::Unavailable(format!("{misfits} events did not fit and were parked")));
        }
        Ok(())
    }

    /// Decides a batch, and writes it.
    fn decide(&mut self, batch: Batch) -> Result<(), StoreError> {
        let version = batch.version;
        self.write_control(State { batch: Some(batch), version, ..self.state.clone() })?;
        self.finish()
    }

    /// Whether nobody else has decided anything since this process read the rows.
    fn is_unchanged(&self) -> Result<bool, StoreError> {
        match control::look(&self.server, &self.alias) {
            Ok(seen) => Ok(Some(seen.written) == self.written),
            Err(ReadError::Missing) => Ok(false),
            Err(ReadError::Store(error)) => Err(error),
        }
    }

    fn touch(&mut self, id: VariantId, event: &RecordedEvent, change: Change) {
        let event = EventRef {
            position: event.position,
            stream: event.stream().to_owned(),
            revision: event.revision,
            event_type: event.event_type().to_owned(),
        };
        self.touches.entry(id).or_default().push(Touch { event, change });
    }
}

/// The letters for rows that were refused: the first event of each stream for its own sake, the others for standing behind it.
fn parked(rows: &[Row], refused: &[Refused]) -> Vec<LetterChange> {
    let mut streams: BTreeSet<&str> = BTreeSet::new();
    let mut letters = Vec::new();
    for Refused { at, reason } in refused {
        for event in &rows[*at].events {
            let blocked = !streams.insert(&event.stream);
            letters.push(LetterChange::Park(event.letter(reason.clone(), blocked)));
        }
    }
    letters
}

impl ReadModel for ElasticModel {
    fn checkpoint(&self) -> Position {
        self.state.checkpoint
    }

    fn claim(&mut self) -> Result<Claim, StoreError> {
        self.claim_shared(false)
    }

    fn claim_due(&self) -> Option<Instant> {
        self.renewal_due()
    }

    fn seize(&mut self) -> Result<Claim, StoreError> {
        self.seize_shared()
    }

    fn handles(&self, event_type: &str) -> bool {
        handles(event_type)
    }

    fn apply(&mut self, event: &Projected) -> Result<(), ProjectError> {
        self.known()?;
        let recorded = &event.recorded;
        self.pending_bytes += recorded.data().len() + TOUCH_OVERHEAD_BYTES;
        match Said::by(&event.event) {
            Said::Variant(inner) => {
                let id = id_of(recorded.stream(), "variant-")?;
                self.touch(id, recorded, Change::Variant(Box::new(inner.clone())));
            }
            Said::Inventory(inner) => {
                let id = id_of(recorded.stream(), "inventory-")?;
                self.touch(id, recorded, Change::Inventory(Box::new(inner.clone())));
            }
            Said::Placed(placed) => {
                for line in placed.lines.iter().filter(|line| line.stocked) {
                    let quantity = u64::from(line.quantity.get());
                    self.touch(line.variant_id.clone(), recorded, Change::Sold(quantity));
                }
            }
            Said::Nothing => {}
        }
        Ok(())
    }

    fn pass_over(&mut self, event: &RecordedEvent) -> Result<(), ProjectError> {
        let stream = event.stream();
        for prefix in ["variant-", "inventory-"] {
            if stream.starts_with(prefix) {
                let id = id_of(stream, prefix)?;
                self.touch(id, event, Change::PassedOver { variant: prefix == "variant-" });
            }
        }
        Ok(())
    }

    fn keeps_dead_letters(&self) -> bool {
        true
    }

    fn dead_letters(&self) -> Result<Vec<DeadLetter>, StoreError> {
        Ok(self.state.letters.clone())
    }

    fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    fn commit(&mut self, checkpoint: Position) -> Result<(), StoreError> {
        self.commit_with_letters(checkpoint, &[])
    }

    fn commit_with_letters(
        &mut self,
        checkpoint: Position,
        letters: &[LetterChange],
    ) -> Result<(), StoreError> {
        self.known()?;
        if checkpoint == self.state.checkpoint && self.touches.is_empty() && letters.is_empty() {
            return Ok(());
        }
        self.attempt(|model| model.commit_known(checkpoint, letters))
    }

    fn rollback(&mut self) {
        self.touches.clear();
        self.pending_bytes = 0;
    }

    /// The rows as of one checkpoint: nothing was decided while the view of them was opened. Where another process writes that may take
    /// a few tries, between two commits of its.
    fn snapshot(&self) -> Result<Box<dyn RowAccess>, StoreError> {
        if self.lease.is_none() && self.written.is_none() {
            return Err(StoreError::Unavailable(format!("where {} stands is not known yet", self.alias)));
        }
        let look = || match control::look(&self.server, &self.alias) {
            Ok(seen) => Ok(seen),
            Err(ReadError::Store(error)) => Err(error),
            Err(ReadError::Missing) => Err(StoreError::Unavailable("the search index is gone".to_owned())),
        };
        for attempt in 0..SNAPSHOT_TRIES {
            let before = look()?;
            if !before.deciding {
                let rows = Rows::open(self.server.clone(), &self.alias, before.state.checkpoint)?;
                if look()?.state.version == before.state.version {
                    return Ok(Box::new(rows));
                }
            }
            std::thread::sleep(SNAPSHOT_PAUSE * attempt.min(10));
        }
        Err(StoreError::Unavailable(format!("{} is written without a pause; try again", self.alias)))
    }

    fn repair(&mut self, rows: &[(RowKey, Option<Vec<u8>>)]) -> Result<(), StoreError> {
        if !self.touches.is_empty() {
            return Err(StoreError::Unavailable(
                "the search model is repaired between commits only".to_owned(),
            ));
        }
        self.known()?;
        let mut repaired = Vec::with_capacity(rows.len());
        for (key, row) in rows {
            let row = row.as_ref().map(|bytes| String::from_utf8(bytes.clone())).transpose();
            let row = row.map_err(|e| StoreError::Damaged(format!("a row to repair is not UTF-8: {e}")))?;
            let (table, key) = (key.table.to_owned(), key.key.clone());
            repaired.push(Row { table, key, row, events: Vec::new() });
        }
        let (to, letters) = (self.state.checkpoint, self.state.letters.clone());
        self.attempt(|model| {
            let version = model.state.next_version(to).max(model.highest_version(&repaired)?);
            model.decide(Batch { to, version, rows: repaired, letters })
        })
    }
}

impl ElasticModel {
    /// The highest version of these rows. Above the last decision's only somebody else can have written (any write without a version
    /// counts one up); a repair must not stand behind that.
    fn highest_version(&self, rows: &[Row]) -> Result<u64, StoreError> {
        let mut highest = 0;
        for part in rows.chunks(READ_ROWS) {
            let ids: Vec<String> = part.iter().map(|row| key(&row.table, &row.key)).collect();
            let request = Request::new(Method::Post, format!("{}/_mget", self.alias))
                .with("_source", false)
                .json(&json!({ "ids": ids }));
            let answer = self.server.call(request)?;
            for doc in answer["docs"].as_array().into_iter().flatten() {
                let version = doc["_version"].as_u64().unwrap_or(0);
                if version > self.state.version.max(self.state.checkpoint) {
                    let row = doc["_id"].as_str();
                    tracing::warn!(model = NAME, row, version, "a search row was written by somebody else");
                }
                highest = highest.max(version);
            }
        }
        Ok(highest)
    }
}

pub(super) fn not_ours() -> StoreError {
    StoreError::Unavailable(
        "another process writes the search index, or what became of the last commit is not known yet"
            .to_owned(),
    )
}
