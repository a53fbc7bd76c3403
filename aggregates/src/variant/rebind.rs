//! Another category or brand: a variant is looked at under the master data of what it will be, as a new one would be.
//!
//! Invariants, and how they would break:
//!
//! 1. What a variant is bound to is what its category and brand say. Else the category that it left counts it as a user, and the one it
//!    came to can be archived.
//! 2. It keeps the rules, limits and protected colours of where it comes. Else a change of details is a way around each of them.

use daybook_schemas::master::Lifecycle;
use daybook_schemas::variant::{DetailsChanged, LockScope, ReferencesBound, SegmentationChanged};
use daybook_schemas::{Label, Timestamp, Token, ValueId};

use super::create::segments;
use super::decide::Decision;
use super::masters::{
    Looked, MasterFacts, brand_reference, check_rules, dead, dead_brand, in_order, protected, within,
};
use super::{ChangeDetails, Existing, Rejection};
use crate::lifecycle::Rule;

/// What of the variant's place in the master data a change moves.
#[derive(Debug, Clone, PartialEq)]
pub struct Rebound {
    pub references: ReferencesBound,
    category: bool,
    brand: bool,
}

/// What the variant refers to afterwards, if the change moves it to another category or brand.
#[must_use]
pub fn rebound(existing: &Existing, change: &ChangeDetails) -> Option<Rebound> {
    let facts = change.masters.as_deref()?;
    let bound = &existing.references;
    let to = facts.category.as_ref().map(|category| &category.category_id);
    let category = change
        .category
        .as_ref()
        .is_some_and(|label| *label != existing.category || to != bound.category_id.as_ref());
    let brand = change.brand.as_ref().is_some_and(|label| *label != existing.brand);
    if !category && !brand {
        return None;
    }
    let mut references = ReferencesBound {
        category_id: if category { to.cloned() } else { bound.category_id.clone() },
        ..bound.clone()
    };
    if brand {
        let of_attribute =
            |id: &ValueId| existing.attributes.iter().any(|attribute| attribute.value_id == *id);
        references.values.retain(|own| of_attribute(&own.value_id));
    }
    // A brand that nothing new may use is no reason against a variant that has it already, and gets no new user either.
    references.values.extend(
        facts.brand.iter().filter(|found| brand || found.lifecycle == Lifecycle::Active).map(brand_reference),
    );
    references.attribute_types.extend(values(facts).filter_map(|value| value.counted_type.clone()));
    in_order(&mut references);
    Some(Rebound { references, category, brand })
}

fn values(facts: &MasterFacts) -> impl Iterator<Item = &super::masters::ValueFacts> {
    facts.values.iter().filter_map(|looked| match looked {
        Looked::Found(value) => Some(&**value),
        Looked::Inline | Looked::Missing | Looked::DeadType(_) => None,
    })
}

impl Existing {
    pub(super) fn change_details(&self, change: &ChangeDetails, now: Timestamp) -> Decision {
        self.refuse_if_locked(LockScope::Details, now)?;
        let rebound = rebound(self, change);
        let none = MasterFacts::default();
        let facts = change.masters.as_deref().unwrap_or(&none);
        let mut reasons = Vec::new();
        if let Some(rebound) = &rebound {
            self.against_move(change, rebound, facts, &mut reasons);
        }
        let moves = rebound.is_some() || change.channels.is_some() || change.regions.is_some();
        let sold = if moves { self.sold_there(change, facts, now, &mut reasons)? } else { None };
        match reasons.len() {
            0 => {}
            1 => return Err(reasons.remove(0)),
            _ => return Err(Rejection::Several(reasons)),
        }
        // The category's own name, where it is master data.
        let named = rebound.as_ref().filter(|rebound| rebound.category).and(facts.category.as_ref());
        let category = named.map(|category| &category.name).or(change.category.as_ref());
        let other = |new: Option<&Label>, own: &Label| new.filter(|new| *new != own).cloned();
        let changed = DetailsChanged {
            name: other(change.name.as_ref(), &self.name),
            brand: other(change.brand.as_ref(), &self.brand),
            category: other(category, &self.category),
            product_group: other(change.product_group.as_ref(), &self.product_group),
            description: change.description.clone().filter(|text| Some(text) != self.description.as_ref()),
            reason: None,
        };
        let mut events = Vec::new();
        if changed != DetailsChanged::default() {
            events.push(DetailsChanged { reason: change.reason.clone(), ..changed }.into());
        }
        events.extend(
            rebound
                .map(|rebound| rebound.references)
                .filter(|references| *references != self.references)
                .map(Into::into),
        );
        events.extend(sold.map(Into::into));
        Ok(events)
    }

    /// What the master data says against the variant where it comes.
    fn against_move(
        &self,
        change: &ChangeDetails,
        rebound: &Rebound,
        facts: &MasterFacts,
        reasons: &mut Vec<Rejection>,
    ) {
        if rebound.category {
            if let Some(category) = &facts.category
                && category.lifecycle != Lifecycle::Active
            {
                reasons.push(dead(Rule::LiveCategory, "category", &category.category_id, category.lifecycle));
            }
            facts.rules.iter().for_each(|named| check_rules(named, &self.attributes, reasons));
        }
        if rebound.brand {
            reasons.extend(facts.brand.as_ref().and_then(dead_brand));
            let brand = change.brand.as_ref().unwrap_or(&self.brand);
            reasons.extend(values(facts).filter_map(|value| protected(value, brand)));
        }
    }

    /// Where it is sold afterwards, if that is not where it is sold now.
    fn sold_there(
        &self,
        change: &ChangeDetails,
        facts: &MasterFacts,
        now: Timestamp,
        reasons: &mut Vec<Rejection>,
    ) -> Result<Option<SegmentationChanged>, Rejection> {
        let asked = |new: &Option<Vec<Token>>, own: &Vec<Token>| match new {
            Some(new) => segments(new),
            None => Ok(own.clone()),
        };
        let (channels, regions) =
            (asked(&change.channels, &self.channels)?, asked(&change.regions, &self.regions)?);
        let channels = within("channel", &channels, &facts.limits, |limit| limit.channels.clone(), reasons);
        let regions = within("region", &regions, &facts.limits, |limit| limit.regions.clone(), reasons);
        if channels == self.channels && regions == self.regions {
            return Ok(None);
        }
        self.refuse_if_locked(LockScope::Segmentation, now)?;
        Ok(Some(SegmentationChanged { channels, regions, reason: change.reason.clone() }))
    }
}
