//! What all master data shares (sizes, colours, attribute types and values, categories): lifecycle, locks, usage counts.
//!
//! The payloads here are used by several aggregates, each under its own wire name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Label, Text, Timestamp, Token};

/// The lifecycle of master data, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "MasterLifecycle")]
pub enum Lifecycle {
    Draft,
    PendingApproval,
    Active,
    /// Stays where it is used; nothing new may use it.
    Deprecated,
    Archived,
}

impl Lifecycle {
    /// All states, in order.
    pub const ALL: [Self; 5] =
        [Self::Draft, Self::PendingApproval, Self::Active, Self::Deprecated, Self::Archived];

    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::PendingApproval => "pending_approval",
            Self::Active => "active",
            Self::Deprecated => "deprecated",
            Self::Archived => "archived",
        }
    }
}

/// What a lock on master data refuses to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "MasterLockScope")]
pub enum LockScope {
    /// Names, values, rules, place in a tree.
    Details,
    Lifecycle,
    Segmentation,
}

impl LockScope {
    pub const ALL: [Self; 3] = [Self::Details, Self::Lifecycle, Self::Segmentation];

    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Details => "details",
            Self::Lifecycle => "lifecycle",
            Self::Segmentation => "segmentation",
        }
    }
}

/// Declares the lifecycle events, which carry where it came from and why.
macro_rules! transitions {
    ($( $(#[$meta:meta])* $name:ident )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// The state before.
            pub from: Lifecycle,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub reason: Option<Text>,
        }
    )*};
}

transitions! {
    /// Draft → pending approval.
    Submitted
    /// Pending approval → draft.
    Rejected
    /// Draft or pending approval → active.
    Activated
    /// Active → deprecated.
    Deprecated
    /// Deprecated → active.
    Reinstated
    /// Draft or deprecated → archived, for ever.
    Archived
}

/// A governance lock: what it covers refuses changes until it is lifted or runs out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// Sorted, without repetition, at least one.
    pub scopes: Vec<LockScope>,
    pub reason: Text,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The principal that locked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_by: Option<Label>,
}

/// The lock was lifted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unlocked {
    pub reason: Text,
}

/// More or fewer use it. Written in the same append as what uses it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UsageChanged {
    pub delta: i64,
    /// How many use it from now on.
    pub in_use: u64,
    /// Whether a count over the log put it right.
    #[serde(default)]
    pub recounted: bool,
}

/// Channels and regions where it may be used; empty: everywhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SegmentationChanged {
    pub channels: Vec<Token>,
    pub regions: Vec<Token>,
    /// Why, as whoever did it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
}
