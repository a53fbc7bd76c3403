//! Rows on a PostgreSQL server: one schema a generation, the checkpoint in the same transaction as the rows.
//!
//! ```text
//! schema daybook                 generations: which generation of each projection is live, previous, being built
//!                                log: which event log all of this is of
//! schema daybook_inventory_3     stock, …: the tables of the projection; daybook_letters: its dead-letter queue
//!                                daybook_meta: one row: checkpoint, epoch, and who may write until when
//! ```
//!
//! - `options`, `connection`: where the server is, how connections begin, what its errors mean
//! - `wait`: blocking calls over an asynchronous client
//! - `schema`: creates, checks and drops the schema of a generation
//! - `claim`: who writes: taken, renewed and lost
//! - `store`: the [`RowStore`]; `write`: batches, many rows a statement
//! - `read`: queries out of a pool, snapshots that stand still
//! - `ledger`: the numbers of generations, shared by all processes
//!
//! **One writer.** Several processes may open one generation. The one that writes has raised the epoch in `daybook_meta`. Whatever it
//! reads for its fold, and every commit, is tied to writer, epoch and checkpoint in that row within the same statement or transaction. So a
//! writer that was frozen and wakes up, or whose last commit the server lost in a crash, is refused before it can build on rows that
//! it does not know.
//!
//! **Durability.** Commits do not wait for the server's disk: after a crash of the server the last ones may be missing, rows and
//! checkpoint alike, and are replayed from the log. The numbers of generations do wait, and so do their empty tables.
//!
//! **The same rows as in SQLite.** Text is compared by bytes (collation "C"), nulls come first in ascending order, documents are
//! stored as the text they are. PostgreSQL holds no zero byte in a text, so that one is escaped in keys and columns (`text`).

mod claim;
mod connection;
mod ledger;
mod options;
mod read;
mod schema;
mod store;
mod text;
mod wait;
mod write;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use daybook_eventlog::{Breaker, BreakerOptions, CircuitStatus};
pub use options::PostgresOptions;

use super::engine::{RowEngine, SqliteFiles};
use super::pool::Pool;
use super::spec::StoreSpec;
use super::store::RowStore;
use crate::generations::Ledger;
use crate::model::StoreError;
use connection::{Connection, Connector, Purpose};
use ledger::PostgresLedger;
use store::PostgresStore;

/// The stores of a PostgreSQL database. Cloning gives another handle on the same connections.
#[derive(Clone)]
pub struct PostgresSchemas {
    shared: Arc<Shared>,
}

/// What all stores of a process share.
struct Shared {
    connector: Connector,
    options: PostgresOptions,
    /// Connections for queries, of all generations.
    queries: Pool<Connection>,
    /// Queries are refused at once while the server does not answer.
    circuit: Arc<Breaker>,
    ledger: Arc<PostgresLedger>,
}

impl PostgresSchemas {
    /// Connects, and makes the schema for the numbers of generations if need be. Blocks.
    ///
    /// [`StoreError::Unavailable`] for a server that cannot be reached, [`StoreError::Unfit`] for settings or a database that cannot be used;
    /// the text says what to do.
    pub fn connect(options: PostgresOptions) -> Result<Self, StoreError> {
        let connector = Connector::new(&options)?;
        let mut first = connector.connect(Purpose::Write)?;
        schema::check_server(&mut first)?;
        ledger::prepare(&mut first, &options.schema)?;
        let opener = connector.clone();
        let queries = Pool::new(options.query_connections.max(1), move || opener.connect(Purpose::Query));
        let circuit = Breaker::new(BreakerOptions::default());
        let ledger = Arc::new(PostgresLedger::new(connector.clone(), &options.schema));
        Ok(Self { shared: Arc::new(Shared { connector, options, queries, circuit, ledger }) })
    }

    /// Makes sure that the read models are of the log that begins with this event; a log without events has none yet. Those of another
    /// log would be answered from without a word, since positions mean nothing across logs. Blocks.
    ///
    /// [`StoreError::Unfit`] if they are of another log.
    pub fn bind_log(&self, first_event: Option<&str>) -> Result<(), StoreError> {
        let mut connection = self.shared.connector.connect(Purpose::Write)?;
        let recorded = ledger::bind_log(&mut connection, &self.shared.options.schema, first_event)?;
        if recorded.as_deref() == first_event {
            return Ok(());
        }
        Err(StoreError::Unfit(format!(
            "the read models in schema {} are of a log that begins with another event: name another schema, in which they are \
             built anew, or drop these",
            self.shared.options.schema
        )))
    }

    /// The circuit breaker before queries.
    #[must_use]
    pub fn circuit(&self) -> CircuitStatus {
        self.shared.circuit.status()
    }

    /// The schema of a store: what it is called, in letters that need no quotes.
    fn schema(&self, place: &Path) -> String {
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let plain: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
            .collect();
        format!("{}_{plain}", self.shared.options.schema)
    }
}

impl RowEngine for PostgresSchemas {
    fn place(&self, folder: &Path, projection: &str, generation: u64) -> PathBuf {
        folder.join(format!("{projection}@{generation}"))
    }

    fn open(&self, place: &Path, spec: StoreSpec, generation: u64) -> Result<Box<dyn RowStore>, StoreError> {
        let store = PostgresStore::open(&self.shared, self.schema(place), spec, generation)?;
        Ok(Box::new(store))
    }

    fn remove(&self, place: &Path) -> std::io::Result<()> {
        let remove = || -> Result<(), StoreError> {
            let mut connection = self.shared.connector.connect(Purpose::Write)?;
            schema::drop(&mut connection, &self.schema(place))
        };
        remove().map_err(std::io::Error::other)
    }

    fn ledger(&self) -> Option<Arc<dyn Ledger>> {
        Some(Arc::<PostgresLedger>::clone(&self.shared.ledger))
    }

    /// Rows are the same on both engines, so a shadow is a file beside the process that wants it: nobody else can be in its way, a process
    /// that is killed leaves nothing on the server, and the comparison is one of the engines as well.
    fn private(&self) -> Option<Arc<dyn RowEngine>> {
        Some(Arc::new(SqliteFiles))
    }
}
