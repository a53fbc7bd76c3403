//! Queries of the audit view.

use std::ops::Bound;

use daybook_schemas::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{AuditRow, EVENTS, folded};
use crate::model::StoreError;
use crate::rows::{IndexValue, ReadTransaction, Select, position_key, select_views};

/// Most entries of one page.
pub const MAX_PAGE: usize = 1_000;

/// Which events. With a stream, an actor or a reason, events come in the order of the log; with a range of time alone, in
/// order of time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    pub stream: Option<String>,
    pub actor: Option<String>,
    /// Those that were done for this reason: compared by its first 100 characters, in either case.
    pub reason: Option<String>,
    /// Recorded at this time or later.
    pub from: Option<Timestamp>,
    /// Recorded before this time.
    pub before: Option<Timestamp>,
    /// The latest first.
    pub descending: bool,
}

/// An entry of the audit view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AuditEntry {
    pub position: String,
    #[serde(flatten)]
    pub event: AuditRow,
}

/// A page of entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AuditPage {
    pub entries: Vec<AuditEntry>,
    /// Where the next page starts: give it as `after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Where a page goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditCursor {
    recorded_at: i64,
    position: u64,
}

impl AuditCursor {
    /// Reads what [`AuditPage::next`] gave; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (recorded_at, position) = text.split_once(':')?;
        let position: i64 = position.parse().ok()?;
        Some(Self { recorded_at: recorded_at.parse().ok()?, position: u64::try_from(position).ok()? })
    }
}

/// Events that the filter selects.
pub fn list(
    rows: &dyn ReadTransaction,
    filter: &AuditFilter,
    after: Option<AuditCursor>,
    limit: usize,
) -> Result<AuditPage, StoreError> {
    let limit = limit.clamp(1, MAX_PAGE);
    let mut select = Select::all(&EVENTS, limit + 1);
    select.descending = filter.descending;
    for (column, value) in [("stream", &filter.stream), ("actor", &filter.actor)] {
        if let Some(value) = value {
            select = select.equal(column, value.as_str());
        }
    }
    if let Some(reason) = &filter.reason {
        select = select.equal("reason", folded(reason).as_str());
    }
    let from = filter.from.map_or(Bound::Unbounded, |at| Bound::Included(at.as_micros().into()));
    let to = filter.before.map_or(Bound::Unbounded, |at| Bound::Excluded(at.as_micros().into()));
    let by_time = select.equals.is_empty() && (filter.from.is_some() || filter.before.is_some());
    select = select.between("recorded_at", from, to);
    if by_time {
        select = select.order_by("recorded_at");
    }
    select = select.after(after.map(|cursor| {
        let key = IndexValue::Text(position_key(cursor.position));
        if by_time { vec![cursor.recorded_at.into(), key] } else { vec![key] }
    }));
    let mut found = select_views::<AuditRow>(rows, &select)?;
    let more = found.len() > limit;
    found.truncate(limit);
    let entries: Vec<AuditEntry> = found
        .into_iter()
        .map(|(key, event)| AuditEntry { position: key.trim_start_matches('0').to_owned(), event })
        .collect();
    let last = entries.last().filter(|_| more);
    let next = last.map(|entry| format!("{}:{}", entry.event.recorded_at.as_micros(), entry.position));
    Ok(AuditPage { entries, next })
}
