//! What only a server brings: several writers, lost connections, lost answers; and that its rows are those of SQLite.

mod differential;
mod faults;
mod processes;
mod writers;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::rows::{Column, IndexValue, KeyKind, RowChange, RowWrite, StoreSpec, TableSpec, View};
use crate::testing::{On, Stores, postgres_url};

static THINGS: TableSpec = TableSpec {
    name: "things",
    key: KeyKind::Text,
    columns: &[Column::text("colour"), Column::integer("size")],
    indexes: &[&["colour", "size"], &["size"]],
    dictionary: None,
};
static EVENTS: TableSpec = TableSpec {
    name: "events",
    key: KeyKind::Position,
    columns: &[Column::text("kind")],
    indexes: &[&["kind"]],
    dictionary: None,
};
static TABLES: &[&TableSpec] = &[&THINGS, &EVENTS];
const SPEC: StoreSpec = StoreSpec { name: "test", version: 1, tables: TABLES };

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Thing {
    colour: Option<String>,
    size: i64,
}

impl View for Thing {
    const TABLE: &'static TableSpec = &THINGS;

    fn index(&self) -> Vec<IndexValue> {
        vec![self.colour.as_deref().into(), self.size.into()]
    }
}

fn upsert(key: &str, size: i64) -> RowWrite {
    let thing = Thing { colour: Some("red".to_owned()), size };
    let change = RowChange::Upsert { doc: serde_json::to_vec(&thing).unwrap(), index: thing.index() };
    RowWrite { table: &THINGS, key: key.into(), change }
}

/// Stores on the server; `None` where there is none.
fn stores() -> Option<Stores> {
    postgres_url().map(|_| On::Postgres.stores())
}

/// The same stores as another process has them.
fn another_process(stores: &Stores) -> Arc<dyn crate::rows::RowEngine> {
    Arc::new(stores.database.as_ref().unwrap().process())
}
