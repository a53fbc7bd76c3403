//! The log's events on NATS JetStream, for whoever has no access to the log.
//!
//! - `envelope`: an event as a CloudEvent, and its subject
//! - [`publisher`]: the relay, which publishes every event in the log's order
//! - [`follower`]: a read model fed from the relayed events instead of the log
//! - `stream`: the JetStream streams that both use
//! - `wake`: wake-ups between gateways on one log
//!
//! JetStream is transport here, never the source of truth: a stream that is lost is filled again from the log.
//!
//! Invariants, and what keeps them:
//!
//! 1. Every event is published at least once: the relay's checkpoint moves only over acknowledged events.
//! 2. In the log's order, whatever fails: each event names the sequence that the stream must stand at, so that after one
//!    that was lost the server refuses all others until the relay has begun again at the first unacknowledged.
//! 3. Of two relays on one stream only one gets through, for the same reason.
//! 4. A follower misses nothing in silence: it halts where the server no longer has what comes next.
//! 5. A retry is no second event: the event's id is the message id, and positions say what a follower has seen.

mod envelope;
pub mod follower;
pub mod publisher;
mod stream;
mod wake;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

pub use envelope::{EnvelopeError, decode, encode, subject};
pub use follower::Follower;
pub use publisher::Relay;
pub use stream::Connection;
pub use wake::WakeUps;

use crate::runner::RunnerOptions;

/// Where events go, and what is kept of them there.
#[derive(Debug, Clone)]
pub struct NatsOptions {
    /// `nats://host:4222`, `tls://host:4222`; with `user:password@`, if it has to be. Never shown in messages.
    pub url: String,
    /// The certificate authority, in PEM, that must have signed the server's certificate.
    pub tls_ca: Option<PathBuf>,
    /// First part of every subject, and the name of the stream: letters, digits, `-` and `_`.
    pub prefix: String,
    /// `source` of every CloudEvent: a URI reference that names this shop's log.
    pub source: String,
    /// Oldest event kept on the server; zero: any age.
    pub max_age: Duration,
    /// Most bytes kept on the server, the oldest go first; -1: no limit.
    pub max_bytes: i64,
    /// Copies of the stream in a cluster.
    pub replicas: usize,
    /// Within this time the server drops a message whose id it has seen.
    pub duplicate_window: Duration,
    /// How long an acknowledgement is waited for.
    pub timeout: Duration,
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".to_owned(),
            tls_ca: None,
            prefix: "daybook".to_owned(),
            source: "/daybook".to_owned(),
            max_age: Duration::from_secs(7 * 86_400),
            max_bytes: -1,
            replicas: 1,
            duplicate_window: Duration::from_secs(120),
            timeout: Duration::from_secs(5),
        }
    }
}

/// How a relay reads the log: what is unacknowledged at any time is one batch.
#[must_use]
pub fn runner_options() -> RunnerOptions {
    RunnerOptions {
        page_events: 1_024,
        page_bytes: 2 << 20,
        pace: Duration::from_millis(5),
        longest_pace: Duration::from_millis(5),
        max_pending_events: 1_024,
        max_pending_bytes: 4 << 20,
        max_backoff: Duration::from_secs(2),
        ..RunnerOptions::default()
    }
}
