//! One value of an attribute type (`attribute_value-{id}`), such as wool of material.
//!
//! Brands are values too, of the type `brand`: a variant's brand that is registered so restricts where the variant is sold.
//!
//! Lifecycle: [`LIFECYCLE`]; `docs/lifecycles.md` and `daybook lifecycle attribute_value` draw it.
//!
//! Invariants, after every event:
//!
//! 1. Type and value never change and are unique together (by a claim); the value was one of the type when it came to be.
//! 2. It becomes active only under an active type.
//! 3. Every change of the definition counts its number up by one.
//! 4. What all master data promises: see [`crate::master`].

mod command;
mod decide;
mod state;
#[cfg(test)]
mod tests;

pub use command::{Action, Change, Create, TypeFacts};
pub use daybook_schemas::attribute_value::Event;
pub use decide::{LIFECYCLE, claim_key};
pub use state::{AttributeValue, Existing};

pub use crate::attribute_type::ChangeSegmentation;
pub use crate::master::Rejection;

/// A command to an attribute value.
pub type Command = crate::Command<Action>;
