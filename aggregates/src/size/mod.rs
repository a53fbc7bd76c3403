//! One size of a category, a gender and a region (`size-{id}`), such as men's shoes, UK 7.
//!
//! It protects what a size means: category, gender, region and value never change and are unique together (by a claim); what
//! other regions call it and its place in the order may.
//!
//! Lifecycle: [`LIFECYCLE`]; `docs/lifecycles.md` and `daybook lifecycle size` draw it.
//!
//! Invariants, after every event:
//!
//! 1. Category, gender, region and value never change.
//! 2. Among the conversions, its own region's value is the value.
//! 3. The rank is the normalized one of its value, unless it was given: see [`rank::normalized`].
//! 4. What all master data promises: see [`crate::master`].

mod command;
mod decide;
pub mod rank;
mod state;
#[cfg(test)]
mod tests;

pub use command::{Action, Change, Create};
pub use daybook_schemas::size::Event;
pub use decide::{LIFECYCLE, claim_key};
pub use state::{Existing, Size};

pub use crate::master::Rejection;

/// A command to a size.
pub type Command = crate::Command<Action>;
