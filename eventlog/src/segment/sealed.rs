//! Sealed segments: the same frames, compressed in blocks, with a directory of the blocks and of what is in each.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::codec::{array_at, index, len_u32, u32_at, u64_at};
use super::frame::FrameHead;
use super::storage::{Storage, StorageFile, read_full_at, write_all_at};
use crate::log::{Filter, Position, ReadError};

const HEAD: usize = 64;
const BLOCK_HEAD: usize = 32;
const TRAILER: usize = 32;
const ENTRY: usize = 40;
const MAGIC: [u8; 8] = *b"DAYBKSLD";
const END_MAGIC: [u8; 8] = *b"DAYBKEND";

/// Names in a dictionary; the last bit of a summary stands for all others.
const MAX_NAMES: usize = 63;

/// The file name of the sealed segment that begins with position `first`.
pub(crate) fn sealed_name(first: Position) -> String {
    format!("seg-{first:020}.sealed")
}

/// The first position in the name of a sealed segment.
pub(crate) fn parse_sealed_name(name: &str) -> Option<Position> {
    let digits = name.strip_prefix("seg-")?.strip_suffix(".sealed")?;
    digits.parse().ok().filter(|first| sealed_name(*first) == name)
}

/// What is kept of every sealed segment.
#[derive(Debug, Clone)]
pub(crate) struct SealedSegment {
    pub(crate) first: Position,
    pub(crate) last: Position,
    pub(crate) name: String,
}

/// A sealed segment with its directory in memory.
pub(crate) struct OpenSealed {
    segment: SealedSegment,
    file: Arc<dyn StorageFile>,
    blocks: Vec<Block>,
    types: Vec<String>,
    kinds: Vec<String>,
}

/// One block in the directory.
#[derive(Debug, Clone, Copy)]
struct Block {
    offset: u64,
    first: Position,
    stored_len: u32,
    raw_len: u32,
    /// Which types and kinds of streams it holds, as bits.
    types: u64,
    kinds: u64,
}

/// What a filter selects in one segment, as bits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Selection {
    types: u64,
    kinds: u64,
}

impl SealedSegment {
    pub(crate) fn damaged(&self, offset: u64, position: Position, detail: &str) -> ReadError {
        ReadError::Damaged { file: self.name.clone(), offset, position, detail: detail.into() }
    }

    fn unreadable(&self, error: &io::Error) -> ReadError {
        ReadError::Unavailable(format!("reading {}: {error}", self.name))
    }

    /// Reads and checks header and trailer of a sealed segment, and no more.
    pub(crate) fn probe(storage: &dyn Storage, log_id: Uuid, first: Position) -> Result<Self, ReadError> {
        let mut segment = Self { first, last: first, name: sealed_name(first) };
        let file = storage.open(&segment.name).map_err(|e| segment.unreadable(&e))?;
        let mut head = [0; HEAD];
        let read = read_full_at(&*file, &mut head, 0).map_err(|e| segment.unreadable(&e))?;
        let good = read == HEAD
            && head[0..8] == MAGIC
            && u32_at(&head, 60) == crc32c::crc32c(&head[..60])
            && u32_at(&head, 8) == super::FORMAT;
        if !good {
            return Err(segment.damaged(0, first, "the sealed segment's header is not what was written"));
        }
        if Uuid::from_bytes(array_at(&head, 16)) != log_id || u64_at(&head, 32) != first {
            return Err(segment.damaged(16, first, "the sealed segment belongs elsewhere"));
        }
        segment.last = u64_at(&head, 40);
        segment.trailer(&*file)?;
        Ok(segment)
    }

    /// Offset and length of the directory, and its checksum.
    fn trailer(&self, file: &dyn StorageFile) -> Result<(u64, usize, [u8; TRAILER]), ReadError> {
        let size = file.size().map_err(|e| self.unreadable(&e))?;
        let at = size.saturating_sub(TRAILER as u64);
        let mut trailer = [0; TRAILER];
        let read = read_full_at(file, &mut trailer, at).map_err(|e| self.unreadable(&e))?;
        let (offset, length) = (u64_at(&trailer, 0), u64::from(u32_at(&trailer, 8)));
        let good = read == TRAILER
            && trailer[24..32] == END_MAGIC
            && u64_at(&trailer, 16) == self.last
            && offset.checked_add(length) == Some(at);
        if !good {
            return Err(self.damaged(
                at,
                self.last,
                "the sealed segment is cut off, or its trailer is damaged",
            ));
        }
        Ok((offset, index(length), trailer))
    }

