//! Rows in SQLite: one file a generation, in WAL mode.
//!
//! One connection writes; queries and snapshots have their own, and each reads as of one commit. `synchronous=NORMAL`:
//! after the loss of power the last commits may be missing, rows and checkpoint alike, and are replayed from the log.

mod docs;
mod read;
mod sql;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use daybook_eventlog::Position;
use rusqlite::{Connection, OpenFlags, OptionalExtension, ToSql, TransactionBehavior};

use self::read::Snapshot;
use self::sql::{TableSql, create_table, index_value, key_value, store_error};
use crate::model::{DeadLetter, LetterChange, RowAccess, RowKey, StoreError};
use crate::rows::pool::Pool;
use crate::rows::spec::{KeyKind, StoreSpec, TableSpec};
use crate::rows::store::{Batch, RowChange, RowReader, RowStore, repair_writes};

/// "DBRM", Daybook read model, in the file's header.
const APPLICATION_ID: i32 = 0x4442_524d;
/// The layout of the tables that every store has.
const FORMAT: i32 = 1;
/// The WAL is folded into the file after this many pages of 4 KiB: rarely enough for bulk builds.
const AUTOCHECKPOINT_PAGES: i64 = 8_000;
/// Rows written between two looks at the time.
const BREATHE_EVERY: usize = 16;
/// A commit of so many rows is a burst of pages for the disk.
const BURST_ROWS: usize = 32;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The store of one generation of a read model in a SQLite file.
pub struct SqliteStore {
    spec: StoreSpec,
    path: PathBuf,
    connection: Connection,
    checkpoint: Position,
    statements: Vec<TableSql>,
    /// The file that commits go to first.
    wal: Option<File>,
    pool: Arc<Pool<Connection>>,
}

impl SqliteStore {
    /// Opens the file, or creates it with checkpoint 0.
    ///
    /// [`StoreError::Damaged`] for a file that is no store of this projection, [`StoreError::Outdated`] for one that another version of
    /// the projector wrote, [`StoreError::Unavailable`] when the file cannot be reached.
    pub fn open(path: &Path, spec: StoreSpec, generation: u64) -> Result<Self, StoreError> {
        let mut connection = Connection::open(path).map_err(|e| store_error(&e))?;
        configure(&connection).map_err(|e| store_error(&e))?;
        connection.set_prepared_statement_cache_capacity(64);
        let empty: bool = connection
            .query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
            .map_err(|e| store_error(&e))?;
        if empty {
            create(&mut connection, &spec, generation).map_err(|e| store_error(&e))?;
        }
        let checkpoint = check(&connection, &spec, generation)?;
        let statements = spec.tables.iter().map(|table| TableSql::new(table)).collect::<Result<_, _>>()?;
        let pool = Arc::new(read::pool(path.to_owned()));
        Ok(Self { spec, path: path.to_owned(), connection, checkpoint, statements, wal: None, pool })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn statements(&self, table: &TableSpec) -> &TableSql {
        let place = self.spec.tables.iter().position(|known| known.name == table.name);
        &self.statements[place.expect("a projector writes the tables it declares")]
    }

    fn write(&mut self, batch: &Batch<'_>) -> Result<(), rusqlite::Error> {
        let transaction =
            rusqlite::Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
        for (number, write) in batch.writes.iter().enumerate() {
            if number.is_multiple_of(BREATHE_EVERY) {
                daybook_eventlog::breathe();
            }
            let TableSql { upsert, replace, delete, packer, .. } = self.statements(write.table);
            let mut packer = packer.borrow_mut();
            let position;
            let key: &dyn ToSql = match write.table.key {
                KeyKind::Text => &write.key.as_str(),
                KeyKind::Position => {
                    position = write.key.parse::<i64>().expect("projectors key such tables by position");
                    &position
                }
            };
            match &write.change {
                RowChange::Upsert { doc, index } => {
                    let mut statement = transaction.prepare_cached(upsert)?;
                    statement.raw_bind_parameter(1, key)?;
                    statement.raw_bind_parameter(2, packer.pack(doc))?;
                    for (i, value) in index.iter().enumerate() {
                        statement.raw_bind_parameter(i + 3, index_value(value))?;
                    }
                    statement.raw_execute()?;
                }
                RowChange::Replace { doc } => {
                    transaction.prepare_cached(replace)?.execute((key, packer.pack(doc)))?;
                }
                RowChange::Delete => {
                    transaction.prepare_cached(delete)?.execute((key,))?;
                }
            }
        }
        for change in batch.letters {
            write_letter(&transaction, change)?;
        }
        transaction
            .prepare_cached("UPDATE daybook_meta SET value = ?1 WHERE name = 'checkpoint'")?
            .execute((batch.checkpoint.to_string(),))?;
        transaction.commit()
    }

    /// Has the disk take what was committed now. SQLite does that when it folds the WAL into the file, with all that has come together by
    /// then: 32 MiB, which commits of the log find before them at the disk.
    fn write_out(&mut self) -> std::io::Result<()> {
        if self.wal.is_none() {
            let mut path = self.path.clone().into_os_string();
            path.push("-wal");
            self.wal = Some(File::open(path)?);
        }
        self.wal.as_ref().map_or(Ok(()), File::sync_data)
    }
}

fn configure(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "page_size", 4096)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "wal_autocheckpoint", AUTOCHECKPOINT_PAGES)?;
    // Negative: KiB.
    connection.pragma_update(None, "cache_size", -16_384)?;
    connection.pragma_update(None, "temp_store", "MEMORY")
}

