//! The store of one generation, as its projector writes it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use daybook_eventlog::{CircuitState, Position};
use parking_lot::Mutex;

use super::Shared;
use super::claim::{Claims, Held, Tried};
use super::connection::{Connection, Purpose};
use super::read::{DIALECT, Reader, Snapshot, bind, key_text};
use super::schema::{self, get};
use super::write::{TableSql, write_letters, write_table};
use crate::model::{Claim, DeadLetter, RowAccess, RowKey, StoreError};
use crate::rows::select::{order_sql, select_sql, stored_key};
use crate::rows::spec::{StoreSpec, TableSpec};
use crate::rows::store::{Batch, RowReader, RowStore, Select, repair_writes};

/// How long the end of a store may take.
const RELEASE_WAIT: Duration = Duration::from_secs(1);

/// The store of one generation of a read model in a schema.
pub(super) struct PostgresStore {
    shared: Arc<Shared>,
    schema: String,
    spec: StoreSpec,
    statements: Vec<TableSql>,
    reader: Arc<Reader>,
    claims: Claims,
    /// Closed after every failure, and opened again by the next claim.
    connection: Mutex<Option<Connection>>,
    /// `None` after every failure: whether a commit came through is known after the next claim.
    held: Option<Held>,
    checkpoint: Position,
}

impl PostgresStore {
    pub(super) fn open(
        shared: &Arc<Shared>,
        schema: String,
        spec: StoreSpec,
        generation: u64,
    ) -> Result<Self, StoreError> {
        let mut connection = shared.connector.connect(Purpose::Write)?;
        let checkpoint = schema::open(&mut connection, &schema, &spec, generation)?;
        Ok(Self {
            statements: spec.tables.iter().map(|table| TableSql::new(&schema, table)).collect(),
            reader: Arc::new(Reader { shared: Arc::clone(shared), schema: schema.clone() }),
            claims: Claims::new(&schema, shared.options.claim_time),
            shared: Arc::clone(shared),
            connection: Mutex::new(Some(connection)),
            held: None,
            schema,
            spec,
            checkpoint,
        })
    }

    /// Works with the connection; after a failure it is closed, since its state is not known.
    fn with_connection<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut slot = self.connection.lock();
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => self.shared.connector.connect(Purpose::Write)?,
        };
        let done = work(&mut connection)?;
        *slot = Some(connection);
        // The server answers: queries need not wait for one of their own to find out.
        if self.shared.circuit.status().state != CircuitState::Closed
            && let Some(trial) = self.shared.circuit.trial()
        {
            trial.succeeded();
        }
        Ok(done)
    }

    /// Works as the writer; after a failure it has to claim anew.
    fn as_writer<T>(
        &mut self,
        work: impl FnOnce(&Self, &mut Connection, Held) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let held = self.held.ok_or_else(not_ours)?;
        let done = self.with_connection(|connection| work(self, connection, held));
        if done.is_err() {
            self.held = None;
        }
        done
    }

    fn take(&mut self, force: bool) -> Result<Claim, StoreError> {
        self.held = None;
        match self.with_connection(|connection| self.claims.take(connection, force))? {
            Tried::Taken { held, checkpoint } => {
                self.held = Some(held);
                self.checkpoint = checkpoint;
                Ok(Claim::Taken)
            }
            Tried::Elsewhere { checkpoint } => {
                self.checkpoint = checkpoint;
                Ok(Claim::Elsewhere)
            }
        }
    }

    fn write(&self, connection: &mut Connection, held: Held, batch: &Batch<'_>) -> Result<(), StoreError> {
        if !self.claims.begin(connection, held.epoch, self.checkpoint)? {
            return Err(not_ours());
        }
        let mut rest = batch.writes;
        while let Some(first) = rest.first() {
            let count = rest.iter().take_while(|write| write.table.name == first.table.name).count();
            let (writes, others) = rest.split_at(count);
            let place = self.spec.tables.iter().position(|known| known.name == first.table.name);
            let sql = &self.statements[place.expect("a projector writes the tables it declares")];
            write_table(connection, first.table, sql, writes)?;
            rest = others;
        }
        write_letters(connection, &self.schema, batch.letters)?;
        self.claims.commit(connection, batch.checkpoint)
    }
}

fn not_ours() -> StoreError {
    StoreError::Unavailable(
        "another process writes the read model, or what became of the last commit is not known yet"
            .to_owned(),
    )
}

impl RowStore for PostgresStore {
    fn spec(&self) -> &StoreSpec {
        &self.spec
    }

    fn checkpoint(&self) -> Position {
        self.checkpoint
    }

