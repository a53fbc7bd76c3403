//! Servers that crash, freeze, vanish or refuse, under load: what was acknowledged is there exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use daybook_eventlog::postgres::{PostgresLog, PostgresOptions, Status};
use daybook_eventlog::{AppendError, EventLog, Expected, Filter, ReadError};
use sqlx::PgPool;
use uuid::Uuid;

use crate::proxy::{Mode, Proxy};
use crate::support::{DEADLINE, Database, Server, append, eventually, happened, stream, whole_log};

/// Writers on streams of their own, each event retried with its id until it is acknowledged.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    writers: Vec<tokio::task::JoinHandle<Vec<Uuid>>>,
}

impl Load {
    fn on(log: &PostgresLog, writers: usize) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let writers = (0..writers)
            .map(|writer| tokio::spawn(write(log.clone(), writer, stop.clone(), acknowledged.clone())))
            .collect();
        Self { stop, acknowledged, writers }
    }

    /// Waits until this many more events are acknowledged.
    async fn progress(&self, events: u64) {
        let goal = self.acknowledged.load(Ordering::SeqCst) + events;
        eventually("appends go on", || async { self.acknowledged.load(Ordering::SeqCst) >= goal }).await;
    }

    /// Stops, and checks that each stream holds exactly what was acknowledged, in order, once.
    async fn check(self, log: &PostgresLog) {
        self.stop.store(true, Ordering::SeqCst);
        let mut total = 0;
        for (writer, task) in self.writers.into_iter().enumerate() {
            let acknowledged = task.await.unwrap();
            let events = log.read_stream(&own(writer), 1, usize::MAX).await.unwrap();
            assert!(events.iter().map(|e| e.event_id).eq(acknowledged), "stream of writer {writer}");
            total += events.len();
        }
        let events = whole_log(log).await;
        assert_eq!(events.len(), total);
        assert!(events.iter().zip(1..).all(|(event, position)| event.position == position));
        let mut head = log.watch_head();
        let wait = head.wait_for(|head| *head == total as u64);
        tokio::time::timeout(DEADLINE, wait).await.expect("the head is announced").unwrap();
    }
}

fn own(writer: usize) -> daybook_eventlog::StreamId {
    stream(&format!("load-{writer}"))
}