fn create(connection: &mut Connection, spec: &StoreSpec, generation: u64) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.execute_batch(
        "CREATE TABLE daybook_meta (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
         CREATE TABLE daybook_letters (position INTEGER PRIMARY KEY, letter TEXT NOT NULL);",
    )?;
    for table in spec.tables {
        transaction.execute_batch(&create_table(table))?;
    }
    for (name, value) in [
        ("projection", spec.name.to_owned()),
        ("generation", generation.to_string()),
        ("fingerprint", spec.fingerprint()),
        ("checkpoint", "0".to_owned()),
    ] {
        transaction.execute("INSERT INTO daybook_meta (name, value) VALUES (?1, ?2)", (name, value))?;
    }
    transaction.commit()
}

/// Whether the file is what we take it for; its checkpoint.
fn check(connection: &Connection, spec: &StoreSpec, generation: u64) -> Result<Position, StoreError> {
    let pragma = |name: &str| {
        connection
            .query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i32>(0))
            .map_err(|e| store_error(&e))
    };
    if pragma("application_id")? != APPLICATION_ID {
        return Err(StoreError::Damaged("the file is a SQLite database of another program".to_owned()));
    }
    let format = pragma("user_version")?;
    if format != FORMAT {
        return Err(StoreError::Outdated(format!("file format {format}, this build writes {FORMAT}")));
    }
    let projection = meta(connection, "projection")?;
    if projection != spec.name {
        return Err(StoreError::Damaged(format!("it belongs to projection {projection}, not {}", spec.name)));
    }
    let stored = meta(connection, "generation")?;
    if stored != generation.to_string() {
        return Err(StoreError::Damaged(format!("it is generation {stored}, not {generation}")));
    }
    if meta(connection, "fingerprint")? != spec.fingerprint() {
        return Err(StoreError::Outdated(format!("projection {} has changed since", spec.name)));
    }
    read_checkpoint(connection)
}

fn meta(connection: &Connection, name: &str) -> Result<String, StoreError> {
    connection
        .prepare_cached("SELECT value FROM daybook_meta WHERE name = ?1")
        .and_then(|mut statement| statement.query_row((name,), |row| row.get(0)).optional())
        .map_err(|e| store_error(&e))?
        .ok_or_else(|| StoreError::Damaged(format!("its {name} is not on record")))
}

fn read_checkpoint(connection: &Connection) -> Result<Position, StoreError> {
    let text = meta(connection, "checkpoint")?;
    text.parse().map_err(|_| StoreError::Damaged(format!("its checkpoint is {text:?}")))
}

