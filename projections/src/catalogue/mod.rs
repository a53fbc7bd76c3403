//! The catalogue view: one row a variant, with everything that reading a variant needs and nothing to join.
//!
//! Rows are keyed by variant id; indexed by SKU, configuration hash and product group. The least and greatest price of a product
//! group come from an index over the variants that are not archived and have a price. The prices of lists have rows of their own.

mod lists;
#[cfg(test)]
mod price_tests;
mod prices;
pub mod query;
#[cfg(test)]
mod tests;
mod timeline;

use daybook_eventlog::{Position, RecordedEvent};
use daybook_schemas::prices::{Changed, PriceList, Prices, Schedule};
use daybook_schemas::variant::{
    AttributeRefreshed, AttributeSnapshot, Created, DetailsChanged, Event, Lifecycle, LockScope, Locked,
};
use daybook_schemas::{AnyEvent, Label, ProductId, Sku, Text, Timestamp, Token, VariantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::amounts::{PriceView, micros};
use crate::model::{ProjectError, Projected};
use crate::rows::{Column, IndexValue, KeyKind, Projector, Rows, StoreSpec, TableSpec, View};
use crate::streams;

use prices::{Course, LIST_PRICES, PAST_PRICES, course_key};
pub use prices::{ListView, MAX_PRICE_HISTORY, PriceRecord, ScheduleView};

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
    dictionary: Some(include_bytes!("variants.zdict")),
};

/// Of a configuration's hash so much is indexed: 128 bits, which no two configurations share.
const INDEXED_HASH: usize = 32;

/// The part of a configuration's hash that the index holds; of what is no such hash all of it.
fn indexed_hash(hash: &str) -> &str {
    hash.get(..INDEXED_HASH).unwrap_or(hash)
}

static TABLES: &[&TableSpec] = &[&VARIANTS, &LIST_PRICES, &PAST_PRICES];

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
    /// Lists that have, had or will have a price of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub price_lists: Vec<PriceList>,
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
            indexed_hash(&self.config_hash).into(),
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
            price: Some(price),
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
            price_lists: Vec::new(),
            lifecycle: Lifecycle::Draft,
            sellable: false,
            locks: Vec::new(),
            created_at: event.created_at,
            updated_at: Timestamp::from_micros(recorded.recorded_at),
            revision: recorded.revision,
            position: recorded.position,
        }
    }

    fn course(&mut self) -> Course<'_> {
        Course { price: &mut self.price, history: &mut self.price_history, schedules: &mut self.schedules }
    }

    /// What the row says of the variant's own price, to be asked what holds when.
    #[must_use]
    pub fn prices(&self) -> Prices {
        prices::prices(self.price, &self.price_history, &self.schedules)
    }

    fn know(&mut self, list: &PriceList) {
        if let Err(at) = self.price_lists.binary_search(list) {
            self.price_lists.insert(at, list.clone());
        }
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
        if lifecycle == Lifecycle::Archived {
            self.schedules.clear();
        }
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

/// Folds one event of a variant. `past` gets a price of its own that the row has no room for any more.
fn fold(
    view: Option<VariantView>,
    event: &Event,
    recorded: &RecordedEvent,
    past: &mut Option<PriceRecord>,
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
        Event::PriceChanged(event) => *past = view.course().change(Changed::from(event)),
        Event::PriceScheduled(event) => view.course().schedule(Schedule::from(event)),
        Event::PriceScheduleCancelled(event) => view.course().cancel(&event.schedule_id),
        Event::ListPriceChanged(event) => view.know(&event.list),
        Event::ListPriceScheduled(event) => view.know(&event.list),
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
        StoreSpec { name: NAME, version: 3, tables: TABLES }
    }

    fn handles(&self, event_type: &str) -> bool {
        event_type.starts_with("variant.")
    }

    fn project(&self, event: &Projected, rows: &mut Rows<'_>) -> Result<(), ProjectError> {
        let AnyEvent::Variant(variant) = &event.event else {
            return Ok(());
        };
        let key = streams::key(&event.recorded, "variant-")?;
        let mut past = None;
        let fold = |view| fold(view, variant, &event.recorded, &mut past);
        if event.recorded.revision == 1 {
            return rows.fold_first(key, fold);
        }
        rows.fold(key, fold)?;
        lists::keep_past(&course_key(key, None), past, &event.recorded, rows)?;
        lists::follow(key, variant, &event.recorded, rows)
    }

    fn pass_over(&self, event: &RecordedEvent, rows: &mut Rows<'_>) -> Result<(), ProjectError> {
        rows.fold(streams::key(event, "variant-")?, |view: Option<VariantView>| {
            let mut view = view.ok_or_else(|| streams::nothing_there(event))?;
            view.revision = event.revision;
            Ok(Some(view))
        })
    }
}
