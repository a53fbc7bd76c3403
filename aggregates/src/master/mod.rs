//! What all master data has in common: lifecycle, locks, usage count, and the commands for them.
//!
//! Sizes, colours, attribute types, attribute values and categories each have a [`Governed`] part, decided here by their own
//! lifecycle table. Their own files hold only what is their own.
//!
//! Invariants, after every event of any of them:
//!
//! 1. Only what the table has happens; what is archived never changes again, but for its path in the tree.
//! 2. What is in use is not archived. The count changes in the same append as what uses it, and what is deprecated gets no new users.
//! 3. What a lock covers is refused until the lock is lifted or runs out.

mod command;
pub(crate) mod governed;
mod rejection;
pub mod table;

pub use command::{Action, CountUsage, Lock, Recount, Step, Unlock};
pub use governed::{Governed, MasterEvent};
pub use rejection::Rejection;

pub(crate) use command::master_actions;

use daybook_schemas::Token;

/// Most channels, and most regions.
pub const MAX_SEGMENTS: usize = 200;

/// Sorted, without repetition.
pub(crate) fn segments(names: &[Token]) -> Result<Vec<Token>, Rejection> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names.dedup();
    if names.len() > MAX_SEGMENTS {
        return Err(Rejection::Invalid(format!(
            "at most {MAX_SEGMENTS} channels and {MAX_SEGMENTS} regions"
        )));
    }
    Ok(names)
}

/// A text as keys compare it: lower case, one space for every run of blanks, none at the ends.
#[must_use]
pub fn folded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}
