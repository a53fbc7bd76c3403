//! Segments that are not sealed yet: the zero-filled files that appends go to, and what is known of them in memory.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::RwLock;
use smallvec::SmallVec;
use uuid::Uuid;

use super::codec::{array_at, index, len_u32, u32_at, u64_at};
use super::frame::FrameHead;
use super::storage::{Storage, StorageFile, write_all_at, write_zeros_at};
use crate::log::{Position, ReadError, Revision, StreamId};

/// Bytes before the first frame: one page, so that frames never share a sector with the header.
pub(crate) const SEGMENT_HEAD: u64 = 4096;

/// The file that is filled with zeros ahead of use.
pub(crate) const SPARE: &str = "spare.tmp";

const MAGIC: [u8; 8] = *b"DAYBKSEG";
const HEAD_FIELDS: usize = 52;

/// The file name of the unsealed segment that begins with position `first`.
pub(crate) fn segment_name(first: Position) -> String {
    format!("seg-{first:020}.log")
}

/// A segment that is not sealed yet.
pub(crate) struct TailSegment {
    pub(crate) first: Position,
    pub(crate) name: String,
    pub(crate) file: Arc<dyn StorageFile>,
    /// Length of the file in bytes.
    pub(crate) size: u64,
    /// What is in the file, also what is not durable yet: readers look no further than the head.
    pub(crate) index: RwLock<TailIndex>,
}

/// Where the events of one segment are.
#[derive(Default)]
pub(crate) struct TailIndex {
    /// For the event at `first + i`: the byte offset of its frame, divided by 8.
    frames: Vec<u32>,
    pub(crate) streams: HashMap<StreamId, TailStream, foldhash::fast::RandomState>,
    /// Byte offset behind the last frame.
    pub(crate) end: u64,
}

/// One stream's events within one segment.
#[derive(Debug)]
pub(crate) struct TailStream {
    /// Revision of the first of them.
    pub(crate) first_revision: Revision,
    /// Their positions less the segment's first; revisions are gapless, so the i-th has `first_revision + i`.
    pub(crate) places: SmallVec<[u32; 4]>,
    /// Id of the last one, so that a retry without expected revision is seen without reading.
    pub(crate) last_id: Option<Uuid>,
}

impl TailStream {
    pub(crate) fn last_revision(&self) -> Revision {
        self.first_revision + self.places.len() as u64 - 1
    }
}

impl TailSegment {
    pub(crate) fn new(first: Position, name: String, file: Arc<dyn StorageFile>, size: u64) -> Self {
        let index = TailIndex { end: SEGMENT_HEAD, ..TailIndex::default() };
        Self { first, name, file, size, index: RwLock::new(index) }
    }

    /// An error naming this file.
    pub(crate) fn damaged(&self, offset: u64, position: Position, detail: &str) -> ReadError {
        ReadError::Damaged { file: self.name.clone(), offset, position, detail: detail.into() }
    }
}

impl TailIndex {
    /// Byte offset of the frame with the event at `first + place`.
    pub(crate) fn frame_offset(&self, place: u64) -> Option<u64> {
        self.frames.get(index(place)).map(|eighth| u64::from(*eighth) * 8)
    }

    /// Notes `count` new events of a stream, in a frame at byte `offset`.
    pub(crate) fn add(
        &mut self,
        stream: &StreamId,
        before: Revision,
        count: usize,
        last_id: Uuid,
        offset: u64,
    ) {
        let eighth = u32::try_from(offset / 8).expect("a segment is smaller than 32 GiB");
        let place = len_u32(self.frames.len());
        self.frames.resize(self.frames.len() + count, eighth);
        let places = place..place + len_u32(count);
        match self.streams.get_mut(stream) {
            Some(entry) => {
                entry.places.extend(places);
                entry.last_id = Some(last_id);
            }
            None => {
                let entry = TailStream {
                    first_revision: before + 1,
                    places: places.collect(),
                    last_id: Some(last_id),
                };
                self.streams.insert(stream.clone(), entry);
            }
        }
    }

    /// Notes an event as it is found in a file, in a frame at byte `offset`; `None` if it does not follow in its stream,
    /// as far as that is known here.
    pub(crate) fn add_found(&mut self, name: &str, revision: Revision, id: Uuid, offset: u64) -> Option<()> {
        let place = len_u32(self.frames.len());
        if let Some(entry) = self.streams.get_mut(name) {
            if entry.last_revision() + 1 != revision {
                return None;
            }
            entry.places.push(place);
            entry.last_id = Some(id);
        } else {
            let first_revision = (revision > 0).then_some(revision)?;
            let places = SmallVec::from_elem(place, 1);
            let entry = TailStream { first_revision, places, last_id: Some(id) };
            self.streams.insert(StreamId::new(name).ok()?, entry);
        }
        self.frames.push(u32::try_from(offset / 8).expect("a segment is smaller than 32 GiB"));
        Some(())
    }

