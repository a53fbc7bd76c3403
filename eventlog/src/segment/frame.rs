//! Frames and records, the unit of atomicity and the unit of reading. Byte by byte in `docs/log-format.md`.
//!
//! One frame holds one append. Its CRC covers everything of it, so that an append cut off by a crash is never half
//! admitted. Every frame also tells up to which position the log was durable when it was written: that is how
//! recovery tells a torn tail (nothing behind the bad frame was ever acknowledged) from damage.

use bytes::{BufMut, Bytes};
use uuid::Uuid;

use super::codec::{array_at, len_u32, u16_at, u32_at, u64_at};
use crate::event::{NewEvent, RecordedEvent, RecordedHeader};
use crate::log::{Append, Position, Revision};

/// Bytes of a frame before its records.
pub(crate) const FRAME_HEAD: usize = 32;

/// Bytes of a record before its names.
pub(crate) const RECORD_HEAD: usize = 44;

/// "DBF1", so that no run of other bytes looks like a frame.
const MAGIC: u32 = u32::from_le_bytes(*b"DBF1");

/// The numbers at the start of a frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameHead {
    /// Bytes of records, without padding.
    body_len: u32,
    crc: u32,
    /// Position of the first event; for a marker (no events) the next position.
    pub(crate) first: Position,
    /// All events up to here were durable when this frame was written.
    pub(crate) durable: Position,
    /// Number of events; 0 for a marker.
    pub(crate) count: u32,
}

impl FrameHead {
    /// Reads the head at `at`; `None` if there is none, complete and well formed.
    pub(crate) fn at(bytes: &[u8], at: usize) -> Option<Self> {
        let head = bytes.get(at..at.checked_add(FRAME_HEAD)?)?;
        (u32_at(head, 28) == MAGIC).then(|| Self {
            body_len: u32_at(head, 0),
            crc: u32_at(head, 4),
            first: u64_at(head, 8),
            durable: u64_at(head, 16),
            count: u32_at(head, 24),
        })
    }

    /// Bytes of the whole frame, a multiple of 8.
    pub(crate) fn len(&self) -> usize {
        (FRAME_HEAD + self.body_len as usize).next_multiple_of(8)
    }

    /// Position of the last event; one less than `first` for a marker.
    pub(crate) fn last(&self) -> Position {
        self.first + u64::from(self.count) - 1
    }

    /// Whether the whole frame is there and its checksum agrees.
    pub(crate) fn is_intact(&self, bytes: &[u8], at: usize) -> bool {
        self.first > 0
            && at
                .checked_add(self.len())
                .and_then(|end| bytes.get(at..end))
                .is_some_and(|frame| checksum(frame) == self.crc)
    }

    /// The records of the frame that begins at `at`.
    pub(crate) fn records<'a>(&self, bytes: &'a [u8], at: usize) -> Records<'a> {
        let start = at + FRAME_HEAD;
        let end = (start + self.body_len as usize).min(bytes.len());
        Records { bytes, at: start, end, position: self.first, left: self.count }
    }
}

/// CRC-32C over a whole frame but for the checksum's own place.
fn checksum(frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&frame[..4]), &frame[8..])
}

/// Appends a frame with the events of `append`; `before` are the revisions of its streams until now.
pub(crate) fn encode_append(
    out: &mut Vec<u8>,
    first: Position,
    durable: Position,
    append: &Append,
    before: &[Revision],
) {
    let start = out.len();
    out.put_bytes(0, FRAME_HEAD);
    let mut count = 0;
    for (part, before) in append.streams.iter().zip(before) {
        for (revision, event) in (before + 1..).zip(&part.events) {
            encode_record(out, part.stream.as_str(), revision, event);
            count += 1;
        }
    }
    finish_frame(out, start, first, durable, count);
}

/// Appends a frame without events: a durable note that everything before `next` is durable.
pub(crate) fn encode_marker(out: &mut Vec<u8>, next: Position) {
    let start = out.len();
    out.put_bytes(0, FRAME_HEAD);
    finish_frame(out, start, next, next - 1, 0);
}

