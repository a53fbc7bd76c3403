//! The runner: batches, crashes, gaps, dead letters, retries, pausing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use daybook_eventlog::pass_to_log;
use daybook_eventlog::{EventLog, Filter, Page, Position, ReadError, RecordedEvent};
use daybook_schemas::inventory::{Adjusted, Received};
use futures::future::BoxFuture;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::generations::Opened;
use crate::inventory::Inventory;
use crate::model::{
    Claim, DeadLetter, LetterChange, ProjectError, Projected, ReadModel, RowAccess, RowKey, StoreError,
};
use crate::testing::{On, World, dump, each_engine, eventually, payload};

fn received(quantity: u32) -> daybook_schemas::inventory::Event {
    payload::<Received>(json!({"location": "default", "quantity": quantity})).into()
}

/// An event that the test's projector rejects while it is told to.
fn poison() -> daybook_schemas::inventory::Event {
    payload::<Adjusted>(json!({"location": "default", "delta": -1, "reason": "poison"})).into()
}

fn inventory(world: &World, store: &str) -> Opened {
    world.open_kind(|| Inventory, store)
}

#[test]
fn a_read_model_rests_in_proportion_to_its_work_within_bounds() {
    let options = RunnerOptions::default();
    let after = |millis| thread::pace_after(&options, Duration::from_millis(millis));
    assert_eq!((after(0), after(1)), (options.pace, options.pace));
    assert_eq!(after(12), Duration::from_millis(120));
    assert_eq!((after(25), after(10_000)), (options.longest_pace, options.longest_pace));
    // A pace of its own that is longer than that stands.
    let slow = RunnerOptions { pace: Duration::from_secs(1), ..options };
    assert_eq!(thread::pace_after(&slow, Duration::from_secs(5)), slow.pace);
}

/// What a test wants to go wrong.
#[derive(Default)]
struct Faults {
    reject_poison: AtomicBool,
    failing_commits: AtomicUsize,
    commits: AtomicUsize,
}

/// The inventory read model, with faults.
struct Faulty {
    inner: Box<dyn ReadModel>,
    faults: Arc<Faults>,
}

impl ReadModel for Faulty {
    fn checkpoint(&self) -> Position {
        self.inner.checkpoint()
    }
    fn claim(&mut self) -> Result<Claim, StoreError> {
        self.inner.claim()
    }
    fn claim_due(&self) -> Option<Instant> {
        self.inner.claim_due()
    }
    fn seize(&mut self) -> Result<Claim, StoreError> {
        self.inner.seize()
    }
    fn handles(&self, event_type: &str) -> bool {
        self.inner.handles(event_type)
    }
    fn apply(&mut self, event: &Projected) -> Result<(), ProjectError> {
        // After the rows have changed: the runner has to take that back.
        self.inner.apply(event)?;
        let is_poison = event.recorded.data().windows(6).any(|window| window == b"poison");
        if is_poison && self.faults.reject_poison.load(Ordering::SeqCst) {
            return Err(ProjectError::Rejected("poison".to_owned()));
        }
        Ok(())
    }
    fn pass_over(&mut self, event: &RecordedEvent) -> Result<(), ProjectError> {
        self.inner.pass_over(event)
    }
    fn keeps_dead_letters(&self) -> bool {
        true
    }
    fn commit_with_letters(
        &mut self,
        checkpoint: Position,
        letters: &[LetterChange],
    ) -> Result<(), StoreError> {
        let failing = self.faults.failing_commits.load(Ordering::SeqCst);
        if failing > 0 {
            self.faults.failing_commits.store(failing - 1, Ordering::SeqCst);
            return Err(StoreError::Unavailable("as the test wants".to_owned()));
        }
        self.faults.commits.fetch_add(1, Ordering::SeqCst);
        self.inner.commit_with_letters(checkpoint, letters)
    }
    fn dead_letters(&self) -> Result<Vec<DeadLetter>, StoreError> {
        self.inner.dead_letters()
    }
    fn pending_bytes(&self) -> usize {
        self.inner.pending_bytes()
    }
    fn commit(&mut self, checkpoint: Position) -> Result<(), StoreError> {
        self.commit_with_letters(checkpoint, &[])
    }
    fn rollback(&mut self) {
        self.inner.rollback();
    }
    fn snapshot(&self) -> Result<Box<dyn RowAccess>, StoreError> {
        self.inner.snapshot()
    }
    fn repair(&mut self, rows: &[(RowKey, Option<Vec<u8>>)]) -> Result<(), StoreError> {
        self.inner.repair(rows)
    }
}

