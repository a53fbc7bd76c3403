//! An attribute type (`attribute_type-{id}`), such as `material`: what its values are and which it takes.
//!
//! A type that is registered here makes its attribute strict: variants have only values of the master data for it. Types that nobody
//! registered stay free text.
//!
//! Lifecycle: [`LIFECYCLE`]; `docs/lifecycles.md` and `daybook lifecycle attribute_type` draw it.
//!
//! Invariants, after every event:
//!
//! 1. Code and data type never change; no two types have one code (by a claim).
//! 2. Every change of the definition counts its number up by one.
//! 3. A type with values that are not archived is not archived: its usage count is the number of its values.
//! 4. What all master data promises: see [`crate::master`].

mod command;
mod decide;
mod state;
#[cfg(test)]
mod tests;

pub use command::{Action, Change, ChangeSegmentation, Create};
pub use daybook_schemas::attribute_type::Event;
pub use decide::{LIFECYCLE, check_value};
pub use state::{AttributeType, Existing};

pub use crate::master::Rejection;

/// A command to an attribute type.
pub type Command = crate::Command<Action>;

/// Most values that `one_of` names.
pub const MAX_ONE_OF: usize = 1_000;
