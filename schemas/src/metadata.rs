//! Who caused an event, and in which conversation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{CommandId, Label};

/// The principal behind a command: the name of its API key, or of the process that acted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Actor(pub Label);

impl Actor {
    /// Daybook itself: timers, repairs, process managers.
    #[must_use]
    pub fn system() -> Self {
        Self(Label::new("system").expect("a constant that keeps the rule"))
    }
}

/// Metadata of one event, stored beside the payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// The command that decided the event; all events of one command share it.
    pub command_id: CommandId,
    /// The first command of the conversation.
    pub correlation_id: CommandId,
    /// The command or event that led to this command.
    pub causation_id: CommandId,
    pub actor: Actor,
}
