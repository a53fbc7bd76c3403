//! Connections, and what the server's errors mean for a read model.

use std::future::Future;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{Connection as _, Error};

use super::options::{PostgresOptions, unusable};
use super::wait::Waiter;
use crate::model::StoreError;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Commits of one store.
    Write,
    /// Short reads.
    Query,
    /// A transaction that stands still as long as somebody compares.
    Snapshot,
}

/// A writer that leaves its transaction open for this long has been frozen: others shall get on.
const WRITER_IDLE: Duration = Duration::from_secs(5);
/// What a reply may take beyond the server's own limit before the connection counts as lost.
const REPLY_MARGIN: Duration = Duration::from_secs(1);

/// Makes connections.
#[derive(Clone)]
pub(super) struct Connector {
    waiter: Waiter,
    base: PgConnectOptions,
    options: PostgresOptions,
}

/// A connection that is used by blocking calls.
pub(super) struct Connection {
    inner: PgConnection,
    waiter: Waiter,
    limit: Duration,
}

impl Connector {
    pub(super) fn new(options: &PostgresOptions) -> Result<Self, StoreError> {
        options.check()?;
        let base: PgConnectOptions =
            options.url.parse().map_err(|error: Error| unusable(&error.to_string()))?;
        Ok(Self { waiter: Waiter::new()?, base, options: options.clone() })
    }

    pub(super) fn connect(&self, purpose: Purpose) -> Result<Connection, StoreError> {
        let settings = self.settings(purpose);
        let connected = self.waiter.wait(self.options.connect_timeout, PgConnection::connect_with(&settings));
        let inner = connected.unwrap_or(Err(Error::PoolTimedOut)).map_err(|error| self.refused(&error))?;
        let limit = match purpose {
            Purpose::Query => self.options.query_timeout,
            Purpose::Write | Purpose::Snapshot => self.options.write_timeout,
        };
        Ok(Connection { waiter: self.waiter.clone(), limit: limit + REPLY_MARGIN, inner })
    }

    /// Each statement has the one index that is right for it, however stale the statistics of a growing table: so the planner may
    /// not choose a scan of the table, nor compile what takes microseconds to run.
    fn settings(&self, purpose: Purpose) -> PgConnectOptions {
        let millis = |time: Duration| time.as_millis().to_string();
        let common = self.base.clone().application_name("daybook").statement_cache_capacity(256).options([
            ("default_transaction_isolation", r"read\ committed"),
            ("enable_seqscan", "off"),
            ("enable_bitmapscan", "off"),
            ("jit", "off"),
            ("client_encoding", "UTF8"),
            // A machine that is gone without a word is noticed after 10 s.
            ("tcp_keepalives_idle", "4"),
            ("tcp_keepalives_interval", "2"),
            ("tcp_keepalives_count", "3"),
        ]);
        match purpose {
            Purpose::Write => common.options([
                ("statement_timeout", millis(self.options.write_timeout).as_str()),
                ("idle_in_transaction_session_timeout", millis(WRITER_IDLE).as_str()),
                // What a crash of the server loses is replayed from the log.
                ("synchronous_commit", "off"),
                // Rows of a batch are looked up by key, each by its own.
                ("plan_cache_mode", "force_generic_plan"),
                ("enable_hashjoin", "off"),
                ("enable_mergejoin", "off"),
            ]),
            Purpose::Query => common.options([
                ("statement_timeout", millis(self.options.query_timeout).as_str()),
                ("idle_in_transaction_session_timeout", millis(2 * self.options.query_timeout).as_str()),
            ]),
            Purpose::Snapshot => common.options([
                ("statement_timeout", millis(self.options.write_timeout).as_str()),
                ("idle_in_transaction_session_timeout", "0"),
            ]),
        }
    }

    /// Why no connection came about, for an operator.
    fn refused(&self, error: &Error) -> StoreError {
        let server = match self.base.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", self.base.get_host(), self.base.get_port()),
        };
        let user = self.base.get_username();
        match error {
            Error::Database(inner) => match inner.code().as_deref() {
                Some("28P01" | "28000") => unusable(&format!(
                    "the server at {server} refuses user {user}: {}; check user and password in the URL, and pg_hba.conf",
                    inner.message()
                )),
                Some("3D000") => unusable(&format!(
                    "there is no such database at {server}: {}; create it (createdb), or name another one in the URL",
                    inner.message()
                )),
                _ => {
                    StoreError::Unavailable(format!("the PostgreSQL server at {server}: {}", inner.message()))
                }
            },
            Error::Tls(source) => unusable(&format!(
                "no TLS connection to {server}: {source}; check sslmode and sslrootcert in the URL"
            )),
            Error::Configuration(source) => unusable(&source.to_string()),
            Error::PoolTimedOut => {
                StoreError::Unavailable(format!("no PostgreSQL server answers at {server} in time"))
            }
            other => StoreError::Unavailable(format!(
                "no PostgreSQL server answers at {server}: {other}; check host and port, and that it runs"
            )),
        }
    }
}

/// Waits for what a connection is to do.
pub(super) struct Limited<'a> {
    waiter: &'a Waiter,
    limit: Duration,
}

impl Limited<'_> {
    /// Runs one statement. After an error the connection must not be used again: its state is not known.
    pub(super) fn run<T>(&self, statement: impl Future<Output = Result<T, Error>>) -> Result<T, StoreError> {
        let done = self.waiter.wait(self.limit, statement);
        done.unwrap_or_else(|| Err(Error::Io(std::io::ErrorKind::TimedOut.into())))
            .map_err(|error| store_error(&error))
    }
}

impl Connection {
    /// The connection for a statement, and what waits for it.
    pub(super) const fn split(&mut self) -> (Limited<'_>, &mut PgConnection) {
        (Limited { waiter: &self.waiter, limit: self.limit }, &mut self.inner)
    }

    /// From now on gives up after this time.
    pub(super) const fn limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Runs statements without parameters, separated by semicolons, in one round trip.
    pub(super) fn execute(&mut self, sql: &str) -> Result<(), StoreError> {
        let (limited, inner) = self.split();
        limited.run(sqlx::raw_sql(sql).execute(inner)).map(|_| ())
    }

    /// The same, and gives the only row that they give, in text form.
    pub(super) fn row(&mut self, sql: &str) -> Result<PgRow, StoreError> {
        let (limited, inner) = self.split();
        let rows = limited.run(sqlx::raw_sql(sql).fetch_all(inner))?;
        rows.into_iter().next().ok_or_else(|| StoreError::Damaged("its meta row is not there".to_owned()))
    }
}

/// Turns the server's errors into ours: what may pass, and what calls for a rebuild. By SQLSTATE classes:
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
pub(super) fn store_error(error: &Error) -> StoreError {
    match error {
        Error::Database(inner) => {
            let code = inner.code().unwrap_or_default();
            let text = format!("{} [{code}]", inner.message());
            let lasting = code != "42501"
                && ["22", "23", "42", "3F", "54", "XX"].iter().any(|class| code.starts_with(class));
            if lasting { StoreError::Damaged(text) } else { StoreError::Unavailable(text) }
        }
        Error::ColumnDecode { .. }
        | Error::ColumnNotFound(_)
        | Error::ColumnIndexOutOfBounds { .. }
        | Error::Decode(_)
        | Error::TypeNotFound { .. } => StoreError::Damaged(error.to_string()),
        other => StoreError::Unavailable(other.to_string()),
    }
}
