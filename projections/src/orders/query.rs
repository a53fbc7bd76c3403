//! Queries of the order view.

use std::ops::Bound;

use daybook_schemas::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{ORDERS, OrderStatus, OrderView};
use crate::model::StoreError;
use crate::rows::{IndexValue, ReadTransaction, Select, get_view, select_views};

/// Most orders of one page.
pub const MAX_PAGE: usize = 500;

/// Which orders, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrderFilter {
    pub customer_id: Option<String>,
    pub status: Option<OrderStatus>,
    /// Placed at this time or later.
    pub placed_from: Option<Timestamp>,
    /// Placed before this time.
    pub placed_before: Option<Timestamp>,
}

/// A page of orders, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct OrderPage {
    pub orders: Vec<OrderView>,
    /// Where the next page starts: give it as `after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A text that is no place in a list of orders.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no cursor of a list of orders: use the `cursor` of a page")]
pub struct CursorError(pub String);

/// Where a page goes on: the time of ordering and the id of the last order before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderCursor {
    placed_at: i64,
    order_id: String,
}

impl OrderCursor {
    /// Reads what [`OrderPage::next`] gave.
    pub fn parse(text: &str) -> Result<Self, CursorError> {
        let parts = text.split_once(':').and_then(|(micros, id)| Some((micros.parse().ok()?, id)));
        match parts {
            Some((placed_at, id)) if !id.is_empty() && id.len() <= 64 => {
                Ok(Self { placed_at, order_id: id.to_owned() })
            }
            _ => Err(CursorError(text.chars().take(80).collect())),
        }
    }
}

/// The order with this id.
pub fn by_id(rows: &dyn ReadTransaction, id: &str) -> Result<Option<OrderView>, StoreError> {
    get_view(rows, id)
}

/// Orders with this number: one, or in logs from before numbers were claimed perhaps several.
pub fn by_number(rows: &dyn ReadTransaction, number: &str) -> Result<OrderPage, StoreError> {
    let select = Select::all(&ORDERS, MAX_PAGE).equal("order_number", number);
    let found = select_views::<OrderView>(rows, &select)?;
    Ok(OrderPage { orders: found.into_iter().map(|(_, order)| order).collect(), next: None })
}

/// Orders that the filter selects, newest first.
pub fn list(
    rows: &dyn ReadTransaction,
    filter: &OrderFilter,
    after: Option<&OrderCursor>,
    limit: usize,
) -> Result<OrderPage, StoreError> {
    let limit = limit.clamp(1, MAX_PAGE);
    let mut select = Select::all(&ORDERS, limit + 1).order_by("placed_at").descending();
    if let Some(customer) = &filter.customer_id {
        select = select.equal("customer_id", customer.as_str());
    }
    if let Some(status) = filter.status {
        select = select.equal("status", status.as_str());
    }
    let from = filter.placed_from.map_or(Bound::Unbounded, |at| Bound::Included(at.as_micros().into()));
    let to = filter.placed_before.map_or(Bound::Unbounded, |at| Bound::Excluded(at.as_micros().into()));
    select = select.between("placed_at", from, to).after(after.map(|cursor| {
        vec![IndexValue::Integer(cursor.placed_at), IndexValue::from(cursor.order_id.as_str())]
    }));
    let mut found = select_views::<OrderView>(rows, &select)?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next =
        found.last().filter(|_| more).map(|(key, order)| format!("{}:{key}", order.placed_at.as_micros()));
    Ok(OrderPage { orders: found.into_iter().map(|(_, order)| order).collect(), next })
}
