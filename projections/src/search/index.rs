//! The writer: events into rows, rows into the engine, checkpoint and segments in one commit.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use daybook_eventlog::Position;
use daybook_schemas::{VariantId, inventory, order, variant};
use foldhash::HashMap;
use tantivy::schema::IndexRecordOption;
use tantivy::{
    DocAddress, DocSet, IndexReader, IndexWriter, ReloadPolicy, TERMINATED, TantivyDocument, Term,
};

use super::SearchOptions;
use super::document::{
    Counter, Misfit, Said, SearchDocument, fold_inventory, fold_variant, popularity_bucket,
};
use super::folder::{Payload, clear, open_index, read_payload, writer};
use super::query::{Engine, SearchReader, Shared};
use super::rows::Rows;
use super::schema::{self, COUNTERS, DOCUMENTS, Fields, UNBORN, key_term};
use super::store::{addresses, parse, row_text, store_error};
use crate::model::{ProjectError, Projected, ReadModel, RowAccess, RowKey, StoreError};

/// Name of the read model.
pub const NAME: &str = "search";

/// Counters kept in memory between commits, so that a best-seller is not read from the index for each sale.
const MAX_KNOWN_COUNTERS: usize = 200_000;

/// Bytes that an uncommitted row is counted as beside its texts.
const ROW_OVERHEAD_BYTES: usize = 640;

/// An uncommitted row.
struct Pending<T> {
    row: T,
    /// Whether the index may hold an older one.
    stored: bool,
}

/// The search read model: a folder of the engine's files, written by one thread. Queries go through [`SearchModel::reader`].
pub struct SearchModel {
    shared: Arc<Shared>,
    /// Always there but while the model is being dropped.
    writer: Option<IndexWriter>,
    engine_reader: IndexReader,
    fields: Fields,
    generation: u64,
    checkpoint: Position,
    documents: HashMap<VariantId, Pending<SearchDocument>>,
    counters: HashMap<VariantId, Pending<Counter>>,
    /// Committed counters, as far as they are known.
    known_counters: HashMap<VariantId, u64>,
    /// Variants of whose stock a committed row tells, as far as they are known: what arrives for them says nothing new.
    stocked: HashSet<VariantId, foldhash::fast::RandomState>,
    /// Committed rows of variants that are not created yet, by the number of their id: a creation looks up no other.
    unborn: HashSet<u64, foldhash::fast::RandomState>,
    pending_bytes: usize,
    /// A commit that could not be shown: rows read from the old view would be out of date.
    unshown: bool,
}

impl SearchModel {
    /// Opens the index in a folder, or makes one if the folder is empty or missing.
    ///
    /// [`StoreError::Damaged`]: the folder holds something else, or what another generation wrote; [`StoreError::Outdated`]: what
    /// another build wrote.
    pub fn open(folder: &Path, options: SearchOptions) -> Result<Self, StoreError> {
        let (index, fields) = open_index(folder)?;
        // The writer takes the folder's lock: what is read after that stays true.
        let writer = writer(&index, &options)?;
        let payload = read_payload(&index, &options)?;
        let engine_reader =
            index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into().map_err(store_error)?;
        let generation = options.generation;
        let checkpoint = payload.map_or(0, |payload| payload.checkpoint);
        let shared = Shared::open(&engine_reader, fields, options, checkpoint)?;
        let mut model = Self {
            shared: Arc::new(shared),
            writer: Some(writer),
            engine_reader,
            fields,
            generation,
            checkpoint,
            documents: HashMap::default(),
            counters: HashMap::default(),
            known_counters: HashMap::default(),
            stocked: HashSet::default(),
            unborn: HashSet::default(),
            pending_bytes: 0,
            unshown: false,
        };
        model.read_unborn()?;
        Ok(model)
    }

    /// A handle for queries, for any number of threads. It sees every commit from the moment `commit` returns.
    #[must_use]
    pub fn reader(&self) -> SearchReader {
        SearchReader::new(Arc::clone(&self.shared) as Arc<dyn Engine>)
    }

    /// Waits until merges in the background are done, then closes the index. Uncommitted changes are dropped.
    pub fn close(mut self) -> Result<(), StoreError> {
        let writer = self.writer.take();
        writer.map_or(Ok(()), |writer| writer.wait_merging_threads().map_err(store_error))
    }

    fn writer(&self) -> &IndexWriter {
        self.writer.as_ref().expect("taken out only by closing and dropping")
    }

    fn writer_mut(&mut self) -> &mut IndexWriter {
        self.writer.as_mut().expect("taken out only by closing and dropping")
    }

