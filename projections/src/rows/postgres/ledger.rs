//! The numbers of generations, in the database: every process sees the same, and a change that another one made first is noticed.

use parking_lot::Mutex;
use sqlx::Row as _;

use super::connection::{Connection, Connector, Purpose, store_error};
use crate::generations::{GenerationError, Generations, Ledger};
use crate::model::StoreError;

/// Makes the schema and its tables.
pub(super) fn prepare(connection: &mut Connection, schema: &str) -> Result<(), StoreError> {
    // The newest of them tells that all are there.
    let there = connection.row(&format!(
        "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('{schema}.generations')
             AND attname = 'paused' AND NOT attisdropped) AND to_regclass('{schema}.log') IS NOT NULL AS there"
    ))?;
    if super::schema::get(&there, "there")? {
        return Ok(());
    }
    connection.execute(&format!(
        "BEGIN; {}
         SET LOCAL synchronous_commit = on;
         CREATE SCHEMA IF NOT EXISTS {schema};
         CREATE TABLE IF NOT EXISTS {schema}.generations (
             projection text PRIMARY KEY,
             live bigint NOT NULL,
             previous bigint,
             building bigint,
             last bigint NOT NULL
         );
         ALTER TABLE {schema}.generations ADD COLUMN IF NOT EXISTS paused boolean NOT NULL DEFAULT false;
         CREATE TABLE IF NOT EXISTS {schema}.log (
             single boolean PRIMARY KEY DEFAULT true CHECK (single),
             first_event text NOT NULL
         );
         COMMIT",
        super::schema::LOCK
    ))
}

/// The id of the first event of the log that the read models are of: what is recorded, or `first_event` if nothing was and there is one.
pub(super) fn bind_log(
    connection: &mut Connection,
    schema: &str,
    first_event: Option<&str>,
) -> Result<Option<String>, StoreError> {
    let recorded = |connection: &mut Connection| -> Result<Option<String>, StoreError> {
        let sql = format!("SELECT first_event FROM {schema}.log");
        let (limited, inner) = connection.split();
        let row = limited.run(sqlx::query(&sql).fetch_optional(inner))?;
        row.map(|row| row.try_get("first_event").map_err(|error| store_error(&error))).transpose()
    };
    if let Some(event) = first_event {
        connection.execute("SET synchronous_commit = on")?;
        let sql = format!("INSERT INTO {schema}.log (first_event) VALUES ($1) ON CONFLICT DO NOTHING");
        let (limited, inner) = connection.split();
        limited.run(sqlx::query(&sql).bind(event).execute(inner))?;
    }
    recorded(connection)
}

/// The table `generations`.
pub(super) struct PostgresLedger {
    connector: Connector,
    table: String,
    connection: Mutex<Option<Connection>>,
}

impl PostgresLedger {
    pub(super) fn new(connector: Connector, schema: &str) -> Self {
        Self { connector, table: format!("{schema}.generations"), connection: Mutex::new(None) }
    }

    /// Works with a connection that answers. After a failure it is closed.
    fn with_connection<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut slot = self.connection.lock();
        // One that was kept may have been cut off since: that is found out before anything is changed.
        let kept = slot.take().and_then(|mut kept| kept.execute("SELECT 1").is_ok().then_some(kept));
        let mut connection = match kept {
            Some(kept) => kept,
            None => {
                let mut new = self.connector.connect(Purpose::Write)?;
                new.execute("SET synchronous_commit = on")?;
                new
            }
        };
        let done = work(&mut connection)?;
        *slot = Some(connection);
        Ok(done)
    }
}

impl Ledger for PostgresLedger {
    fn get(&self, projection: &str) -> Result<Option<Generations>, GenerationError> {
        let sql = format!(
            "SELECT live, previous, building, last, paused FROM {} WHERE projection = $1",
            self.table
        );
        let row = self.with_connection(|connection| {
            let (limited, inner) = connection.split();
            limited.run(sqlx::query(&sql).bind(projection).fetch_optional(inner))
        })?;
        let Some(row) = row else { return Ok(None) };
        let read = || -> Result<Generations, sqlx::Error> {
            let number = |column| row.try_get::<Option<i64>, _>(column).map(|n| n.map(i64::cast_unsigned));
            Ok(Generations {
                live: number("live")?.unwrap_or_default(),
                previous: number("previous")?,
                building: number("building")?,
                last: number("last")?.unwrap_or_default(),
                paused: row.try_get("paused")?,
            })
        };
        read().map(Some).map_err(|error| GenerationError::Store(store_error(&error)))
    }

    fn replace(
        &self,
        projection: &str,
        before: Option<&Generations>,
        after: &Generations,
    ) -> Result<(), GenerationError> {
        let known = "projection = $1 AND live = $7 AND previous IS NOT DISTINCT FROM $8 \
                     AND building IS NOT DISTINCT FROM $9 AND last = $10 AND paused = $11";
        let sql = match before {
            Some(_) => {
                format!(
                    "UPDATE {} SET live = $2, previous = $3, building = $4, last = $5, paused = $6 WHERE {known}",
                    self.table
                )
            }
            None => format!(
                "INSERT INTO {} (projection, live, previous, building, last, paused) VALUES ($1, $2, $3, $4, $5, $6) \
                 ON CONFLICT DO NOTHING",
                self.table
            ),
        };
        let changed = self.with_connection(|connection| {
            let mut query = sqlx::query(&sql).bind(projection);
            for numbers in [Some(after), before].into_iter().flatten() {
                query = query
                    .bind(numbers.live.cast_signed())
                    .bind(numbers.previous.map(u64::cast_signed))
                    .bind(numbers.building.map(u64::cast_signed))
                    .bind(numbers.last.cast_signed())
                    .bind(numbers.paused);
            }
            let (limited, inner) = connection.split();
            limited.run(query.execute(inner))
        })?;
        match changed.rows_affected() {
            0 => Err(GenerationError::Changed(projection.to_owned())),
            _ => Ok(()),
        }
    }
}
