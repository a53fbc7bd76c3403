use std::sync::Arc;
use std::time::Duration;

use daybook_schemas::inventory::Received;
use serde_json::json;

use super::*;
use crate::inventory::{Inventory, query::by_variant};
use crate::model::RowKey;
use crate::testing::{World, eventually, payload};

const PATIENCE: Duration = Duration::from_secs(10);

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

fn registry() -> Registry {
    Registry::new().with(RowKind::new(|| Inventory))
}

fn open(world: &World) -> Projections {
    Projections::open(world.folder.path(), &registry(), world.log(), world.runtime.handle().clone()).unwrap()
}

fn on_hand(generation: &Generation) -> i64 {
    let reader = generation.queries.rows().unwrap();
    let rows = reader.begin().unwrap();
    by_variant(&*rows, "42", daybook_schemas::Timestamp::EPOCH).unwrap().unwrap().on_hand
}

fn numbers(world: &World) -> Generations {
    Manifest::load(world.folder.path()).unwrap().get("inventory").unwrap().clone()
}

#[test]
fn a_rebuild_swaps_and_the_old_one_is_kept_and_can_come_back() {
    let world = World::new();
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
    assert_eq!(numbers(&world), Generations { live: 1, previous: None, building: Some(2), last: 2 });
    receive(&world, 1);
    let swapped = runtime.block_on(projections.swap("inventory", &next, PATIENCE)).unwrap();
    assert_eq!((swapped.from, swapped.to), (1, 2));
    let live = projections.live("inventory").unwrap();
    runtime.block_on(live.handle.wait_for(2, PATIENCE)).unwrap();
    assert_eq!(on_hand(&live), 6);
    // A query that began before still reads the old one.
    assert!(on_hand(&first) >= 6);
    assert_eq!(numbers(&world), Generations { live: 2, previous: Some(1), building: None, last: 2 });

    let back = runtime.block_on(projections.rollback("inventory", PATIENCE)).unwrap();
    assert_eq!((back.from, back.to), (2, 1));
    let position = receive(&world, 10);
    let live = projections.live("inventory").unwrap();
    runtime.block_on(live.handle.wait_for(position, PATIENCE)).unwrap();
    assert_eq!(on_hand(&live), 17, "the damage is back as well");

    assert_eq!(runtime.block_on(projections.cleanup("inventory")).unwrap(), Some(2));
    assert_eq!(runtime.block_on(projections.cleanup("inventory")).unwrap(), None);
    assert!(!world.folder.path().join("inventory@2.sqlite").exists());
    assert!(matches!(
        runtime.block_on(projections.rollback("inventory", PATIENCE)),
        Err(GenerationError::NoPrevious(_))
    ));
    runtime.block_on(projections.stop());
}

#[test]
fn a_restart_opens_what_was_live_and_goes_on_with_a_rebuild_that_was_cut_off() {
    let world = World::new();
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
    assert!(!world.folder.path().join("inventory@2.sqlite").exists());
    let next = world.runtime.block_on(projections.begin_rebuild("inventory")).unwrap();
    assert_eq!(next.number, 3, "numbers are never used twice");
    let stranger = projections.live("inventory").unwrap();
    assert!(matches!(
        world.runtime.block_on(projections.swap("inventory", &stranger, PATIENCE)),
        Err(GenerationError::NotBuilding { .. })
    ));
}

#[test]
fn a_damaged_store_shows_as_halted_and_is_mended_by_a_rebuild() {
    let world = World::new();
    receive(&world, 5);
    let projections = open(&world);
    world.runtime.block_on(projections.stop());
    drop(projections);
    let place = world.folder.path().join("inventory@1.sqlite");
    let _ = std::fs::remove_file(world.folder.path().join("inventory@1.sqlite-wal"));
    std::fs::write(&place, vec![7_u8; 8_192]).unwrap();

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
    std::fs::write(world.folder.path().join("projections.json"), "{\"format\":9,\"projections\":{}}")
        .unwrap();
    let error =
        Projections::open(world.folder.path(), &registry(), world.log(), world.runtime.handle().clone())
            .err()
            .unwrap();
    assert!(error.to_string().contains("format is 9"), "{error}");
}
