//! What variants look up of master data, before they are decided: facts for [`daybook_aggregates::variant::masters`].

use daybook_aggregates::attribute_type::AttributeType;
use daybook_aggregates::attribute_value::{self, AttributeValue};
use daybook_aggregates::category::Category;
use daybook_aggregates::claim::{Claim, What};
use daybook_aggregates::color::Color;
use daybook_aggregates::lifecycle::{BrokenRule, Rule};
use daybook_aggregates::master::{Action as Govern, CountUsage};
use daybook_aggregates::product::Product;
use daybook_aggregates::size::{self, Size};
use daybook_aggregates::variant::masters::{
    CategoryFacts, Limit, Looked, MasterFacts, NamedRules, ValueFacts,
};
use daybook_aggregates::variant::{Create, NewAttribute, value_id};
use daybook_aggregates::{color, variant};
use daybook_eventlog::StreamId;
use daybook_schemas::attribute_type::DataType;
use daybook_schemas::master::Lifecycle;
use daybook_schemas::rules::CombinationRules;
use daybook_schemas::variant::{MasterKind, ReferencesBound, ValueReference};
use daybook_schemas::{CategoryId, Label, ProductId, Slug, Token, ValueId};

use super::{category_claim, claims, count_category, not_active, tree, type_stream};
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
    Active(DataType),
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
    streams.extend(brand_stream(&create.brand));
    streams.push(product_stream(&create.product_id));
    streams
}

fn brand_stream(brand: &Label) -> Option<StreamId> {
    let kind = Token::new(BRAND).expect("a constant that keeps the rule");
    Some(stream_of(MasterKind::AttributeValue, &value_id(&kind, brand).ok()?))
}

fn product_stream(id: &ProductId) -> StreamId {
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
    let rules = &workspace.peek::<Product>(&product_stream(product))?.rules;
    if *rules != CombinationRules::default() {
        facts.rules.push(NamedRules { source: format!("product {product}"), rules: rules.clone() });
    }
    if let Some(claim) = category_claim(category)
        && let Some(owner) = workspace.peek::<Claim>(&claim)?.owner.clone()
    {
        let id = CategoryId::new(owner.as_str()).expect("all ids have one alphabet");
        facts.category = line(workspace, &id, &mut facts)?;
    }
    if let Some(stream) = brand_stream(brand)
        && let Some(value) = workspace.peek::<AttributeValue>(&stream)?.existing()
        && value.kind.as_str() == BRAND
        && (!value.channels.is_empty() || !value.regions.is_empty())
    {
        let (channels, regions) = (value.channels.clone(), value.regions.clone());
        facts.limits.push(Limit { source: format!("brand {brand}"), channels, regions });
    }
    Ok(facts)
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
            Ok(TypeInForce::Active(of.data_type))
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
        TypeInForce::Active(DataType::Color) => (MasterKind::Color, true),
        TypeInForce::Active(DataType::Size) => (MasterKind::Size, true),
        TypeInForce::Active(DataType::Text | DataType::Number | DataType::Boolean) => {
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
        Some(value) => Looked::Found(Box::new(value)),
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
    Ok(broken)
}

/// Where a variant may be sold at most.
pub(crate) fn limits(
    workspace: &mut Workspace<'_>,
    existing: &variant::Existing,
) -> Result<Vec<Limit>, Halt> {
    let mut facts = MasterFacts::default();
    if let Some(id) = &existing.references.category_id {
        line(workspace, id, &mut facts)?;
    }
    let mut of = common(workspace, &existing.product_id, &existing.category, &existing.brand)?;
    of.limits.retain(|limit| limit.source.starts_with("brand "));
    facts.limits.append(&mut of.limits);
    for attribute in &existing.attributes {
        type_in_force(workspace, &attribute.kind, &mut facts.limits)?;
    }
    for ValueReference { kind, value_id } in &existing.references.values {
        let attribute = existing.attributes.iter().find(|attribute| attribute.value_id == *value_id);
        if let Some(attribute) = attribute {
            value(workspace, *kind, value_id, Some((&attribute.kind, &mut facts.limits)))?;
        }
    }
    Ok(facts.limits)
}

/// More or fewer variants use what is referred to.
pub(crate) fn count(
    workspace: &mut Workspace<'_>,
    references: &ReferencesBound,
    delta: i64,
) -> Result<(), Halt> {
    if let Some(id) = &references.category_id {
        count_category(workspace, id, delta)?;
    }
    references.values.iter().try_for_each(|reference| count_value(workspace, reference, delta))
}

/// More or fewer variants use a value.
pub(crate) fn count_value(
    workspace: &mut Workspace<'_>,
    reference: &ValueReference,
    delta: i64,
) -> Result<(), Halt> {
    let stream = stream_of(reference.kind, &reference.value_id);
    let count = Govern::CountUsage(CountUsage { delta });
    let decided = match reference.kind {
        MasterKind::Color => {
            let command = workspace.context.command(color::Action::Govern(count));
            workspace.decide::<Color>(&stream, &command)
        }
        MasterKind::Size => {
            let command = workspace.context.command(size::Action::Govern(count));
            workspace.decide::<Size>(&stream, &command)
        }
        MasterKind::AttributeValue => {
            let command = workspace.context.command(attribute_value::Action::Govern(count));
            workspace.decide::<AttributeValue>(&stream, &command)
        }
    };
    decided.map(|_| ())
}
