//! The lifecycle, locks, details and segmentation.

use std::collections::BTreeSet;

use daybook_schemas::variant::Lifecycle;
use serde_json::json;

use super::*;
use crate::Role;
use crate::lifecycle::{BrokenRule, Rule};
use crate::variant::{LIFECYCLE, Step, TRANSITIONS};

/// A way to each state.
fn way_to(state: Lifecycle) -> &'static [StepName] {
    use StepName::{Activate, Approve, Archive, Clear, Discontinue, Mature, Submit};
    match state {
        Lifecycle::Draft => &[],
        Lifecycle::PendingApproval => &[Submit],
        Lifecycle::Active => &[Submit, Approve],
        Lifecycle::Mature => &[Submit, Activate, Mature],
        Lifecycle::Clearance => &[Submit, Approve, Clear],
        Lifecycle::Discontinued => &[Submit, Approve, Discontinue],
        Lifecycle::Archived => &[Archive],
    }
}

/// Every step in every state, against the rules as the scope states them, not against the table itself.
#[test]
fn every_step_in_every_state() {
    use Lifecycle::{Active, Archived, Clearance, Discontinued, Draft, Mature, PendingApproval};
    let mut accepted = 0;
    for from in Lifecycle::ALL {
        for step in StepName::ALL {
            let target = match (step, from) {
                (StepName::Submit, Draft) => Some(PendingApproval),
                (StepName::Reject, PendingApproval) => Some(Draft),
                (StepName::Approve | StepName::Activate, PendingApproval) => Some(Active),
                (StepName::Mature, Active) => Some(Mature),
                (StepName::Clear, Active | Mature) => Some(Clearance),
                (StepName::Discontinue, Active | Mature | Clearance) => Some(Discontinued),
                (StepName::Reactivate, Discontinued) => Some(Active),
                (StepName::Archive, Discontinued | Draft) => Some(Archived),
                _ => None,
            };
            let repeated = matches!(
                (step, from),
                (StepName::Submit, PendingApproval)
                    | (StepName::Reject, Draft)
                    | (StepName::Approve | StepName::Activate | StepName::Reactivate, Active)
                    | (StepName::Mature, Mature)
                    | (StepName::Clear, Clearance)
                    | (StepName::Discontinue, Discontinued)
                    | (StepName::Archive, Archived)
            );
            let mut item = after(way_to(from));
            assert_eq!(existing(&item).lifecycle, from);
            let action = match step {
                StepName::Archive => {
                    Action::Archive(Archive { reason: None, stock: Some(StockFacts::default()) })
                }
                step => item.parsed(step.as_str(), &json!({"reason": "because"})),
            };
            let decided = item.act(action);
            match target {
                Some(target) => {
                    accepted += 1;
                    assert_eq!(decided.unwrap().len(), 1, "{step:?} in {from:?}");
                    assert_eq!(existing(&item).lifecycle, target, "{step:?} in {from:?}");
                }
                None if repeated => assert_eq!(decided.unwrap().len(), 0, "{step:?} in {from:?}"),
                None => {
                    let refusal = crate::Refusal::from(decided.unwrap_err());
                    assert_eq!((refusal.code, refusal.kind), ("invalid_transition", crate::Kind::Conflict));
                    assert_eq!(existing(&item).lifecycle, from);
                }
            }
        }
    }
    assert_eq!(accepted, TRANSITIONS.len());
    assert!(TRANSITIONS.iter().all(|row| !row.roles.is_empty()));
}

/// A body that every command but `create` takes.
fn any_body(name: &str) -> serde_json::Value {
    match name {
        "change-price" => json!({"price": {"amount": "1", "currency": "GBP"}, "reason": "r"}),
        "cancel-price-schedule" => json!({"schedule_id": "fresh-2", "reason": "r"}),
        "end-price-list" => json!({"list": {"currency": "GBP", "channel": "web"}, "reason": "r"}),
        "lock" => json!({"scopes": ["price"], "reason": "r"}),
        "unlock" => json!({"reason": "r"}),
        "refresh-attribute" => json!({"value_id": "color-navy"}),
        _ => json!({}),
    }
}

