//! Given / when / then for every rule of colours that is their own.

use serde_json::{Value, json};

use super::{Action, Color, LIFECYCLE, MAX_PREVIOUS_SLUGS};
use crate::master::{self, CountUsage};
use crate::testing::{Scene, every_command_in_every_state, governing_body};
use crate::{Kind, Role, Roles};

fn absent() -> Scene<Color> {
    Scene::new(Action::parse)
}

fn draft() -> Scene<Color> {
    let mut color = absent();
    color.ok("create", json!({"name": "Navy Blue", "hex": "#000080"}));
    color
}

fn any_body(name: &str) -> Value {
    governing_body(name).unwrap_or_else(|| match name {
        "change-slug" => json!({"slug": "deep-navy", "reason": "renamed"}),
        "protect" => json!({"brand": "Acme", "reason": "house colour"}),
        _ => json!({"name": "Deep Navy"}),
    })
}

#[test]
fn every_command_in_every_state_by_every_role() {
    let state = |color: &Color| color.existing().unwrap().governed.lifecycle;
    let own = |name: &str| name != "activate";
    let commands: Vec<_> = Action::specs().into_iter().filter(|spec| own(spec.name)).collect();
    every_command_in_every_state(draft, state, &LIFECYCLE.sheet(), &commands, any_body);
}

#[test]
fn there_is_no_way_past_the_approval() {
    draft().refuses("activate", json!({}), "invalid_transition");
    let mut color = draft();
    color.ok("submit", json!({}));
    color.roles = Roles::of([Role::Merchandiser]);
    color.refuses("approve", json!({}), "forbidden");
    color.roles = Roles::of([Role::Approver]);
    color.writes("approve", json!({"reason": "fine"}), &["color.activated"]);
}

#[test]
fn tone_and_slug_follow_from_what_is_given() {
    let events =
        absent().ok("create", json!({"name": "Navy Blue", "hex": "#000080", "visual_category": "metallic"}));
    let created = &events[0].1;
    assert_eq!(created["slug"], "navy-blue");
    assert_eq!(
        created["tone"],
        json!({"hex": "#000080", "rgb": {"r": 0, "g": 0, "b": 128}, "hsl": {"h": 240, "s": 100, "l": 25}})
    );
    assert_eq!(created["visual_category"], "metallic");
    absent().refuses("create", json!({"name": "红", "hex": "#ff0000"}), "unprocessable");
    absent().refuses("create", json!({"name": "Red", "hex": "red"}), "invalid_request");
    let events = draft().ok("change", json!({"hex": "#FF0000", "name": "Navy Blue"}));
    assert_eq!(events[0].1["tone"]["hsl"], json!({"h": 0, "s": 100, "l": 50}));
    assert!(events[0].1.get("name").is_none());
}

#[test]
fn a_name_leaves_the_slug_and_a_slug_keeps_the_ones_before() {
    let mut color = draft();
    color.ok("change", json!({"name": "Midnight"}));
    assert_eq!(color.state.existing().unwrap().slug.as_str(), "navy-blue");
    for slug in ["midnight", "night", "midnight"] {
        color.writes("change-slug", json!({"slug": slug, "reason": "r"}), &["color.slug_changed"]);
    }
    color.writes("change-slug", json!({"slug": "midnight", "reason": "r"}), &[]);
    let existing = color.state.existing().unwrap();
    let previous: Vec<_> = existing.previous_slugs.iter().map(|slug| slug.as_str()).collect();
    assert_eq!((existing.slug.as_str(), previous), ("midnight", vec!["navy-blue", "night"]));
    for n in 2..MAX_PREVIOUS_SLUGS {
        color.ok("change-slug", json!({"slug": format!("s{n}"), "reason": "r"}));
    }
    color.refuses("change-slug", json!({"slug": "one-more", "reason": "r"}), "unprocessable");
}

#[test]
fn a_brand_colour_is_changed_by_those_who_decide_over_brands_alone() {
    let mut color = draft();
    color.ok("protect", json!({"brand": "Acme", "reason": "house colour"}));
    color.writes("protect", json!({"brand": "Acme", "reason": "again"}), &[]);
    color.roles = Roles::of([Role::Merchandiser]);
    let refusal = color.refused("change", json!({"name": "Other"}));
    assert_eq!((refusal.code, refusal.kind), ("forbidden", Kind::Forbidden));
    color.roles = Roles::of([Role::BrandOwner]);
    color.ok("change", json!({"name": "Other"}));
    color.writes("protect", json!({"reason": "free again"}), &["color.protection_changed"]);
    color.roles = Roles::of([Role::Merchandiser]);
    color.ok("change", json!({"name": "Third"}));
}

#[test]
fn a_colour_in_use_is_not_given_to_one_brand() {
    let mut color = draft();
    color.ok("submit", json!({}));
    color.ok("approve", json!({}));
    color.act(Action::Govern(master::Action::CountUsage(CountUsage { delta: 1 }))).unwrap();
    color.refuses("protect", json!({"brand": "Acme", "reason": "late"}), "unprocessable");
}

#[test]
fn a_repeat_changes_nothing_and_another_content_is_refused() {
    let mut color = draft();
    color.writes("create", json!({"name": "Navy Blue", "hex": "#000080"}), &[]);
    color.refuses("create", json!({"name": "Navy Blue", "hex": "#000081"}), "duplicate_id");
    absent().refuses("change", json!({}), "not_found");
}
