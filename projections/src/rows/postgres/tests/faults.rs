//! Connections cut and answers lost in the middle of a batch: nothing is lost, nothing is twice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use daybook_schemas::inventory::Received;
use serde_json::json;

use super::*;
use crate::inventory::Inventory;
use crate::model::Claim;
use crate::rows::store::Batch;
use crate::runner::{RunnerOptions, start};
use crate::testing::{World, dump, eventually, payload};

#[test]
fn connections_cut_again_and_again_lose_and_double_nothing() {
    if postgres_url().is_none() {
        return;
    }
    let world = World::on(On::Postgres);
    let received = |n: u32| {
        daybook_schemas::inventory::Event::from(payload::<Received>(
            json!({"location": "default", "quantity": n}),
        ))
    };
    for n in 0..3_000 {
        world.append(&format!("inventory-{}", n % 40), received(n % 7 + 1));
    }
    let opened = world.open_kind(|| Inventory, "live");
    let options = RunnerOptions {
        page_events: 16,
        max_pending_events: 24,
        backoff: Duration::from_millis(1),
        max_backoff: Duration::from_millis(4),
        ..RunnerOptions::default()
    };
    let handle = start("inventory", 1, opened.model, world.log(), world.runtime.handle(), options).unwrap();
    let database = world.stores.database.as_ref().unwrap();
    let schema = database.schema_of(&world.stores.place("live"));
    // Within transactions as well as between them, and as often as the server can.
    let (done, mut cuts) = (AtomicBool::new(false), 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            eventually("caught up", || handle.checkpoint() == world.head());
            done.store(true, Ordering::SeqCst);
        });
        while !done.load(Ordering::SeqCst) && cuts < 60 {
            cuts += database.terminate(&schema);
        }
    });
    assert!(handle.status().retries > 3, "{} retries after {cuts} cuts", handle.status().retries);
    let snapshot = world.runtime.block_on(handle.with_model(|model| model.snapshot())).unwrap().unwrap();
    assert_eq!(dump(&*snapshot), replayed_in_a_file(&world));
    world.runtime.block_on(handle.stop());
}

/// The rows of the whole log, made by the other engine.
fn replayed_in_a_file(world: &World) -> Vec<String> {
    let files = On::Sqlite.stores();
    let mut replayed = world.project_on(|| Inventory, &files);
    replayed.dump()
}

#[test]
fn a_commit_whose_answer_was_lost_is_not_made_twice() {
    let Some(stores) = stores() else { return };
    let place = stores.place("test");
    let mut store = stores.open("test", SPEC);
    store.commit(&Batch { checkpoint: 5, writes: &[upsert("a", 1)], letters: &[] }).unwrap();
    // What the server did though nobody was told: rows and checkpoint of position 8.
    stores.meddle(&place, "UPDATE daybook_meta SET checkpoint = 8; UPDATE things SET size = 2, doc = '{}'");
    assert!(
        store.load(&THINGS, "a").unwrap_err().is_retryable(),
        "rows beyond the checkpoint are not to be folded"
    );
    assert_eq!(store.claim().unwrap(), Claim::Taken);
    assert_eq!(store.checkpoint(), 8);
    let stale = Batch { checkpoint: 6, writes: &[upsert("a", 9)], letters: &[] };
    store.commit(&stale).unwrap();
    stores.meddle(&place, "UPDATE daybook_meta SET checkpoint = 8");
    assert!(store.commit(&stale).unwrap_err().is_retryable(), "a batch goes on top of what it was made for");
}

#[test]
fn commits_that_a_crash_of_the_server_lost_are_made_again() {
    let Some(stores) = stores() else { return };
    let mut store = stores.open("test", SPEC);
    store.commit(&Batch { checkpoint: 5, writes: &[upsert("a", 1)], letters: &[] }).unwrap();
    stores.meddle(&stores.place("test"), "UPDATE daybook_meta SET checkpoint = 3; DELETE FROM things");
    let next = Batch { checkpoint: 7, writes: &[upsert("b", 1)], letters: &[] };
    assert!(store.commit(&next).unwrap_err().is_retryable());
    assert_eq!(store.claim().unwrap(), Claim::Taken);
    assert_eq!(store.checkpoint(), 3);
}

#[test]
fn queries_get_over_connections_that_were_cut_while_nobody_used_them() {
    let Some(stores) = stores() else { return };
    let mut store = stores.open("test", SPEC);
    store.commit(&Batch { checkpoint: 5, writes: &[upsert("a", 1)], letters: &[] }).unwrap();
    let reader = store.reader();
    let several: Vec<_> = (0..3).map(|_| reader.begin().unwrap()).collect();
    let database = stores.database.as_ref().unwrap();
    // While they are in use they can be told from the connections of other tests.
    let own = format!(
        "SELECT string_agg(pid::text, ',') FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE '%{}_test%'",
        database.options.schema
    );
    let own = database.text(&own).expect("the connections of the three");
    drop(several);
    let cut = format!("SELECT count(pg_terminate_backend(pid))::text FROM unnest(ARRAY[{own}]) AS pid");
    assert!(database.text(&cut).unwrap().parse::<usize>().unwrap() >= 3);
    for _ in 0..4 {
        assert_eq!(reader.begin().unwrap().checkpoint(), 5);
    }
}

#[test]
fn a_query_whose_connection_is_cut_fails_and_the_next_one_works() {
    let Some(stores) = stores() else { return };
    let mut store = stores.open("test", SPEC);
    store.commit(&Batch { checkpoint: 5, writes: &[upsert("a", 1)], letters: &[] }).unwrap();
    let reader = store.reader();
    let reading = reader.begin().unwrap();
    let database = stores.database.as_ref().unwrap();
    eventually("cut", || database.terminate(&format!("{}_test", database.options.schema)) > 0);
    assert!(reading.get(&THINGS, "a").unwrap_err().is_retryable());
    drop(reading);
    assert!(reader.begin().unwrap().get(&THINGS, "a").unwrap().is_some());
}

#[test]
fn a_server_that_is_not_there_or_says_no_is_named() {
    use crate::rows::postgres::{PostgresOptions, PostgresSchemas};
    let error = |url: &str| PostgresSchemas::connect(PostgresOptions::new(url)).err().unwrap().to_string();
    assert!(error("mysql://a/b").contains("postgres://"));
    assert!(error("postgres://u@127.0.0.1:1/d").contains("127.0.0.1:1"));
    let named =
        |schema: &str| PostgresSchemas::connect(PostgresOptions::new("postgres://h/d").with_schema(schema));
    for schema in ["", "Big", "1a", "a b", "a;drop", "ü", "a234567890123456789012345678901234"] {
        assert!(named(schema).err().unwrap().to_string().contains("schema"), "{schema}");
    }
    if let Some(url) = postgres_url() {
        let wrong = url.replace("daybook:daybook@", "daybook:wrong@");
        assert!(error(&wrong).contains("refuses user daybook"), "{}", error(&wrong));
        assert!(error(&url.replace("/postgres", "/nowhere")).contains("no such database"));
    }
}

#[test]
fn options_do_not_show_the_password() {
    let shown = format!("{:?}", crate::rows::postgres::PostgresOptions::new("postgres://u:secret@h/d"));
    assert!(!shown.contains("secret"), "{shown}");
}
