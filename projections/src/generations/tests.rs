use std::sync::Arc;
use std::time::Duration;

use daybook_schemas::inventory::Received;
use serde_json::json;

use super::*;
use crate::inventory::{Inventory, query::by_variant};
use crate::model::RowKey;
use crate::runner::RunnerState;
use crate::testing::{On, World, each_engine, eventually, payload};

const PATIENCE: Duration = Duration::from_secs(90);

fn receive(world: &World, quantity: u32) -> Position {
    world.append(
        "inventory-42",
        payload::<Received>(json!({"location": "default", "quantity": quantity})).into_event(),
    )
}

trait IntoEvent {
    fn into_event(self) -> daybook_schemas::inventory::Event;
}

impl IntoEvent for Received {
    fn into_event(self) -> daybook_schemas::inventory::Event {
        self.into()
    }
}

fn registry(world: &World) -> Registry {
    Registry::new().with(RowKind::new(|| Inventory).on(&world.stores.engine))
}

fn open(world: &World) -> Projections {
    Projections::open(world.folder(), &registry(world), world.log(), world.runtime.handle().clone()).unwrap()
}

fn on_hand(generation: &Generation) -> i64 {
    let reader = generation.queries.rows().unwrap();
    let rows = reader.begin().unwrap();
    by_variant(&*rows, "42", daybook_schemas::Timestamp::EPOCH).unwrap().unwrap().on_hand
}

fn place(world: &World, generation: u64) -> PathBuf {
    world.stores.engine.place(world.folder(), "inventory", generation)
}

fn exists(world: &World, generation: u64) -> bool {
    world.stores.exists(&place(world, generation))
}

fn numbers(world: &World) -> Generations {
    match world.stores.engine.ledger() {
        Some(ledger) => ledger.get("inventory").unwrap().unwrap(),
        None => Manifest::load(world.folder()).unwrap().get("inventory").unwrap().clone(),
    }
}

fn a_rebuild_swaps_and_the_old_one_is_kept_and_can_come_back(on: On) {
    let world = World::on(on);
    let runtime = &world.runtime;
    let projections = open(&world);
    let first = projections.live("inventory").unwrap();
    runtime.block_on(first.handle.wait_for(receive(&world, 5), PATIENCE)).unwrap();
    // Damage that a rebuild does away with.
    let key = RowKey { table: "stock", key: "42".to_owned() };
    let row = first.handle.with_model(move |model| {
        let row = model
            .snapshot()?
            .get(&key)?
            .map(|json| String::from_utf8_lossy(&json).replace("\"on_hand\":5", "\"on_hand\":6"));
        model.repair(&[(key, row.map(String::into_bytes))])
    });
    runtime.block_on(row).unwrap().unwrap();
    assert_eq!(on_hand(&first), 6);

    let next = runtime.block_on(projections.begin_rebuild("inventory")).unwrap();
    assert_eq!(next.number, 2);
    assert!(Arc::ptr_eq(&next, &runtime.block_on(projections.begin_rebuild("inventory")).unwrap()));
    assert_eq!(numbers(&world), Generations { building: Some(2), last: 2, ..Generations::first() });
    receive(&world, 1);
    let swapped = runtime.block_on(projections.swap("inventory", &next, PATIENCE)).unwrap();
    assert_eq!((swapped.from, swapped.to), (1, 2));
    let live = projections.live("inventory").unwrap();
    runtime.block_on(live.handle.wait_for(2, PATIENCE)).unwrap();
    assert_eq!(on_hand(&live), 6);
    // A query that began before still reads the old one.
    assert!(on_hand(&first) >= 6);
    assert_eq!(numbers(&world), Generations { live: 2, previous: Some(1), last: 2, ..Generations::first() });

    let back = runtime.block_on(projections.rollback("inventory", PATIENCE)).unwrap();
    assert_eq!((back.from, back.to), (2, 1));
    let position = receive(&world, 10);
    let live = projections.live("inventory").unwrap();
    runtime.block_on(live.handle.wait_for(position, PATIENCE)).unwrap();
    assert_eq!(on_hand(&live), 17, "the damage is back as well");

    // What is paused stays paused, with what it has.
    runtime.block_on(projections.pause("inventory")).unwrap();
    let next = runtime.block_on(projections.begin_rebuild("inventory")).unwrap();
    runtime.block_on(projections.swap("inventory", &next, PATIENCE)).unwrap();
    let live = projections.live("inventory").unwrap();
    assert_eq!((live.number, live.handle.state()), (next.number, RunnerState::Paused));
    let back = runtime.block_on(projections.rollback("inventory", PATIENCE)).unwrap();
    let live = projections.live("inventory").unwrap();
    assert_eq!((back.to, live.handle.state()), (1, RunnerState::Paused));
    runtime.block_on(projections.resume("inventory")).unwrap();
    let position = receive(&world, 1);
    runtime.block_on(live.handle.wait_for(position, PATIENCE)).unwrap();

    assert_eq!(runtime.block_on(projections.cleanup("inventory")).unwrap(), Some(3));
    assert_eq!(runtime.block_on(projections.cleanup("inventory")).unwrap(), None);
    assert!(!exists(&world, 2) && !exists(&world, 3));
    assert!(matches!(
        runtime.block_on(projections.rollback("inventory", PATIENCE)),
        Err(GenerationError::NoPrevious(_))
    ));
    runtime.block_on(projections.stop());
}

