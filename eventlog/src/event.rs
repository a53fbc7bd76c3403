//! What is written to a log and what is read from it.

use bytes::Bytes;
use uuid::Uuid;

use crate::log::{Position, Revision};

/// An event to append. Payload and metadata are opaque bytes (JSON by convention).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// Unique in the log; the same on a retry.
    pub event_id: Uuid,
    /// Wire name, such as `inventory.reserved`: 1 to 255 bytes of visible ASCII.
    pub event_type: &'static str,
    /// Schema version of the payload, from 1.
    pub version: u16,
    /// Microseconds since 1970-01-01T00:00:00Z by the writer's clock. Informative: order comes from the position.
    pub recorded_at: i64,
    pub data: Bytes,
    pub metadata: Bytes,
}

/// An event as read from the log: one shared buffer and where its parts lie in it, so that cloning is one reference
/// count and reading a page allocates nothing for each field.
#[derive(Clone)]
pub struct RecordedEvent {
    pub position: Position,
    pub revision: Revision,
    pub event_id: Uuid,
    pub version: u16,
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub recorded_at: i64,
    buffer: Bytes,
    stream_end: u32,
    type_end: u32,
    data_end: u32,
}

/// The fields of a [`RecordedEvent`] that are plain numbers.
#[derive(Debug, Clone, Copy)]
pub struct RecordedHeader {
    pub position: Position,
    pub revision: Revision,
    pub event_id: Uuid,
    pub version: u16,
    pub recorded_at: i64,
}

impl RecordedEvent {
    /// The event with a buffer of its own, for one that outlives what was read around it.
    #[must_use]
    pub fn detached(self) -> Self {
        Self { buffer: Bytes::copy_from_slice(&self.buffer), ..self }
    }

    /// Wraps a buffer that holds stream name, type name, data and metadata one after the other, with the given
    /// lengths; metadata is the rest. Returns `None` if the lengths do not fit or the names are not ASCII.
    #[must_use]
    pub fn from_buffer(
        header: RecordedHeader,
        buffer: Bytes,
        stream_len: usize,
        type_len: usize,
        data_len: usize,
    ) -> Option<Self> {
        let stream_end = stream_len;
        let type_end = stream_end.checked_add(type_len)?;
        let data_end = type_end.checked_add(data_len)?;
        if data_end > buffer.len() || !buffer.get(..type_end)?.is_ascii() {
            return None;
        }
        Some(Self {
            position: header.position,
            revision: header.revision,
            event_id: header.event_id,
            version: header.version,
            recorded_at: header.recorded_at,
            stream_end: u32::try_from(stream_end).ok()?,
            type_end: u32::try_from(type_end).ok()?,
            data_end: u32::try_from(data_end).ok()?,
            buffer,
        })
    }

    /// Copies the parts into one buffer.
    #[must_use]
    pub fn from_parts(
        header: RecordedHeader,
        stream: &str,
        event_type: &str,
        data: &[u8],
        metadata: &[u8],
    ) -> Self {
        let mut buffer = Vec::with_capacity(stream.len() + event_type.len() + data.len() + metadata.len());
        buffer.extend_from_slice(stream.as_bytes());
        buffer.extend_from_slice(event_type.as_bytes());
        buffer.extend_from_slice(data);
        buffer.extend_from_slice(metadata);
        Self::from_buffer(header, Bytes::from(buffer), stream.len(), event_type.len(), data.len())
            .expect("the lengths are those of the parts, and names are ASCII by construction")
    }

    /// The name of the stream.
    #[must_use]
    pub fn stream(&self) -> &str {
        std::str::from_utf8(&self.buffer[..self.stream_end as usize]).expect("checked ASCII when built")
    }

    /// The wire name of the type.
    #[must_use]
    pub fn event_type(&self) -> &str {
        std::str::from_utf8(&self.buffer[self.stream_end as usize..self.type_end as usize])
            .expect("checked ASCII when built")
    }

    /// The payload.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.buffer[self.type_end as usize..self.data_end as usize]
    }

    /// The metadata.
    #[must_use]
    pub fn metadata(&self) -> &[u8] {
        &self.buffer[self.data_end as usize..]
    }

    /// Bytes held by names, payload and metadata.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.buffer.len()
    }
}

impl PartialEq for RecordedEvent {
    fn eq(&self, other: &Self) -> bool {
        self.position == other.position
            && self.revision == other.revision
            && self.event_id == other.event_id
            && self.version == other.version
            && self.recorded_at == other.recorded_at
            && self.stream_end == other.stream_end
            && self.type_end == other.type_end
            && self.data_end == other.data_end
            && self.buffer == other.buffer
    }
}

impl Eq for RecordedEvent {}

impl std::fmt::Debug for RecordedEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordedEvent")
            .field("position", &self.position)
            .field("stream", &self.stream())
            .field("revision", &self.revision)
            .field("type", &self.event_type())
            .field("version", &self.version)
            .field("event_id", &self.event_id)
            .field("data", &String::from_utf8_lossy(self.data()))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::segment::fault::{FaultPlan, FaultStorage};
    use crate::{Append, EventLog, Expected, SegmentLog, SegmentOptions, StreamAppend, StreamId};

    #[test]
    fn a_detached_event_keeps_nothing_but_itself() {
        let page = Bytes::from(b"a-1kind{\"n\":1}{}and much more".to_vec());
        let header =
            RecordedHeader { position: 1, revision: 1, event_id: Uuid::nil(), version: 1, recorded_at: 0 };
        let event = RecordedEvent::from_buffer(header, page.slice(..16), 3, 4, 7).unwrap();
        assert!(!page.is_unique());
        let detached = event.clone().detached();
        assert_eq!(detached, event);
        drop(event);
        assert!(page.is_unique());
        assert_eq!((detached.stream(), detached.event_type()), ("a-1", "kind"));
        assert_eq!((detached.data(), detached.metadata()), (&b"{\"n\":1}"[..], &b"{}"[..]));
    }

    /// Each event of a stream lies in another block: a state that is folded from them must not hold those blocks.
    #[test]
    fn events_of_a_stream_do_not_keep_the_blocks_they_were_read_from() {
        let disk = FaultStorage::new(1, FaultPlan::default());
        let options = SegmentOptions {
            segment_bytes: 8 << 10,
            block_bytes: 512,
            ring_bytes: 1 << 10,
            background: false,
            ..SegmentOptions::default()
        };
        let log = SegmentLog::open_on(Arc::new(disk), options).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for n in 0..200_u128 {
            let event = NewEvent {
                event_id: Uuid::from_u128(n + 1),
                event_type: "kind",
                version: 1,
                recorded_at: 0,
                data: Bytes::from("x".repeat(100)),
                metadata: Bytes::new(),
            };
            let stream = StreamId::new(format!("a-{}", n % 4)).unwrap();
            let part = StreamAppend { stream, expected: Expected::Any, events: vec![event] };
            for result in runtime.block_on(log.append_group(vec![Append::new(vec![part])])) {
                result.unwrap();
            }
        }
        assert!(log.stats().sealed_segments > 0);
        let events = log.read_stream_blocking(&StreamId::new("a-1").unwrap(), 1, 100).unwrap();
        assert_eq!(events.len(), 50);
        assert!(events.iter().all(|event| event.buffer.is_unique()));
    }
}
