//! Given / when / then for every rule of sizes; what all master data shares is tested here once, as sizes have it.

use daybook_schemas::size::{Gender, Region};
use daybook_schemas::{Label, Token};
use serde_json::{Value, json};

use super::{Action, LIFECYCLE, Size, claim_key};
use crate::lifecycle::{BrokenRule, Rule};
use crate::master::{self, CountUsage};
use crate::testing::{Scene, every_command_in_every_state, governing_body};
use crate::{Kind, Refusal, Role, Roles};

fn absent() -> Scene<Size> {
    Scene::new(Action::parse)
}

fn body(fields: Value) -> Value {
    let mut body = json!({"category": "shoes", "gender": "men", "region": "uk", "value": "7"});
    let Value::Object(fields) = fields else { panic!("an object") };
    body.as_object_mut().unwrap().extend(fields);
    body
}

fn draft() -> Scene<Size> {
    let mut size = absent();
    size.ok("create", body(json!({})));
    size
}

fn active() -> Scene<Size> {
    let mut size = draft();
    size.ok("activate", json!({}));
    size
}

fn count(size: &mut Scene<Size>, delta: i64) -> Result<usize, Refusal> {
    let action = Action::Govern(master::Action::CountUsage(CountUsage { delta }));
    size.act(action).map(|events| events.len()).map_err(Refusal::from)
}

#[test]
fn every_command_in_every_state_by_every_role() {
    let body = |name: &str| governing_body(name).unwrap_or_else(|| json!({"display_name": "Seven"}));
    let state = |size: &Size| size.existing().unwrap().governed.lifecycle;
    every_command_in_every_state(draft, state, &LIFECYCLE.sheet(), &Action::specs(), body);
}

#[test]
fn a_size_has_its_value_among_the_conversions_and_a_rank_read_from_it() {
    let events = absent().ok("create", body(json!({"conversions": {"eu": "41", "us": "8"}})));
    assert_eq!(events[0].0, "size.created");
    assert_eq!(events[0].1["conversions"], json!({"us": "8", "uk": "7", "eu": "41"}));
    assert_eq!((&events[0].1["rank"], &events[0].1["display_name"]), (&json!(10_700), &json!("7")));
    let events = absent().ok("create", body(json!({"region": "international", "value": "M"})));
    assert_eq!((&events[0].1["rank"], &events[0].1["conversions"]), (&json!(500), &json!({})));
}

#[test]
fn a_conversion_does_not_contradict_the_value_and_an_unreadable_value_needs_a_rank() {
    absent().refuses("create", body(json!({"conversions": {"uk": "8"}})), "unprocessable");
    absent().refuses("create", body(json!({"value": "petite"})), "unprocessable");
    let events = absent().ok("create", body(json!({"value": "petite", "rank": 7})));
    assert_eq!(events[0].1["rank"], json!(7));
    draft().refuses("change", json!({"conversions": {"uk": "8"}}), "unprocessable");
}

#[test]
fn a_repeat_changes_nothing_and_another_content_is_refused() {
    let mut size = draft();
    size.writes("create", body(json!({})), &[]);
    let refusal = size.refused("create", body(json!({"value": "8"})));
    assert_eq!((refusal.code, refusal.kind), ("duplicate_id", Kind::Conflict));
}

#[test]
fn only_what_differs_is_written() {
    let mut size = draft();
    let events =
        size.ok("change", json!({"display_name": "UK 7", "rank": 10_700, "conversions": {"eu": "41"}}));
    let expected = json!({"display_name": "UK 7", "conversions": {"uk": "7", "eu": "41"}});
    assert_eq!(events, [("size.changed".to_owned(), expected)]);
    size.writes("change", json!({"display_name": "UK 7"}), &[]);
    assert_eq!(absent().refused("change", json!({})).code, "not_found");
}

#[test]
fn what_is_unique_is_compared_without_case_and_blanks() {
    let key = |value: &str| {
        claim_key(&Token::new("Shoes").unwrap(), Gender::Men, Region::Uk, &Label::new(value).unwrap())
    };
    assert_eq!(key("7 1/2"), "shoes|men|uk|7 1/2");
    assert_eq!(key(" 7  1/2 "), key("7 1/2"));
    assert_eq!(key("XL"), key("xl"));
}

