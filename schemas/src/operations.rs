//! Events that operators' work leaves (`operations-{projection}`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::macros::events;

/// What was wrong with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DriftKind {
    Missing,
    Extra,
    Changed,
}

/// A row that a repair put right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RepairedRow {
    /// `{table}/{key}`.
    pub key: String,
    pub kind: DriftKind,
}

/// Rows of a projection were made equal to a replay of the log. Long repairs leave several such events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectionRepaired {
    pub projection: String,
    pub generation: u64,
    /// The position that rows and log were compared at.
    pub position: u64,
    pub rows: Vec<RepairedRow>,
}

/// A new generation of a projection went live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectionSwapped {
    pub projection: String,
    pub from_generation: u64,
    pub to_generation: u64,
    pub position: u64,
}

/// An operator gave up an event that a projector could not take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLetterDiscarded {
    pub projection: String,
    pub position: u64,
    pub reason: String,
}

/// An import ran to its end; the report accounts for every row of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportCompleted {
    pub source: String,
    /// SHA-256 of the file as it was read, in hexadecimal.
    pub file_sha256: String,
    pub report: serde_json::Value,
}

events! {
    /// What operators' work leaves.
    "operations" {
        ProjectionRepaired = "operations.projection_repaired" v 1,
        ProjectionSwapped = "operations.projection_swapped" v 1,
        DeadLetterDiscarded = "operations.dead_letter_discarded" v 1,
        ImportCompleted = "operations.import_completed" v 1,
    }
}
