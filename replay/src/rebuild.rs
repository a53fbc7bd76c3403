//! Rebuild without downtime: a new generation is built beside the live one, proved equal to a replay at one position, and
//! swapped in atomically. The old one is kept for a rollback.

use std::time::Duration;

use daybook_eventlog::Position;
use daybook_projections::generations::{Projections, Swapped};
use daybook_schemas::operations::{Event, ProjectionSwapped};
use serde::{Deserialize, Serialize};

use crate::operations;
use crate::reconcile::{Progress, ReconcileError, compare};

/// How long the new generation may take to reach the head.
const CATCH_UP: Duration = Duration::from_secs(24 * 3_600);
/// How long the live generation may stand still while the new one takes what came last.
const SWAP: Duration = Duration::from_secs(30);

/// What a rebuild or rollback did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub name: String,
    pub from_generation: u64,
    pub to_generation: u64,
    /// The position that the new generation was live from.
    #[serde(with = "daybook_projections::position_text")]
    pub position: Position,
    /// Rows that were proved equal; absent for a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

/// Builds, proves and swaps in a new generation. One that is not equal to a replay is removed, and the live one stays.
pub async fn rebuild(
    projections: &Projections,
    name: &str,
    progress: Progress<'_>,
) -> Result<Report, ReconcileError> {
    let _alone = projections.proof(name).await?;
    let next = projections.begin_rebuild(name).await?;
    let head = projections.log().head().await?.position;
    let mut checkpoint = next.handle.watch_checkpoint();
    let built = next.handle.wait_for(head, CATCH_UP);
    tokio::pin!(built);
    loop {
        tokio::select! {
            result = &mut built => {
                result?;
                break;
            }
            changed = checkpoint.changed() => {
                if changed.is_ok() {
                    let position = *checkpoint.borrow_and_update();
                    progress(name, position, head);
                }
            }
        }
    }
    let (shadow, _, found) = compare(projections, &next, head, progress).await?;
    shadow.remove()?;
    if !found.keys.is_empty() {
        projections.abandon_rebuild(name).await?;
        return Err(ReconcileError::NotEqual { name: name.to_owned(), rows: found.keys.len() as u64 });
    }
    let swapped = projections.swap(name, &next, SWAP).await?;
    finish(projections, name, swapped, Some(found.rows)).await
}

/// Goes back to the generation before the last swap.
pub async fn rollback(projections: &Projections, name: &str) -> Result<Report, ReconcileError> {
    let swapped = projections.rollback(name, CATCH_UP).await?;
    finish(projections, name, swapped, None).await
}

async fn finish(
    projections: &Projections,
    name: &str,
    swapped: Swapped,
    rows: Option<u64>,
) -> Result<Report, ReconcileError> {
    let Swapped { from, to, position } = swapped;
    let event = Event::ProjectionSwapped(ProjectionSwapped {
        projection: name.to_owned(),
        from_generation: from,
        to_generation: to,
        position,
    });
    operations::record(projections.log(), name, &format!("swap {from} to {to} at {position}"), &event)
        .await?;
    Ok(Report { name: name.to_owned(), from_generation: from, to_generation: to, position, rows })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paused::tests::Shop;
    use crate::reconcile::reconcile;

    /// There is one shadow of a projection: who wants it waits.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn rebuilds_and_comparisons_at_once_are_done_one_after_the_other() {
        let shop = Shop::open().await;
        for variant in 0..20 {
            shop.receive(&format!("v{variant}")).await;
        }
        let names = ["inventory".to_owned()];
        let ignore = |_: &str, _: u64, _: u64| {};
        let mut progress = [ignore; 3];
        let [one, two, three] = &mut progress;
        let (first, second, compared) = tokio::join!(
            rebuild(&shop.projections, "inventory", one),
            rebuild(&shop.projections, "inventory", two),
            reconcile(&shop.projections, &names, false, three),
        );
        let mut generations = [first.unwrap().to_generation, second.unwrap().to_generation];
        generations.sort_unstable();
        assert_eq!(generations, [2, 3]);
        assert!(compared.unwrap().clean);
    }
}