/// Every command in every state by every role alone: the table says yes or no, and nothing else happens.
#[test]
fn every_command_in_every_state_by_every_role() {
    let sheet = LIFECYCLE.sheet();
    for from in Lifecycle::ALL {
        for name in Action::NAMES.iter().filter(|name| **name != "create") {
            let rows: Vec<_> = sheet.transitions.iter().filter(|row| row.command == *name).collect();
            let row = rows.iter().find(|row| row.from == from.as_str());
            let repeat = rows.iter().find(|row| row.to == from.as_str());
            let edit = sheet.edits.iter().find(|edit| edit.command == *name);
            assert!(rows.is_empty() == edit.is_some(), "{name} is in the table, as a step or as an edit");
            let permitted = match (row.or(repeat), edit) {
                (Some(row), _) => Some(row.roles),
                (None, Some(edit)) => edit.states.contains(&from.as_str()).then_some(edit.roles),
                (None, None) => None,
            };
            for role in Role::ALL {
                let mut item = after(way_to(from));
                item.pass(1).roles = crate::Roles::of([role]);
                let action = match *name {
                    "archive" => {
                        Action::Archive(Archive { reason: None, stock: Some(StockFacts::default()) })
                    }
                    name => item.parsed(name, &any_body(name)),
                };
                let code = item.act(action).map_err(|refused| crate::Refusal::from(refused).code);
                let expected = match permitted {
                    None => Err("invalid_transition"),
                    Some(roles) if !roles.contains(&role) => Err("forbidden"),
                    Some(_) if matches!(*name, "cancel-price-schedule" | "end-price-list") => {
                        Err("not_found")
                    }
                    Some(_) => Ok(()),
                };
                assert_eq!(code.map(|_| ()), expected, "{name} in {from:?} by {role:?}");
                let target = expected.ok().and(row).map_or(from.as_str(), |row| row.to);
                assert_eq!(existing(&item).lifecycle.as_str(), target);
            }
        }
    }
}

#[test]
fn only_editors_create() {
    for role in Role::ALL {
        let mut item = absent();
        item.roles = crate::Roles::of([role]);
        let action = item.parsed("create", &body(json!({})));
        let created = item.act(action).map_err(|refused| crate::Refusal::from(refused).code);
        let expected = if LIFECYCLE.creators.contains(&role) { Ok(1) } else { Err("forbidden") };
        assert_eq!(created.map(|events| events.len()), expected, "{role:?}");
    }
}

#[test]
fn every_broken_rule_is_reported() {
    let mut item = absent();
    item.ok("create", body(json!({"price": null})));
    item.ok("submit", json!({}));
    item.ok("lock", json!({"scopes": ["lifecycle"], "reason": "audit"}));
    let dead = |rule, what, id: &str| BrokenRule { rule, what, id: id.to_owned(), state: "archived" };
    let step = Step {
        reason: None,
        dead: vec![
            dead(Rule::LiveCategory, "category", "shirts"),
            dead(Rule::LiveValues, "color", "navy"),
            dead(Rule::LiveValues, "size", "m"),
        ],
        rules: Vec::new(),
    };
    let refusal = crate::Refusal::from(item.act(Action::Approve(step.clone())).unwrap_err());
    assert_eq!((refusal.code, refusal.kind), ("locked", crate::Kind::Locked));
    let codes: Vec<_> = refusal.errors.iter().map(|error| (error.code, error.subject.as_deref())).collect();
    let dead = |id| ("unprocessable", Some(id));
    assert_eq!(codes, [("locked", None), ("unprocessable", None), dead("shirts"), dead("navy"), dead("m")]);
    item.ok("unlock", json!({"reason": "over"}));
    item.ok("change-price", any_body("change-price"));
    let refusal = crate::Refusal::from(item.act(Action::Activate(step)).unwrap_err());
    assert_eq!((refusal.code, refusal.errors.len()), ("unprocessable", 3));
    assert!(refusal.detail.starts_with("category shirts is archived"), "{refusal}");
    item.ok("approve", json!({}));
}

#[test]
fn a_lock_says_who_locked() {
    let mut item = draft();
    let Action::Lock(mut lock) = item.parsed("lock", &json!({"scopes": ["lifecycle"], "reason": "recall"}))
    else {
        panic!("a lock")
    };
    lock.locked_by = Some(daybook_schemas::Label::new("brand-desk").unwrap());
    item.act(Action::Lock(lock)).unwrap();
    let refusal = item.refused("submit", json!({}));
    assert_eq!(refusal.detail, "the lifecycle is locked by brand-desk: recall");
}

