//! Two processes on one store: whatever the one that lost its claim still believes, it changes nothing.

use std::time::Duration;

use super::*;
use crate::model::{Claim, StoreError};
use crate::rows::postgres::PostgresSchemas;
use crate::rows::store::Batch;
use crate::rows::{RowEngine, RowStore};
use crate::testing::{dump, eventually};

fn pair(stores: &Stores) -> (Box<dyn RowStore>, Box<dyn RowStore>) {
    let place = stores.place("test");
    let first = stores.engine.open(&place, SPEC, 1).unwrap();
    (first, another_process(stores).open(&place, SPEC, 1).unwrap())
}

fn commit(store: &mut dyn RowStore, checkpoint: u64, writes: &[RowWrite]) -> Result<(), StoreError> {
    store.commit(&Batch { checkpoint, writes, letters: &[] })
}

fn rows(store: &dyn RowStore) -> Vec<String> {
    dump(&*store.snapshot().unwrap())
}

#[test]
fn one_writes_and_the_other_sees_how_far_it_is() {
    let Some(stores) = stores() else { return };
    let (mut first, mut second) = pair(&stores);
    assert!(commit(&mut *first, 1, &[]).is_err(), "nobody writes without a claim");
    assert_eq!(first.claim().unwrap(), Claim::Taken);
    assert_eq!(first.claim().unwrap(), Claim::Held);
    commit(&mut *first, 5, &[upsert("a", 1)]).unwrap();
    assert_eq!(second.claim().unwrap(), Claim::Elsewhere);
    assert_eq!(second.checkpoint(), 5);
    assert!(commit(&mut *second, 6, &[upsert("a", 2)]).unwrap_err().is_retryable());
    assert_eq!(rows(&*first), rows(&*second));
    drop(first);
    assert_eq!(second.claim().unwrap(), Claim::Taken, "a writer that ends lets others in at once");
    assert_eq!(second.checkpoint(), 5);
}

#[test]
fn a_writer_that_was_replaced_can_neither_read_on_nor_commit() {
    let Some(stores) = stores() else { return };
    let (mut stalled, mut second) = pair(&stores);
    stalled.claim().unwrap();
    commit(&mut *stalled, 5, &[upsert("a", 1)]).unwrap();
    assert_eq!(second.seize().unwrap(), Claim::Taken);
    // The same checkpoint, and still not the same writer.
    let before = rows(&*second);
    assert!(commit(&mut *stalled, 6, &[upsert("a", 9), upsert("b", 9)]).unwrap_err().is_retryable());
    assert_eq!(rows(&*second), before);
    assert_eq!(stalled.claim().unwrap(), Claim::Elsewhere);
    commit(&mut *second, 7, &[upsert("a", 2)]).unwrap();
    assert!(stalled.load(&THINGS, "a").is_err());
    assert!(stalled.keys(&THINGS, "", false, 9).is_err());
    assert!(stalled.repair(&[]).is_err());
    assert_eq!(stalled.claim().unwrap(), Claim::Elsewhere);
    assert_eq!(stalled.checkpoint(), 7);
    assert_eq!(
        rows(&*second),
        [r#"things/a {"doc":{"colour":"red","size":2},"index":{"colour":"red","size":2}}"#]
    );
}

/// A row read after the claim was lost would be folded into nonsense before any commit could refuse it.
#[test]
fn what_a_replaced_writer_loads_is_refused_at_once() {
    let Some(stores) = stores() else { return };
    let (mut stalled, mut second) = pair(&stores);
    stalled.claim().unwrap();
    commit(&mut *stalled, 5, &[upsert("a", 1)]).unwrap();
    second.seize().unwrap();
    commit(&mut *second, 6, &[upsert("a", 2)]).unwrap();
    assert!(stalled.load(&THINGS, "a").unwrap_err().is_retryable());
}

#[test]
fn a_writer_that_is_not_heard_of_is_replaced_when_its_time_is_up() {
    let Some(stores) = stores() else { return };
    let mut options = stores.database.as_ref().unwrap().options.clone();
    options.claim_time = Duration::from_millis(200);
    let engine = PostgresSchemas::connect(options).unwrap();
    let place = stores.place("test");
    let (mut frozen, mut second) =
        (engine.open(&place, SPEC, 1).unwrap(), engine.open(&place, SPEC, 1).unwrap());
    frozen.claim().unwrap();
    commit(&mut *frozen, 5, &[upsert("a", 1)]).unwrap();
    // Its connection stays open all the time.
    eventually("replaced", || second.claim().unwrap() == Claim::Taken);
    assert!(commit(&mut *frozen, 6, &[upsert("a", 9)]).is_err());
    assert_eq!(rows(&*second).len(), 1);
}

#[test]
fn a_claim_that_is_renewed_is_kept_though_nothing_is_written() {
    let Some(stores) = stores() else { return };
    let mut options = stores.database.as_ref().unwrap().options.clone();
    options.claim_time = Duration::from_secs(4);
    let engine = PostgresSchemas::connect(options).unwrap();
    let place = stores.place("test");
    let (mut first, mut second) =
        (engine.open(&place, SPEC, 1).unwrap(), engine.open(&place, SPEC, 1).unwrap());
    first.claim().unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(6);
    while std::time::Instant::now() < end {
        // Another machine's load may make even this late; then the claim was taken anew, and not by the second.
        assert_ne!(first.claim().unwrap(), Claim::Elsewhere);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(first.claim_due().unwrap() > end - Duration::from_secs(1));
    commit(&mut *first, 3, &[upsert("a", 1)]).unwrap();
    assert_eq!(second.claim().unwrap(), Claim::Elsewhere);
}

#[test]
fn a_writer_whose_connection_is_cut_comes_back_or_is_replaced_at_once() {
    let Some(stores) = stores() else { return };
    let (mut first, mut second) = pair(&stores);
    first.claim().unwrap();
    commit(&mut *first, 5, &[upsert("a", 1)]).unwrap();
    let database = stores.database.as_ref().unwrap();
    let cut = || assert!(database.terminate(&format!("{}_test", database.options.schema)) > 0);
    cut();
    assert!(commit(&mut *first, 6, &[upsert("a", 2)]).unwrap_err().is_retryable());
    assert_eq!(first.claim().unwrap(), Claim::Taken);
    assert_eq!(first.checkpoint(), 5);
    commit(&mut *first, 6, &[upsert("a", 2)]).unwrap();
    cut();
    eventually("replaced", || second.claim().is_ok_and(|claim| claim == Claim::Taken));
    assert_eq!(second.checkpoint(), 6);
}
