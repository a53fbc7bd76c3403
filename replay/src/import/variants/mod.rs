//! Variants in bulk: files of rows through the command path, the same rows out again, and made-up ones for load tests.
//!
//! - [`row`]: what a row means, in NDJSON and in CSV
//! - [`source`]: rows of a file, plain or compressed
//! - [`run`]: sends them, accounts for each, keeps its place
//! - [`export`]: the catalogue as rows
//! - [`generate`]: plausible rows, the same for the same seed
//!
//! A row is the command `variant/create` (see [`row::Line`]). Sent again, it finds what it made and changes nothing, so an
//! import may be broken off and started anew at any moment, and files may overlap. A row that is refused changes nothing either:
//! it goes to a file of its own with every reason, and the others go on.

pub mod export;
pub mod generate;
mod place;
pub mod row;
pub mod run;
pub mod source;
#[cfg(test)]
mod tests;
mod twice;

pub use run::{Advance, Errors, ImportError, Input, Options, Report, import};
