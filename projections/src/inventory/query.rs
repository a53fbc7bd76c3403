//! Queries of the inventory summary.

use daybook_eventlog::Position;
use daybook_schemas::{LocationId, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use super::{LocationRow, STOCK, StockRow};
use crate::model::StoreError;
use crate::rows::{ReadTransaction, Select, get_view, select_views};

/// Most variants of one page.
pub const MAX_PAGE: usize = 1_000;

/// The stock of a variant at a time. All figures are units and sums over its locations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct InventorySummary {
    pub variant_id: String,
    pub on_hand: i64,
    /// In holds that have not run out.
    pub reserved: i64,
    /// What can be reserved now without backorder.
    pub available: i64,
    pub damaged: i64,
    pub incoming: i64,
    /// Promised beyond what is there.
    pub backordered: i64,
    pub locations: Vec<LocationSummary>,
    /// Whether available units are at or below the reorder point.
    pub low_stock: bool,
    pub reorder_point: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reorder_quantity: Option<u32>,
    pub backorder_limit: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_movement: Option<Timestamp>,
    pub revision: u64,
    #[serde(with = "crate::position_text")]
    #[schemars(with = "String")]
    pub position: Position,
}

/// The stock at one location.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LocationSummary {
    pub location: LocationId,
    pub on_hand: i64,
    pub reserved: i64,
    pub available: i64,
    pub damaged: i64,
    pub incoming: i64,
    pub safety_stock: u32,
    pub backordered: i64,
}

/// A page of summaries in order of the variants' ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct InventoryPage {
    pub items: Vec<InventorySummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl LocationSummary {
    fn new(row: &LocationRow, now: Timestamp) -> Self {
        let reserved = row.reserved_at(now);
        let free = row.on_hand.saturating_sub(reserved).saturating_sub(i64::from(row.safety_stock));
        // Goods that left without having been there are owed like those reserved.
        let supply = if row.on_hand < 0 {
            row.on_hand
        } else {
            row.on_hand.saturating_sub(i64::from(row.safety_stock)).max(0)
        };
        Self {
            location: row.location.clone(),
            on_hand: row.on_hand,
            reserved,
            available: free.max(0),
            damaged: row.damaged,
            incoming: row.incoming,
            safety_stock: row.safety_stock,
            backordered: reserved.saturating_sub(supply).max(0),
        }
    }
}

impl InventorySummary {
    fn new(variant_id: String, row: &StockRow, now: Timestamp) -> Self {
        let locations: Vec<LocationSummary> =
            row.locations.iter().map(|location| LocationSummary::new(location, now)).collect();
        let sum =
            |figure: fn(&LocationSummary) -> i64| locations.iter().map(figure).fold(0, i64::saturating_add);
        let available = sum(|location| location.available);
        Self {
            variant_id,
            on_hand: sum(|location| location.on_hand),
            reserved: sum(|location| location.reserved),
            available,
            damaged: sum(|location| location.damaged),
            incoming: sum(|location| location.incoming),
            backordered: sum(|location| location.backordered),
            low_stock: row.reorder_point > 0 && available <= i64::from(row.reorder_point),
            reorder_point: row.reorder_point,
            reorder_quantity: row.reorder_quantity,
            backorder_limit: row.backorder_limit,
            last_movement: row.last_movement,
            revision: row.revision,
            position: row.position,
            locations,
        }
    }
}

/// The stock of a variant as of `now`: holds that ran out by then do not count.
pub fn by_variant(
    rows: &dyn ReadTransaction,
    variant_id: &str,
    now: Timestamp,
) -> Result<Option<InventorySummary>, StoreError> {
    let row = get_view::<StockRow>(rows, variant_id)?;
    Ok(row.map(|row| InventorySummary::new(variant_id.to_owned(), &row, now)))
}

/// The stock of all variants.
pub fn list(
    rows: &dyn ReadTransaction,
    after: Option<&str>,
    limit: usize,
    now: Timestamp,
) -> Result<InventoryPage, StoreError> {
    let limit = limit.clamp(1, MAX_PAGE);
    let select = Select::all(&STOCK, limit + 1).after(after.map(|key| vec![key.into()]));
    let mut found = select_views::<StockRow>(rows, &select)?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|(key, _)| key.clone());
    let items = found.into_iter().map(|(key, row)| InventorySummary::new(key, &row, now)).collect();
    Ok(InventoryPage { items, next })
}
