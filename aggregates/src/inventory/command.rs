//! What can be asked of stock.

use daybook_schemas::body::or_default;
use daybook_schemas::{CustomerId, LocationId, OrderId, Quantity, ReservationId, Text};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::actions::actions;

/// Goods arrive. Expected deliveries at the location shrink by as much. Not of a variant that is archived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Receive {
    /// `default` unless given.
    #[serde(default, deserialize_with = "or_default")]
    pub location: LocationId,
    pub quantity: Quantity,
    #[serde(default)]
    pub reference: Option<Text>,
}

/// Changes on hand by a signed amount that is not zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Adjust {
    /// `default` unless given.
    #[serde(default, deserialize_with = "or_default")]
    pub location: LocationId,
    /// Units, not zero.
    pub delta: i64,
    pub reason: Text,
    #[serde(default)]
    pub reference: Option<Text>,
}

/// Moves goods between locations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// `default` unless given.
    #[serde(default, deserialize_with = "or_default")]
    pub from: LocationId,
    pub to: LocationId,
    pub quantity: Quantity,
    #[serde(default)]
    pub reference: Option<Text>,
}

/// Sells goods without a reservation (point of sale).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sell {
    /// `default` unless given.
    #[serde(default, deserialize_with = "or_default")]
    pub location: LocationId,
    pub quantity: Quantity,
    #[serde(default)]
    pub reference: Option<Text>,
}

/// Takes goods back: to on hand, or to damaged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Return {
    /// `default` unless given.
    #[serde(default, deserialize_with = "or_default")]
    pub location: LocationId,
    pub quantity: Quantity,
    /// Whether the goods can't be sold again.
    #[serde(default, deserialize_with = "or_default")]
    pub damaged: bool,
    #[serde(default)]
    pub reference: Option<Text>,
}

/// Moves goods from on hand to damaged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Damage {
    /// `default` unless given.
    #[serde(default, deserialize_with = "or_default")]
    pub location: LocationId,
    pub quantity: Quantity,
    #[serde(default)]
    pub reason: Option<Text>,
    #[serde(default)]
    pub reference: Option<Text>,
}

/// Sets on hand to what was counted, provided that the books still say what the counter was told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// `default` unless given.
    #[serde(default, deserialize_with = "or_default")]
    pub location: LocationId,
    /// What the books said when the count began.
    pub expected: i64,
    /// What was found: zero or more.
    pub counted: i64,
    #[serde(default)]
    pub reference: Option<Text>,
}

/// A delivery is on its way. Not of a variant that is archived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectDelivery {
    /// `default` unless given.
    #[serde(default, deserialize_with = "or_default")]
    pub location: LocationId,
    pub quantity: Quantity,
    #[serde(default)]
    pub reference: Option<Text>,
}

/// Sets the stock policy; absent fields stay as they are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPolicy {
    /// Units kept back at one location.
    #[serde(default)]
    pub safety_stock: Option<SafetyStock>,
    /// Available units at or below which stock is low; 0 turns the signal off.
    #[serde(default)]
    pub reorder_point: Option<u32>,
    /// Units to order then.
    #[serde(default)]
    pub reorder_quantity: Option<u32>,
    /// Units that may be reserved beyond what is available; 0: none.
    #[serde(default)]
    pub backorder_limit: Option<u32>,
}

/// Units kept back at one location.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SafetyStock {
    /// `default` unless given.
    #[serde(default, deserialize_with = "or_default")]
    pub location: LocationId,
    pub quantity: u32,
}

/// Holds stock for a customer or an order until the time to live has passed. A customer has one active hold of their own
/// a variant; asking again gives the same one. Of a variant that is not for sale only operators hold stock, of one that is archived nobody.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reserve {
    /// A fresh one unless given.
    #[serde(default)]
    pub reservation_id: Option<ReservationId>,
    /// Absent only for the order of a guest.
    #[serde(default)]
    pub customer_id: Option<CustomerId>,
    pub quantity: Quantity,
    /// Seconds until the hold runs out, 1 to 86,400; 60 unless given.
    #[serde(default = "default_ttl", deserialize_with = "or_default_ttl")]
    #[schemars(range(min = 1, max = 86_400))]
    pub ttl_seconds: u32,
    /// The order that the hold is for.
    #[serde(default)]
    pub order_id: Option<OrderId>,
    /// Only there; over all locations unless given.
    #[serde(default)]
    pub location: Option<LocationId>,
    /// A looked-up fact: how many active holds of their own, without an order, the customer has over all variants.
    #[serde(skip)]
    pub customer_active_holds: Option<u32>,
}

const fn default_ttl() -> u32 {
    super::DEFAULT_TTL_SECONDS
}

/// Null is the default, as if the field were absent.
fn or_default_ttl<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_else(default_ttl))
}

/// Turns a hold, or a part of it, into a sale.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    pub reservation_id: ReservationId,
    /// Everything that is held unless given.
    #[serde(default)]
    pub quantity: Option<Quantity>,
}

/// Gives a hold, or a part of it, back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    pub reservation_id: ReservationId,
    /// Everything that is held unless given.
    #[serde(default)]
    pub quantity: Option<Quantity>,
}

/// Puts on record which holds have run out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expire {}

actions! {
    /// What can be asked of stock.
    routed {
        "receive": Receive(Receive), "Goods arrive at a location.";
        "adjust": Adjust(Adjust), "Changes on hand by a signed amount, with a reason.";
        "transfer": Transfer(Transfer), "Moves goods between locations.";
        "sell": Sell(Sell), "Sells goods without a reservation.";
        "return": Return(Return), "Takes goods back, to on hand or to damaged.";
        "damage": Damage(Damage), "Moves goods from on hand to damaged.";
        "count": Count(Count), "Sets on hand to what was counted, if the books still say what was expected.";
        "expect-delivery": ExpectDelivery(ExpectDelivery), "Announces a delivery.";
        "set-policy": SetPolicy(SetPolicy), "Sets safety stock, reorder point and quantity, backorder limit.";
        "reserve": Reserve(Reserve), "Holds stock for a customer or an order for a limited time.";
        "confirm": Confirm(Confirm), "Turns a hold, or a part of it, into a sale.";
        "release": Release(Release), "Gives a hold, or a part of it, back.";
    }
    internal {
        "expire": Expire(Expire), "Puts on record which holds have run out.";
    }
    described {}
    composed {}
}
