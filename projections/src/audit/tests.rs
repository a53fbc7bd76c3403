use daybook_schemas::Timestamp;
use daybook_schemas::inventory::{Event, Received};
use serde_json::{Value, json};

use super::query::{AuditCursor, AuditFilter, list};
use super::*;
use crate::testing::{ACTOR, On, World, each_engine, payload};

fn received() -> Event {
    payload::<Received>(json!({"location": "default", "quantity": 1})).into()
}

fn world() -> World {
    let world = World::new();
    for i in 0..9 {
        world.append(&format!("inventory-{}", i % 3), received());
    }
    world
}

fn positions(world: &World, filter: &AuditFilter) -> Vec<String> {
    let projection = world.project(|| Audit);
    let rows = projection.reader.begin().unwrap();
    let mut positions = Vec::new();
    let mut after = None;
    loop {
        let page = list(&*rows, filter, after, 2).unwrap();
        positions.extend(page.entries.iter().map(|entry| entry.position.clone()));
        match page.next {
            Some(next) => after = Some(AuditCursor::parse(&next).unwrap()),
            None => return positions,
        }
    }
}

fn every_event_leaves_a_row_that_says_who_and_when(on: On) {
    let world = World::on(on);
    let position = world.append("inventory-1", received());
    let projection = world.project(|| Audit);
    let rows = projection.reader.begin().unwrap();
    let page = list(&*rows, &AuditFilter::default(), None, 10).unwrap();
    assert_eq!(
        serde_json::to_value(&page.entries[0]).unwrap(),
        json!({"position": position.to_string(), "stream": "inventory-1", "revision": 1, "type": "inventory.received",
               "actor": ACTOR, "command_id": "c1", "recorded_at": "2011-10-30T18:40:01Z"})
    );
}

fn machinery_leaves_no_rows(on: On) {
    let world = World::on(on);
    world.append_raw("sequence-x", "sequence.advanced", 1, b"{\"name\":\"x\",\"last\":1}".to_vec());
    world.append_raw("claim-sku~x", "claim.taken", 1, b"{}".to_vec());
    assert!(world.project(|| Audit).dump().is_empty());
}

#[test]
fn events_are_found_by_stream_actor_and_time_both_ways() {
    let world = world();
    let all = |keep: &[u32]| keep.iter().map(u32::to_string).collect::<Vec<_>>();
    assert_eq!(positions(&world, &AuditFilter::default()), all(&[1, 2, 3, 4, 5, 6, 7, 8, 9]));
    let stream = AuditFilter { stream: Some("inventory-1".to_owned()), ..AuditFilter::default() };
    assert_eq!(positions(&world, &stream), all(&[2, 5, 8]));
    let latest = AuditFilter { descending: true, ..stream };
    assert_eq!(positions(&world, &latest), all(&[8, 5, 2]));
    let actor = AuditFilter { actor: Some(ACTOR.to_owned()), ..AuditFilter::default() };
    assert_eq!(positions(&world, &actor).len(), 9);
    let nobody = AuditFilter { actor: Some("nobody".to_owned()), ..AuditFilter::default() };
    assert!(positions(&world, &nobody).is_empty());
    let second = |n: i64| Some(Timestamp::from_micros(1_320_000_000_000_000 + n * 1_000_000));
    let time = AuditFilter { from: second(3), before: second(7), ..AuditFilter::default() };
    assert_eq!(positions(&world, &time), all(&[3, 4, 5, 6]));
    let latest = AuditFilter { descending: true, ..time };
    assert_eq!(positions(&world, &latest), all(&[6, 5, 4, 3]));
    let both =
        AuditFilter { stream: Some("inventory-1".to_owned()), from: second(4), ..AuditFilter::default() };
    assert_eq!(positions(&world, &both), all(&[5, 8]));
}

fn events_are_found_by_their_reason(on: On) {
    let world = World::on(on);
    let say = |stream: &str, data: Value| {
        world.append_raw(stream, "inventory.adjusted", 1, data.to_string().into_bytes());
    };
    let long = "x".repeat(5_000);
    say("inventory-1", json!({"location": "default", "delta": 1, "reason": "Water  damage"}));
    say("inventory-1", json!({"location": "default", "delta": 1, "reason": "counted"}));
    say("inventory-2", json!({"location": "default", "delta": 1, "reason": "water damage"}));
    say("inventory-2", json!({"location": "default", "delta": 1, "reason": long}));
    // A reason within something else is not why the event happened.
    say("inventory-3", json!({"lines": [{"reason": "counted"}]}));
    say("inventory-3", json!({"reason": null}));
    let found = |reason: &str, stream: Option<&str>| {
        let stream = stream.map(str::to_owned);
        positions(&world, &AuditFilter { reason: Some(reason.to_owned()), stream, ..AuditFilter::default() })
    };
    assert_eq!(found("WATER damage ", None), ["1", "3"]);
    assert_eq!(found("water damage", Some("inventory-2")), ["3"]);
    assert_eq!(found("counted", None), ["2"]);
    assert_eq!(found(&"X".repeat(200), None), ["4"]);
    assert!(found("water", None).is_empty());
    let projection = world.project(|| Audit);
    let rows = projection.reader.begin().unwrap();
    let page = list(&*rows, &AuditFilter::default(), None, 10).unwrap();
    let told: Vec<_> = page.entries.iter().map(|entry| entry.event.reason.clone()).collect();
    let reasons = ["Water  damage", "counted", "water damage", &long].map(|reason| Some(reason.to_owned()));
    assert_eq!(told, [reasons.as_slice(), &[None, None]].concat());
}

#[test]
fn other_texts_are_no_cursor() {
    for text in ["", "5", "x:5", "5:x", "5:-1"] {
        assert_eq!(AuditCursor::parse(text), None, "{text}");
    }
}

each_engine!(
    every_event_leaves_a_row_that_says_who_and_when,
    machinery_leaves_no_rows,
    events_are_found_by_their_reason,
);
