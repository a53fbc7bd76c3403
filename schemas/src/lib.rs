//! The contract of Daybook: what every other crate, every stored byte and every client agrees on.
//!
//! Map of the crate:
//!
//! - values, parsed once at the edge: [`id`], [`text`], [`money`], [`quantity`], [`time`]
//! - events by aggregate, each with an explicit wire name and version: [`variant`], [`inventory`], [`order`],
//!   [`credit`]; of master data: [`size`], [`color`], [`attribute_type`], [`attribute_value`], [`category`] (what they share is in
//!   [`master`]), [`product`] with combination [`rules`]; and those of the machinery: [`claim`], [`sequence`], [`idempotency`], [`operations`]
//! - [`catalogue`]: all event types at once: decode any of them, list them, their JSON Schemas
//! - [`body`]: how bodies of commands are read from JSON
//! - [`upcast`]: pure steps from an old version of a payload to the next
//! - [`metadata`]: who caused an event, and in which conversation
//! - [`configuration`]: configuration hash and signature of a variant
//! - [`prices`]: what the price events of a variant mean together: which price holds when, on which list
//!
//! What this crate deliberately does not do: no rules about when an event may happen (see `aggregates`), no storage.

mod macros;

pub mod attribute_type;
pub mod attribute_value;
pub mod body;
pub mod catalogue;
pub mod category;
pub mod claim;
pub mod color;
pub mod configuration;
pub mod credit;
pub mod id;
pub mod idempotency;
pub mod inventory;
pub mod master;
pub mod metadata;
pub mod money;
pub mod operations;
pub mod order;
pub mod prices;
pub mod product;
pub mod quantity;
pub mod rules;
pub mod sequence;
pub mod size;
pub mod text;
pub mod time;
pub mod upcast;
pub mod variant;

pub use catalogue::{AnyEvent, DecodeError, EventSpec};
pub use id::{
    CategoryId, CommandId, CreditId, CustomerId, LocationId, OrderId, ProductId, RefundId, ReservationId,
    ReturnId, ScheduleId, ShipmentId, Token, ValueId, VariantId,
};
pub use metadata::{Actor, Metadata};
pub use money::{Currency, Money, MoneyError};
pub use quantity::Quantity;
pub use text::{Label, Sku, Slug, Text};
pub use time::Timestamp;

/// A value that does not have the form its type asks for. The message says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);
