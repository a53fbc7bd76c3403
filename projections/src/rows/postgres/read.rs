//! Reading: queries out of a pool, and snapshots that stand still.

use std::sync::Arc;

use daybook_eventlog::Position;
use parking_lot::Mutex;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, Row as _};

use super::Shared;
use super::connection::{Connection, Purpose, store_error};
use super::schema::get;
use super::text::{from_stored, to_stored};
use crate::model::{RowAccess, RowKey, StoreError};
use crate::rows::canonical::{Stored, row_json};
use crate::rows::pool::Pooled;
use crate::rows::select::{Dialect, Nulls, order_sql, select_sql, stored_key};
use crate::rows::spec::{ColumnKind, IndexValue, KeyKind, StoreSpec, TableSpec, position_key};
use crate::rows::store::{ReadTransaction, Row, RowReader, Select};

/// How PostgreSQL's SQL is written: nulls stand where SQLite has them.
pub(super) const DIALECT: Dialect =
    Dialect { mark: '$', nulls: Some(Nulls { ascending: " NULLS FIRST", descending: " NULLS LAST" }) };

/// Gives a statement its parameters. They outlive it, so that it can be run anywhere.
pub(super) fn bind<'q>(sql: &'q str, parameters: Vec<IndexValue>) -> Query<'q, Postgres, PgArguments> {
    let mut query = sqlx::query(sql);
    for parameter in parameters {
        query = match parameter {
            IndexValue::Integer(number) => query.bind(number),
            IndexValue::Text(text) => query.bind(to_stored(&text).into_owned()),
            IndexValue::Null => unreachable!("nulls stand in the text of a query"),
        };
    }
    query
}

/// The key of a row, as text.
pub(super) fn key_text(table: &TableSpec, row: &PgRow, column: usize) -> Result<String, StoreError> {
    match table.key {
        KeyKind::Text => row.try_get(column).map(from_stored),
        KeyKind::Position => {
            row.try_get::<i64, _>(column).map(|key| position_key(key.cast_unsigned()).into())
        }
    }
    .map_err(|error| store_error(&error))
}

fn doc(row: &PgRow, column: usize) -> Result<Vec<u8>, StoreError> {
    row.try_get::<String, _>(column).map(String::into_bytes).map_err(|error| store_error(&error))
}

/// Opens a transaction in which everything is read as of one commit; the checkpoint.
fn begin(connection: &mut Connection, schema: &str) -> Result<Position, StoreError> {
    let row = connection.row(&format!(
        "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SELECT checkpoint FROM {schema}.daybook_meta"
    ))?;
    Ok(get::<i64>(&row, "checkpoint")?.cast_unsigned())
}

/// The queries of one generation.
pub(super) struct Reader {
    pub(super) shared: Arc<Shared>,
    pub(super) schema: String,
}

impl RowReader for Reader {
    fn begin(&self) -> Result<Box<dyn ReadTransaction + '_>, StoreError> {
        let circuit = &self.shared.circuit;
        let Some(trial) = circuit.trial() else {
            let reason =
                circuit.check().map_or_else(|open| open.to_string(), |()| "it is tried just now".to_owned());
            return Err(StoreError::Unavailable(format!(
                "the PostgreSQL server of the read models is {reason}"
            )));
        };
        let begun = self.transaction();
        match &begun {
            Err(error) if error.is_retryable() => trial.failed(&error.to_string()),
            // What is wrong with a schema is no fault of the server's.
            _ => trial.succeeded(),
        }
        begun.map(|reading| Box::new(reading) as Box<dyn ReadTransaction + '_>)
    }
}

