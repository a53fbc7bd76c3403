//! Given / when / then for every rule of categories that is their own.

use daybook_schemas::CategoryId;
use daybook_schemas::master::Lifecycle;
use serde_json::{Value, json};

use super::{Action, Adopt, Category, Disown, LIFECYCLE, MAX_CHILDREN, MAX_DEPTH, Move, ParentFacts, Repath};
use crate::lifecycle::{BrokenRule, Rule};
use crate::master;
use crate::testing::{Scene, every_command_in_every_state, governing_body, written};
use crate::{Kind, Refusal};

fn absent() -> Scene<Category> {
    Scene::new(Action::parse)
}

fn draft() -> Scene<Category> {
    let mut category = absent();
    category.ok("create", json!({"name": "Shirts"}));
    category
}

fn id(text: &str) -> CategoryId {
    CategoryId::new(text).unwrap()
}

fn parent(path: &str, depth: u8) -> ParentFacts {
    ParentFacts {
        path: path.to_owned(),
        depth,
        lifecycle: Lifecycle::Active,
        children: 0,
        line: vec![id("apparel")],
    }
}

fn create(facts: Option<ParentFacts>) -> Result<(String, Value), Refusal> {
    let mut scene = absent();
    let parsed = scene.parsed("create", &json!({"name": "Shirts", "parent_id": "apparel"}));
    let Action::Create(mut create) = parsed else { panic!("a creation") };
    create.parent = facts;
    let events = scene.act(Action::Create(create)).map_err(Refusal::from)?;
    Ok(written(&events[0]))
}

fn hang(
    category: &mut Scene<Category>,
    parent: Option<ParentFacts>,
    height: u8,
) -> Result<Vec<(String, Value)>, Refusal> {
    let parent_id = parent.as_ref().map(|_| id("apparel"));
    let asked = Move { parent_id, reason: None, parent, height };
    let events = category.act(Action::Move(asked)).map_err(Refusal::from)?;
    Ok(events.iter().map(written).collect())
}

#[test]
fn every_command_in_every_state_by_every_role() {
    let body = |name: &str| {
        governing_body(name).unwrap_or_else(|| match name {
            "change-schema" => json!({"attribute_schema": {"closed": true}}),
            "change-segmentation" => json!({"regions": ["eu"]}),
            "change-slug" => json!({"slug": "tops", "reason": "renamed"}),
            "move" => json!({}),
            _ => json!({"name": "Tops"}),
        })
    };
    let state = |category: &Category| category.existing().unwrap().governed.lifecycle;
    every_command_in_every_state(draft, state, &LIFECYCLE.sheet(), &Action::specs(), body);
}

#[test]
fn the_path_is_that_of_the_parent_and_the_slug() {
    let events = absent().ok("create", json!({"name": "Shirts & Blouses"}));
    assert_eq!((&events[0].1["path"], &events[0].1["depth"]), (&json!("shirts-blouses"), &json!(0)));
    let (_, created) = create(Some(parent("goods/apparel", 1))).unwrap();
    assert_eq!((&created["path"], &created["depth"]), (&json!("goods/apparel/shirts"), &json!(2)));
}

#[test]
fn nothing_hangs_below_what_is_not_there_archived_full_or_too_deep() {
    let archived = ParentFacts { lifecycle: Lifecycle::Archived, ..parent("apparel", 0) };
    let full = ParentFacts { children: MAX_CHILDREN, ..parent("apparel", 0) };
    for facts in [None, Some(archived), Some(full), Some(parent("deep", MAX_DEPTH))] {
        assert_eq!(create(facts).unwrap_err().code, "unprocessable");
    }
    assert!(create(Some(parent("deep", MAX_DEPTH - 1))).is_ok());
    let refusal = hang(&mut draft(), Some(parent("deep", MAX_DEPTH - 2)), 2).unwrap_err();
    assert_eq!(refusal.code, "unprocessable", "what is below it would be too deep");
}

