//! Several processes on one index: one writes, the others follow and answer; a dead or frozen one is replaced and does no harm; a
//! swap is followed; another log is refused.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::super::super::NAME;
use super::super::super::request::SearchRequest;
use super::super::super::tests::generate::log;
use super::super::{Owner, bulk};
use super::*;
use crate::generations::{GenerationError, Projections, Registry};
use crate::model::{Claim, RowKey, StoreError};
use crate::search::elastic::ElasticKind;
use crate::testing::{World, eventually};
use serde_json::json;

fn of_log(name: &str) -> Owner {
    Owner::Log(Arc::new(OnceLock::from(name.to_owned())))
}

fn shared_place(url: String, claim_time: Duration) -> Place {
    let mut place = Place::new(url);
    place.options.owner = of_log("one");
    place.options.claim_time = claim_time;
    place
}

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(300);

/// Folds what comes after the model's checkpoint, up to `until`, and commits it.
fn carry(model: &mut ElasticModel, log: &Log, until: usize) {
    let at = usize::try_from(model.checkpoint()).unwrap();
    project_into(model, &log.events[at..until]);
}

fn eventually_taken(model: &mut ElasticModel) {
    eventually("taken over", || model.claim().is_ok_and(|claim| claim == Claim::Taken));
}

#[test]
fn one_leads_and_the_other_follows_answers_and_takes_over() {
    let Some(url) = url() else { return };
    let place = shared_place(url, LONG);
    let log = log(81, 40, 300);
    let (mut first, mut second) = (place.open(), place.open());
    assert_eq!(first.claim().unwrap(), Claim::Taken);
    assert_eq!(second.claim().unwrap(), Claim::Elsewhere);
    carry(&mut first, &log, 150);
    assert_eq!(first.claim().unwrap(), Claim::Held);
    eventually("seen", || second.claim().unwrap() == Claim::Elsewhere && second.checkpoint() == 150);
    let all = |model: &ElasticModel| {
        let mut answer = model.reader().search(&SearchRequest::default()).unwrap();
        answer.cursor = None;
        answer
    };
    assert_eq!(all(&second).position, 150);
    assert_eq!(all(&second), all(&first));
    assert_eq!(rows(&second), rows(&first), "a view beside the writer");

    // Who does not have the turn writes nothing.
    assert!(second.commit(200).unwrap_err().is_retryable());
    // Ended in order, nobody waits for the claim to run out.
    drop(first);
    let waited = Instant::now();
    eventually_taken(&mut second);
    assert!(waited.elapsed() < LONG);
    carry(&mut second, &log, log.events.len());
    assert_eq!(rows(&second), expected_rows(&log));
}

