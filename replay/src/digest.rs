//! Digests of read models: two that give the same say the same, wherever they are kept.
//!
//! A digest covers every row of every table, indexed copies included. In [`Scope::Bytes`] that is all that a row holds: equal for any two
//! read models that are at one position of one log. [`Scope::Facts`] leaves out what belongs to the log and not to the shop:
//! positions, which backends number in their own way, and the time of recording. So it is equal for two logs that hold the same
//! history, such as one import on two backends.

use std::fmt::Write;

use daybook_eventlog::{Position, ReadError};
use daybook_projections::generations::{GenerationError, Projections};
use daybook_projections::model::{RowAccess, StoreError};
use daybook_projections::runner::RunnerError;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::paused::reach;
use crate::reconcile::all_or_named;

const PAGE: usize = 1_024;

/// Fields that are the log's own, at any depth of a row.
const OF_THE_LOG: [&str; 4] = ["position", "recorded_at", "updated_at", "last_movement"];

/// What of the rows counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Everything, byte by byte.
    Bytes,
    /// Everything but positions and times of recording.
    Facts,
}

/// The digests of read models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The head when it began: every read model is shown as of this position or a later one, a paused one where it stands.
    #[serde(with = "daybook_projections::position_text")]
    pub position: Position,
    pub scope: Scope,
    pub projections: Vec<ProjectionDigest>,
}

/// The digests of one read model's live generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectionDigest {
    pub name: String,
    pub generation: u64,
    /// The position that the rows are current to.
    #[serde(with = "daybook_projections::position_text")]
    pub position: Position,
    pub tables: Vec<TableDigest>,
}

/// The digest of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDigest {
    pub table: String,
    pub rows: u64,
    /// The sum of the rows' SHA-256 digests modulo 2^256, in hexadecimal. The order of rows does not count: it is that of the keys, and
    /// keys that are positions are not part of [`Scope::Facts`]. It finds accidents, not forgeries.
    pub digest: String,
}

