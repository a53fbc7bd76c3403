//! The log as read models get it in a folder that does not know its log yet: no event is handed out before the folder names the
//! first of them. So whatever a kill leaves in the folder, nothing in it is of a log that the folder doesn't name.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use daybook_eventlog::pass_to_log;
use daybook_eventlog::{EventLog, Filter, Page, Position, ReadError};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Mutex;

use super::folder::Belonging;

pub(super) struct SettlingLog {
    inner: Arc<dyn EventLog>,
    belonging: Mutex<Belonging>,
    settled: AtomicBool,
}

impl SettlingLog {
    /// The log itself, if the folder knows it.
    pub(super) fn before(inner: Arc<dyn EventLog>, belonging: Belonging) -> Arc<dyn EventLog> {
        if belonging.is_settled() {
            return inner;
        }
        Arc::new(Self { inner, belonging: Mutex::new(belonging), settled: AtomicBool::new(false) })
    }

    async fn settle(&self) -> Result<(), ReadError> {
        let mut belonging = self.belonging.lock().await;
        belonging.settle(&*self.inner).await?;
        self.settled.store(belonging.is_settled(), Ordering::Release);
        Ok(())
    }

    /// Hands a page out once the folder names the log that it is of.
    fn settled_with<'a>(
        &'a self,
        reading: BoxFuture<'a, Result<Page, ReadError>>,
    ) -> BoxFuture<'a, Result<Page, ReadError>> {
        if self.settled.load(Ordering::Acquire) {
            return reading;
        }
        async move {
            let page = reading.await?;
            // A page without events that matter moves a checkpoint as well.
            if page.scanned_to > 0 {
                self.settle().await?;
            }
            Ok(page)
        }
        .boxed()
    }
}

impl EventLog for SettlingLog {
    pass_to_log!(inner: capabilities, append, append_group, read_stream, stream_revision, head, others, close);

    fn read_all<'a>(
        &'a self,
        after: Position,
        filter: &'a Filter,
        limit: usize,
        limit_bytes: usize,
    ) -> BoxFuture<'a, Result<Page, ReadError>> {
        self.settled_with(self.inner.read_all(after, filter, limit, limit_bytes))
    }

    fn read_tail<'a>(
        &'a self,
        after: Position,
        filter: &'a Filter,
        limit: usize,
        limit_bytes: usize,
    ) -> BoxFuture<'a, Result<Page, ReadError>> {
        self.settled_with(self.inner.read_tail(after, filter, limit, limit_bytes))
    }
}
