//! The catalogue view: one row a variant, with everything that reading a variant needs and nothing to join.
//!
//! Rows are keyed by variant id; indexed by SKU, configuration hash and product group. The least and greatest price of a product
//! group come from an index over the variants that are not archived and have a price.

pub mod query;
#[cfg(test)]
mod tests;

use daybook_eventlog::{Position, RecordedEvent};
use daybook_schemas::variant::{
    AttributeRefreshed, AttributeSnapshot, Created, DetailsChanged, Event, Lifecycle, LockScope, Locked,
    PriceChanged, PriceScheduled,
};
use daybook_schemas::{AnyEvent, Label, ProductId, ScheduleId, Sku, Text, Timestamp, Token, VariantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::amounts::{PriceView, micros};
use crate::model::{ProjectError, Projected};
use crate::rows::{Column, IndexValue, KeyKind, Projector, Rows, StoreSpec, TableSpec, View};
use crate::streams;

/// Price changes that a view remembers; all of them are in the stream.
pub const MAX_PRICE_HISTORY: usize = 50;

/// The projection's name.
pub const NAME: &str = "catalogue";

static VARIANTS: TableSpec = TableSpec {
    name: "variants",
    key: KeyKind::Text,
    columns: &[
        Column::text("sku"),
        Column::text("config_hash"),
        Column::text("product_group"),
        Column::text("priced_group"),
        Column::text("currency"),
        Column::integer("price_micros"),
    ],
    indexes: &[&["sku"], &["config_hash"], &["product_group"], &["priced_group", "currency", "price_micros"]],
};

static TABLES: &[&TableSpec] = &[&VARIANTS];

/// A variant as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VariantView {
    pub variant_id: VariantId,
    pub product_id: ProductId,
    pub product_group: Label,
    pub sku: Sku,
    pub name: Label,
    pub brand: Label,
    pub category: Label,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Text>,
    pub attributes: Vec<AttributeSnapshot>,
    pub config_hash: String,
    pub config_signature: String,
    /// Where it is sold; empty: everywhere.
    pub channels: Vec<Token>,
    /// Where it is sold; empty: everywhere.
    pub regions: Vec<Token>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceView>,
    /// Oldest first, the current price last; the latest 50.
    pub price_history: Vec<PriceRecord>,
    /// Prices that are to take effect, by time.
    pub schedules: Vec<ScheduleView>,
    pub lifecycle: Lifecycle,
    /// Whether customers may buy it.
    pub sellable: bool,
    /// At most one: a lock replaces the one before.
    pub locks: Vec<LockView>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub revision: u64,
    #[serde(with = "crate::position_text")]
    #[schemars(with = "String")]
    pub position: Position,
}

/// A price that stood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PriceRecord {
    pub price: PriceView,
    pub effective_from: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_to: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_id: Option<ScheduleId>,
}

/// A price that is to take effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleView {
    pub schedule_id: ScheduleId,
    pub price: PriceView,
    pub effective_from: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_to: Option<Timestamp>,
    pub reason: Text,
}

/// A governance lock. One whose time has run out locks nothing any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LockView {
    pub scopes: Vec<LockScope>,
    pub reason: Text,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_by: Option<Label>,
    pub locked_at: Timestamp,
}

impl View for VariantView {
    const TABLE: &'static TableSpec = &VARIANTS;

    fn index(&self) -> Vec<IndexValue> {
        let priced = self.price.filter(|_| self.lifecycle != Lifecycle::Archived);
        vec![
            self.sku.as_str().into(),
            self.config_hash.as_str().into(),
            self.product_group.as_str().into(),
            priced.map(|_| self.product_group.as_str()).into(),
            priced.as_ref().map(|price| price.currency.as_str()).into(),
            priced.map(|price| micros(price.amount)).into(),
        ]
    }
}

impl VariantView {
    fn new(event: &Created, recorded: &RecordedEvent) -> Self {
        let price = event.price.map(PriceView::from);
        let history = price.map(|price| PriceRecord {
            price,
            effective_from: event.created_at,
            effective_to: None,
            reason: None,
            schedule_id: None,
        });
        Self {
            variant_id: event.variant_id.clone(),
            product_id: event.product_id.clone(),
            product_group: event.product_group.clone(),
            sku: event.sku.clone(),
            name: event.name.clone(),
            brand: event.brand.clone(),
            category: event.category.clone(),
            description: event.description.clone(),
            attributes: event.attributes.clone(),
            config_hash: event.config_hash.clone(),
            config_signature: event.config_signature.clone(),
            channels: event.channels.clone(),
            regions: event.regions.clone(),
            price,
            price_history: history.into_iter().collect(),
            schedules: Vec::new(),
            lifecycle: Lifecycle::Draft,
            sellable: false,
            locks: Vec::new(),
            created_at: event.created_at,
            updated_at: Timestamp::from_micros(recorded.recorded_at),
            revision: recorded.revision,
            position: recorded.position,
        }
    }

    fn change_price(&mut self, event: &PriceChanged) {
        let price = PriceView::from(event.price);
        self.price = Some(price);
        if let Some(taken) = &event.schedule_id {
            self.schedules.retain(|schedule| schedule.schedule_id != *taken);
        }
        if self.price_history.len() == MAX_PRICE_HISTORY {
            self.price_history.remove(0);
        }
        self.price_history.push(PriceRecord {
            price,
            effective_from: event.effective_from,
            effective_to: event.effective_to,
            reason: Some(event.reason.clone()),
            schedule_id: event.schedule_id.clone(),
        });
    }

