//! Commits: all or nothing, however often and wherever they are cut; repairs; snapshots.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use super::super::super::tests::generate::log;
use super::super::super::tests::{Log, project_into};
use super::proxy::{Lost, Proxy};
use super::*;
use crate::model::{RowKey, StoreError};

/// Carries events into a model as the runner does: after a failure, on from the checkpoint. The number of failures.
fn persist(model: &mut ElasticModel, log: &Log, batch: usize) -> usize {
    let mut failures = 0;
    while model.checkpoint() < log.head() {
        let at = usize::try_from(model.checkpoint()).unwrap();
        let events = &log.events[at..(at + batch).min(log.events.len())];
        let mut carry = || -> Result<(), crate::model::ProjectError> {
            for event in events {
                if model.handles(event.recorded.event_type()) {
                    model.apply(event)?;
                }
            }
            Ok(model.commit(events.last().unwrap().recorded.position)?)
        };
        if let Err(error) = carry() {
            assert!(
                matches!(error, crate::model::ProjectError::Store(StoreError::Unavailable(_))),
                "{error}"
            );
            model.rollback();
            failures += 1;
            assert!(failures < 20, "{error}");
            // Not at once, as the runner does: a server under pressure closes the next connection too.
            std::thread::sleep(Duration::from_millis(10 << failures.min(8)));
        }
    }
    failures
}

#[test]
fn a_commit_cut_at_any_request_is_all_or_nothing() {
    let Some(url) = url() else { return };
    let log = log(31, 30, 240);
    let expected = expected_rows(&log);
    let mut cuts = 0;
    for lost in [Lost::Request, Lost::Answer] {
        for number in 0.. {
            let place = Place::new(url.clone());
            let proxy = Proxy::new(&url, number, lost);
            let mut model = place.open_through(&proxy.url);
            let failures = persist(&mut model, &log, 90);
            let before = proxy.seen.load(Ordering::SeqCst);
            drop(model);
            assert_eq!(rows(&place.open()), expected, "request {number}, {lost:?}");
            // Another process finds the same, and nothing to finish.
            let (state, _) = control::read(&place.server, &place.alias()).ok().unwrap();
            assert!(state.batch.is_none() && state.checkpoint == log.head());
            if number >= before {
                break;
            }
            // The first ones are lost while the index is opened, which tries again by itself.
            assert!(failures > 0 || number < 8, "request {number} was not missed");
            cuts += 1;
        }
    }
    assert!(cuts > 30, "{cuts}");
}

#[test]
fn whoever_opens_a_half_written_batch_finishes_it() {
    let Some(url) = url() else { return };
    let place = Place::new(url);
    let log = log(32, 30, 300);
    let mut model = place.open();
    project_into(&mut model, &log.events[..150]);
    let finished = expected_rows(&log);
    let row = |(name, row): &(String, String)| {
        let (table, key) = name.split_once(' ').unwrap();
        let (table, key, row) = (table.to_owned(), key.to_owned(), Some(row.clone()));
        control::Row { table, key, row, events: Vec::new() }
    };
    let rows_to_write: Vec<_> = finished.iter().map(row).collect();
    // Decided, and its writer dead after half of the rows.
    let (state, written) = control::read(&place.server, &place.alias()).ok().unwrap();
    let batch = control::Batch {
        to: log.head(),
        version: log.head(),
        rows: rows_to_write.clone(),
        letters: Vec::new(),
    };
    let decided = control::State { batch: Some(batch), ..state };
    assert!(control::write(&place.server, &place.alias(), &decided, Some(written)).is_ok());
    let half = &rows_to_write[..rows_to_write.len() / 2];
    super::super::bulk::write(&place.server, &place.alias(), half, log.head(), &mut || Ok(())).unwrap();
    let reopened = place.open();
    assert_eq!(reopened.checkpoint(), log.head());
    assert_eq!(rows(&reopened), finished);
    // A writer that did not know of this is told, and goes on from there.
    let error = model.commit(log.head() + 1).unwrap_err();
    assert!(error.to_string().contains("another process"), "{error}");
    model.rollback();
    let error = model.commit(log.head() + 1).unwrap_err();
    assert!(error.to_string().contains("reading on from there"), "{error}");
    assert_eq!(model.checkpoint(), log.head());
    model.commit(log.head() + 1).unwrap();
}