    fn claim(&mut self) -> Result<Claim, StoreError> {
        let Some(held) = self.held else { return self.take(false) };
        if held.renewed.elapsed() < self.claims.renew_after() {
            return Ok(Claim::Held);
        }
        let renewed = Instant::now();
        let renew = |store: &Self, connection: &mut Connection, held: Held| {
            store.claims.renew(connection, held.epoch, store.checkpoint)
        };
        if self.as_writer(renew)? {
            self.held = Some(Held { renewed, ..held });
            return Ok(Claim::Held);
        }
        self.take(false)
    }

    fn claim_due(&self) -> Option<Instant> {
        let soon = Instant::now() + self.claims.renew_after() / 8;
        Some(self.held.map_or(soon, |held| held.renewed + self.claims.renew_after()))
    }

    fn seize(&mut self) -> Result<Claim, StoreError> {
        match self.claim()? {
            Claim::Elsewhere => self.take(true),
            claim => Ok(claim),
        }
    }

    fn load(&mut self, table: &TableSpec, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let key = stored_key(table, key)?;
        self.as_writer(|store, connection, held| {
            let (ours, meta) = store.claims.fenced_from(held.epoch, store.checkpoint);
            let sql = format!(
                "SELECT {ours}, t.doc FROM {meta} LEFT JOIN {}.{} t ON t.key = $1",
                store.schema, table.name
            );
            let (limited, inner) = connection.split();
            let row = limited.run(bind(&sql, vec![key]).fetch_one(inner))?;
            if !get::<bool>(&row, "ours")? {
                return Err(not_ours());
            }
            Ok(get::<Option<String>>(&row, "doc")?.map(String::into_bytes))
        })
    }

    fn keys(
        &mut self,
        table: &'static TableSpec,
        prefix: &str,
        descending: bool,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let mut select = Select::all(table, limit).key_prefix(prefix);
        select.descending = descending;
        self.as_writer(|store, connection, held| {
            let (ours, meta) = store.claims.fenced_from(held.epoch, store.checkpoint);
            let from = format!("{}.{}", store.schema, table.name);
            let (keys, parameters) = select_sql(&select, "key", &from, DIALECT)?;
            let keys = keys + &order_sql(&select, DIALECT);
            let direction = if descending { "DESC" } else { "ASC" };
            let sql = format!(
                "SELECT t.key, {ours} FROM {meta} LEFT JOIN ({keys}) t ON true ORDER BY t.key {direction}"
            );
            let (limited, inner) = connection.split();
            let rows = limited.run(bind(&sql, parameters).fetch_all(inner))?;
            let mut found = Vec::with_capacity(rows.len());
            for row in &rows {
                if !get::<bool>(row, "ours")? {
                    return Err(not_ours());
                }
                if get::<Option<String>>(row, "key")?.is_some() {
                    found.push(key_text(table, row, 0)?);
                }
            }
            Ok(found)
        })
    }

    fn commit(&mut self, batch: &Batch<'_>) -> Result<(), StoreError> {
        let renewed = Instant::now();
        let epoch = self.as_writer(|store, connection, held| {
            store.write(connection, held, batch)?;
            Ok(held.epoch)
        })?;
        self.held = Some(Held { epoch, renewed });
        self.checkpoint = batch.checkpoint;
        Ok(())
    }

    fn dead_letters(&self) -> Result<Vec<DeadLetter>, StoreError> {
        let sql = format!("SELECT letter FROM {}.daybook_letters ORDER BY position", self.schema);
        self.with_connection(|connection| {
            let (limited, inner) = connection.split();
            let rows = limited.run(sqlx::query(&sql).fetch_all(inner))?;
            rows.iter()
                .map(|row| {
                    serde_json::from_str(&get::<String>(row, "letter")?)
                        .map_err(|e| StoreError::Damaged(format!("a dead letter cannot be read: {e}")))
                })
                .collect()
        })
    }

    fn snapshot(&self) -> Result<Box<dyn RowAccess>, StoreError> {
        Ok(Box::new(Snapshot::open(&self.shared, &self.schema, self.spec)?))
    }

    fn repair(&mut self, rows: &[(RowKey, Option<Vec<u8>>)]) -> Result<(), StoreError> {
        let mut writes = repair_writes(&self.spec, rows)?;
        // Neighbours of one table, and at most one change a row, as a commit has them: the last word counts.
        let mut seen = std::collections::HashSet::new();
        writes.reverse();
        writes.retain(|write| seen.insert((write.table.name, write.key.clone())));
        writes.sort_by(|a, b| a.table.name.cmp(b.table.name));
        self.commit(&Batch { checkpoint: self.checkpoint, writes: &writes, letters: &[] })
    }

    fn reader(&self) -> Arc<dyn RowReader> {
        Arc::clone(&self.reader) as Arc<dyn RowReader>
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        // Others need not wait until the claim runs out. If this fails, they do.
        if let (Some(held), Some(mut connection)) = (self.held, self.connection.lock().take()) {
            connection.limit(RELEASE_WAIT);
            let _ = self.claims.release(&mut connection, held.epoch);
        }
    }
}
