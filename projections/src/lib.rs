//! The query side: projectors that tail the event log and write read models, and the queries that read them.
//!
//! Map of the crate:
//!
//! - [`model`]: the [`ReadModel`](model::ReadModel) trait that the runner drives, and [`RowAccess`](model::RowAccess) that reconciliation reads and repairs through
//! - [`rows`]: the row store (SQLite files, or PostgreSQL with the feature `postgres`), and [`RowModel`](rows::RowModel), which makes a pure fold a read model
//! - [`runner`]: one thread a projection: tails the log, decodes, applies, commits with the checkpoint
//! - [`generations`]: where generations live, which one is live, and the swap from one to the next
//! - one folder a read model: view and projector, `query.rs`, `tests.rs`: [`catalogue`], [`masters`], [`inventory`], [`orders`], [`audit`],
//!   [`search`], and the analytics [`sales`], [`products`] and [`customers`], which share [`analytics`]
//! - `relay` (feature `nats`): every event on NATS JetStream, and read models fed from there
//! - [`standard`]: all of them as projections
//!
//! What this crate deliberately does not do: it imports no aggregate, decides nothing, and has no side effects beyond
//! its own stores. Process managers act; a rebuild never runs them.

pub mod amounts;
pub mod analytics;
pub mod audit;
pub mod catalogue;
pub mod customers;
#[cfg(any(feature = "elastic", feature = "nats"))]
mod driver;
pub mod generations;
pub mod inventory;
pub mod masters;
pub mod model;
pub mod orders;
pub mod position_text;
pub mod products;
#[cfg(feature = "nats")]
pub mod relay;
pub mod rows;
pub mod runner;
pub mod sales;
pub mod search;
pub mod standard;
mod streams;
#[cfg(test)]
mod testing;
#[cfg(any(feature = "elastic", feature = "postgres"))]
mod writer;
