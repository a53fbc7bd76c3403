//! Reading: a pool of connections for queries, and snapshots that stand still.

use std::path::{Path, PathBuf};

use daybook_eventlog::Position;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::docs;
use super::sql::{key_text, key_value, order_sql, row_json, select_sql, store_error};
use super::{open_reader, read_checkpoint};
use crate::model::{RowAccess, RowKey, StoreError};
use crate::rows::pool::{Pool, Pooled};
use crate::rows::spec::{KeyKind, StoreSpec, TableSpec};
use crate::rows::store::{ReadTransaction, Row, RowReader, Select};

/// Queries that may read at once; more wait their turn.
const MAX_CONNECTIONS: usize = 16;

/// The pool of a file.
pub(super) fn pool(path: PathBuf) -> Pool<Connection> {
    Pool::new(MAX_CONNECTIONS, move || open_reader(&path).map_err(|e| store_error(&e)))
}

impl RowReader for Pool<Connection> {
    fn begin(&self) -> Result<Box<dyn ReadTransaction + '_>, StoreError> {
        let connection = self.take()?;
        let checkpoint = begin(&connection)?;
        Ok(Box::new(Reading { connection, checkpoint }))
    }
}

/// Opens a read transaction: the first read fixes what it sees.
fn begin(connection: &Connection) -> Result<Position, StoreError> {
    connection.prepare_cached("BEGIN").and_then(|mut s| s.execute([])).map_err(|e| store_error(&e))?;
    read_checkpoint(connection)
}

/// A pooled connection within a read transaction.
struct Reading<'a> {
    connection: Pooled<'a, Connection>,
    checkpoint: Position,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let ended =
            self.connection.prepare_cached("ROLLBACK").and_then(|mut statement| statement.execute([]));
        let ended = ended.is_ok();
        self.connection.keep(ended);
    }
}

impl ReadTransaction for Reading<'_> {
    fn checkpoint(&self) -> Position {
        self.checkpoint
    }

    fn get(&self, table: &TableSpec, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = format!("SELECT doc FROM {} WHERE key = ?1", table.name);
        let key = key_value(table, key)?;
        self.connection
            .prepare_cached(&sql)
            .and_then(|mut statement| statement.query_row((key,), |row| doc(table, row, 0)).optional())
            .map_err(|e| store_error(&e))
    }

    fn select(&self, select: &Select) -> Result<Vec<Row>, StoreError> {
        let (mut sql, parameters) = select_sql(select, "key, doc")?;
        sql.push_str(&order_sql(select));
        self.connection
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement
                    .query_map(params_from_iter(parameters), |row| {
                        Ok(Row { key: key_text(row.get_ref(0)?), doc: doc(select.table, row, 1)? })
                    })?
                    .collect()
            })
            .map_err(|e| store_error(&e))
    }

    fn count(&self, select: &Select) -> Result<u64, StoreError> {
        let (sql, parameters) = select_sql(select, "count(*)")?;
        self.connection
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement.query_row(params_from_iter(parameters), |row| row.get::<_, i64>(0))
            })
            .map(i64::unsigned_abs)
            .map_err(|e| store_error(&e))
    }
}

fn doc(table: &TableSpec, row: &rusqlite::Row<'_>, column: usize) -> Result<Vec<u8>, rusqlite::Error> {
    Ok(docs::unpack(table, row.get_ref(column)?))
}

/// Keys with a prefix in order.
pub(super) fn keys(
    connection: &Connection,
    table: &'static TableSpec,
    prefix: &str,
    descending: bool,
    limit: usize,
) -> Result<Vec<String>, rusqlite::Error> {
    let mut select = Select::all(table, limit).key_prefix(prefix);
    select.descending = descending;
    let (mut sql, parameters) = select_sql(&select, "key").expect("prefixes are for text keys");
    sql.push_str(&order_sql(&select));
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_map(params_from_iter(parameters), |row| Ok(key_text(row.get_ref(0)?)))?.collect()
}

/// All rows as of one commit: a connection of its own with an open read transaction.
pub(super) struct Snapshot {
    connection: Connection,
    spec: StoreSpec,
    checkpoint: Position,
}

impl Snapshot {
    pub(super) fn open(path: &Path, spec: StoreSpec) -> Result<Self, StoreError> {
        let connection = open_reader(path).map_err(|e| store_error(&e))?;
        let checkpoint = begin(&connection)?;
        Ok(Self { connection, spec, checkpoint })
    }

    fn table(&self, name: &str) -> Result<&'static TableSpec, StoreError> {
        self.spec.table(name).ok_or_else(|| StoreError::Damaged(format!("there is no table {name}")))
    }
}

fn columns(table: &TableSpec) -> String {
    table.columns.iter().map(|column| format!(", {}", column.name)).collect()
}

impl RowAccess for Snapshot {
    fn checkpoint(&self) -> Position {
        self.checkpoint
    }

    fn tables(&self) -> Vec<&'static str> {
        self.spec.tables.iter().map(|table| table.name).collect()
    }

    fn keys_are_positions(&self, table: &str) -> bool {
        self.spec.table(table).is_some_and(|table| table.key == KeyKind::Position)
    }

    fn scan(
        &self,
        table: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let table = self.table(table)?;
        let after = after.map(|key| key_value(table, key)).transpose()?;
        let condition = if after.is_some() { "WHERE key > ?1" } else { "" };
        let sql = format!(
            "SELECT key, doc{} FROM {} {condition} ORDER BY key LIMIT {limit}",
            columns(table),
            table.name
        );
        self.connection
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement
                    .query_map(params_from_iter(after), |row| {
                        Ok((key_text(row.get_ref(0)?), row_json(table, row)?))
                    })?
                    .collect()
            })
            .map_err(|e| store_error(&e))
    }

    fn get(&self, key: &RowKey) -> Result<Option<Vec<u8>>, StoreError> {
        let table = self.table(key.table)?;
        let sql = format!("SELECT key, doc{} FROM {} WHERE key = ?1", columns(table), table.name);
        let stored_key = key_value(table, &key.key)?;
        self.connection
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement.query_row((stored_key,), |row| row_json(table, row)).optional()
            })
            .map_err(|e| store_error(&e))
    }
}
