//! What variants look up of master data, before they are decided: facts for [`daybook_aggregates::variant::masters`].

use daybook_aggregates::attribute_type::AttributeType;
use daybook_aggregates::attribute_value::{self, AttributeValue};
use daybook_aggregates::category::Category;
use daybook_aggregates::claim::{Claim, What};
use daybook_aggregates::color::Color;
use daybook_aggregates::lifecycle::{BrokenRule, Rule};
use daybook_aggregates::product::Product;
use daybook_aggregates::size::Size;
use daybook_aggregates::variant::masters::{
    BrandFacts, CategoryFacts, Limit, Looked, MasterFacts, NamedRules, ValueFacts,
};
use daybook_aggregates::variant::{ChangeDetails, Create, NewAttribute, value_id};
use daybook_eventlog::StreamId;
use daybook_schemas::attribute_type::DataType;
use daybook_schemas::master::Lifecycle;
use daybook_schemas::rules::CombinationRules;
use daybook_schemas::variant::{AttributeSnapshot, MasterKind, ReferencesBound, ValueReference};
use daybook_schemas::{CategoryId, Label, ProductId, Slug, Token, ValueId};

use super::place::{Place, require_limits};
use super::{category_claim, claims, not_active, tree, type_stream};
use crate::workspace::{Halt, Workspace, stream};

/// The attribute type whose values are brands.
const BRAND: &str = "brand";

pub(crate) fn stream_of(kind: MasterKind, id: &ValueId) -> StreamId {
    stream::of(kind.as_str(), &Token::new(id.as_str()).expect("all ids have one alphabet"))
}

/// What is known of an attribute type that is in force.
#[derive(Clone)]
pub(crate) enum TypeInForce {
    /// Nobody registered it, or it is not active yet: free text.
    Free,
    /// With its id.
    Active(DataType, Token),
    /// Deprecated or archived: nothing new may use it.
    Dead(Lifecycle),
}

/// The streams that a creation looks at first, to be read at once.
pub(crate) fn first_streams(create: &Create) -> Vec<StreamId> {
    let mut streams: Vec<_> = create
        .attributes
        .iter()
        .map(|attribute| stream::claim(What::AttributeType, attribute.kind.as_str()))
        .collect();
    streams.sort_unstable();
    streams.dedup();
    streams.extend(category_claim(&create.category));
    streams.push(brand_claim(&create.brand));
    streams.push(product_stream(&create.product_id));
    streams
}

/// The claim of the value that is the brand, whatever its id.
pub(super) fn brand_claim(brand: &Label) -> StreamId {
    let kind = Token::new(BRAND).expect("a constant that keeps the rule");
    claims::folded_stream(What::AttributeValue, &attribute_value::claim_key(&kind, brand))
}

pub(super) fn product_stream(id: &ProductId) -> StreamId {
    stream::of("product", &Token::new(id.as_str()).expect("all ids have one alphabet"))
}

/// Everything that a creation needs to know.
pub(crate) fn of_creation(workspace: &mut Workspace<'_>, create: &Create) -> Result<MasterFacts, Halt> {
    let mut facts = common(workspace, &create.product_id, &create.category, &create.brand)?;
    for attribute in &create.attributes {
        let of = type_in_force(workspace, &attribute.kind, &mut facts.limits)?;
        let looked = look_up(workspace, attribute, &of, &mut facts.limits)?;
        facts.values.push(looked);
    }
    Ok(facts)
}

/// What all variants of a product in one category and brand have in common.
pub(crate) fn common(
    workspace: &mut Workspace<'_>,
    product: &ProductId,
    category: &Label,
    brand: &Label,
) -> Result<MasterFacts, Halt> {
    let mut facts = MasterFacts::default();
    of_product(workspace, product, &mut facts)?;
    if let Some(claim) = category_claim(category)
        && let Some(owner) = workspace.peek::<Claim>(&claim)?.owner.clone()
    {
        let id = CategoryId::new(owner.as_str()).expect("all ids have one alphabet");
        facts.category = line(workspace, &id, &mut facts)?;
    }
    of_brand(workspace, brand, &mut facts)?;
    Ok(facts)
}

fn of_product(
    workspace: &mut Workspace<'_>,
    product: &ProductId,
    facts: &mut MasterFacts,
) -> Result<(), Halt> {
    let rules = &workspace.peek::<Product>(&product_stream(product))?.rules;
    if *rules != CombinationRules::default() {
        facts.rules.push(NamedRules { source: format!("product {product}"), rules: rules.clone() });
    }
    Ok(())
}

