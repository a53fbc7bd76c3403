//! Rows that the server refuses for good: their events are parked, the rest goes on, and a retry mends it.

use std::time::Duration;

use serde_json::json;

use super::super::super::NAME;
use super::super::super::tests::generate::log;
use super::super::mapping;
use super::*;
use crate::generations::ReadModelKind;
use crate::runner::{self, RunnerOptions};
use crate::search::elastic::ElasticKind;
use crate::testing::{World, eventually};

#[test]
fn refused_rows_are_parked_and_a_retry_puts_them_in() {
    let Some(url) = url() else { return };
    let place = Place::new(url);
    // An index that knows no brands, as if somebody had changed its mapping: every row with a listing is refused.
    let mut broken = mapping::creation(&place.options, &place.alias(), 1);
    let fields = broken["mappings"]["properties"].as_object_mut().unwrap();
    let brand = fields.remove("brand").unwrap();
    place.server.call(Request::new(Method::Put, format!("{}-data", place.alias())).json(&broken)).unwrap();

    let (world, log) = (World::new(), log(60, 12, 160));
    let half = log.events.len() / 2;
    let append = |events: &[crate::model::Projected]| {
        events.iter().map(|event| world.append(event.recorded.stream(), event.event.clone())).max().unwrap()
    };
    let kind = ElasticKind::new(place.options.clone()).unwrap();
    let opened = kind.open(world.folder(), 1).unwrap();
    let options = RunnerOptions { backoff: Duration::from_millis(1), ..kind.options() };
    let handle = runner::start(NAME, 1, opened.model, world.log(), world.runtime.handle(), options).unwrap();
    let wait = |position| world.runtime.block_on(handle.wait_for(position, Duration::from_secs(60))).unwrap();
    wait(append(&log.events[..half]));
    wait(append(&log.events[half..]));

    let letters = world.runtime.block_on(handle.dead_letters()).unwrap();
    assert!(letters.iter().any(|letter| letter.reason.contains("strict_dynamic_mapping_exception")));
    assert!(letters.iter().all(|letter| !letter.stream.starts_with("order-")));
    for stream in ["variant-", "inventory-"] {
        assert!(letters.iter().any(|letter| letter.stream.starts_with(stream)), "{letters:?}");
    }
    eventually("the runner says so", || handle.status().state == "degraded");

    place
        .server
        .call(
            Request::new(Method::Put, format!("{}/_mapping", place.alias()))
                .json(&json!({"properties": {"brand": brand}})),
        )
        .unwrap();
    let retried = world.runtime.block_on(handle.retry_dead_letters(None)).unwrap();
    assert_eq!((retried.applied, retried.parked), (letters.len(), 0));
    let actual = world.runtime.block_on(handle.with_model(|model| rows(model))).unwrap();
    assert_eq!(actual, expected_rows(&log));
    world.runtime.block_on(handle.stop());
}
