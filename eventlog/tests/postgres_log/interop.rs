//! Daybook and stock `postgres-es` on the same tables.

use std::sync::Arc;

use cqrs_es::persist::GenericQuery;
use cqrs_es::{AggregateError, EventStore};
use daybook_eventlog::{AppendError, EventLog, Expected, NewEvent};
use daybook_schemas::inventory::Event;
use postgres_es::{PostgresViewRepository, postgres_cqrs, postgres_snapshot_cqrs};

use crate::stock::{Command, Stock, cqrs, metadata, received, sold, store};
use crate::support::{Database, append, event, stream, unique_id, whole_log};

fn new_event(event: &Event) -> NewEvent {
    NewEvent {
        event_id: unique_id(),
        event_type: event.wire_name(),
        version: event.version(),
        recorded_at: 1_700_000_000_000_000,
        data: event.to_data().into(),
        metadata: br#"{"actor":"daybook"}"#[..].into(),
    }
}

#[tokio::test]
async fn an_aggregate_that_daybook_wrote_loads_through_stock_postgres_es() {
    let Some(database) = Database::fresh() else { return };
    let (log, stream) = (database.log().await, stream("inventory-a-1"));
    let events = [received(10), sold(3), received(5)].iter().map(new_event).collect();
    log.append(append(&stream, Expected::Exact(0), events)).await.unwrap();

    let pool = database.pool(2).await;
    let loaded = store(pool.clone()).load_aggregate("a-1").await.unwrap();
    assert_eq!(loaded.aggregate, Stock { on_hand: 12, events: 3 });
    let envelopes = store(pool.clone()).load_events("a-1").await.unwrap();
    assert_eq!(envelopes[1].sequence, 2);
    assert_eq!(envelopes[1].metadata["actor"], "daybook");
    // Its decisions rest on our events.
    let refused = cqrs(pool.clone()).execute("a-1", Command::Sell(13)).await;
    assert!(matches!(refused, Err(AggregateError::UserError(_))), "{refused:?}");
    cqrs(pool).execute("a-1", Command::Sell(12)).await.unwrap();
    assert_eq!(log.stream_revision(&stream).await.unwrap(), 4);
}

#[tokio::test]
async fn an_aggregate_that_stock_postgres_es_wrote_reads_through_daybook() {
    let Some(database) = Database::fresh() else { return };
    let log = database.log().await;
    let mut head = log.watch_head();
    let cqrs = cqrs(database.pool(2).await);
    cqrs.execute_with_metadata("7", Command::ReceiveEach(vec![4, 5]), metadata()).await.unwrap();
    cqrs.execute_with_metadata("7", Command::Sell(2), metadata()).await.unwrap();

    // The trigger notifies for it too.
    head.wait_for(|head| *head == 3).await.unwrap();
    let events = log.read_stream(&stream("inventory-7"), 1, 100).await.unwrap();
    let decoded: Vec<Event> =
        events.iter().map(|e| Event::from_data(e.event_type(), e.data()).unwrap().unwrap()).collect();
    assert_eq!(decoded, [received(4), received(5), sold(2)]);
    for (event, n) in events.iter().zip(1..) {
        assert_eq!((event.position, event.revision, event.version), (n, n, 1));
        assert_eq!(event.stream(), "inventory-7");
        let metadata: serde_json::Value = serde_json::from_slice(event.metadata()).unwrap();
        assert_eq!(metadata, serde_json::json!({"actor": "stock"}));
        assert!(event.recorded_at > 1_600_000_000_000_000, "stamped by the server");
        assert_eq!(event.event_id.get_version_num(), 8);
    }
    assert_ne!(events[0].event_id, events[1].event_id);
    assert_eq!(whole_log(&log).await, events, "and it reads the same again");
}

#[tokio::test]
async fn each_sees_the_others_conflict() {
    let Some(database) = Database::fresh() else { return };
    let (log, stream) = (database.log().await, stream("inventory-9"));
    let store = store(database.pool(2).await);
    log.append(append(&stream, Expected::Exact(0), vec![new_event(&received(1))])).await.unwrap();

    let stale = store.load_aggregate("9").await.unwrap();
    log.append(append(&stream, Expected::Exact(1), vec![new_event(&received(2))])).await.unwrap();
    let conflict = store.commit(vec![sold(1)], stale, metadata()).await;
    assert!(matches!(conflict, Err(AggregateError::AggregateConflict)), "{conflict:?}");

    let fresh = store.load_aggregate("9").await.unwrap();
    store.commit(vec![sold(1)], fresh, metadata()).await.unwrap();
    // Our writer believes that it knows the revision: the head tells it better.
    let conflict = log.append(append(&stream, Expected::Exact(2), vec![new_event(&received(3))])).await;
    assert!(matches!(conflict, Err(AppendError::Conflict { expected: 2, actual: 3, .. })), "{conflict:?}");
    let next = append(&stream, Expected::Any, vec![new_event(&received(3))]);
    assert_eq!(log.append(next).await.unwrap().revisions, [4]);
    assert_eq!(store.load_aggregate("9").await.unwrap().aggregate, Stock { on_hand: 5, events: 4 });
}

