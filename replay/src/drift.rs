//! Damage on purpose: drift injection for simulations and drills. [`reconcile`](crate::reconcile) must find exactly what this
//! reports, and can repair it.
//!
//! A damaged row stays readable: text and numbers change, types and structure don't. Revisions, positions and keys are left
//! alone where a row has anything else. Still it is real damage: until the repair, queries show it, and a projector that meets a
//! row that is gone halts.

use std::sync::Arc;

use daybook_projections::generations::{GenerationError, Projections};
use daybook_projections::model::{RowAccess, RowKey, StoreError};
use daybook_projections::runner::RunnerError;
use daybook_schemas::operations::{DriftKind, RepairedRow};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::paused::while_paused;

const PAGE: usize = 1_024;
/// Most rows at once: as many as a report of reconciliation lists.
const MOST: u64 = 1_000;
/// What a changed text ends with, and the key of a made-up row.
const MARK: &str = "~drift";
/// Longest key that a made-up row's is made of: ids have at most 64 characters.
const LONGEST_KEY: usize = 56;

/// What to damage.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Damage {
    pub projection: String,
    /// At most this share of the rows, above 0 and at most 1; at least one row, at most 1,000.
    pub share: f64,
}

/// What was damaged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Injected {
    pub projection: String,
    pub generation: u64,
    /// Rows that the read model had.
    pub rows: u64,
    /// Each damaged row and what reconciliation must call it.
    pub damaged: Vec<RepairedRow>,
}

