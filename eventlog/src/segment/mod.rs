//! The embedded durable backend: one writer, zero-filled segment files, group commit.
//!
//! - `storage`: the only way to the disk, and `overlay`, the way to look without changing anything; `frame`: what is written; `tail`: segments that are not sealed yet.
//! - `sealed`: compressed segments; `run` and `filter`: the stream index; `sealing` and `background`: how they come about.
//! - `queue` and `writer`: the append path; `shared` and `reader`: what readers see; `recover` and `restore`: opening.
//!
//! The files are described byte by byte in `docs/log-format.md`.

mod background;
mod backup;
mod cache;
mod codec;
#[doc(hidden)]
pub mod fault;
mod filter;
mod frame;
mod options;
mod overlay;
mod queue;
mod reader;
mod recover;
mod restore;
mod run;
mod sealed;
mod sealing;
mod shared;
pub mod storage;
mod tail;
mod verify;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

pub use backup::{BackupError, Transfer, inspect};
pub use filter::stream_hash;
pub use options::{Cut, OpenError, OpenReport, SegmentOptions};
use overlay::Overlay;
use shared::Shared;
use storage::{DirStorage, Storage};
pub use verify::{Finding, VerifyReport};
use writer::Writer;

use crate::event::RecordedEvent;
use crate::log::{
    Append, AppendError, Appended, Capabilities, EventLog, Filter, Head, Page, Position, ReadError, Revision,
    StreamId,
};

/// The version of the file format that this release writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// An event log in a folder of segment files.
///
/// Reading methods of the trait read files in place (a short `pread` through the page cache); callers that read much
/// and must not hold up an async executor use the `_blocking` methods on a thread of their own.
pub struct SegmentLog {
    shared: Arc<Shared>,
    report: OpenReport,
    writer: Mutex<Option<JoinHandle<()>>>,
    done: watch::Receiver<bool>,
}

/// The parts of a segment log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentStats {
    pub sealed_segments: usize,
    pub unsealed_segments: usize,
    pub index_runs: usize,
    /// Memory that keys and filters of the stream index take, in bytes.
    pub index_memory_bytes: usize,
}

impl SegmentLog {
    /// Opens the log in `folder`, or makes one if the folder is empty or missing. Reads the unsealed tail.
    ///
    /// # Errors
    /// The folder is in use, holds something else or a newer format, is damaged, or cannot be read and written.
    pub fn open(folder: impl AsRef<Path>, options: SegmentOptions) -> Result<Self, OpenError> {
        let folder = folder.as_ref();
        let storage = DirStorage::new(folder).map_err(OpenError::io(format!("open {}", folder.display())))?;
        Self::open_on(Arc::new(storage), options)
    }

    /// Opens the log in `folder` to read it, and leaves every byte of the folder as it is: what an opening puts right lies in memory
    /// until the log is closed. A torn tail is not shown, but reported ([`SegmentLog::open_report`]). Nothing can be appended.
    /// Several may read at the same time; nobody may have it open to write.
    ///
    /// # Errors
    /// The folder is in use, holds no log or a newer format, is damaged, or cannot be read.
    pub fn open_to_read(folder: impl AsRef<Path>, options: SegmentOptions) -> Result<Self, OpenError> {
        let overlay = Overlay::over(folder.as_ref());
        // It would be made in memory: an empty log where there is none.
        if !folder.as_ref().join(recover::IDENTITY).is_file() {
            let detail = format!("it holds no {} file", recover::IDENTITY);
            return Err(OpenError::Foreign { folder: overlay.describe(), detail });
        }
        // Sealing and merging would only fill the memory.
        let log = Self::open_on(Arc::new(overlay), SegmentOptions { background: false, ..options })?;
        log.shared.note_stopped(&AppendError::Stopped("the log was opened to be read only".into()));
        Ok(log)
    }

    /// Opens the log on any storage.
    ///
    /// # Errors
    /// As [`SegmentLog::open`].
    pub fn open_on(storage: Arc<dyn Storage>, options: SegmentOptions) -> Result<Self, OpenError> {
        let found = recover::recover(&*storage, &options)?;
        let newest = found.view.tail[found.view.tail.len() - 1].clone();
        let shared = Arc::new(Shared::new(storage, options, found.log_id, found.view, found.head));
        let writer = Writer::new(shared.clone(), newest);
        let (done_sender, done) = watch::channel(false);
        let lock = found.lock;
        let background = shared.options.background;
        let threads = if background { background::start(&shared) } else { Ok(Vec::new()) };
        let threads = threads.map_err(OpenError::io("start a background thread"))?;
        let shared_by_threads = shared.clone();
        let thread = std::thread::Builder::new()
            .name("eventlog-writer".into())
            .spawn(move || {
                writer.run();
                shared_by_threads.work.stop();
                for thread in threads {
                    // A panic has been printed by its thread.
                    let _ = thread.join();
                }
                drop(lock);
                done_sender.send_replace(true);
            })
            .map_err(OpenError::io("start the writer thread"))?;
        Ok(Self { shared, report: found.report, writer: Mutex::new(Some(thread)), done })
    }

