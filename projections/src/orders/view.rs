//! An order as clients see it, and what each event changes of it.

use daybook_eventlog::{Position, RecordedEvent};
use daybook_schemas::order::{
    Address, Discount, Event, Line, LineQuantity, LineRefund, Placed, Refunded, ReturnRequested, Shipped,
};
use daybook_schemas::variant::AttributeSnapshot;
use daybook_schemas::{
    CustomerId, Label, Money, OrderId, Quantity, RefundId, ReturnId, ShipmentId, Sku, Text, Timestamp, Token,
    VariantId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::ProjectError;
use crate::streams;

/// Where an order stands. What became of its goods after delivery shows in its returns and refunds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    Placed,
    Reserved,
    Paid,
    PaymentFailed,
    PartiallyShipped,
    Shipped,
    Delivered,
    Completed,
    Cancelled,
}

impl OrderStatus {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Placed,
        Self::Reserved,
        Self::Paid,
        Self::PaymentFailed,
        Self::PartiallyShipped,
        Self::Shipped,
        Self::Delivered,
        Self::Completed,
        Self::Cancelled,
    ];

    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Reserved => "reserved",
            Self::Paid => "paid",
            Self::PaymentFailed => "payment_failed",
            Self::PartiallyShipped => "partially_shipped",
            Self::Shipped => "shipped",
            Self::Delivered => "delivered",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

/// An order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderView {
    pub order_id: OrderId,
    pub order_number: Label,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    /// Whether nobody is known to have placed it.
    pub guest: bool,
    pub status: OrderStatus,
    pub total: Money,
    pub lines: Vec<OrderLine>,
    pub placed_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipping_address: Option<Address>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billing_address: Option<Address>,
    pub payment_method: Token,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<PaymentView>,
    pub shipments: Vec<ShipmentView>,
    pub returns: Vec<ReturnView>,
    pub refunds: Vec<RefundView>,
    /// The sum of all refunds.
    pub refunded: Money,
    /// Each status with the time it began and who brought it about.
    pub history: Vec<HistoryEntry>,
    pub revision: u64,
    #[serde(with = "crate::position_text")]
    #[schemars(with = "String")]
    pub position: Position,
}

/// An item as it was sold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderLine {
    pub line_id: u32,
    pub variant_id: VariantId,
    pub sku: Sku,
    pub name: Label,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brand: Option<Label>,
    pub category: Label,
    pub attributes: Vec<AttributeSnapshot>,
    pub quantity: Quantity,
    pub unit_price: Money,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare_at: Option<Money>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discounts: Vec<Discount>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax: Option<Money>,
    pub total: Money,
    pub stocked: bool,
    /// Units that left.
    pub shipped: u64,
    /// Units that are coming back, or did.
    pub returned: u64,
    pub refunded: Money,
}

/// What was paid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentView {
    pub amount: Money,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Label>,
    pub paid_at: Timestamp,
}

/// A parcel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShipmentView {
    pub shipment_id: ShipmentId,
    pub lines: Vec<LineQuantity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carrier: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking_number: Option<Label>,
    pub shipped_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Timestamp>,
}

/// How far a return is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReturnState {
    Requested,
    Received,
    /// Refunded, whole or in part.
    Refunded,
}

/// Goods on their way back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReturnView {
    pub return_id: ReturnId,
    pub status: ReturnState,
    pub lines: Vec<LineQuantity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
    pub requested_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restocked: Option<bool>,
}

/// Money that went back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RefundView {
    pub refund_id: RefundId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_id: Option<ReturnId>,
    pub lines: Vec<LineRefund>,
    pub amount: Money,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
    pub refunded_at: Timestamp,
}

/// A status and when it began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryEntry {
    pub status: OrderStatus,
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Label>,
}

fn new_line(line: &Line) -> OrderLine {
    OrderLine {
        line_id: line.line_id,
        variant_id: line.variant_id.clone(),
        sku: line.sku.clone(),
        name: line.name.clone(),
        brand: line.brand.clone(),
        category: line.category.clone(),
        attributes: line.attributes.clone(),
        quantity: line.quantity,
        unit_price: line.unit_price,
        compare_at: line.compare_at,
        discounts: line.discounts.clone(),
        tax: line.tax,
        total: line.total,
        stocked: line.stocked,
        shipped: 0,
        returned: 0,
        refunded: Money::zero(line.total.currency()),
    }
}

impl OrderView {
    pub(super) fn new(event: &Placed, recorded: &RecordedEvent) -> Self {
        Self {
            order_id: event.order_id.clone(),
            order_number: event.order_number.clone(),
            customer_id: event.customer_id.clone(),
            guest: event.customer_id.is_none(),
            status: OrderStatus::Placed,
            total: event.total,
            lines: event.lines.iter().map(new_line).collect(),
            placed_at: event.placed_at,
            shipping_address: event.shipping_address.clone(),
            billing_address: event.billing_address.clone(),
            payment_method: event.payment_method.clone(),
            payment: None,
            shipments: Vec::new(),
            returns: Vec::new(),
            refunds: Vec::new(),
            refunded: Money::zero(event.total.currency()),
            history: vec![HistoryEntry {
                status: OrderStatus::Placed,
                at: event.placed_at,
                actor: streams::actor(recorded),
            }],
            revision: recorded.revision,
            position: recorded.position,
        }
    }

