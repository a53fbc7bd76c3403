//! The order of positions, with everyone writing: ours and stock, slow and fast, rolling back, making positions up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cqrs_es::AggregateError;
use daybook_eventlog::postgres::{PostgresLog, PostgresOptions};
use daybook_eventlog::{AppendError, EventLog, Expected, Filter, RecordedEvent};
use sqlx::PgPool;
use tokio::task::JoinHandle;

use crate::stock::{Command, cqrs};
use crate::support::{DEADLINE, Database, Server, append, eventually, happened, stream, whole_log};

/// Rounds of every writer.
const ROUNDS: u64 = 10;

/// Stock writers whose aggregate begins with `slow` wait in the server before they reach for the ordering lock, while
/// they hold it, or both: without the order in the database, faster writers would pass them by.
const SLOW_WRITERS: &str = "
    CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_sleep(random() * 0.006); RETURN NEW; END $$;
    CREATE TRIGGER a_slow BEFORE INSERT ON events FOR EACH ROW WHEN (NEW.aggregate_id LIKE 'slow%')
        EXECUTE FUNCTION dawdle();
    CREATE TRIGGER z_slow BEFORE INSERT ON events FOR EACH ROW WHEN (NEW.aggregate_id LIKE 'slow%')
        EXECUTE FUNCTION dawdle();";

/// What the readers wait for.
#[derive(Default)]
struct Race {
    written: AtomicU64,
    over: AtomicBool,
}

impl Race {
    fn is_done_at(&self, position: u64) -> bool {
        self.over.load(Ordering::SeqCst) && position >= self.written.load(Ordering::SeqCst)
    }
}

fn ours(log: PostgresLog, race: Arc<Race>, writer: u64) -> JoinHandle<()> {
    tokio::spawn(async move {
        for round in 0..ROUNDS * 4 {
            // Stock writers write to the first of these, too.
            let name = if round % 3 == 0 { "inventory-common".into() } else { format!("own-{writer}") };
            let events = if name == "inventory-common" {
                vec![crate::support::event("inventory.out_of_stock", "{}")]
            } else {
                (0..=round % 3).map(happened).collect()
            };
            let count = events.len() as u64;
            log.append(append(&stream(&name), Expected::Any, events)).await.unwrap();
            race.written.fetch_add(count, Ordering::SeqCst);
        }
    })
}

