//! What can be asked of an order.

use daybook_schemas::body;
use daybook_schemas::order::{Address, Discount, Hold, LineQuantity};
use daybook_schemas::variant::AttributeSnapshot;
use daybook_schemas::{
    Currency, CustomerId, Label, Money, OrderId, Quantity, RefundId, ReservationId, ReturnId, ShipmentId,
    Sku, Text, Timestamp, Token, VariantId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::actions::actions;

/// Places an order: all lines are reserved together, or none is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaceBody {
    /// Absent for a guest.
    #[serde(default)]
    pub customer_id: Option<CustomerId>,
    /// 1 to 2,000.
    pub lines: Vec<PlaceLineBody>,
    pub payment_method: Token,
    /// Also understood: `street` or `address_line1` for `line1`, `address_line2` for `line2`, `postcode` or `zip` for
    /// `postal_code`, `state` for `region`.
    #[serde(default)]
    pub shipping_address: Option<Address>,
    /// Spelled like the shipping address.
    #[serde(default)]
    pub billing_address: Option<Address>,
    /// Now unless given.
    #[serde(default)]
    pub placed_at: Option<Timestamp>,
    /// The order's id unless given. No two orders have one number.
    #[serde(default)]
    pub order_number: Option<Label>,
    /// Seconds until the holds run out, 1 to 86,400; 60 unless given.
    #[serde(default)]
    #[schemars(range(min = 1, max = 86_400))]
    pub ttl_seconds: Option<u32>,
    /// In which currency the buyer pays; that of each variant's own price unless given. All lines are in one.
    #[serde(default)]
    pub currency: Option<Currency>,
    /// Where it is sold: variants that are not sold there are refused, and its price lists hold.
    #[serde(default)]
    pub channel: Option<Token>,
    /// Where the buyer is: variants that are not sold there are refused.
    #[serde(default)]
    pub region: Option<Token>,
    /// Whose price lists hold.
    #[serde(default)]
    pub customer_group: Option<Token>,
}

impl PlaceBody {
    /// Parses the JSON body.
    pub fn parse(body: &[u8]) -> Result<Self, serde_json::Error> {
        body::from_slice(body::or_empty(body))
    }
}

/// A line of an order to be placed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaceLineBody {
    pub variant_id: VariantId,
    pub quantity: Quantity,
    /// Instead of the variant's price; for operators.
    #[serde(default)]
    pub unit_price: Option<Money>,
    /// Taken off quantity × unit price: positive amounts, each with its reason, together at most as much; for operators.
    #[serde(default, deserialize_with = "body::or_default")]
    pub discounts: Vec<Discount>,
    /// On top, already rounded; for operators.
    #[serde(default)]
    pub tax: Option<Money>,
    /// The customer's own hold that this line takes over.
    #[serde(default)]
    pub reservation_id: Option<ReservationId>,
}

/// An order with everything looked up: what [`PlaceBody`] becomes.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    pub order_id: OrderId,
    /// The order's id unless given.
    pub order_number: Option<Label>,
    pub customer_id: Option<CustomerId>,
    pub lines: Vec<NewLine>,
    pub payment_method: Token,
    pub shipping_address: Option<Address>,
    pub billing_address: Option<Address>,
    /// Now unless given.
    pub placed_at: Option<Timestamp>,
}

/// A complete copy of a variant with the quantity asked; number and total are computed.
#[derive(Debug, Clone, PartialEq)]
pub struct NewLine {
    pub variant_id: VariantId,
    pub sku: Sku,
    pub name: Label,
    pub brand: Option<Label>,
    pub category: Label,
    pub attributes: Vec<AttributeSnapshot>,
    pub quantity: Quantity,
    pub unit_price: Money,
    pub compare_at: Option<Money>,
    /// Positive amounts, together at most quantity × unit price.
    pub discounts: Vec<Discount>,
    /// On top, already rounded.
    pub tax: Option<Money>,
    pub stocked: bool,
}

/// All stocked lines are held.
#[derive(Debug, Clone, PartialEq)]
pub struct MarkReserved {
    /// One hold a variant, for the sum of its lines.
    pub holds: Vec<Hold>,
    pub expires_at: Timestamp,
}