fn a_pause_holds_through_restarts_and_whatever_else_is_done_until_it_is_lifted(on: On) {
    let world = World::on(on);
    let runtime = &world.runtime;
    let projections = open(&world);
    let before = receive(&world, 5);
    let live = projections.live("inventory").unwrap();
    runtime.block_on(live.handle.wait_for(before, PATIENCE)).unwrap();
    assert!(matches!(runtime.block_on(projections.pause("none")), Err(GenerationError::Unknown(_))));
    runtime.block_on(projections.pause("inventory")).unwrap();
    assert!(numbers(&world).paused);
    // Work of ours that comes and goes does not lift it.
    runtime.block_on(live.handle.lend()).unwrap();
    runtime.block_on(live.handle.take_back()).unwrap();
    assert_eq!(live.handle.state(), RunnerState::Paused);
    runtime.block_on(projections.stop());
    drop((live, projections));

    let after = receive(&world, 1);
    for _ in 0..2 {
        let projections = open(&world);
        let live = projections.live("inventory").unwrap();
        // Nothing is read between the opening and a first look: it stood still from the start.
        assert_eq!((live.handle.state(), live.handle.is_held()), (RunnerState::Paused, true));
        assert_eq!(projections.status_of("inventory").unwrap().state, "paused");
        let next = runtime.block_on(projections.begin_rebuild("inventory")).unwrap();
        runtime.block_on(next.handle.wait_for(after, PATIENCE)).unwrap();
        runtime.block_on(projections.stop());
        assert_eq!(live.handle.checkpoint(), before);
        assert!(numbers(&world).paused, "what begins a rebuild leaves it as it is");
    }

    let projections = open(&world);
    let live = projections.live("inventory").unwrap();
    // Lifted while work of ours is done: it goes on after that.
    runtime.block_on(live.handle.lend()).unwrap();
    runtime.block_on(projections.resume("inventory")).unwrap();
    assert!(!numbers(&world).paused);
    assert_eq!((live.handle.state(), live.handle.is_held()), (RunnerState::Paused, false));
    runtime.block_on(live.handle.take_back()).unwrap();
    runtime.block_on(live.handle.wait_for(after, PATIENCE)).unwrap();
    runtime.block_on(projections.stop());
    drop((live, projections));
    let projections = open(&world);
    let position = receive(&world, 1);
    let live = projections.live("inventory").unwrap();
    runtime.block_on(live.handle.wait_for(position, PATIENCE)).unwrap();
    runtime.block_on(projections.stop());
}

fn a_restart_opens_what_was_live_and_goes_on_with_a_rebuild_that_was_cut_off(on: On) {
    let world = World::on(on);
    receive(&world, 5);
    let projections = open(&world);
    let building = world.runtime.block_on(projections.begin_rebuild("inventory")).unwrap();
    world.runtime.block_on(building.handle.wait_for(1, PATIENCE)).unwrap();
    world.runtime.block_on(projections.stop());
    drop((building, projections));
    let projections = open(&world);
    assert_eq!(projections.live("inventory").unwrap().number, 1);
    let building = world.runtime.block_on(projections.begin_rebuild("inventory")).unwrap();
    assert_eq!((building.number, building.handle.checkpoint()), (2, 1));
    world.runtime.block_on(projections.abandon_rebuild("inventory")).unwrap();
    assert!(!exists(&world, 2));
    let next = world.runtime.block_on(projections.begin_rebuild("inventory")).unwrap();
    assert_eq!(next.number, 3, "numbers are never used twice");
    let stranger = projections.live("inventory").unwrap();
    assert!(matches!(
        world.runtime.block_on(projections.swap("inventory", &stranger, PATIENCE)),
        Err(GenerationError::NotBuilding { .. })
    ));
}

fn a_damaged_store_shows_as_halted_and_is_mended_by_a_rebuild(on: On) {
    let world = World::on(on);
    receive(&world, 5);
    let projections = open(&world);
    world.runtime.block_on(projections.stop());
    drop(projections);
    match world.stores.on {
        On::Sqlite => {
            let place = place(&world, 1);
            let _ = std::fs::remove_file(world.folder().join("inventory@1.sqlite-wal"));
            std::fs::write(&place, vec![7_u8; 8_192]).unwrap();
        }
        #[cfg(feature = "postgres")]
        On::Postgres => {
            world.stores.meddle(&place(&world, 1), "UPDATE daybook_meta SET projection = 'other'")
        }
    }

    let projections = open(&world);
    let status = projections.status();
    assert_eq!((status[0].state, status[0].generation), ("halted", 1));
    assert!(status[0].reason.as_ref().unwrap().contains("rebuild"));
    assert!(matches!(projections.live("inventory"), Err(GenerationError::Store(StoreError::Damaged(_)))));
    let next = world.runtime.block_on(projections.begin_rebuild("inventory")).unwrap();
    world.runtime.block_on(next.handle.wait_for(1, PATIENCE)).unwrap();
    world.runtime.block_on(projections.swap("inventory", &next, PATIENCE)).unwrap();
    assert_eq!(on_hand(&projections.live("inventory").unwrap()), 5);
    eventually("running", || projections.status()[0].state == "running");
}

#[test]
fn a_manifest_that_cannot_be_read_stops_the_start() {
    let world = World::new();
    std::fs::write(world.folder().join("projections.json"), "{\"format\":9,\"projections\":{}}").unwrap();
    let error =
        Projections::open(world.folder(), &registry(&world), world.log(), world.runtime.handle().clone())
            .err()
            .unwrap();
    assert!(error.to_string().contains("format is 9"), "{error}");
}

each_engine!(
    a_rebuild_swaps_and_the_old_one_is_kept_and_can_come_back,
    a_pause_holds_through_restarts_and_whatever_else_is_done_until_it_is_lifted,
    a_restart_opens_what_was_live_and_goes_on_with_a_rebuild_that_was_cut_off,
    a_damaged_store_shows_as_halted_and_is_mended_by_a_rebuild,
);
