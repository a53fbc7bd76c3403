//! Projections that stand still: for work of ours, or because an operator wants it so.

use std::future::Future;
use std::time::Duration;

use daybook_eventlog::Position;
use daybook_projections::runner::{ProjectionHandle, RunnerError, RunnerState};

/// How long a projection may take to reach the head.
const CATCH_UP: Duration = Duration::from_secs(24 * 3_600);

/// Pauses the projection for as long as the work takes. One that an operator has paused, or pauses meanwhile, stays so. Others who want the same wait
/// their turn, or one would have the projection go on under the other's hands.
pub(crate) async fn while_paused<T>(
    handle: &ProjectionHandle,
    work: impl Future<Output = T>,
) -> Result<T, RunnerError> {
    let _turn = handle.take_turn().await;
    handle.lend().await?;
    let done = work.await;
    handle.take_back().await?;
    Ok(done)
}

/// Where a projection is when it has been waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    /// It has what was asked for.
    Wanted,
    /// An operator has paused it before that.
    Paused(Position),
}

/// Waits until a projection has `position`. One that an operator has paused, or pauses meanwhile, will not get there: it is not
/// waited for.
pub(crate) async fn reach(handle: &ProjectionHandle, position: Position) -> Result<Reached, RunnerError> {
    let mut state = handle.watch_state();
    loop {
        tokio::select! {
            biased;
            reached = handle.wait_for(position, CATCH_UP) => return reached.map(|_| Reached::Wanted),
            paused = state.wait_for(|state| *state == RunnerState::Paused) => {
                if paused.is_err() {
                    return Err(RunnerError::Stopped(handle.name().to_owned()));
                }
            }
        }
        // It may stand still for work of ours: that ends.
        let _turn = handle.take_turn().await;
        if handle.state() == RunnerState::Paused {
            let checkpoint = handle.checkpoint();
            return Ok(if checkpoint >= position { Reached::Wanted } else { Reached::Paused(checkpoint) });
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use daybook_commands::{Dispatcher, ManualClock, Principal, Request};
    use daybook_eventlog::{EventLog, MemoryLog};
    use daybook_projections::generations::Projections;
    use daybook_projections::standard;
    use daybook_schemas::Timestamp;
    use tokio::runtime::Handle;

    use super::*;
    use crate::digest::{Scope, digest};
    use crate::integrity;

    /// A dispatcher and all read models on a log in memory.
    pub(crate) struct Shop {
        pub(crate) dispatcher: Dispatcher,
        pub(crate) projections: Projections,
        _folder: tempfile::TempDir,
    }

    impl Shop {
        pub(crate) async fn open() -> Self {
            let log: Arc<dyn EventLog> = Arc::new(MemoryLog::new());
            let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_000_000)));
            let dispatcher = Dispatcher::start(Arc::clone(&log), Default::default(), clock).await.unwrap();
            let folder = tempfile::tempdir().unwrap();
            let registry = standard::registry();
            let projections = Projections::open(folder.path(), &registry, log, Handle::current()).unwrap();
            Self { dispatcher, projections, _folder: folder }
        }

        /// Gives the position of the event.
        pub(crate) async fn receive(&self, variant: &str) -> Position {
            let body = Bytes::from_static(br#"{"quantity":1}"#);
            let request = Request::new("inventory", variant, "receive", body, Principal::system());
            self.dispatcher.dispatch(request).await.unwrap().position
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_paused_read_model_is_taken_where_it_stands() {
        let shop = Shop::open().await;
        let before = shop.receive("v").await;
        for name in ["inventory", "catalogue"] {
            let live = shop.projections.live(name).unwrap();
            assert_eq!(reach(&live.handle, before).await.unwrap(), Reached::Wanted);
            shop.projections.pause(name).await.unwrap();
        }
        shop.receive("v").await;
        let report = digest(&shop.projections, &["inventory".to_owned()], Scope::Bytes).await.unwrap();
        assert_eq!(report.projections[0].position, before);
        let found = integrity::check(&shop.projections, &shop.dispatcher, false).await.unwrap();
        let reason = found.skipped.unwrap();
        assert!(reason.contains("catalogue is paused"), "{reason}");
    }

    /// The one that comes first would make it go on while the other is at work.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn works_on_one_projection_wait_for_each_other() {
        let shop = Shop::open().await;
        let live = shop.projections.live("inventory").unwrap();
        let handle = &live.handle;
        let work = async |turns: usize| {
            let work = async {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
                handle.state() == RunnerState::Paused
            };
            while_paused(handle, work).await.unwrap()
        };
        let (short, long) = tokio::join!(work(1), work(200));
        assert!(short && long);
        assert_ne!(handle.state(), RunnerState::Paused);
    }
}
