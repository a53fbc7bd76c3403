//! Reconciliation: a replay that diffs projections against the log.
//!
//! A shadow of the read model is built from the log to exactly the position that a snapshot of the live one stands at, and
//! the two are compared row by row. What differs is drift. The live projection goes on meanwhile; only a repair pauses it,
//! for as long as the shadow needs to catch up with it.
//!
//! - `diff`: the merge of two sorted row streams, bounded memory
//! - `shadow`: builds the replay; a shadow that an ended process left is gone on with from its checkpoint
//! - here: one projection, all projections, repair

mod diff;
mod shadow;

use std::sync::Arc;

use daybook_eventlog::{Position, ReadError};
use daybook_projections::generations::{Generation, GenerationError, Projections};
use daybook_projections::model::{RowAccess, RowKey, StoreError};
use daybook_projections::runner::RunnerError;
use daybook_schemas::operations::{DriftKind, Event, ProjectionRepaired, RepairedRow};
use serde::{Deserialize, Serialize};

use crate::operations;
use crate::paused::{Reached, reach, while_paused};
pub use diff::Difference;
use diff::Differences;
use shadow::Shadow;

/// Rows named in one event of a repair.
const ROWS_PER_EVENT: usize = 500;

/// What reconciliation found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The head when it began: every projection was compared at this position or later, a paused one where it stands.
    #[serde(with = "daybook_projections::position_text")]
    pub position: Position,
    /// No drift was found.
    pub clean: bool,
    pub projections: Vec<ProjectionReport>,
}

/// What it found in one projection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProjectionReport {
    pub name: String,
    pub generation: u64,
    /// The position that rows and log were compared at.
    #[serde(with = "daybook_projections::position_text")]
    pub position: Position,
    /// Rows that the log gives.
    pub rows: u64,
    pub drift: Vec<Difference>,
    /// Differing rows beyond those listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_drift: u64,
    /// Rows put right.
    pub repaired: u64,
}