#[test]
fn a_dead_writer_is_replaced_when_its_time_is_up_and_one_that_renews_is_not() {
    let Some(url) = url() else { return };
    let place = shared_place(url, SHORT);
    let log = log(82, 30, 240);
    let (mut first, mut second) = (place.open(), place.open());
    eventually_taken(&mut first);
    carry(&mut first, &log, 100);
    // Killed: it says nothing more, and lets go of nothing.
    std::mem::forget(first);
    eventually_taken(&mut second);
    assert_eq!(second.checkpoint(), 100);
    carry(&mut second, &log, log.events.len());
    assert_eq!(rows(&second), expected_rows(&log));

    let place = shared_place(place.options.url.clone(), Duration::from_secs(5));
    let (mut first, mut second) = (place.open(), place.open());
    eventually_taken(&mut first);
    let end = Instant::now() + Duration::from_secs(6);
    while Instant::now() < end {
        // On a busy machine even this may come late; then the second has it.
        let claim = first.claim().unwrap();
        if second.claim().unwrap() == Claim::Taken || claim == Claim::Elsewhere {
            assert_eq!(first.state.epoch + 1, second.state.epoch);
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(first.state.epoch, 1, "renewed all the time");
}

#[test]
fn a_writer_that_was_frozen_is_refused_wherever_it_goes_on() {
    let Some(url) = url() else { return };
    let place = shared_place(url, SHORT);
    let log = log(83, 40, 400);
    let (mut frozen, mut second) = (place.open(), place.open());
    eventually_taken(&mut frozen);
    carry(&mut frozen, &log, 120);
    eventually_taken(&mut second);
    carry(&mut second, &log, log.events.len());
    let sound = rows(&second);
    // It wakes up with what it knew, and takes the rows of others for its own: events seem to be missing.
    for event in &log.events[120..200] {
        frozen.apply(event).unwrap();
    }
    let error = frozen.commit(200).unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("another process"), "{error}");
    frozen.rollback();
    assert_eq!(second.claim().unwrap_or(Claim::Elsewhere), Claim::Held, "the one that writes goes on");
    assert_ne!(frozen.claim().unwrap(), Claim::Held);
    assert_eq!(frozen.checkpoint(), log.head());
    assert_eq!(rows(&frozen), sound);
    assert_eq!(sound, expected_rows(&log));
}

#[test]
fn late_rows_of_a_frozen_writer_change_nothing_deletes_and_repairs_included() {
    let Some(url) = url() else { return };
    let place = shared_place(url, SHORT);
    let log = log(84, 30, 300);
    let mut first = place.open();
    eventually_taken(&mut first);
    carry(&mut first, &log, log.events.len());
    let sound = rows(&first);
    let key = |(name, _): &(String, String)| {
        let (table, key) = name.split_once(' ').unwrap();
        RowKey { table: if table == "documents" { "documents" } else { "counters" }, key: key.to_owned() }
    };
    let (damaged, deleted) = (&sound[0], &sound[1]);
    // A drill: one row changed, one gone. Its writer is frozen in the middle, with all of its requests yet to arrive.
    let wounds = [(key(damaged), Some(sound[1].1.clone().into_bytes())), (key(deleted), None)];
    let (before, written) = control::read(&place.server, &place.alias()).ok().unwrap();
    let row = |(key, row): &(RowKey, Option<Vec<u8>>)| control::Row {
        table: key.table.to_owned(),
        key: key.key.clone(),
        row: row.clone().map(|row| String::from_utf8(row).unwrap()),
        events: Vec::new(),
    };
    let batch = control::Batch {
        to: before.checkpoint,
        version: before.next_version(before.checkpoint),
        rows: wounds.iter().map(row).collect(),
        letters: Vec::new(),
    };
    let decided = control::State { batch: Some(batch.clone()), version: batch.version, ..before };
    assert!(control::write(&place.server, &place.alias(), &decided, Some(written)).is_ok());
    std::mem::forget(first);

    // Another takes over, finishes that, and puts it right, at the same position.
    let mut second = place.open();
    eventually_taken(&mut second);
    assert_ne!(rows(&second), sound);
    second
        .repair(&[
            (key(damaged), Some(damaged.1.clone().into_bytes())),
            (key(deleted), Some(deleted.1.clone().into_bytes())),
        ])
        .unwrap();
    assert_eq!(rows(&second), sound);
    let late = |rows: &[control::Row], version| {
        bulk::write(&place.server, &place.alias(), rows, version, &mut || Ok(())).unwrap();
        place.server.call(Request::new(Method::Post, format!("{}/_refresh", place.alias()))).unwrap();
    };
    late(&batch.rows, batch.version);
    assert_eq!(rows(&second), sound, "the drill does not come back");

    // The other way round: what was deleted since does not rise again, though the server forgets tombstones at once.
    let settings = json!({"index.gc_deletes": "0ms"});
    let request = Request::new(Method::Put, format!("{}-data/_settings", place.alias()));
    place.server.call(request.json(&settings)).unwrap();
    second.repair(&[(key(deleted), None)]).unwrap();
    let gone = rows(&second);
    assert_eq!(gone.len(), sound.len() - 1);
    assert_eq!(second.snapshot().unwrap().get(&key(deleted)).unwrap(), None);
    late(&[row(&(key(deleted), Some(deleted.1.clone().into_bytes())))], batch.version + 1);
    assert_eq!(rows(&second), gone);
}

#[test]
fn a_turn_can_be_seized_and_the_one_that_lost_it_follows() {
    let Some(url) = url() else { return };
    let place = shared_place(url, LONG);
    let log = log(85, 30, 200);
    let (mut first, mut second) = (place.open(), place.open());
    assert_eq!(first.claim().unwrap(), Claim::Taken);
    carry(&mut first, &log, 90);
    assert_eq!(second.seize().unwrap(), Claim::Taken);
    assert_eq!(second.checkpoint(), 90);
    for event in &log.events[90..] {
        first.apply(event).unwrap();
    }
    assert!(first.commit(log.head()).unwrap_err().is_retryable());
    first.rollback();
    assert_eq!(first.claim().unwrap(), Claim::Elsewhere);
    carry(&mut second, &log, log.events.len());
    assert_eq!(rows(&second), expected_rows(&log));
}

#[test]
fn an_index_that_was_given_up_is_not_made_again_and_one_that_was_lost_is() {
    let Some(url) = url() else { return };
    let place = shared_place(url, LONG);
    let kind = ElasticKind::new(place.options.clone()).unwrap();
    let ledger = crate::generations::ReadModelKind::ledger(&kind).unwrap();
    let first = crate::generations::Generations::first();
    ledger.replace(NAME, None, &first).unwrap();
    let log = log(86, 20, 120);
    let mut model = place.open();
    assert_eq!(model.claim().unwrap(), Claim::Taken);
    carry(&mut model, &log, log.events.len());
    let lose = || {
        let index = format!("{}-data", place.alias());
        place.server.call(Request::new(Method::Delete, index)).unwrap();
    };
    lose();
    assert!(model.commit(log.head() + 1).unwrap_err().is_retryable());
    eventually_taken(&mut model);
    assert_eq!(model.checkpoint(), 0);
    carry(&mut model, &log, log.events.len());
    assert_eq!(rows(&model), expected_rows(&log));

    let next = crate::generations::Generations { live: 2, last: 2, ..first.clone() };
    assert!(matches!(ledger.replace(NAME, Some(&next), &first), Err(GenerationError::Changed(_))));
    ledger.replace(NAME, Some(&first), &next).unwrap();
    lose();
    assert!(model.commit(log.head() + 1).is_err());
    let error = model.claim().unwrap_err();
    assert!(matches!(&error, StoreError::Damaged(why) if why.contains("removed")), "{error}");
}

#[test]
fn the_index_of_another_log_is_refused_and_says_what_to_do() {
    let Some(url) = url() else { return };
    let mut place = shared_place(url, LONG);
    let kind = ElasticKind::new(place.options.clone()).unwrap();
    let ledger = crate::generations::ReadModelKind::ledger(&kind).unwrap();
    ledger.replace(NAME, None, &crate::generations::Generations::first()).unwrap();
    drop(place.open());
    let check = |options: &ElasticOptions, retryable: bool, word: &str| {
        let kind = ElasticKind::new(options.clone()).unwrap();
        let ledger = crate::generations::ReadModelKind::ledger(&kind).unwrap();
        let Err(GenerationError::Store(of_ledger)) = ledger.get(NAME) else { panic!("taken for its own") };
        let mut errors = vec![of_ledger];
        match ElasticModel::open(Server::new(options).unwrap(), options.clone(), 1) {
            Ok(mut model) => errors.push(model.claim().unwrap_err()),
            Err(error) => errors.push(error),
        }
        for error in errors {
            assert!(error.is_retryable() == retryable && error.to_string().contains(word), "{error}");
        }
    };
    place.options.owner = of_log("another");
    check(&place.options, false, "choose another prefix");
    // Of an empty log it is not known yet.
    place.options.owner = Owner::Log(Arc::default());
    check(&place.options, true, "no event yet");
}

#[test]
fn a_log_without_events_fills_nothing_before_it_has_a_name() {
    let Some(url) = url() else { return };
    let mut place = shared_place(url, LONG);
    let name: Arc<OnceLock<String>> = Arc::default();
    place.options.owner = Owner::Log(Arc::clone(&name));
    let log = log(87, 10, 60);
    let mut model = place.open();
    assert_eq!(model.claim().unwrap(), Claim::Taken);
    for event in &log.events {
        model.apply(event).unwrap();
    }
    assert!(model.commit(log.head()).unwrap_err().is_retryable());
    model.rollback();
    name.set("one".to_owned()).unwrap();
    eventually_taken(&mut model);
    carry(&mut model, &log, log.events.len());
    let (state, _) = control::read(&place.server, &place.alias()).ok().unwrap();
    assert_eq!(state.owner.as_deref(), Some("one"));
}

#[test]
fn a_swap_by_one_process_is_followed_by_the_other() {
    let Some(url) = url() else { return };
    let place = shared_place(url, Duration::from_secs(2));
    let (world, log) = (World::new(), log(88, 20, 160));
    let append = |events: &[crate::model::Projected]| {
        events.iter().map(|event| world.append(event.recorded.stream(), event.event.clone())).max().unwrap()
    };
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [one, other] = folders.each_ref().map(|folder| {
        let registry = Registry::new().with(ElasticKind::new(place.options.clone()).unwrap());
        Projections::open(folder.path(), &registry, world.log(), world.runtime.handle().clone()).unwrap()
    });
    let half = log.events.len() / 2;
    let wait = |projections: &Projections, position| {
        let live = projections.live(NAME).unwrap();
        world.runtime.block_on(live.handle.wait_for(position, Duration::from_secs(60))).unwrap();
    };
    let position = append(&log.events[..half]);
    for projections in [&one, &other] {
        wait(projections, position);
    }
    let state = |projections: &Projections| projections.status()[0].state;
    eventually("one writes and the other follows", || {
        let states = [state(&one), state(&other)];
        states.contains(&"following") && states.contains(&"running")
    });
    world.runtime.block_on(async {
        let next = other.begin_rebuild(NAME).await.unwrap();
        other.swap(NAME, &next, Duration::from_secs(60)).await.unwrap();
    });
    eventually("followed", || {
        [&one, &other].iter().all(|projections| projections.live(NAME).unwrap().number == 2)
    });
    let position = append(&log.events[half..]);
    for projections in [&one, &other] {
        wait(projections, position);
        let live = projections.live(NAME).unwrap();
        let actual = world.runtime.block_on(live.handle.with_model(|model| rows(model))).unwrap();
        assert_eq!(actual, expected_rows(&log));
    }
    for projections in [one, other] {
        world.runtime.block_on(projections.stop());
    }
}
