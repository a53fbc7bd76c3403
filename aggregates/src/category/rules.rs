//! Combination rules that make sense.

use daybook_schemas::rules::CombinationRules;

use crate::master::Rejection;

/// Most attributes that rules name, most values an attribute allows, most forbidden pairs.
const MAX_ATTRIBUTES: usize = 100;
const MAX_ALLOWED: usize = 5_000;
const MAX_FORBIDDEN: usize = 10_000;

/// Refuses rules that contradict themselves or are too many.
pub fn check_rules(rules: &CombinationRules) -> Result<(), Rejection> {
    let attributes = &rules.attributes;
    if attributes.len() > MAX_ATTRIBUTES
        || rules.forbidden.len() > MAX_FORBIDDEN
        || attributes.iter().any(|rule| rule.allowed.len() > MAX_ALLOWED)
    {
        return Err(Rejection::Invalid(format!(
            "rules name at most {MAX_ATTRIBUTES} attributes, {MAX_ALLOWED} values of each and {MAX_FORBIDDEN} forbidden pairs"
        )));
    }
    for (at, rule) in attributes.iter().enumerate() {
        if attributes[..at].iter().any(|other| other.kind == rule.kind) {
            return Err(Rejection::Unprocessable(format!("rules name the attribute {} twice", rule.kind)));
        }
    }
    match rules.forbidden.iter().find(|pair| pair.first == pair.second) {
        Some(pair) => {
            Err(Rejection::Unprocessable(format!("{} can't be forbidden beside itself", pair.first)))
        }
        None => Ok(()),
    }
}
