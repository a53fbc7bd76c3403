//! The writer: events wait, and at a commit the rows they touch are read, folded and written, all or nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
use super::control::{self, Batch, EventRef, ReadError, Row, State, Written, changed_letters};
use super::fold::{Change, Folded, Touch, fold};
use super::mapping;
use super::query::Searches;
use super::rows::Rows;
use super::server::{Failure, Method, Request, Server};
use crate::model::{
    DeadLetter, LetterChange, ProjectError, Projected, ReadModel, RowAccess, RowKey, StoreError,
};

/// Rows read in one request.
const READ_ROWS: usize = 1_000;
/// Bytes that a waiting event is counted as beside its own.
const TOUCH_OVERHEAD_BYTES: usize = 400;

/// The search read model on Elasticsearch: one index for a generation.
pub struct ElasticModel {
    server: Server,
    alias: Arc<str>,
    options: ElasticOptions,
    generation: u64,
    state: State,
    /// The last write of the control document; `None`: not known, read it before anything else.
    written: Option<Written>,
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
        let mut model = Self {
            server,
            alias,
            options,
            generation,
            state: State::default(),
            written: None,
            shown: Arc::new(AtomicU64::new(0)),
            touches: BTreeMap::new(),
            pending_bytes: 0,
        };
        match model.attempt(Self::recover) {
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

    /// Reads where the index stands, makes it if it is not there, and finishes what was being written.
    fn recover(&mut self) -> Result<(), StoreError> {
        let (state, written) = match control::read(&self.server, &self.alias) {
            Ok(read) => {
                self.check_mapping()?;
                self.check_owner(&read.0)?;
                read
            }
            Err(ReadError::Missing) => self.create()?,
            Err(ReadError::Store(error)) => return Err(error),
        };
        self.state = state;
        self.written = Some(written);
        if let Some(batch) = self.state.batch.clone() {
            self.finish(batch)?;
        }
        self.show()
    }

    fn check_mapping(&self) -> Result<(), StoreError> {
        let answer = self.server.call(Request::new(Method::Get, format!("{}/_mapping", self.alias)))?;
        mapping::check(&answer, &self.alias, self.generation)
    }

    fn check_owner(&self, state: &State) -> Result<(), StoreError> {
        match (&self.options.owner, &state.owner) {
            (Some(own), Some(other)) if own != other => Err(StoreError::Damaged(format!(
                "[search] prefix: the index behind {} belongs to another data folder; choose another prefix, or delete the \
                 index if that folder is gone",
                self.alias
            ))),
            _ => Ok(()),
        }
    }

    fn create(&self) -> Result<(State, Written), StoreError> {
        let body = mapping::creation(&self.options, &self.alias, self.generation);
        let index = format!("{}-data", self.alias);
        match self.server.call(Request::new(Method::Put, index).json(&body)) {
            Ok(_) => {}
            // Made but for its control document when the last try ended.
            Err(Failure::Refused(said)) if said.contains("resource_already_exists_exception") => {
                self.check_mapping()?;
            }
            Err(other) => return Err(other.into()),
        }
        let state = State { owner: self.options.owner.clone(), ..State::default() };
        let written = control::write(&self.server, &self.alias, &state, None)?;
        Ok((state, written))
    }

    /// Makes sure that what is in memory is what the index says. If that moved the checkpoint, an error tells the runner to
    /// read on from there.
    fn known(&mut self) -> Result<(), StoreError> {
        if self.written.is_some() {
            return Ok(());
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
    fn attempt<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let done = work(self);
        if done.is_err() {
            self.written = None;
        }
        done
    }

    fn write_control(&mut self, mut state: State) -> Result<(), StoreError> {
        state.owner = self.options.owner.clone().or(state.owner);
        let written = control::write(&self.server, &self.alias, &state, self.written)?;
        self.written = Some(written);
        self.state = state;
        Ok(())
    }

    /// Writes a decided batch. Rows that the server refuses for good stay as they were, and their events are parked.
    fn finish(&mut self, batch: Batch) -> Result<(), StoreError> {
        let refused = bulk::write(&self.server, &self.alias, &batch.rows, batch.to)?;
        let parked = parked(&batch.rows, &refused);
        let letters = changed_letters(&batch.letters, &parked);
        self.write_control(State {
            checkpoint: batch.to,
            batch: None,
            letters,
            owner: self.state.owner.clone(),
        })?;
        self.show()?;
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
    fn show(&mut self) -> Result<(), StoreError> {
        self.server.call(Request::new(Method::Post, format!("{}/_refresh", self.alias)))?;
        self.shown.store(self.state.checkpoint, Ordering::Release);
        Ok(())
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
                    rows.push(Row { table, key, row: Some(row), version: None, events });
                }
            };
            let own = touches.iter().filter(|touch| !matches!(touch.change, Change::Sold(_)));
            push(DOCUMENTS, document, own.map(|touch| touch.event.clone()).collect());
            push(COUNTERS, counter, Vec::new());
        }
        Ok((rows, letters))
    }

