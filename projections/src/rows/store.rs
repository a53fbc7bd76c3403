//! The store under all row-shaped read models, as the projector writes it and as queries read it.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use daybook_eventlog::Position;
use smol_str::SmolStr;

use super::canonical::parse_row_json;
use super::select::stored_key;
use super::spec::{IndexValue, StoreSpec, TableSpec};
use crate::model::{Claim, DeadLetter, LetterChange, RowAccess, RowKey, StoreError};

/// What becomes of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowChange {
    /// The row is written whole.
    Upsert { doc: Vec<u8>, index: Vec<IndexValue> },
    /// The row exists, and only its document changes: the indexes need no touch.
    Replace { doc: Vec<u8> },
    /// The row goes.
    Delete,
}

/// One row's change.
#[derive(Debug, Clone)]
pub struct RowWrite {
    pub table: &'static TableSpec,
    pub key: SmolStr,
    pub change: RowChange,
}

/// What one commit writes, all or nothing.
#[derive(Debug)]
pub struct Batch<'a> {
    pub checkpoint: Position,
    /// At most one change a row.
    pub writes: &'a [RowWrite],
    pub letters: &'a [LetterChange],
}

/// A store of rows with a single writer. Implementations MUST make [`RowStore::commit`] atomic, keep the checkpoint in
/// the same transaction, and never show a reader a part of a commit. Where several processes can reach a store, they MUST
/// fail every `load`, `keys`, `commit` and `repair` of one whose claim another has taken, and change nothing.
pub trait RowStore: Send {
    /// The read model that the store belongs to.
    fn spec(&self) -> &StoreSpec;

    /// The position of the last commit, 0 for a new store.
    fn checkpoint(&self) -> Position;

    /// Makes sure that this process is the one that writes, as [`ReadModel::claim`](crate::model::ReadModel::claim) says. A store that
    /// has a single writer anyway always does.
    fn claim(&mut self) -> Result<Claim, StoreError> {
        Ok(Claim::Held)
    }

    /// When [`RowStore::claim`] should be called again at the latest, though there be nothing to write.
    fn claim_due(&self) -> Option<Instant> {
        None
    }

    /// Like [`RowStore::claim`], and takes the writing from another process.
    fn seize(&mut self) -> Result<Claim, StoreError> {
        self.claim()
    }

