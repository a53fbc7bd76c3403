//! Export and import: a copy of the log as one stream of bytes, taken while the log runs, whole or from a position on.
//!
//! An export is a header, chunks of whole frames with a SHA-256 chain over them, and an end mark. It names the log it
//! is of and the event it follows, by position and digest, so that an import can refuse what does not chain.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::path::Path;

use bytes::Bytes;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::SegmentLog;
use super::codec::{array_at, len_u32, u32_at, u64_at};
use super::frame::{FrameHead, Record, Records};
use super::options::{OpenError, SegmentOptions};
use super::shared::Shared;
use crate::event::{NewEvent, RecordedEvent};
use crate::log::{Append, AppendError, Expected, Position, ReadError, StreamAppend, StreamId};

const MAGIC: [u8; 8] = *b"DAYBKEXP";
const HEADER: usize = 80;
const CHUNK_HEAD: usize = 48;

/// Frames in a chunk, in bytes before compression.
const CHUNK_BYTES: usize = 1 << 20;

/// The largest chunk that an import accepts: one append may make a frame of its own.
const MAX_CHUNK_BYTES: usize = 64 << 20;

/// More names of event types than that are no event log of ours.
const MAX_TYPES: usize = 10_000;

/// What was exported or imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// Position of the first event, one more than that of the last if there was none.
    pub first: Position,
    pub last: Position,
    pub events: u64,
}

/// Why an export or import did not work. What an import wrote before it failed stands and is good.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Reading the log failed.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The log refused an event.
    #[error("the log refused imported events")]
    Append(#[from] AppendError),
    /// Opening the log to restore into failed.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Reading or writing the export failed.
    #[error("the export cannot be read or written")]
    Io(#[from] io::Error),
    /// The bytes are no export, or are not what was exported.
    #[error("not a good export: {0}")]
    Damaged(String),
    /// The export does not continue this log.
    #[error("the export does not chain to this log: {0}")]
    DoesNotChain(String),
}

struct Header {
    log_id: Uuid,
    /// The export begins after this position.
    after: Position,
    /// Digest of the event there; zeros for 0.
    anchor: [u8; 32],
}

impl Header {
    fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&super::FORMAT.to_le_bytes());
        bytes[16..32].copy_from_slice(self.log_id.as_bytes());
        bytes[32..40].copy_from_slice(&self.after.to_le_bytes());
        bytes[40..72].copy_from_slice(&self.anchor);
        let crc = crc32c::crc32c(&bytes[..72]);
        bytes[72..76].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn read(reader: &mut dyn Read) -> Result<Self, BackupError> {
        let mut bytes = [0; HEADER];
        reader.read_exact(&mut bytes)?;
        if bytes[0..8] != MAGIC || u32_at(&bytes, 72) != crc32c::crc32c(&bytes[..72]) {
            return Err(BackupError::Damaged("it does not begin like an export of an event log".into()));
        }
        let format = u32_at(&bytes, 8);
        if format > super::FORMAT {
            let detail = format!("it has format {format}, this release reads up to {}", super::FORMAT);
            return Err(BackupError::Damaged(detail));
        }
        let log_id = Uuid::from_bytes(array_at(&bytes, 16));
        Ok(Self { log_id, after: u64_at(&bytes, 32), anchor: array_at(&bytes, 40) })
    }
}