fn write_letter(connection: &Connection, change: &LetterChange) -> Result<(), rusqlite::Error> {
    match change {
        LetterChange::Park(letter) => {
            let text = serde_json::to_string(letter).expect("a letter has string keys and plain values");
            connection
                .prepare_cached("INSERT OR REPLACE INTO daybook_letters (position, letter) VALUES (?1, ?2)")?
                .execute((letter.position.cast_signed(), text))?;
        }
        LetterChange::Drop(position) => {
            connection
                .prepare_cached("DELETE FROM daybook_letters WHERE position = ?1")?
                .execute((position.cast_signed(),))?;
        }
    }
    Ok(())
}

impl RowStore for SqliteStore {
    fn spec(&self) -> &StoreSpec {
        &self.spec
    }

    fn checkpoint(&self) -> Position {
        self.checkpoint
    }

    fn load(&mut self, table: &TableSpec, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let stored_key = key_value(table, key)?;
        let sql = &self.statements(table).load;
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| {
                statement.query_row((stored_key,), |row| Ok(docs::unpack(table, row.get_ref(0)?))).optional()
            })
            .map_err(|e| store_error(&e))
    }

    fn keys(
        &mut self,
        table: &'static TableSpec,
        prefix: &str,
        descending: bool,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        read::keys(&self.connection, table, prefix, descending, limit).map_err(|e| store_error(&e))
    }

    fn commit(&mut self, batch: &Batch<'_>) -> Result<(), StoreError> {
        self.write(batch).map_err(|e| store_error(&e))?;
        self.checkpoint = batch.checkpoint;
        // Who is in a hurry does it in larger pieces. Should it fail, SQLite finds out by itself, where it matters.
        if daybook_eventlog::comes_in_portions()
            && batch.writes.len() >= BURST_ROWS
            && let Err(error) = self.write_out()
        {
            tracing::debug!(%error, "a commit could not be written out early");
        }
        Ok(())
    }

    fn dead_letters(&self) -> Result<Vec<DeadLetter>, StoreError> {
        let texts: Vec<String> = self
            .connection
            .prepare_cached("SELECT letter FROM daybook_letters ORDER BY position")
            .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
            .map_err(|e| store_error(&e))?;
        texts
            .iter()
            .map(|text| {
                serde_json::from_str(text)
                    .map_err(|e| StoreError::Damaged(format!("a dead letter cannot be read: {e}")))
            })
            .collect()
    }

    fn snapshot(&self) -> Result<Box<dyn RowAccess>, StoreError> {
        Ok(Box::new(Snapshot::open(&self.path, self.spec)?))
    }

    fn repair(&mut self, rows: &[(RowKey, Option<Vec<u8>>)]) -> Result<(), StoreError> {
        let writes = repair_writes(&self.spec, rows)?;
        self.commit(&Batch { checkpoint: self.checkpoint, writes: &writes, letters: &[] })
    }

    fn reader(&self) -> Arc<dyn RowReader> {
        Arc::clone(&self.pool) as Arc<dyn RowReader>
    }
}

/// A connection that only reads.
fn open_reader(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -2_048)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::store::RowWrite;

    #[test]
    fn only_large_commits_of_one_that_keeps_up_are_written_out() {
        static ROWS: TableSpec =
            TableSpec { name: "rows", key: KeyKind::Text, columns: &[], indexes: &[], dictionary: None };
        static TABLES: &[&TableSpec] = &[&ROWS];
        let folder = tempfile::tempdir().unwrap();
        let spec = StoreSpec { name: "test", version: 1, tables: TABLES };
        let mut store = SqliteStore::open(&folder.path().join("test@1.sqlite"), spec, 1).unwrap();
        let mut commit = |rows: usize, unhurried| {
            let change = |n: usize| RowWrite {
                table: &ROWS,
                key: format!("{n}").into(),
                change: RowChange::Upsert { doc: b"{}".to_vec(), index: Vec::new() },
            };
            let writes: Vec<_> = (0..rows).map(change).collect();
            daybook_eventlog::in_portions(unhurried);
            store.commit(&Batch { checkpoint: 1, writes: &writes, letters: &[] }).unwrap();
            daybook_eventlog::in_portions(false);
            store.wal.is_some()
        };
        assert!(!commit(BURST_ROWS, false) && !commit(BURST_ROWS - 1, true));
        assert!(commit(BURST_ROWS, true), "the WAL was not found");
    }
}