#[test]
fn redelivery_changes_nothing_and_deletes_stay() {
    let Some(url) = url() else { return };
    let place = Place::new(url);
    let _model = place.open();
    let row = |row: Option<&str>| control::Row {
        table: "counters".to_owned(),
        key: "a".to_owned(),
        row: row.map(str::to_owned),
        events: Vec::new(),
    };
    let write = |text: Option<&str>, version| {
        super::super::bulk::write(&place.server, &place.alias(), &[row(text)], version, &mut || Ok(()))
            .unwrap();
    };
    let stored = || {
        let answer = place.server.call(Request::new(Method::Get, format!("{}/_doc/ca", place.alias())));
        answer.ok().and_then(|doc| doc["_source"]["row"].as_str().map(str::to_owned))
    };
    write(Some("{\"units\":1}"), 5);
    write(Some("{\"units\":2}"), 9);
    write(Some("{\"units\":1}"), 5);
    assert_eq!(stored().unwrap(), "{\"units\":2}");
    write(None, 5);
    assert_eq!(stored().unwrap(), "{\"units\":2}");
    write(None, 12);
    write(Some("{\"units\":2}"), 9);
    write(None, 12);
    assert_eq!(stored(), None);
}

#[test]
fn damage_shows_and_is_repaired_and_a_snapshot_keeps_still() {
    let Some(url) = url() else { return };
    let place = Place::new(url);
    let log = log(33, 40, 400);
    let mut model = place.open();
    project_into(&mut model, &log.events);
    let sound = rows(&model);
    let snapshot = model.snapshot().unwrap();
    let ids: Vec<&str> =
        sound.iter().filter_map(|(name, _)| name.strip_prefix("documents ")).take(2).collect();
    let change = json!({"doc": {"brand": "Nobody", "price": 7}});
    for _ in 0..2 {
        let path = format!("{}/_update/d{}", place.alias(), ids[0]);
        place.server.call(Request::new(Method::Post, path).json(&change)).unwrap();
    }
    place.server.call(Request::new(Method::Delete, format!("{}/_doc/d{}", place.alias(), ids[1]))).unwrap();
    place.server.call(Request::new(Method::Post, format!("{}/_refresh", place.alias()))).unwrap();
    let damaged = rows(&model);
    assert!(damaged.iter().any(|(_, row)| row.contains("Nobody")), "a changed copy shows");
    assert_eq!(damaged.len(), sound.len() - 1);
    let key = |id: &str| RowKey { table: "documents", key: id.to_owned() };
    assert_eq!(snapshot.get(&key(ids[1])).unwrap().unwrap(), sound[1].1.as_bytes());
    let repairs: Vec<_> =
        ids.iter().zip(&sound).map(|(id, (_, row))| (key(id), Some(row.clone().into_bytes()))).collect();
    model.repair(&repairs).unwrap();
    assert_eq!(rows(&model), sound);
    model.repair(&[(key(ids[0]), None)]).unwrap();
    assert_eq!(rows(&model).len(), sound.len() - 1);
    assert_eq!(model.checkpoint(), log.head());
}

#[test]
fn an_index_of_another_build_or_owner_is_refused() {
    let Some(url) = url() else { return };
    for (meta, word) in [
        (json!({"daybook": {"format": 0, "analysis": 0, "generation": 1}}), "another version"),
        (json!({}), "not made by Daybook"),
    ] {
        let place = Place::new(url.clone());
        drop(place.open());
        let request = Request::new(Method::Put, format!("{}/_mapping", place.alias()));
        place.server.call(request.json(&json!({"_meta": meta}))).unwrap();
        let error = ElasticModel::open(place.server.clone(), place.options.clone(), 1).err().unwrap();
        assert!(!error.is_retryable() && error.to_string().contains(word), "{error}");
    }
}