    fn apply_variant(
        &mut self,
        event: &Projected,
        inner: &variant::Event,
        id: &VariantId,
    ) -> Result<(), ProjectError> {
        let revision = event.recorded.revision;
        let (before, stored) = self.document(id, revision == 1)?;
        let after =
            fold_variant(before, id, inner, revision).map_err(|misfit| misfit_error(event, misfit))?;
        self.put(after, stored);
        Ok(())
    }

    fn apply_inventory(
        &mut self,
        event: &Projected,
        inner: &inventory::Event,
        id: &VariantId,
    ) -> Result<(), ProjectError> {
        // A shop receives goods all day: only the first ones are worth a look into the index.
        if inner.is_arrival() && self.knows_stock_of(id) {
            return Ok(());
        }
        let (before, stored) = self.document(id, false)?;
        let folded = fold_inventory(before, id, inner, event.recorded.revision);
        match folded.map_err(|misfit| misfit_error(event, misfit))? {
            Some(after) => self.put(after, stored),
            None if inner.is_arrival() => self.know_stock_of(id.clone()),
            None => {}
        }
        Ok(())
    }

    fn knows_stock_of(&self, id: &VariantId) -> bool {
        self.stocked.contains(id)
            || self.documents.get(id).is_some_and(|pending| pending.row.inventory_revision > 0)
    }

    fn know_stock_of(&mut self, id: VariantId) {
        if self.stocked.len() >= MAX_KNOWN_COUNTERS {
            self.stocked.clear();
        }
        self.stocked.insert(id);
    }

    /// Counts what was ordered; touches a variant's document only if its sales reach the next bucket.
    fn apply_placed(&mut self, placed: &order::Placed) -> Result<(), ProjectError> {
        for line in placed.lines.iter().filter(|line| line.stocked) {
            let id = &line.variant_id;
            let before = self.units(id)?;
            let units = before.units.saturating_add(u64::from(line.quantity.get()));
            let bucket = popularity_bucket(units);
            if bucket != popularity_bucket(before.units) {
                let (document, stored) = self.document(id, false)?;
                let mut document = document.unwrap_or_else(|| SearchDocument::stub(id.clone()));
                document.popularity = bucket;
                self.put(document, stored);
            }
            let counter = Pending { row: Counter { variant_id: id.clone(), units }, stored: before.stored };
            if self.counters.insert(id.clone(), counter).is_none() {
                self.pending_bytes += ROW_OVERHEAD_BYTES / 4;
            }
        }
        Ok(())
    }

    /// A variant's row and whether the index holds one. A variant that is being created has none, unless it is known as
    /// unborn: that spares every creation a look into all segments.
    fn document(&self, id: &VariantId, creation: bool) -> Result<(Option<SearchDocument>, bool), StoreError> {
        if let Some(pending) = self.documents.get(id) {
            return Ok((Some(pending.row.clone()), pending.stored));
        }
        if creation && !self.unborn.contains(&schema::tie(id.as_str())) {
            return Ok((None, false));
        }
        let found = self.stored::<SearchDocument>(DOCUMENTS, id)?;
        let stored = found.is_some();
        Ok((found, stored))
    }

    fn put(&mut self, row: SearchDocument, stored: bool) {
        let bytes = row.listing.as_ref().map_or(0, |listing| {
            listing.name.as_str().len()
                + listing.description.as_ref().map_or(0, |text| text.as_str().len())
                + listing.attributes.len() * 160
        });
        if self.documents.insert(row.variant_id.clone(), Pending { row, stored }).is_none() {
            self.pending_bytes += ROW_OVERHEAD_BYTES + bytes;
        }
    }

    fn units(&self, id: &VariantId) -> Result<Units, StoreError> {
        if let Some(pending) = self.counters.get(id) {
            return Ok(Units { units: pending.row.units, stored: pending.stored });
        }
        if let Some(&units) = self.known_counters.get(id) {
            return Ok(Units { units, stored: true });
        }
        let found = self.stored::<Counter>(COUNTERS, id)?;
        Ok(Units { units: found.as_ref().map_or(0, |counter| counter.units), stored: found.is_some() })
    }

    fn stored<T: serde::de::DeserializeOwned>(
        &self,
        table: &str,
        id: &VariantId,
    ) -> Result<Option<T>, StoreError> {
        let view = self.shared.view();
        match addresses(&view.searcher, &self.fields, table, id.as_str())?.first() {
            Some(&address) => parse(&row_text(&view.searcher, &self.fields, address)?).map(Some),
            None => Ok(None),
        }
    }

