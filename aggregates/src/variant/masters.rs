//! Master data in a variant: looked-up facts become snapshots, and every rule that they break is told.
//!
//! An attribute is bound to master data where a value id names a record, or where its type is registered; everything else
//! is inline text, as it always was.

use daybook_schemas::master::Lifecycle;
use daybook_schemas::rules::CombinationRules;
use daybook_schemas::variant::{AttributeSnapshot, HexColor, MasterKind, ReferencesBound, ValueReference};
use daybook_schemas::{CategoryId, Label, Token, ValueId};

use super::create::configuration;
use super::{Create, Rejection};
use crate::lifecycle::{BrokenRule, Rule};
use crate::master::folded;

/// What was looked up for a creation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MasterFacts {
    /// The category, where it is master data.
    pub category: Option<CategoryFacts>,
    /// The brand, where it is a value of the master data that is in force, or was.
    pub brand: Option<BrandFacts>,
    /// For each attribute of the command, in its order.
    pub values: Vec<Looked>,
    /// Rules that hold: of the category, those above it, and the product.
    pub rules: Vec<NamedRules>,
    /// Where the variant may be sold at most, by what says so.
    pub limits: Vec<Limit>,
}

/// What was found of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Looked {
    /// Inline text.
    Inline,
    /// A record of the master data.
    Found(Box<ValueFacts>),
    /// The type is registered, and has no such value.
    Missing,
    /// The type is registered, but not active.
    DeadType(Lifecycle),
}

/// A category of the master data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CategoryFacts {
    pub category_id: CategoryId,
    pub name: Label,
    pub lifecycle: Lifecycle,
}

/// A brand of the master data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrandFacts {
    pub value_id: ValueId,
    /// Active, deprecated or archived.
    pub lifecycle: Lifecycle,
}

/// An attribute value of the master data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueFacts {
    pub kind: MasterKind,
    pub value_id: ValueId,
    pub value: Label,
    pub display: Label,
    pub hex: Option<HexColor>,
    pub rank: Option<i32>,
    pub lifecycle: Lifecycle,
    /// The one brand that may use it.
    pub brand: Option<Label>,
    /// The registered type of colours or sizes that it is used under: it counts the variant.
    pub counted_type: Option<Token>,
}

/// Combination rules and whose they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedRules {
    /// Such as `category shirts`.
    pub source: String,
    pub rules: CombinationRules,
}

/// Channels and regions that are allowed, and by what. An empty list does not restrict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Such as `brand Acme`.
    pub source: String,
    pub channels: Vec<Token>,
    pub regions: Vec<Token>,
}

/// The command with master data copied in, and everything that speaks against it.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    pub create: Create,
    pub reasons: Vec<Rejection>,
}

/// Copies the facts into the command. All reasons against the creation are told together.
#[must_use]
pub fn resolve(create: &Create, facts: &MasterFacts) -> Resolved {
    let mut create = create.clone();
    let mut reasons = Vec::new();
    let mut references = ReferencesBound::default();
    if let Some(category) = &facts.category {
        create.category = category.name.clone();
        references.category_id = Some(category.category_id.clone());
        if category.lifecycle != Lifecycle::Active {
            reasons.push(dead(Rule::LiveCategory, "category", &category.category_id, category.lifecycle));
        }
    }
    if let Some(brand) = &facts.brand {
        references.values.push(brand_reference(brand));
        reasons.extend(dead_brand(brand));
    }
    for (attribute, looked) in create.attributes.iter_mut().zip(&facts.values) {
        match looked {
            Looked::Inline => {}
            Looked::Missing => reasons.push(Rejection::UnknownValue {
                kind: attribute.kind.clone(),
                value: attribute.value.clone(),
            }),
            Looked::DeadType(lifecycle) => {
                reasons.push(dead(Rule::LiveValues, "attribute type", &attribute.kind, *lifecycle));
            }
            Looked::Found(value) => {
                attribute.value = value.value.clone();
                attribute.value_id = Some(value.value_id.clone());
                attribute.display = Some(value.display.clone());
                attribute.hex.clone_from(&value.hex);
                attribute.rank = value.rank;
                references.values.push(ValueReference { kind: value.kind, value_id: value.value_id.clone() });
                references.attribute_types.extend(value.counted_type.clone());
                if value.lifecycle != Lifecycle::Active {
                    let what = value.kind.as_str();
                    reasons.push(dead(Rule::LiveValues, what, &value.value_id, value.lifecycle));
                }
                reasons.extend(protected(value, &create.brand));
            }
        }
    }
    in_order(&mut references);
    match configuration(&create) {
        Ok((attributes, _)) => {
            for named in &facts.rules {
                check_rules(named, &attributes, &mut reasons);
            }
        }
        Err(rejection) => reasons.push(rejection),
    }
    let channels = |limit: &Limit| limit.channels.clone();
    let regions = |limit: &Limit| limit.regions.clone();
    create.channels = within("channel", &create.channels, &facts.limits, channels, &mut reasons);
    create.regions = within("region", &create.regions, &facts.limits, regions, &mut reasons);
    create.references = (references != ReferencesBound::default()).then(|| Box::new(references));
    Resolved { create, reasons }
}

