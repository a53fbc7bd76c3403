//! A colour (`color-{id}`): a slug that leads to it for ever, a tone, whom it belongs to.
//!
//! Lifecycle: [`LIFECYCLE`], always by way of approval; `docs/lifecycles.md` and `daybook lifecycle color` draw it.
//!
//! Invariants, after every event:
//!
//! 1. A slug never leads to another colour (by a claim): a new name leaves the slug, a new slug keeps the ones before.
//! 2. Red, green, blue and hue, saturation, lightness are those of the hexadecimal form: see [`tone`].
//! 3. A colour that a brand protects is changed by those who decide over brands alone, and only that brand's variants have it.
//! 4. What all master data promises: see [`crate::master`].

mod command;
mod decide;
mod state;
#[cfg(test)]
mod tests;
pub mod tone;

pub use command::{Action, Change, ChangeSlug, Create, Protect};
pub use daybook_schemas::color::Event;
pub use decide::{LIFECYCLE, slug_of};
pub use state::{Color, Existing};

pub use crate::master::Rejection;

/// A command to a colour.
pub type Command = crate::Command<Action>;

/// Most slugs that a colour had before.
pub const MAX_PREVIOUS_SLUGS: usize = 100;