fn faulty(world: &World, store: &str) -> (Box<dyn ReadModel>, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    (Box::new(Faulty { inner: inventory(world, store).model, faults: Arc::clone(&faults) }), faults)
}

fn run(world: &World, model: Box<dyn ReadModel>) -> ProjectionHandle {
    let options = RunnerOptions { backoff: Duration::from_millis(1), ..RunnerOptions::default() };
    start("inventory", 1, model, world.log(), world.runtime.handle(), options).unwrap()
}

fn wait(world: &World, handle: &ProjectionHandle, position: Position) {
    world.runtime.block_on(handle.wait_for(position, Duration::from_secs(90))).unwrap();
}

fn rows(world: &World, handle: &ProjectionHandle) -> Vec<String> {
    let snapshot = world.runtime.block_on(handle.with_model(|model| model.snapshot())).unwrap().unwrap();
    dump(&*snapshot)
}

fn it_follows_the_log_and_a_waiter_sees_what_it_waited_for(on: On) {
    let world = World::on(on);
    let Opened { model, queries } = inventory(&world, "a");
    let handle = run(&world, model);
    for i in 1..=20 {
        let position = world.append("inventory-42", received(1));
        wait(&world, &handle, position);
        let reader = queries.rows().unwrap();
        let rows = reader.begin().unwrap();
        assert!(rows.checkpoint() >= position);
        let summary = crate::inventory::query::by_variant(&*rows, "42", daybook_schemas::Timestamp::EPOCH)
            .unwrap()
            .unwrap();
        assert_eq!(summary.on_hand, i);
    }
    eventually("running", || handle.status().state == "running");
    assert_eq!((handle.lag(), handle.status().events), (0, 20));
}

fn a_waiter_is_told_when_time_is_up_and_when_the_runner_has_ended(on: On) {
    let world = World::on(on);
    let handle = run(&world, inventory(&world, "a").model);
    let behind = world.runtime.block_on(handle.wait_for(1, Duration::from_millis(1)));
    assert!(matches!(behind, Err(RunnerError::Behind { checkpoint: 0, wanted: 1, .. })));
    world.runtime.block_on(handle.stop());
    let stopped = world.runtime.block_on(handle.wait_for(1, Duration::from_secs(10)));
    assert!(matches!(stopped, Err(RunnerError::Stopped(_))));
    assert!(matches!(world.runtime.block_on(handle.pause()), Err(RunnerError::Stopped(_))));
}

fn paused_it_takes_nothing_and_resumed_it_goes_on(on: On) {
    let world = World::on(on);
    let handle = run(&world, inventory(&world, "a").model);
    wait(&world, &handle, world.append("inventory-42", received(1)));
    world.runtime.block_on(handle.pause()).unwrap();
    let later = world.append("inventory-42", received(1));
    assert_eq!(handle.status().state, "paused");
    assert_eq!(handle.checkpoint(), 1);
    world.runtime.block_on(handle.resume()).unwrap();
    wait(&world, &handle, later);
}

fn a_store_that_fails_for_a_while_is_tried_again_and_nothing_is_lost_or_doubled(on: On) {
    let world = World::on(on);
    let (model, faults) = faulty(&world, "a");
    faults.failing_commits.store(5, Ordering::SeqCst);
    let mut last = 0;
    for _ in 0..50 {
        last = world.append("inventory-42", received(1));
    }
    let handle = run(&world, model);
    wait(&world, &handle, last);
    assert_eq!(handle.status().retries, 5);
    assert_eq!(rows(&world, &handle), world.project(|| Inventory).dump());
}

