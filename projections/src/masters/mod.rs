//! Master data as it is now: sizes, colours, attribute types, attribute values, categories; and where each slug leads, the
//! previous ones included; and which variants use which values.
//!
//! One row a record, keyed by its id, in a table an aggregate; a row of `slugs` for every slug ever given, keyed `color/navy`;
//! a row of `uses` for every value, category and type that a variant is bound to, keyed `color/navy/v1`, and one of `bindings` for every such variant. Variants that
//! name everything inline have none.

pub mod query;
mod records;
#[cfg(test)]
mod tests;
mod views;

use daybook_eventlog::RecordedEvent;
use daybook_schemas::variant::{Event as VariantEvent, ReferencesBound};
use daybook_schemas::{AnyEvent, Slug, attribute_type, attribute_value, category, color, size};

use crate::model::{ProjectError, Projected};
use crate::rows::{Projector, Rows, StoreSpec, TableSpec};
use crate::streams;

pub use records::{AttributeTypeView, AttributeValueView, CategoryView, ColorView, SizeView};
pub use views::{BindingView, Governance, MasterLock, SlugView, UseView};
use views::{Record, record};

/// The projection's name.
pub const NAME: &str = "masters";

static TABLES: &[&TableSpec] = &[
    &views::SIZES,
    &views::COLORS,
    &views::TYPES,
    &views::VALUES,
    &views::CATEGORIES,
    &views::SLUGS,
    &views::USES,
    &views::BINDINGS,
];

/// Fills the view of master data.
#[derive(Debug, Clone, Copy, Default)]
pub struct Masters;

impl Projector for Masters {
    fn spec(&self) -> StoreSpec {
        StoreSpec { name: NAME, version: 1, tables: TABLES }
    }

    fn handles(&self, event_type: &str) -> bool {
        if event_type.starts_with("variant.") {
            return matches!(event_type, "variant.references_bound" | "variant.archived");
        }
        ["size.", "color.", "attribute_type.", "attribute_value.", "category."]
            .iter()
            .any(|prefix| event_type.starts_with(prefix))
    }

    fn project(&self, event: &Projected, rows: &mut Rows<'_>) -> Result<(), ProjectError> {
        let recorded = &event.recorded;
        match &event.event {
            AnyEvent::Variant(VariantEvent::ReferencesBound(event)) => {
                bind(streams::key(recorded, "variant-")?, Some(event), rows)
            }
            AnyEvent::Variant(VariantEvent::Archived(_)) => {
                bind(streams::key(recorded, "variant-")?, None, rows)
            }
            AnyEvent::Size(event) => fold::<SizeView>(event, recorded, rows),
            AnyEvent::Color(event) => {
                fold::<ColorView>(event, recorded, rows)?;
                if let color::Event::Created(color::Created { slug, .. })
                | color::Event::SlugChanged(color::SlugChanged { slug, .. }) = event
                {
                    lead(slug, color::Event::AGGREGATE, recorded, rows)?;
                }
                Ok(())
            }
            AnyEvent::AttributeType(event) => fold::<AttributeTypeView>(event, recorded, rows),
            AnyEvent::AttributeValue(event) => fold::<AttributeValueView>(event, recorded, rows),
            AnyEvent::Category(event) => {
                fold::<CategoryView>(event, recorded, rows)?;
                if let category::Event::Created(category::Created { slug, .. })
                | category::Event::SlugChanged(category::SlugChanged { slug, .. }) = event
                {
                    lead(slug, category::Event::AGGREGATE, recorded, rows)?;
                }
                Ok(())
            }
            AnyEvent::Variant(_)
            | AnyEvent::Product(_)
            | AnyEvent::Inventory(_)
            | AnyEvent::Order(_)
            | AnyEvent::Credit(_)
            | AnyEvent::Claim(_)
            | AnyEvent::Sequence(_)
            | AnyEvent::Idempotency(_)
            | AnyEvent::Operations(_) => Ok(()),
        }
    }

    fn pass_over(&self, event: &RecordedEvent, rows: &mut Rows<'_>) -> Result<(), ProjectError> {
        match event.stream().split_once('-').map(|(aggregate, _)| aggregate) {
            Some(size::Event::AGGREGATE) => pass::<SizeView>(event, rows),
            Some(color::Event::AGGREGATE) => pass::<ColorView>(event, rows),
            Some(attribute_type::Event::AGGREGATE) => pass::<AttributeTypeView>(event, rows),
            Some(attribute_value::Event::AGGREGATE) => pass::<AttributeValueView>(event, rows),
            Some(category::Event::AGGREGATE) => pass::<CategoryView>(event, rows),
            _ => Ok(()),
        }
    }
}

fn fold<V: Record>(
    event: &V::Event,
    recorded: &RecordedEvent,
    rows: &mut Rows<'_>,
) -> Result<(), ProjectError> {
    let key = streams::key(recorded, V::PREFIX)?;
    let fold = |view| record::<V>(view, event, recorded);
    if recorded.revision == 1 { rows.fold_first(key, fold) } else { rows.fold(key, fold) }
}

fn pass<V: Record>(event: &RecordedEvent, rows: &mut Rows<'_>) -> Result<(), ProjectError> {
    rows.fold(streams::key(event, V::PREFIX)?, |view: Option<V>| {
        let mut view = view.ok_or_else(|| streams::nothing_there(event))?;
        view.governance().revision = event.revision;
        Ok(Some(view))
    })
}

/// The slug leads to the record from now on.
fn lead(
    slug: &Slug,
    aggregate: &str,
    recorded: &RecordedEvent,
    rows: &mut Rows<'_>,
) -> Result<(), ProjectError> {
    let prefix = format!("{aggregate}-");
    let id = streams::key(recorded, &prefix)?.to_owned();
    rows.put(&format!("{aggregate}/{slug}"), Some(SlugView { id }))?;
    Ok(())
}

/// The variant uses these values from now on, and no others.
fn bind(variant: &str, event: Option<&ReferencesBound>, rows: &mut Rows<'_>) -> Result<(), ProjectError> {
    let before = rows.get::<BindingView>(variant)?.cloned();
    for key in before.iter().flat_map(|binding| binding.uses(variant)) {
        rows.put::<UseView>(&key, None)?;
    }
    let binding = event.map(|event| BindingView {
        category_id: event.category_id.clone(),
        values: event.values.clone(),
        attribute_types: event.attribute_types.clone(),
    });
    for key in binding.iter().flat_map(|binding| binding.uses(variant)) {
        rows.put(&key, Some(UseView {}))?;
    }
    if before.is_some() || binding.is_some() {
        rows.put(variant, binding)?;
    }
    Ok(())
}