/// The brand that is a value of the master data. One that is not in force yet binds nobody.
fn of_brand(workspace: &mut Workspace<'_>, brand: &Label, facts: &mut MasterFacts) -> Result<(), Halt> {
    let Some(owner) = workspace.peek::<Claim>(&brand_claim(brand))?.owner.clone() else { return Ok(()) };
    let stream = stream::of(MasterKind::AttributeValue.as_str(), &owner);
    let Some(value) = workspace.peek::<AttributeValue>(&stream)?.existing() else { return Ok(()) };
    match value.governed.lifecycle {
        Lifecycle::Draft | Lifecycle::PendingApproval => {}
        lifecycle @ (Lifecycle::Active | Lifecycle::Deprecated | Lifecycle::Archived) => {
            restrict(&mut facts.limits, format!("brand {brand}"), &value.channels, &value.regions);
            facts.brand = Some(BrandFacts { value_id: value.attribute_value_id.clone(), lifecycle });
        }
    }
    Ok(())
}

/// What a variant will be under once its category or brand is another.
pub(crate) fn of_change(
    workspace: &mut Workspace<'_>,
    existing: &Place,
    change: &ChangeDetails,
) -> Result<MasterFacts, Halt> {
    let brand = change.brand.as_ref().unwrap_or(&existing.brand);
    let bound = existing.references.category_id.as_ref();
    // The name that a bound variant has may lead elsewhere by now: where it stays, what it is bound to counts.
    let moved = change.category.as_ref().filter(|label| bound.is_none() || **label != existing.category);
    require_limits(workspace, existing, brand, moved)?;
    let mut facts = match moved {
        Some(category) => common(workspace, &existing.product_id, category, brand)?,
        None => {
            let mut facts = MasterFacts::default();
            of_product(workspace, &existing.product_id, &mut facts)?;
            if let Some(id) = bound {
                facts.category = line(workspace, id, &mut facts)?;
            }
            of_brand(workspace, brand, &mut facts)?;
            facts
        }
    };
    of_attributes(workspace, existing, &mut facts)?;
    Ok(facts)
}

/// The values that the variant's attributes are bound to, and where they may be sold.
fn of_attributes(
    workspace: &mut Workspace<'_>,
    existing: &Place,
    facts: &mut MasterFacts,
) -> Result<(), Halt> {
    let mut types = Vec::with_capacity(existing.attributes.len());
    for attribute in &existing.attributes {
        types.push(type_in_force(workspace, &attribute.kind, &mut facts.limits)?);
    }
    for reference in &existing.references.values {
        let bound =
            |(attribute, _): &(&AttributeSnapshot, &TypeInForce)| attribute.value_id == reference.value_id;
        let Some((attribute, of)) = existing.attributes.iter().zip(&types).find(bound) else { continue };
        let about = Some((&attribute.kind, &mut facts.limits));
        if let Some(mut found) = value(workspace, reference.kind, &reference.value_id, about)? {
            found.counted_type = counted_type(of);
            facts.values.push(Looked::Found(Box::new(found)));
        }
    }
    Ok(())
}

/// The combination rules that a variant is under.
pub(crate) fn rules(workspace: &mut Workspace<'_>, existing: &Place) -> Result<Vec<NamedRules>, Halt> {
    let mut facts = MasterFacts::default();
    of_product(workspace, &existing.product_id, &mut facts)?;
    if let Some(id) = &existing.references.category_id {
        line(workspace, id, &mut facts)?;
    }
    Ok(facts.rules)
}

/// The type that counts variants by itself: one of values that do not count for it.
fn counted_type(of: &TypeInForce) -> Option<Token> {
    match of {
        TypeInForce::Active(DataType::Color | DataType::Size, id) => Some(id.clone()),
        TypeInForce::Active(DataType::Text | DataType::Number | DataType::Boolean, _)
        | TypeInForce::Free
        | TypeInForce::Dead(_) => None,
    }
}

/// The category; its rules and limits, and those of all above it, join the facts.
fn line(
    workspace: &mut Workspace<'_>,
    id: &CategoryId,
    facts: &mut MasterFacts,
) -> Result<Option<CategoryFacts>, Halt> {
    let mut found = None;
    let mut next = Some(id.clone());
    while let Some(id) = next {
        let Some(category) = workspace.peek::<Category>(&tree::stream_of(&id))?.existing() else { break };
        if category.attribute_schema != CombinationRules::default() {
            let rules = category.attribute_schema.clone();
            facts.rules.push(NamedRules { source: format!("category {id}"), rules });
        }
        if !category.channels.is_empty() || !category.regions.is_empty() {
            let (channels, regions) = (category.channels.clone(), category.regions.clone());
            facts.limits.push(Limit { source: format!("category {id}"), channels, regions });
        }
        next = category.parent_id.clone();
        found.get_or_insert_with(|| CategoryFacts {
            category_id: category.category_id.clone(),
            name: category.name.clone(),
            lifecycle: category.governed.lifecycle,
        });
    }
    Ok(found)
}

