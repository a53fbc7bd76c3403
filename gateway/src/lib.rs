//! HTTP command and query API, command line, and the composition root.
//!
//! Map of the crate:
//!
//! - [`admission`]: limits by customer, client address and variant
//! - [`cli`]: arguments, output, exit status
//! - [`config`]: what is in force and where it came from
//! - [`node`]: the composition root, the only place that names concrete backends
//! - [`http`]: routes, problems, authentication, OpenAPI, metrics, console
//! - [`load`]: the bare client and the simulations built on it
//!
//! What this crate deliberately does not do: no rules of the domain, no SQL, no decisions.

pub mod admission;
pub mod cli;
pub mod config;
pub mod http;
pub mod load;
pub mod node;
mod reconciled;
mod renewal;
mod spread;
mod usage;

pub use cli::main;
