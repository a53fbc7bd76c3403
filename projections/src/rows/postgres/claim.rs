//! Who writes a generation. The row of `daybook_meta` names the writer, its epoch, and until when its claim keeps others away.
//!
//! The claim only makes it likely that one process writes at a time. What makes it certain is that everything a writer does is
//! tied to writer, epoch and checkpoint in that row (`store`, `write`).

use std::time::{Duration, Instant};

use daybook_eventlog::Position;

use super::connection::Connection;
use super::schema::get;
use crate::model::StoreError;
use crate::writer::writer_name;

/// A claim that this process believes to hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) epoch: i64,
    pub(super) renewed: Instant,
}

/// How claims on one generation are made.
pub(super) struct Claims {
    schema: String,
    /// Names this store among all processes' stores: letters, digits and dashes.
    writer: String,
    time: Duration,
}

/// What came of trying.
pub(super) enum Tried {
    Taken { held: Held, checkpoint: Position },
    Elsewhere { checkpoint: Position },
}

impl Claims {
    pub(super) fn new(schema: &str, time: Duration) -> Self {
        Self { schema: schema.to_owned(), writer: writer_name(), time }
    }

    /// The rest of the time is for a renewal that comes late.
    pub(super) fn renew_after(&self) -> Duration {
        self.time / 3
    }

    fn until(&self) -> String {
        format!("clock_timestamp() + interval '{} milliseconds'", self.time.as_millis())
    }

    /// The condition under which the store is as this writer left it.
    fn fence(&self, epoch: i64, checkpoint: Position) -> String {
        format!("m.writer = '{}' AND m.epoch = {epoch} AND m.checkpoint = {checkpoint}", self.writer)
    }

    /// What a read of the writer begins with: one row, in which `ours` says whether the rest may be trusted.
    pub(super) fn fenced_from(&self, epoch: i64, checkpoint: Position) -> (String, String) {
        (format!("({}) AS ours", self.fence(epoch, checkpoint)), format!("{}.daybook_meta m", self.schema))
    }

    /// Opens the transaction of a commit and locks the row; whether the store is as this writer left it.
    pub(super) fn begin(
        &self,
        connection: &mut Connection,
        epoch: i64,
        checkpoint: Position,
    ) -> Result<bool, StoreError> {
        let (fence, from) = self.fenced_from(epoch, checkpoint);
        let row = connection.row(&format!("BEGIN; SELECT {fence} FROM {from} FOR UPDATE"))?;
        get(&row, "ours")
    }

    /// Moves the checkpoint, renews the claim and commits.
    pub(super) fn commit(&self, connection: &mut Connection, checkpoint: Position) -> Result<(), StoreError> {
        connection.execute(&format!(
            "UPDATE {}.daybook_meta SET checkpoint = {checkpoint}, claimed_until = {}; COMMIT",
            self.schema,
            self.until()
        ))
    }

    /// Keeps others away for another while; false if the claim was lost.
    pub(super) fn renew(
        &self,
        connection: &mut Connection,
        epoch: i64,
        checkpoint: Position,
    ) -> Result<bool, StoreError> {
        let (limited, inner) = connection.split();
        let sql = format!(
            "UPDATE {}.daybook_meta m SET claimed_until = {}, pid = pg_backend_pid() WHERE {}",
            self.schema,
            self.until(),
            self.fence(epoch, checkpoint)
        );
        Ok(limited.run(sqlx::raw_sql(&sql).execute(inner))?.rows_affected() == 1)
    }

    /// Takes the claim if nobody has it, if it has run out, if the connection of its holder has ended, or, with `force`,
    /// in any case.
    pub(super) fn take(&self, connection: &mut Connection, force: bool) -> Result<Tried, StoreError> {
        let free = if force {
            "true".to_owned()
        } else {
            format!(
                "(writer = '{}' OR claimed_until < clock_timestamp() \
                 OR NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = m.pid))",
                self.writer
            )
        };
        let schema = &self.schema;
        let seen =
            connection.row(&format!("SELECT checkpoint, {free} AS free FROM {schema}.daybook_meta m"))?;
        let checkpoint = get::<i64>(&seen, "checkpoint")?.cast_unsigned();
        if !get(&seen, "free")? {
            return Ok(Tried::Elsewhere { checkpoint });
        }
        let renewed = Instant::now();
        let sql = format!(
            "UPDATE {schema}.daybook_meta m SET epoch = epoch + 1, writer = '{}', pid = pg_backend_pid(), claimed_until = {} \
             WHERE {free} RETURNING epoch, checkpoint",
            self.writer,
            self.until()
        );
        let (limited, inner) = connection.split();
        let rows = limited.run(sqlx::raw_sql(&sql).fetch_all(inner))?;
        let Some(row) = rows.first() else {
            // Another process was quicker.
            return Ok(Tried::Elsewhere { checkpoint });
        };
        let checkpoint = get::<i64>(row, "checkpoint")?.cast_unsigned();
        Ok(Tried::Taken { held: Held { epoch: get(row, "epoch")?, renewed }, checkpoint })
    }

    /// Lets others in at once.
    pub(super) fn release(&self, connection: &mut Connection, epoch: i64) -> Result<(), StoreError> {
        connection.execute(&format!(
            "UPDATE {}.daybook_meta SET claimed_until = '-infinity' WHERE writer = '{}' AND epoch = {epoch}",
            self.schema, self.writer
        ))
    }
}
