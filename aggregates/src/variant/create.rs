//! The creation of a variant: its configuration, its SKU.

use daybook_schemas::configuration;
use daybook_schemas::variant::{AttributeSnapshot, Created, Event, Lifecycle, Price, ReferencesBound};
use daybook_schemas::{Invalid, Label, ProductId, Sku, Timestamp, Token, ValueId, VariantId};
use sha2::{Digest, Sha256};

use super::sku::{self, SkuPlan};
use super::{
    Command, Create, Existing, LIFECYCLE, MAX_ATTRIBUTES, MAX_SEGMENTS, NewAttribute, NewPrice, Rejection,
    SkuStrategy, StepName, Variant,
};
use crate::Roles;
use crate::lifecycle::Rule;

/// The attributes as they will be stored, sorted by type, then value id, without repetition; and the hash over them.
///
/// Refuses a value id that stands for two different values.
pub fn configuration(create: &Create) -> Result<(Vec<AttributeSnapshot>, String), Rejection> {
    if create.attributes.len() > MAX_ATTRIBUTES {
        return Err(Rejection::TooManyAttributes);
    }
    let mut attributes: Vec<AttributeSnapshot> =
        create.attributes.iter().map(snapshot).collect::<Result<_, Invalid>>()?;
    attributes.sort_by(|a, b| (&a.kind, &a.value_id).cmp(&(&b.kind, &b.value_id)));
    attributes.dedup();
    let mut ids: Vec<&ValueId> = attributes.iter().map(|attribute| &attribute.value_id).collect();
    ids.sort_unstable();
    if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Rejection::AmbiguousValue(pair[0].to_string()));
    }
    let hash = configuration::hash(&create.product_id, ids);
    Ok((attributes, hash))
}

fn snapshot(new: &NewAttribute) -> Result<AttributeSnapshot, Invalid> {
    let value_id = match &new.value_id {
        Some(id) => id.clone(),
        None => value_id(&new.kind, &new.value)?,
    };
    Ok(AttributeSnapshot {
        kind: new.kind.clone(),
        value: new.value.clone(),
        value_id,
        display: new.display.clone().unwrap_or_else(|| new.value.clone()),
        hex: new.hex.clone(),
        rank: new.rank,
    })
}

/// The value id that is meant when none is given: `{type}-{value}` in lower case, with a hyphen for every run of blanks,
/// hyphens, underscores and slashes. Where a value has characters that an id can't have, or is too long, the first eight
/// hexadecimal digits of the SHA-256 of the value in lower case follow, so that different values keep different ids.
pub fn value_id(kind: &Token, value: &Label) -> Result<ValueId, Invalid> {
    let value = value.as_str().to_lowercase();
    let mut slug = String::with_capacity(value.len());
    let mut lossless = true;
    for c in value.chars() {
        if c.is_ascii_alphanumeric() || c == '.' {
            slug.push(c);
        } else if matches!(c, ' ' | '-' | '_' | '/') {
            if !slug.ends_with('-') {
                slug.push('-');
            }
        } else {
            lossless = false;
        }
    }
    let kind = kind.as_str().to_lowercase();
    let full = format!("{kind}-{}", slug.trim_matches('-'));
    if lossless && full.len() <= 64 && slug.contains(|c: char| c.is_ascii_alphanumeric()) {
        return ValueId::new(full);
    }
    let digest = configuration::hex(&Sha256::digest(value.as_bytes()));
    let short: String = full.chars().take(55).collect();
    ValueId::new(format!("{}-{}", short.trim_matches('-'), &digest[..8]))
}

/// The id of a variant that was given none: the product's, shortened if need be, and 20 hexadecimal digits of the configuration hash.
#[must_use]
pub fn derived_id(product_id: &ProductId, hash: &str) -> VariantId {
    let product: String = product_id.as_str().chars().take(43).collect();
    VariantId::new(format!("{product}-{}", &hash[..20])).expect("at most 64 characters of the id alphabet")
}

