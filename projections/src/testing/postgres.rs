//! A part of a PostgreSQL server for one test, and meddling with it.

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor, Row};
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::rows::postgres::{PostgresOptions, PostgresSchemas};

/// Schemas that nobody else uses, dropped at the end.
pub(crate) struct Database {
    pub(crate) options: PostgresOptions,
    runtime: Runtime,
}

impl Database {
    pub(crate) fn fresh(url: String) -> Self {
        // Test data: the one id source is out of this crate's reach.
        #[allow(clippy::disallowed_methods)]
        let id = Uuid::now_v7().simple().to_string();
        let mut options = PostgresOptions::new(url).with_schema(format!("t{}", &id[4..28]));
        // Many tests share a server that takes a hundred connections.
        options.query_connections = 4;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { options, runtime }
    }

    /// The stores as one more process would have them.
    pub(crate) fn process(&self) -> PostgresSchemas {
        PostgresSchemas::connect(self.options.clone()).unwrap()
    }

    pub(crate) fn schema_of(&self, place: &std::path::Path) -> String {
        let name = place.file_name().unwrap().to_str().unwrap();
        let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        format!("{}_{plain}", self.options.schema)
    }

    /// Runs statements, separated by semicolons, on a connection of their own.
    pub(crate) fn run(&self, sql: &str) {
        self.runtime.block_on(async {
            let mut connection = PgConnection::connect(&self.options.url).await.unwrap();
            connection.execute(sql).await.unwrap();
        });
    }

    /// The only value of a query.
    pub(crate) fn text(&self, sql: &str) -> Option<String> {
        self.runtime.block_on(async {
            let mut connection = PgConnection::connect(&self.options.url).await.unwrap();
            sqlx::query(sql).fetch_one(&mut connection).await.unwrap().get(0)
        })
    }

    /// Ends the connections whose last statement contains `part`; how many there were.
    pub(crate) fn terminate(&self, part: &str) -> usize {
        let sql = format!(
            "SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity \
             WHERE pid <> pg_backend_pid() AND query LIKE '%{part}%'"
        );
        self.text(&sql).unwrap().parse().unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let sql = format!(
            "DO $$ DECLARE name text; BEGIN \
             FOR name IN SELECT nspname FROM pg_namespace WHERE nspname LIKE '{0}%' \
             LOOP EXECUTE 'DROP SCHEMA ' || name || ' CASCADE'; END LOOP; END $$",
            self.options.schema
        );
        if !std::thread::panicking() {
            self.run(&sql);
        }
    }
}
