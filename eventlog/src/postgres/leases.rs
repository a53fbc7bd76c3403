//! Leases in a table beside the log, timed by the server's clock.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::timeout;

use super::PostgresLog;
use super::statements::{to_i64, to_u64};
use crate::lease::{LeaseError, LeaseStore, LeaseToken};

const ACQUIRE: &str = "
    INSERT INTO event_log_leases AS l (name, holder, token, expires_at)
    VALUES ($1, $2, 1, clock_timestamp() + make_interval(secs => $3))
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at,
        token = CASE WHEN l.holder = $2 AND l.expires_at > clock_timestamp() THEN l.token ELSE l.token + 1 END
    WHERE l.holder = $2 OR l.expires_at <= clock_timestamp()
    RETURNING token";

const RELEASE: &str =
    "UPDATE event_log_leases SET expires_at = clock_timestamp() WHERE name = $1 AND holder = $2";

const NOTED: &str = "SELECT note FROM event_log_leases WHERE name = $1";

const NOTE: &str =
    "UPDATE event_log_leases SET note = $3 WHERE name = $1 AND token = $2 AND expires_at > clock_timestamp()";

fn failed(error: impl std::fmt::Display) -> LeaseError {
    LeaseError(error.to_string())
}

impl LeaseStore for PostgresLog {
    fn acquire<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        time: Duration,
    ) -> BoxFuture<'a, Result<Option<LeaseToken>, LeaseError>> {
        async move {
            let query = sqlx::query_scalar(ACQUIRE).bind(name).bind(holder).bind(time.as_secs_f64());
            let asked = timeout(self.inner.reader.reply_timeout, query.fetch_optional(self.pool())).await;
            let token: Option<i64> = asked.map_err(failed)?.map_err(failed)?;
            Ok(token.map(to_u64))
        }
        .boxed()
    }

    fn release<'a>(&'a self, name: &'a str, holder: &'a str) -> BoxFuture<'a, Result<(), LeaseError>> {
        async move {
            let query = sqlx::query(RELEASE).bind(name).bind(holder);
            let asked = timeout(self.inner.reader.reply_timeout, query.execute(self.pool())).await;
            asked.map_err(failed)?.map_err(failed)?;
            Ok(())
        }
        .boxed()
    }

    fn noted<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, LeaseError>> {
        async move {
            let query = sqlx::query_scalar(NOTED).bind(name);
            let asked = timeout(self.inner.reader.reply_timeout, query.fetch_optional(self.pool())).await;
            let note: Option<Option<Vec<u8>>> = asked.map_err(failed)?.map_err(failed)?;
            Ok(note.flatten())
        }
        .boxed()
    }

    fn note<'a>(
        &'a self,
        name: &'a str,
        token: LeaseToken,
        note: &'a [u8],
    ) -> BoxFuture<'a, Result<bool, LeaseError>> {
        async move {
            let query = sqlx::query(NOTE).bind(name).bind(to_i64(token)).bind(note);
            let asked = timeout(self.inner.reader.reply_timeout, query.execute(self.pool())).await;
            Ok(asked.map_err(failed)?.map_err(failed)?.rows_affected() == 1)
        }
        .boxed()
    }
}