    /// The document of one row, as committed.
    fn load(&mut self, table: &TableSpec, key: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Keys that start with `prefix`, in ascending or descending order, as committed.
    fn keys(
        &mut self,
        table: &'static TableSpec,
        prefix: &str,
        descending: bool,
        limit: usize,
    ) -> Result<Vec<String>, StoreError>;

    /// Writes everything and the checkpoint.
    fn commit(&mut self, batch: &Batch<'_>) -> Result<(), StoreError>;

    /// The dead-letter queue in order of position.
    fn dead_letters(&self) -> Result<Vec<DeadLetter>, StoreError>;

    /// All rows as of the checkpoint.
    fn snapshot(&self) -> Result<Box<dyn RowAccess>, StoreError>;

    /// Writes rows in the form that [`RowAccess::scan`] gives, without moving the checkpoint.
    fn repair(&mut self, rows: &[(RowKey, Option<Vec<u8>>)]) -> Result<(), StoreError>;

    /// A handle for queries, shared and independent of the writer.
    fn reader(&self) -> Arc<dyn RowReader>;
}

/// A repair as a commit writes it. [`StoreError::Damaged`] for what is no row of this read model.
pub(super) fn repair_writes(
    spec: &StoreSpec,
    rows: &[(RowKey, Option<Vec<u8>>)],
) -> Result<Vec<RowWrite>, StoreError> {
    rows.iter()
        .map(|(row, json)| {
            let table = spec
                .table(row.table)
                .ok_or_else(|| StoreError::Damaged(format!("there is no table {} to repair", row.table)))?;
            stored_key(table, &row.key)?;
            let change = match json {
                Some(json) => {
                    let (doc, index) = parse_row_json(table, json)?;
                    RowChange::Upsert { doc: doc.into_bytes(), index }
                }
                None => RowChange::Delete,
            };
            Ok(RowWrite { table, key: row.key.as_str().into(), change })
        })
        .collect()
}

/// Where queries come in. Shared by all query threads.
pub trait RowReader: Send + Sync {
    /// Begins a consistent read: everything read through it is as of one checkpoint. Short-lived; waits a bounded time for a
    /// free connection.
    fn begin(&self) -> Result<Box<dyn ReadTransaction + '_>, StoreError>;
}

/// One consistent read over all tables of a read model.
pub trait ReadTransaction {
    /// The position that the rows are current to.
    fn checkpoint(&self) -> Position;

    /// The document of one row.
    fn get(&self, table: &TableSpec, key: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Rows by index, in its order.
    fn select(&self, select: &Select) -> Result<Vec<Row>, StoreError>;

    /// How many rows [`ReadTransaction::select`] would give without its limit.
    fn count(&self, select: &Select) -> Result<u64, StoreError>;
}

/// A row as a query gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub key: String,
    pub doc: Vec<u8>,
}

/// The name by which [`Select`] speaks of the key.
pub const KEY: &str = "key";

/// A query over one table: equal columns, then a range over the next one, in the order of an index. All columns and the
/// key go in one direction; ties are broken by the key, so that a page can be continued exactly.
#[derive(Debug, Clone)]
pub struct Select {
    pub table: &'static TableSpec,
    pub equals: Vec<(&'static str, IndexValue)>,
    pub range: Option<(&'static str, Bound<IndexValue>, Bound<IndexValue>)>,
    /// Columns before the key.
    pub order: Vec<&'static str>,
    pub descending: bool,
    /// Values of the order columns, then the key, of the last row of the page before.
    pub after: Option<Vec<IndexValue>>,
    pub limit: usize,
}

impl Select {
    /// All rows of a table in order of the key.
    #[must_use]
    pub const fn all(table: &'static TableSpec, limit: usize) -> Self {
        Self {
            table,
            equals: Vec::new(),
            range: None,
            order: Vec::new(),
            descending: false,
            after: None,
            limit,
        }
    }

    /// Only rows with this value.
    #[must_use]
    pub fn equal(mut self, column: &'static str, value: impl Into<IndexValue>) -> Self {
        self.equals.push((column, value.into()));
        self
    }

    /// Only rows within these bounds.
    #[must_use]
    pub fn between(mut self, column: &'static str, from: Bound<IndexValue>, to: Bound<IndexValue>) -> Self {
        self.range = Some((column, from, to));
        self
    }

    /// Only rows whose key starts with `prefix` (ASCII).
    #[must_use]
    pub fn key_prefix(self, prefix: &str) -> Self {
        let (from, to) = prefix_bounds(prefix);
        self.between(KEY, from, to)
    }

    /// In order of this column, after those given before.
    #[must_use]
    pub fn order_by(mut self, column: &'static str) -> Self {
        self.order.push(column);
        self
    }

    /// The other way round.
    #[must_use]
    pub const fn descending(mut self) -> Self {
        self.descending = true;
        self
    }

    /// Only what follows the row with these order values and key.
    #[must_use]
    pub fn after(mut self, after: Option<Vec<IndexValue>>) -> Self {
        self.after = after;
        self
    }
}

/// The bounds of all texts that start with `prefix`, which is ASCII.
#[must_use]
pub(crate) fn prefix_bounds(prefix: &str) -> (Bound<IndexValue>, Bound<IndexValue>) {
    let mut end = prefix.as_bytes().to_vec();
    let bounded = end.last_mut().map(|last| *last += 1).is_some();
    let end = String::from_utf8(end).expect("an ASCII character's successor is below 128");
    let to = if bounded { Bound::Excluded(end.as_str().into()) } else { Bound::Unbounded };
    (Bound::Included(prefix.into()), to)
}