/// The whole total was paid.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pay {
    /// The order's total unless given; nothing else is taken.
    #[serde(default)]
    pub amount: Option<Money>,
    #[serde(default)]
    pub payment_reference: Option<Label>,
    /// Now unless given.
    #[serde(default)]
    pub paid_at: Option<Timestamp>,
}

/// Payment was refused.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailPayment {
    #[serde(default)]
    pub reason: Option<Text>,
}

/// A parcel left.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ship {
    /// A fresh one unless given.
    #[serde(default)]
    pub shipment_id: Option<ShipmentId>,
    /// Everything not yet shipped unless given.
    #[serde(default)]
    pub lines: Option<Vec<LineQuantity>>,
    #[serde(default)]
    pub carrier: Option<Label>,
    #[serde(default)]
    pub tracking_number: Option<Label>,
    /// Now unless given.
    #[serde(default)]
    pub shipped_at: Option<Timestamp>,
}

/// A parcel arrived, or all of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deliver {
    /// Every parcel on its way unless given.
    #[serde(default)]
    pub shipment_id: Option<ShipmentId>,
    /// Now unless given.
    #[serde(default)]
    pub delivered_at: Option<Timestamp>,
}

/// Nothing more is to come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Complete {
    /// Now unless given.
    #[serde(default)]
    pub completed_at: Option<Timestamp>,
}

/// Calls the order off, before anything was shipped.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cancel {
    #[serde(default)]
    pub reason: Option<Text>,
}

/// The customer wants to send goods back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestReturn {
    /// A fresh one unless given.
    #[serde(default)]
    pub return_id: Option<ReturnId>,
    /// At least one; no more than was shipped and is not coming back yet. All of that unless given.
    #[serde(default)]
    pub lines: Option<Vec<LineQuantity>>,
    #[serde(default)]
    pub reason: Option<Text>,
    /// Now unless given.
    #[serde(default)]
    pub requested_at: Option<Timestamp>,
}

/// The goods of a return arrived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiveReturn {
    /// The only one that has not arrived unless given.
    #[serde(default)]
    pub return_id: Option<ReturnId>,
    /// Whether the goods go back to stock; they do unless it is said otherwise.
    #[serde(default = "body::yes", deserialize_with = "body::or_yes")]
    pub restock: bool,
    /// Now unless given.
    #[serde(default)]
    pub received_at: Option<Timestamp>,
}

/// Gives money back: for a return that arrived, for a cancelled order, or out of goodwill.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Refund {
    /// A fresh one unless given.
    #[serde(default)]
    pub refund_id: Option<RefundId>,
    /// Where there are no lines either, and the order is not cancelled: the only one that arrived and is not refunded whole.
    #[serde(default)]
    pub return_id: Option<ReturnId>,
    /// What the return covers, or everything of a cancelled order, unless given.
    #[serde(default)]
    pub lines: Option<Vec<RefundLine>>,
    #[serde(default)]
    pub reason: Option<Text>,
    /// Now unless given.
    #[serde(default)]
    pub refunded_at: Option<Timestamp>,
}

/// What is refunded of one line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RefundLine {
    pub line_id: u32,
    /// What the return still covers, or the whole line, unless given.
    #[serde(default)]
    pub quantity: Option<Quantity>,
    /// What was paid for the quantity unless given.
    #[serde(default)]
    pub amount: Option<Money>,
}

actions! {
    /// What can be asked of an order.
    routed {
        "pay": Pay(Pay), "Takes note that the total was paid; the held goods are sold.";
        "fail-payment": FailPayment(FailPayment), "Takes note that payment was refused; the holds are released.";
        "ship": Ship(Ship), "A parcel leaves, with the whole order or a part.";
        "deliver": Deliver(Deliver), "A parcel arrives, or all of them.";
        "complete": Complete(Complete), "Closes a delivered order.";
        "cancel": Cancel(Cancel), "Calls the order off before anything was shipped.";
        "request-return": RequestReturn(RequestReturn), "The customer wants to send goods back.";
        "receive-return": ReceiveReturn(ReceiveReturn), "The goods of a return arrive.";
        "refund": Refund(Refund), "Gives money back, whole or part.";
    }
    internal {}
    described {
        "place": PlaceBody, "Places an order and reserves all its lines together.";
    }
    composed {
        /// The order with its looked-up snapshots.
        Place(Box<Place>),
        /// All stocked lines are held.
        MarkReserved(MarkReserved),
    }
}
