//! Turning a full segment into its sealed form with an index run, and merging runs. Each step makes new files under
//! temporary names, syncs and renames them, and only then removes the old: it can be killed at any instant.

use std::io;
use std::sync::Arc;

use uuid::Uuid;

use super::codec::index;
use super::frame::FrameHead;
use super::run::{ENTRY_POSITIONS, Entry, Run, RunRange, RunWriter};
use super::sealed::{OpenSealed, SealedSegment, SealedWriter};
use super::shared::{Shared, View};
use super::storage::{Storage, StorageFile, read_full_at};
use super::tail::{SEGMENT_HEAD, TailIndex, TailSegment};
use crate::log::{Position, ReadError, StreamId};

/// So many runs of one level, side by side, are merged into one of the next.
const MERGED_RUNS: usize = 4;

/// Segments whose streams stay in memory after sealing, so that revisions of busy streams need no read.
const RECENT_SEGMENTS: usize = 2;

/// Read at once from a segment that is being sealed.
const READ_BYTES: usize = 1 << 20;

/// Why background work did not get done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkError {
    /// What was read is not what was written.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Writing failed; it is tried again.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The log is closing.
    #[error("the log is closing")]
    Stopping,
}

/// Seals the oldest segment if it is not the one that is written to. True if there was one.
pub(crate) fn seal_oldest(shared: &Shared) -> Result<bool, WorkError> {
    let view = shared.view();
    let [oldest, next, ..] = &view.tail[..] else { return Ok(false) };
    let storage = &*shared.storage;
    let range = RunRange { first: oldest.first, last: next.first - 1 };
    let sealed = write_sealed(shared, oldest, range)?;
    let file = storage.create("run.tmp")?;
    let hash = shared.options.stream_hash;
    write_run(file, shared.log_id, range, &oldest.index.read(), hash)?;
    storage.rename("seal.tmp", &sealed.name)?;
    storage.rename("run.tmp", &range.file_name())?;
    storage.sync_dir()?;
    let run = Arc::new(Run::open(storage, shared.log_id, range)?);
    shared.change_view(|view| {
        let segment = view.tail.remove(0);
        view.recent.push(segment);
        if view.recent.len() > RECENT_SEGMENTS {
            view.recent.remove(0);
        }
        view.sealed.push(Arc::new(sealed));
        view.runs.push(run);
    });
    // Should this fail, the next opening removes it.
    storage.remove(&oldest.name)?;
    Ok(true)
}

fn write_sealed(shared: &Shared, segment: &TailSegment, range: RunRange) -> Result<SealedSegment, WorkError> {
    let options = &shared.options;
    let file = shared.storage.create("seal.tmp")?;
    let ends = (range.first, range.last);
    let mut writer =
        SealedWriter::new(file, shared.log_id, ends, options.block_bytes, options.compression_level)?;
    let mut next = range.first;
    for_each_frame(segment, |head, bytes, at, offset| {
        if shared.work.is_stopping() {
            return Err(WorkError::Stopping);
        }
        if head.first != next || !writer.add(head, bytes, at)? {
            return Err(segment.damaged(offset, next, "a frame is not in its place").into());
        }
        next += u64::from(head.count);
        Ok(())
    })?;
    if next != range.last + 1 {
        return Err(segment.damaged(0, next, "events are missing at the end of the segment").into());
    }
    Ok(writer.finish()?)
}

/// Calls `take` with every intact frame of an unsealed segment: its head, a buffer, its place there, and its offset in
/// the file. A frame that is not intact is damage.
pub(crate) fn for_each_frame<E: From<ReadError> + From<io::Error>>(
    segment: &TailSegment,
    mut take: impl FnMut(&FrameHead, &[u8], usize, u64) -> Result<(), E>,
) -> Result<(), E> {
    let end = segment.index.read().end;
    let mut buffer: Vec<u8> = Vec::new();
    let mut offset = SEGMENT_HEAD;
    let mut want = READ_BYTES;
    while offset < end {
        buffer.resize(want.min(index(end - offset)), 0);
        let read = read_full_at(&*segment.file, &mut buffer, offset)?;
        buffer.truncate(read);
        let mut at = 0;
        while let Some(head) = FrameHead::at(&buffer, at)
            && head.is_intact(&buffer, at)
        {
            take(&head, &buffer, at, offset + at as u64)?;
            at += head.len();
        }
        offset += at as u64;
        want = READ_BYTES;
        if at == 0 {
            match FrameHead::at(&buffer, 0) {
                Some(head) if head.len() > buffer.len() && head.len() as u64 <= end - offset => {
                    want = head.len()
                }
                _ => {
                    return Err(segment.damaged(offset, segment.first, "a frame's checksum is wrong").into());
                }
            }
        }
    }
    Ok(())
}

/// Writes the index run of one segment.
pub(crate) fn write_run(
    file: Arc<dyn StorageFile>,
    log_id: Uuid,
    range: RunRange,
    tail: &TailIndex,
    hash: fn(&str) -> u64,
) -> io::Result<()> {
    let mut parts: Vec<(u64, u64, &StreamId, &[u32])> = Vec::with_capacity(tail.streams.len());
    for (stream, entry) in &tail.streams {
        let hash = hash(stream.as_str());
        let mut revision = entry.first_revision;
        for places in entry.places.chunks(ENTRY_POSITIONS) {
            parts.push((hash, revision, stream, places));
            revision += places.len() as u64;
        }
    }
    parts.sort_unstable_by_key(|(hash, revision, stream, _)| (*hash, *revision, *stream));
    let mut writer = RunWriter::new(file, log_id, range, 0, tail.streams.len() as u64);
    for (hash, first_revision, stream, places) in parts {
        let positions = places.iter().map(|place| range.first + u64::from(*place)).collect();
        writer.add(&Entry { hash, first_revision, stream: stream.as_str().to_owned(), positions })?;
    }
    writer.finish()
}