fn a_rejected_event_is_parked_with_its_stream_while_others_go_on(on: On) {
    let world = World::on(on);
    let (model, faults) = faulty(&world, "a");
    faults.reject_poison.store(true, Ordering::SeqCst);
    world.append("inventory-a", received(10));
    world.append("inventory-b", received(10));
    let poisoned = world.append("inventory-a", poison());
    world.append("inventory-b", received(1));
    let blocked = world.append("inventory-a", received(5));
    let handle = run(&world, model);
    wait(&world, &handle, blocked);
    eventually("degraded", || handle.status().state == "degraded");
    let letters = world.runtime.block_on(handle.dead_letters()).unwrap();
    let seen: Vec<_> = letters.iter().map(|l| (l.position, l.stream.as_str(), l.blocked)).collect();
    assert_eq!(seen, [(poisoned, "inventory-a", false), (blocked, "inventory-a", true)]);

    // Still rejected: nothing changes.
    let retried = world.runtime.block_on(handle.retry_dead_letters(None)).unwrap();
    assert_eq!(retried, LettersRetried { applied: 0, parked: 2 });
    // The queue outlives a restart.
    world.runtime.block_on(handle.stop());
    drop(handle);
    let (model, faults) = faulty(&world, "a");
    assert_eq!(model.dead_letters().unwrap(), letters);
    let handle = run(&world, model);
    let more = world.append("inventory-a", received(7));
    wait(&world, &handle, more);
    assert_eq!(handle.status().dead_letters, 3);
    // Accepted now: everything in order, as if nothing had been.
    faults.reject_poison.store(false, Ordering::SeqCst);
    let retried = world.runtime.block_on(handle.retry_dead_letters(Some("inventory-a".to_owned()))).unwrap();
    assert_eq!(retried, LettersRetried { applied: 3, parked: 0 });
    let last = world.append("inventory-a", received(1));
    wait(&world, &handle, last);
    let mut replayed = world.project(|| Inventory).dump();
    let mut live = rows(&world, &handle);
    assert_eq!(live.len(), replayed.len());
    live.sort();
    replayed.sort();
    assert_eq!(live, replayed);
}

fn discarding_gives_up_one_event_and_the_stream_goes_on(on: On) {
    let world = World::on(on);
    let (model, faults) = faulty(&world, "a");
    faults.reject_poison.store(true, Ordering::SeqCst);
    world.append("inventory-a", received(10));
    let poisoned = world.append("inventory-a", poison());
    let blocked = world.append("inventory-a", received(5));
    let handle = run(&world, model);
    wait(&world, &handle, blocked);
    let refused = world.runtime.block_on(handle.discard_dead_letter(blocked));
    assert!(matches!(refused, Err(RunnerError::Letter(_))), "order is kept");
    assert!(world.runtime.block_on(handle.discard_dead_letter(99)).is_err());
    let discarded = world.runtime.block_on(handle.discard_dead_letter(poisoned)).unwrap();
    assert_eq!(discarded.position, poisoned);
    let retried = world.runtime.block_on(handle.retry_dead_letters(None)).unwrap();
    assert_eq!(retried, LettersRetried { applied: 1, parked: 0 });
    let last = world.append("inventory-a", received(1));
    wait(&world, &handle, last);
    assert!(rows(&world, &handle)[0].contains("\"on_hand\":16"));
}