    fn commit_known(&mut self, checkpoint: Position, changes: &[LetterChange]) -> Result<(), StoreError> {
        let (rows, own) = self.folded()?;
        let letters = changed_letters(&changed_letters(&self.state.letters, changes), &own);
        let misfits = own.len();
        if rows.is_empty() {
            self.write_control(State { checkpoint, batch: None, letters, owner: self.state.owner.clone() })?;
            self.show()?;
        } else {
            let batch = Batch { to: checkpoint, rows, letters };
            let decided = State { batch: Some(batch.clone()), ..self.state.clone() };
            self.write_control(decided)?;
            self.finish(batch)?;
        }
        self.rollback();
        if misfits > 0 {
            return Err(StoreError::Unavailable(format!("{misfits} events did not fit and were parked")));
        }
        Ok(())
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

    fn snapshot(&self) -> Result<Box<dyn RowAccess>, StoreError> {
        if self.written.is_none() {
            return Err(StoreError::Unavailable(format!("where {} stands is not known yet", self.alias)));
        }
        Ok(Box::new(Rows::open(self.server.clone(), &self.alias, self.state.checkpoint)?))
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
            repaired.push(Row { table, key, row, version: None, events: Vec::new() });
        }
        let (to, letters) = (self.state.checkpoint, self.state.letters.clone());
        self.attempt(|model| {
            let foreign = model.foreign_versions(&repaired)?;
            for row in &mut repaired {
                row.version = foreign.get(&key(&row.table, &row.key)).copied();
            }
            let batch = Batch { to, rows: repaired, letters };
            model.write_control(State { batch: Some(batch.clone()), ..model.state.clone() })?;
            model.finish(batch)
        })
    }
}

impl ElasticModel {
    /// The versions of rows that are beyond the checkpoint. Only somebody else can have written them (any write without a
    /// version counts one up); a repair must not stand behind them.
    fn foreign_versions(&self, rows: &[Row]) -> Result<BTreeMap<String, Position>, StoreError> {
        let mut foreign = BTreeMap::new();
        for part in rows.chunks(READ_ROWS) {
            let ids: Vec<String> = part.iter().map(|row| key(&row.table, &row.key)).collect();
            let request = Request::new(Method::Post, format!("{}/_mget", self.alias))
                .with("_source", false)
                .json(&json!({ "ids": ids }));
            let answer = self.server.call(request)?;
            for doc in answer["docs"].as_array().into_iter().flatten() {
                let Some(id) = doc["_id"].as_str() else { continue };
                let beyond = self.state.checkpoint + 1;
                let version = doc["_version"].as_u64().unwrap_or(0);
                if version >= beyond {
                    tracing::warn!(
                        model = NAME,
                        row = id,
                        version,
                        "a search row was written by somebody else"
                    );
                    foreign.insert(id.to_owned(), version);
                } else if doc["found"] == json!(false) {
                    // Deleted without a version, it left a mark of the next one.
                    foreign.insert(id.to_owned(), beyond);
                }
            }
        }
        Ok(foreign)
    }
}
