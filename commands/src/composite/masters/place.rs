//! Which master data a variant is under, and that master data read at once: what is looked at alone is waited for alone.

use daybook_aggregates::attribute_value::AttributeValue;
use daybook_aggregates::claim::{Claim, What};
use daybook_aggregates::variant;
use daybook_eventlog::StreamId;
use daybook_schemas::variant::{AttributeSnapshot, MasterKind, ReferencesBound};
use daybook_schemas::{Label, ProductId, Token};

#[cfg(doc)]
use super::facts;
use super::facts::{brand_claim, product_stream, stream_of};
use super::{category_claim, tree};
use crate::workspace::{Halt, Workspace, stream};

/// What of a variant says which master data it is under: all but its prices, which may be many.
pub(crate) struct Place {
    pub(super) product_id: ProductId,
    pub(super) brand: Label,
    pub(super) category: Label,
    pub(super) attributes: Vec<AttributeSnapshot>,
    pub(crate) references: ReferencesBound,
}

impl Place {
    pub(crate) fn of(existing: &variant::Existing) -> Self {
        Self {
            product_id: existing.product_id.clone(),
            brand: existing.brand.clone(),
            category: existing.category.clone(),
            attributes: existing.attributes.clone(),
            references: existing.references.clone(),
        }
    }

    /// The records that it is bound to, and the product.
    fn streams(&self) -> Vec<StreamId> {
        let bound = &self.references;
        let values = bound.values.iter().map(|own| stream_of(own.kind, &own.value_id));
        let types = bound.attribute_types.iter().map(|id| stream::of("attribute_type", id));
        let category = bound.category_id.iter().map(tree::stream_of);
        values.chain(types).chain(category).chain([product_stream(&self.product_id)]).collect()
    }
}

/// Has all that [`facts::broken`] and [`facts::rules`] look at read at once, but for what is above the category: what is looked at alone is waited for alone, and
/// everything before it decided again.
pub(crate) fn require_references(workspace: &mut Workspace<'_>, place: &Place) -> Result<(), Halt> {
    workspace.require(&place.streams())?;
    let mut claims = Vec::new();
    for own in place.references.values.iter().filter(|own| own.kind == MasterKind::AttributeValue) {
        let value = workspace.peek::<AttributeValue>(&stream_of(own.kind, &own.value_id))?.existing();
        claims.extend(value.map(|value| stream::claim(What::AttributeType, value.kind.as_str())));
    }
    require_named(workspace, &claims, type_of_claim)
}

/// As [`require_references`], for [`facts::of_change`] and [`facts::limits`].
pub(super) fn require_limits(
    workspace: &mut Workspace<'_>,
    place: &Place,
    brand: &Label,
    category: Option<&Label>,
) -> Result<(), Halt> {
    let types = place.attributes.iter().map(|own| stream::claim(What::AttributeType, own.kind.as_str()));
    let types: Vec<_> = types.collect();
    let brand = [brand_claim(brand)];
    let category: Vec<_> = category.and_then(category_claim).into_iter().collect();
    let claims = types.iter().chain(&brand).chain(&category);
    workspace.require(place.streams().iter().chain(claims))?;
    require_named(workspace, &types, type_of_claim)?;
    require_named(workspace, &brand, |owner| stream::of(MasterKind::AttributeValue.as_str(), owner))?;
    require_named(workspace, &category, |owner| stream::of("category", owner))
}

fn type_of_claim(owner: &Token) -> StreamId {
    stream::of("attribute_type", owner)
}

/// Has the records that claims name read at once.
fn require_named(
    workspace: &mut Workspace<'_>,
    claims: &[StreamId],
    named: impl Fn(&Token) -> StreamId,
) -> Result<(), Halt> {
    workspace.require(claims)?;
    let mut records = Vec::with_capacity(claims.len());
    for claim in claims {
        records.extend(workspace.peek::<Claim>(claim)?.owner.as_ref().map(&named));
    }
    workspace.require(&records)
}