/// Whichever process an operator asks: the one that only follows takes the writing over, as for a pause.
#[cfg(feature = "postgres")]
#[test]
fn letters_are_retried_and_discarded_by_the_process_that_is_asked() {
    if crate::testing::postgres_url().is_none() {
        return;
    }
    let world = World::on(On::Postgres);
    let faults = Arc::new(Faults::default());
    faults.reject_poison.store(true, Ordering::SeqCst);
    let process = || {
        let engine: Arc<dyn crate::rows::RowEngine> =
            Arc::new(world.stores.database.as_ref().unwrap().process());
        let kind = crate::generations::RowKind::new(|| Inventory).on(&engine);
        let opened = crate::generations::ReadModelKind::open(&kind, &world.stores.place("a"), 1).unwrap();
        run(&world, Box::new(Faulty { inner: opened.model, faults: Arc::clone(&faults) }))
    };
    let first = process();
    eventually("the first writes", || first.status().state == "running");
    let second = process();
    eventually("the second follows", || second.status().state == "following");
    let letters = |handle: &ProjectionHandle| -> Vec<Position> {
        let letters = world.runtime.block_on(handle.dead_letters()).unwrap();
        letters.iter().map(|letter| letter.position).collect()
    };
    world.append("inventory-a", received(10));
    let poisoned = world.append("inventory-a", poison());
    let blocked = world.append("inventory-a", received(5));
    wait(&world, &second, blocked);
    assert_eq!(letters(&second), [poisoned, blocked]);
    faults.reject_poison.store(false, Ordering::SeqCst);
    let retried = world.runtime.block_on(second.retry_dead_letters(None)).unwrap();
    assert_eq!(retried, LettersRetried { applied: 2, parked: 0 });
    eventually("the first gives way", || first.status().state == "following");
    assert_eq!((letters(&first), letters(&second)), (vec![], vec![]));
    eventually("the first knows that nothing is parked", || first.status().dead_letters == 0);

    faults.reject_poison.store(true, Ordering::SeqCst);
    let poisoned = world.append("inventory-a", poison());
    let last = world.append("inventory-a", received(1));
    wait(&world, &first, last);
    let discarded = world.runtime.block_on(first.discard_dead_letter(poisoned)).unwrap();
    assert_eq!(discarded.position, poisoned);
    let retried = world.runtime.block_on(first.retry_dead_letters(None)).unwrap();
    assert_eq!(retried, LettersRetried { applied: 1, parked: 0 });
    let last = world.append("inventory-a", received(1));
    wait(&world, &second, last);
    // 10, less what was poison once and is no more, and all that was received.
    assert!(rows(&world, &second)[0].contains("\"on_hand\":16"), "{:?}", rows(&world, &second));
}

fn too_many_dead_letters_halt(on: On) {
    let world = World::on(on);
    let (model, faults) = faulty(&world, "a");
    faults.reject_poison.store(true, Ordering::SeqCst);
    for _ in 0..5 {
        world.append("inventory-a", poison());
    }
    let options = RunnerOptions { max_dead_letters: 3, ..RunnerOptions::default() };
    let handle = start("inventory", 1, model, world.log(), world.runtime.handle(), options).unwrap();
    eventually("halted", || handle.status().state == "halted");
}

fn a_payload_that_cannot_be_read_halts_and_nothing_is_skipped(on: On) {
    let world = World::on(on);
    world.append("inventory-a", received(1));
    world.append_raw("inventory-a", "inventory.received", 1, b"{\"nonsense\":1}".to_vec());
    world.append("inventory-b", received(1));
    let handle = run(&world, inventory(&world, "a").model);
    eventually("halted", || handle.status().state == "halted");
    assert!(handle.status().reason.unwrap().contains("position 2"));
    assert_eq!(handle.checkpoint(), 0);
    let waited = world.runtime.block_on(handle.wait_for(3, Duration::from_secs(10)));
    assert!(matches!(waited, Err(RunnerError::Halted { .. })));
}

fn a_view_that_lost_its_row_halts_at_the_next_event_of_its_stream(on: On) {
    let world = World::on(on);
    world.append("inventory-a", received(1));
    let mut projection = world.project(|| Inventory);
    let key = RowKey { table: "stock", key: "a".to_owned() };
    projection.model().repair(&[(key, None)]).unwrap();
    world.append("inventory-a", received(1));
    let handle = run(&world, projection.model.take().unwrap());
    eventually("halted", || handle.status().state == "halted");
    assert!(handle.status().reason.unwrap().contains("an event is missing"));
}

fn a_read_model_beyond_the_end_of_the_log_halts(on: On) {
    let world = World::on(on);
    world.append("inventory-a", received(1));
    let mut projection = world.project(|| Inventory);
    let other = World::on(on);
    let handle = run(&other, projection.model.take().unwrap());
    eventually("halted", || handle.status().state == "halted");
    assert!(handle.status().reason.unwrap().contains("beyond the log's end"));
}

#[test]
fn a_burst_is_committed_in_few_batches() {
    let world = World::new();
    let (model, faults) = faulty(&world, "a");
    let mut last = 0;
    for _ in 0..2_000 {
        last = world.append("inventory-42", received(1));
    }
    let handle = run(&world, model);
    eventually("caught up", || handle.checkpoint() == last);
    assert!(faults.commits.load(Ordering::SeqCst) <= 2);
}