/// Makes the index run of a sealed segment again, from its events.
pub(crate) fn rebuild_run(
    storage: &dyn Storage,
    log_id: Uuid,
    segment: &SealedSegment,
    hash: fn(&str) -> u64,
) -> Result<Run, WorkError> {
    let sealed = segment.open(storage)?;
    let mut tail = TailIndex::default();
    let mut next = segment.first;
    for block in 0..sealed.block_count() {
        next = add_block(segment, &sealed, block, next, &mut tail)?;
    }
    let range = RunRange { first: segment.first, last: segment.last };
    write_run(storage.create("run.tmp")?, log_id, range, &tail, hash)?;
    storage.rename("run.tmp", &range.file_name())?;
    storage.sync_dir()?;
    Ok(Run::open(storage, log_id, range)?)
}

/// Notes a sealed block's events; returns the position after the last.
fn add_block(
    segment: &SealedSegment,
    sealed: &OpenSealed,
    block: usize,
    mut next: Position,
    tail: &mut TailIndex,
) -> Result<Position, ReadError> {
    let bytes = sealed.read_block(block)?;
    let malformed = |next| segment.damaged(sealed.block_offset(block), next, "a frame is not in its place");
    let mut at = 0;
    while let Some(head) = FrameHead::at(&bytes, at).filter(|head| head.first == next) {
        for record in head.records(&bytes, at) {
            let record = record.ok_or_else(|| malformed(next))?;
            tail.add_found(record.stream(&bytes), record.header.revision, record.event_id(), 0)
                .ok_or_else(|| malformed(next))?;
            next += 1;
        }
        at += head.len();
    }
    if at == bytes.len() { Ok(next) } else { Err(malformed(next)) }
}

/// Runs of one level side by side, if there are enough of them.
pub(crate) fn due_for_merge(view: &View) -> Option<&[Arc<Run>]> {
    view.runs.windows(MERGED_RUNS).find(|runs| runs.iter().all(|run| run.level == runs[0].level))
}

/// Merges runs if enough of one level stand side by side. True if it did.
pub(crate) fn merge_due(shared: &Shared) -> Result<bool, WorkError> {
    let view = shared.view();
    let Some(runs) = due_for_merge(&view) else { return Ok(false) };
    let range = RunRange { first: runs[0].range.first, last: runs[MERGED_RUNS - 1].range.last };
    let storage = &*shared.storage;
    let streams = runs.iter().map(|run| run.streams).sum();
    let mut writer =
        RunWriter::new(storage.create("merge.tmp")?, shared.log_id, range, runs[0].level + 1, streams);
    merge(shared, runs, &mut writer)?;
    writer.finish()?;
    storage.rename("merge.tmp", &range.file_name())?;
    storage.sync_dir()?;
    let merged = Arc::new(Run::open(storage, shared.log_id, range)?);
    shared.change_view(|view| {
        let replaced = |run: &Arc<Run>| range.first <= run.range.first && run.range.last <= range.last;
        let at = view.runs.iter().position(replaced).expect("only this thread takes runs away");
        view.runs.retain(|run| !replaced(run));
        view.runs.insert(at, merged);
    });
    for run in runs {
        // Should this fail, the next opening removes it.
        storage.remove(&run.range.file_name())?;
    }
    Ok(true)
}

/// Writes the entries of several runs in order, joining what belongs to one stream.
fn merge(shared: &Shared, runs: &[Arc<Run>], writer: &mut RunWriter) -> Result<(), WorkError> {
    let mut cursors = Vec::new();
    for run in runs {
        let mut cursor = Cursor { run, block: 0, entries: Vec::new().into_iter(), next: None };
        cursor.advance()?;
        cursors.push(cursor);
    }
    let mut pending: Option<Entry> = None;
    loop {
        if shared.work.is_stopping() {
            return Err(WorkError::Stopping);
        }
        let candidates = cursors.iter_mut().filter(|cursor| cursor.next.is_some());
        let Some(cursor) = candidates.min_by(|a, b| a.key().cmp(&b.key())) else { break };
        let Some(entry) = cursor.next.take() else { break };
        cursor.advance()?;
        match &mut pending {
            Some(before) if joins(before, &entry) => before.positions.extend(entry.positions),
            _ => {
                if let Some(before) = pending.replace(entry) {
                    writer.add(&before)?;
                }
            }
        }
    }
    if let Some(last) = pending {
        writer.add(&last)?;
    }
    Ok(())
}

fn joins(before: &Entry, entry: &Entry) -> bool {
    before.hash == entry.hash
        && before.stream == entry.stream
        && before.first_revision + before.positions.len() as u64 == entry.first_revision
        && before.positions.len() + entry.positions.len() <= ENTRY_POSITIONS
}

/// Goes through a run's entries.
struct Cursor<'a> {
    run: &'a Run,
    block: usize,
    entries: std::vec::IntoIter<Entry>,
    next: Option<Entry>,
}

impl Cursor<'_> {
    fn key(&self) -> Option<(u64, u64, &str)> {
        self.next.as_ref().map(Entry::key)
    }

    fn advance(&mut self) -> Result<(), ReadError> {
        self.next = self.entries.next();
        while self.next.is_none() && self.block < self.run.block_count() {
            self.entries = self.run.read_block(self.block)?.into_iter();
            self.block += 1;
            self.next = self.entries.next();
        }
        Ok(())
    }
}
