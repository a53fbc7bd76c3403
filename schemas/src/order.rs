//! Events of an order (`order-{id}`): item snapshots, payment, fulfilment, returns.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::macros::events;
use crate::variant::AttributeSnapshot;
use crate::{
    CustomerId, Label, Money, OrderId, Quantity, RefundId, ReservationId, ReturnId, ShipmentId, Sku, Text,
    Timestamp, Token, VariantId,
};

/// A postal address. Personal data, but for the country.
// Clients spell these fields in several ways; what is written is always the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "street", alias = "address_line1")]
    pub line1: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "address_line2")]
    pub line2: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "postcode", alias = "zip")]
    pub postal_code: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "state")]
    pub region: Option<Label>,
    pub country: Label,
}

/// An item of an order: a complete copy of the variant as it was sold, with no live reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// 1 for the first line of the order.
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
    /// The crossed-out price at the time of ordering.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare_at: Option<Money>,
    /// Deductions from quantity × unit price, each with its reason; amounts are positive.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discounts: Vec<Discount>,
    /// Tax on top, already rounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax: Option<Money>,
    /// quantity × unit price − discounts + tax, exact.
    pub total: Money,
    /// Whether the line takes goods from stock (postage, fees and the like do not).
    pub stocked: bool,
}

/// A deduction from a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Discount {
    pub reason: Label,
    pub amount: Money,
}

/// The order was placed. Its lines never change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Placed {
    pub order_id: OrderId,
    pub order_number: Label,
    /// Absent for a guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    pub lines: Vec<Line>,
    /// The exact sum of the lines' totals.
    pub total: Money,
    pub payment_method: Token,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipping_address: Option<Address>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billing_address: Option<Address>,
    pub placed_at: Timestamp,
}

/// All stocked lines are held until `expires_at`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reserved {
    /// One hold a variant, for the sum of its lines.
    pub holds: Vec<Hold>,
    pub expires_at: Timestamp,
}

/// A hold on the stock of one variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    pub variant_id: VariantId,
    pub reservation_id: ReservationId,
    pub quantity: Quantity,
}

/// The whole total was paid; the held goods are sold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Paid {
    pub amount: Money,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_reference: Option<Label>,
    pub paid_at: Timestamp,
}

/// Payment was refused; the holds are released.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PaymentFailed {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
    pub failed_at: Timestamp,
}

/// A quantity of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LineQuantity {
    pub line_id: u32,
    pub quantity: Quantity,
}

/// A parcel left, with the whole order or a part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shipped {
    pub shipment_id: ShipmentId,
    pub lines: Vec<LineQuantity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carrier: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking_number: Option<Label>,
    pub shipped_at: Timestamp,
}

/// A parcel arrived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delivered {
    pub shipment_id: ShipmentId,
    pub delivered_at: Timestamp,
}

/// Nothing more is to come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Completed {
    pub completed_at: Timestamp,
}

/// The order was called off before anything was shipped; holds are released, sold goods put back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cancelled {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
    pub cancelled_at: Timestamp,
}

/// The customer wants to send goods back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReturnRequested {
    pub return_id: ReturnId,
    pub lines: Vec<LineQuantity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
    pub requested_at: Timestamp,
}

/// The goods of a return arrived, and went back to stock if `restocked`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReturnReceived {
    pub return_id: ReturnId,
    pub restocked: bool,
    pub received_at: Timestamp,
}

/// A refund of one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LineRefund {
    pub line_id: u32,
    /// Units the refund is for.
    pub quantity: Quantity,
    pub amount: Money,
}

/// Money went back, never more than was paid for a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Refunded {
    pub refund_id: RefundId,
    /// The return it settles; absent for a refund without goods (cancelled after payment, goodwill).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_id: Option<ReturnId>,
    pub lines: Vec<LineRefund>,
    /// The exact sum of the lines.
    pub amount: Money,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
    pub refunded_at: Timestamp,
}

events! {
    /// What happens to an order.
    "order" {
        Placed = "order.placed" v 1,
        Reserved = "order.reserved" v 1,
        Paid = "order.paid" v 1,
        PaymentFailed = "order.payment_failed" v 1,
        Shipped = "order.shipped" v 1,
        Delivered = "order.delivered" v 1,
        Completed = "order.completed" v 1,
        Cancelled = "order.cancelled" v 1,
        ReturnRequested = "order.return_requested" v 1,
        ReturnReceived = "order.return_received" v 1,
        Refunded = "order.refunded" v 1,
    }
}
