//! Events of the stock of one variant over all locations (`inventory-{variant_id}`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::macros::events;
use crate::{CustomerId, LocationId, OrderId, Quantity, ReservationId, Text, Timestamp};

/// A share of a quantity at one location.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Allocation {
    pub location: LocationId,
    pub quantity: Quantity,
}

/// Goods arrived: on hand grows; expected deliveries shrink by `from_incoming`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Received {
    pub location: LocationId,
    pub quantity: Quantity,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub from_incoming: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Text>,
}

/// On hand changed by a signed amount, never zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Adjusted {
    pub location: LocationId,
    pub delta: i64,
    pub reason: Text,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Text>,
}

/// A count found `counted` where the books said `expected`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Counted {
    pub location: LocationId,
    pub expected: i64,
    pub counted: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Text>,
}

/// On hand moved between locations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Transferred {
    pub from: LocationId,
    pub to: LocationId,
    pub quantity: Quantity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Text>,
}

/// Goods left without a reservation (point of sale).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sold {
    pub location: LocationId,
    pub quantity: Quantity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Text>,
}

/// Goods came back: to on hand, or to damaged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Returned {
    pub location: LocationId,
    pub quantity: Quantity,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub damaged: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Text>,
}

/// Goods moved from on hand to damaged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Damaged {
    pub location: LocationId,
    pub quantity: Quantity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Text>,
}

/// A delivery is on its way: incoming grows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeliveryExpected {
    pub location: LocationId,
    pub quantity: Quantity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Text>,
}

/// The stock policy as it is from now on; absent fields stay.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyChanged {
    /// Units kept back at one location.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safety_stock: Option<SafetyStock>,
    /// Available units at or below which stock is low; 0 turns the signal off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reorder_point: Option<u32>,
    /// Units to order then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reorder_quantity: Option<u32>,
    /// Units that may be reserved beyond what is available; 0: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backorder_limit: Option<u32>,
}

/// Units kept back at one location.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SafetyStock {
    pub location: LocationId,
    pub quantity: u32,
}

/// Stock is held for a customer or an order until `expires_at`. The allocations sum up to the quantity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reserved {
    pub reservation_id: ReservationId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<OrderId>,
    pub quantity: Quantity,
    pub allocations: Vec<Allocation>,
    pub expires_at: Timestamp,
}

/// Held goods were sold: on hand and reserved shrink. `remaining` units stay held under the same deadline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirmed {
    pub reservation_id: ReservationId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<OrderId>,
    pub quantity: Quantity,
    pub allocations: Vec<Allocation>,
    pub remaining: u32,
    pub expires_at: Timestamp,
}

/// Held goods are free again. `remaining` units stay held under the same deadline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Released {
    pub reservation_id: ReservationId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<OrderId>,
    pub quantity: Quantity,
    pub allocations: Vec<Allocation>,
    pub remaining: u32,
    pub expires_at: Timestamp,
}

/// Holds whose deadline has passed, in order of deadline. They stopped counting at the deadline; this puts it on record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReservationsExpired {
    pub reservations: Vec<ExpiredReservation>,
}

/// One hold that ran out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpiredReservation {
    pub reservation_id: ReservationId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<OrderId>,
    pub quantity: Quantity,
    pub allocations: Vec<Allocation>,
    pub expires_at: Timestamp,
}

/// Available units fell to zero or below. Written only when that flips, or with the first goods ever to arrive if none of
/// them can be had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutOfStock {}

/// Available units rose above zero again. Written only when that flips, not for the first goods ever
/// to arrive: they are in stock without a signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackInStock {
    pub available: i64,
}

/// Available units fell to the reorder point or below. Written only when that flips.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LowStock {
    pub available: i64,
    pub reorder_point: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reorder_quantity: Option<u32>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
const fn is_zero(n: &u32) -> bool {
    *n == 0
}

events! {
    /// What happens to the stock of a variant.
    "inventory" {
        Received = "inventory.received" v 1,
        Adjusted = "inventory.adjusted" v 1,
        Counted = "inventory.counted" v 1,
        Transferred = "inventory.transferred" v 1,
        Sold = "inventory.sold" v 1,
        Returned = "inventory.returned" v 1,
        Damaged = "inventory.damaged" v 1,
        DeliveryExpected = "inventory.delivery_expected" v 1,
        PolicyChanged = "inventory.policy_changed" v 1,
        Reserved = "inventory.reserved" v 1,
        Confirmed = "inventory.confirmed" v 1,
        Released = "inventory.released" v 1,
        ReservationsExpired = "inventory.reservations_expired" v 1,
        OutOfStock = "inventory.out_of_stock" v 1,
        BackInStock = "inventory.back_in_stock" v 1,
        LowStock = "inventory.low_stock" v 1,
    }
}

impl Event {
    /// Whether goods that can be sold arrive by it. The first of a stream's arrivals puts the variant in stock, unless
    /// [`OutOfStock`] follows in the same append.
    #[must_use]
    pub const fn is_arrival(&self) -> bool {
        match self {
            Self::Received(_) => true,
            Self::Adjusted(e) => e.delta > 0,
            Self::Counted(e) => e.counted > e.expected,
            Self::Returned(e) => !e.damaged,
            Self::Transferred(_)
            | Self::Sold(_)
            | Self::Damaged(_)
            | Self::DeliveryExpected(_)
            | Self::PolicyChanged(_)
            | Self::Reserved(_)
            | Self::Confirmed(_)
            | Self::Released(_)
            | Self::ReservationsExpired(_)
            | Self::OutOfStock(_)
            | Self::BackInStock(_)
            | Self::LowStock(_) => false,
        }
    }
}
