//! The promises that every backend keeps.

use std::sync::Arc;

use daybook_eventlog::conformance::Backend;
use daybook_eventlog::postgres::{PostgresLog, PostgresOptions};
use daybook_eventlog::{EventLog, conformance_suite};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::support::Database;

struct Postgres(PostgresOptions);

impl Backend for Postgres {
    fn open(&self) -> BoxFuture<'_, Arc<dyn EventLog>> {
        async {
            let log: Arc<dyn EventLog> = Arc::new(PostgresLog::connect(self.0.clone()).await.unwrap());
            log
        }
        .boxed()
    }

    fn can_reopen(&self) -> bool {
        true
    }
}

macro_rules! fresh {
    ($change:expr) => {
        match Database::fresh() {
            Some(database) => {
                let change: fn(PostgresOptions) -> PostgresOptions = $change;
                Postgres(change(database.options()))
            }
            None => return,
        }
    };
}

conformance_suite!(grouped, fresh!(|options| options));
conformance_suite!(
    one_event_a_transaction_one_connection,
    fresh!(|options| PostgresOptions { group_events: 1, read_connections: 1, ..options })
);
