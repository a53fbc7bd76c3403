//! Threads for the clients of servers, whose callers block: a projection's own thread, or one that serves a query.

use std::sync::Weak;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use daybook_eventlog::breaker::{Breaker, CircuitState, jittered};
use futures::future::BoxFuture;
use tokio::runtime::Runtime;

use crate::model::StoreError;

/// A runtime of its own, so that a client works wherever it is called from, and goes without being waited for.
pub(crate) struct Driver {
    /// Always there but while this is being dropped.
    runtime: Option<Runtime>,
}

impl Driver {
    pub(crate) fn new(name: &str) -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name(name)
            .enable_all()
            .build()
            .map_err(|e| StoreError::Unavailable(format!("cannot start a thread: {e}")))?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Does the work on the driver's thread while the caller waits. `None`: it panicked.
    pub(crate) fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (sender, result) = sync_channel(1);
        self.spawn(async move {
            // Nobody listens only if the caller's thread is gone.
            let _ = sender.send(work.await);
        });
        result.recv().ok()
    }

    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let runtime = self.runtime.as_ref().expect("taken out only by dropping");
        runtime.spawn(work);
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // May happen on a thread that drives tasks, which must not wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Between two signs of life, and between two tries at a server that is away.
const PROBE_EVERY: Duration = Duration::from_secs(1);
const PROBE_AWAY: Duration = Duration::from_millis(250);

/// Asks a server for signs of life and tells the breaker of them, so that neither opening nor closing needs requests. Ends
/// when `ask` gives nothing more to wait for, or the breaker is gone.
pub(crate) async fn probe(
    breaker: Weak<Breaker>,
    ask: impl Fn() -> Option<BoxFuture<'static, Result<(), String>>> + Send + 'static,
) {
    loop {
        let Some(state) = breaker.upgrade().map(|breaker| breaker.status().state) else { return };
        let pause = if state == CircuitState::Closed { PROBE_EVERY } else { PROBE_AWAY };
        tokio::time::sleep(jittered(pause)).await;
        let Some(trial) = breaker.upgrade().map(|breaker| breaker.trial()) else { return };
        let Some(trial) = trial else { continue };
        let Some(asked) = ask() else { return };
        match asked.await {
            Ok(()) => trial.succeeded(),
            Err(reason) => trial.failed(&reason),
        }
    }
}
