//! Operators' work on a log and its read models: import, rebuild, reconcile, verify, time travel.
//!
//! Map of the crate:
//!
//! - [`import`]: foreign histories through the command path
//! - [`verify`]: checks the whole log
//! - [`time_travel`]: any aggregate as of a revision or time
//! - [`prices`]: the price that a buyer gets as of a time, from the variant's stream alone
//! - [`drift`]: damage on purpose, for drills
//! - [`digest`]: read models in a few hexadecimal digits, to compare them across engines and logs
//! - [`reconcile`]: diffs projections against the log, and repairs
//! - [`integrity`]: whether those who refer to each other agree
//! - [`rebuild`]: new generations
//! - [`operations`]: events that operators' work leaves
//! - `paused`: work on a projection that stands still
//!
//! What this crate deliberately does not do: no HTTP, no terminal. Progress goes through callbacks, results are values.

pub mod digest;
pub mod drift;
pub mod import;
pub mod integrity;
pub mod operations;
mod paused;
pub mod prices;
pub mod rebuild;
pub mod reconcile;
pub mod time_travel;
pub mod verify;