    fn schedule_price(&mut self, event: &PriceScheduled) {
        self.schedules.push(ScheduleView {
            schedule_id: event.schedule_id.clone(),
            price: event.price.into(),
            effective_from: event.effective_from,
            effective_to: event.effective_to,
            reason: event.reason.clone(),
        });
        self.schedules.sort_by(|a, b| {
            a.effective_from.cmp(&b.effective_from).then_with(|| a.schedule_id.cmp(&b.schedule_id))
        });
    }

    fn change_details(&mut self, event: &DetailsChanged) {
        set(&mut self.name, event.name.as_ref());
        set(&mut self.brand, event.brand.as_ref());
        set(&mut self.category, event.category.as_ref());
        set(&mut self.product_group, event.product_group.as_ref());
        self.description = event.description.clone().or_else(|| self.description.take());
    }

    fn lock(&mut self, event: &Locked, recorded: &RecordedEvent) {
        self.locks = vec![LockView {
            scopes: event.scopes.clone(),
            reason: event.reason.clone(),
            until: event.until,
            locked_by: event.locked_by.clone().or_else(|| streams::actor(recorded)),
            locked_at: Timestamp::from_micros(recorded.recorded_at),
        }];
    }

    fn enter(&mut self, lifecycle: Lifecycle) {
        self.lifecycle = lifecycle;
        self.sellable = lifecycle.is_sellable();
    }
}

fn refresh(attributes: &mut [AttributeSnapshot], event: &AttributeRefreshed) {
    for attribute in attributes.iter_mut().filter(|own| own.value_id == event.value_id) {
        attribute.display = event.display.clone();
        attribute.hex.clone_from(&event.hex);
        attribute.rank = event.rank;
    }
}

fn set(field: &mut Label, value: Option<&Label>) {
    if let Some(value) = value {
        *field = value.clone();
    }
}

/// Folds one event of a variant.
fn fold(
    view: Option<VariantView>,
    event: &Event,
    recorded: &RecordedEvent,
) -> Result<Option<VariantView>, ProjectError> {
    streams::follows(NAME, recorded, view.as_ref().map_or(0, |view| view.revision))?;
    if let Event::Created(created) = event {
        return match view {
            None => Ok(Some(VariantView::new(created, recorded))),
            Some(_) => Err(ProjectError::Rejected("a variant is created once".to_owned())),
        };
    }
    let mut view = view.ok_or_else(|| streams::nothing_there(recorded))?;
    match event {
        Event::Created(_) => {}
        Event::PriceChanged(event) => view.change_price(event),
        Event::PriceScheduled(event) => view.schedule_price(event),
        Event::PriceScheduleCancelled(event) => {
            view.schedules.retain(|schedule| schedule.schedule_id != event.schedule_id);
        }
        Event::DetailsChanged(event) => view.change_details(event),
        Event::SegmentationChanged(event) => {
            view.channels.clone_from(&event.channels);
            view.regions.clone_from(&event.regions);
        }
        Event::Locked(event) => view.lock(event, recorded),
        Event::Unlocked(_) => view.locks.clear(),
        Event::Submitted(_) => view.enter(Lifecycle::PendingApproval),
        Event::Rejected(_) => view.enter(Lifecycle::Draft),
        Event::Activated(_) | Event::Reactivated(_) => view.enter(Lifecycle::Active),
        Event::Matured(_) => view.enter(Lifecycle::Mature),
        Event::Cleared(_) => view.enter(Lifecycle::Clearance),
        Event::Discontinued(_) => view.enter(Lifecycle::Discontinued),
        Event::Archived(_) => view.enter(Lifecycle::Archived),
        Event::ReferencesBound(_) => {}
        Event::AttributeRefreshed(event) => refresh(&mut view.attributes, event),
    }
    view.updated_at = Timestamp::from_micros(recorded.recorded_at);
    view.revision = recorded.revision;
    view.position = recorded.position;
    Ok(Some(view))
}

/// Fills the catalogue view.
#[derive(Debug, Clone, Copy, Default)]
pub struct Catalogue;

impl Projector for Catalogue {
    fn spec(&self) -> StoreSpec {
        StoreSpec { name: NAME, version: 1, tables: TABLES }
    }

    fn handles(&self, event_type: &str) -> bool {
        event_type.starts_with("variant.")
    }

    fn project(&self, event: &Projected, rows: &mut Rows<'_>) -> Result<(), ProjectError> {
        let AnyEvent::Variant(variant) = &event.event else {
            return Ok(());
        };
        let key = streams::key(&event.recorded, "variant-")?;
        let fold = |view| fold(view, variant, &event.recorded);
        if event.recorded.revision == 1 { rows.fold_first(key, fold) } else { rows.fold(key, fold) }
    }

    fn pass_over(&self, event: &RecordedEvent, rows: &mut Rows<'_>) -> Result<(), ProjectError> {
        rows.fold(streams::key(event, "variant-")?, |view: Option<VariantView>| {
            let mut view = view.ok_or_else(|| streams::nothing_there(event))?;
            view.revision = event.revision;
            Ok(Some(view))
        })
    }
}