#[test]
fn a_refused_step_names_those_that_are_possible() {
    let refusal = draft().refused("mature", json!({}));
    assert_eq!(refusal.detail, "mature is not possible in state draft; possible there: submit, archive");
    let refusal = after(&[StepName::Archive]).refused("submit", json!({}));
    assert_eq!(refusal.detail, "submit is not possible in state archived; possible there: nothing");
}

#[test]
fn the_event_says_where_it_came_from_and_why() {
    let events = draft().ok("submit", json!({"reason": "ready"}));
    assert_eq!(events, [("variant.submitted".to_owned(), json!({"from": "draft", "reason": "ready"}))]);
}

#[test]
fn nothing_is_activated_without_a_price() {
    let mut item = absent();
    item.ok("create", body(json!({"price": null})));
    item.ok("submit", json!({}));
    for step in ["approve", "activate"] {
        let refusal = item.refused(step, json!({}));
        assert_eq!((refusal.code, refusal.kind), ("unprocessable", crate::Kind::Unprocessable));
    }
    item.ok("change-price", json!({"price": {"amount": "1", "currency": "GBP"}, "reason": "first"}));
    item.writes("approve", json!({}), &["variant.activated"]);
}

#[test]
fn nothing_is_archived_with_goods_left() {
    let mut item = draft();
    for stock in [
        StockFacts { on_hand: 1, ..StockFacts::default() },
        StockFacts { reserved: 1, ..StockFacts::default() },
        StockFacts { on_hand: -1, ..StockFacts::default() },
        StockFacts { damaged: 1, ..StockFacts::default() },
        StockFacts { incoming: 1, ..StockFacts::default() },
    ] {
        assert_eq!(archive(&mut item, Some(stock)).unwrap_err().code, "stock_left");
    }
    assert_eq!(archive(&mut item, None).unwrap_err().code, "unprocessable");
    assert_eq!(archive(&mut item, Some(StockFacts::default())).unwrap(), 1);
    assert_eq!(archive(&mut item, None).unwrap(), 0);
}

#[test]
fn an_archived_variant_never_changes() {
    let mut item = draft();
    item.ok(
        "change-price",
        json!({"price": {"amount": "1", "currency": "GBP"}, "effective_from": "2030-01-01T00:00:00Z", "reason": "r"}),
    );
    archive(&mut item, Some(StockFacts::default())).unwrap();
    for (name, body) in [
        ("change-price", json!({"price": {"amount": "1", "currency": "GBP"}, "reason": "r"})),
        ("cancel-price-schedule", json!({"schedule_id": "fresh-2", "reason": "r"})),
        ("change-details", json!({"name": "Other"})),
        ("change-segmentation", json!({"channels": ["web"]})),
        ("lock", json!({"scopes": ["price"], "reason": "r"})),
        ("unlock", json!({"reason": "r"})),
    ] {
        item.refuses(name, body, "invalid_transition");
    }
    item.pass(10_000_000_000).writes("apply-due-prices", json!({}), &[]);
    assert_eq!(item.state.next_deadline(), None);
}

#[test]
fn what_was_never_created_is_not_found() {
    let facts = BTreeSet::from(["create"]);
    for name in Action::NAMES.iter().filter(|name| !facts.contains(*name)) {
        let body = match *name {
            "change-price" => json!({"price": {"amount": "1", "currency": "GBP"}, "reason": "r"}),
            "cancel-price-schedule" => json!({"schedule_id": "s", "reason": "r"}),
            "end-price-list" => json!({"list": {"currency": "GBP", "channel": "web"}, "reason": "r"}),
            "lock" => json!({"scopes": ["price"], "reason": "r"}),
            "unlock" => json!({"reason": "r"}),
            "refresh-attribute" => json!({"value_id": "color-navy"}),
            _ => json!({}),
        };
        let refusal = absent().refused(name, body);
        assert_eq!((refusal.code, refusal.kind), ("not_found", crate::Kind::NotFound), "{name}");
    }
}

