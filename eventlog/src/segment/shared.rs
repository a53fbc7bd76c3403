//! What the writer, the background work and all readers share.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use uuid::Uuid;

use super::background::Work;
use super::cache::Cache;
use super::options::SegmentOptions;
use super::queue::Queue;
use super::run::Run;
use super::sealed::{OpenSealed, SealedSegment};
use super::storage::Storage;
use super::tail::{Ring, RingGroup, SEGMENT_HEAD, TailSegment};
use crate::log::{AppendError, Position, ReadError, Revision};

/// Directories of sealed segments kept in memory, in bytes.
const DIRECTORY_BYTES: usize = 16 << 20;

pub(crate) struct Shared {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) options: SegmentOptions,
    pub(crate) log_id: Uuid,
    pub(crate) queue: Queue,
    pub(crate) ring: RwLock<Ring>,
    pub(crate) work: Work,
    /// Directories of sealed segments, by first position.
    directories: Cache<Position, Arc<OpenSealed>>,
    /// Decompressed blocks, by first position of the segment and number.
    blocks: Cache<(Position, usize), Bytes>,
    /// Replaced as a whole, never changed: a reader works on the one it took.
    view: RwLock<Arc<View>>,
    head: AtomicU64,
    watch: watch::Sender<Position>,
    stopped: Mutex<Option<AppendError>>,
}

/// The files of the log at one moment.
#[derive(Clone, Default)]
pub(crate) struct View {
    /// Sealed segments, oldest first.
    pub(crate) sealed: Vec<Arc<SealedSegment>>,
    /// The stream index of the sealed segments, oldest first.
    pub(crate) runs: Vec<Arc<Run>>,
    /// The segments sealed last, whose streams are still in memory, oldest first.
    pub(crate) recent: Vec<Arc<TailSegment>>,
    /// Unsealed segments, oldest first; the last one is written to.
    pub(crate) tail: Vec<Arc<TailSegment>>,
}

/// What the append path needs to know of a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamState {
    pub(crate) revision: Revision,
    pub(crate) last_id: Option<Uuid>,
}

impl Shared {
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        options: SegmentOptions,
        log_id: Uuid,
        view: View,
        head: Position,
    ) -> Self {
        Self {
            storage,
            log_id,
            queue: Queue::new(options.queue_bytes, options.queue_appends),
            ring: RwLock::new(Ring::new(options.ring_bytes)),
            work: Work::default(),
            directories: Cache::new(DIRECTORY_BYTES),
            blocks: Cache::new(options.block_cache_bytes),
            view: RwLock::new(Arc::new(view)),
            head: AtomicU64::new(head),
            watch: watch::channel(head).0,
            stopped: Mutex::new(None),
            options,
        }
    }

    /// Position of the last durable event.
    pub(crate) fn head(&self) -> Position {
        self.head.load(Ordering::Acquire)
    }

    pub(crate) fn watch_head(&self) -> watch::Receiver<Position> {
        self.watch.subscribe()
    }

    pub(crate) fn view(&self) -> Arc<View> {
        self.view.read().clone()
    }

    /// Makes a durable group visible.
    pub(crate) fn publish(&self, group: RingGroup) {
        let head = group.last;
        self.ring.write().push(group);
        self.head.store(head, Ordering::Release);
        self.watch.send_replace(head);
    }

    /// Replaces the view by a changed copy.
    pub(crate) fn change_view(&self, change: impl FnOnce(&mut View)) {
        let mut view = self.view.write();
        let mut changed = View::clone(&view);
        change(&mut changed);
        *view = Arc::new(changed);
    }

    /// Why the log has stopped, if it has.
    pub(crate) fn stopped(&self) -> Option<AppendError> {
        self.stopped.lock().clone()
    }

    pub(crate) fn note_stopped(&self, error: &AppendError) {
        self.stopped.lock().get_or_insert_with(|| error.clone());
    }

    /// The revision of a stream as the writer must see it: with what is not durable yet.
    pub(crate) fn stream_state(&self, stream: &str) -> Result<Option<StreamState>, ReadError> {
        let view = self.view();
        for segment in view.tail.iter().rev().chain(view.recent.iter().rev()) {
            if let Some(entry) = segment.index.read().streams.get(stream) {
                return Ok(Some(StreamState { revision: entry.last_revision(), last_id: entry.last_id }));
            }
        }
        let revision = self.sealed_revision(&view, stream)?;
        Ok((revision > 0).then_some(StreamState { revision, last_id: None }))
    }

    /// As [`crate::EventLog::is_surely_absent`].
    pub(crate) fn is_surely_absent(&self, stream: &str) -> bool {
        let view = self.view();
        if view.tail.iter().rev().any(|segment| segment.index.read().streams.contains_key(stream)) {
            return false;
        }
        let hash = (self.options.stream_hash)(stream);
        !view.runs.iter().any(|run| run.may_contain(hash))
    }

    /// The last revision of a stream among sealed segments, 0 if it is in none.
    pub(crate) fn sealed_revision(&self, view: &View, stream: &str) -> Result<Revision, ReadError> {
        if view.runs.is_empty() {
            return Ok(0);
        }
        let hash = (self.options.stream_hash)(stream);
        for run in view.runs.iter().rev() {
            if let Some(revision) = run.last_revision(hash, stream)? {
                return Ok(revision);
            }
        }
        Ok(0)
    }

    /// A sealed segment with its directory.
    pub(crate) fn open_sealed(&self, segment: &SealedSegment) -> Result<Arc<OpenSealed>, ReadError> {
        if let Some(open) = self.directories.get(segment.first) {
            return Ok(open);
        }
        let open = Arc::new(segment.open(&*self.storage)?);
        self.directories.insert(segment.first, open.clone(), open.weight());
        Ok(open)
    }

    /// A decompressed block of a sealed segment.
    pub(crate) fn sealed_block(
        &self,
        first: Position,
        open: &OpenSealed,
        block: usize,
    ) -> Result<Bytes, ReadError> {
        if let Some(bytes) = self.blocks.get((first, block)) {
            return Ok(bytes);
        }
        let bytes = open.read_block(block)?;
        self.blocks.insert((first, block), bytes.clone(), bytes.len());
        Ok(bytes)
    }

    /// Starts a segment at position `first` with room for at least `room` bytes of frames.
    pub(crate) fn next_segment(&self, first: Position, room: u64) -> io::Result<Arc<TailSegment>> {
        let size = self.options.segment_bytes.max((SEGMENT_HEAD + room).next_multiple_of(4096));
        let spare = self.work.take_spare(&*self.storage, size)?;
        let segment = Arc::new(spare.into_segment(&*self.storage, self.log_id, first)?);
        self.change_view(|view| {
            // A segment that stayed empty, because the first append was too large for it, is replaced on disk too.
            view.tail.pop_if(|last| last.first == first);
            view.tail.push(segment.clone());
        });
        Ok(segment)
    }
}