fn stock(pool: PgPool, race: Arc<Race>, id: String) -> JoinHandle<()> {
    tokio::spawn(async move {
        let cqrs = cqrs(pool);
        for _ in 0..ROUNDS {
            loop {
                match cqrs.execute(&id, Command::ReceiveEach(vec![1, 2])).await {
                    Ok(()) => break,
                    Err(AggregateError::AggregateConflict) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            race.written.fetch_add(2, Ordering::SeqCst);
        }
    })
}

/// Draws positions and gives them back; makes up positions of its own; works at another isolation level.
fn troublemaker(pool: PgPool, race: Arc<Race>) -> JoinHandle<()> {
    tokio::spawn(async move {
        const INSERT: &str = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, \
                              metadata, position, event_id, recorded_at, format) \
                              VALUES ('trouble', '1', $1, 'x', '1', '{}', '{}', 1, gen_random_uuid(), 5, 1)";
        let mut sequence = 1;
        while sequence <= 20 {
            let mut transaction = pool.begin().await.unwrap();
            if sequence % 2 == 0 {
                sqlx::query("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
                    .execute(&mut *transaction)
                    .await
                    .unwrap();
            }
            let inserted = sqlx::query(INSERT).bind(sequence).execute(&mut *transaction).await;
            let Ok(_) = inserted else {
                let error = inserted.unwrap_err();
                let code = error.as_database_error().and_then(|e| e.code()).map(String::from);
                assert_eq!(code.as_deref(), Some("40001"), "{error}");
                continue;
            };
            let mut discarded = transaction;
            if sequence % 3 == 0 {
                sqlx::query("SAVEPOINT s").execute(&mut *discarded).await.unwrap();
                sqlx::query(INSERT).bind(sequence + 1).execute(&mut *discarded).await.unwrap();
                sqlx::query("ROLLBACK TO s").execute(&mut *discarded).await.unwrap();
            }
            // Every second one is tried once more, after giving its position back.
            if rand_bit(sequence) {
                discarded.rollback().await.unwrap();
                sqlx::query(INSERT).bind(sequence).execute(&pool).await.unwrap();
            } else if let Err(error) = discarded.commit().await {
                assert_eq!(error.as_database_error().and_then(|e| e.code()).as_deref(), Some("40001"));
                continue;
            }
            race.written.fetch_add(1, Ordering::SeqCst);
            sequence += 1;
        }
    })
}

fn rand_bit(n: i64) -> bool {
    n.wrapping_mul(0x9e37_79b9) & 0x10 != 0
}

/// How a reader asks.
#[derive(Clone, Copy, PartialEq)]
enum Reads {
    /// The server, each time.
    All,
    /// As projections do: what is in memory from there.
    Tail,
}

/// Follows the head and the log as a projection does.
fn tail(log: PostgresLog, race: Arc<Race>, reads: Reads, limit: usize) -> JoinHandle<Vec<RecordedEvent>> {
    tokio::spawn(async move {
        let (mut seen, mut after) = (Vec::<RecordedEvent>::new(), 0);
        let mut head = log.watch_head();
        loop {
            let filter = Filter::default();
            let reading = match reads {
                Reads::All => log.read_all(after, &filter, limit, usize::MAX),
                Reads::Tail => log.read_tail(after, &filter, limit, usize::MAX),
            };
            let page = reading.await.unwrap();
            after = page.scanned_to;
            seen.extend(page.events);
            if race.is_done_at(after) {
                return seen;
            }
            if page.at_head {
                let _ =
                    tokio::time::timeout(std::time::Duration::from_millis(20), head.wait_for(|h| *h > after))
                        .await;
            }
        }
    })
}

/// Reads by position as anyone's SQL would; panics where an event appears behind it.
fn tail_by_sql(pool: PgPool, race: Arc<Race>) -> JoinHandle<u64> {
    tokio::spawn(async move {
        let mut last = 0_i64;
        loop {
            let positions: Vec<i64> =
                sqlx::query_scalar("SELECT position FROM events WHERE position > $1 ORDER BY position")
                    .bind(last)
                    .fetch_all(&pool)
                    .await
                    .unwrap();
            for position in positions {
                assert_eq!(position, last + 1, "a reader at {last} has missed an event");
                last = position;
            }
            if race.is_done_at(u64::try_from(last).unwrap()) {
                return u64::try_from(last).unwrap();
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_reader_ever_misses_an_event_whoever_writes() {
    let Some(database) = Database::fresh() else { return };
    // Two Daybooks on one database. On a busy machine the queue for the lock is long: nobody may give up.
    let patient =
        || PostgresOptions { statement_timeout: DEADLINE, append_timeout: DEADLINE, ..database.options() };
    // The first keeps so few events in memory that its readers fall out of them.
    let forgetful = PostgresOptions { recent_bytes: 4_000, ..patient() };
    let first = PostgresLog::connect(forgetful).await.unwrap();
    let second = PostgresLog::connect(patient()).await.unwrap();
    database.run(SLOW_WRITERS).await;
    let race = Arc::new(Race::default());
    let readers: Vec<_> = [
        (&first, Reads::All, 7),
        (&first, Reads::Tail, 1),
        (&first, Reads::Tail, 7),
        (&second, Reads::All, 1_000),
        (&second, Reads::Tail, 3),
        (&second, Reads::Tail, 1_000),
    ]
    .into_iter()
    .map(|(log, reads, limit)| tail(log.clone(), race.clone(), reads, limit))
    .collect();
    let by_sql = tail_by_sql(database.pool(1).await, race.clone());

    let pool = database.pool(12).await;
    let mut writers = Vec::new();
    for writer in 0..3 {
        writers.push(ours(first.clone(), race.clone(), writer));
        writers.push(ours(second.clone(), race.clone(), writer));
    }
    for id in
        ["slow-1", "slow-2", "slow-common", "slow-common", "fast-1", "fast-2", "fast-common", "fast-common"]
    {
        writers.push(stock(pool.clone(), race.clone(), id.into()));
    }
    writers.push(troublemaker(pool.clone(), race.clone()));
    for writer in writers {
        writer.await.unwrap();
    }
    race.over.store(true, Ordering::SeqCst);

    let written = race.written.load(Ordering::SeqCst);
    let events = whole_log(&first).await;
    assert_eq!(events.len() as u64, written);
    assert!(
        events.iter().zip(1..).all(|(event, position)| event.position == position),
        "positions are dense"
    );
    let mut revisions = std::collections::HashMap::new();
    for event in &events {
        let last = revisions.entry(event.stream()).or_insert(0);
        assert_eq!(event.revision, *last + 1, "in {}", event.stream());
        *last = event.revision;
    }
    for reader in readers {
        assert!(reader.await.unwrap() == events, "a reader on the way saw what stands there in the end");
    }
    assert_eq!(by_sql.await.unwrap(), written);
}

/// Whether a transaction waits for the row of the head in this test's schema.
async fn somebody_waits(pool: &PgPool) -> bool {
    let waiting = "SELECT EXISTS (SELECT FROM pg_locks waiting JOIN pg_locks held USING (pid)
                   WHERE NOT waiting.granted AND held.relation = 'event_log_head'::regclass)";
    sqlx::query_scalar(waiting).fetch_one(pool).await.unwrap()
}

/// Who draws a position waits for the commit of whoever drew the one before: nobody sees the second without the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_writer_waits_for_the_commit_of_an_earlier_one() {
    let Some(database) = Database::fresh() else { return };
    let (log, pool) = (database.log().await, database.pool(4).await);
    for (round, rolled_back) in [(0, false), (1, true)] {
        let before = log.head().await.unwrap().position;
        let mut slow = pool.begin().await.unwrap();
        sqlx::query("INSERT INTO events VALUES ('slow', $1, 1, 'x', '1', '{}', '{}')")
            .bind(round.to_string())
            .execute(&mut *slow)
            .await
            .unwrap();
        let ours = log.append(append(&stream(&format!("own-{round}")), Expected::Any, vec![happened(1)]));
        let stock = stock(pool.clone(), Arc::default(), format!("waiting-{round}"));
        eventually("a writer waits", || somebody_waits(&pool)).await;
        assert_eq!(log.head().await.unwrap().position, before);
        assert_eq!(
            whole_log(&log).await.len() as u64,
            before,
            "what is not committed is not seen, nor what is behind it"
        );
        if rolled_back {
            slow.rollback().await.unwrap()
        } else {
            slow.commit().await.unwrap()
        }
        assert!(ours.await.unwrap().first > before);
        stock.await.unwrap();
        let events = whole_log(&log).await;
        assert!(events.iter().zip(1..).all(|(event, position)| event.position == position));
        let slow = events.iter().find(|e| e.stream() == format!("slow-{round}"));
        assert_eq!(slow.map(|e| e.position), (!rolled_back).then_some(before + 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_daybooks_on_one_stream_never_both_win() {
    let Some(database) = Database::fresh() else { return };
    let logs = [database.log().await, database.log().await];
    let stream = stream("inventory-hot");
    let writers: Vec<_> = (0..8_usize)
        .map(|writer| {
            let (log, stream) = (logs[writer % 2].clone(), stream.clone());
            tokio::spawn(async move {
                let mut expected = 0;
                for n in 0..20 {
                    let event = happened(n);
                    loop {
                        let attempt = append(&stream, Expected::Exact(expected), vec![event.clone()]);
                        match log.append(attempt).await {
                            Ok(appended) => {
                                assert_eq!(appended.revisions, [expected + 1]);
                                expected += 1;
                                break;
                            }
                            Err(AppendError::Conflict { actual, .. }) => expected = actual,
                            Err(other) => panic!("{other}"),
                        }
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let events = logs[0].read_stream(&stream, 1, 1_000).await.unwrap();
    assert_eq!(events.len(), 160);
    assert_eq!(events, whole_log(&logs[1]).await);
}

/// What this process wrote is read without the server, whatever others wrote in between; what others wrote is read once.
#[tokio::test]
async fn followers_read_from_memory_what_was_written_here_or_read_before() {
    let Some(server) = Server::start() else { return };
    let database = server.database();
    let (log, other) = (database.log().await, database.log().await);
    let everything = Filter::default();
    let write = async |log: &PostgresLog, name: &str, count: u64| {
        let events = (0..count).map(happened).collect();
        log.append(append(&stream(name), Expected::Any, events)).await.unwrap().last
    };
    write(&log, "a-1", 3).await;
    let gap = write(&other, "b-1", 2).await;
    let last = write(&log, "a-1", 4).await;
    let mut head = log.watch_head();
    head.wait_for(|head| *head >= last).await.unwrap();
    let whole = whole_log(&other).await;
    // The gap has to be read, and no more than that.
    let page = log.read_tail(3, &everything, 100, usize::MAX).await.unwrap();
    assert_eq!((&page.events[..], page.at_head), (&whole[3..], true));
    server.signal("STOP");
    let b = Filter { stream_prefixes: vec!["b-".into()], ..Filter::default() };
    for (after, filter, expected) in
        [(0, &everything, &whole[..]), (0, &b, &whole[3..5]), (gap, &everything, &whole[5..])]
    {
        let page = log.read_tail(after, filter, 100, usize::MAX).await.unwrap();
        assert_eq!((&page.events[..], page.scanned_to, page.at_head), (expected, last, true));
    }
    server.signal("CONT");
    // Somebody who asks for all there is gets what nobody told this process.
    let news = write(&other, "c-1", 1).await;
    assert_eq!(log.read_all(last, &everything, 9, usize::MAX).await.unwrap().scanned_to, news);
    assert_eq!(log.read_tail(last, &everything, 9, usize::MAX).await.unwrap().scanned_to, news);
}

/// Where notifications do not arrive, whoever knows of something new can have the log look at once.
#[tokio::test]
async fn a_look_finds_what_no_notification_told() {
    let Some(database) = Database::fresh() else { return };
    let writer = database.log().await;
    let options = PostgresOptions { poll_interval: DEADLINE * 100, ..database.options() };
    let reader = PostgresLog::connect(options).await.unwrap();
    let mut head = reader.watch_head();
    let first = writer.append(append(&stream("a-1"), Expected::Exact(0), vec![happened(1)])).await.unwrap();
    head.wait_for(|head| *head >= first.last).await.unwrap();
    // From now on the server notifies a channel that nobody listens to.
    let nobody = format!(
        "CREATE OR REPLACE FUNCTION {}.event_log_channel() RETURNS text LANGUAGE sql AS $$ SELECT 'nobody' $$",
        database.schema
    );
    database.run(&nobody).await;
    let second = writer.append(append(&stream("a-1"), Expected::Exact(1), vec![happened(2)])).await.unwrap();
    reader.look();
    tokio::time::timeout(DEADLINE, head.wait_for(|head| *head >= second.last)).await.unwrap().unwrap();
}