    /// Takes back the last event, which is of this stream and never became durable.
    pub(crate) fn take_back(&mut self, stream: &str) {
        self.frames.pop();
        if let Some(entry) = self.streams.get_mut(stream) {
            entry.places.pop();
            entry.last_id = None;
            if entry.places.is_empty() {
                self.streams.remove(stream);
            }
        }
    }
}

/// What a segment's header says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SegmentHead {
    pub(crate) log_id: Uuid,
    pub(crate) first: Position,
    /// Length of the file in bytes.
    pub(crate) size: u64,
}

impl SegmentHead {
    pub(crate) fn encode(&self) -> [u8; HEAD_FIELDS] {
        let mut head = [0; HEAD_FIELDS];
        head[0..8].copy_from_slice(&MAGIC);
        head[8..12].copy_from_slice(&super::FORMAT.to_le_bytes());
        head[16..32].copy_from_slice(self.log_id.as_bytes());
        head[32..40].copy_from_slice(&self.first.to_le_bytes());
        head[40..48].copy_from_slice(&self.size.to_le_bytes());
        let crc = crc32c::crc32c(&head[..48]);
        head[48..52].copy_from_slice(&crc.to_le_bytes());
        head
    }

    /// `None` if the bytes are no segment header.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..HEAD_FIELDS)?;
        let good = head[0..8] == MAGIC
            && u32_at(head, 48) == crc32c::crc32c(&head[..48])
            && u32_at(head, 8) == super::FORMAT;
        good.then(|| Self {
            log_id: Uuid::from_bytes(array_at(head, 16)),
            first: u64_at(head, 32),
            size: u64_at(head, 40),
        })
    }
}

/// A file of zeros that awaits its turn as a segment.
pub(crate) struct Spare {
    pub(crate) file: Arc<dyn StorageFile>,
    pub(crate) size: u64,
}

impl Spare {
    /// Writes `size` zeros and makes them durable: after that no commit changes the file's metadata.
    pub(crate) fn prepare(storage: &dyn Storage, size: u64) -> io::Result<Self> {
        let file = storage.create(SPARE)?;
        let written = fill_with_zeros(&*file, size);
        if let Err(error) = written {
            // Room that a failed attempt took would be missing for the next one.
            drop(file);
            let _ = storage.remove(SPARE);
            return Err(error);
        }
        Ok(Self { file, size })
    }

    /// Turns the file into the segment that begins with position `first`.
    pub(crate) fn into_segment(
        self,
        storage: &dyn Storage,
        log_id: Uuid,
        first: Position,
    ) -> io::Result<TailSegment> {
        let head = SegmentHead { log_id, first, size: self.size };
        write_all_at(&*self.file, &head.encode(), 0)?;
        self.file.sync_data()?;
        let name = segment_name(first);
        storage.rename(SPARE, &name)?;
        // From here on the segment is there. Were its failure taken for a full disk, the log would go on in the old
        // segment and the empty new one would stand in its way at the next opening: it must stop instead.
        storage
            .sync_dir()
            .map_err(|error| io::Error::other(format!("syncing the folder failed: {error}")))?;
        Ok(TailSegment::new(first, name, self.file, self.size))
    }
}

/// Syncs in steps, so that commits beside it never wait for all of it.
fn fill_with_zeros(file: &dyn StorageFile, size: u64) -> io::Result<()> {
    const STEP: u64 = 8 << 20;
    let mut done = 0;
    while done < size {
        let step = STEP.min(size - done);
        write_zeros_at(file, done, step)?;
        file.sync_data()?;
        done += step;
    }
    Ok(())
}

/// The newest groups as they were written, so that readers near the head touch no file.
pub(crate) struct Ring {
    groups: VecDeque<RingGroup>,
    bytes: usize,
    limit: usize,
}

#[derive(Clone)]
pub(crate) struct RingGroup {
    pub(crate) first: Position,
    pub(crate) last: Position,
    /// Whole frames.
    pub(crate) bytes: Bytes,
}

impl Ring {
    pub(crate) fn new(limit: usize) -> Self {
        Self { groups: VecDeque::new(), bytes: 0, limit }
    }

    pub(crate) fn push(&mut self, group: RingGroup) {
        self.bytes += group.bytes.len();
        self.groups.push_back(group);
        while self.bytes > self.limit
            && let Some(oldest) = self.groups.pop_front()
        {
            self.bytes -= oldest.bytes.len();
        }
    }

    /// The group with the event at `position`, if it is still here.
    pub(crate) fn find(&self, position: Position) -> Option<RingGroup> {
        let at = self.groups.partition_point(|group| group.last < position);
        self.groups.get(at).filter(|group| group.first <= position).cloned()
    }
}

impl RingGroup {
    /// Byte offset of the frame with the event at `position`, which the group has.
    pub(crate) fn frame_of(&self, position: Position) -> Option<usize> {
        let mut at = 0;
        while let Some(head) = FrameHead::at(&self.bytes, at) {
            if position <= head.last() {
                return Some(at);
            }
            at += head.len();
        }
        None
    }
}
