//! The event log: an append-only sequence of events, grouped in streams, in one total order.
//!
//! Map of the crate:
//!
//! - [`log`]: the object-safe [`EventLog`] trait with every promise a backend keeps, and the types it speaks in.
//! - [`event`]: what is written ([`NewEvent`]) and what is read ([`RecordedEvent`], one shared buffer an event).
//! - [`memory`]: the reference backend, for tests and as the model that the others are compared with.
//! - [`segment`]: the embedded durable backend, one writer, zero-filled segment files, group commit.
//! - `kurrent` (feature): the backend on KurrentDB/EventStoreDB, through its gRPC protocol.
//! - `postgres` (feature): the backend on PostgreSQL, in the tables of `postgres-es`.
//! - [`guarded`], [`breaker`]: any remote log behind a circuit breaker.
//! - [`lease`]: one leader among several gateways.
//! - [`snapshot`]: disposable state of aggregates, outside the log.
//! - [`conformance`]: one function per promise, run by every backend.
//! - [`rules`]: what every backend refuses alike.
//! - [`scan`]: long stretches of any log on several threads, taken in order.
//!
//! What this crate deliberately does not do: it never interprets payloads (bytes in, bytes out), never publishes,
//! never deletes, and knows nothing of aggregates or projections.

pub mod breaker;
pub mod conformance;
pub mod event;
pub mod guarded;
#[cfg(feature = "kurrent")]
pub mod kurrent;
pub mod lease;
pub mod log;
pub mod memory;
pub mod pass;
#[cfg(feature = "postgres")]
pub mod postgres;
mod priority;
pub mod rules;
pub mod scan;
pub mod segment;
pub mod snapshot;

pub use breaker::{Breaker, BreakerOptions, CircuitOpen, CircuitState, CircuitStatus};
pub use event::{NewEvent, RecordedEvent};
pub use guarded::{GuardOptions, GuardedLog};
pub use lease::{Leadership, LeaseError, LeaseOptions, LeaseStore, LeaseToken};
pub use log::{
    Append, AppendError, Appended, Capabilities, EventLog, Expected, Filter, Head, Page, Position, Premise,
    ReadError, Revision, StreamAppend, StreamId, StreamIdError,
};
pub use memory::MemoryLog;
pub use priority::{breathe, comes_in_portions, give_way, in_portions};
pub use scan::{Scan, scan_in_order};
pub use segment::{OpenError, OpenReport, SegmentLog, SegmentOptions};
pub use snapshot::{FileSnapshots, Snapshot, SnapshotStore};