#[test]
fn a_move_carries_the_path_and_never_makes_a_cycle() {
    let mut category = draft();
    let events = hang(&mut category, Some(parent("goods/apparel", 1)), 0).unwrap();
    let expected = json!({"to_parent": "apparel", "path": "goods/apparel/shirts", "depth": 2});
    assert_eq!(events, [("category.moved".to_owned(), expected)]);
    assert_eq!(hang(&mut category, Some(parent("goods/apparel", 1)), 0).unwrap(), []);
    let back = hang(&mut category, None, 0).unwrap();
    assert_eq!(back[0].1, json!({"from_parent": "apparel", "path": "shirts", "depth": 0}));
    let own = category.state.existing().unwrap().category_id.clone();
    let below_itself = ParentFacts { line: vec![id("linen"), own], ..parent("shirts/linen", 1) };
    let refusal = hang(&mut category, Some(below_itself), 1).unwrap_err();
    assert_eq!((refusal.code, refusal.kind), ("unprocessable", Kind::Unprocessable));
}

#[test]
fn a_new_slug_changes_the_end_of_the_path_and_keeps_the_old_one() {
    let mut category = draft();
    hang(&mut category, Some(parent("apparel", 0)), 0).unwrap();
    let events = category.ok("change-slug", json!({"slug": "tops", "reason": "renamed"}));
    assert_eq!(events[0].1["path"], "apparel/tops");
    category.writes("change-slug", json!({"slug": "tops", "reason": "renamed"}), &[]);
    let previous: Vec<_> =
        category.state.existing().unwrap().previous_slugs.iter().map(|slug| slug.as_str()).collect();
    assert_eq!(previous, ["shirts"]);
}

#[test]
fn what_happens_above_and_below_is_followed_even_when_archived() {
    let mut category = draft();
    let act = |category: &mut Scene<Category>, action| category.act(action).unwrap().len();
    let adopt = Action::Adopt(Adopt { child_id: id("linen") });
    assert_eq!((act(&mut category, adopt.clone()), act(&mut category, adopt)), (1, 0));
    let disown = Action::Disown(Disown { child_id: id("linen") });
    assert_eq!((act(&mut category, disown.clone()), act(&mut category, disown)), (1, 0));
    category.ok("archive", json!({}));
    let repath = Action::Repath(Repath { path: "women/shirts".to_owned(), depth: 1 });
    assert_eq!((act(&mut category, repath.clone()), act(&mut category, repath)), (1, 0));
}

#[test]
fn it_is_not_archived_above_what_is_left_and_not_live_below_what_is_not() {
    let mut category = draft();
    let broken = |rule, what, state| BrokenRule { rule, what, id: "linen".to_owned(), state };
    let below = vec![broken(Rule::Childless, "category", "active")];
    let archive = master::Action::Archive(master::Step { reason: None, broken: below });
    let refusal = Refusal::from(category.act(Action::Govern(archive)).unwrap_err());
    assert_eq!(refusal.detail, "category linen below it is active: archive it first");
    let above = vec![broken(Rule::LiveParent, "category", "deprecated")];
    let activate = master::Action::Activate(master::Step { reason: None, broken: above });
    let refusal = Refusal::from(category.act(Action::Govern(activate)).unwrap_err());
    assert_eq!(refusal.detail, "category linen is deprecated: it must be active");
}

#[test]
fn schema_segmentation_and_details_change_where_they_differ() {
    let mut category = draft();
    let schema =
        json!({"attribute_schema": {"attributes": [{"type": "color", "required": true}], "closed": true}});
    category.writes("change-schema", schema.clone(), &["category.schema_changed"]);
    category.writes("change-schema", schema, &[]);
    let twice = json!({"attribute_schema": {"attributes": [{"type": "color"}, {"type": "color"}]}});
    category.refuses("change-schema", twice, "unprocessable");
    category.writes("change-segmentation", json!({"channels": ["web"]}), &["category.segmentation_changed"]);
    category.writes("change-segmentation", json!({"channels": ["web"]}), &[]);
    category.writes("change", json!({"name": "Tops", "description": "d"}), &["category.changed"]);
    category.writes("change", json!({"name": "Tops"}), &[]);
    absent().refuses("change", json!({}), "not_found");
    category.refuses("create", json!({"name": "Tops"}), "duplicate_id");
    draft().writes("create", json!({"name": "Shirts"}), &[]);
}
