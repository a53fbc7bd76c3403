//! Runs of the stream index: for a range of positions, which streams have events there, and where.
//!
//! A run is an immutable file: entries sorted by the hash of the stream's name, in small blocks with a checksum each,
//! then the first key of every block, a filter and a trailer. Only keys and filter are in memory: about 24 bytes for
//! every 4 KiB of entries and 10 bits a stream.

use std::io;
use std::sync::Arc;

use uuid::Uuid;

use super::codec::{array_at, index, len_u32, put_varint, take_varint, u16_at, u32_at, u64_at};
use super::filter::StreamFilter;
use super::storage::{Storage, StorageFile, read_full_at, write_all_at};
use crate::log::{Position, ReadError, Revision};

const HEAD: usize = 64;
const TRAILER: usize = 48;
const KEY: usize = 24;
const BLOCK_HEAD: usize = 8;
const MAGIC: [u8; 8] = *b"DAYBKIDX";
const END_MAGIC: [u8; 8] = *b"DAYBKIXE";

/// A block is closed when it has this many bytes of entries.
const BLOCK_BYTES: usize = 4096;

/// More positions of one stream make a further entry, so that a long stream is entered anywhere.
pub(crate) const ENTRY_POSITIONS: usize = 128;

/// Written at once while a run is built.
const WRITE_BYTES: usize = 1 << 20;

/// Some events of one stream, of consecutive revisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) hash: u64,
    pub(crate) first_revision: Revision,
    pub(crate) stream: String,
    pub(crate) positions: Vec<Position>,
}

impl Entry {
    /// The order of entries in a run.
    pub(crate) fn key(&self) -> (u64, Revision, &str) {
        (self.hash, self.first_revision, &self.stream)
    }

    fn last_revision(&self) -> Revision {
        self.first_revision + self.positions.len() as u64 - 1
    }
}

/// What identifies a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunRange {
    pub(crate) first: Position,
    pub(crate) last: Position,
}

impl RunRange {
    pub(crate) fn file_name(self) -> String {
        format!("idx-{:020}-{:020}.run", self.first, self.last)
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (first, last) = name.strip_prefix("idx-")?.strip_suffix(".run")?.split_once('-')?;
        let range = Self { first: first.parse().ok()?, last: last.parse().ok()? };
        (range.file_name() == name).then_some(range)
    }
}

/// A run, open for lookups.
pub(crate) struct Run {
    pub(crate) range: RunRange,
    /// 0 for a run of one segment; merging runs of one level gives one of the next.
    pub(crate) level: u32,
    /// Number of streams, counted once for each run merged into this one at most.
    pub(crate) streams: u64,
    name: String,
    file: Arc<dyn StorageFile>,
    filter: StreamFilter,
    /// Hash and revision of the first entry, and byte offset, of every block.
    keys: Vec<(u64, Revision, u64)>,
    /// Byte offset behind the last block.
    blocks_end: u64,
}

