//! SQL text for tables, and what SQLite's errors and values mean to us.

use std::cell::RefCell;
use std::fmt::Write;

use rusqlite::ErrorCode;
use rusqlite::types::{Value, ValueRef};

use super::docs::{self, Packer};
use crate::model::StoreError;
use crate::rows::canonical::{self, Stored};
use crate::rows::select::{self, Dialect, stored_key};
use crate::rows::spec::{ColumnKind, IndexValue, KeyKind, TableSpec};
use crate::rows::store::Select;

/// Turns SQLite's errors into ours: what may pass, and what calls for a rebuild.
pub(super) fn store_error(error: &rusqlite::Error) -> StoreError {
    let code = match error {
        rusqlite::Error::SqliteFailure(failure, _) => failure.code,
        _ => return StoreError::Damaged(error.to_string()),
    };
    let passing = matches!(
        code,
        ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::OutOfMemory
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::OperationInterrupted
    );
    if passing { StoreError::Unavailable(error.to_string()) } else { StoreError::Damaged(error.to_string()) }
}

/// What one table is written with.
pub(super) struct TableSql {
    pub(super) load: String,
    pub(super) upsert: String,
    pub(super) replace: String,
    pub(super) delete: String,
    pub(super) packer: RefCell<Packer>,
}

impl TableSql {
    pub(super) fn new(table: &TableSpec) -> Result<Self, StoreError> {
        let name = table.name;
        let columns: String = table.columns.iter().map(|c| format!(", {}", c.name)).collect();
        let marks: String = (0..table.columns.len()).map(|i| format!(", ?{}", i + 3)).collect();
        let sets: String = table.columns.iter().map(|c| format!(", {0} = excluded.{0}", c.name)).collect();
        Ok(Self {
            load: format!("SELECT doc FROM {name} WHERE key = ?1"),
            upsert: format!(
                "INSERT INTO {name} (key, doc{columns}) VALUES (?1, ?2{marks}) \
                 ON CONFLICT (key) DO UPDATE SET doc = excluded.doc{sets}"
            ),
            replace: format!("UPDATE {name} SET doc = ?2 WHERE key = ?1"),
            delete: format!("DELETE FROM {name} WHERE key = ?1"),
            packer: RefCell::new(Packer::of(table)?),
        })
    }
}

/// The statements that create a table and its indexes.
pub(super) fn create_table(table: &TableSpec) -> String {
    let key = match table.key {
        // A rowid table keeps documents out of the interior pages of the key's tree.
        KeyKind::Text => "key TEXT NOT NULL PRIMARY KEY",
        KeyKind::Position => "key INTEGER PRIMARY KEY",
    };
    // Text, or the bytes of a compressed one.
    let mut sql = format!("CREATE TABLE {} ({key}, doc NOT NULL", table.name);
    for column in table.columns {
        let kind = match column.kind {
            ColumnKind::Text => "TEXT",
            ColumnKind::Integer => "INTEGER",
        };
        write!(sql, ", {} {kind}", column.name).expect("a String takes every write");
    }
    sql.push_str(");\n");
    for index in table.indexes {
        let columns = index.join(", ");
        let key = if table.key == KeyKind::Text { ", key" } else { "" };
        writeln!(
            sql,
            "CREATE INDEX {0}_by_{1} ON {0} ({columns}{key}) WHERE {2} IS NOT NULL;",
            table.name,
            index.join("_"),
            index[0]
        )
        .expect("a String takes every write");
    }
    sql
}

/// How SQLite's SQL is written. Nulls come first in ascending order by themselves.
pub(super) const DIALECT: Dialect = Dialect { mark: '?', nulls: None };

/// A key as SQLite stores it.
pub(super) fn key_value(table: &TableSpec, key: &str) -> Result<Value, StoreError> {
    stored_key(table, key).map(|key| index_value(&key))
}

/// A stored key as text.
pub(super) fn key_text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Integer(position) => format!("{position:020}"),
        ValueRef::Text(text) | ValueRef::Blob(text) => String::from_utf8_lossy(text).into_owned(),
        ValueRef::Null => String::new(),
        ValueRef::Real(number) => number.to_string(),
    }
}

pub(super) fn index_value(value: &IndexValue) -> Value {
    match value {
        IndexValue::Null => Value::Null,
        IndexValue::Integer(number) => Value::Integer(*number),
        IndexValue::Text(text) => Value::Text(text.to_string()),
    }
}

/// A query as SQL with its parameters. `columns` is what is selected.
pub(super) fn select_sql(select: &Select, columns: &str) -> Result<(String, Vec<Value>), StoreError> {
    let (sql, parameters) = select::select_sql(select, columns, select.table.name, DIALECT)?;
    Ok((sql, parameters.iter().map(index_value).collect()))
}

/// The order and limit of a query.
pub(super) fn order_sql(select: &Select) -> String {
    select::order_sql(select, DIALECT)
}

/// The canonical JSON of a stored row, whose columns come after key and document.
pub(super) fn row_json(table: &TableSpec, row: &rusqlite::Row<'_>) -> Result<Vec<u8>, rusqlite::Error> {
    let doc = docs::unpack(table, row.get_ref(1)?);
    let mut columns = Vec::with_capacity(table.columns.len());
    for i in 0..table.columns.len() {
        columns.push(match row.get_ref(i + 2)? {
            ValueRef::Null => Stored::Null,
            ValueRef::Integer(number) => Stored::Integer(number),
            ValueRef::Real(number) => Stored::Other(format!("real {number}")),
            ValueRef::Text(text) => Stored::Text(text),
            ValueRef::Blob(blob) => Stored::Other(format!("blob {blob:?}")),
        });
    }
    Ok(canonical::row_json(table, &doc, columns))
}