    fn enter(&mut self, status: OrderStatus, at: Timestamp, recorded: &RecordedEvent) {
        if self.status != status {
            self.status = status;
            self.history.push(HistoryEntry { status, at, actor: streams::actor(recorded) });
        }
    }

    fn line(&mut self, line_id: u32) -> Result<&mut OrderLine, ProjectError> {
        let found = self.lines.iter_mut().find(|line| line.line_id == line_id);
        found.ok_or_else(|| ProjectError::Rejected(format!("the order has no line {line_id}")))
    }

    /// Applies any event but the first.
    pub(super) fn apply(&mut self, event: &Event, recorded: &RecordedEvent) -> Result<(), ProjectError> {
        match event {
            Event::Placed(_) => {}
            Event::Reserved(_) => {
                // The event has no time of its own: holds are taken with the order, or anew after a failed payment.
                let at = self.history.last().map_or(self.placed_at, |entry| entry.at);
                self.enter(OrderStatus::Reserved, at, recorded);
            }
            Event::Paid(e) => {
                let reference = e.payment_reference.clone();
                self.payment = Some(PaymentView { amount: e.amount, reference, paid_at: e.paid_at });
                self.enter(OrderStatus::Paid, e.paid_at, recorded);
            }
            Event::PaymentFailed(e) => self.enter(OrderStatus::PaymentFailed, e.failed_at, recorded),
            Event::Shipped(e) => self.shipped(e, recorded)?,
            Event::Delivered(e) => {
                for shipment in self.shipments.iter_mut().filter(|s| s.shipment_id == e.shipment_id) {
                    shipment.delivered_at = Some(e.delivered_at);
                }
                let all = self.shipments.iter().all(|shipment| shipment.delivered_at.is_some());
                if self.status == OrderStatus::Shipped && all {
                    self.enter(OrderStatus::Delivered, e.delivered_at, recorded);
                }
            }
            Event::Completed(e) => self.enter(OrderStatus::Completed, e.completed_at, recorded),
            Event::Cancelled(e) => self.enter(OrderStatus::Cancelled, e.cancelled_at, recorded),
            Event::ReturnRequested(e) => self.return_requested(e)?,
            Event::ReturnReceived(e) => {
                for returned in self.returns.iter_mut().filter(|r| r.return_id == e.return_id) {
                    returned.status = ReturnState::Received;
                    returned.received_at = Some(e.received_at);
                    returned.restocked = Some(e.restocked);
                }
            }
            Event::Refunded(e) => self.refund(e)?,
        }
        Ok(())
    }

    fn shipped(&mut self, event: &Shipped, recorded: &RecordedEvent) -> Result<(), ProjectError> {
        for part in &event.lines {
            self.line(part.line_id)?.shipped += u64::from(part.quantity.get());
        }
        self.shipments.push(ShipmentView {
            shipment_id: event.shipment_id.clone(),
            lines: event.lines.clone(),
            carrier: event.carrier.clone(),
            tracking_number: event.tracking_number.clone(),
            shipped_at: event.shipped_at,
            delivered_at: None,
        });
        let all = self.lines.iter().all(|line| line.shipped >= u64::from(line.quantity.get()));
        let status = if all { OrderStatus::Shipped } else { OrderStatus::PartiallyShipped };
        self.enter(status, event.shipped_at, recorded);
        Ok(())
    }

    fn return_requested(&mut self, event: &ReturnRequested) -> Result<(), ProjectError> {
        for part in &event.lines {
            self.line(part.line_id)?.returned += u64::from(part.quantity.get());
        }
        self.returns.push(ReturnView {
            return_id: event.return_id.clone(),
            status: ReturnState::Requested,
            lines: event.lines.clone(),
            reason: event.reason.clone(),
            requested_at: event.requested_at,
            received_at: None,
            restocked: None,
        });
        Ok(())
    }

    fn refund(&mut self, event: &Refunded) -> Result<(), ProjectError> {
        let rejected = |error: daybook_schemas::MoneyError| ProjectError::Rejected(error.to_string());
        for refund in &event.lines {
            let line = self.line(refund.line_id)?;
            line.refunded = line.refunded.plus(refund.amount).map_err(rejected)?;
        }
        self.refunded = self.refunded.plus(event.amount).map_err(rejected)?;
        for returned in self.returns.iter_mut().filter(|r| Some(&r.return_id) == event.return_id.as_ref()) {
            returned.status = ReturnState::Refunded;
        }
        self.refunds.push(RefundView {
            refund_id: event.refund_id.clone(),
            return_id: event.return_id.clone(),
            lines: event.lines.clone(),
            amount: event.amount,
            reason: event.reason.clone(),
            refunded_at: event.refunded_at,
        });
        Ok(())
    }
}