/// Identifies an event by everything that is in it.
fn digest(event: &RecordedEvent) -> [u8; 32] {
    let mut hash = Sha256::new();
    for number in
        [event.position, event.revision, event.stream().len() as u64, event.event_type().len() as u64]
    {
        hash.update(number.to_le_bytes());
    }
    hash.update(event.event_id.as_bytes());
    hash.update(event.version.to_le_bytes());
    hash.update(event.recorded_at.to_le_bytes());
    for part in [event.stream().as_bytes(), event.event_type().as_bytes(), event.data(), event.metadata()] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn chain(before: &[u8; 32], raw: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(before);
    hash.update(raw);
    hash.finalize().into()
}

impl Shared {
    fn anchor(&self, after: Position) -> Result<[u8; 32], ReadError> {
        if after == 0 {
            return Ok([0; 32]);
        }
        let page = self.read_all(after - 1, &crate::log::Filter::default(), 1, usize::MAX)?;
        let event = page.events.first();
        event
            .map(digest)
            .ok_or_else(|| ReadError::Unavailable(format!("there is no event at position {after}")))
    }

    /// Writes everything after `after` up to the head as it is now.
    pub(crate) fn export(&self, out: &mut dyn Write, after: Position) -> Result<Transfer, BackupError> {
        let head = self.head();
        if after > head {
            return Err(BackupError::DoesNotChain(format!("the log ends at {head}, before {after}")));
        }
        let header = Header { log_id: self.log_id, after, anchor: self.anchor(after)? };
        out.write_all(&header.encode())?;
        let mut link = chain(&[0; 32], &header.encode());
        let mut position = after;
        let mut raw = Vec::new();
        while position < head {
            let frames = self.frames_after(position, head)?;
            let before = position;
            for (at, frame) in frames.heads() {
                if frame.count > 0 && frame.first > position && frame.first <= head {
                    if frame.first != position + 1 {
                        return Err(inside_of_an_append(after));
                    }
                    raw.extend_from_slice(&frames.bytes[at..at + frame.len()]);
                    position = frame.last();
                }
            }
            if position == before {
                return Err(inside_of_an_append(after));
            }
            if raw.len() >= CHUNK_BYTES || position >= head {
                link = chain(&link, &raw);
                write_chunk(out, &raw, position, &link)?;
                raw.clear();
            }
        }
        write_chunk(out, &[], position, &chain(&link, &[]))?;
        out.flush()?;
        Ok(Transfer { first: after + 1, last: position, events: position - after })
    }
}

/// A chunk: raw length, stored length, last position, link of the chain, then the frames, compressed.
fn write_chunk(out: &mut dyn Write, raw: &[u8], last: Position, link: &[u8; 32]) -> io::Result<()> {
    let stored = if raw.is_empty() { Vec::new() } else { zstd::bulk::compress(raw, 3)? };
    let mut head = [0; CHUNK_HEAD];
    head[0..4].copy_from_slice(&len_u32(raw.len()).to_le_bytes());
    head[4..8].copy_from_slice(&len_u32(stored.len()).to_le_bytes());
    head[8..16].copy_from_slice(&last.to_le_bytes());
    head[16..48].copy_from_slice(link);
    out.write_all(&head)?;
    out.write_all(&stored)
}

/// The next chunk's frames and last position; `None` for the end mark.
fn read_chunk(
    reader: &mut dyn Read,
    link: &mut [u8; 32],
) -> Result<Option<(Vec<u8>, Position)>, BackupError> {
    let mut head = [0; CHUNK_HEAD];
    reader.read_exact(&mut head).map_err(|e| BackupError::Damaged(format!("it is cut off: {e}")))?;
    let (raw_len, stored_len) = (u32_at(&head, 0) as usize, u32_at(&head, 4) as usize);
    if raw_len > MAX_CHUNK_BYTES || stored_len > MAX_CHUNK_BYTES {
        return Err(BackupError::Damaged("a chunk is larger than any that is written".into()));
    }
    let mut stored = vec![0; stored_len];
    reader.read_exact(&mut stored).map_err(|e| BackupError::Damaged(format!("it is cut off: {e}")))?;
    let raw = match raw_len {
        0 => Vec::new(),
        _ => zstd::bulk::decompress(&stored, raw_len)
            .map_err(|e| BackupError::Damaged(format!("a chunk does not decompress: {e}")))?,
    };
    *link = chain(link, &raw);
    if head[16..48] != link[..] || raw.len() != raw_len {
        return Err(BackupError::Damaged("a chunk is not what was exported".into()));
    }
    Ok((raw_len > 0).then_some((raw, u64_at(&head, 8))))
}

/// Reads an export to its end without bringing it in anywhere: that it is whole, and what it holds. A copy that came over a
/// network is looked at so before anybody relies on it.
///
/// # Errors
/// It is cut off, not what was exported, or goes on behind its end mark.
pub fn inspect(reader: &mut dyn Read) -> Result<Transfer, BackupError> {
    let header = Header::read(reader).map_err(cut_off)?;
    let mut link = chain(&[0; 32], &header.encode());
    let mut last = header.after;
    while let Some((raw, end)) = read_chunk(reader, &mut link)? {
        let mut at = 0;
        while let Some(head) = FrameHead::at(&raw, at).filter(|head| head.is_intact(&raw, at)) {
            if head.first != last + 1 || head.count == 0 {
                return Err(malformed());
            }
            last = head.last();
            at += head.len();
        }
        if at != raw.len() || last != end {
            return Err(malformed());
        }
    }
    match reader.read(&mut [0])? {
        0 => Ok(Transfer { first: header.after + 1, last, events: last - header.after }),
        _ => Err(BackupError::Damaged("something follows its end mark".into())),
    }
}

/// The end of the bytes before the end of the export.
fn cut_off(error: BackupError) -> BackupError {
    match error {
        BackupError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            BackupError::Damaged(format!("it is cut off: {error}"))
        }
        other => other,
    }
}

/// The rest of that append would be missing.
fn inside_of_an_append(after: Position) -> BackupError {
    BackupError::DoesNotChain(format!("position {after} is inside of an append; begin after its last event"))
}

fn malformed() -> BackupError {
    BackupError::Damaged("a chunk's frames are malformed".into())
}