impl Run {
    /// Opens a run and checks all of it but the entry blocks, which are checked when they are read.
    pub(crate) fn open(storage: &dyn Storage, log_id: Uuid, range: RunRange) -> Result<Self, ReadError> {
        let name = range.file_name();
        let unreadable = |e: io::Error| ReadError::Unavailable(format!("reading {name}: {e}"));
        let damaged = |offset: u64, detail: &str| ReadError::Damaged {
            file: name.clone(),
            offset,
            position: range.first,
            detail: format!("{detail}; the index can be made again: remove this file and open the log"),
        };
        let file = storage.open(&name).map_err(unreadable)?;
        let size = file.size().map_err(unreadable)?;
        let mut head = [0; HEAD];
        let read = read_full_at(&*file, &mut head, 0).map_err(unreadable)?;
        let good = read == HEAD
            && u32_at(&head, 60) == crc32c::crc32c(&head[..60])
            && head[0..8] == MAGIC
            && u32_at(&head, 8) == super::FORMAT
            && Uuid::from_bytes(array_at(&head, 16)) == log_id
            && (u64_at(&head, 32), u64_at(&head, 40)) == (range.first, range.last);
        if !good {
            return Err(damaged(0, "the index run's header is not what was written"));
        }
        let trailer_at = size.saturating_sub(TRAILER as u64);
        let mut trailer = [0; TRAILER];
        let read = read_full_at(&*file, &mut trailer, trailer_at).map_err(unreadable)?;
        let (keys_at, filter_at) = (u64_at(&trailer, 0), u64_at(&trailer, 8));
        let good =
            read == TRAILER && trailer[40..48] == END_MAGIC && keys_at < filter_at && filter_at < trailer_at;
        if !good {
            return Err(damaged(trailer_at, "the index run is cut off, or its trailer is damaged"));
        }
        let mut footer = vec![0; index(trailer_at - keys_at)];
        let read = read_full_at(&*file, &mut footer, keys_at).map_err(unreadable)?;
        if read != footer.len() || u32_at(&trailer, 32) != footer_crc(&footer, &trailer) {
            return Err(damaged(keys_at, "the index run's keys or filter are damaged"));
        }
        let (keys, filter) = footer.split_at(index(filter_at - keys_at));
        let filter =
            StreamFilter::from_bytes(filter).ok_or_else(|| damaged(filter_at, "a malformed filter"))?;
        let keys = keys.chunks_exact(KEY).map(|k| (u64_at(k, 0), u64_at(k, 8), u64_at(k, 16))).collect();
        let (level, streams) = (u32_at(&trailer, 36), u64_at(&trailer, 16));
        Ok(Self { range, level, streams, name, file, filter, keys, blocks_end: keys_at })
    }

    /// Bytes of memory that keys and filter take.
    pub(crate) fn weight(&self) -> usize {
        self.keys.len() * KEY + index(self.streams) * 10 / 8
    }

