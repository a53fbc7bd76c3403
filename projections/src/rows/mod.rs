//! The row store under all read models that are tables: what a table is, how it is written, and how it is read.
//!
//! - [`spec`]: tables, columns and their indexes
//! - [`store`]: the [`RowStore`] and [`RowReader`] traits
//! - [`engine`]: where stores live: [`RowEngine`], and its embedded form [`SqliteFiles`]
//! - [`sqlite`]: the embedded store, one file a generation
//! - `postgres` (a feature): the same on a server, one schema a generation
//! - `select`, `canonical`, `pool`: what the engines share: queries as SQL, rows as canonical JSON, connections to lend
//! - [`cache`]: typed rows in memory, folded many times and written once; `known`: which rows need not be looked for
//! - [`model`]: [`RowModel`] makes a pure [`Projector`] a read model over such a store

pub mod cache;
mod canonical;
pub mod engine;
mod known;
pub mod model;
mod pool;
#[cfg(feature = "postgres")]
pub mod postgres;
mod select;
pub mod spec;
pub mod sqlite;
pub mod store;
#[cfg(test)]
mod tests;

pub use cache::{Rows, View};
pub use engine::{RowEngine, SqliteFiles};
pub use model::{Projector, RowModel};
pub use spec::{Column, ColumnKind, IndexValue, KeyKind, StoreSpec, TableSpec, position_key};
pub use sqlite::SqliteStore;
pub use store::{Batch, ReadTransaction, Row, RowChange, RowReader, RowStore, RowWrite, Select};

use crate::model::StoreError;

/// Reads a document as a view. One that does not fit was damaged, or written by another version.
pub fn decode_view<V: View>(key: &str, doc: &[u8]) -> Result<V, StoreError> {
    serde_json::from_slice(doc)
        .map_err(|e| StoreError::Damaged(format!("row {}/{key} cannot be read: {e}", V::TABLE.name)))
}

/// Reads one row as a view.
pub fn get_view<V: View>(transaction: &dyn ReadTransaction, key: &str) -> Result<Option<V>, StoreError> {
    transaction.get(V::TABLE, key)?.map(|doc| decode_view(key, &doc)).transpose()
}

/// Reads rows as views, with their keys.
pub fn select_views<V: View>(
    transaction: &dyn ReadTransaction,
    select: &Select,
) -> Result<Vec<(String, V)>, StoreError> {
    let rows = transaction.select(select)?;
    rows.into_iter().map(|row| decode_view(&row.key, &row.doc).map(|view| (row.key, view))).collect()
}