    /// Hands the pending rows to the engine, the variants of a product one after the other: they share most of what searches
    /// read, and the engine keeps documents in the order in which it is given them.
    fn write_pending(&self) -> tantivy::Result<()> {
        let mut documents: Vec<_> = self.documents.iter().collect();
        documents.sort_unstable_by_key(|(id, pending)| (shelf(&pending.row), *id));
        for (id, pending) in documents {
            self.write(DOCUMENTS, id.as_str(), pending.stored, schema::document(&self.fields, &pending.row))?;
        }
        for (id, pending) in &self.counters {
            self.write(COUNTERS, id.as_str(), pending.stored, schema::counter(&self.fields, &pending.row))?;
        }
        Ok(())
    }

    fn write(&self, table: &str, id: &str, stored: bool, document: TantivyDocument) -> tantivy::Result<()> {
        if stored {
            self.writer().delete_term(key_term(&self.fields, table, id));
        }
        self.writer().add_document(document).map(|_| ())
    }

    /// Commits what the engine was given, together with the checkpoint, and shows it to readers.
    fn commit_engine(&mut self, checkpoint: Position) -> tantivy::Result<()> {
        let payload = Payload::new(self.generation, checkpoint);
        let mut prepared = self.writer_mut().prepare_commit()?;
        prepared.set_payload(&schema::to_json(&payload));
        prepared.commit().map(|_| ())
    }

    /// Shows a commit to readers, and to the look-ups of this writer.
    fn show(&mut self) -> Result<(), StoreError> {
        self.unshown = true;
        self.engine_reader.reload().map_err(store_error)?;
        self.shared.refresh(&self.engine_reader, self.checkpoint)?;
        self.unshown = false;
        Ok(())
    }

    /// Takes back what the engine was given but did not commit.
    fn undo(&mut self, error: tantivy::TantivyError) -> StoreError {
        if let Err(second) = self.writer_mut().rollback() {
            tracing::error!(error = %second, "the search index could not be rolled back");
        }
        clear(self.writer());
        store_error(error)
    }

    fn remember(&mut self) {
        for (id, pending) in std::mem::take(&mut self.documents) {
            let number = schema::tie(id.as_str());
            if pending.row.inventory_revision > 0 {
                self.know_stock_of(id);
            }
            if pending.row.is_unborn() {
                self.unborn.insert(number);
            } else {
                self.unborn.remove(&number);
            }
        }
        if self.known_counters.len() + self.counters.len() > MAX_KNOWN_COUNTERS {
            self.known_counters.clear();
        }
        for (id, pending) in self.counters.drain() {
            self.known_counters.insert(id, pending.row.units);
        }
        self.pending_bytes = 0;
    }

    fn read_unborn(&mut self) -> Result<(), StoreError> {
        let view = self.shared.view();
        let term = Term::from_field_text(self.fields.lifecycle, UNBORN);
        self.unborn.clear();
        for (ordinal, reader) in (0..).zip(view.searcher.segment_readers()) {
            let inverted = reader.inverted_index(self.fields.lifecycle).map_err(store_error)?;
            let postings =
                inverted.read_postings(&term, IndexRecordOption::Basic).map_err(super::store::io_error)?;
            let Some(mut postings) = postings else { continue };
            while postings.doc() != TERMINATED {
                if reader.alive_bitset().is_none_or(|alive| alive.is_alive(postings.doc())) {
                    let address = DocAddress::new(ordinal, postings.doc());
                    let row: SearchDocument = parse(&row_text(&view.searcher, &self.fields, address)?)?;
                    self.unborn.insert(schema::tie(row.variant_id.as_str()));
                }
                postings.advance();
            }
        }
        Ok(())
    }
}

/// What is searched for together stands together.
fn shelf(row: &SearchDocument) -> Option<(&str, &str, &str)> {
    row.listing.as_ref().map(|of| (of.category.as_str(), of.brand.as_str(), of.product_id.as_str()))
}

/// How long dropping a model waits for merges.
const CLOSING_TIME: Duration = Duration::from_secs(5);

impl Drop for SearchModel {
    /// A merge under way would delete files that the next writer of the folder relies on. So a thread of its own holds the
    /// folder's lock until it is done: opened too early, the folder is [`StoreError::Unavailable`], never wrong.
    fn drop(&mut self) {
        let Some(writer) = self.writer.take() else { return };
        let (done, closed) = std::sync::mpsc::channel();
        let close = move || {
            if let Err(error) = writer.wait_merging_threads() {
                tracing::warn!(%error, "a merge of the search index did not end well");
            }
            // Nobody listens if the wait was too long.
            done.send(()).ok();
        };
        if std::thread::Builder::new().name("search-close".to_owned()).spawn(close).is_ok()
            && closed.recv_timeout(CLOSING_TIME).is_err()
        {
            tracing::info!("the search index is still merging in the background");
        }
    }
}

