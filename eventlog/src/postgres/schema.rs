//! The tables: migrations, and the checks before the first statement.

use std::borrow::Cow;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Error, Executor};

use super::error::ConnectError;
use super::options::PostgresOptions;

/// Every migration, oldest first. Released ones are never edited: the database keeps their checksums.
const MIGRATIONS: [(i64, &str, &str); 3] = [
    (1, "event log", include_str!("migrations/0001_event_log.sql")),
    (2, "leases", include_str!("migrations/0002_leases.sql")),
    (3, "lease notes", include_str!("migrations/0003_lease_notes.sql")),
];

/// Held by the session while it migrates; a session that fails lets go of it when its connection is dropped.
const LOCK: &str = "SELECT pg_advisory_lock(hashtext('daybook event log'))";
const UNLOCK: &str = "SELECT pg_advisory_unlock(hashtext('daybook event log'))";

fn migrator() -> Migrator {
    let migrations = MIGRATIONS.map(|(version, description, sql)| {
        Migration::new(version, Cow::Borrowed(description), MigrationType::Simple, Cow::Borrowed(sql), false)
    });
    Migrator { migrations: Cow::Owned(migrations.into()), ..Migrator::DEFAULT }
}

/// Connects, checks that the database can hold a log, and brings the schema up to date. The connection, and the name
/// of the channel on which new events are notified.
pub(super) async fn prepare(
    options: &PostgresOptions,
    connect: &PgConnectOptions,
) -> Result<(PgConnection, String), ConnectError> {
    let failed = |error: Error| ConnectError::of(&error, connect);
    let connecting = PgConnection::connect_with(connect);
    let Ok(connection) = tokio::time::timeout(options.connect_timeout, connecting).await else {
        return Err(ConnectError::of(&Error::PoolTimedOut, connect));
    };
    let mut connection = connection.map_err(failed)?;
    check_server(&mut connection).await.map_err(failed)??;
    if !is_current(&mut connection, options).await.map_err(failed)?? {
        migrate(&mut connection, options, connect).await?;
    }
    let channel = sqlx::query_scalar("SELECT event_log_channel()").fetch_one(&mut connection).await;
    Ok((connection, channel.map_err(failed)?))
}

async fn check_server(connection: &mut PgConnection) -> Result<Result<(), ConnectError>, Error> {
    let query = "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), \
                 pg_is_in_recovery()";
    let (version, encoding, standby): (i32, String, bool) =
        sqlx::query_as(query).fetch_one(connection).await?;
    Ok(if version < 120_000 {
        Err(ConnectError::Unsuitable(format!(
            "its server is of version {}; 12 or newer is needed",
            version / 10_000
        )))
    } else if encoding != "UTF8" {
        Err(ConnectError::Unsuitable(format!("its encoding is {encoding}; create one with ENCODING 'UTF8'")))
    } else if standby {
        Err(ConnectError::Unsuitable(
            "the URL leads to a standby, which takes no writes; name the primary".into(),
        ))
    } else {
        Ok(())
    })
}

/// Whether all migrations are applied: then nothing needs to be created, which a user with few rights could not do.
async fn is_current(
    connection: &mut PgConnection,
    options: &PostgresOptions,
) -> Result<Result<bool, ConnectError>, Error> {
    let table = format!("{}._sqlx_migrations", options.schema);
    let there: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(table)
        .fetch_one(&mut *connection)
        .await?;
    if !there {
        return Ok(Ok(false));
    }
    let applied: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version")
            .fetch_all(connection)
            .await?;
    let known = MIGRATIONS[MIGRATIONS.len() - 1].0;
    let schema = || options.schema.clone();
    if let Some((found, _)) = applied.iter().find(|(version, _)| *version > known) {
        return Ok(Err(ConnectError::Newer { schema: schema(), found: *found, known }));
    }
    for migration in migrator().iter() {
        match applied.iter().find(|(version, _)| *version == migration.version) {
            None => return Ok(Ok(false)),
            Some((version, checksum)) if checksum[..] != migration.checksum[..] => {
                return Ok(Err(ConnectError::Altered { schema: schema(), version: *version }));
            }
            Some(_) => {}
        }
    }
    Ok(Ok(true))
}

async fn migrate(
    connection: &mut PgConnection,
    options: &PostgresOptions,
    connect: &PgConnectOptions,
) -> Result<(), ConnectError> {
    let failed = |error: Error| ConnectError::of(&error, connect);
    let there: bool = sqlx::query_scalar("SELECT to_regnamespace($1) IS NOT NULL")
        .bind(&options.schema)
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    // Adopting a large table takes its time, and so does waiting for another Daybook that does it.
    connection.execute("SET statement_timeout = 0").await.map_err(failed)?;
    // Two that make one schema at once would collide in the catalogue, in spite of IF NOT EXISTS.
    connection.execute(LOCK).await.map_err(failed)?;
    if !there {
        // The name was checked to be of letters, digits and underscores.
        let create = format!("CREATE SCHEMA IF NOT EXISTS {}", options.schema);
        connection.execute(create.as_str()).await.map_err(failed)?;
    }
    let migrated = migrator().run_direct(connection).await;
    connection.execute(UNLOCK).await.map_err(failed)?;
    connection.execute("RESET statement_timeout").await.map_err(failed)?;
    let schema = options.schema.clone();
    match migrated {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(found)) => {
            Err(ConnectError::Newer { schema, found, known: MIGRATIONS[MIGRATIONS.len() - 1].0 })
        }
        Err(MigrateError::VersionMismatch(version)) => Err(ConnectError::Altered { schema, version }),
        Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => Err(failed(error)),
        Err(other) => Err(ConnectError::Server(other.to_string())),
    }
}
