//! The inventory summary: one row a variant, with the stock at each location.
//!
//! **Holds run out by themselves.** A hold stops counting at its deadline, though the event that puts this on record comes
//! later. So a row keeps, for each location, how much is held until when, and a query at a time takes off what has run out by
//! then. Deadlines are rounded up to 100 ms, so that a variant with thousands of holds keeps a few hundred numbers.
//!
//! `available` of a location is on hand − reserved − safety stock, and 0 when that is below zero, as it is after a
//! backorder; `backordered` says how much was promised beyond what is there. The variant's figures are the sums.

mod stock;
#[cfg(test)]
mod tests;

pub mod query;

use daybook_eventlog::{Position, RecordedEvent};
use daybook_schemas::inventory::{Event, PolicyChanged};
use daybook_schemas::{AnyEvent, Timestamp};
use serde::{Deserialize, Serialize};

pub use stock::{HeldUntil, LocationRow};

use crate::model::{ProjectError, Projected};
use crate::rows::{Projector, Rows, StoreSpec, TableSpec, View};
use crate::streams;

/// The projection's name.
pub const NAME: &str = "inventory";

static STOCK: TableSpec = TableSpec::plain("stock");

static TABLES: &[&TableSpec] = &[&STOCK];

/// The stock of a variant as stored. Queries give [`query::InventorySummary`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StockRow {
    /// `default` first, then by name.
    pub locations: Vec<LocationRow>,
    /// Available units at or below which stock is low; 0: no signal.
    pub reorder_point: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reorder_quantity: Option<u32>,
    pub backorder_limit: u32,
    /// When a quantity last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_movement: Option<Timestamp>,
    pub revision: u64,
    #[serde(with = "crate::position_text")]
    pub position: Position,
}

impl View for StockRow {
    const TABLE: &'static TableSpec = &STOCK;
}

impl StockRow {
    fn change_policy(&mut self, event: &PolicyChanged) {
        if let Some(safety) = &event.safety_stock {
            stock::location(&mut self.locations, &safety.location).safety_stock = safety.quantity;
        }
        self.reorder_point = event.reorder_point.unwrap_or(self.reorder_point);
        self.reorder_quantity = event.reorder_quantity.or(self.reorder_quantity);
        self.backorder_limit = event.backorder_limit.unwrap_or(self.backorder_limit);
    }
}

/// Folds one event of a variant's stock.
fn fold(
    row: Option<StockRow>,
    event: &Event,
    recorded: &RecordedEvent,
) -> Result<Option<StockRow>, ProjectError> {
    let mut row = row.unwrap_or_default();
    streams::follows(NAME, recorded, row.revision)?;
    if let Event::PolicyChanged(policy) = event {
        row.change_policy(policy);
    } else if stock::move_goods(&mut row.locations, event) {
        row.last_movement = Some(Timestamp::from_micros(recorded.recorded_at));
    }
    row.revision = recorded.revision;
    row.position = recorded.position;
    Ok(Some(row))
}

/// Fills the inventory summary.
#[derive(Debug, Clone, Copy, Default)]
pub struct Inventory;

impl Projector for Inventory {
    fn spec(&self) -> StoreSpec {
        StoreSpec { name: NAME, version: 1, tables: TABLES }
    }

    fn handles(&self, event_type: &str) -> bool {
        event_type.starts_with("inventory.")
    }

    fn project(&self, event: &Projected, rows: &mut Rows<'_>) -> Result<(), ProjectError> {
        let AnyEvent::Inventory(inventory) = &event.event else {
            return Ok(());
        };
        let key = streams::key(&event.recorded, "inventory-")?;
        let fold = |row| fold(row, inventory, &event.recorded);
        if event.recorded.revision == 1 { rows.fold_first(key, fold) } else { rows.fold(key, fold) }
    }

    fn pass_over(&self, event: &RecordedEvent, rows: &mut Rows<'_>) -> Result<(), ProjectError> {
        rows.fold(streams::key(event, "inventory-")?, |row: Option<StockRow>| {
            let mut row = row.unwrap_or_default();
            row.revision = event.revision;
            row.position = event.position;
            Ok(Some(row))
        })
    }
}
