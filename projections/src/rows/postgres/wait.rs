//! Blocking calls over an asynchronous client: runners and queries are threads of their own.
//!
//! The caller polls its future itself and sleeps in between; a runtime of one thread only watches sockets and clocks. So a call may come from
//! anywhere, from within another runtime as well, and borrows what it needs.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::model::StoreError;

/// Watches the sockets of a process's stores.
#[derive(Clone)]
pub(super) struct Waiter {
    runtime: Arc<Owned>,
}

/// Ends the runtime without waiting for it: the last handle may be dropped within another runtime, where waiting is refused.
struct Owned(Option<Runtime>);

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Waiter {
    pub(super) fn new() -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("read-model-sockets")
            .enable_all()
            .build()
            .map_err(|error| StoreError::Unavailable(format!("cannot start a thread: {error}")))?;
        Ok(Self { runtime: Arc::new(Owned(Some(runtime))) })
    }

    /// Blocks until the future is done, at most `limit`: then it is dropped unfinished, and `None`.
    pub(super) fn wait<T>(&self, limit: Duration, future: impl Future<Output = T>) -> Option<T> {
        let runtime = self.runtime.0.as_ref().expect("taken only on drop");
        let _context = runtime.enter();
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        // Within a task of some runtime, that task's share of polls would be used up, and nobody would renew it.
        let mut future = pin!(tokio::task::unconstrained(tokio::time::timeout(limit, future)));
        loop {
            match future.as_mut().poll(&mut context) {
                Poll::Ready(done) => return done.ok(),
                // Woken before, it returns at once; woken for something else, it polls once too often.
                Poll::Pending => std::thread::park(),
            }
        }
    }
}