async fn write(
    log: PostgresLog,
    writer: usize,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
) -> Vec<Uuid> {
    let (stream, mut ids) = (own(writer), Vec::new());
    while !stop.load(Ordering::SeqCst) {
        // Half of the writers say what they expect, half do not.
        let expected =
            if writer.is_multiple_of(2) { Expected::Exact(ids.len() as u64) } else { Expected::Any };
        let event = happened(ids.len() as u64);
        loop {
            match log.append(append(&stream, expected, vec![event.clone()])).await {
                Ok(appended) => {
                    assert_eq!(appended.revisions, [ids.len() as u64 + 1]);
                    break;
                }
                Err(error) if error.is_retryable() => {}
                Err(error) => panic!("{error}"),
            }
        }
        ids.push(event.event_id);
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
    ids
}

fn impatient(options: PostgresOptions) -> PostgresOptions {
    PostgresOptions {
        connect_timeout: Duration::from_secs(5),
        statement_timeout: Duration::from_secs(3),
        append_timeout: Duration::from_secs(6),
        poll_interval: Duration::from_millis(200),
        ..options
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_crashes_and_restarts_loses_and_doubles_nothing() {
    let Some(server) = Server::start() else { return };
    let log = PostgresLog::connect(impatient(server.database().options())).await.unwrap();
    let load = Load::on(&log, 6);
    for _ in 0..3 {
        load.progress(100).await;
        tokio::task::block_in_place(|| server.crash_and_restart());
    }
    load.progress(100).await;
    let mut status = log.watch_status();
    let up = status.wait_for(|status| *status == Status::Up);
    tokio::time::timeout(DEADLINE, up).await.expect("it is back").unwrap();
    load.check(&log).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_is_reported_and_outlived() {
    let Some(server) = Server::start() else { return };
    let log = PostgresLog::connect(impatient(server.database().options())).await.unwrap();
    let load = Load::on(&log, 4);
    load.progress(50).await;
    let mut status = log.watch_status();
    server.signal("STOP");
    let down = status.wait_for(|status| matches!(status, Status::Down(_)));
    tokio::time::timeout(DEADLINE, down).await.expect("a freeze is noticed").unwrap();
    let late = log.append(append(&stream("late-1"), Expected::Exact(0), vec![happened(1)])).await;
    assert!(matches!(late, Err(AppendError::Unavailable { .. })), "{late:?}");
    let read = log.read_all(0, &Filter::default(), 10, usize::MAX).await;
    assert!(matches!(read, Err(ReadError::Unavailable(_))), "{read:?}");
    server.signal("CONT");
    load.progress(50).await;
    assert_eq!(log.stream_revision(&stream("late-1")).await.unwrap(), 0, "it was never sent");
    load.check(&log).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_lose_and_double_nothing() {
    let Some(database) = Database::fresh() else { return };
    let proxy = Proxy::before(&database.url).await;
    let options = PostgresOptions { url: proxy.url(&database.url), ..database.options() };
    let log = PostgresLog::connect(options).await.unwrap();
    let load = Load::on(&log, 6);
    for round in 0..20 {
        load.progress(20).await;
        if round % 4 == 3 {
            // The replies to what is under way are lost: whether it was committed, only the event ids tell.
            proxy.set(Mode::LoseReplies);
            tokio::task::yield_now().await;
            proxy.set(Mode::Open);
        }
        proxy.cut();
    }
    load.progress(20).await;
    load.check(&log).await;
}

async fn count(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_found_again() {
    let Some(database) = Database::fresh() else { return };
    let proxy = Proxy::before(&database.url).await;
    let options = PostgresOptions { url: proxy.url(&database.url), ..database.options() };
    let log = PostgresLog::connect(options).await.unwrap();
    let pool = database.pool(1).await;
    for (expected, before) in [(Expected::Exact(1), 0), (Expected::Any, 2), (Expected::Exact(5), 4)] {
        // The statement must be prepared and the stream known: then one request does it all.
        log.append(append(&stream("a-1"), Expected::Any, vec![happened(before)])).await.unwrap();
        proxy.set(Mode::LoseReplies);
        let appending = log.append(append(&stream("a-1"), expected, vec![happened(before + 1)]));
        let written = i64::try_from(before + 2).unwrap();
        eventually("it is committed", || async { count(&pool).await == written }).await;
        proxy.set(Mode::Open);
        proxy.cut();
        let appended = appending.await.unwrap();
        assert_eq!((appended.first, &appended.revisions[..]), (before + 2, &[before + 2][..]));
        assert_eq!(count(&pool).await, written);
    }
}

#[tokio::test]
async fn an_append_in_doubt_is_said_to_be_so() {
    let Some(database) = Database::fresh() else { return };
    let proxy = Proxy::before(&database.url).await;
    let url = proxy.url(&database.url);
    let options = PostgresOptions { url, append_timeout: Duration::ZERO, ..database.options() };
    let log = PostgresLog::connect(options).await.unwrap();
    let pool = database.pool(1).await;
    log.append(append(&stream("a-1"), Expected::Exact(0), vec![happened(0)])).await.unwrap();
    proxy.set(Mode::LoseReplies);
    let first = append(&stream("a-1"), Expected::Exact(1), vec![happened(1)]);
    let appending = log.append(first.clone());
    eventually("it is committed", || async { count(&pool).await == 2 }).await;
    proxy.set(Mode::Refuse);
    proxy.cut();
    let error = appending.await.unwrap_err();
    assert!(error.is_indeterminate() && error.is_retryable(), "{error:?}");
    // Nobody answers: this one cannot have been written, and fails without delay.
    let second = append(&stream("a-1"), Expected::Exact(2), vec![happened(2)]);
    let error = log.append(second.clone()).await.unwrap_err();
    assert!(!error.is_indeterminate() && error.is_retryable(), "{error:?}");
    assert!(matches!(*log.watch_status().borrow(), Status::Down(_)));
    proxy.set(Mode::Open);
    let mut status = log.watch_status();
    let up = status.wait_for(|status| *status == Status::Up);
    tokio::time::timeout(DEADLINE, up).await.expect("it reconnects without being asked to").unwrap();
    let retry = || async { log.append(first.clone()).await.is_ok_and(|appended| appended.last == 2) };
    eventually("the retry tells that it was written", retry).await;
    assert_eq!(log.append(second).await.unwrap().revisions, [3]);
    assert_eq!(count(&pool).await, 3);
}

#[tokio::test]
async fn serialization_failures_and_deadlocks_are_tried_again() {
    let Some(database) = Database::fresh() else { return };
    let log = database.log().await;
    // A sequence is not rolled back: the first attempts fail, whatever is retried.
    database
        .run(
            "CREATE SEQUENCE attempts;
             CREATE FUNCTION fail_at_first() RETURNS trigger LANGUAGE plpgsql AS $$
             DECLARE attempt bigint := nextval('attempts');
             BEGIN
                IF attempt IN (1, 2, 6) THEN RAISE EXCEPTION 'serialization' USING ERRCODE = '40001'; END IF;
                IF attempt IN (3, 7) THEN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END IF;
                RETURN NULL;
             END $$;
             CREATE TRIGGER fail_at_first AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION fail_at_first();",
        )
        .await;
    for n in 0..6 {
        let appended =
            log.append(append(&stream("a-1"), Expected::Exact(n), vec![happened(n)])).await.unwrap();
        assert_eq!(appended.last, n + 1);
    }
    assert_eq!(whole_log(&log).await.len(), 6);
}

#[tokio::test]
async fn a_writer_that_keeps_the_lock_delays_appends_and_is_named() {
    let Some(database) = Database::fresh() else { return };
    let log = PostgresLog::connect(impatient(database.options())).await.unwrap();
    let pool = database.pool(1).await;
    let mut hog = pool.begin().await.unwrap();
    sqlx::query("UPDATE event_log_head SET position = position").execute(&mut *hog).await.unwrap();
    let error = log.append(append(&stream("a-1"), Expected::Exact(0), vec![happened(1)])).await.unwrap_err();
    assert!(error.to_string().contains("event_log_head"), "{error}");
    assert!(!error.is_indeterminate());
    hog.rollback().await.unwrap();
    assert_eq!(
        log.append(append(&stream("a-1"), Expected::Exact(0), vec![happened(1)])).await.unwrap().last,
        1
    );
}

#[tokio::test]
async fn the_head_is_followed_though_listeners_are_killed() {
    let Some(database) = Database::fresh() else { return };
    let (here, there) = (database.log().await, database.log().await);
    let mut head = here.watch_head();
    let pool = database.pool(1).await;
    for n in 0..5 {
        let own = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                   WHERE query LIKE 'LISTEN%' AND position(event_log_channel() IN query) > 0";
        sqlx::query(own).execute(&pool).await.unwrap();
        there.append(append(&stream("a-1"), Expected::Exact(n), vec![happened(n)])).await.unwrap();
        let wait = head.wait_for(|head| *head == n + 1);
        tokio::time::timeout(DEADLINE, wait).await.expect("the poll finds it").unwrap();
    }
}

#[tokio::test]
async fn too_much_waiting_work_is_refused() {
    let Some(database) = Database::fresh() else { return };
    let options = PostgresOptions { queue_appends: 5, queue_bytes: 10_000, ..database.options() };
    let log = PostgresLog::connect(options).await.unwrap();
    let pool = database.pool(1).await;
    let mut hog = pool.begin().await.unwrap();
    sqlx::query("UPDATE event_log_head SET position = position").execute(&mut *hog).await.unwrap();
    let calls: Vec<_> = (0..20)
        .map(|n| log.append(append(&stream(&format!("a-{n}")), Expected::Any, vec![happened(n)])))
        .collect();
    hog.rollback().await.unwrap();
    let results = futures::future::join_all(calls).await;
    let written = results.iter().filter(|result| result.is_ok()).count();
    // One group may have been taken before the rest came.
    assert!((5..=10).contains(&written), "{written}");
    assert!(
        results.iter().all(|result| matches!(result, Ok(_) | Err(AppendError::Overloaded))),
        "{results:?}"
    );
    assert_eq!(whole_log(&log).await.len(), written);
}