impl Resolved {
    /// The command, if nothing speaks against it.
    pub fn accepted(mut self) -> Result<Create, Rejection> {
        match self.reasons.len() {
            0 => Ok(self.create),
            1 => Err(self.reasons.remove(0)),
            _ => Err(Rejection::Several(self.reasons)),
        }
    }
}

/// Sorted, without repetition.
pub(super) fn in_order(references: &mut ReferencesBound) {
    references.values.sort_unstable();
    references.values.dedup();
    references.attribute_types.sort_unstable();
    references.attribute_types.dedup();
}

pub(super) fn brand_reference(brand: &BrandFacts) -> ValueReference {
    ValueReference { kind: MasterKind::AttributeValue, value_id: brand.value_id.clone() }
}

pub(super) fn dead_brand(brand: &BrandFacts) -> Option<Rejection> {
    (brand.lifecycle != Lifecycle::Active)
        .then(|| dead(Rule::LiveValues, "attribute_value", &brand.value_id, brand.lifecycle))
}

/// A colour of another brand.
pub(super) fn protected(value: &ValueFacts, brand: &Label) -> Option<Rejection> {
    let owner = value.brand.as_ref().filter(|owner| folded(owner.as_str()) != folded(brand.as_str()))?;
    Some(Rejection::ProtectedColor { value_id: value.value_id.clone(), brand: owner.clone() })
}

pub(super) fn dead(rule: Rule, what: &'static str, id: &impl ToString, lifecycle: Lifecycle) -> Rejection {
    Rejection::Broken(BrokenRule { rule, what, id: id.to_string(), state: lifecycle.as_str() })
}

/// Every rule that the attributes break.
pub(super) fn check_rules(
    named: &NamedRules,
    attributes: &[AttributeSnapshot],
    reasons: &mut Vec<Rejection>,
) {
    let NamedRules { source, rules } = named;
    let mut refuse = |what: String| reasons.push(Rejection::Combination { source_of: source.clone(), what });
    for rule in &rules.attributes {
        let mut values = attributes.iter().filter(|attribute| attribute.kind == rule.kind).peekable();
        if rule.required && values.peek().is_none() {
            refuse(format!("the attribute {} is required", rule.kind));
        }
        for value in values {
            if !rule.allowed.is_empty() && !rule.allowed.contains(&value.value_id) {
                refuse(format!("{} is not among the values allowed for {}", value.value_id, rule.kind));
            }
        }
    }
    if rules.closed {
        let unnamed =
            |attribute: &&AttributeSnapshot| !rules.attributes.iter().any(|rule| rule.kind == attribute.kind);
        for attribute in attributes.iter().filter(unnamed) {
            refuse(format!("the attribute {} is not among those that there are", attribute.kind));
        }
    }
    let has = |id: &ValueId| attributes.iter().any(|attribute| attribute.value_id == *id);
    for pair in rules.forbidden.iter().filter(|pair| has(&pair.first) && has(&pair.second)) {
        refuse(format!("{} and {} do not go together", pair.first, pair.second));
    }
}

/// The names within what all limits allow. None given: everything that is allowed.
pub(super) fn within(
    what: &'static str,
    given: &[Token],
    limits: &[Limit],
    of: impl Fn(&Limit) -> Vec<Token>,
    reasons: &mut Vec<Rejection>,
) -> Vec<Token> {
    let lists: Vec<(&str, Vec<Token>)> = limits
        .iter()
        .map(|limit| (limit.source.as_str(), of(limit)))
        .filter(|(_, names)| !names.is_empty())
        .collect();
    let Some((_, first)) = lists.first() else { return given.to_vec() };
    if given.is_empty() {
        let mut common = first.clone();
        common.retain(|name| lists.iter().all(|(_, names)| names.contains(name)));
        if common.is_empty() {
            let sources: Vec<_> = lists.iter().map(|(source, _)| *source).collect();
            reasons.push(Rejection::Outside {
                what,
                name: "every".to_owned(),
                source_of: sources.join(", "),
            });
        }
        return common;
    }
    for name in given {
        for (source, _) in lists.iter().filter(|(_, names)| !names.contains(name)) {
            let source_of = (*source).to_owned();
            reasons.push(Rejection::Outside { what, name: name.to_string(), source_of });
        }
    }
    given.to_vec()
}
