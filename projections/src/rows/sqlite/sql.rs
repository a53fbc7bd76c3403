//! SQL text for tables, and what SQLite's errors and values mean to us.

use std::fmt::Write;
use std::ops::Bound;

use rusqlite::ErrorCode;
use rusqlite::types::{Value, ValueRef};
use serde_json::value::RawValue;
use smol_str::SmolStr;

use crate::model::StoreError;
use crate::rows::spec::{ColumnKind, IndexValue, KeyKind, TableSpec};
use crate::rows::store::{KEY, Select};

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

/// The statements that one table is written with.
pub(super) struct TableSql {
    pub(super) load: String,
    pub(super) upsert: String,
    pub(super) replace: String,
    pub(super) delete: String,
}

impl TableSql {
    pub(super) fn new(table: &TableSpec) -> Self {
        let name = table.name;
        let columns: String = table.columns.iter().map(|c| format!(", {}", c.name)).collect();
        let marks: String = (0..table.columns.len()).map(|i| format!(", ?{}", i + 3)).collect();
        let sets: String = table.columns.iter().map(|c| format!(", {0} = excluded.{0}", c.name)).collect();
        Self {
            load: format!("SELECT doc FROM {name} WHERE key = ?1"),
            upsert: format!(
                "INSERT INTO {name} (key, doc{columns}) VALUES (?1, ?2{marks}) \
                 ON CONFLICT (key) DO UPDATE SET doc = excluded.doc{sets}"
            ),
            replace: format!("UPDATE {name} SET doc = ?2 WHERE key = ?1"),
            delete: format!("DELETE FROM {name} WHERE key = ?1"),
        }
    }
}

/// The statements that create a table and its indexes.
pub(super) fn create_table(table: &TableSpec) -> String {
    let key = match table.key {
        // A rowid table keeps documents out of the interior pages of the key's tree.
        KeyKind::Text => "key TEXT NOT NULL PRIMARY KEY",
        KeyKind::Position => "key INTEGER PRIMARY KEY",
    };
    let mut sql = format!("CREATE TABLE {} ({key}, doc TEXT NOT NULL", table.name);
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

/// A key as SQLite stores it.
pub(super) fn key_value(table: &TableSpec, key: &str) -> Result<Value, StoreError> {
    match table.key {
        KeyKind::Text => Ok(Value::Text(key.to_owned())),
        KeyKind::Position => key.parse().map(Value::Integer).map_err(|_| {
            StoreError::Damaged(format!("{key:?} is no key of table {}: keys are positions", table.name))
        }),
    }
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
    let table = select.table;
    let mut parameters = Vec::new();
    let mut conditions: Vec<String> = Vec::new();
    let mut mark = |column: &str, value: &IndexValue| -> Result<String, StoreError> {
        let stored = match (column, value) {
            (KEY, IndexValue::Text(key)) => key_value(table, key)?,
            _ => index_value(value),
        };
        parameters.push(stored);
        Ok(format!("?{}", parameters.len()))
    };
    for (column, value) in &select.equals {
        conditions.push(format!("{column} = {}", mark(column, value)?));
    }
    if let Some((column, from, to)) = &select.range {
        for (bound, included, excluded) in [(from, ">=", ">"), (to, "<=", "<")] {
            match bound {
                Bound::Included(value) => {
                    conditions.push(format!("{column} {included} {}", mark(column, value)?))
                }
                Bound::Excluded(value) => {
                    conditions.push(format!("{column} {excluded} {}", mark(column, value)?))
                }
                Bound::Unbounded => {}
            }
        }
    }
    if let Some(after) = &select.after {
        let mut marks = Vec::with_capacity(after.len());
        let names: Vec<&str> = select.order.iter().copied().chain([KEY]).collect();
        for (name, value) in names.iter().zip(after) {
            marks.push(mark(name, value)?);
        }
        let operator = if select.descending { "<" } else { ">" };
        conditions.push(format!("({}) {operator} ({})", names.join(", "), marks.join(", ")));
    }
    let mut sql = format!("SELECT {columns} FROM {}", table.name);
    if !conditions.is_empty() {
        write!(sql, " WHERE {}", conditions.join(" AND ")).expect("a String takes every write");
    }
    Ok((sql, parameters))
}

/// The order and limit of a query.
pub(super) fn order_sql(select: &Select) -> String {
    let direction = if select.descending { " DESC" } else { "" };
    let order: Vec<String> =
        select.order.iter().copied().chain([KEY]).map(|name| format!("{name}{direction}")).collect();
    format!(" ORDER BY {} LIMIT {}", order.join(", "), select.limit)
}

/// The canonical JSON of a stored row: the document as it stands, and every indexed column.
pub(super) fn row_json(table: &TableSpec, row: &rusqlite::Row<'_>) -> Result<Vec<u8>, rusqlite::Error> {
    let doc = row.get_ref(1)?;
    let bytes = match doc {
        ValueRef::Text(text) | ValueRef::Blob(text) => text,
        _ => &[],
    };
    let mut json = Vec::with_capacity(bytes.len() + 64);
    if serde_json::from_slice::<&RawValue>(bytes).is_ok() {
        json.extend_from_slice(b"{\"doc\":");
        json.extend_from_slice(bytes);
    } else {
        json.extend_from_slice(b"{\"unreadable\":");
        append_text(&mut json, bytes);
    }
    for (i, column) in table.columns.iter().enumerate() {
        json.extend_from_slice(if i == 0 { b",\"index\":{" } else { b"," });
        append_text(&mut json, column.name.as_bytes());
        json.push(b':');
        match row.get_ref(i + 2)? {
            ValueRef::Null => json.extend_from_slice(b"null"),
            ValueRef::Integer(number) => json.extend_from_slice(number.to_string().as_bytes()),
            ValueRef::Real(number) => append_text(&mut json, format!("real {number}").as_bytes()),
            ValueRef::Text(text) => append_text(&mut json, text),
            ValueRef::Blob(blob) => append_text(&mut json, format!("blob {blob:?}").as_bytes()),
        }
    }
    json.extend_from_slice(if table.columns.is_empty() { b"}" } else { b"}}" });
    Ok(json)
}

fn append_text(json: &mut Vec<u8>, text: &[u8]) {
    serde_json::to_writer(json, &String::from_utf8_lossy(text)).expect("a Vec takes every write");
}

/// Reads what [`row_json`] wrote: the document and the index values.
pub(super) fn parse_row_json(
    table: &TableSpec,
    json: &[u8],
) -> Result<(String, Vec<IndexValue>), StoreError> {
    #[derive(serde::Deserialize)]
    struct Stored<'a> {
        #[serde(borrow)]
        doc: &'a RawValue,
        #[serde(default)]
        index: std::collections::BTreeMap<SmolStr, serde_json::Value>,
    }
    let damaged = |reason: String| {
        StoreError::Damaged(format!("a row to repair table {} with is no row: {reason}", table.name))
    };
    let stored: Stored<'_> = serde_json::from_slice(json).map_err(|e| damaged(e.to_string()))?;
    let index = table.columns.iter().map(|column| match stored.index.get(column.name) {
        None | Some(serde_json::Value::Null) => Ok(IndexValue::Null),
        Some(serde_json::Value::String(text)) => Ok(IndexValue::from(text.as_str())),
        Some(serde_json::Value::Number(number)) if number.is_i64() => {
            Ok(IndexValue::Integer(number.as_i64().expect("just asked")))
        }
        Some(other) => Err(damaged(format!("column {} holds {other}", column.name))),
    });
    Ok((stored.doc.get().to_owned(), index.collect::<Result<_, _>>()?))
}