/// Whether a type is registered. Where it may be used joins the limits.
pub(crate) fn type_in_force(
    workspace: &mut Workspace<'_>,
    code: &Token,
    limits: &mut Vec<Limit>,
) -> Result<TypeInForce, Halt> {
    let Some(of) = type_stream(workspace, code)? else { return Ok(TypeInForce::Free) };
    let Some(of) = workspace.peek::<AttributeType>(&of)?.existing() else { return Ok(TypeInForce::Free) };
    match of.governed.lifecycle {
        Lifecycle::Draft | Lifecycle::PendingApproval => Ok(TypeInForce::Free),
        Lifecycle::Active => {
            let source = format!("attribute type {code}");
            restrict(limits, source, &of.channels, &of.regions);
            Ok(TypeInForce::Active(of.data_type, of.attribute_type_id.clone()))
        }
        dead @ (Lifecycle::Deprecated | Lifecycle::Archived) => Ok(TypeInForce::Dead(dead)),
    }
}

fn restrict(limits: &mut Vec<Limit>, source: String, channels: &[Token], regions: &[Token]) {
    if !channels.is_empty() || !regions.is_empty() {
        limits.push(Limit { source, channels: channels.to_vec(), regions: regions.to_vec() });
    }
}

/// Where the record is that an attribute may mean, and whether there must be one. The lifecycle: of a type that is dead.
fn place_of(attribute: &NewAttribute, of: &TypeInForce) -> Result<(MasterKind, bool), Lifecycle> {
    Ok(match of {
        TypeInForce::Dead(lifecycle) => return Err(*lifecycle),
        TypeInForce::Active(DataType::Color, _) => (MasterKind::Color, true),
        TypeInForce::Active(DataType::Size, _) => (MasterKind::Size, true),
        TypeInForce::Active(DataType::Text | DataType::Number | DataType::Boolean, _) => {
            (MasterKind::AttributeValue, true)
        }
        TypeInForce::Free => match attribute.kind.as_str() {
            "color" => (MasterKind::Color, false),
            "size" => (MasterKind::Size, false),
            _ => (MasterKind::AttributeValue, false),
        },
    })
}

/// Has all that [`look_up`] will look at for these attributes read at once: first the claims, then the records that they name.
pub(crate) fn require_values(
    workspace: &mut Workspace<'_>,
    attributes: &[(&NewAttribute, &TypeInForce)],
) -> Result<(), Halt> {
    let wanted = |(attribute, of): &(&NewAttribute, &TypeInForce)| match place_of(attribute, of) {
        Ok((kind, strict)) if strict || attribute.value_id.is_some() => Some(kind),
        Ok(_) | Err(_) => None,
    };
    let by_text = attributes.iter().filter(|(attribute, _)| attribute.value_id.is_none());
    let claims: Vec<_> = by_text.filter_map(|of| value_claim(wanted(of)?, of.0)).collect();
    workspace.require(&claims)?;
    let mut records = Vec::new();
    for of in attributes {
        let Some(kind) = wanted(of) else { continue };
        let id = match &of.0.value_id {
            Some(id) => Some(id.clone()),
            None => by_value(workspace, kind, of.0)?,
        };
        records.extend(id.map(|id| stream_of(kind, &id)));
    }
    workspace.require(&records)
}

/// The record that an attribute means. Where it may be used joins the limits.
pub(crate) fn look_up(
    workspace: &mut Workspace<'_>,
    attribute: &NewAttribute,
    of: &TypeInForce,
    limits: &mut Vec<Limit>,
) -> Result<Looked, Halt> {
    let (kind, strict) = match place_of(attribute, of) {
        Ok(place) => place,
        Err(dead) => return Ok(Looked::DeadType(dead)),
    };
    let id = match &attribute.value_id {
        Some(id) => Some(id.clone()),
        None if strict => by_value(workspace, kind, attribute)?,
        None => return Ok(Looked::Inline),
    };
    let found = match id {
        Some(id) => value(workspace, kind, &id, Some((&attribute.kind, limits)))?,
        None => None,
    };
    Ok(match found {
        Some(value) => Looked::Found(Box::new(ValueFacts { counted_type: counted_type(of), ..value })),
        None if strict => Looked::Missing,
        None => Looked::Inline,
    })
}

/// The claim on a value as text, where its kind has one.
fn value_claim(kind: MasterKind, attribute: &NewAttribute) -> Option<StreamId> {
    match kind {
        MasterKind::Color => {
            let slug = Slug::of_name(attribute.value.as_str()).ok()?;
            Some(stream::claim(What::Color, slug.as_str()))
        }
        MasterKind::AttributeValue => {
            let key = attribute_value::claim_key(&attribute.kind, &attribute.value);
            Some(claims::folded_stream(What::AttributeValue, &key))
        }
        MasterKind::Size => None,
    }
}

