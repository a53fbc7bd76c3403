//! The server as the `eventstore` crate sees it.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;

use daybook_eventlog::{Expected, MemoryLog, StreamId};
use eventstore::{
    AppendToStreamOptions, BatchAppendOptions, Client, CurrentRevision, DeleteStreamOptions, Error,
    EventData, ExpectedRevision, Position, ReadAllOptions, ReadStreamOptions, ResolvedEvent,
    StreamMetadataBuilder, StreamMetadataResult, StreamPosition, SubscribeToAllOptions,
    SubscribeToStreamOptions, Subscription, SubscriptionEvent, SubscriptionFilter, TombstoneStreamOptions,
};
use tokio::time::timeout;
use uuid::Uuid;

use crate::common::{PATIENCE, Server, event, one};

struct Fixture {
    server: Server,
    client: Client,
}

fn start() -> Fixture {
    let server = Server::start(Arc::new(MemoryLog::new()));
    let url = format!("esdb://{}?tls=false", server.address);
    let client = Client::new(url.parse().unwrap()).unwrap();
    Fixture { server, client }
}

fn data(id: u128) -> EventData {
    EventData::json("test.happened", &serde_json::json!({"id": id.to_string()}))
        .unwrap()
        .id(Uuid::from_u128(id))
}

fn expecting(revision: ExpectedRevision) -> AppendToStreamOptions {
    AppendToStreamOptions::default().expected_revision(revision)
}

fn ids(events: &[ResolvedEvent]) -> Vec<u128> {
    events.iter().map(|event| event.get_original_event().id.as_u128()).collect()
}

async fn read_stream(client: &Client, stream: &str, options: ReadStreamOptions) -> Vec<u128> {
    let mut reading = client.read_stream(stream, &options).await.unwrap();
    let mut events = Vec::new();
    while let Some(event) = reading.next().await.unwrap() {
        events.push(event);
    }
    ids(&events)
}

async fn read_all(client: &Client, options: ReadAllOptions) -> Vec<u128> {
    let mut reading = client.read_all(&options).await.unwrap();
    let mut events = Vec::new();
    while let Some(event) = reading.next().await.unwrap() {
        events.push(event);
    }
    ids(&events)
}

fn at(position: u64) -> StreamPosition<Position> {
    StreamPosition::Position(Position { commit: position, prepare: position })
}

