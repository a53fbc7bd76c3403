//! The schema of a generation: made, recognised, dropped.

use std::fmt::Write;

use daybook_eventlog::Position;
use sqlx::Row;

use super::connection::Connection;
use super::options::unusable;
use crate::model::StoreError;
use crate::rows::spec::{ColumnKind, KeyKind, StoreSpec, TableSpec};

/// The layout of the tables that every store has.
const FORMAT: i32 = 1;
/// Held while a schema is made: two that make one at once would collide in the catalogue, in spite of IF NOT EXISTS.
pub(super) const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtext('daybook read models'));";

/// Refuses a server that cannot hold read models.
pub(super) fn check_server(connection: &mut Connection) -> Result<(), StoreError> {
    let row = connection.row(
        "SELECT current_setting('server_version_num')::int AS version, current_setting('server_encoding') AS encoding, \
         pg_is_in_recovery() AS standby",
    )?;
    let (version, encoding): (i32, String) = (get(&row, "version")?, get(&row, "encoding")?);
    if version < 120_000 {
        Err(unusable(&format!("its server is of version {}; 12 or newer is needed", version / 10_000)))
    } else if encoding != "UTF8" {
        Err(unusable(&format!("its encoding is {encoding}; create one with ENCODING 'UTF8'")))
    } else if get(&row, "standby")? {
        Err(unusable("the URL leads to a standby, which takes no writes; name the primary"))
    } else {
        Ok(())
    }
}

/// A column of a row.
pub(super) fn get<'r, T>(row: &'r sqlx::postgres::PgRow, column: &str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(column).map_err(|error| super::connection::store_error(&error))
}

/// Makes the schema of a generation if it is not there, and checks that it is what we take it for; its checkpoint.
pub(super) fn open(
    connection: &mut Connection,
    schema: &str,
    spec: &StoreSpec,
    generation: u64,
) -> Result<Position, StoreError> {
    let there =
        connection.row(&format!("SELECT to_regclass('{schema}.daybook_meta') IS NOT NULL AS there"))?;
    if !get::<bool>(&there, "there")? {
        connection.execute(&create(schema, spec, generation))?;
    }
    check(connection, schema, spec, generation)
}

fn check(
    connection: &mut Connection,
    schema: &str,
    spec: &StoreSpec,
    generation: u64,
) -> Result<Position, StoreError> {
    let row = connection.row(&format!(
        "SELECT format, projection, generation, fingerprint, checkpoint FROM {schema}.daybook_meta"
    ))?;
    let format: i32 = get(&row, "format")?;
    if format != FORMAT {
        return Err(StoreError::Outdated(format!("schema format {format}, this build writes {FORMAT}")));
    }
    let projection: String = get(&row, "projection")?;
    if projection != spec.name {
        return Err(StoreError::Damaged(format!("it belongs to projection {projection}, not {}", spec.name)));
    }
    let stored: i64 = get(&row, "generation")?;
    if stored.cast_unsigned() != generation {
        return Err(StoreError::Damaged(format!("it is generation {stored}, not {generation}")));
    }
    if get::<String>(&row, "fingerprint")? != spec.fingerprint() {
        return Err(StoreError::Outdated(format!("projection {} has changed since", spec.name)));
    }
    Ok(get::<i64>(&row, "checkpoint")?.cast_unsigned())
}

/// Drops the schema of a generation.
pub(super) fn drop(connection: &mut Connection, schema: &str) -> Result<(), StoreError> {
    // Nobody misses it after a crash, but somebody might take it for the one that is to be made under its name.
    connection.execute(&format!("SET synchronous_commit = on; DROP SCHEMA IF EXISTS {schema} CASCADE"))
}

/// Everything of a generation in one transaction, which waits for the disk, unlike later ones: the number of the generation does
/// too, and a store that the ledger names is one that is there. All names come from code, or were checked.
fn create(schema: &str, spec: &StoreSpec, generation: u64) -> String {
    let mut sql = format!(
        "BEGIN; {LOCK}
         SET LOCAL synchronous_commit = on;
         CREATE SCHEMA IF NOT EXISTS {schema};
         SET LOCAL client_min_messages = warning;
         CREATE TABLE IF NOT EXISTS {schema}.daybook_letters (position bigint PRIMARY KEY, letter text NOT NULL);\n"
    );
    for table in spec.tables {
        create_table(&mut sql, schema, table);
    }
    write!(
        sql,
        "CREATE TABLE IF NOT EXISTS {schema}.daybook_meta (
             single boolean PRIMARY KEY DEFAULT true CHECK (single),
             format integer NOT NULL,
             projection text NOT NULL,
             generation bigint NOT NULL,
             fingerprint text NOT NULL,
             checkpoint bigint NOT NULL,
             epoch bigint NOT NULL DEFAULT 0,
             writer text NOT NULL DEFAULT '',
             pid integer NOT NULL DEFAULT 0,
             claimed_until timestamptz NOT NULL DEFAULT '-infinity'
         ) WITH (fillfactor = 20);
         INSERT INTO {schema}.daybook_meta (format, projection, generation, fingerprint, checkpoint)
             VALUES ({FORMAT}, '{}', {generation}, '{}', 0) ON CONFLICT DO NOTHING;
         COMMIT",
        spec.name,
        spec.fingerprint(),
    )
    .expect("a String takes every write");
    sql
}

fn create_table(sql: &mut String, schema: &str, table: &TableSpec) {
    let (key, fill) = match table.key {
        // Rows that change where they stand: room on their page keeps the indexes untouched.
        KeyKind::Text => ("text COLLATE \"C\"", 85),
        // Written once, in order.
        KeyKind::Position => ("bigint", 100),
    };
    let name = table.name;
    let mut columns = String::new();
    for column in table.columns {
        let kind = match column.kind {
            ColumnKind::Text => "text COLLATE \"C\"",
            ColumnKind::Integer => "bigint",
        };
        write!(columns, ", {} {kind}", column.name).expect("a String takes every write");
    }
    writeln!(
        sql,
        "CREATE TABLE IF NOT EXISTS {schema}.{name} (key {key} PRIMARY KEY, doc text NOT NULL{columns}) WITH (fillfactor = {fill});"
    )
    .expect("a String takes every write");
    for index in table.indexes {
        let columns: String = index.iter().map(|column| format!("{column} NULLS FIRST, ")).collect();
        writeln!(
            sql,
            "CREATE INDEX IF NOT EXISTS {name}_by_{0} ON {schema}.{name} ({columns}key) WHERE {1} IS NOT NULL;",
            index.join("_"),
            index[0]
        )
        .expect("a String takes every write");
    }
}