    /// Reads the directory.
    pub(crate) fn open(&self, storage: &dyn Storage) -> Result<OpenSealed, ReadError> {
        let file = storage.open(&self.name).map_err(|e| self.unreadable(&e))?;
        let (offset, length, trailer) = self.trailer(&*file)?;
        let mut bytes = vec![0; length];
        let read = read_full_at(&*file, &mut bytes, offset).map_err(|e| self.unreadable(&e))?;
        let damaged = || self.damaged(offset, self.first, "the sealed segment's directory is damaged");
        if read != length || u32_at(&trailer, 12) != directory_crc(&bytes, &trailer) {
            return Err(damaged());
        }
        let mut at = 0;
        let types = take_names(&bytes, &mut at).ok_or_else(damaged)?;
        let kinds = take_names(&bytes, &mut at).ok_or_else(damaged)?;
        let entries = bytes.get(at..).filter(|e| !e.is_empty() && e.len().is_multiple_of(ENTRY));
        let blocks = entries.ok_or_else(damaged)?.chunks_exact(ENTRY).map(Block::decode).collect();
        Ok(OpenSealed { segment: self.clone(), file, blocks, types, kinds })
    }
}

impl Block {
    fn decode(entry: &[u8]) -> Self {
        Self {
            offset: u64_at(entry, 0),
            first: u64_at(entry, 8),
            stored_len: u32_at(entry, 16),
            raw_len: u32_at(entry, 20),
            types: u64_at(entry, 24),
            kinds: u64_at(entry, 32),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&self.stored_len.to_le_bytes());
        out.extend_from_slice(&self.raw_len.to_le_bytes());
        out.extend_from_slice(&self.types.to_le_bytes());
        out.extend_from_slice(&self.kinds.to_le_bytes());
    }
}

impl OpenSealed {
    /// Index of the block with the event at `position`.
    pub(crate) fn block_of(&self, position: Position) -> usize {
        self.blocks.partition_point(|block| block.first <= position).saturating_sub(1)
    }

    pub(crate) fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// Position of a block's last event.
    pub(crate) fn block_last(&self, block: usize) -> Position {
        self.blocks.get(block + 1).map_or(self.segment.last, |next| next.first - 1)
    }

    pub(crate) fn block_offset(&self, block: usize) -> u64 {
        self.blocks[block].offset
    }

    /// Bytes of memory that the directory takes.
    pub(crate) fn weight(&self) -> usize {
        self.blocks.len() * size_of::<Block>() + 1024
    }

    /// Which blocks can hold what a filter selects.
    pub(crate) fn select(&self, filter: &Filter) -> Selection {
        let bits = |names: &[String], wanted: &dyn Fn(&str) -> bool| {
            let known =
                (0..).zip(names).filter(|(_, name)| wanted(name)).fold(0, |bits, (i, _)| bits | 1 << i);
            // Names that found no place in the dictionary can be anything.
            known | 1 << MAX_NAMES
        };
        let (types, prefixes) = (&filter.types, &filter.stream_prefixes);
        Selection {
            types: if types.is_empty() {
                u64::MAX
            } else {
                bits(&self.types, &|t| types.iter().any(|f| f == t))
            },
            kinds: if prefixes.is_empty() {
                u64::MAX
            } else {
                bits(&self.kinds, &|k| prefixes.iter().any(|p| p.starts_with(k) || k.starts_with(p.as_str())))
            },
        }
    }

    /// Whether a block can hold something that is selected.
    pub(crate) fn is_selected(&self, block: usize, selection: Selection) -> bool {
        let block = &self.blocks[block];
        block.types & selection.types != 0 && block.kinds & selection.kinds != 0
    }