#[test]
fn what_is_in_use_is_not_archived_and_what_is_deprecated_gets_no_new_users() {
    let mut size = active();
    assert_eq!(count(&mut size, 2).unwrap(), 1);
    size.ok("deprecate", json!({"reason": "old range"}));
    assert_eq!(count(&mut size, 1).unwrap_err().code, "unprocessable");
    let refusal = size.refused("archive", json!({}));
    assert_eq!((refusal.code, refusal.kind), ("in_use", Kind::Conflict));
    assert_eq!(refusal.detail, "2 use it: what is in use is not archived");
    assert_eq!(count(&mut size, -2).unwrap(), 1);
    assert_eq!(count(&mut size, -1).unwrap(), 0, "a count does not fall below none");
    size.writes("archive", json!({}), &["size.archived"]);
}

#[test]
fn a_recount_puts_the_count_right() {
    let mut size = active();
    count(&mut size, 5).unwrap();
    let events = size.ok("recount", json!({"in_use": 3}));
    assert_eq!(events[0].1, json!({"delta": -2, "in_use": 3, "recounted": true}));
    size.writes("recount", json!({"in_use": 3}), &[]);
}

#[test]
fn locks_say_who_why_and_until() {
    let mut size = active();
    let until = size.now.plus_secs(60).to_string();
    let parsed =
        size.parsed("lock", &json!({"scopes": ["details", "lifecycle"], "reason": "audit", "until": until}));
    let Action::Govern(master::Action::Lock(mut lock)) = parsed else { panic!("a lock") };
    lock.locked_by = Some(Label::new("brand-desk").unwrap());
    size.act(Action::Govern(master::Action::Lock(lock))).unwrap();
    for (name, body) in [("change", json!({"display_name": "x"})), ("deprecate", json!({}))] {
        let refusal = size.refused(name, body);
        assert_eq!((refusal.code, refusal.kind), ("locked", Kind::Locked));
        let told = format!("locked by brand-desk until {until}: audit");
        assert!(refusal.detail.ends_with(&told), "{refusal}");
    }
    size.pass(60).ok("change", json!({"display_name": "x"}));
    size.ok("lock", json!({"scopes": ["details"], "reason": "recall"}));
    for lifts in [
        json!({"scopes": ["lifecycle"], "reason": "campaign"}),
        json!({"scopes": ["details"], "reason": "campaign", "until": size.now.plus_secs(60)}),
    ] {
        let refusal = size.refused("lock", lifts);
        assert_eq!((refusal.code, refusal.kind), ("locked", Kind::Locked));
        assert!(refusal.detail.starts_with("a lock on the details stands (recall)"), "{refusal}");
    }
    size.writes("unlock", json!({"reason": "over"}), &["size.unlocked"]);
    size.writes("unlock", json!({"reason": "over"}), &[]);
    size.refuses("lock", json!({"scopes": [], "reason": "r"}), "invalid_request");
    for body in [json!({"reason": "r"}), json!({"scopes": null, "reason": "r"})] {
        let Action::Govern(master::Action::Lock(lock)) = size.parsed("lock", &body) else { panic!("a lock") };
        assert_eq!(lock.scopes, daybook_schemas::master::LockScope::ALL);
    }
    let now = size.now.to_string();
    size.refuses("lock", json!({"scopes": ["details"], "reason": "r", "until": now}), "unprocessable");
}

#[test]
fn every_broken_rule_is_reported() {
    let mut size = active();
    count(&mut size, 1).unwrap();
    size.ok("deprecate", json!({}));
    size.ok("lock", json!({"scopes": ["lifecycle"], "reason": "audit"}));
    let refusal = size.refused("archive", json!({}));
    let codes: Vec<_> = refusal.errors.iter().map(|error| error.code).collect();
    assert_eq!((refusal.code, codes), ("locked", vec!["locked", "in_use"]));
}

#[test]
fn facts_about_rules_that_the_table_does_not_name_do_not_matter() {
    let mut size = draft();
    let broken = BrokenRule { rule: Rule::LiveParent, what: "category", id: "x".to_owned(), state: "draft" };
    let step = master::Step { reason: None, broken: vec![broken] };
    assert!(size.act(Action::Govern(master::Action::Activate(step))).is_ok());
}

#[test]
fn only_editors_create() {
    let mut size = absent();
    size.roles = Roles::of([Role::Viewer, Role::Storefront, Role::Approver]);
    size.refuses("create", body(json!({})), "forbidden");
}
