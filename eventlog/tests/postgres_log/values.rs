//! Bytes of every kind come back as they were given.

use bytes::Bytes;
use daybook_eventlog::{AppendError, EventLog, Expected, Filter, NewEvent};

use crate::support::{Database, append, event, happened, stream, unique_id, whole_log};

fn of(data: &[u8], metadata: &[u8]) -> NewEvent {
    NewEvent {
        data: Bytes::copy_from_slice(data),
        metadata: Bytes::copy_from_slice(metadata),
        ..event("test.happened", "")
    }
}

#[tokio::test]
async fn every_payload_and_metadata_comes_back_byte_for_byte() {
    let Some(database) = Database::fresh() else { return };
    let log = database.log().await;
    let deep = format!("{}1{}", "[".repeat(120), "]".repeat(120));
    let deeper = format!("{}1{}", "[".repeat(9_000), "]".repeat(9_000));
    let data: [&[u8]; 20] = [
        b"{}",
        b"",
        b"null",
        br#"{"b":1,"a":2,"b":3}"#,
        b"{ \"spaced\" : [ 1 , 2 ] }",
        b" {}",
        b"{}\n",
        b"1e400",
        b"-0",
        b"12345678901234567890123456789012345678901234567890.10",
        br#""\u0000""#,
        br#""\ud800""#,
        br#""\ud83d\ude00""#,
        "\"\u{1f600} \u{7f} \u{2028}\"".as_bytes(),
        b"\"raw\0nul\"",
        b"\xff\xfe",
        b"{",
        b"}{",
        deep.as_bytes(),
        deeper.as_bytes(),
    ];
    let metadata: [&[u8]; 7] =
        [b"{}", b"", br#"{"a":"b","a":"c"}"#, br#"{"a":1}"#, b"[]", br#"{"a":"\u0000"}"#, b"\0"];
    let mut events: Vec<_> = data.iter().map(|data| of(data, b"{}")).collect();
    events.extend(metadata.iter().map(|metadata| of(b"{}", metadata)));
    for recorded_at in [i64::MIN, -1, 0, i64::MAX] {
        events.push(NewEvent { recorded_at, version: u16::MAX, ..happened(1) });
    }
    let stream = stream("bytes-1");
    // One by one and all together take different ways through the writer.
    for event in &events {
        let alone = NewEvent { event_id: unique_id(), ..event.clone() };
        log.append(append(&stream, Expected::Any, vec![alone])).await.unwrap();
    }
    log.append(append(&stream, Expected::Any, events.clone())).await.unwrap();
    let recorded = log.read_stream(&stream, 1, 1_000).await.unwrap();
    assert_eq!(recorded.len(), 2 * events.len());
    for (recorded, new) in recorded.iter().zip(events.iter().chain(&events)) {
        assert_eq!(recorded.data(), &new.data[..]);
        assert_eq!(recorded.metadata(), &new.metadata[..]);
        assert_eq!((recorded.recorded_at, recorded.version), (new.recorded_at, new.version));
    }
    assert_eq!(whole_log(&log).await, recorded);
    // Nothing of these is asked of the server: they are what it would give.
    let written = log.read_tail(0, &Filter::default(), 1_000, usize::MAX).await.unwrap();
    assert_eq!((written.events, written.at_head), (recorded, true));
}

#[tokio::test]
async fn every_stream_name_is_its_own_stream() {
    let Some(database) = Database::fresh() else { return };
    let log = database.log().await;
    let long = format!("long-{}", "x".repeat(250));
    let names =
        ["a-1", "a", "-a", "-a-1", "a-", "-", "--", "a--1", "a-1-", "'\"\\;-$1", "a%-_", long.as_str()];
    for name in names {
        let result = log.append(append(&stream(name), Expected::Exact(0), vec![happened(1)])).await;
        assert_eq!(result.unwrap().revisions, [1], "{name}");
    }
    let events = whole_log(&log).await;
    assert!(events.iter().map(daybook_eventlog::RecordedEvent::stream).eq(names));
    for name in names {
        assert_eq!(log.read_stream(&stream(name), 1, 10).await.unwrap().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn an_event_that_the_server_refuses_takes_no_other_with_it() {
    let Some(database) = Database::fresh() else { return };
    let log = database.log().await;
    database
        .run(
            "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN RAISE EXCEPTION 'poison refused' USING ERRCODE = '22000'; END $$;
             CREATE TRIGGER poison BEFORE INSERT ON events FOR EACH ROW WHEN (NEW.event_type = 'test.poison')
                EXECUTE FUNCTION poison();",
        )
        .await;
    let one = |name: &str, event| append(&stream(name), Expected::Exact(0), vec![event]);
    let group =
        vec![one("a-1", happened(1)), one("b-1", event("test.poison", "{}")), one("c-1", happened(2))];
    let results = log.append_group(group).await;
    assert_eq!((results[0].as_ref().unwrap().first, results[2].as_ref().unwrap().first), (1, 2));
    match &results[1] {
        Err(AppendError::Invalid(detail)) => assert!(detail.contains("poison refused"), "{detail}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(whole_log(&log).await.len(), 2);
}

#[tokio::test]
async fn an_event_id_that_stands_elsewhere_is_a_conflict() {
    let Some(database) = Database::fresh() else { return };
    let log = database.log().await;
    let taken = happened(1);
    log.append(append(&stream("a-1"), Expected::Exact(0), vec![taken.clone()])).await.unwrap();
    let reused = append(&stream("b-1"), Expected::Exact(0), vec![happened(2), taken.clone()]);
    let good = append(&stream("c-1"), Expected::Exact(0), vec![happened(3)]);
    let results = log.append_group(vec![reused, good]).await;
    assert!(matches!(&results[0], Err(AppendError::Conflict { .. })), "{results:?}");
    assert!(results[1].is_ok());
    let twice = append(&stream("d-1"), Expected::Any, vec![happened(4); 2]);
    assert!(matches!(log.append(twice).await, Err(AppendError::Conflict { .. })));
    // After others have written, a retry that expects nothing is still known by its ids.
    let any = append(&stream("a-1"), Expected::Any, vec![happened(5)]);
    let first = log.append(any.clone()).await.unwrap();
    log.append(append(&stream("a-1"), Expected::Any, vec![happened(6)])).await.unwrap();
    assert_eq!(log.append(any).await.unwrap(), first);
}
