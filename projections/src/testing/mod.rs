//! Events and logs for the tests of this crate.

pub(crate) mod orders;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
mod stores;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use daybook_eventlog::memory::MemoryLog;
use daybook_eventlog::{Append, EventLog, Expected, NewEvent, Position, StreamAppend, StreamId};
use daybook_schemas::{AnyEvent, Metadata};
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;
use uuid::Uuid;

#[cfg(feature = "postgres")]
pub(crate) use stores::postgres_url;
pub(crate) use stores::{On, Stores, each_engine};

use crate::generations::{Opened, ReadModelKind, RowKind};
use crate::model::{ReadModel, RowAccess};
use crate::rows::{Projector, RowReader};
use crate::runner::{RunnerOptions, catch_up};

/// A log, and a runtime to read it with.
pub(crate) struct World {
    pub(crate) runtime: Runtime,
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) stores: Stores,
    appended: std::sync::atomic::AtomicU64,
    replays: std::sync::atomic::AtomicU64,
}

pub(crate) const ACTOR: &str = "tester";

impl World {
    pub(crate) fn new() -> Self {
        Self::on(On::any())
    }

    /// With its stores on this engine.
    pub(crate) fn on(on: On) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self {
            runtime,
            log: Arc::new(MemoryLog::new()),
            stores: on.stores(),
            appended: std::sync::atomic::AtomicU64::new(0),
            replays: std::sync::atomic::AtomicU64::new(0),
        }
    }

    pub(crate) fn log(&self) -> Arc<dyn EventLog> {
        Arc::clone(&self.log) as Arc<dyn EventLog>
    }

    /// Appends an event; its position. Each is recorded one second after the one before.
    pub(crate) fn append(&self, stream: &str, event: impl Into<AnyEvent>) -> Position {
        let event = event.into();
        self.append_raw(stream, event.wire_name(), event.version(), event.to_data())
    }

    pub(crate) fn append_raw(
        &self,
        stream: &str,
        wire_name: &'static str,
        version: u16,
        data: Vec<u8>,
    ) -> Position {
        let number = self.appended.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        let metadata: Metadata = serde_json::from_value(serde_json::json!({
            "command_id": format!("c{number}"), "correlation_id": format!("c{number}"),
            "causation_id": format!("c{number}"), "actor": ACTOR,
        }))
        .unwrap();
        let event = NewEvent {
            event_id: Uuid::from_u128(u128::from(number)),
            event_type: wire_name,
            version,
            recorded_at: 1_320_000_000_000_000 + i64::try_from(number).unwrap() * 1_000_000,
            data: Bytes::from(data),
            metadata: Bytes::from(serde_json::to_vec(&metadata).unwrap()),
        };
        let stream = StreamAppend {
            stream: StreamId::new(stream).unwrap(),
            expected: Expected::Any,
            events: vec![event],
        };
        let appended = self.log.append(Append::new(vec![stream]));
        self.runtime.block_on(appended).unwrap().last
    }

    pub(crate) fn head(&self) -> Position {
        self.runtime.block_on(self.log.head()).unwrap().position
    }

    /// A read model in a store of its own, caught up.
    pub(crate) fn project<P: Projector>(&self, projector: fn() -> P) -> Projection {
        let number = self.replays.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut projection = self.open(projector, &format!("replay-{number}"));
        projection.catch_up(self);
        projection
    }

    /// The same in stores elsewhere.
    #[cfg(feature = "postgres")]
    pub(crate) fn project_on<P: Projector>(&self, projector: fn() -> P, stores: &Stores) -> Projection {
        let opened = RowKind::new(projector).on(&stores.engine).open(&stores.place("replay"), 1).unwrap();
        let mut projection = Projection::new(opened);
        projection.catch_up(self);
        projection
    }

    /// All rows of a standard read model in stores of the test's choice, after a replay in pages of so many events.
    #[cfg(feature = "postgres")]
    pub(crate) fn rows_of(&self, name: &str, stores: &Stores, page_events: usize) -> Vec<String> {
        let registry = crate::standard::registry_on(&stores.engine);
        let opened = registry.get(name).unwrap().open(&stores.place(name), 1).unwrap();
        let mut projection = Projection::new(opened);
        projection.options.page_events = page_events;
        projection.options.max_pending_events = page_events * 2;
        projection.catch_up(self);
        projection.dump()
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        self.stores.folder.path()
    }

    /// The store with this name, opened.
    pub(crate) fn open_kind<P: Projector>(&self, projector: fn() -> P, store: &str) -> Opened {
        RowKind::new(projector).on(&self.stores.engine).open(&self.stores.place(store), 1).unwrap()
    }

    /// A read model in the store with this name.
    pub(crate) fn open<P: Projector>(&self, projector: fn() -> P, store: &str) -> Projection {
        Projection::new(self.open_kind(projector, store))
    }
}

