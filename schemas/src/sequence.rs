//! Events of a sequence (`sequence-{name}`): numbers that never repeat.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Token;
use crate::macros::events;

/// All numbers up to and including `last` are used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Advanced {
    pub name: Token,
    pub last: u64,
}

events! {
    /// What happens to a sequence.
    "sequence" {
        Advanced = "sequence.advanced" v 1,
    }
}
