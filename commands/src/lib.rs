//! The write side: takes commands, decides them on the newest state, and makes what was decided durable.
//!
//! Map of the crate:
//!
//! - [`dispatcher`]: the handle, [`Dispatcher::dispatch`]; [`request`], [`error`], [`options`], [`stats`]: what it speaks in
//! - [`op`]: from a request to what is to be decided
//! - [`composite`]: decisions over several streams: creating a variant, placing an order
//! - [`engine`]: the decision thread with its inbox, the streams in memory, groups in flight, recovery, loaders
//! - [`workspace`]: what one decision reads and writes; [`state`]: the state of any stream; [`encode`]: into the log
//! - [`holds`], [`timers`]: holds by customer, deadlines; [`book`], [`checkpoint`]: both from the log at the start, and between runs
//! - [`spread`]: the process manager that carries changes of master data to the variants that use it
//! - [`mark`]: what ties notes on disk to their log
//! - [`sequential`]: for logs that write one stream at a time
//! - [`follow`]: what other writers on the same log do
//! - [`idempotency`], [`ids`], [`clock`]: keys, identifiers, time
//!
//! What this crate deliberately does not do: it knows no HTTP, reads no read model to decide, and holds no rules of the
//! domain but those that span several streams.

mod book;
mod checkpoint;
pub mod clock;
mod composite;
mod dispatcher;
mod encode;
#[allow(clippy::vec_box, reason = "tasks are large and move through several queues: a pointer moves cheaper")]
mod engine;
mod error;
mod follow;
mod holds;
mod idempotency;
mod ids;
pub mod mark;
mod op;
mod options;
mod request;
mod sequential;
pub mod spread;
mod state;
mod stats;
mod timers;
mod workspace;

pub use clock::{Clock, ManualClock, SystemClock};
pub use composite::record::{RecordBody, RecordLine};
pub use dispatcher::{Answer, Dispatcher};
pub use error::{CommandError, ErrorKind, StartError};
pub use op::specs;
pub use options::Options;
pub use request::{IfMatch, Principal, Reply, ReplyEvent, Request};
pub use stats::{Stats, StatsSnapshot};