impl ProjectionReport {
    fn is_clean(&self) -> bool {
        self.drift.is_empty()
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
const fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Why reconciliation could not be carried through.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error(transparent)]
    Generation(#[from] GenerationError),
    #[error(transparent)]
    Runner(#[from] RunnerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the repair could not be put on record")]
    Record(#[from] operations::RecordError),
    #[error("the shadow's folder could not be made ready")]
    Files(#[source] std::io::Error),
    #[error(
        "projection {name}: the new generation differs from a replay in {rows} rows; it was not made live"
    )]
    NotEqual { name: String, rows: u64 },
    #[error("the comparing thread failed")]
    Thread(#[from] tokio::task::JoinError),
}

/// Tells how far a projection's shadow is: name, position, position to reach.
pub type Progress<'a> = &'a mut (dyn FnMut(&str, u64, u64) + Send);

/// Compares the named projections (all, if none is named) with a replay, and puts rows right if asked to.
pub async fn reconcile(
    projections: &Projections,
    names: &[String],
    repair: bool,
    progress: Progress<'_>,
) -> Result<Report, ReconcileError> {
    let names = all_or_named(projections, names)?;
    let position = projections.log().head().await?.position;
    let mut reports = Vec::with_capacity(names.len());
    for name in &names {
        reports.push(one(projections, name, position, repair, progress).await?);
    }
    Ok(Report { position, clean: reports.iter().all(ProjectionReport::is_clean), projections: reports })
}

/// The named projections, or all if none is named. A misspelt name is known before hours of work.
pub(crate) fn all_or_named(
    projections: &Projections,
    names: &[String],
) -> Result<Vec<String>, GenerationError> {
    if names.is_empty() {
        return Ok(projections.names().iter().map(|name| (*name).to_owned()).collect());
    }
    for name in names {
        projections.kind(name)?;
    }
    Ok(names.to_vec())
}

async fn one(
    projections: &Projections,
    name: &str,
    head: Position,
    repair: bool,
    progress: Progress<'_>,
) -> Result<ProjectionReport, ReconcileError> {
    let _alone = projections.proof(name).await?;
    let live = projections.live(name)?;
    let (shadow, position, found) = compare(projections, &live, head, progress).await?;
    let mut report = ProjectionReport {
        name: name.to_owned(),
        generation: live.number,
        position,
        rows: found.rows,
        drift: found.listed,
        more_drift: found.more,
        repaired: 0,
    };
    if repair && !report.is_clean() {
        report.repaired = repair_rows(projections, &live, shadow, found.keys, progress).await?;
    } else {
        shadow.remove()?;
    }
    Ok(report)
}

/// Builds a shadow and compares a generation with it at one position, `head` or later. The caller has the projection's
/// [proof](Projections::proof) to itself.
pub(crate) async fn compare(
    projections: &Projections,
    generation: &Arc<Generation>,
    head: Position,
    progress: Progress<'_>,
) -> Result<(Shadow, Position, Differences), ReconcileError> {
    // One that an operator has paused will not reach the head: it is compared where it stands.
    let head = match reach(&generation.handle, head).await? {
        Reached::Wanted => head,
        Reached::Paused(position) => position,
    };
    // Most of the replay happens before the snapshot is taken, so that the store holds it for a short time only.
    let shadow = Shadow::open(projections, generation.handle.name())?.advance(head, progress).await?;
    let (shadow, live) = match snapshot(generation).await? {
        live if shadow.checkpoint() <= live.checkpoint() => (shadow, live),
        // The shadow of an ended process stands beyond the live one, which was rebuilt or rolled back since.
        live => {
            shadow.remove()?;
            (Shadow::open(projections, generation.handle.name())?, live)
        }
    };
    let position = live.checkpoint();
    let shadow = shadow.advance(position, progress).await?;
    let expected = shadow.snapshot()?;
    let found = tokio::task::spawn_blocking(move || diff::compare(&*expected, &*live)).await??;
    Ok((shadow, position, found))
}

async fn snapshot(generation: &Generation) -> Result<Box<dyn RowAccess>, ReconcileError> {
    Ok(generation.handle.with_model(|model| model.snapshot()).await??)
}

/// Writes what the log gives over every drifted row. The live projection is paused meanwhile; rows that changed since the
/// comparison get their newest content, because the shadow catches up first. Doing it twice changes nothing.
async fn repair_rows(
    projections: &Projections,
    live: &Arc<Generation>,
    shadow: Shadow,
    keys: Vec<(RowKey, DriftKind)>,
    progress: Progress<'_>,
) -> Result<u64, ReconcileError> {
    while_paused(&live.handle, repair_paused(projections, live, shadow, keys, progress)).await?
}

async fn repair_paused(
    projections: &Projections,
    live: &Arc<Generation>,
    shadow: Shadow,
    keys: Vec<(RowKey, DriftKind)>,
    progress: Progress<'_>,
) -> Result<u64, ReconcileError> {
    let position = live.handle.checkpoint();
    let shadow = shadow.advance(position, progress).await?;
    let expected = shadow.snapshot()?;
    for (chunk, keys) in keys.chunks(ROWS_PER_EVENT).enumerate() {
        let mut rows = Vec::with_capacity(keys.len());
        for (key, _) in keys {
            rows.push((key.clone(), expected.get(key)?));
        }
        let name = live.handle.name();
        let repaired = live.handle.with_model(move |model| {
            // Rows of this position must not overwrite what came after it.
            (model.checkpoint() == position).then(|| model.repair(&rows))
        });
        repaired.await?.ok_or_else(|| RunnerError::Unavailable {
            name: name.to_owned(),
            reason: "it was made to go on while it was being repaired; reconcile it again".to_owned(),
        })??;
        let event = Event::ProjectionRepaired(ProjectionRepaired {
            projection: name.to_owned(),
            generation: live.number,
            position,
            rows: keys.iter().map(|(key, kind)| RepairedRow { key: diff::shown(key), kind: *kind }).collect(),
        });
        let cause = format!("repair {}@{position} part {chunk}", live.number);
        operations::record(projections.log(), name, &cause, &event).await?;
    }
    drop(expected);
    shadow.remove()?;
    Ok(keys.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paused::tests::Shop;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn rows_of_one_position_are_not_written_over_those_of_a_later_one() {
        let shop = Shop::open().await;
        let position = shop.receive("v").await;
        let live = shop.projections.live("inventory").unwrap();
        live.handle.wait_for(position, std::time::Duration::from_secs(60)).await.unwrap();
        let (shadow, _, _) = compare(&shop.projections, &live, position, &mut |_, _, _| {}).await.unwrap();
        let keys = {
            let rows = shadow.snapshot().unwrap();
            let first = |table| Some((table, rows.scan(table, None, 1).unwrap().pop()?.0));
            let (table, key) = rows.tables().into_iter().find_map(first).unwrap();
            vec![(RowKey { table, key }, DriftKind::Changed)]
        };
        // Somebody has it go on while the shadow catches up, for which there is more to do by then.
        shop.receive("v").await;
        let later = shop.projections.log().head().await.unwrap().position;
        live.handle.wait_for(later, std::time::Duration::from_secs(60)).await.unwrap();
        let mut progress = |_: &str, _: u64, _: u64| {
            let runtime = tokio::runtime::Handle::current();
            tokio::task::block_in_place(|| {
                runtime.block_on(async {
                    let position = shop.receive("v").await;
                    live.handle.wait_for(position, std::time::Duration::from_secs(60)).await.unwrap();
                });
            });
        };
        let repaired = repair_paused(&shop.projections, &live, shadow, keys, &mut progress).await;
        let error = repaired.unwrap_err().to_string();
        assert!(error.contains("while it was being repaired"), "{error}");
    }
}