/// Why there is no digest.
#[derive(Debug, thiserror::Error)]
pub enum DigestError {
    #[error(transparent)]
    Generation(#[from] GenerationError),
    #[error(transparent)]
    Runner(#[from] RunnerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the reading thread failed")]
    Thread(#[from] tokio::task::JoinError),
}

/// Digests of the named projections (all, if none is named), once they have what the log holds now; of a paused one where it stands.
/// Memory: a page of rows.
pub async fn digest(
    projections: &Projections,
    names: &[String],
    scope: Scope,
) -> Result<Report, DigestError> {
    let names = all_or_named(projections, names)?;
    let position = projections.log().head().await?.position;
    let mut digests = Vec::with_capacity(names.len());
    for name in names {
        let live = projections.live(&name)?;
        reach(&live.handle, position).await?;
        let rows = live.handle.with_model(|model| model.snapshot()).await??;
        let position = rows.checkpoint();
        let tables = tokio::task::spawn_blocking(move || digest_rows(&*rows, scope)).await??;
        digests.push(ProjectionDigest { name, generation: live.number, position, tables });
    }
    Ok(Report { position, scope, projections: digests })
}

/// A digest of each table.
pub fn digest_rows(rows: &dyn RowAccess, scope: Scope) -> Result<Vec<TableDigest>, StoreError> {
    rows.tables().into_iter().map(|table| digest_table(rows, table, scope)).collect()
}

fn digest_table(rows: &dyn RowAccess, table: &str, scope: Scope) -> Result<TableDigest, StoreError> {
    let with_keys = scope == Scope::Bytes || !rows.keys_are_positions(table);
    let (mut count, mut sum) = (0_u64, [0_u8; 32]);
    let mut last: Option<String> = None;
    loop {
        let page = rows.scan(table, last.as_deref(), PAGE)?;
        let Some((key, _)) = page.last() else { break };
        last = Some(key.clone());
        for (key, row) in &page {
            let key = if with_keys { key.as_str() } else { "" };
            add(&mut sum, &row_digest(key, row, scope));
        }
        count += page.len() as u64;
    }
    let digest = sum.iter().rev().fold(String::with_capacity(64), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes every write");
        text
    });
    Ok(TableDigest { table: table.to_owned(), rows: count, digest })
}

fn row_digest(key: &str, row: &[u8], scope: Scope) -> [u8; 32] {
    let mut hash = Sha256::new();
    // The length keeps apart what belongs to the key and what to the row.
    hash.update((key.len() as u64).to_le_bytes());
    hash.update(key);
    match scope {
        Scope::Bytes => hash.update(row),
        Scope::Facts => match serde_json::from_slice(row) {
            Ok(mut value) => {
                strip(&mut value);
                hash.update(value.to_string());
            }
            // Damage, which is to show.
            Err(_) => hash.update(row),
        },
    }
    hash.finalize().into()
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !OF_THE_LOG.contains(&name.as_str()));
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// Adds to a number of 32 bytes, the least significant first.
fn add(sum: &mut [u8; 32], more: &[u8; 32]) {
    let mut carry = false;
    for (byte, more) in sum.iter_mut().zip(more) {
        let (first, over) = byte.overflowing_add(*more);
        let (second, again) = first.overflowing_add(u8::from(carry));
        *byte = second;
        carry = over || again;
    }
}

#[cfg(test)]
mod tests {
    use daybook_projections::model::RowKey;

    use super::*;

    struct Rows {
        by_position: bool,
        rows: Vec<(String, String)>,
    }

    impl RowAccess for Rows {
        fn checkpoint(&self) -> u64 {
            7
        }
        fn tables(&self) -> Vec<&'static str> {
            vec!["t"]
        }
        fn keys_are_positions(&self, _: &str) -> bool {
            self.by_position
        }
        fn scan(
            &self,
            _: &str,
            after: Option<&str>,
            limit: usize,
        ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
            let rows = self.rows.iter().filter(|(key, _)| after.is_none_or(|after| key.as_str() > after));
            Ok(rows.take(limit).map(|(key, row)| (key.clone(), row.clone().into_bytes())).collect())
        }
        fn get(&self, _: &RowKey) -> Result<Option<Vec<u8>>, StoreError> {
            Ok(None)
        }
    }

    fn of(by_position: bool, rows: &[(&str, &str)], scope: Scope) -> (u64, String) {
        let rows = rows.iter().map(|(key, row)| ((*key).to_owned(), (*row).to_owned())).collect();
        let digest = digest_rows(&Rows { by_position, rows }, scope).unwrap().remove(0);
        (digest.rows, digest.digest)
    }

    #[test]
    fn any_byte_any_row_and_any_key_count() {
        let all = |rows: &[(&str, &str)]| of(false, rows, Scope::Bytes);
        let base = all(&[("a", "1"), ("b", "2")]);
        assert_eq!(base.0, 2);
        assert_eq!(base, all(&[("a", "1"), ("b", "2")]));
        for other in [
            &[("a", "1"), ("b", "3")][..],
            &[("a", "1")],
            &[("a", "1"), ("c", "2")],
            &[("a", "2"), ("b", "1")],
        ] {
            assert_ne!(base, all(other), "{other:?}");
        }
        // What a key ends with is not what a row begins with.
        assert_ne!(all(&[("ab", "1")]), all(&[("a", "b1")]));
        // A row that is there twice is not a row that is not there.
        assert_ne!(all(&[("a", "1"), ("a", "1")]).1, all(&[]).1);
    }

    #[test]
    fn a_table_of_many_pages_is_read_whole() {
        let rows: Vec<_> = (0..5_000).map(|n| (format!("{n:05}"), n.to_string())).collect();
        let digest = digest_rows(&Rows { by_position: false, rows }, Scope::Bytes).unwrap().remove(0);
        assert_eq!(digest.rows, 5_000);
    }

    #[test]
    fn what_is_the_logs_own_does_not_count_among_facts() {
        let first = [("1", r#"{"doc":{"sku":"a","position":4,"lines":[{"updated_at":5,"n":1}]}}"#)];
        let moved = [("1", r#"{"doc":{"sku":"a","position":9,"lines":[{"updated_at":6,"n":1}]}}"#)];
        let changed = [("1", r#"{"doc":{"sku":"a","position":4,"lines":[{"updated_at":5,"n":2}]}}"#)];
        assert_eq!(of(false, &first, Scope::Facts), of(false, &moved, Scope::Facts));
        assert_ne!(of(false, &first, Scope::Bytes), of(false, &moved, Scope::Bytes));
        assert_ne!(of(false, &first, Scope::Facts), of(false, &changed, Scope::Facts));
    }

    #[test]
    fn keys_that_are_positions_are_no_facts() {
        let (there, elsewhere) = ([("1", "{}"), ("2", "[]")], [("4", "[]"), ("7", "{}")]);
        assert_eq!(of(true, &there, Scope::Facts), of(true, &elsewhere, Scope::Facts));
        assert_ne!(of(true, &there, Scope::Bytes), of(true, &elsewhere, Scope::Bytes));
        assert_ne!(of(false, &there, Scope::Facts), of(false, &elsewhere, Scope::Facts));
    }

    #[test]
    fn sums_carry_over() {
        let mut sum = [255; 32];
        let mut one = [0; 32];
        one[0] = 1;
        add(&mut sum, &one);
        assert_eq!(sum, [0; 32]);
        sum[0] = 255;
        add(&mut sum, &one);
        assert_eq!((sum[0], sum[1], sum[2]), (0, 1, 0));
    }
}
