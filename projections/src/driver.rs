//! Threads for the clients of servers, whose callers block: a projection's own thread, or one that serves a query.

use std::sync::mpsc::sync_channel;

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
