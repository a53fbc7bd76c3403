//! Work on a projection that stands still meanwhile.

use std::future::Future;

use daybook_projections::runner::{ProjectionHandle, RunnerError, RunnerState};

/// Pauses the projection for as long as the work takes. One that an operator had paused stays so.
pub(crate) async fn while_paused<T>(
    handle: &ProjectionHandle,
    work: impl Future<Output = T>,
) -> Result<T, RunnerError> {
    let was_paused = handle.state() == RunnerState::Paused;
    handle.pause().await?;
    let done = work.await;
    if !was_paused {
        handle.resume().await?;
    }
    Ok(done)
}