/// Why nothing was damaged.
#[derive(Debug, thiserror::Error)]
pub enum DriftError {
    #[error("share is above 0 and at most 1, got {0}")]
    Share(f64),
    #[error("projection {0} has no rows to damage")]
    Empty(String),
    #[error(transparent)]
    Generation(#[from] GenerationError),
    #[error(transparent)]
    Runner(#[from] RunnerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the reading thread failed")]
    Thread(#[from] tokio::task::JoinError),
}

/// Damages rows of the live generation, spread evenly over all tables: every third is changed, removed, made up.
pub async fn inject(projections: &Projections, damage: &Damage) -> Result<Injected, DriftError> {
    if !(damage.share > 0.0 && damage.share <= 1.0) {
        return Err(DriftError::Share(damage.share));
    }
    let live = projections.live(&damage.projection)?;
    let (rows, damaged) = while_paused(&live.handle, inject_paused(&live.handle, damage)).await??;
    tracing::warn!(projection = damage.projection, rows = damaged.len(), "rows were damaged on purpose");
    let damaged = damaged
        .into_iter()
        .map(|(key, kind)| RepairedRow { key: format!("{}/{}", key.table, key.key), kind })
        .collect();
    Ok(Injected { projection: damage.projection.clone(), generation: live.number, rows, damaged })
}

async fn inject_paused(
    handle: &daybook_projections::runner::ProjectionHandle,
    damage: &Damage,
) -> Result<(u64, Vec<(RowKey, DriftKind)>), DriftError> {
    let snapshot = handle.with_model(|model| model.snapshot()).await??;
    let (share, name) = (damage.share, damage.projection.clone());
    let (rows, wounds) = tokio::task::spawn_blocking(move || choose(&*snapshot, share)).await??;
    if wounds.is_empty() {
        return Err(DriftError::Empty(name));
    }
    let writes: Arc<[_]> = wounds.iter().map(|wound| (wound.key.clone(), wound.row.clone())).collect();
    handle.with_model(move |model| model.repair(&writes)).await??;
    Ok((rows, wounds.into_iter().map(|wound| (wound.key, wound.kind)).collect()))
}

struct Wound {
    key: RowKey,
    kind: DriftKind,
    row: Option<Vec<u8>>,
}

/// How many rows there are, and what to do to which of them.
fn choose(rows: &dyn RowAccess, share: f64) -> Result<(u64, Vec<Wound>), StoreError> {
    let mut count = 0_u64;
    for_each_row(rows, &mut |_, _| count += 1)?;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a count is a count"
    )]
    let wanted = ((count as f64 * share) as u64).clamp(1, MOST);
    let (step, mut wounds, mut index) = (count / wanted.max(1), Vec::new(), 0_u64);
    for_each_row(rows, &mut |key, row| {
        if index % step.max(1) == 0 && (wounds.len() as u64) < wanted {
            wounds.push(wound(wounds.len(), key, &row));
        }
        index += 1;
    })?;
    Ok((count, wounds))
}

fn for_each_row(rows: &dyn RowAccess, each: &mut dyn FnMut(RowKey, Vec<u8>)) -> Result<(), StoreError> {
    for table in rows.tables() {
        let mut after: Option<String> = None;
        loop {
            let page = rows.scan(table, after.as_deref(), PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (key, row) in page {
                each(RowKey { table, key }, row);
            }
        }
    }
    Ok(())
}

/// Changed, missing, extra in turn; where a row does not lend itself to that, it goes missing.
fn wound(number: usize, key: RowKey, row: &[u8]) -> Wound {
    let made_up =
        || Some((RowKey { table: key.table, key: format!("{}{MARK}", key.key) }, renamed(&key.key, row)?));
    match number % 3 {
        0 => match changed(row) {
            Some(row) => Wound { key, kind: DriftKind::Changed, row: Some(row) },
            None => Wound { key, kind: DriftKind::Missing, row: None },
        },
        2 => match made_up() {
            Some((key, row)) => Wound { key, kind: DriftKind::Extra, row: Some(row) },
            None => Wound { key, kind: DriftKind::Missing, row: None },
        },
        _ => Wound { key, kind: DriftKind::Missing, row: None },
    }
}

/// The row with one text or one number that is not what it was.
fn changed(row: &[u8]) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(row).ok()?;
    change_one(&mut value).then(|| value.to_string().into_bytes())
}

fn change_one(value: &mut Value) -> bool {
    // Free text first; then counts. What orders or identifies the row is no candidate.
    const TEXTS: [&str; 4] = ["name", "description", "brand", "actor"];
    const FIXED: [&str; 6] = ["revision", "position", "version", "scale", "at", "generation"];
    let text = |name: &str, value: &Value| TEXTS.contains(&name) && value.is_string();
    let count = |name: &str, value: &Value| {
        value.as_u64().is_some_and(|n| n < 1 << 31) && !FIXED.iter().any(|fixed| name.ends_with(fixed))
    };
    if let Some(Value::String(found)) = find(value, "", &text) {
        found.push_str(MARK);
        return true;
    }
    if let Some(found) = find(value, "", &count) {
        *found = (found.as_u64().unwrap_or(0) + 1).into();
        return true;
    }
    false
}

/// The first leaf that fits, by the name of the field it stands under.
fn find<'a>(value: &'a mut Value, name: &str, fits: &dyn Fn(&str, &Value) -> bool) -> Option<&'a mut Value> {
    if fits(name, value) {
        return Some(value);
    }
    match value {
        Value::Object(fields) => fields.iter_mut().find_map(|(name, value)| find(value, name, fits)),
        Value::Array(items) => items.iter_mut().find_map(|item| find(item, name, fits)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// A copy under another key. `None` for keys that are places in the log: nothing can be made up between them.
fn renamed(key: &str, row: &[u8]) -> Option<Vec<u8>> {
    let place = key.bytes().all(|byte| byte.is_ascii_digit());
    if place || key.len() > LONGEST_KEY {
        return None;
    }
    let mut value: Value = serde_json::from_slice(row).ok()?;
    rename(&mut value, key);
    Some(value.to_string().into_bytes())
}

fn rename(value: &mut Value, key: &str) {
    match value {
        Value::String(text) if text == key => text.push_str(MARK),
        Value::Object(fields) => fields.values_mut().for_each(|value| rename(value, key)),
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, key)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(mut value: Value) -> Option<Value> {
        change_one(&mut value).then_some(value)
    }

    #[test]
    fn a_change_keeps_the_form_and_spares_what_orders_the_row() {
        assert_eq!(
            change(json!({"revision": 3, "listing": {"name": "Shirt"}})),
            Some(json!({"revision": 3, "listing": {"name": "Shirt~drift"}}))
        );
        assert_eq!(
            change(json!({"last_position": 9, "revision": 3, "on_hand": 7})),
            Some(json!({"last_position": 9, "revision": 3, "on_hand": 8}))
        );
        assert_eq!(change(json!({"revision": 3, "state": "active"})), None);
    }

    #[test]
    fn a_made_up_row_carries_its_own_key() {
        let row = json!({"variant_id": "v1", "other": "v10"}).to_string();
        let renamed: Value = serde_json::from_slice(&renamed("v1", row.as_bytes()).unwrap()).unwrap();
        assert_eq!(renamed, json!({"variant_id": "v1~drift", "other": "v10"}));
        assert!(super::renamed("00000000000000000017", row.as_bytes()).is_none());
    }
}