/// Whether events of this type change search.
pub(super) fn handles(event_type: &str) -> bool {
    event_type.starts_with("variant.")
        || matches!(
            event_type,
            "inventory.out_of_stock"
                | "inventory.back_in_stock"
                // Of these the first to bring goods.
                | "inventory.received"
                | "inventory.adjusted"
                | "inventory.counted"
                | "inventory.returned"
                | "order.placed"
        )
}

/// A variant's units sold so far, and whether the index holds a counter.
struct Units {
    units: u64,
    stored: bool,
}

impl ReadModel for SearchModel {
    fn checkpoint(&self) -> Position {
        self.checkpoint
    }

    fn handles(&self, event_type: &str) -> bool {
        handles(event_type)
    }

    fn apply(&mut self, event: &Projected) -> Result<(), ProjectError> {
        if self.unshown {
            self.show()?;
        }
        let stream = event.recorded.stream();
        match Said::by(&event.event) {
            Said::Variant(inner) => self.apply_variant(event, inner, &id_of(stream, "variant-")?),
            Said::Inventory(inner) => self.apply_inventory(event, inner, &id_of(stream, "inventory-")?),
            Said::Placed(placed) => self.apply_placed(placed),
            Said::Nothing => Ok(()),
        }
    }

    fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    fn commit(&mut self, checkpoint: Position) -> Result<(), StoreError> {
        if checkpoint == self.checkpoint && self.documents.is_empty() && self.counters.is_empty() {
            return Ok(());
        }
        let written = self.write_pending();
        if let Err(error) = written.and_then(|()| self.commit_engine(checkpoint)) {
            return Err(self.undo(error));
        }
        self.remember();
        self.checkpoint = checkpoint;
        self.show()
    }

    fn rollback(&mut self) {
        self.documents.clear();
        self.counters.clear();
        self.pending_bytes = 0;
    }

    fn snapshot(&self) -> Result<Box<dyn RowAccess>, StoreError> {
        Ok(Box::new(Rows {
            view: self.shared.view(),
            vocabularies: self.shared.vocabularies(),
            fields: self.fields,
            checkpoint: self.checkpoint,
        }))
    }

    fn repair(&mut self, rows: &[(RowKey, Option<Vec<u8>>)]) -> Result<(), StoreError> {
        if !self.documents.is_empty() || !self.counters.is_empty() {
            return Err(StoreError::Unavailable(
                "the search model is repaired between commits only".to_owned(),
            ));
        }
        let mut repaired = Vec::with_capacity(rows.len());
        for (key, row) in rows {
            let document = match (row, key.table) {
                (None, _) => None,
                (Some(json), COUNTERS) => Some(schema::counter(&self.fields, &parse(&utf8(json)?)?)),
                (Some(json), _) => Some(schema::document(&self.fields, &parse(&utf8(json)?)?)),
            };
            repaired.push((key, document));
        }
        let write = |(key, document): (&RowKey, Option<TantivyDocument>)| -> tantivy::Result<()> {
            self.writer().delete_term(key_term(&self.fields, key.table, &key.key));
            document.map_or(Ok(()), |document| self.writer().add_document(document).map(|_| ()))
        };
        let written = repaired.into_iter().try_for_each(write);
        if let Err(error) = written.and_then(|()| self.commit_engine(self.checkpoint)) {
            return Err(self.undo(error));
        }
        self.known_counters.clear();
        self.stocked.clear();
        self.show()?;
        self.read_unborn()
    }
}

fn utf8(bytes: &[u8]) -> Result<String, StoreError> {
    String::from_utf8(bytes.to_vec())
        .map_err(|e| StoreError::Damaged(format!("a row to repair is not UTF-8: {e}")))
}

pub(super) fn id_of(stream: &str, prefix: &str) -> Result<VariantId, ProjectError> {
    stream
        .strip_prefix(prefix)
        .and_then(|id| VariantId::new(id).ok())
        .ok_or_else(|| ProjectError::Rejected(format!("stream {stream} does not name a variant")))
}

fn misfit_error(event: &Projected, misfit: Misfit) -> ProjectError {
    let stream = event.recorded.stream();
    match misfit {
        Misfit::Gap { from, to } => ProjectError::Gap { model: NAME, stream: stream.to_owned(), from, to },
        Misfit::Impossible(why) => ProjectError::Rejected(format!("{stream}: {why}")),
    }
}
