//! Where the database of the read models is, and how long Daybook waits for it.

use std::fmt;
use std::time::Duration;

use crate::model::StoreError;

/// Longest name of the schema: with a projection's name and a generation it must fit into PostgreSQL's 63 bytes.
const MAX_SCHEMA_BYTES: usize = 32;

/// How to reach read models in a PostgreSQL database.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE?…`. The parameters are those of libpq: with TLS
    /// `sslmode=verify-full` and `sslrootcert=FILE`, with a client certificate `sslcert` and `sslkey`.
    pub url: String,
    /// The schema of the numbers of generations, and the beginning of the name of each generation's schema. Made if not there.
    pub schema: String,
    /// Connections for queries. Each projection has one more for writing, each snapshot one while it lasts.
    pub query_connections: usize,
    /// The longest wait for a new connection.
    pub connect_timeout: Duration,
    /// The longest wait for a query.
    pub query_timeout: Duration,
    /// The longest wait for one statement of a commit.
    pub write_timeout: Duration,
    /// How long a writer that is not heard of keeps others from taking its place. One whose connection has ended is replaced
    /// at once.
    pub claim_time: Duration,
}

impl PostgresOptions {
    /// The defaults, for the database at `url`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            schema: "daybook".into(),
            query_connections: 16,
            connect_timeout: Duration::from_secs(5),
            query_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(30),
            claim_time: Duration::from_secs(6),
        }
    }

    /// The same under another name.
    #[must_use]
    pub fn with_schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// Checks what can be checked without a server.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let known = ["postgres://", "postgresql://"];
        if !known.iter().any(|scheme| self.url.starts_with(scheme)) {
            return Err(unusable("its URL does not begin with postgres://"));
        }
        let name = self.schema.as_bytes();
        let valid = name.first().is_some_and(u8::is_ascii_lowercase)
            && name.len() <= MAX_SCHEMA_BYTES
            && name.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_');
        if !valid {
            return Err(unusable(&format!(
                "{:?} is no name for its schema: use 1 to {MAX_SCHEMA_BYTES} characters of a-z, 0-9 and _, a letter first",
                self.schema
            )));
        }
        Ok(())
    }
}

/// Settings or a database that no waiting makes fit.
pub(super) fn unusable(why: &str) -> StoreError {
    StoreError::Unfit(format!("the PostgreSQL database for read models cannot be used: {why}"))
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        f.debug_struct("PostgresOptions")
            .field("schema", &self.schema)
            .field("query_connections", &self.query_connections)
            .field("claim_time", &self.claim_time)
            .finish_non_exhaustive()
    }
}
