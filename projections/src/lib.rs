//! The query side: projectors that tail the event log and write read models, and the queries that read them.
//!
//! Map of the crate:
//!
//! - [`model`]: the [`ReadModel`](model::ReadModel) trait that the runner drives, and [`RowAccess`](model::RowAccess) that reconciliation reads and repairs through
//! - one folder a read model: view and projector, `query.rs`, `tests.rs`
//!
//! What this crate deliberately does not do: it imports no aggregate, decides nothing, and has no side effects beyond
//! its own stores. Process managers act; a rebuild never runs them.

pub mod model;
