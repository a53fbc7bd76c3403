//! A credit (`credit-{id}`): money given back, or written off, without an order that covers it.
//!
//! It protects that a credit is booked once.
//!
//! ```text
//!  nothing ── issue ──────────▶ issued
//!     └────── adjust-bad-debt ▶ bad debt adjusted
//! ```
//!
//! Invariants, after every event:
//!
//! 1. A stream has one event: a credit never changes. Saying the same again changes nothing.
//! 2. What is given back is zero or more; an adjustment is not zero.

mod command;
mod decide;
mod rejection;
mod state;
#[cfg(test)]
mod tests;

pub use command::{Action, AdjustBadDebt, Issue};
pub use daybook_schemas::credit::Event;
pub use rejection::Rejection;
pub use state::Credit;

/// A command to a credit.
pub type Command = crate::Command<Action>;
