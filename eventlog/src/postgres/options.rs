//! Where the database is, and how long Daybook waits for it.

use std::fmt;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;

use super::error::ConnectError;

/// How to reach a log in a PostgreSQL database.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE?…`. The parameters are those of libpq: with TLS
    /// `sslmode=verify-full` and `sslrootcert=FILE`, with a client certificate `sslcert` and `sslkey`.
    pub url: String,
    /// The schema that holds the tables `events` and `snapshots`. Made if it is not there.
    pub schema: String,
    /// Connections for reading; writing and listening have one each besides.
    pub read_connections: u32,
    /// The longest wait for a new connection.
    pub connect_timeout: Duration,
    /// The longest wait for one statement, a wait for the lock of another writer included. The server ends it then;
    /// one that does not even do that counts as lost a second later.
    pub statement_timeout: Duration,
    /// How long an append is retried, over reconnections, before its caller gets `Unavailable`.
    pub append_timeout: Duration,
    /// How often the head is asked for even though notifications arrive: the net under them.
    pub poll_interval: Duration,
    /// The most events in one transaction of ours, unless a single append has more.
    pub group_events: usize,
    /// The most bytes of names, payloads and metadata in one transaction of ours, unless a single append has more.
    pub group_bytes: usize,
    /// Appends waiting for the writer before others are refused with `Overloaded`.
    pub queue_appends: usize,
    /// Bytes waiting for the writer before others are refused with `Overloaded`.
    pub queue_bytes: usize,
    /// Bytes of the newest events that are kept in memory for those who follow the head.
    pub recent_bytes: usize,
}

impl PostgresOptions {
    /// The defaults, for the database at `url`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            schema: "public".into(),
            read_connections: 4,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            append_timeout: Duration::from_secs(15),
            poll_interval: Duration::from_secs(1),
            group_events: 2_048,
            group_bytes: 4 << 20,
            queue_appends: 65_536,
            queue_bytes: 64 << 20,
            recent_bytes: 32 << 20,
        }
    }

    /// The same in another schema.
    #[must_use]
    pub fn with_schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// The longest wait for a reply before the connection counts as lost.
    pub(super) fn reply_timeout(&self) -> Duration {
        self.statement_timeout + Duration::from_secs(1)
    }

    /// What every connection of ours begins with.
    ///
    /// Each statement has the one index that is right for it, however stale the statistics of a growing table: so
    /// the planner may not choose a scan of the table, nor compile what takes microseconds to run.
    pub(super) fn connect_options(&self) -> Result<PgConnectOptions, ConnectError> {
        let known = ["postgres://", "postgresql://"];
        if !known.iter().any(|scheme| self.url.starts_with(scheme)) {
            return Err(ConnectError::Url("it does not begin with postgres://".into()));
        }
        let options: PgConnectOptions = self.url.parse().map_err(|error: sqlx::Error| match error {
            sqlx::Error::Configuration(source) => ConnectError::Url(source.to_string()),
            other => ConnectError::Url(other.to_string()),
        })?;
        let valid = !self.schema.is_empty()
            && self.schema.len() <= 63
            && self.schema.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !valid {
            return Err(ConnectError::Schema(self.schema.clone()));
        }
        Ok(options.application_name("daybook").options([
            ("search_path", self.schema.as_str()),
            ("default_transaction_isolation", r"read\ committed"),
            ("synchronous_commit", "on"),
            ("statement_timeout", self.statement_timeout.as_millis().to_string().as_str()),
            ("idle_in_transaction_session_timeout", self.statement_timeout.as_millis().to_string().as_str()),
            ("enable_seqscan", "off"),
            ("enable_bitmapscan", "off"),
            ("jit", "off"),
            ("client_encoding", "UTF8"),
        ]))
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        f.debug_struct("PostgresOptions")
            .field("schema", &self.schema)
            .field("read_connections", &self.read_connections)
            .field("append_timeout", &self.append_timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_or_schema_that_cannot_be_is_refused_before_connecting() {
        for url in [
            "",
            "localhost:5432",
            "mysql://a/b",
            "postgres://user:pass@host:notaport/db",
            "postgres://h/d?sslmode=nope",
        ] {
            let error = PostgresOptions::new(url).connect_options().unwrap_err();
            assert!(matches!(error, ConnectError::Url(_)), "{url}: {error}");
        }
        for schema in ["", "Big", "a b", "a;drop", "ü"] {
            let error =
                PostgresOptions::new("postgres://h/d").with_schema(schema).connect_options().unwrap_err();
            assert!(matches!(error, ConnectError::Schema(_)), "{schema}: {error}");
        }
    }

    #[test]
    fn debug_output_hides_the_password() {
        let shown = format!("{:?}", PostgresOptions::new("postgres://u:secret@h/d"));
        assert!(!shown.contains("secret"), "{shown}");
    }
}
