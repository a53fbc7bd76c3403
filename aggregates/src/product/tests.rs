//! Given / when / then for products.

use serde_json::json;

use super::{Action, Product};
use crate::testing::Scene;
use crate::{Kind, Role, Roles};

fn product() -> Scene<Product> {
    Scene::new(Action::parse)
}

#[test]
fn rules_are_set_and_a_repeat_changes_nothing() {
    let mut product = product();
    let rules = json!({"rules": {"attributes": [{"type": "color", "required": true}], "closed": true}, "reason": "range"});
    product.writes("set-rules", rules.clone(), &["product.rules_set"]);
    product.writes("set-rules", rules, &[]);
    assert!(product.state.rules.closed);
}

#[test]
fn rules_do_not_contradict_themselves() {
    let twice = json!({"rules": {"attributes": [{"type": "color"}, {"type": "color"}]}});
    product().refuses("set-rules", twice, "unprocessable");
    let itself = json!({"rules": {"forbidden": [{"first": "a", "second": "a"}]}});
    product().refuses("set-rules", itself, "unprocessable");
    let many: Vec<_> = (0..=100).map(|n| json!({"type": format!("t{n}")})).collect();
    product().refuses("set-rules", json!({"rules": {"attributes": many}}), "invalid_request");
}

#[test]
fn only_editors_set_rules() {
    let mut product = product();
    product.roles = Roles::of([Role::Viewer, Role::Storefront, Role::Approver]);
    let refusal = product.refused("set-rules", json!({"rules": {}}));
    assert_eq!((refusal.code, refusal.kind), ("forbidden", Kind::Forbidden));
}
