//! Events to documents.

use daybook_schemas::variant::{self, Lifecycle};
use daybook_schemas::{VariantId, inventory};

use super::super::document::{
    Misfit, SearchDocument, discount_percent, fold_inventory, fold_variant, popularity_bucket,
};
use super::{Log, created, ids, label, open, price, project, received, search};
use crate::model::{ProjectError, ReadModel};

fn id() -> VariantId {
    VariantId::new("v").unwrap()
}

fn folded(events: Vec<variant::Event>) -> Result<SearchDocument, Misfit> {
    let mut document = None;
    for (revision, event) in (1..).zip(&events) {
        document = Some(fold_variant(document, &id(), event, revision)?);
    }
    Ok(document.unwrap())
}

#[test]
fn a_variant_starts_as_a_draft_without_stock() {
    let document = folded(vec![created("v", "Red lantern").into()]).unwrap();
    let listing = document.listing.unwrap();
    assert_eq!((document.variant_revision, document.in_stock, document.popularity), (1, false, 0));
    assert_eq!((listing.lifecycle, listing.name), (Lifecycle::Draft, label("Red lantern")));
}

#[test]
fn every_event_moves_the_revision_and_what_it_says() {
    let details =
        variant::DetailsChanged { name: Some(label("Blue lantern")), ..variant::DetailsChanged::default() };
    let document = folded(vec![
        created("v", "Red lantern").into(),
        variant::Unlocked { reason: daybook_schemas::Text::new("x").unwrap() }.into(),
        details.into(),
        variant::Submitted { from: Lifecycle::Draft, reason: None }.into(),
    ])
    .unwrap();
    let listing = document.listing.unwrap();
    assert_eq!(document.variant_revision, 4);
    assert_eq!((listing.lifecycle, listing.name), (Lifecycle::PendingApproval, label("Blue lantern")));
}

#[test]
fn a_gap_in_the_stream_is_refused() {
    let event = variant::Event::from(variant::Submitted { from: Lifecycle::Draft, reason: None });
    let document = folded(vec![created("v", "x").into()]).unwrap();
    assert_eq!(fold_variant(Some(document), &id(), &event, 3), Err(Misfit::Gap { from: 1, to: 3 }));
    assert!(matches!(fold_variant(None, &id(), &event, 1), Err(Misfit::Impossible(_))));
}

#[test]
fn an_archived_variant_is_kept_as_a_stub() {
    let document = folded(vec![
        created("v", "x").into(),
        variant::Archived { from: Lifecycle::Draft, reason: None }.into(),
    ])
    .unwrap();
    assert_eq!((document.listing, document.variant_revision), (None, 2));
}

#[test]
fn stock_may_come_before_the_variant() {
    let back = inventory::Event::from(inventory::BackInStock { available: 3 });
    let stub = fold_inventory(None, &id(), &back, 2).unwrap().unwrap();
    assert!(stub.in_stock && stub.is_unborn());
    let document = fold_variant(Some(stub.clone()), &id(), &created("v", "x").into(), 1).unwrap();
    assert!(document.in_stock && document.listing.is_some());
    assert_eq!(fold_inventory(Some(stub), &id(), &back, 2), Err(Misfit::Gap { from: 2, to: 2 }));
}

#[test]
fn the_first_goods_are_in_stock_and_later_ones_need_a_signal() {
    let received = received();
    let lost: inventory::Event = inventory::Adjusted {
        location: daybook_schemas::LocationId::default(),
        delta: -1,
        reason: daybook_schemas::Text::new("lost").unwrap(),
        reference: None,
    }
    .into();
    assert_eq!(fold_inventory(None, &id(), &lost, 1).unwrap(), None);
    let document = fold_inventory(None, &id(), &received, 2).unwrap().unwrap();
    assert_eq!((document.in_stock, document.inventory_revision), (true, 2));
    let out = fold_inventory(Some(document), &id(), &inventory::OutOfStock {}.into(), 3).unwrap().unwrap();
    assert!(!out.in_stock);
    assert_eq!(fold_inventory(Some(out), &id(), &received, 4).unwrap(), None);
    // Earlier versions wrote a signal for the first goods too.
    let old = fold_inventory(None, &id(), &received, 1).unwrap();
    let back = inventory::BackInStock { available: 3 }.into();
    let old = fold_inventory(old, &id(), &back, 2).unwrap().unwrap();
    assert_eq!((old.in_stock, old.inventory_revision), (true, 2));
}

#[test]
fn goods_that_arrive_are_found_in_stock_until_a_signal_says_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = open(folder.path());
    let mut log = Log::default();
    log.sell(created("v", "lantern"));
    let first = log.receive("v");
    for event in &log.events {
        model.apply(event).unwrap();
    }
    // What was dropped before it was committed is not known.
    model.rollback();
    project(&mut model, &log.events);
    let found = |model: &_| ids(&search(model, &[("in_stock", "true")])).len();
    assert_eq!((found(&model), first.recorded.revision), (1, 1));
    for step in 0..3 {
        let before = log.events.len();
        log.stock("v", false);
        log.receive("v");
        if step == 1 {
            log.stock("v", true);
        }
        if step == 2 {
            model.close().unwrap();
            model = open(folder.path());
        }
        project(&mut model, &log.events[before..]);
        assert_eq!(found(&model), usize::from(step == 1), "{step}");
    }
}

#[test]
fn popularity_has_three_binary_digits() {
    let buckets: Vec<u64> = [0, 1, 7, 8, 9, 11, 13, 17, 1_000, u64::MAX].map(popularity_bucket).to_vec();
    assert_eq!(buckets, [0, 1, 7, 8, 8, 10, 12, 16, 896, 7 << 61]);
}

#[test]
fn discounts_are_whole_percents_rounded_down() {
    let discount = |now, was| discount_percent(&price(now, was).into());
    assert_eq!(discount("10", None), 0);
    assert_eq!(discount("2", Some("3")), 33);
    assert_eq!(discount("3", Some("3")), 0);
    assert_eq!(discount("4", Some("3")), 0);
    assert_eq!(discount("0", Some("3")), 100);
    assert_eq!(discount("0", Some("0")), 0);
}

#[test]
fn stubs_drafts_and_archived_variants_are_not_found_unless_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = open(folder.path());
    let mut log = Log::default();
    log.stock("early", true);
    log.order(1, &[("early", 3)]);
    log.variant("draft", created("draft", "lantern"));
    log.sell(created("sold", "lantern"));
    log.sell(created("gone", "lantern"));
    log.variant("gone", variant::Archived { from: Lifecycle::Active, reason: None });
    project(&mut model, &log.events);
    assert_eq!(ids(&search(&model, &[])), ["sold"]);
    assert_eq!(ids(&search(&model, &[("q", "lantern")])), ["sold"]);
    assert_eq!(ids(&search(&model, &[("lifecycle", "draft")])), ["draft"]);
    log.sell(created("early", "lantern"));
    project(&mut model, &log.events[log.events.len() - 3..]);
    let found = search(&model, &[("in_stock", "true")]);
    assert_eq!((ids(&found), found.hits[0].popularity), (vec!["early"], 3));
    assert_eq!(
        model.snapshot().unwrap().scan("documents", None, 10).unwrap().len(),
        4,
        "no second row for a stub"
    );
}

#[test]
fn a_missing_event_halts_the_projection() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = open(folder.path());
    let mut log = Log::default();
    log.sell(created("v", "lantern"));
    project(&mut model, &log.events[..1]);
    let error = model.apply(&log.events[2]).unwrap_err();
    assert!(matches!(error, ProjectError::Gap { from: 1, to: 3, .. }), "{error}");
}
