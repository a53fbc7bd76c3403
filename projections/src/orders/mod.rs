//! The order view: one row an order, with all that became of it.
//!
//! Rows are keyed by order id; indexed by number, and by customer, status and time of ordering for lists, newest first.

pub mod query;
#[cfg(test)]
mod tests;
mod view;

use daybook_eventlog::RecordedEvent;
use daybook_schemas::AnyEvent;
use daybook_schemas::order::Event;

pub use view::{
    HistoryEntry, OrderLine, OrderStatus, OrderView, PaymentView, RefundView, ReturnState, ReturnView,
    ShipmentView,
};

use crate::model::{ProjectError, Projected};
use crate::rows::{Column, IndexValue, KeyKind, Projector, Rows, StoreSpec, TableSpec, View};
use crate::streams;

/// The projection's name.
pub const NAME: &str = "orders";

static ORDERS: TableSpec = TableSpec {
    name: "orders",
    key: KeyKind::Text,
    columns: &[
        Column::text("order_number"),
        Column::text("customer_id"),
        Column::text("status"),
        Column::integer("placed_at"),
    ],
    indexes: &[&["order_number"], &["customer_id", "placed_at"], &["status", "placed_at"], &["placed_at"]],
    dictionary: None,
};

impl View for OrderView {
    const TABLE: &'static TableSpec = &ORDERS;

    fn index(&self) -> Vec<IndexValue> {
        vec![
            self.order_number.as_str().into(),
            self.customer_id.as_ref().map(|id| id.as_str()).into(),
            self.status.as_str().into(),
            self.placed_at.as_micros().into(),
        ]
    }
}

static TABLES: &[&TableSpec] = &[&ORDERS];

/// Folds one event of an order.
fn fold(
    view: Option<OrderView>,
    event: &Event,
    recorded: &RecordedEvent,
) -> Result<Option<OrderView>, ProjectError> {
    streams::follows(NAME, recorded, view.as_ref().map_or(0, |view| view.revision))?;
    if let Event::Placed(placed) = event {
        return match view {
            None => Ok(Some(OrderView::new(placed, recorded))),
            Some(_) => Err(ProjectError::Rejected("an order is placed once".to_owned())),
        };
    }
    let mut view = view.ok_or_else(|| streams::nothing_there(recorded))?;
    view.apply(event, recorded)?;
    view.revision = recorded.revision;
    view.position = recorded.position;
    Ok(Some(view))
}

/// Fills the order view.
#[derive(Debug, Clone, Copy, Default)]
pub struct Orders;

impl Projector for Orders {
    fn spec(&self) -> StoreSpec {
        StoreSpec { name: NAME, version: 1, tables: TABLES }
    }

    fn handles(&self, event_type: &str) -> bool {
        event_type.starts_with("order.")
    }

    fn project(&self, event: &Projected, rows: &mut Rows<'_>) -> Result<(), ProjectError> {
        let AnyEvent::Order(order) = &event.event else {
            return Ok(());
        };
        let key = streams::key(&event.recorded, "order-")?;
        let fold = |view| fold(view, order, &event.recorded);
        if event.recorded.revision == 1 { rows.fold_first(key, fold) } else { rows.fold(key, fold) }
    }

    fn pass_over(&self, event: &RecordedEvent, rows: &mut Rows<'_>) -> Result<(), ProjectError> {
        rows.fold(streams::key(event, "order-")?, |view: Option<OrderView>| {
            let mut view = view.ok_or_else(|| streams::nothing_there(event))?;
            view.revision = event.revision;
            Ok(Some(view))
        })
    }
}
