//! The stock of one variant over all locations (`inventory-{variant_id}`), with its reservations.
//!
//! It protects the goods from being promised twice.
//!
//! ```text
//!              reserve                 confirm (whole or part)
//!  available ───────────▶ held ───────────────────────────────▶ sold
//!      ▲                   │ │
//!      │  release          │ │ deadline passes: stops counting at once,
//!      ├───────────────────┘ │ `reservations_expired` puts it on record
//!      └─────────────────────┘
//!
//!  receive, return, count, adjust, transfer ──▶ on hand ──▶ sell, damage, adjust, count, transfer
//! ```
//!
//! Invariants, after every event:
//!
//! 1. At each location `available = on hand − reserved − safety stock`.
//! 2. At each location `reserved ≤ on hand`, and nothing is below zero; only goods that were reserved beyond what was there
//!    (backorder) may break this, and they never exceed the limit that stood when they were reserved.
//! 3. `reserved` is the sum of the allocations of the holds on record.
//! 4. A hold counts until its deadline, never longer: a decision at `now` drops what is due, and no accepted command
//!    relies on freed goods without putting the expiry on record before its own events.
//! 5. A customer has at most one active hold of their own (without an order).
//! 6. A reservation id stands for one hold; it is not taken again while it is remembered.
//! 7. Out of stock, back in stock and low stock are signalled exactly when they flip. The first goods ever to arrive are in stock
//!    without a signal; if none of them can be had (kept back, or promised already) they come with out of stock.
//!
//! A decision costs `O(log holds + expired)`: no scan over the holds, no copy of the state.

mod command;
mod decide;
mod draft;
mod holds;
mod rejection;
mod reserve;
mod state;
mod stock;
#[cfg(test)]
mod tests;
mod undo;

pub use command::{
    Action, Adjust, Confirm, Count, Damage, ExpectDelivery, Expire, Receive, Release, Reserve, Return,
    SafetyStock, Sell, SetPolicy, Transfer,
};
pub use daybook_schemas::inventory::Event;
pub use holds::{Hold, Outcome};
pub use rejection::Rejection;
pub use state::{Availability, Inventory, Policy, Signals};
pub use stock::{LocationStock, Totals};
pub use undo::{Undo, Undone};

/// A command to stock.
pub type Command = crate::Command<Action>;

/// Time to live of a hold, unless the command says otherwise, in seconds.
pub const DEFAULT_TTL_SECONDS: u32 = 60;
/// Longest time to live of a hold in seconds: a day.
pub const MAX_TTL_SECONDS: u32 = 86_400;
/// Most active holds that a customer may have over all variants, holds of orders not counted.
pub const MAX_ACTIVE_HOLDS: u32 = 5;
/// Most units on hand, damaged or incoming at one location.
pub const MAX_UNITS: i64 = 1_000_000_000_000_000;
/// Most locations a variant.
pub const MAX_LOCATIONS: usize = 1_000;
/// Most holds that one `reservations_expired` speaks of.
pub const MAX_EXPIRED_PER_EVENT: usize = 1_000;
/// Most holds that one command puts on record as expired, unless it needs more of them freed: a storm of a million
/// deadlines must not become one append.
pub const MAX_EXPIRED_PER_COMMAND: usize = 10_000;
/// How many reservation ids are remembered with their outcome after they were used up.
pub const REMEMBERED_OUTCOMES: usize = 1_024;
