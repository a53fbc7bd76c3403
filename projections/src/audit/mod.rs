//! The audit view: who did what to which stream, why, and when; a slim row for every event.
//!
//! Rows are keyed by position and only ever appended; nothing is decoded but the metadata and, where there is one, the reason.
//! Idempotency keys, claims and sequences leave no rows: they are machinery that stands beside the events of the same command.

pub mod query;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use daybook_eventlog::RecordedEvent;
use daybook_schemas::Timestamp;
use memchr::memmem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::model::{ProjectError, Projected};
use crate::rows::{Column, IndexValue, KeyKind, Projector, Rows, StoreSpec, TableSpec, View};

/// The projection's name.
pub const NAME: &str = "audit";

static EVENTS: TableSpec = TableSpec {
    name: "events",
    key: KeyKind::Position,
    columns: &[
        Column::text("stream"),
        Column::text("actor"),
        Column::integer("recorded_at"),
        Column::text("reason"),
    ],
    indexes: &[&["stream"], &["actor"], &["recorded_at"], &["reason"]],
    dictionary: Some(include_bytes!("events.zdict")),
};

static TABLES: &[&TableSpec] = &[&EVENTS];

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditRow {
    #[schemars(with = "String")]
    pub stream: SmolStr,
    pub revision: u64,
    #[serde(rename = "type")]
    #[schemars(with = "String")]
    pub event_type: SmolStr,
    #[schemars(with = "String")]
    pub actor: SmolStr,
    #[schemars(with = "String")]
    pub command_id: SmolStr,
    pub recorded_at: Timestamp,
    /// Why, as whoever did it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl View for AuditRow {
    const TABLE: &'static TableSpec = &EVENTS;

    fn index(&self) -> Vec<IndexValue> {
        vec![
            IndexValue::Text(self.stream.clone()),
            IndexValue::Text(self.actor.clone()),
            self.recorded_at.as_micros().into(),
            self.reason.as_deref().map(folded).map_or(IndexValue::Null, IndexValue::Text),
        ]
    }
}

/// The part of the metadata that rows hold.
#[derive(Deserialize)]
struct Who<'a> {
    #[serde(borrow)]
    actor: Cow<'a, str>,
    #[serde(borrow)]
    command_id: Cow<'a, str>,
}

/// The part of the payload that rows hold.
#[derive(Deserialize)]
struct Why {
    reason: Option<String>,
}

/// The reason that the payload gives. Most payloads don't speak of any, and are not read.
fn reason(event: &RecordedEvent) -> Option<String> {
    memmem::find(event.data(), b"\"reason\"")?;
    serde_json::from_slice::<Why>(event.data()).ok()?.reason
}

/// What reasons are compared by: their first 100 characters, in either case, with one blank for every run of blanks and
/// control characters. Short enough for the index of any engine.
fn folded(reason: &str) -> SmolStr {
    let words = reason.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let joined = words.collect::<Vec<_>>().join(" ");
    joined.chars().flat_map(char::to_lowercase).take(100).collect()
}

/// Fills the audit view.
#[derive(Debug, Clone, Copy, Default)]
pub struct Audit;

impl Projector for Audit {
    fn spec(&self) -> StoreSpec {
        StoreSpec { name: NAME, version: 3, tables: TABLES }
    }

    fn handles(&self, event_type: &str) -> bool {
        !["idempotency.", "claim.", "sequence."].iter().any(|machinery| event_type.starts_with(machinery))
    }

    fn needs_decoding(&self) -> bool {
        false
    }

    fn project(&self, event: &Projected, rows: &mut Rows<'_>) -> Result<(), ProjectError> {
        self.project_recorded(&event.recorded, rows)
    }

    fn project_recorded(&self, event: &RecordedEvent, rows: &mut Rows<'_>) -> Result<(), ProjectError> {
        let who: Who<'_> = serde_json::from_slice(event.metadata())
            .map_err(|e| ProjectError::Rejected(format!("its metadata does not say who caused it: {e}")))?;
        let row = AuditRow {
            stream: event.stream().into(),
            revision: event.revision,
            event_type: event.event_type().into(),
            actor: who.actor.into(),
            command_id: who.command_id.into(),
            recorded_at: Timestamp::from_micros(event.recorded_at),
            reason: reason(event),
        };
        rows.append(event.position, &row);
        Ok(())
    }
}