    /// Whether the stream may have events here; false is certain.
    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        self.filter.may_contain(hash)
    }

    /// The stream's last revision here.
    pub(crate) fn last_revision(&self, hash: u64, stream: &str) -> Result<Option<Revision>, ReadError> {
        if !self.may_contain(hash) {
            return Ok(None);
        }
        let block = self.floor_block(hash, stream, Revision::MAX)?;
        let mut last = None;
        self.for_each_from(block, hash, |entry| {
            if entry.hash == hash && entry.stream == stream {
                last = Some(entry.last_revision());
            }
            true
        })?;
        Ok(last)
    }

    /// Adds the positions of the stream's events from revision `from` on, until `positions` has `limit`.
    pub(crate) fn positions(
        &self,
        hash: u64,
        stream: &str,
        from: Revision,
        limit: usize,
        positions: &mut Vec<Position>,
    ) -> Result<(), ReadError> {
        if !self.may_contain(hash) || positions.len() >= limit {
            return Ok(());
        }
        let block = self.floor_block(hash, stream, from)?;
        self.for_each_from(block, hash, |entry| {
            if entry.hash == hash && entry.stream == stream && entry.last_revision() >= from {
                let skip = index(from.saturating_sub(entry.first_revision));
                let left = limit - positions.len();
                positions.extend(entry.positions.iter().skip(skip).take(left));
            }
            positions.len() < limit
        })
    }

    /// The last block with an entry of the stream at or before revision `from`, or one from which all of its entries
    /// follow. Names that share a hash may stand between, hence the way back.
    fn floor_block(&self, hash: u64, stream: &str, from: Revision) -> Result<usize, ReadError> {
        let mut block = self.keys.partition_point(|(h, r, _)| (*h, *r) <= (hash, from)).saturating_sub(1);
        while block > 0 && self.keys[block].0 == hash {
            let entries = self.read_block(block)?;
            let here =
                entries.iter().any(|e| e.hash == hash && e.stream == stream && e.first_revision <= from);
            if here {
                break;
            }
            block -= 1;
        }
        Ok(block)
    }

    /// Calls `take` for the entries from `block` on whose hash is `hash`, until it returns false.
    fn for_each_from(
        &self,
        block: usize,
        hash: u64,
        mut take: impl FnMut(Entry) -> bool,
    ) -> Result<(), ReadError> {
        for block in block..self.keys.len() {
            if self.keys[block].0 > hash {
                break;
            }
            for entry in self.read_block_of(block, Some(hash))? {
                if entry.hash > hash || !take(entry) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    pub(crate) fn block_count(&self) -> usize {
        self.keys.len()
    }

    /// All entries of a block.
    pub(crate) fn read_block(&self, block: usize) -> Result<Vec<Entry>, ReadError> {
        self.read_block_of(block, None)
    }

    /// The entries of a block, or only those with one hash.
    fn read_block_of(&self, block: usize, hash: Option<u64>) -> Result<Vec<Entry>, ReadError> {
        let (_, _, offset) = self.keys[block];
        let end = self.keys.get(block + 1).map_or(self.blocks_end, |next| next.2);
        let damaged = || ReadError::Damaged {
            file: self.name.clone(),
            offset,
            position: self.range.first,
            detail: "an index block's checksum is wrong; remove this file and open the log to make it again"
                .into(),
        };
        let mut bytes = vec![0; index(end.saturating_sub(offset))];
        let read = read_full_at(&*self.file, &mut bytes, offset)
            .map_err(|e| ReadError::Unavailable(format!("reading {}: {e}", self.name)))?;
        let good = read == bytes.len()
            && read >= BLOCK_HEAD
            && u32_at(&bytes, 0) as usize == read
            && u32_at(&bytes, 4) == crc32c::crc32c_append(crc32c::crc32c(&bytes[..4]), &bytes[8..]);
        if !good {
            return Err(damaged());
        }
        let mut entries = Vec::new();
        let mut at = BLOCK_HEAD;
        while at < bytes.len() {
            let length =
                bytes.get(at..at + 10).map(|head| usize::from(u16_at(head, 0))).ok_or_else(damaged)?;
            if length < 10 || at + length > bytes.len() {
                return Err(damaged());
            }
            if hash.is_none_or(|hash| hash == u64_at(&bytes, at + 2)) {
                let entry = decode_entry(&bytes[at..at + length], self.range.first).ok_or_else(damaged)?;
                entries.push(entry);
            }
            at += length;
        }
        Ok(entries)
    }
}

fn decode_entry(bytes: &[u8], base: Position) -> Option<Entry> {
    let mut at = 10;
    let first_revision = take_varint(bytes, &mut at)?;
    let count = take_varint(bytes, &mut at)?;
    let name_len = usize::from(*bytes.get(at)?);
    let stream = std::str::from_utf8(bytes.get(at + 1..at + 1 + name_len)?).ok()?.to_owned();
    at += 1 + name_len;
    let mut position = base;
    let mut positions = Vec::with_capacity(index(count.min(ENTRY_POSITIONS as u64)));
    for _ in 0..count {
        position = position.checked_add(take_varint(bytes, &mut at)?)?;
        positions.push(position);
    }
    (count > 0 && first_revision > 0).then_some(Entry {
        hash: u64_at(bytes, 2),
        first_revision,
        stream,
        positions,
    })
}

fn encode_entry(out: &mut Vec<u8>, entry: &Entry, base: Position) {
    let start = out.len();
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&entry.hash.to_le_bytes());
    put_varint(out, entry.first_revision);
    put_varint(out, entry.positions.len() as u64);
    out.push(u8::try_from(entry.stream.len()).expect("a stream name has at most 255 bytes"));
    out.extend_from_slice(entry.stream.as_bytes());
    let mut before = base;
    for position in &entry.positions {
        put_varint(out, position - before);
        before = *position;
    }
    let length = u16::try_from(out.len() - start).expect("128 positions and a name are under 2 KiB");
    out[start..start + 2].copy_from_slice(&length.to_le_bytes());
}

fn footer_crc(footer: &[u8], trailer: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(footer), &trailer[..32]);
    crc32c::crc32c_append(crc, &trailer[36..40])
}