impl Reader {
    fn transaction(&self) -> Result<Reading<'_>, StoreError> {
        loop {
            let mut connection = self.shared.queries.take()?;
            match begin(&mut connection, &self.schema) {
                Ok(checkpoint) => {
                    let connection = Mutex::new(connection);
                    return Ok(Reading { connection, schema: &self.schema, checkpoint, sound: true.into() });
                }
                // Cut off while nobody used it, and the others most likely too.
                Err(error) if error.is_retryable() && connection.was_used() => {
                    self.shared.queries.close_idle()
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// A pooled connection within a read transaction.
struct Reading<'a> {
    connection: Mutex<Pooled<'a, Connection>>,
    schema: &'a str,
    checkpoint: Position,
    /// Whether everything went well so far; else the connection is closed.
    sound: std::sync::atomic::AtomicBool,
}

impl Reading<'_> {
    fn rows(&self, sql: &str, parameters: Vec<IndexValue>) -> Result<Vec<PgRow>, StoreError> {
        let mut connection = self.connection.lock();
        let (limited, inner) = connection.split();
        let rows = limited.run(bind(sql, parameters).fetch_all(inner));
        if rows.is_err() {
            self.sound.store(false, std::sync::atomic::Ordering::Relaxed);
        }
        rows
    }

    fn from(&self, table: &TableSpec) -> String {
        format!("{}.{}", self.schema, table.name)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let connection = self.connection.get_mut();
        let keep = *self.sound.get_mut() && connection.execute("ROLLBACK").is_ok();
        connection.keep(keep);
    }
}

impl ReadTransaction for Reading<'_> {
    fn checkpoint(&self) -> Position {
        self.checkpoint
    }

    fn get(&self, table: &TableSpec, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = format!("SELECT doc FROM {} WHERE key = $1", self.from(table));
        let rows = self.rows(&sql, vec![stored_key(table, key)?])?;
        rows.first().map(|row| doc(row, 0)).transpose()
    }

    fn select(&self, select: &Select) -> Result<Vec<Row>, StoreError> {
        let (mut sql, parameters) = select_sql(select, "key, doc", &self.from(select.table), DIALECT)?;
        sql.push_str(&order_sql(select, DIALECT));
        let rows = self.rows(&sql, parameters)?;
        rows.iter().map(|row| Ok(Row { key: key_text(select.table, row, 0)?, doc: doc(row, 1)? })).collect()
    }

    fn count(&self, select: &Select) -> Result<u64, StoreError> {
        let (sql, parameters) = select_sql(select, "count(*) AS rows", &self.from(select.table), DIALECT)?;
        let rows = self.rows(&sql, parameters)?;
        let row = rows.first().ok_or_else(|| StoreError::Damaged("a count gave no row".to_owned()))?;
        get::<i64>(row, "rows").map(i64::unsigned_abs)
    }
}

/// All rows as of one commit: a connection of its own with an open transaction, read page by page.
pub(super) struct Snapshot {
    connection: Mutex<Connection>,
    schema: String,
    spec: StoreSpec,
    checkpoint: Position,
}

impl Snapshot {
    pub(super) fn open(shared: &Shared, schema: &str, spec: StoreSpec) -> Result<Self, StoreError> {
        let mut connection = shared.connector.connect(Purpose::Snapshot)?;
        let checkpoint = begin(&mut connection, schema)?;
        Ok(Self { connection: Mutex::new(connection), schema: schema.to_owned(), spec, checkpoint })
    }

    fn table(&self, name: &str) -> Result<&'static TableSpec, StoreError> {
        self.spec.table(name).ok_or_else(|| StoreError::Damaged(format!("there is no table {name}")))
    }

    fn rows(
        &self,
        table: &TableSpec,
        condition: &str,
        parameters: Vec<IndexValue>,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let columns: String = table.columns.iter().map(|column| format!(", {}", column.name)).collect();
        let sql = format!("SELECT key, doc{columns} FROM {}.{} {condition}", self.schema, table.name);
        let mut connection = self.connection.lock();
        let (limited, inner) = connection.split();
        let rows = limited.run(bind(&sql, parameters).fetch_all(inner))?;
        rows.iter().map(|row| Ok((key_text(table, row, 0)?, canonical(table, row)?))).collect()
    }
}

/// The canonical JSON of a row whose columns come after key and document.
fn canonical(table: &TableSpec, row: &PgRow) -> Result<Vec<u8>, StoreError> {
    let mut texts: Vec<Option<String>> = Vec::with_capacity(table.columns.len());
    let mut numbers: Vec<Option<i64>> = Vec::with_capacity(table.columns.len());
    for (i, column) in table.columns.iter().enumerate() {
        let (text, number) = match column.kind {
            ColumnKind::Text => (row.try_get::<Option<String>, _>(i + 2), Ok(None)),
            ColumnKind::Integer => (Ok(None), row.try_get::<Option<i64>, _>(i + 2)),
        };
        texts.push(text.map_err(|error| store_error(&error))?.map(from_stored));
        numbers.push(number.map_err(|error| store_error(&error))?);
    }
    let columns = texts.iter().zip(&numbers).map(|values| match values {
        (Some(text), _) => Stored::Text(text.as_bytes()),
        (None, Some(number)) => Stored::Integer(*number),
        (None, None) => Stored::Null,
    });
    Ok(row_json(table, &doc(row, 1)?, columns))
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
        let after = after.map(|key| stored_key(table, key)).transpose()?;
        let condition = if after.is_some() { "WHERE key > $1 " } else { "" };
        let page = format!("{condition}ORDER BY key LIMIT {limit}");
        self.rows(table, &page, after.into_iter().collect())
    }

    fn get(&self, key: &RowKey) -> Result<Option<Vec<u8>>, StoreError> {
        let table = self.table(key.table)?;
        let rows = self.rows(table, "WHERE key = $1", vec![stored_key(table, &key.key)?])?;
        Ok(rows.into_iter().next().map(|(_, json)| json))
    }
}
