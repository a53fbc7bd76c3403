//! One log seen from several sides: natively, through the protocol by Daybook's own backend, and by other clients.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use daybook_eventlog::kurrent::{ConnectError, KurrentLog, KurrentOptions};
use daybook_eventlog::{Append, AppendError, EventLog, Expected, Filter, MemoryLog, NewEvent, StreamId};
use eventstore::{AppendToStreamOptions, Client, EventData, StreamMetadataBuilder};
use futures::FutureExt;
use tokio::time::timeout;
use uuid::Uuid;

use crate::common::{PATIENCE, Server, connect, event, impatient, one};

async fn start() -> (Server, KurrentLog, Client) {
    let server = Server::start(Arc::new(MemoryLog::new()));
    let log = connect(impatient(server.url())).await;
    let client = Client::new(format!("esdb://{}?tls=false", server.address).parse().unwrap()).unwrap();
    (server, log, client)
}

fn stream(name: &str) -> StreamId {
    StreamId::new(name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_the_served_log_read_the_same_through_the_protocol() {
    let (server, log, _client) = start().await;
    let events = [
        NewEvent { version: 3, ..event(1) },
        NewEvent { recorded_at: 1_712_345_678_901_234, metadata: "".into(), ..event(2) },
        NewEvent { data: vec![0, 255].into(), metadata: vec![1, 2, 3].into(), ..event(3) },
    ];
    for (n, event) in (0..).zip(events) {
        server.log.append(one("s", Expected::Exact(n), vec![event])).await.unwrap();
    }
    let native = server.log.read_stream(&stream("s"), 1, 10).await.unwrap();
    assert_eq!(log.read_stream(&stream("s"), 1, 10).await.unwrap(), native);
    assert_eq!(log.read_all(0, &Filter::default(), 10, usize::MAX).await.unwrap().events, native);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_other_clients_are_read_and_the_servers_own_passed_over() {
    let (_server, log, client) = start().await;
    let any = AppendToStreamOptions::default();
    let foreign = EventData::json("foreign.happened", &7).unwrap().id(Uuid::from_u128(1));
    let foreign = foreign.metadata_as_json(&serde_json::json!({"$causationId": "x"})).unwrap();
    let metadata = StreamMetadataBuilder::new().max_count(5).build();
    client.set_stream_metadata("before", &any, &metadata).await.unwrap();
    client.append_to_stream("s", &any, foreign).await.unwrap();
    client.set_stream_metadata("s", &any, &metadata).await.unwrap();

    let page = log.read_all(0, &Filter::default(), 10, usize::MAX).await.unwrap();
    assert_eq!((page.events.len(), page.scanned_to, page.at_head), (1, 3, true));
    let found = &page.events[0];
    assert_eq!((found.stream(), found.revision, found.position, found.version), ("s", 1, 2, 1));
    assert_eq!((found.data(), found.metadata()), (&b"7"[..], &b"{\"$causationId\":\"x\"}"[..]));
    assert!(found.recorded_at > 1_700_000_000_000_000);
    let head = log.head().await.unwrap();
    assert_eq!((head.position, head.events), (2, 1));
    // A new reader finds the last event behind the server's own.
    assert_eq!(*connect(impatient(_server.url())).await.watch_head().borrow(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_of_another_client_conflicts_with_ours() {
    let (_server, log, client) = start().await;
    log.append(one("s", Expected::Exact(0), vec![event(1)])).await.unwrap();
    let foreign = EventData::binary("t", vec![1u8].into());
    client.append_to_stream("s", &AppendToStreamOptions::default(), foreign).await.unwrap();
    let group = log.append_group(vec![
        one("s", Expected::Exact(1), vec![event(2)]),
        one("s", Expected::Exact(2), vec![event(3)]),
        one("other", Expected::Exact(0), vec![event(4)]),
    ]);
    let results = timeout(PATIENCE, group).await.unwrap();
    assert!(matches!(results[0], Err(AppendError::Conflict { expected: 1, .. })), "{results:?}");
    assert_eq!(results[1].as_ref().unwrap().revisions, [3]);
    assert_eq!(results[2].as_ref().unwrap().revisions, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_kept_and_named() {
    let server = Server::start(Arc::new(MemoryLog::new()));
    let options =
        KurrentOptions { max_append_bytes: 1000, max_queued_bytes: 2000, ..impatient(server.url()) };
    let log = connect(options).await;
    let sized = |id, bytes: usize| -> Append {
        one("s", Expected::Any, vec![NewEvent { data: vec![b'1'; bytes].into(), ..event(id) }])
    };
    let error = log.append(sized(1, 1000)).await.unwrap_err();
    assert!(matches!(&error, AppendError::Invalid(reason) if reason.contains("max_append_bytes")), "{error}");
    let calls: Vec<_> = (2..6).map(|id| log.append(sized(id, 800))).collect();
    let mut refused = 0;
    for call in calls {
        match timeout(PATIENCE, call).await.unwrap() {
            Ok(_) => {}
            Err(AppendError::Overloaded) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused >= 1, "four appends of 800 bytes were queued within 2000");
    log.append(sized(9, 800)).await.unwrap();
    log.close().await;
    let closed = log.append(sized(10, 8)).now_or_never().unwrap();
    assert!(matches!(closed, Err(AppendError::Stopped(_))), "{closed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_server_behind_a_tls_connection_string_is_told() {
    let server = Server::start(Arc::new(MemoryLog::new()));
    let url = format!("kurrentdb://{}?maxDiscoverAttempts=2&discoveryInterval=50", server.address);
    let options = KurrentOptions { request_timeout: Duration::from_secs(10), ..KurrentOptions::new(url) };
    let error = timeout(PATIENCE, KurrentLog::connect(options)).await.unwrap().err().unwrap();
    assert!(matches!(error, ConnectError::Unreachable { .. }));
    assert!(error.to_string().contains("tls="), "{error}");
}
