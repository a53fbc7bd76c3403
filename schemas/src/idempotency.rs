//! The record of an idempotency key (`idempotency-{hash of principal and key}`), written in the same append as the
//! events it stands for: the same key gives the same outcome, once, also after a restart and on every node.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::macros::events;

/// A command with this key was carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// SHA-256 over the command's route and body in hexadecimal; another body under the same key is refused.
    pub request_hash: String,
    /// The stream that the reply speaks of.
    pub stream: String,
    /// Its revision after the command.
    pub revision: u64,
    /// How many events of that stream the command wrote.
    pub events: u32,
}

events! {
    /// What happens to an idempotency key.
    "idempotency" {
        Recorded = "idempotency.recorded" v 1,
    }
}
