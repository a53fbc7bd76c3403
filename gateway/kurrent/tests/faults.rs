//! What the backend on KurrentDB does when the server is frozen, cut off, killed, or silent.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use daybook_eventlog::kurrent::{ConnectError, KurrentLog, KurrentOptions};
use daybook_eventlog::pass_to_log;
use daybook_eventlog::{
    AppendError, Appended, EventLog, Expected, Filter, MemoryLog, Position, ReadError, Revision, StreamId,
};
use futures::StreamExt;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::common::{PATIENCE, Proxy, Server, connect, event, impatient, one, url};

fn exact(revision: Revision) -> Expected {
    Expected::Exact(revision)
}

/// The ids in a stream, which must be those given, once and in order.
async fn assert_stream_holds(log: &dyn EventLog, stream: &str, ids: std::ops::Range<u128>) {
    let stream = StreamId::new(stream).unwrap();
    let events = log.read_stream(&stream, 1, usize::MAX).await.unwrap();
    let found: Vec<_> = events.iter().map(|event| event.event_id.as_u128()).collect();
    assert_eq!(found, ids.collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_gives_an_unclear_outcome_and_the_retry_writes_once() {
    let server = Server::start(Arc::new(MemoryLog::new()));
    let proxy = Proxy::start(server.address).await;
    let options =
        KurrentOptions { append_timeout: Duration::from_millis(1500), ..impatient(url(proxy.address)) };
    let log = connect(options).await;
    log.append(one("s", exact(0), vec![event(0)])).await.unwrap();

    proxy.freeze();
    let late = one("s", exact(1), vec![event(1), event(2)]);
    let error = timeout(PATIENCE, log.append(late.clone())).await.unwrap().unwrap_err();
    assert!(matches!(error, AppendError::Unavailable { indeterminate: true, .. }), "{error:?}");
    assert!(error.is_retryable());
    let read = timeout(PATIENCE, log.read_all(0, &Filter::default(), 10, 1000)).await.unwrap();
    assert!(matches!(read, Err(ReadError::Unavailable(_))), "{read:?}");

    proxy.thaw();
    let result = loop {
        match timeout(PATIENCE, log.append(late.clone())).await.unwrap() {
            Ok(result) => break result,
            Err(error) => assert!(error.is_retryable(), "{error:?}"),
        }
    };
    assert_eq!(result.revisions, [3]);
    assert_stream_holds(&*server.log, "s", 0..3).await;
}

/// Writes chains of appends, all in flight together, and gives their outcomes.
fn write_chain(log: &KurrentLog, stream: &str, ids: std::ops::Range<u128>) -> Vec<AppendFuture> {
    ids.map(|id| {
        let revision = u64::try_from(id).unwrap();
        log.append(one(stream, exact(revision), vec![event(id)]))
    })
    .collect()
}

type AppendFuture = BoxFuture<'static, Result<Appended, AppendError>>;

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_lose_and_repeat_nothing() {
    let server = Server::start(Arc::new(MemoryLog::new()));
    let proxy = Proxy::start(server.address).await;
    let log = connect(impatient(url(proxy.address))).await;
    let calls = write_chain(&log, "s", 0..600);
    for (n, call) in calls.into_iter().enumerate() {
        if n % 150 == 20 {
            proxy.cut();
        }
        let result = timeout(PATIENCE, call).await.unwrap().unwrap();
        assert_eq!(result.revisions, [n as u64 + 1]);
    }
    assert_stream_holds(&*server.log, "s", 0..600).await;
    let last = server.log.head().await.unwrap().position;
    let mut head = log.watch_head();
    timeout(PATIENCE, head.wait_for(|head| *head == last)).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_and_restarted_server_is_found_again() {
    let server = Server::start(Arc::new(MemoryLog::new()));
    let log = connect(impatient(server.url())).await;
    let mut head = log.watch_head();
    for call in write_chain(&log, "s", 0..50) {
        call.await.unwrap();
    }
    let calls = write_chain(&log, "s", 50..150);
    let killed = server.kill();
    let stream = StreamId::new("s").unwrap();
    let unreachable = timeout(PATIENCE, log.read_stream(&stream, 1, 10)).await.unwrap();
    assert!(matches!(unreachable, Err(ReadError::Unavailable(_))), "{unreachable:?}");
    let server = Server::restart(killed);
    for call in calls {
        timeout(PATIENCE, call).await.unwrap().unwrap();
    }
    assert_stream_holds(&*server.log, "s", 0..150).await;
    timeout(PATIENCE, head.wait_for(|head| *head == 150)).await.unwrap().unwrap();
    // Written by others, after the restart: the subscription is back.
    server.log.append(one("other", exact(0), vec![event(1000)])).await.unwrap();
    timeout(PATIENCE, head.wait_for(|head| *head == 151)).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_ends_subscriptions_and_the_follower_returns() {
    let server = Server::start(Arc::new(MemoryLog::new()));
    let log = connect(impatient(server.url())).await;
    let mut head = log.watch_head();
    log.append(one("s", exact(0), vec![event(0)])).await.unwrap();
    timeout(PATIENCE, head.wait_for(|head| *head == 1)).await.unwrap().unwrap();
    server.stop();
    let server = Server::restart(server.kill());
    server.log.append(one("s", exact(1), vec![event(1)])).await.unwrap();
    timeout(PATIENCE, head.wait_for(|head| *head == 2)).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_append_does_not_fail_others_in_flight() {
    let server = Server::start(Arc::new(MemoryLog::new()));
    let log = connect(impatient(server.url())).await;
    let calls: Vec<_> = (0..200u128)
        .map(|n| {
            let expected = exact(if n % 9 == 4 { 7 } else { 0 });
            log.append(one(&format!("s{n}"), expected, vec![event(2 * n), event(2 * n + 1)]))
        })
        .collect();
    for (n, call) in calls.into_iter().enumerate() {
        let result = timeout(PATIENCE, call).await.unwrap();
        if n % 9 == 4 {
            let refused = result.unwrap_err();
            assert!(matches!(refused, AppendError::Conflict { expected: 7, actual: 0, .. }), "{refused:?}");
        } else {
            assert_eq!(result.unwrap().revisions, [2]);
        }
    }
    let events = server.log.head().await.unwrap().events;
    assert_eq!(events, 2 * (0..200).filter(|n| n % 9 != 4).count() as u64);
}

/// A log that announces nothing.
struct Mute(MemoryLog, watch::Sender<Position>);

impl EventLog for Mute {
    pass_to_log!(0: capabilities, append, append_group, read_stream, stream_revision, read_all, head, close);

    fn watch_head(&self) -> watch::Receiver<Position> {
        self.1.subscribe()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_notices_a_silent_subscription() {
    let server = Server::start(Arc::new(Mute(MemoryLog::new(), watch::channel(0).0)));
    let log = connect(impatient(server.url())).await;
    let mut head = log.watch_head();
    for n in 1..4 {
        let result = log.append(one("s", exact(n - 1), vec![event(n.into())])).await.unwrap();
        timeout(PATIENCE, head.wait_for(|head| *head >= result.last)).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_and_absent_servers_are_told_at_once() {
    let credentials = daybook_kurrent::Credentials { user: "admin".into(), password: "right".into() };
    let options = daybook_kurrent::Options { credentials: Some(credentials), advertise: None };
    let server = Server::start_with(Arc::new(MemoryLog::new()), "127.0.0.1:0".parse().unwrap(), options);
    let with = |user: &str| format!("kurrentdb://{user}{}?tls=false", server.address);
    for wrong in ["", "admin:wrong@"] {
        let error = KurrentLog::connect(impatient(with(wrong))).await.err().unwrap();
        assert!(error.to_string().contains("user and password of the connection string"), "{error}");
        assert!(!error.to_string().contains("wrong"), "a password in {error}");
    }
    let log = connect(impatient(with("admin:right@"))).await;
    log.append(one("s", exact(0), vec![event(0)])).await.unwrap();
    let (address, _) = server.kill();
    let error = KurrentLog::connect(impatient(url(address))).await.err().unwrap();
    assert!(
        matches!(&error, ConnectError::Unreachable { server, .. } if *server == address.to_string()),
        "{error}"
    );
}

/// The client gives up a connection, and with it all that is under way there, after a thousand reads that were dropped before their
/// end.
#[tokio::test(flavor = "multi_thread")]
async fn reads_leave_the_connection_to_others() {
    let server = Server::start(Arc::new(MemoryLog::new()));
    let proxy = Proxy::start(server.address).await;
    let options = KurrentOptions { request_timeout: PATIENCE, ..KurrentOptions::new(url(proxy.address)) };
    let log = connect(options).await;
    log.append(one("there", exact(0), vec![event(0), event(1)])).await.unwrap();
    let before = proxy.accepted();
    let there = StreamId::new("there").unwrap();
    let reads = futures::stream::iter(0..600).map(|n| {
        let (log, there) = (&log, &there);
        async move {
            let absent = StreamId::new(format!("absent-{n}")).unwrap();
            assert_eq!(log.stream_revision(&absent).await.unwrap(), 0);
            assert_eq!(log.read_stream(&absent, 1, 10).await.unwrap(), []);
            assert_eq!(log.stream_revision(there).await.unwrap(), 2);
            let page = log.read_all(0, &Filter::default(), 1, usize::MAX).await.unwrap();
            assert_eq!(page.events.len(), 1);
        }
    });
    reads.buffer_unordered(64).collect::<Vec<()>>().await;
    assert_eq!(proxy.accepted(), before);
}