/// Writes a run from entries in order.
pub(crate) struct RunWriter {
    file: Arc<dyn StorageFile>,
    range: RunRange,
    level: u32,
    written: u64,
    pending: Vec<u8>,
    /// Where the open block begins in `pending`.
    block: usize,
    block_key: Option<(u64, Revision)>,
    keys: Vec<u8>,
    filter: StreamFilter,
    streams: u64,
    last_hash: Option<u64>,
}

impl RunWriter {
    /// Begins a run with at most `streams` streams in a fresh file.
    pub(crate) fn new(
        file: Arc<dyn StorageFile>,
        log_id: Uuid,
        range: RunRange,
        level: u32,
        streams: u64,
    ) -> Self {
        let mut pending = vec![0; HEAD];
        pending[0..8].copy_from_slice(&MAGIC);
        pending[8..12].copy_from_slice(&super::FORMAT.to_le_bytes());
        pending[16..32].copy_from_slice(log_id.as_bytes());
        pending[32..40].copy_from_slice(&range.first.to_le_bytes());
        pending[40..48].copy_from_slice(&range.last.to_le_bytes());
        let crc = crc32c::crc32c(&pending[..60]);
        pending[60..64].copy_from_slice(&crc.to_le_bytes());
        Self {
            file,
            range,
            level,
            written: 0,
            pending,
            block: HEAD,
            block_key: None,
            keys: Vec::new(),
            filter: StreamFilter::new(streams),
            streams: 0,
            last_hash: None,
        }
    }

    /// Adds the next entry, of at most [`ENTRY_POSITIONS`] positions.
    pub(crate) fn add(&mut self, entry: &Entry) -> io::Result<()> {
        if self.last_hash != Some(entry.hash) {
            self.last_hash = Some(entry.hash);
            self.filter.insert(entry.hash);
            self.streams += 1;
        }
        if self.block_key.is_none() {
            self.block_key = Some((entry.hash, entry.first_revision));
            self.block = self.pending.len();
            self.pending.extend_from_slice(&[0; BLOCK_HEAD]);
        }
        encode_entry(&mut self.pending, entry, self.range.first);
        if self.pending.len() - self.block >= BLOCK_BYTES {
            self.finish_block();
            if self.pending.len() >= WRITE_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn finish_block(&mut self) {
        let Some((hash, revision)) = self.block_key.take() else { return };
        let block = &mut self.pending[self.block..];
        let length = len_u32(block.len());
        block[0..4].copy_from_slice(&length.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&block[..4]), &block[8..]);
        block[4..8].copy_from_slice(&crc.to_le_bytes());
        self.keys.extend_from_slice(&hash.to_le_bytes());
        self.keys.extend_from_slice(&revision.to_le_bytes());
        self.keys.extend_from_slice(&(self.written + self.block as u64).to_le_bytes());
    }

    fn flush(&mut self) -> io::Result<()> {
        write_all_at(&*self.file, &self.pending, self.written)?;
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// Writes keys, filter and trailer and makes the file durable; it still has its temporary name.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.finish_block();
        self.flush()?;
        let keys_at = self.written;
        let filter_at = keys_at + self.keys.len() as u64;
        let mut footer = self.keys;
        footer.extend_from_slice(&self.filter.to_bytes());
        let mut trailer = [0; TRAILER];
        trailer[0..8].copy_from_slice(&keys_at.to_le_bytes());
        trailer[8..16].copy_from_slice(&filter_at.to_le_bytes());
        trailer[16..24].copy_from_slice(&self.streams.to_le_bytes());
        trailer[36..40].copy_from_slice(&self.level.to_le_bytes());
        trailer[40..48].copy_from_slice(&END_MAGIC);
        let crc = footer_crc(&footer, &trailer);
        trailer[32..36].copy_from_slice(&crc.to_le_bytes());
        footer.extend_from_slice(&trailer);
        write_all_at(&*self.file, &footer, keys_at)?;
        self.file.sync_data()
    }
}