    /// What opening found: how much was read, and whether a torn tail was cut.
    #[must_use]
    pub fn open_report(&self) -> &OpenReport {
        &self.report
    }

    /// The log's identity, drawn when it was made.
    #[must_use]
    pub fn log_id(&self) -> Uuid {
        self.shared.log_id
    }

    /// Why the log has stopped for good, if it has.
    #[must_use]
    pub fn stopped(&self) -> Option<AppendError> {
        self.shared.stopped()
    }

    /// Position of the last durable event.
    #[must_use]
    pub fn head_position(&self) -> Position {
        self.shared.head()
    }

    /// Waits until all full segments are sealed and their index is merged, or that work fails.
    pub fn wait_until_sealed(&self) {
        if self.shared.options.background {
            self.shared.work.wait_until_idle(&self.shared);
        }
    }

    /// Checks everything up to the head: checksums, positions, revisions, the stream index. Calls `on_finding` for all
    /// that is not as it must be, and goes on.
    ///
    /// # Errors
    /// Files that cannot be read at all.
    pub fn verify(&self, mut on_finding: impl FnMut(Finding)) -> Result<VerifyReport, ReadError> {
        self.shared.verify(&mut on_finding)
    }

    /// How the log is made up now.
    #[must_use]
    pub fn stats(&self) -> SegmentStats {
        let view = self.shared.view();
        SegmentStats {
            sealed_segments: view.sealed.len(),
            unsealed_segments: view.tail.len(),
            index_runs: view.runs.len(),
            index_memory_bytes: view.runs.iter().map(|run| run.weight()).sum(),
        }
    }

    /// As [`EventLog::read_all`], on the calling thread.
    ///
    /// # Errors
    /// Damaged or unreadable files.
    pub fn read_all_blocking(
        &self,
        after: Position,
        filter: &Filter,
        limit: usize,
        limit_bytes: usize,
    ) -> Result<Page, ReadError> {
        self.shared.read_all(after, filter, limit, limit_bytes)
    }

    /// As [`EventLog::read_stream`], on the calling thread.
    ///
    /// # Errors
    /// Damaged or unreadable files.
    pub fn read_stream_blocking(
        &self,
        stream: &StreamId,
        from: Revision,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.shared.read_stream(stream.as_str(), from, limit)
    }
}

impl Drop for SegmentLog {
    fn drop(&mut self) {
        self.shared.queue.close();
        if let Some(thread) = self.writer.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the event log's writer thread panicked");
        }
    }
}

impl EventLog for SegmentLog {
    fn capabilities(&self) -> Capabilities {
        Capabilities { atomic_multi_stream: true, dense_positions: true }
    }

    fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>> {
        self.append_group(vec![append]).map(|mut results| results.remove(0)).boxed()
    }

    fn append_group(&self, appends: Vec<Append>) -> BoxFuture<'static, Vec<Result<Appended, AppendError>>> {
        let count = appends.len();
        if count == 0 {
            return ready(Vec::new()).boxed();
        }
        match self.shared.queue.push(appends) {
            Err(error) => ready(vec![Err(error); count]).boxed(),
            Ok(receiver) => async move {
                // The writer replies to every job it takes; it goes without a reply only if it panicked.
                let stopped = || AppendError::Stopped("the writer thread has ended".into());
                receiver.await.unwrap_or_else(|_| vec![Err(stopped()); count])
            }
            .boxed(),
        }
    }

    fn read_stream<'a>(
        &'a self,
        stream: &'a StreamId,
        from: Revision,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, ReadError>> {
        async move { self.shared.read_stream(stream.as_str(), from, limit) }.boxed()
    }

    fn stream_revision<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<Revision, ReadError>> {
        async move { self.shared.stream_revision(stream.as_str()) }.boxed()
    }

    fn is_surely_absent(&self, stream: &StreamId) -> bool {
        self.shared.is_surely_absent(stream.as_str())
    }

    fn read_all<'a>(
        &'a self,
        after: Position,
        filter: &'a Filter,
        limit: usize,
        limit_bytes: usize,
    ) -> BoxFuture<'a, Result<Page, ReadError>> {
        async move { self.shared.read_all(after, filter, limit, limit_bytes) }.boxed()
    }

    fn piece_end(&self, after: Position, wanted: u64) -> Position {
        self.shared.piece_end(after, wanted.max(1))
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, ReadError>> {
        let position = self.shared.head();
        ready(Ok(Head { position, events: position })).boxed()
    }

    fn watch_head(&self) -> watch::Receiver<Position> {
        self.shared.watch_head()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.shared.queue.close();
        let mut done = self.done.clone();
        async move {
            // An error means that the thread is gone, which is closed too.
            let _ = done.wait_for(|done| *done).await;
        }
        .boxed()
    }
}