#[test]
fn a_lock_refuses_what_it_covers_until_it_ends() {
    let changes = [
        ("price", "change-price", json!({"price": {"amount": "1", "currency": "GBP"}, "reason": "r"})),
        ("price", "cancel-price-schedule", json!({"schedule_id": "fresh-2", "reason": "r"})),
        ("lifecycle", "submit", json!({})),
        ("details", "change-details", json!({"name": "Other"})),
        ("segmentation", "change-segmentation", json!({"regions": ["uk"]})),
    ];
    let later = json!({"price": {"amount": "2", "currency": "GBP"}, "effective_from": "2030-01-01T00:00:00Z", "reason": "r"});
    for (scope, name, body) in &changes {
        for other in ["price", "lifecycle", "details", "segmentation"] {
            let mut item = draft();
            item.ok("change-price", later.clone());
            let until = item.now.plus_secs(10).to_string();
            item.ok("lock", json!({"scopes": [other], "reason": "audit", "until": until}));
            if other == *scope {
                let refusal = item.refused(name, body.clone());
                assert_eq!((refusal.code, refusal.kind), ("locked", crate::Kind::Locked), "{name}");
                assert!(refusal.detail.contains("audit"), "{refusal}");
                item.pass(10);
            }
            item.ok(name, body.clone());
        }
    }
}

#[test]
fn a_lock_is_lifted_or_replaced() {
    let mut item = draft();
    item.writes("unlock", json!({"reason": "none there"}), &[]);
    let lock = json!({"scopes": ["price", "details", "price"], "reason": "audit"});
    let events = item.ok("lock", lock.clone());
    assert_eq!(events[0].1["scopes"], json!(["price", "details"]));
    item.writes("lock", lock, &[]);
    item.refuses("change-details", json!({"name": "Other"}), "locked");
    // A lock that would lift another, in part or earlier, is refused, and says which.
    let soon = item.now.plus_secs(60).to_string();
    for lifts in [
        json!({"scopes": ["lifecycle"], "reason": "recall"}),
        json!({"scopes": ["price", "lifecycle"], "reason": "recall"}),
        json!({"scopes": ["price", "details"], "reason": "campaign", "until": soon}),
    ] {
        let refusal = item.refused("lock", lifts);
        assert_eq!((refusal.code, refusal.kind), ("locked", crate::Kind::Locked));
        assert!(
            refusal.detail.starts_with("a lock on the price, the description stands (audit)"),
            "{refusal}"
        );
    }
    item.ok("lock", json!({"scopes": ["price", "details", "segmentation"], "reason": "wider"}));
    let events = item.ok("lock", json!({"reason": "widest"}));
    assert_eq!(events[0].1["scopes"], json!(["price", "lifecycle", "details", "segmentation"]));
    item.ok("unlock", json!({"reason": "over"}));
    item.ok("lock", json!({"scopes": ["price"], "reason": "short", "until": soon}));
    item.pass(60);
    item.ok("lock", json!({"scopes": ["lifecycle"], "reason": "recall"}));
    item.ok("change-details", json!({"name": "Other"}));
    let refusal = item.refused("submit", json!({}));
    assert_eq!(refusal.detail, "the lifecycle is locked: recall");
    item.writes("unlock", json!({"reason": "over"}), &["variant.unlocked"]);
    item.ok("submit", json!({}));
}

/// Who unlocks what covers more would lift the other's lock as well.
#[test]
fn nobody_takes_the_place_of_another_s_lock() {
    let mut item = draft();
    let mut lock = |who: &str, body: Value| {
        let Action::Lock(mut lock) = item.parsed("lock", &body) else { panic!("a lock") };
        lock.locked_by = Some(daybook_schemas::Label::new(who).unwrap());
        item.act(Action::Lock(lock)).map_err(|rejection| crate::Reject::code(&rejection))
    };
    lock("legal", json!({"scopes": ["price"], "reason": "legal hold"})).unwrap();
    let wider = json!({"scopes": ["price", "details"], "reason": "campaign"});
    assert_eq!(lock("marketing", wider.clone()).unwrap_err(), "locked");
    lock("legal", wider).unwrap();
    item.refuses("lock", json!({"scopes": [], "reason": "r"}), "invalid_request");
    let now = item.now.to_string();
    item.refuses("lock", json!({"scopes": ["price"], "reason": "r", "until": now}), "unprocessable");
}

