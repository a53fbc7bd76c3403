//! A product (`product-{id}`): the combination rules for its variants, and which were generated from its options.
//!
//! Invariants, after every event:
//!
//! 1. Rules do not contradict themselves.
//! 2. What is recorded as generated is there: the variants are in the same append.

mod command;
mod decide;
mod state;
#[cfg(test)]
mod tests;

pub use command::{Action, GenerateVariants, Mode, OptionValue, ProductOption, RecordGenerated, SetRules};
pub use daybook_schemas::product::Event;
pub use state::Product;

pub use crate::master::Rejection;

/// A command to a product.
pub type Command = crate::Command<Action>;

/// Most variants that one command generates.
pub const MAX_GENERATED: usize = 2_048;
