//! A category (`category-{id}`): a place in the tree of goods, with the attributes that its variants have.
//!
//! Lifecycle: [`LIFECYCLE`]; `docs/lifecycles.md` and `daybook lifecycle category` draw it.
//!
//! Invariants, after every event:
//!
//! 1. A slug never leads to another category (by a claim); a new slug keeps the ones before.
//! 2. The path is the parent's path and the slug, joined by `/`; the depth one more than the parent's. A move or a new slug writes the
//!    paths of everything below in the same append, so the tree is whole at every position of the log.
//! 3. There are no cycles: a category never hangs below itself. Two moves that would make one together write to common streams,
//!    so one of them is decided after the other.
//! 4. A child stands among its parent's children, and in no other's.
//! 5. It becomes active only below an active parent, and is archived only when nothing below it is left.
//! 6. What all master data promises: see [`crate::master`].

mod command;
mod decide;
mod rules;
mod state;
#[cfg(test)]
mod tests;

pub use command::{
    Action, Adopt, Change, ChangeSchema, ChangeSlug, Create, Disown, Move, ParentFacts, Repath,
};
pub use daybook_schemas::category::Event;
pub use decide::{LIFECYCLE, path_below, slug_of};
pub use rules::check_rules;
pub use state::{Category, Existing};

pub use crate::attribute_type::ChangeSegmentation;
pub use crate::master::Rejection;

/// A command to a category.
pub type Command = crate::Command<Action>;

/// Most levels below a root.
pub const MAX_DEPTH: u8 = 15;
/// Most categories right below one.
pub const MAX_CHILDREN: usize = 2_000;
/// Most categories that one move or new slug writes to.
pub const MAX_SUBTREE: usize = 5_000;