#[test]
fn who_waits_for_the_end_of_a_long_way_has_it_gone_in_few_batches() {
    let world = World::new();
    let (model, faults) = faulty(&world, "a");
    let mut last = 0;
    for _ in 0..2_000 {
        last = world.append("inventory-42", received(1));
    }
    let options = RunnerOptions { page_events: 50, ..RunnerOptions::default() };
    let handle = start("inventory", 1, model, world.log(), world.runtime.handle(), options).unwrap();
    wait(&world, &handle, last);
    let commits = faults.commits.load(Ordering::SeqCst);
    assert!(commits <= 4, "{commits} commits of 40 pages");
}

/// A log that loses one event, as a broken backend would.
struct Lossy {
    inner: Arc<dyn EventLog>,
    lost: Position,
}

impl EventLog for Lossy {
    pass_to_log!(inner: capabilities, append, append_group, read_stream, stream_revision, head, watch_head, close);

    fn read_all<'a>(
        &'a self,
        after: Position,
        filter: &'a Filter,
        limit: usize,
        limit_bytes: usize,
    ) -> BoxFuture<'a, Result<Page, ReadError>> {
        Box::pin(async move {
            let mut page = self.inner.read_all(after, filter, limit, limit_bytes).await?;
            page.events.retain(|event| event.position != self.lost);
            Ok(page)
        })
    }
}

fn a_gap_in_the_positions_halts_wherever_it_is(on: On) {
    for lost in 1..=4 {
        let world = World::on(on);
        // Of a type that nobody handles, so that no view can notice.
        for i in 0..4 {
            world.append_raw(
                &format!("other-{i}"),
                "sequence.advanced",
                1,
                b"{\"name\":\"x\",\"last\":1}".to_vec(),
            );
        }
        let log: Arc<dyn EventLog> = Arc::new(Lossy { inner: world.log(), lost });
        let model = inventory(&world, "a").model;
        let handle =
            start("inventory", 1, model, log, world.runtime.handle(), RunnerOptions::default()).unwrap();
        eventually("halted", || handle.status().state == "halted");
        assert!(handle.checkpoint() < lost);
        assert!(handle.status().reason.unwrap().contains("an event is missing"), "lost {lost}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However the log is cut into pages and commits, and wherever the process dies between two commits or in the middle of a
    /// batch, the rows are those of a replay in one go.
    #[test]
    fn any_batching_with_crashes_equals_one_replay(
        events in proptest::collection::vec((0..6_u8, 1..50_u32), 1..80),
        page in 1..9_usize,
        stops in proptest::collection::vec(1..80_u64, 0..5),
    ) {
        let world = World::new();
        for (stream, quantity) in events {
            world.append(&format!("inventory-{stream}"), received(quantity));
        }
        let mut stops: Vec<Position> = stops.into_iter().map(|stop| stop.min(world.head())).collect();
        stops.sort_unstable();
        for until in stops {
            let mut projection = world.open(|| Inventory, "live");
            projection.options = RunnerOptions { page_events: page, max_pending_events: page * 2, ..RunnerOptions::default() };
            projection.catch_up_to(&world, until);
            // Applied, and dropped without a commit.
            let model = projection.model();
            let after = model.checkpoint();
            let filter = Filter::default();
            let rest = world.runtime.block_on(world.log().read_all(after, &filter, 5, usize::MAX)).unwrap();
            for event in rest.events {
                engine::apply(model, event).unwrap();
            }
        }
        let mut live = world.open(|| Inventory, "live");
        live.catch_up(&world);
        prop_assert_eq!(live.dump(), world.project(|| Inventory).dump());
    }
}

each_engine!(
    it_follows_the_log_and_a_waiter_sees_what_it_waited_for,
    a_waiter_is_told_when_time_is_up_and_when_the_runner_has_ended,
    paused_it_takes_nothing_and_resumed_it_goes_on,
    a_store_that_fails_for_a_while_is_tried_again_and_nothing_is_lost_or_doubled,
    a_rejected_event_is_parked_with_its_stream_while_others_go_on,
    discarding_gives_up_one_event_and_the_stream_goes_on,
    too_many_dead_letters_halt,
    a_payload_that_cannot_be_read_halts_and_nothing_is_skipped,
    a_view_that_lost_its_row_halts_at_the_next_event_of_its_stream,
    a_read_model_beyond_the_end_of_the_log_halts,
    a_gap_in_the_positions_halts_wherever_it_is,
);