/// Everything that speaks against a creation and shows without a look at anything else: roles, price, segments, and the state asked for.
#[must_use]
pub fn objections(create: &Create, now: Timestamp, roles: Roles) -> Vec<Rejection> {
    let price = create.price.as_ref().map(checked).transpose();
    let priced = create.price.is_some();
    let wanted = create.lifecycle.unwrap_or(Lifecycle::Draft);
    [
        LIFECYCLE.create(roles).err().map(Rejection::from),
        segments(&create.channels).err(),
        segments(&create.regions).err(),
        price.err(),
        rise(wanted, priced, roles).err(),
        create.history.as_ref().and_then(|history| history.check(create, now, roles).err()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The steps from draft to a state. That category and values are live was looked up for the creation already.
fn rise(wanted: Lifecycle, priced: bool, roles: Roles) -> Result<Vec<Event>, Rejection> {
    const WAY: [StepName; 5] =
        [StepName::Submit, StepName::Approve, StepName::Mature, StepName::Clear, StepName::Discontinue];
    let (mut state, mut events) = (LIFECYCLE.initial, Vec::new());
    for step in WAY {
        if state == wanted {
            break;
        }
        let Some(row) = LIFECYCLE.step(state, step.as_str(), roles)? else { break };
        if row.rules.contains(&Rule::Priced) && !priced {
            return Err(Rejection::NoPrice);
        }
        events.push(step.event(state, None));
        state = row.to;
    }
    if state == wanted { Ok(events) } else { Err(Rejection::NotOnTheWay(wanted)) }
}

/// A price that keeps the rules.
pub(super) fn checked(new: &NewPrice) -> Result<Price, Rejection> {
    let price = new.price()?;
    if price.amount.is_negative() {
        return Err(Rejection::NegativePrice);
    }
    let below = |compare_at| price.amount.compare(compare_at) == Some(std::cmp::Ordering::Greater);
    if price.compare_at.is_some_and(below) {
        return Err(Rejection::CompareAtBelowPrice);
    }
    Ok(price)
}

/// Sorted, without repetition.
pub(super) fn segments(names: &[Token]) -> Result<Vec<Token>, Rejection> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names.dedup();
    if names.len() > MAX_SEGMENTS { Err(Rejection::TooManySegments) } else { Ok(names) }
}

impl Variant {
    pub(super) fn create(&self, create: &Create, command: &Command) -> Result<Vec<Event>, Rejection> {
        let (attributes, config_hash) = configuration(create)?;
        let sku = match (&create.resolved_sku, sku::plan(create)?) {
            (Some(sku), _) => sku.clone(),
            (None, SkuPlan::Fixed(sku)) => self.longer_than(create, sku),
            (None, SkuPlan::NeedsSequence(name)) => match self {
                // A repeat draws no number: whatever was drawn is part of what it repeats.
                Self::Existing(existing) => existing.sku.clone(),
                Self::Absent => return Err(Rejection::SkuNeedsSequence(name.to_string())),
            },
        };
        let created_at = create.created_at.map_or(command.now, |given| given.min(command.now));
        let price = create.price.as_ref().map(checked).transpose()?;
        let mut told = Vec::new();
        let mut first_price = price;
        if let Some(history) = &create.history {
            history.check(create, command.now, command.roles)?;
            first_price = history.first_price(created_at)?;
            told = history.events(created_at)?;
        }
        let pairs = attributes.iter().map(|a| (a.kind.as_str(), a.value.as_str()));
        let created = Created {
            variant_id: variant_id(create, command),
            product_id: create.product_id.clone(),
            product_group: group(create),
            sku,
            name: create.name.clone(),
            brand: create.brand.clone(),
            category: create.category.clone(),
            description: create.description.clone(),
            config_hash,
            config_signature: configuration::signature(pairs),
            attributes,
            channels: segments(&create.channels)?,
            regions: segments(&create.regions)?,
            price: first_price,
            created_at,
        };
        match self {
            Self::Absent => {
                let wanted = create.lifecycle.unwrap_or(Lifecycle::Draft);
                let steps = rise(wanted, price.is_some(), command.roles)?;
                let bound = create.references.as_deref().cloned().map(Event::from);
                Ok(std::iter::once(created.into()).chain(bound).chain(told).chain(steps).collect())
            }
            Self::Existing(existing) if repeats(existing, &created, price, create.references.as_deref()) => {
                Ok(Vec::new())
            }
            Self::Existing(_) => Err(Rejection::Exists),
        }
    }
}

impl Variant {
    /// The automatic SKU that was taken grew when the variant was created; a repeat means the one it got.
    fn longer_than(&self, create: &Create, planned: Sku) -> Sku {
        match (self.existing(), &create.sku) {
            (Some(existing), SkuStrategy::Auto {}) if existing.sku.as_str().starts_with(planned.as_str()) => {
                existing.sku.clone()
            }
            _ => planned,
        }
    }
}

/// A repeat of the command that created the variant: the same configuration, and everything else as it stands.
fn repeats(
    existing: &Existing,
    created: &Created,
    price: Option<Price>,
    bound: Option<&ReferencesBound>,
) -> bool {
    existing.config_hash == created.config_hash
        && existing.sku == created.sku
        && existing.product_id == created.product_id
        && existing.product_group == created.product_group
        && existing.name == created.name
        && existing.brand == created.brand
        && same_category(existing, created, bound)
        && existing.description == created.description
        && same_attributes(existing, created, bound)
        && existing.channels == created.channels
        && existing.regions == created.regions
        && existing.prices.price == price
}

/// What master data is called changes without the variant, or reaches it later: where both are bound, the id counts.
fn same_category(existing: &Existing, created: &Created, bound: Option<&ReferencesBound>) -> bool {
    match (&existing.references.category_id, bound.and_then(|bound| bound.category_id.as_ref())) {
        (Some(before), Some(now)) => before == now,
        _ => existing.category == created.category,
    }
}

/// As with the category.
fn same_attributes(existing: &Existing, created: &Created, bound: Option<&ReferencesBound>) -> bool {
    let has =
        |references: &ReferencesBound, id: &ValueId| references.values.iter().any(|own| own.value_id == *id);
    let by_id = |id: &ValueId| has(&existing.references, id) && bound.is_some_and(|bound| has(bound, id));
    existing.attributes.len() == created.attributes.len()
        && existing.attributes.iter().zip(&created.attributes).all(|(before, now)| {
            before == now
                || (before.kind == now.kind && before.value_id == now.value_id && by_id(&now.value_id))
        })
}

fn variant_id(create: &Create, command: &Command) -> VariantId {
    match &create.variant_id {
        Some(id) => id.clone(),
        None => VariantId::new(command.fresh_id.as_str()).expect("tokens and ids have one alphabet"),
    }
}

fn group(create: &Create) -> Label {
    match &create.product_group {
        Some(group) => group.clone(),
        None => Label::new(create.product_id.as_str()).expect("an id is a short text on one line"),
    }
}

/// The SKU as text in the id alphabet; the reason if it is none.
pub(super) fn parse_sku(text: &str) -> Result<Sku, Rejection> {
    Sku::new(text).map_err(|invalid| Rejection::SkuTemplate(format!("the template gives no SKU: {invalid}")))
}
