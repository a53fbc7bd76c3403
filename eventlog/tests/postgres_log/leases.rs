//! One holder at a time, a newer token with every change of hands, and no note of a leader that came too late.

use std::time::Duration;

use daybook_eventlog::LeaseStore;

use crate::support::Database;

const LONG: Duration = Duration::from_secs(3_600);
const NONE: Duration = Duration::ZERO;

#[tokio::test]
async fn a_lease_has_one_holder_until_its_time_is_up() {
    let Some(database) = Database::fresh() else { return };
    let log = database.log().await;
    let acquire = async |holder: &'static str, time| log.acquire("timers", holder, time).await.unwrap();
    assert_eq!(acquire("a", LONG).await, Some(1));
    assert_eq!(acquire("b", LONG).await, None);
    assert_eq!(acquire("a", NONE).await, Some(1), "a renewal keeps the token");
    assert_eq!(acquire("b", LONG).await, Some(2));
    assert_eq!(acquire("a", LONG).await, None);
    log.release("timers", "a").await.unwrap();
    assert_eq!(acquire("a", LONG).await, None, "only its holder gives it back");
    log.release("timers", "b").await.unwrap();
    assert_eq!(acquire("a", LONG).await, Some(3));
    assert_eq!(log.acquire("other", "b", LONG).await.unwrap(), Some(1));
}

#[tokio::test]
async fn the_next_holder_has_the_note_of_the_last_and_the_last_can_write_none() {
    let Some(database) = Database::fresh() else { return };
    let log = database.log().await;
    assert_eq!(log.noted("p").await.unwrap(), None);
    let old = log.acquire("p", "old", LONG).await.unwrap().unwrap();
    assert_eq!(log.noted("p").await.unwrap(), None);
    assert!(log.note("p", old, b"one").await.unwrap());
    assert!(log.note("p", old, b"two").await.unwrap());
    log.release("p", "old").await.unwrap();
    assert!(!log.note("p", old, b"given back").await.unwrap());
    let new = log.acquire("p", "new", LONG).await.unwrap().unwrap();
    assert!(!log.note("p", old, b"too late").await.unwrap());
    assert_eq!(log.noted("p").await.unwrap().as_deref(), Some(&b"two"[..]));
    assert!(log.note("p", new, b"three").await.unwrap());
    assert_eq!(log.noted("p").await.unwrap().as_deref(), Some(&b"three"[..]));
    assert!(!log.note("other", new, b"of another lease").await.unwrap());
}

#[tokio::test]
async fn of_many_who_ask_at_once_one_gets_it() {
    let Some(database) = Database::fresh() else { return };
    let log = database.log().await;
    let holders: Vec<String> = (0..16).map(|n| format!("h{n}")).collect();
    let asking = holders.iter().map(|holder| log.acquire("timers", holder, LONG));
    let answers = futures::future::join_all(asking).await;
    assert_eq!(answers.into_iter().filter(|answer| answer.as_ref().unwrap().is_some()).count(), 1);
}
