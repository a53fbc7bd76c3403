//! Drives a read model along the log: one thread a projection.
//!
//! ```text
//!            ┌── caught up ──▶ Running ◀─┐
//! CatchingUp ┤                    │      ├─ resume ── Paused
//!            └── behind ◀─────────┘──────┘
//!      │ store or log unavailable            │ gap, damage, unreadable payload
//!      ▼                                     ▼
//!  Retrying ── backoff ──▶ CatchingUp      Halted ── resume (tries again from the checkpoint)
//! ```
//!
//! - [`engine`]: read a page, check that nothing is missing, decode what is handled, apply, commit; no thread, no clock
//! - [`letters`]: the dead-letter queue: park, retry, discard
//! - [`thread`]: the loop around it: when to read, when to commit, when to wait
//! - [`handle`]: what the rest of the process holds: status, waiting, pausing, work between commits
//!
//! Where several processes share a store, one writes and the others are *Following*: they show how far that one is, and one of
//! them takes over when it is gone.
//!
//! The runner never skips an event. Where the log's positions are dense it proves that it missed none; a projector proves the
//! same for each stream by revision.

pub mod engine;
pub mod handle;
pub mod letters;
pub mod thread;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use engine::catch_up;
pub use handle::{Building, ProjectionHandle, ProjectionStatus, RunnerState};
pub use letters::LettersRetried;
pub use thread::start;

/// How a runner reads and commits.
#[derive(Debug, Clone)]
pub struct RunnerOptions {
    /// Events read at once.
    pub page_events: usize,
    /// Bytes read at once.
    pub page_bytes: usize,
    /// Least time between commits when caught up: under load this is the batch, an event after a pause is taken at once.
    pub pace: Duration,
    /// Longest time between commits where each takes long, see [`thread`]: how far a read model is behind under heavy load, about.
    pub longest_pace: Duration,
    /// Least time between commits while somebody waits for a position.
    pub urgent_pace: Duration,
    /// A commit is due at this many bytes of uncommitted changes,
    pub max_pending_bytes: usize,
    /// or this many uncommitted events,
    pub max_pending_events: usize,
    /// or this long after the last commit.
    pub max_pending_time: Duration,
    /// First pause after a failure; doubles with each further one.
    pub backoff: Duration,
    /// Longest pause after a failure.
    pub max_backoff: Duration,
    /// The projector halts when more events than this are parked.
    pub max_dead_letters: usize,
    /// It stands still from the start: an operator has paused it.
    pub held: bool,
}

impl Default for RunnerOptions {
    fn default() -> Self {
        Self {
            page_events: 2_048,
            page_bytes: 1 << 20,
            pace: Duration::from_millis(50),
            longest_pace: Duration::from_millis(250),
            urgent_pace: Duration::from_millis(2),
            max_pending_bytes: 16 << 20,
            max_pending_events: 200_000,
            max_pending_time: Duration::from_secs(1),
            backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(10),
            max_dead_letters: 10_000,
            held: false,
        }
    }
}

/// Why something asked of a runner was not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RunnerError {
    /// The runner has ended.
    #[error("projection {0} has stopped")]
    Stopped(String),
    /// The projector stopped for a reason that waiting does not mend.
    #[error("projection {name} has halted: {reason}")]
    Halted { name: String, reason: String },
    /// The read model was not there in time.
    #[error("projection {name} is at position {checkpoint}, not yet at {wanted}")]
    Behind { name: String, checkpoint: u64, wanted: u64 },
    /// The store or the log failed; it may work later.
    #[error("projection {name} is unavailable: {reason}")]
    Unavailable { name: String, reason: String },
    /// No such dead letter, or not one that can be dealt with alone.
    #[error("{0}")]
    Letter(String),
}