/// A read model that is driven by hand.
pub(crate) struct Projection {
    pub(crate) model: Option<Box<dyn ReadModel>>,
    pub(crate) reader: Arc<dyn RowReader>,
    pub(crate) options: RunnerOptions,
}

impl Projection {
    fn new(opened: Opened) -> Self {
        let Opened { model, queries } = opened;
        Self { model: Some(model), reader: queries.rows().unwrap(), options: RunnerOptions::default() }
    }

    pub(crate) fn catch_up(&mut self, world: &World) {
        self.catch_up_to(world, world.head());
    }

    pub(crate) fn catch_up_to(&mut self, world: &World, until: Position) {
        let model = self.model.take().unwrap();
        let options = self.options.clone();
        let caught_up =
            catch_up("test", model, world.log(), world.runtime.handle(), options, until, &mut |_| {});
        self.model = Some(caught_up.unwrap());
    }

    pub(crate) fn model(&mut self) -> &mut dyn ReadModel {
        &mut **self.model.as_mut().unwrap()
    }

    /// All rows of all tables as text, in order.
    pub(crate) fn dump(&mut self) -> Vec<String> {
        dump(&*self.model().snapshot().unwrap())
    }
}

/// All rows as text, read in small pages.
pub(crate) fn dump(rows: &dyn RowAccess) -> Vec<String> {
    let mut all = Vec::new();
    for table in rows.tables() {
        let mut after: Option<String> = None;
        loop {
            let page = rows.scan(table, after.as_deref(), 3).unwrap();
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            all.extend(
                page.iter().map(|(key, json)| format!("{table}/{key} {}", String::from_utf8_lossy(json))),
            );
        }
    }
    all
}

/// Some stock and some variants, with changes of each.
#[cfg(feature = "postgres")]
pub(crate) fn stock_and_variants(world: &World, count: usize) {
    use daybook_schemas::{inventory, variant};
    let bytes = |data: serde_json::Value| serde_json::to_vec(&data).unwrap();
    for n in 0..=count {
        let id = format!("v{}", n % 5);
        let received = bytes(serde_json::json!({"location": format!("l{}", n % 3), "quantity": n % 9 + 1}));
        world.append(
            &format!("inventory-{id}"),
            inventory::Event::from_data("inventory.received", &received).unwrap().unwrap(),
        );
        let created = bytes(serde_json::json!({
            "variant_id": format!("w{n}"), "product_id": "p1", "product_group": format!("Größe {}", n % 4),
            "sku": format!("SKU-{n}"), "name": "Shirt", "brand": "Acme", "category": "Shirts", "attributes": [],
            "config_hash": format!("hash-{n}"), "config_signature": "color:navy", "channels": ["web"], "regions": [],
            "created_at": "2011-11-04T10:00:00Z",
        }));
        world.append(
            &format!("variant-w{n}"),
            variant::Event::from_data("variant.created", &created).unwrap().unwrap(),
        );
    }
}

/// A payload from JSON.
pub(crate) fn payload<T: DeserializeOwned>(json: serde_json::Value) -> T {
    serde_json::from_value(json).unwrap()
}

/// Waits for a condition, at most two minutes.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        // Projectors run at a lower priority: whoever waits must not take the processor from them.
        std::thread::sleep(Duration::from_millis(2));
    }
}