fn finish_frame(out: &mut Vec<u8>, start: usize, first: Position, durable: Position, count: u32) {
    let body_len = len_u32(out.len() - start - FRAME_HEAD);
    out.resize(start + (out.len() - start).next_multiple_of(8), 0);
    let frame = &mut out[start..];
    frame[0..4].copy_from_slice(&body_len.to_le_bytes());
    frame[8..16].copy_from_slice(&first.to_le_bytes());
    frame[16..24].copy_from_slice(&durable.to_le_bytes());
    frame[24..28].copy_from_slice(&count.to_le_bytes());
    frame[28..32].copy_from_slice(&MAGIC.to_le_bytes());
    let crc = checksum(frame);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// The length of the frame that `encode_append` would write for so many events and bytes.
pub(crate) fn frame_len(events: usize, bytes: usize) -> usize {
    (FRAME_HEAD + events * RECORD_HEAD + bytes).next_multiple_of(8)
}

fn encode_record(out: &mut Vec<u8>, stream: &str, revision: Revision, event: &NewEvent) {
    let names = stream.len() + event.event_type.len();
    let length = RECORD_HEAD + names + event.data.len() + event.metadata.len();
    let mut head = [0; RECORD_HEAD];
    head[0..4].copy_from_slice(&len_u32(length).to_le_bytes());
    head[4..6].copy_from_slice(&event.version.to_le_bytes());
    head[6] = u8::try_from(stream.len()).expect("a stream name has at most 255 bytes");
    head[7] = u8::try_from(event.event_type.len()).expect("checked by the rules: at most 255 bytes");
    head[8..16].copy_from_slice(&revision.to_le_bytes());
    head[16..32].copy_from_slice(event.event_id.as_bytes());
    head[32..40].copy_from_slice(&event.recorded_at.to_le_bytes());
    head[40..44].copy_from_slice(&len_u32(event.data.len()).to_le_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(stream.as_bytes());
    out.extend_from_slice(event.event_type.as_bytes());
    out.extend_from_slice(&event.data);
    out.extend_from_slice(&event.metadata);
}

/// Where a record lies in its buffer, and its numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    pub(crate) header: RecordedHeader,
    names: usize,
    stream_len: usize,
    type_len: usize,
    data_len: usize,
    end: usize,
}

impl Record {
    /// The stream's name; empty if it is no ASCII, which no writer writes.
    pub(crate) fn stream<'a>(&self, bytes: &'a [u8]) -> &'a str {
        std::str::from_utf8(&bytes[self.names..self.names + self.stream_len]).unwrap_or_default()
    }

    /// The type's name.
    pub(crate) fn event_type<'a>(&self, bytes: &'a [u8]) -> &'a str {
        let start = self.names + self.stream_len;
        std::str::from_utf8(&bytes[start..start + self.type_len]).unwrap_or_default()
    }

    pub(crate) fn event_id(&self) -> Uuid {
        self.header.event_id
    }

    /// The event, sharing `buffer`, in which this record was found.
    pub(crate) fn to_event(self, buffer: &Bytes) -> Option<RecordedEvent> {
        let bytes = buffer.slice(self.names..self.end);
        RecordedEvent::from_buffer(self.header, bytes, self.stream_len, self.type_len, self.data_len)
    }
}

/// The records of one frame, in order.
pub(crate) struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
    position: Position,
    left: u32,
}

impl Iterator for Records<'_> {
    /// `None` for a record whose lengths do not fit, which a frame with a good checksum never has.
    type Item = Option<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let record = self.parse();
        match &record {
            Some(record) => self.at = record.end,
            None => self.left = 0,
        }
        self.position += 1;
        Some(record)
    }
}

impl Records<'_> {
    fn parse(&self) -> Option<Record> {
        let head = self.bytes.get(self.at..self.at + RECORD_HEAD)?;
        let (stream_len, type_len) = (usize::from(head[6]), usize::from(head[7]));
        let data_len = u32_at(head, 40) as usize;
        let names = self.at + RECORD_HEAD;
        let end = self.at + u32_at(head, 0) as usize;
        if names + stream_len + type_len + data_len > end || end > self.end {
            return None;
        }
        let header = RecordedHeader {
            position: self.position,
            revision: u64_at(head, 8),
            event_id: Uuid::from_bytes(array_at(head, 16)),
            version: u16_at(head, 4),
            recorded_at: i64::from_le_bytes(array_at(head, 32)),
        };
        Some(Record { header, names, stream_len, type_len, data_len, end })
    }
}