/// The id that a value as text stands for: by what is unique about it, else as it would be derived.
fn by_value(
    workspace: &mut Workspace<'_>,
    kind: MasterKind,
    attribute: &NewAttribute,
) -> Result<Option<ValueId>, Halt> {
    if let Some(claim) = value_claim(kind, attribute)
        && let Some(owner) = workspace.peek::<Claim>(&claim)?.owner.clone()
    {
        return Ok(ValueId::new(owner.as_str()).ok());
    }
    Ok(value_id(&attribute.kind, &attribute.value).ok())
}

/// A record as a variant copies it. `None`: there is none with this id, or it is a value of another type.
pub(crate) fn value(
    workspace: &mut Workspace<'_>,
    kind: MasterKind,
    id: &ValueId,
    of: Option<(&Token, &mut Vec<Limit>)>,
) -> Result<Option<ValueFacts>, Halt> {
    let stream = stream_of(kind, id);
    Ok(match kind {
        MasterKind::Color => workspace.peek::<Color>(&stream)?.existing().map(|own| ValueFacts {
            kind,
            value_id: own.color_id.clone(),
            value: own.name.clone(),
            display: own.name.clone(),
            hex: Some(own.tone.hex.clone()),
            rank: None,
            lifecycle: own.governed.lifecycle,
            brand: own.brand.clone(),
            counted_type: None,
        }),
        MasterKind::Size => workspace.peek::<Size>(&stream)?.existing().map(|own| ValueFacts {
            kind,
            value_id: own.size_id.clone(),
            value: own.value.clone(),
            display: own.display_name.clone(),
            hex: None,
            rank: Some(own.rank),
            lifecycle: own.governed.lifecycle,
            brand: None,
            counted_type: None,
        }),
        MasterKind::AttributeValue => {
            let Some(own) = workspace.peek::<AttributeValue>(&stream)?.existing() else { return Ok(None) };
            if let Some((code, limits)) = of {
                if own.kind != *code {
                    return Ok(None);
                }
                let source = format!("attribute value {id}");
                restrict(limits, source, &own.channels, &own.regions);
            }
            Some(ValueFacts {
                kind,
                value_id: own.attribute_value_id.clone(),
                value: own.value.clone(),
                display: own.display_name.clone(),
                hex: own.hex.clone(),
                rank: own.rank,
                lifecycle: own.governed.lifecycle,
                brand: None,
                counted_type: None,
            })
        }
    })
}

/// What of the master data that a variant refers to is not live.
pub(crate) fn broken(
    workspace: &mut Workspace<'_>,
    references: &ReferencesBound,
) -> Result<Vec<BrokenRule>, Halt> {
    let mut broken = Vec::new();
    if let Some(id) = &references.category_id {
        let state = workspace.peek::<Category>(&tree::stream_of(id))?.existing();
        let state = state.map(|category| category.governed.lifecycle);
        broken.extend(not_active(Rule::LiveCategory, "category", id, state));
    }
    for ValueReference { kind, value_id } in &references.values {
        let state = value(workspace, *kind, value_id, None)?.map(|value| value.lifecycle);
        broken.extend(not_active(Rule::LiveValues, kind.as_str(), value_id, state));
    }
    for id in types_of(workspace, references)? {
        let stream = stream::of("attribute_type", &id);
        let state = workspace.peek::<AttributeType>(&stream)?.existing().map(|of| of.governed.lifecycle);
        broken.extend(not_active(Rule::LiveValues, "attribute type", &id, state));
    }
    Ok(broken)
}

/// The registered types, by id, of all values that are referred to.
fn types_of(workspace: &mut Workspace<'_>, references: &ReferencesBound) -> Result<Vec<Token>, Halt> {
    let mut types = references.attribute_types.clone();
    for ValueReference { kind, value_id } in &references.values {
        if *kind != MasterKind::AttributeValue {
            continue;
        }
        let stream = stream_of(*kind, value_id);
        let Some(code) = workspace.peek::<AttributeValue>(&stream)?.existing().map(|own| own.kind.clone())
        else {
            continue;
        };
        let claim = stream::claim(What::AttributeType, code.as_str());
        types.extend(workspace.peek::<Claim>(&claim)?.owner.clone());
    }
    types.sort_unstable();
    types.dedup();
    Ok(types)
}

/// Where a variant may be sold at most.
pub(crate) fn limits(workspace: &mut Workspace<'_>, existing: &Place) -> Result<Vec<Limit>, Halt> {
    let mut facts = MasterFacts::default();
    require_limits(workspace, existing, &existing.brand, None)?;
    if let Some(id) = &existing.references.category_id {
        line(workspace, id, &mut facts)?;
    }
    of_brand(workspace, &existing.brand, &mut facts)?;
    of_attributes(workspace, existing, &mut facts)?;
    Ok(facts.limits)
}