    /// Reads and decompresses a block: whole frames.
    pub(crate) fn read_block(&self, block: usize) -> Result<Bytes, ReadError> {
        let entry = &self.blocks[block];
        let damaged = |detail: &str| self.segment.damaged(entry.offset, entry.first, detail);
        let mut stored = vec![0; entry.stored_len as usize];
        let read =
            read_full_at(&*self.file, &mut stored, entry.offset).map_err(|e| self.segment.unreadable(&e))?;
        if read != stored.len() || read < BLOCK_HEAD {
            return Err(damaged("a block is cut off"));
        }
        let good = u32_at(&stored, 24) == block_crc(&stored)
            && u64_at(&stored, 8) == entry.first
            && u32_at(&stored, 4) == entry.raw_len;
        if !good {
            return Err(damaged("a block's checksum is wrong"));
        }
        if u32_at(&stored, 20) == 0 {
            return Ok(Bytes::from(stored).slice(BLOCK_HEAD..));
        }
        let raw = decompress(&stored[BLOCK_HEAD..], entry.raw_len as usize)
            .map_err(|e| damaged(&format!("a block does not decompress: {e}")))?;
        Ok(Bytes::from(raw))
    }
}

fn decompress(stored: &[u8], raw_len: usize) -> io::Result<Vec<u8>> {
    thread_local! {
        // Setting up a context costs more than decompressing a block.
        static CONTEXT: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
    }
    CONTEXT.with_borrow_mut(|context| {
        let context = match context {
            Some(context) => context,
            None => context.insert(zstd::bulk::Decompressor::new()?),
        };
        let raw = context.decompress(stored, raw_len)?;
        if raw.len() == raw_len { Ok(raw) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    })
}

fn block_crc(stored: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&stored[..24]), &stored[28..])
}

fn directory_crc(directory: &[u8], trailer: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(directory), &trailer[..12]);
    crc32c::crc32c_append(crc, &trailer[16..24])
}

fn put_names(out: &mut Vec<u8>, names: &[String]) {
    out.push(u8::try_from(names.len()).expect("at most 63 names"));
    for name in names {
        out.push(u8::try_from(name.len()).expect("a name has at most 255 bytes"));
        out.extend_from_slice(name.as_bytes());
    }
}

fn take_names(bytes: &[u8], at: &mut usize) -> Option<Vec<String>> {
    let count = *bytes.get(*at)?;
    *at += 1;
    let mut names = Vec::new();
    for _ in 0..count {
        let length = usize::from(*bytes.get(*at)?);
        let name = bytes.get(*at + 1..*at + 1 + length)?;
        names.push(std::str::from_utf8(name).ok()?.to_owned());
        *at += 1 + length;
    }
    Some(names)
}

/// The kind of a stream: its name up to and with the first `-`, or all of it.
fn kind_of(stream: &str) -> &str {
    stream.find('-').map_or(stream, |at| &stream[..=at])
}

/// Writes a sealed segment, frame by frame, into a temporary file.
pub(crate) struct SealedWriter {
    file: Arc<dyn StorageFile>,
    offset: u64,
    first: Position,
    last: Position,
    level: i32,
    block_bytes: usize,
    raw: Vec<u8>,
    raw_first: Position,
    types: Vec<String>,
    kinds: Vec<String>,
    block_types: u64,
    block_kinds: u64,
    blocks: Vec<Block>,
    compressor: zstd::bulk::Compressor<'static>,
}

impl SealedWriter {
    /// Begins a sealed segment for positions `first` to `last`.
    pub(crate) fn new(
        file: Arc<dyn StorageFile>,
        log_id: Uuid,
        (first, last): (Position, Position),
        block_bytes: usize,
        level: i32,
    ) -> io::Result<Self> {
        let mut head = [0; HEAD];
        head[0..8].copy_from_slice(&MAGIC);
        head[8..12].copy_from_slice(&super::FORMAT.to_le_bytes());
        head[16..32].copy_from_slice(log_id.as_bytes());
        head[32..40].copy_from_slice(&first.to_le_bytes());
        head[40..48].copy_from_slice(&last.to_le_bytes());
        let crc = crc32c::crc32c(&head[..60]);
        head[60..64].copy_from_slice(&crc.to_le_bytes());
        write_all_at(&*file, &head, 0)?;
        Ok(Self {
            file,
            offset: HEAD as u64,
            first,
            last,
            level,
            block_bytes,
            raw: Vec::new(),
            raw_first: first,
            types: Vec::new(),
            kinds: Vec::new(),
            block_types: 0,
            block_kinds: 0,
            blocks: Vec::new(),
            compressor: zstd::bulk::Compressor::new(level)?,
        })
    }

