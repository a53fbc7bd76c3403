//! A row a variant in PostgreSQL, with the number that is left.

use std::future::Future;
use std::pin::Pin;

use anyhow::ensure;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::measure::{Dice, Reserve, Settings, measure};
use crate::{Contender, ITEMS, UNITS};

/// How the number is lowered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// `UPDATE … WHERE available >= quantity`, one statement.
    Statement,
    /// `SELECT … FOR UPDATE`, then `UPDATE`, in a transaction.
    Lock,
}

impl Way {
    pub(crate) const fn name(self, clients: u32) -> &'static str {
        match (self, clients) {
            (Self::Statement, 8) => "PostgreSQL row, one UPDATE, 8 clients",
            (Self::Statement, _) => "PostgreSQL row, one UPDATE",
            (Self::Lock, _) => "PostgreSQL row, SELECT FOR UPDATE",
        }
    }
}

pub(crate) struct Rows {
    pool: PgPool,
    table: String,
    way: Way,
    clients: u32,
}

/// The server's version and how durable its commits are.
pub(crate) async fn conditions(url: &str) -> anyhow::Result<String> {
    let pool = PgPoolOptions::new().max_connections(1).connect(url).await?;
    let sql = "SELECT 'PostgreSQL ' || current_setting('server_version') || ', fsync ' || current_setting('fsync') \
               || ', synchronous_commit ' || current_setting('synchronous_commit')";
    Ok(sqlx::query_scalar(sql).fetch_one(&pool).await?)
}

impl Rows {
    pub(crate) async fn connect(url: &str, way: Way, clients: u32) -> anyhow::Result<Self> {
        let pool =
            PgPoolOptions::new().min_connections(clients).max_connections(clients).connect(url).await?;
        let table = format!("stock_{}_{way:?}_{clients}", std::process::id()).to_lowercase();
        // Room for new versions of a row in its own page, which is how such a table is tuned.
        sqlx::raw_sql(&format!(
            "CREATE TABLE {table} (id bigint PRIMARY KEY, available bigint NOT NULL CHECK (available >= 0)) WITH (fillfactor = 50);
             INSERT INTO {table} SELECT n, {UNITS} FROM generate_series(0, {}) n",
            ITEMS - 1
        ))
        .execute(&pool)
        .await?;
        Ok(Self { pool, table, way, clients })
    }
}

struct Client {
    pool: PgPool,
    way: Way,
    select: String,
    update: String,
    items: u64,
    dice: Dice,
}

impl Reserve for Client {
    async fn reserve(&mut self) -> anyhow::Result<()> {
        let item = self.dice.roll(self.items) as i64;
        let updated = match self.way {
            Way::Statement => sqlx::query(&self.update).bind(item).bind(1_i64).execute(&self.pool).await?,
            Way::Lock => {
                let mut transaction = self.pool.begin().await?;
                let left: i64 =
                    sqlx::query_scalar(&self.select).bind(item).fetch_one(&mut *transaction).await?;
                ensure!(left > 0, "sold out");
                let updated =
                    sqlx::query(&self.update).bind(item).bind(1_i64).execute(&mut *transaction).await?;
                transaction.commit().await?;
                updated
            }
        };
        ensure!(updated.rows_affected() == 1, "sold out");
        Ok(())
    }
}

impl Contender for Rows {
    fn name(&self) -> &'static str {
        self.way.name(self.clients)
    }

    fn round(
        &mut self,
        settings: Settings,
        items: u64,
        _: u64,
    ) -> Pin<Box<dyn Future<Output = anyhow::Result<f64>> + '_>> {
        let (pool, way, table) = (self.pool.clone(), self.way, self.table.clone());
        Box::pin(measure(self.clients, settings, move |number| Client {
            pool: pool.clone(),
            way,
            select: format!("SELECT available FROM {table} WHERE id = $1 FOR UPDATE"),
            update: format!(
                "UPDATE {table} SET available = available - $2 WHERE id = $1 AND available >= $2"
            ),
            items,
            dice: Dice::new(number),
        }))
    }
}
