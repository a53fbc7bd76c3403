//! The commands that all master data takes.

use daybook_schemas::master::LockScope;
use daybook_schemas::{Label, Text, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::actions::actions;
use crate::lifecycle::BrokenRule;

/// A step of the lifecycle.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    #[serde(default)]
    pub reason: Option<Text>,
    /// A looked-up fact: what breaks a rule and stands in other streams.
    #[serde(skip)]
    pub broken: Vec<BrokenRule>,
}

/// Locks parts against change. One's own lock is replaced by one that covers
/// the same and as long; anything else that would lift a lock is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// At least one; all of them unless given.
    #[serde(default = "every_scope", deserialize_with = "or_every_scope")]
    pub scopes: Vec<LockScope>,
    pub reason: Text,
    /// When it ends by itself; never unless given.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// A fact: the principal behind the command.
    #[serde(skip)]
    pub locked_by: Option<Label>,
}

fn every_scope() -> Vec<LockScope> {
    LockScope::ALL.to_vec()
}

fn or_every_scope<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<LockScope>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_else(every_scope))
}

/// Lifts the lock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unlock {
    pub reason: Text,
}

/// More or fewer use it: decided together with what uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountUsage {
    pub delta: i64,
}

/// Puts the usage count right, as a count over the log found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recount {
    pub in_use: u64,
}

actions! {
    /// What can be asked of any master data.
    routed {
        "submit": Submit(Step), "Draft to pending approval.";
        "reject": Reject(Step), "Pending approval back to draft.";
        "approve": Approve(Step), "Pending approval to active.";
        "activate": Activate(Step), "Draft to active, without the workflow.";
        "deprecate": Deprecate(Step), "Active to deprecated: it stays where it is used, nothing new may use it.";
        "reinstate": Reinstate(Step), "Deprecated back to active.";
        "archive": Archive(Step), "Deprecated or draft to archived, for ever; nothing may use it.";
        "lock": Lock(Lock), "Locks parts against change.";
        "unlock": Unlock(Unlock), "Lifts the lock.";
        "recount": Recount(Recount), "Puts the usage count right.";
    }
    internal {}
    described {}
    composed {
        /// More or fewer use it.
        CountUsage(CountUsage),
    }
}

/// Declares the `Action` of an aggregate of the master data: its own commands, and those of all.
macro_rules! master_actions {
    (
        $(#[$meta:meta])*
        routed { $( $name:literal: $variant:ident($body:ty), $summary:literal; )* }
        composed { $( $(#[$cmeta:meta])* $cvariant:ident($cbody:ty), )* }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub enum Action {
            $( #[doc = $summary] $variant($body), )*
            $( $(#[$cmeta])* $cvariant($cbody), )*
            /// What all master data takes.
            Govern($crate::master::Action),
        }

        impl Action {
            /// Parses the JSON body of a command; an empty body stands for `{}`. `None`: no such command.
            pub fn parse(command: &str, body: &[u8]) -> Option<Result<Self, serde_json::Error>> {
                match command {
                    $( $name => {
                        let body = ::daybook_schemas::body::or_empty(body);
                        Some(::daybook_schemas::body::from_slice::<$body>(body).map(Self::$variant))
                    } )*
                    other => $crate::master::Action::parse(other, body).map(|parsed| parsed.map(Self::Govern)),
                }
            }

            /// Every command that has a route, with its schema.
            #[must_use]
            pub fn specs() -> Vec<$crate::CommandSpec> {
                let mut specs = vec![
                    $( $crate::CommandSpec { name: $name, summary: $summary, schema: || schemars::schema_for!($body), internal: false }, )*
                ];
                specs.extend($crate::master::Action::specs());
                specs
            }
        }
    };
}
pub(crate) use master_actions;