    /// Adds the frame at `at`, which is intact and in its place. `false` if a record in it is malformed.
    pub(crate) fn add(&mut self, head: &FrameHead, bytes: &[u8], at: usize) -> io::Result<bool> {
        if head.count == 0 {
            return Ok(true);
        }
        if self.raw.is_empty() {
            self.raw_first = head.first;
        }
        for record in head.records(bytes, at) {
            let Some(record) = record else { return Ok(false) };
            self.block_types |= bit_of(&mut self.types, record.event_type(bytes));
            self.block_kinds |= bit_of(&mut self.kinds, kind_of(record.stream(bytes)));
        }
        self.raw.extend_from_slice(&bytes[at..at + head.len()]);
        if self.raw.len() >= self.block_bytes {
            self.finish_block()?;
        }
        Ok(true)
    }

    fn finish_block(&mut self) -> io::Result<()> {
        if self.raw.is_empty() {
            return Ok(());
        }
        let compressed = if self.level == 0 { None } else { Some(self.compressor.compress(&self.raw)?) };
        let compressed = compressed.filter(|compressed| compressed.len() < self.raw.len());
        let body = compressed.as_deref().unwrap_or(&self.raw);
        let mut stored = Vec::with_capacity(BLOCK_HEAD + body.len());
        stored.extend_from_slice(&len_u32(BLOCK_HEAD + body.len()).to_le_bytes());
        stored.extend_from_slice(&len_u32(self.raw.len()).to_le_bytes());
        stored.extend_from_slice(&self.raw_first.to_le_bytes());
        stored.extend_from_slice(&[0; 4]);
        stored.extend_from_slice(&u32::from(compressed.is_some()).to_le_bytes());
        stored.extend_from_slice(&[0; 8]);
        stored.extend_from_slice(body);
        let crc = block_crc(&stored);
        stored[24..28].copy_from_slice(&crc.to_le_bytes());
        write_all_at(&*self.file, &stored, self.offset)?;
        self.blocks.push(Block {
            offset: self.offset,
            first: self.raw_first,
            stored_len: len_u32(stored.len()),
            raw_len: len_u32(self.raw.len()),
            types: std::mem::take(&mut self.block_types),
            kinds: std::mem::take(&mut self.block_kinds),
        });
        self.offset += stored.len() as u64;
        self.raw.clear();
        Ok(())
    }

    /// Writes the directory and makes the file durable; it still has its temporary name.
    pub(crate) fn finish(mut self) -> io::Result<SealedSegment> {
        self.finish_block()?;
        let mut directory = Vec::new();
        put_names(&mut directory, &self.types);
        put_names(&mut directory, &self.kinds);
        self.blocks.iter().for_each(|block| block.encode(&mut directory));
        let mut trailer = [0; TRAILER];
        trailer[0..8].copy_from_slice(&self.offset.to_le_bytes());
        trailer[8..12].copy_from_slice(&len_u32(directory.len()).to_le_bytes());
        trailer[16..24].copy_from_slice(&self.last.to_le_bytes());
        trailer[24..32].copy_from_slice(&END_MAGIC);
        let crc = directory_crc(&directory, &trailer);
        trailer[12..16].copy_from_slice(&crc.to_le_bytes());
        directory.extend_from_slice(&trailer);
        write_all_at(&*self.file, &directory, self.offset)?;
        self.file.sync_data()?;
        Ok(SealedSegment { first: self.first, last: self.last, name: sealed_name(self.first) })
    }
}

/// The bit of a name in the dictionary, which takes it up if there is room.
fn bit_of(names: &mut Vec<String>, name: &str) -> u64 {
    let at = names.iter().position(|known| known == name).unwrap_or_else(|| {
        if names.len() < MAX_NAMES {
            names.push(name.to_owned());
            names.len() - 1
        } else {
            MAX_NAMES
        }
    });
    1 << at
}