impl SegmentLog {
    /// Writes everything after position `after` (0: all) up to the head as it is now, while the log runs.
    ///
    /// # Errors
    /// The log cannot be read, `after` is behind its head, or `out` fails.
    pub fn export(&self, out: &mut dyn Write, after: Position) -> Result<Transfer, BackupError> {
        self.shared.export(out, after)
    }

    /// Appends an export that continues this log, with the same positions, ids and times. Blocks; not to be called
    /// from async code.
    ///
    /// # Errors
    /// The export is of another log, begins elsewhere than at this log's head, or is damaged. Chunks before the one
    /// at fault stand.
    pub fn import(&self, reader: &mut dyn Read) -> Result<Transfer, BackupError> {
        let header = Header::read(reader)?;
        self.import_after(&header, reader)
    }

    /// Makes a log in an empty `folder` out of a whole export: with the same identity, so that later exports chain.
    ///
    /// # Errors
    /// As [`SegmentLog::open`] and [`SegmentLog::import`].
    pub fn restore(
        folder: impl AsRef<Path>,
        options: SegmentOptions,
        reader: &mut dyn Read,
    ) -> Result<Self, BackupError> {
        let header = Header::read(reader)?;
        if header.after != 0 {
            let detail = format!("it begins after position {}, a new log needs a whole one", header.after);
            return Err(BackupError::DoesNotChain(detail));
        }
        let log = Self::open(folder, SegmentOptions { new_log_id: Some(header.log_id), ..options })?;
        log.import_after(&header, reader)?;
        Ok(log)
    }

    fn import_after(&self, header: &Header, reader: &mut dyn Read) -> Result<Transfer, BackupError> {
        let head = self.head_position();
        if header.log_id != self.log_id() {
            let detail = format!("it is of log {}, this is log {}", header.log_id, self.log_id());
            return Err(BackupError::DoesNotChain(detail));
        }
        if header.after != head {
            let detail = format!("it begins after position {}, this log ends at {head}", header.after);
            return Err(BackupError::DoesNotChain(detail));
        }
        if header.anchor != self.shared.anchor(head)? {
            return Err(BackupError::DoesNotChain(format!("the events at position {head} differ")));
        }
        let mut link = chain(&[0; 32], &header.encode());
        while let Some((raw, last)) = read_chunk(reader, &mut link)? {
            self.import_chunk(&Bytes::from(raw), last)?;
        }
        let last = self.head_position();
        Ok(Transfer { first: head + 1, last, events: last - head })
    }

    fn import_chunk(&self, raw: &Bytes, last: Position) -> Result<(), BackupError> {
        let mut appends = Vec::new();
        let mut at = 0;
        let mut next = self.head_position() + 1;
        while let Some(head) = FrameHead::at(raw, at).filter(|head| head.is_intact(raw, at)) {
            if head.first != next || head.count == 0 {
                return Err(malformed());
            }
            next += u64::from(head.count);
            appends.push(to_append(raw, head.records(raw, at)).ok_or_else(malformed)?);
            at += head.len();
        }
        if at != raw.len() || next != last + 1 {
            return Err(malformed());
        }
        let receiver = self.shared.queue.push(appends)?;
        let results =
            receiver.blocking_recv().map_err(|_| AppendError::Stopped("the writer has ended".into()))?;
        results.into_iter().try_for_each(|result| result.map(drop))?;
        if self.head_position() != last {
            return Err(BackupError::DoesNotChain("others wrote to the log during the import".into()));
        }
        Ok(())
    }
}

/// The append that a frame was made of.
fn to_append(raw: &Bytes, records: Records<'_>) -> Option<Append> {
    let mut streams: Vec<StreamAppend> = Vec::new();
    for record in records {
        let record = record?;
        let name = record.stream(raw);
        if streams.last().is_none_or(|part| part.stream.as_str() != name) {
            let expected = Expected::Exact(record.header.revision.checked_sub(1)?);
            streams.push(StreamAppend { stream: StreamId::new(name).ok()?, expected, events: Vec::new() });
        }
        streams.last_mut()?.events.push(to_event(raw, record)?);
    }
    Some(Append::new(streams))
}

fn to_event(raw: &Bytes, record: Record) -> Option<NewEvent> {
    let event = record.to_event(raw)?;
    Some(NewEvent {
        event_id: event.event_id,
        event_type: intern(event.event_type())?,
        version: event.version,
        recorded_at: event.recorded_at,
        data: raw.slice_ref(event.data()),
        metadata: raw.slice_ref(event.metadata()),
    })
}

/// Names of types live as long as the program, as those in its source do; there are only so many.
fn intern(name: &str) -> Option<&'static str> {
    static NAMES: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
    let mut names = NAMES.lock();
    let names = names.get_or_insert_default();
    if let Some(known) = names.get(name) {
        return Some(known);
    }
    if names.len() >= MAX_TYPES {
        return None;
    }
    let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
    names.insert(name);
    Some(name)
}
