//! The log as read models get it in a folder that does not know its log yet: no event is handed out before the folder names the
//! first of them. So whatever a kill leaves in the folder, nothing in it is of a log that the folder doesn't name.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use daybook_eventlog::{
    Append, AppendError, Appended, Capabilities, EventLog, Filter, Head, Page, Position, ReadError,
    RecordedEvent, Revision, StreamId,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{Mutex, broadcast, watch};

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
}

impl EventLog for SettlingLog {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>> {
        self.inner.append(append)
    }

    fn append_group(&self, appends: Vec<Append>) -> BoxFuture<'static, Vec<Result<Appended, AppendError>>> {
        self.inner.append_group(appends)
    }

    fn read_stream<'a>(
        &'a self,
        stream: &'a StreamId,
        from: Revision,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, ReadError>> {
        self.inner.read_stream(stream, from, limit)
    }

    fn stream_revision<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<Revision, ReadError>> {
        self.inner.stream_revision(stream)
    }

    fn read_all<'a>(
        &'a self,
        after: Position,
        filter: &'a Filter,
        limit: usize,
        limit_bytes: usize,
    ) -> BoxFuture<'a, Result<Page, ReadError>> {
        if self.settled.load(Ordering::Acquire) {
            return self.inner.read_all(after, filter, limit, limit_bytes);
        }
        async move {
            let page = self.inner.read_all(after, filter, limit, limit_bytes).await?;
            // A page without events that matter moves a checkpoint as well.
            if page.scanned_to > 0 {
                self.settle().await?;
            }
            Ok(page)
        }
        .boxed()
    }

    fn piece_end(&self, after: Position, wanted: u64) -> Position {
        self.inner.piece_end(after, wanted)
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, ReadError>> {
        self.inner.head()
    }

    fn watch_head(&self) -> watch::Receiver<Position> {
        self.inner.watch_head()
    }

    fn look(&self) {
        self.inner.look();
    }

    fn ask_for_turn(&self, stream: &StreamId) {
        self.inner.ask_for_turn(stream);
    }

    fn turns_asked(&self) -> Option<broadcast::Receiver<StreamId>> {
        self.inner.turns_asked()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}