async fn next_event(subscription: &mut Subscription) -> u128 {
    let event = timeout(PATIENCE, subscription.next()).await.unwrap().unwrap();
    event.get_original_event().id.as_u128()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_comes_back_as_it_was_written() {
    let Fixture { server, client } = start();
    let json = data(1).metadata_as_json(&serde_json::json!({"$correlationId": "c"})).unwrap();
    let binary = EventData::binary("test.bytes", vec![0u8, 255, 7].into()).id(Uuid::from_u128(2));
    let written =
        client.append_to_stream("s", &expecting(ExpectedRevision::NoStream), vec![json, binary]).await;
    let written = written.unwrap();
    assert_eq!((written.next_expected_version, written.position.commit), (1, 2));

    let mut reading = client.read_stream("s", &ReadStreamOptions::default()).await.unwrap();
    let first = reading.next().await.unwrap().unwrap();
    let first = first.get_original_event();
    assert_eq!((first.stream_id.as_str(), first.revision, first.position.prepare), ("s", 0, 1));
    assert_eq!((first.event_type.as_str(), first.is_json), ("test.happened", true));
    assert_eq!(&first.custom_metadata[..], b"{\"$correlationId\":\"c\"}");
    let second = reading.next().await.unwrap().unwrap();
    let second = second.get_original_event();
    assert_eq!((&second.data[..], second.is_json), (&[0u8, 255, 7][..], false));

    let own = server.log.read_stream(&StreamId::new("s").unwrap(), 1, 10).await.unwrap();
    assert_eq!((own[0].revision, own[0].position, own[0].event_id.as_u128()), (1, 1, 1));
    assert_eq!(own[0].recorded_at / 1_000_000, first.created.timestamp());
    assert!(own[0].recorded_at > 1_700_000_000_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_expectation_meets_every_state() {
    use ExpectedRevision::{Any, Exact, NoStream, StreamExists};
    let Fixture { client, server: _server } = start();
    client.append_to_stream("s", &expecting(NoStream), vec![data(1), data(2)]).await.unwrap();
    let refused =
        [(NoStream, "s"), (Exact(0), "s"), (Exact(5), "s"), (StreamExists, "none"), (Exact(0), "none")];
    for (n, (expected, stream)) in (100..).zip(refused) {
        let error = client.append_to_stream(stream, &expecting(expected), data(n)).await.unwrap_err();
        let wanted = if stream == "s" { CurrentRevision::Current(1) } else { CurrentRevision::NoStream };
        match error {
            Error::WrongExpectedVersion { expected: given, current } => {
                assert_eq!((given, current), (expected, wanted));
            }
            other => panic!("{expected:?} on {stream}: {other}"),
        }
    }
    for (n, expected) in [(2u64, Exact(1)), (3, StreamExists), (4, Any)] {
        let written =
            client.append_to_stream("s", &expecting(expected), data(200 + u128::from(n))).await.unwrap();
        assert_eq!(written.next_expected_version, n);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_appends_are_known_by_their_ids() {
    use ExpectedRevision::{Any, Exact, NoStream, StreamExists};
    let Fixture { server, client } = start();
    let append = async |expected, events| client.append_to_stream("s", &expecting(expected), events).await;
    let first = append(NoStream, vec![data(1), data(2)]).await.unwrap();
    append(Exact(1), vec![data(3)]).await.unwrap();
    append(Any, vec![data(4), data(5)]).await.unwrap();
    append(Exact(4), vec![data(6)]).await.unwrap();
    let again = append(NoStream, vec![data(1), data(2)]).await.unwrap();
    assert_eq!((again.next_expected_version, again.position), (first.next_expected_version, first.position));
    assert_eq!(append(Any, vec![data(4), data(5)]).await.unwrap().next_expected_version, 4);
    assert_eq!(append(StreamExists, vec![data(1), data(2)]).await.unwrap().next_expected_version, 1);
    let half = append(Any, vec![data(4), data(99)]).await.unwrap_err();
    assert!(matches!(half, Error::WrongExpectedVersion { .. }), "{half}");
    let half = append(NoStream, vec![data(1), data(99)]).await.unwrap_err();
    assert!(matches!(half, Error::WrongExpectedVersion { .. }), "{half}");
    assert_eq!(server.log.head().await.unwrap().events, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_read_both_ways_from_anywhere() {
    let Fixture { client, server: _server } = start();
    client
        .append_to_stream("s", &expecting(ExpectedRevision::Any), (0..10).map(data).collect::<Vec<_>>())
        .await
        .unwrap();
    let from = |revision| ReadStreamOptions::default().position(StreamPosition::Position(revision));
    assert_eq!(read_stream(&client, "s", ReadStreamOptions::default()).await, (0..10).collect::<Vec<_>>());
    assert_eq!(read_stream(&client, "s", from(7).max_count(2)).await, [7, 8]);
    assert_eq!(read_stream(&client, "s", from(9)).await, [9]);
    assert_eq!(read_stream(&client, "s", from(10)).await, []);
    assert_eq!(read_stream(&client, "s", from(2).backwards()).await, [2, 1, 0]);
    assert_eq!(read_stream(&client, "s", from(99).backwards().max_count(1)).await, [9]);
    let end = ReadStreamOptions::default().position(StreamPosition::End).max_count(3);
    assert_eq!(read_stream(&client, "s", end).await, [9, 8, 7]);
    let mut none = client.read_stream("none", &ReadStreamOptions::default()).await.unwrap();
    assert!(matches!(none.next().await, Err(Error::ResourceNotFound)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_log_is_read_both_ways_from_anywhere() {
    let Fixture { server, client } = start();
    // More than a page, so that windows are crossed.
    for n in 0..60u64 {
        let events = (0..25).map(|k| event(u128::from(25 * n + k))).collect();
        server.log.append(one(&format!("s{}", n % 7), Expected::Any, events)).await.unwrap();
    }
    let all: Vec<u128> = (0..1500).collect();
    assert_eq!(read_all(&client, ReadAllOptions::default()).await, all);
    // The event at the position is part of a read forwards and not of one backwards; positions count from 1.
    assert_eq!(read_all(&client, ReadAllOptions::default().position(at(5)).max_count(3)).await, [4, 5, 6]);
    assert_eq!(read_all(&client, ReadAllOptions::default().position(at(5)).backwards()).await, [3, 2, 1, 0]);
    let backwards: Vec<u128> = (0..1500).rev().collect();
    let from_end = ReadAllOptions::default().position(StreamPosition::End);
    assert_eq!(read_all(&client, from_end.clone()).await, backwards);
    assert_eq!(read_all(&client, from_end.max_count(1)).await, [1499]);
    assert_eq!(read_all(&client, ReadAllOptions::default().position(at(1501))).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_bring_what_was_and_what_comes() {
    let Fixture { client, server: _server } = start();
    let append = async |stream: &str, n| {
        client.append_to_stream(stream, &expecting(ExpectedRevision::Any), data(n)).await.unwrap();
    };
    for n in 0..3 {
        append("s", n).await;
    }
    append("other", 10).await;
    let from = SubscribeToStreamOptions::default().start_from(StreamPosition::Position(0));
    let mut of_stream = client.subscribe_to_stream("s", &from).await;
    let confirmed = of_stream.next_subscription_event().await.unwrap();
    assert!(matches!(confirmed, SubscriptionEvent::Confirmed(_)));
    let mut of_all = client.subscribe_to_all(&SubscribeToAllOptions::default().position(at(2))).await;
    let end = SubscribeToAllOptions::default().position(StreamPosition::End);
    let mut of_the_new = client.subscribe_to_all(&end).await;
    let _confirmed = of_the_new.next_subscription_event().await.unwrap();
    // The event at the given place is the subscriber's already.
    assert_eq!((next_event(&mut of_stream).await, next_event(&mut of_stream).await), (1, 2));
    assert_eq!((next_event(&mut of_all).await, next_event(&mut of_all).await), (2, 10));
    let caught_up = timeout(PATIENCE, of_all.next_subscription_event()).await.unwrap().unwrap();
    assert!(matches!(caught_up, SubscriptionEvent::CaughtUp));
    append("other", 11).await;
    append("s", 3).await;
    assert_eq!(next_event(&mut of_stream).await, 3);
    assert_eq!((next_event(&mut of_all).await, next_event(&mut of_all).await), (11, 3));
    assert_eq!((next_event(&mut of_the_new).await, next_event(&mut of_the_new).await), (11, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_select_on_the_server_and_report_progress() {
    let Fixture { server, client } = start();
    for n in 0..200u32 {
        let stream = if n == 150 { "wanted-1".to_owned() } else { format!("other-{n}") };
        server.log.append(one(&stream, Expected::Exact(0), vec![event(n.into())])).await.unwrap();
    }
    let filters = [
        SubscriptionFilter::on_stream_name().add_prefix("wanted-"),
        SubscriptionFilter::on_stream_name().regex("^want[a-z]+-\\d$"),
        SubscriptionFilter::on_stream_name().regex("^(?!other-).*"),
    ];
    for filter in filters {
        let options = SubscribeToAllOptions::default().filter(filter.max(20));
        let mut subscription = client.subscribe_to_all(&options).await;
        let (mut events, mut checkpoint) = (Vec::new(), 0);
        loop {
            match timeout(PATIENCE, subscription.next_subscription_event()).await.unwrap().unwrap() {
                SubscriptionEvent::EventAppeared(event) => {
                    events.push(event.get_original_event().id.as_u128())
                }
                SubscriptionEvent::Checkpoint(position) => {
                    assert!(position.commit > checkpoint);
                    checkpoint = position.commit;
                }
                SubscriptionEvent::CaughtUp => break,
                _ => {}
            }
        }
        assert_eq!((events, checkpoint), (vec![150], 200));
    }
    let broken = SubscribeToAllOptions::default().filter(SubscriptionFilter::on_event_type().regex("(("));
    let refused = client.subscribe_to_all(&broken).await.next_subscription_event().await.unwrap_err();
    assert!(refused.to_string().contains("expression"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_pipelined_and_a_refusal_has_a_reason() {
    let Fixture { server, client } = start();
    let batch = client.batch_append(&BatchAppendOptions::default()).await.unwrap();
    for n in 0..20u64 {
        let expected = if n == 0 { ExpectedRevision::NoStream } else { ExpectedRevision::Exact(2 * n - 1) };
        let events = vec![data(u128::from(2 * n)), data(u128::from(2 * n + 1))];
        let written = batch.append_to_stream("s", expected, events).await.unwrap();
        assert_eq!((written.current_revision(), written.stream_name()), (Some(2 * n + 1), "s"));
        assert_eq!(written.current_position().unwrap().commit, 2 * n + 2);
    }
    let refused =
        batch.append_to_stream("s", ExpectedRevision::Exact(3), vec![data(1000)]).await.unwrap_err();
    assert!(refused.to_string().contains("WrongExpectedVersion"), "{refused}");
    assert_eq!(server.log.head().await.unwrap().events, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_ever_deleted_and_the_refusal_is_clear() {
    let Fixture { client, server: _server } = start();
    client.append_to_stream("s", &expecting(ExpectedRevision::Any), data(1)).await.unwrap();
    let deleted = client.delete_stream("s", &DeleteStreamOptions::default()).await;
    assert!(matches!(deleted, Err(Error::UnsupportedFeature)), "{deleted:?}");
    let deleted = client.tombstone_stream("s", &TombstoneStreamOptions::default()).await;
    assert!(matches!(deleted, Err(Error::UnsupportedFeature)), "{deleted:?}");
    assert_eq!(read_stream(&client, "s", ReadStreamOptions::default()).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_metadata_is_kept() {
    let Fixture { client, server: _server } = start();
    let newest = ReadStreamOptions::default().position(StreamPosition::End).max_count(1);
    let none = client.get_stream_metadata("s", &newest).await.unwrap();
    assert!(matches!(none, StreamMetadataResult::NotFound));
    let metadata = StreamMetadataBuilder::new().max_count(12).build();
    client.set_stream_metadata("s", &AppendToStreamOptions::default(), &metadata).await.unwrap();
    match client.get_stream_metadata("s", &newest).await.unwrap() {
        StreamMetadataResult::Success(found) => assert_eq!(found.metadata().max_count, Some(12)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_does_not_take_is_refused_with_the_reason() {
    let Fixture { server, client } = start();
    let refused = async |stream: &str, event: EventData| {
        let error =
            client.append_to_stream(stream, &AppendToStreamOptions::default(), event).await.unwrap_err();
        error.to_string()
    };
    let typed = |name: &str| EventData::binary(name, vec![1u8].into());
    assert!(refused("with space", typed("t")).await.contains("a stream name is"));
    assert!(refused("naïve", typed("t")).await.contains("a stream name is"));
    assert!(refused("$all", typed("t")).await.contains("$all is the whole log"));
    assert!(refused("s", typed("")).await.contains("an event type is"));
    assert!(refused("s", typed(&"t".repeat(256))).await.contains("an event type is"));
    let large = EventData::binary("t", vec![0u8; 9 << 20].into());
    assert!(refused("s", large).await.contains("bytes"));
    assert_eq!(server.log.head().await.unwrap().events, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_one_is_discovered() {
    let Fixture { server, client: _client } = start();
    let url = format!("esdb://{0},{0}?tls=false&nodePreference=leader", server.address);
    let client = Client::new(url.parse().unwrap()).unwrap();
    client.append_to_stream("s", &AppendToStreamOptions::default(), data(1)).await.unwrap();
    assert_eq!(client.server_info().await.unwrap().version().major(), 23);
    assert_eq!(read_stream(&client, "s", ReadStreamOptions::default()).await, [1]);
}
