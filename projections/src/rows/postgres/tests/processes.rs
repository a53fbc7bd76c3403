//! Several processes on one log and one database: one writes each read model, all show it, and all follow a swap.

use std::time::Duration;

use daybook_eventlog::Position;
use daybook_schemas::inventory::Received;
use serde_json::json;

use super::*;
use crate::generations::{GenerationError, Projections, Registry, RowKind};
use crate::inventory::{Inventory, query::by_variant};
use crate::testing::{World, eventually, payload};

const PATIENCE: Duration = Duration::from_secs(20);

struct Process {
    projections: Projections,
    _folder: tempfile::TempDir,
}

impl Process {
    fn start(world: &World) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::new().with(RowKind::new(|| Inventory).on(&another_process(&world.stores)));
        let runtime = world.runtime.handle().clone();
        let projections = Projections::open(folder.path(), &registry, world.log(), runtime).unwrap();
        Self { projections, _folder: folder }
    }

    fn wait(&self, world: &World, position: Position) {
        let live = self.projections.live("inventory").unwrap();
        world.runtime.block_on(live.handle.wait_for(position, PATIENCE)).unwrap();
    }

    fn on_hand(&self) -> i64 {
        let live = self.projections.live("inventory").unwrap();
        let reader = live.queries.rows().unwrap();
        let rows = reader.begin().unwrap();
        by_variant(&*rows, "42", daybook_schemas::Timestamp::EPOCH).unwrap().unwrap().on_hand
    }

    fn state(&self) -> &'static str {
        self.projections.status()[0].state
    }

    fn generation(&self) -> u64 {
        self.projections.live("inventory").unwrap().number
    }
}

fn receive(world: &World) -> Position {
    let event: daybook_schemas::inventory::Event =
        payload::<Received>(json!({"location": "default", "quantity": 1})).into();
    world.append("inventory-42", event)
}

fn two() -> Option<(World, Process, Process)> {
    postgres_url()?;
    let world = World::on(On::Postgres);
    let first = Process::start(&world);
    eventually("writes", || first.state() == "running");
    let second = Process::start(&world);
    eventually("follows", || second.state() == "following");
    Some((world, first, second))
}

#[test]
fn one_writes_and_a_waiter_at_the_other_sees_what_it_waited_for() {
    let Some((world, first, second)) = two() else { return };
    for n in 1..=10 {
        let position = receive(&world);
        second.wait(&world, position);
        assert_eq!(second.on_hand(), n);
    }
    eventually("the first writes", || (first.state(), second.state()) == ("running", "following"));
}

#[test]
fn when_the_writer_ends_the_other_goes_on_where_it_was() {
    let Some((world, first, second)) = two() else { return };
    second.wait(&world, receive(&world));
    world.runtime.block_on(first.projections.stop());
    drop(first);
    let position = receive(&world);
    second.wait(&world, position);
    eventually("writes", || second.state() == "running");
    assert_eq!(second.on_hand(), 2);
    let third = Process::start(&world);
    third.wait(&world, position);
    eventually("follows", || third.state() == "following");
}

#[test]
fn a_pause_at_one_is_a_pause_at_all() {
    let Some((world, first, second)) = two() else { return };
    second.wait(&world, receive(&world));
    world.runtime.block_on(second.projections.pause("inventory")).unwrap();
    let position = receive(&world);
    eventually("all stand still", || (first.state(), second.state()) == ("paused", "paused"));
    assert_eq!(first.on_hand(), 1);
    // Also for one that comes later, with nobody left who was told.
    world.runtime.block_on(first.projections.stop());
    world.runtime.block_on(second.projections.stop());
    drop((first, second));
    let (first, second) = (Process::start(&world), Process::start(&world));
    assert_eq!((first.state(), second.state()), ("paused", "paused"));
    // Whoever it is asked of.
    world.runtime.block_on(first.projections.resume("inventory")).unwrap();
    first.wait(&world, position);
    assert_eq!(first.on_hand(), 2);
    eventually("both go on", || {
        let mut states = [first.state(), second.state()];
        states.sort_unstable();
        states == ["following", "running"]
    });
}

#[test]
fn a_swap_at_one_goes_live_at_the_other_and_so_does_a_rollback() {
    let Some((world, first, second)) = two() else { return };
    let last = receive(&world);
    first.wait(&world, last);
    second.wait(&world, last);
    let next = world.runtime.block_on(second.projections.begin_rebuild("inventory")).unwrap();
    // The first joins in what the other began, and one of them carries it through.
    let joined = world.runtime.block_on(first.projections.begin_rebuild("inventory")).unwrap();
    assert_eq!((next.number, joined.number), (2, 2));
    world.runtime.block_on(next.handle.wait_for(last, PATIENCE)).unwrap();
    world.runtime.block_on(second.projections.swap("inventory", &next, PATIENCE)).unwrap();
    let late = world.runtime.block_on(first.projections.swap("inventory", &joined, PATIENCE));
    assert!(matches!(late, Err(GenerationError::NotBuilding { .. })), "swapped once");
    eventually("follows the swap", || first.generation() == 2);
    let position = receive(&world);
    first.wait(&world, position);
    second.wait(&world, position);
    assert_eq!((first.on_hand(), second.on_hand()), (2, 2));

    let back = world.runtime.block_on(first.projections.rollback("inventory", PATIENCE)).unwrap();
    assert_eq!((back.from, back.to), (2, 1));
    eventually("follows the rollback", || second.generation() == 1);
    let position = receive(&world);
    second.wait(&world, position);
    assert_eq!(second.on_hand(), 3);
    assert_eq!(world.runtime.block_on(second.projections.cleanup("inventory")).unwrap(), Some(2));
    assert!(!world.stores.exists(&world.stores.engine.place(world.folder(), "inventory", 2)));
    assert!(world.stores.exists(&world.stores.engine.place(world.folder(), "inventory", 1)));
}

#[test]
fn each_position_is_folded_once_though_writers_take_turns() {
    let Some((world, first, second)) = two() else { return };
    let processes = [&first, &second];
    let mut last = 0;
    for turn in 0..12 {
        for _ in 0..20 {
            last = receive(&world);
        }
        let live = processes[turn % 2].projections.live("inventory").unwrap();
        // Takes the writing from the other, in the middle of whatever that one does.
        world.runtime.block_on(live.handle.lend()).unwrap();
        world.runtime.block_on(live.handle.take_back()).unwrap();
    }
    for process in processes {
        process.wait(&world, last);
        assert_eq!(process.on_hand(), 240);
    }
}
