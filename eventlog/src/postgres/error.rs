//! Errors that name what to do, and what an error of the server means for an append.

use sqlx::Error;
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgConnectOptions, PgDatabaseError};

/// Why a log in a PostgreSQL database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(
        "the PostgreSQL URL cannot be used: {0}. It looks like postgres://USER:PASSWORD@HOST:5432/DATABASE; \
         special characters in a password are percent-encoded"
    )]
    Url(String),
    #[error("{0:?} cannot be a schema name: use 1 to 63 characters of a-z, 0-9 and _")]
    Schema(String),
    #[error("no PostgreSQL server answers at {server}: {detail}. Check host and port, and that it runs")]
    Unreachable { server: String, detail: String },
    #[error(
        "the PostgreSQL server at {server} refuses user {user}: {detail}. Check user and password in the URL, and pg_hba.conf"
    )]
    Refused { server: String, user: String, detail: String },
    #[error(
        "there is no such database at {server}: {detail}. Create it (createdb), or name another one in the URL"
    )]
    NoDatabase { server: String, detail: String },
    #[error(
        "no TLS connection to {server}: {detail}. Check sslmode and sslrootcert in the URL; the server's certificate must name the host"
    )]
    Tls { server: String, detail: String },
    #[error(
        "user {user} may not do what the event log needs: {detail}. Let the owner of the database run Daybook once, or grant \
         CREATE on the database and schema; once the tables are there, USAGE on the schema, SELECT and INSERT on events, \
         SELECT, INSERT, UPDATE and DELETE on snapshots, SELECT and UPDATE on event_log_head, SELECT, INSERT and \
         UPDATE on event_log_leases and SELECT on _sqlx_migrations do"
    )]
    Rights { user: String, detail: String },
    #[error(
        "schema {schema} was migrated to version {found} by a newer Daybook; this one knows version {known}. Run the newer \
         Daybook, or restore a backup from before"
    )]
    Newer { schema: String, found: i64, known: i64 },
    #[error(
        "migration {version} of schema {schema} is not the one that this Daybook has. Was it applied by an unreleased build?"
    )]
    Altered { schema: String, version: i64 },
    #[error("the database cannot hold an event log: {0}")]
    Unsuitable(String),
    #[error("the PostgreSQL server failed: {0}")]
    Server(String),
}

impl ConnectError {
    pub(super) fn of(error: &Error, options: &PgConnectOptions) -> Self {
        let server = match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        };
        let user = options.get_username().to_owned();
        match error {
            Error::Database(inner) => {
                let detail = describe(inner.as_ref());
                match inner.code().as_deref() {
                    Some("28P01" | "28000") => Self::Refused { server, user, detail },
                    Some("3D000") => Self::NoDatabase { server, detail },
                    Some("42501") => Self::Rights { user, detail },
                    Some("23514" | "42701" | "42703" | "42P07") => Self::Unsuitable(detail),
                    _ => Self::Server(detail),
                }
            }
            Error::Tls(source) => Self::Tls { server, detail: source.to_string() },
            // The handshake's own errors arrive as such.
            Error::Io(source) if source.kind() == std::io::ErrorKind::InvalidData => {
                Self::Tls { server, detail: source.to_string() }
            }
            Error::Io(source)
                if source.kind() == std::io::ErrorKind::NotFound && options.get_socket().is_none() =>
            {
                Self::Tls { server, detail: format!("a file that the URL names: {source}") }
            }
            Error::Configuration(source) => Self::Url(source.to_string()),
            Error::Io(source) => Self::Unreachable { server, detail: source.to_string() },
            Error::PoolTimedOut => Self::Unreachable { server, detail: "timed out".into() },
            other => Self::Server(other.to_string()),
        }
    }
}

/// Message and hint of a server's error, for people.
fn describe(error: &dyn DatabaseError) -> String {
    let hint = error.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::hint);
    match hint {
        Some(hint) => format!("{} ({hint})", error.message()),
        None => error.message().to_owned(),
    }
}

/// What a failed statement means for the group it belonged to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The connection is gone or not to be trusted: reconnect. What was under way may have been committed.
    Connection(String),
    /// Nothing was written, and the same may succeed at once: a serialization failure, a deadlock.
    Again(String),
    /// Nothing was written: an event id or a revision is taken. Look under the lock.
    Taken,
    /// Nothing was written: the server cannot take a value of the group.
    Value(String),
    /// Nothing was written for lack of disk.
    DiskFull(String),
    /// Nothing was written; the server says no for a reason that a retry may outlive.
    Unavailable(String),
}

impl Failure {
    /// Reads an error of SQLSTATE classes: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
    pub(super) fn of(error: &Error) -> Self {
        let Error::Database(inner) = error else { return Self::Connection(error.to_string()) };
        let code = inner.code().unwrap_or_default();
        let detail = format!("{} [{code}]", describe(inner.as_ref()));
        match code.as_ref() {
            "40001" | "40P01" | "40003" => Self::Again(detail),
            "23505" => Self::Taken,
            "53100" => Self::DiskFull(detail),
            "57014" => Self::Unavailable(format!(
                "{detail}: does another transaction hold the row of event_log_head?"
            )),
            // A standby after a failover: another address may be the primary now.
            "25006" => Self::Connection(format!("{detail}: the URL leads to a standby")),
            // Shut down, crashed, starting up, cut off when idle in a transaction.
            "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => Self::Connection(detail),
            code if code.starts_with("08") => Self::Connection(detail),
            code if code.starts_with("22") || code.starts_with("23") || code.starts_with("54") => {
                Self::Value(detail)
            }
            _ => Self::Unavailable(detail),
        }
    }
}