#[tokio::test]
async fn stock_snapshots_and_views_hold_what_daybook_wrote() {
    let Some(database) = Database::fresh() else { return };
    let (log, stream) = (database.log().await, stream("inventory-s"));
    let pool = database.pool(2).await;
    let snapshots = postgres_snapshot_cqrs::<Stock>(pool.clone(), Vec::new(), 2, ());
    snapshots.execute("s", Command::Receive(1)).await.unwrap();
    snapshots.execute("s", Command::Receive(1)).await.unwrap();
    let taken: i64 =
        sqlx::query_scalar("SELECT last_sequence FROM snapshots").fetch_one(&pool).await.unwrap();
    assert_eq!(taken, 2);
    log.append(append(&stream, Expected::Exact(2), vec![new_event(&received(40))])).await.unwrap();
    // Only with our event on top of its snapshot is there enough to sell.
    snapshots.execute("s", Command::Sell(42)).await.unwrap();

    database
        .run("CREATE TABLE stock_view (view_id text PRIMARY KEY, version bigint NOT NULL, payload json NOT NULL)")
        .await;
    let repository = Arc::new(PostgresViewRepository::<Stock, Stock>::new("stock_view", pool.clone()));
    let query = GenericQuery::new(repository.clone());
    postgres_cqrs(pool, vec![Box::new(query)], ()).execute("s", Command::Receive(6)).await.unwrap();
    let view = GenericQuery::new(repository).load("s").await;
    assert_eq!(view, Some(Stock { on_hand: 6, events: 1 }));
    assert_eq!(log.stream_revision(&stream).await.unwrap(), 5);
}

#[tokio::test]
async fn a_table_that_stock_postgres_es_has_filled_is_adopted() {
    let Some(database) = Database::fresh() else { return };
    database.run(&format!("CREATE SCHEMA {}", database.schema)).await;
    let init = "
        CREATE TABLE events (aggregate_type text NOT NULL, aggregate_id text NOT NULL,
            sequence bigint CHECK (sequence >= 0) NOT NULL, event_type text NOT NULL, event_version text NOT NULL,
            payload json NOT NULL, metadata json NOT NULL, PRIMARY KEY (aggregate_type, aggregate_id, sequence))";
    database.run(init).await;
    let pool = database.pool(2).await;
    for round in 0..5 {
        for id in ["x", "y", "z"] {
            cqrs(pool.clone()).execute(id, Command::ReceiveEach(vec![1 + round, 2])).await.unwrap();
        }
    }
    // An update moves a row to the end of the table: storage order is then not the order of the stream.
    database.run("UPDATE events SET event_version = '2' WHERE aggregate_id = 'x' AND sequence < 4").await;

    let log = database.log().await;
    let events = whole_log(&log).await;
    assert_eq!(events.len(), 30);
    assert!(events.iter().zip(1..).all(|(event, position)| event.position == position));
    for id in ["x", "y", "z"] {
        let name = format!("inventory-{id}");
        let revisions = events.iter().filter(|e| e.stream() == name).map(|e| e.revision);
        assert!(revisions.eq(1..=10), "{name} in its own order");
    }
    cqrs(pool).execute("x", Command::Sell(25)).await.unwrap();
    let next = append(&stream("inventory-x"), Expected::Exact(11), vec![new_event(&received(1))]);
    assert_eq!(log.append(next).await.unwrap().first, 32);
}

#[tokio::test]
async fn a_stock_table_that_is_no_log_is_refused_with_the_reason() {
    for (row, reason) in [
        ("('credit-note', '1', 1, 'x', '1', '{}', '{}')", "credit-note"),
        ("('order', '1', 2, 'x', '1', '{}', '{}')", "gap"),
        ("('order', 'a b', 1, 'x', '1', '{}', '{}')", "visible ASCII"),
    ] {
        let Some(database) = Database::fresh() else { return };
        database.run(&format!("CREATE SCHEMA {}", database.schema)).await;
        database
            .run(
                "CREATE TABLE events (aggregate_type text, aggregate_id text, sequence bigint, event_type text,
                 event_version text, payload json, metadata json,
                 PRIMARY KEY (aggregate_type, aggregate_id, sequence))",
            )
            .await;
        database.run(&format!("INSERT INTO events VALUES {row}")).await;
        let error = daybook_eventlog::postgres::PostgresLog::connect(database.options()).await.err().unwrap();
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[tokio::test]
async fn the_database_refuses_what_would_break_the_log() {
    let Some(database) = Database::fresh() else { return };
    let log = database.log().await;
    log.append(append(&stream("order-1"), Expected::Exact(0), vec![event("order.placed", "1")]))
        .await
        .unwrap();
    let pool = database.pool(1).await;
    for (sql, reason) in [
        ("UPDATE events SET event_type = 'other'", "immutable"),
        ("DELETE FROM events", "immutable"),
        ("TRUNCATE events", "immutable"),
        ("INSERT INTO events VALUES ('order', '1', 3, 'x', '1', '{}', '{}')", "does not follow"),
        ("INSERT INTO events VALUES ('order', '2', 0, 'x', '1', '{}', '{}')", "does not follow"),
        ("INSERT INTO events VALUES ('credit-note', '1', 1, 'x', '1', '{}', '{}')", "cannot be a stream"),
        ("INSERT INTO events VALUES ('order', '2', 1, 'Größe', '1', '{}', '{}')", "cannot be one"),
        ("INSERT INTO events VALUES ('order', '1', 1, 'x', '1', '{}', '{}')", "events_pkey"),
    ] {
        let error = sqlx::query(sql).execute(&pool).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{sql}: {error}");
    }
    // None of the refused has used up a position.
    let next = append(&stream("order-1"), Expected::Exact(1), vec![event("order.paid", "2")]);
    assert_eq!(log.append(next).await.unwrap().first, 2);
}