#[test]
fn only_details_that_differ_are_written() {
    let mut item = draft();
    let events =
        item.ok("change-details", json!({"name": "Shirt", "brand": "Other", "description": "Soft."}));
    assert_eq!(
        events,
        [("variant.details_changed".to_owned(), json!({"brand": "Other", "description": "Soft."}))]
    );
    item.writes("change-details", json!({"brand": "Other"}), &[]);
    item.writes("change-details", json!({}), &[]);
    item.ok("change-details", json!({"name": "New", "category": "tops", "product_group": "group"}));
    let now = existing(&item);
    let fields = [&now.name, &now.brand, &now.category, &now.product_group].map(|label| label.as_str());
    assert_eq!(fields, ["New", "Other", "tops", "group"]);
    assert_eq!(now.description.as_ref().unwrap().as_str(), "Soft.");
}

#[test]
fn segmentation_is_a_set_and_an_absent_list_stays() {
    let mut item = draft();
    let events = item.ok("change-segmentation", json!({"channels": ["web", "app", "web"]}));
    assert_eq!(events[0].1, json!({"channels": ["app", "web"], "regions": []}));
    item.writes("change-segmentation", json!({"channels": ["app", "web"], "regions": []}), &[]);
    let events = item.ok("change-segmentation", json!({"regions": ["uk"]}));
    assert_eq!(events[0].1, json!({"channels": ["app", "web"], "regions": ["uk"]}));
    let many: Vec<_> = (0..=crate::variant::MAX_SEGMENTS).map(|n| format!("c{n}")).collect();
    item.refuses("change-segmentation", json!({"channels": many}), "invalid_request");
}

#[test]
fn a_creation_takes_every_step_to_the_state_asked_for_and_no_other() {
    for wanted in Lifecycle::ALL {
        let fields = json!({"lifecycle": wanted.as_str()});
        let steps: &[&str] = match wanted {
            Lifecycle::Draft => &[],
            Lifecycle::PendingApproval => &["submitted"],
            Lifecycle::Active => &["submitted", "activated"],
            Lifecycle::Mature => &["submitted", "activated", "matured"],
            Lifecycle::Clearance => &["submitted", "activated", "matured", "cleared"],
            Lifecycle::Discontinued => &["submitted", "activated", "matured", "cleared", "discontinued"],
            Lifecycle::Archived => {
                absent().refuses("create", body(fields), "invalid_request");
                continue;
            }
        };
        let mut item = absent();
        let names: Vec<_> = ["created"].iter().chain(steps).map(|name| format!("variant.{name}")).collect();
        item.writes("create", body(fields.clone()), &names.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(existing(&item).lifecycle, wanted);
        item.writes("create", body(fields.clone()), &[]);
        let mut without_price = absent();
        let action =
            without_price.parsed("create", &body(json!({"lifecycle": wanted.as_str(), "price": null})));
        let code = without_price.act(action).map_err(|rejection| crate::Refusal::from(rejection).code);
        let expected = if wanted <= Lifecycle::PendingApproval { Ok(()) } else { Err("unprocessable") };
        assert_eq!(code.map(|_| ()), expected, "{wanted:?}");
    }
}

/// What one role may not do step by step, it may not do at once either.
#[test]
fn a_creation_needs_the_roles_of_every_step() {
    for role in Role::ALL {
        for wanted in
            [Lifecycle::Draft, Lifecycle::PendingApproval, Lifecycle::Active, Lifecycle::Discontinued]
        {
            let mut at_once = absent();
            at_once.roles = crate::Roles::of([role]);
            let asked = at_once.parsed("create", &body(json!({"lifecycle": wanted.as_str()})));
            let at_once = at_once.act(asked).is_ok();
            let mut scene = absent();
            scene.roles = crate::Roles::of([role]);
            let way: &[&str] = match wanted {
                Lifecycle::Draft => &["create"],
                Lifecycle::PendingApproval => &["create", "submit"],
                Lifecycle::Active => &["create", "submit", "approve"],
                _ => &["create", "submit", "approve", "mature", "clear", "discontinue"],
            };
            let step_by_step = way.iter().all(|name| {
                let fields = if *name == "create" { body(json!({})) } else { json!({}) };
                let action = scene.parsed(name, &fields);
                scene.act(action).is_ok()
            });
            assert_eq!(at_once, step_by_step, "{role:?} {wanted:?}");
        }
    }
}
