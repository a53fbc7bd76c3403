//! Reads: by position over ring and files, and by stream. Nothing here waits for a writer.

use bytes::Bytes;

use super::codec::index;
use super::frame::{FRAME_HEAD, FrameHead, Record};
use super::shared::{Shared, View};
use super::storage::read_full_at;
use super::tail::TailSegment;
use crate::event::RecordedEvent;
use crate::log::{Filter, Page, Position, ReadError, Revision};

/// How much of an unsealed segment is read at a time, in bytes.
const CHUNK_BYTES: usize = 256 << 10;

/// What passing over a sealed segment counts as.
const SKIP_BYTES: u64 = 64 << 10;

/// A page looks at about this many bytes of events at most, however few of them the filter selects.
const MAX_SCAN_BYTES: u64 = 32 << 20;

/// Whole frames with good checksums, of which those from `at` on are asked for.
#[derive(Clone)]
pub(crate) struct Frames {
    pub(crate) bytes: Bytes,
    pub(crate) at: usize,
    /// Where `bytes` come from, for messages.
    pub(crate) file: String,
}

impl Frames {
    /// Place and head of every frame.
    pub(crate) fn heads(&self) -> impl Iterator<Item = (usize, FrameHead)> {
        let mut at = self.at;
        std::iter::from_fn(move || {
            let head = FrameHead::at(&self.bytes, at)?;
            let found = (at, head);
            at += head.len();
            Some(found)
        })
    }

    fn malformed(&self, position: Position) -> ReadError {
        let detail = "a frame's records are not in order".into();
        ReadError::Damaged { file: self.file.clone(), offset: self.at as u64, position, detail }
    }

    /// The record at `position`, which lies in these frames.
    fn record(&self, position: Position) -> Option<Record> {
        let mut at = self.at;
        while let Some(head) = FrameHead::at(&self.bytes, at) {
            if position <= head.last() {
                let place = position.checked_sub(head.first)?;
                return head.records(&self.bytes, at).nth(index(place))?;
            }
            at += head.len();
        }
        None
    }
}

/// A page under construction.
struct Collector<'a> {
    page: Page,
    filter: &'a Filter,
    all: bool,
    limit: usize,
    limit_bytes: usize,
    bytes: usize,
    full: bool,
}

impl Collector<'_> {
    /// Goes through frames up to `head`; returns how many bytes were looked at.
    fn take(&mut self, frames: &Frames, head: Position) -> Result<u64, ReadError> {
        let mut at = frames.at;
        let expected = self.page.scanned_to + 1;
        while let Some(frame) = FrameHead::at(&frames.bytes, at)
            && frame.first <= head
        {
            if frame.last() > self.page.scanned_to {
                for record in frame.records(&frames.bytes, at) {
                    let record = record.ok_or_else(|| frames.malformed(frame.first))?;
                    self.take_record(frames, record)?;
                    if self.full {
                        return Ok((at - frames.at) as u64);
                    }
                }
            }
            at += frame.len();
        }
        if self.page.scanned_to < expected {
            return Err(frames.malformed(expected));
        }
        Ok((at - frames.at) as u64)
    }

    fn take_record(&mut self, frames: &Frames, record: Record) -> Result<(), ReadError> {
        let position = record.header.position;
        if position <= self.page.scanned_to {
            return Ok(());
        }
        if position != self.page.scanned_to + 1 {
            return Err(frames.malformed(self.page.scanned_to + 1));
        }
        let selected =
            self.all || self.filter.matches(record.stream(&frames.bytes), record.event_type(&frames.bytes));
        if selected {
            let event = record.to_event(&frames.bytes).ok_or_else(|| frames.malformed(position))?;
            let over = !self.page.events.is_empty() && self.bytes + event.len_bytes() > self.limit_bytes;
            if self.page.events.len() >= self.limit || over {
                self.full = true;
                return Ok(());
            }
            self.bytes += event.len_bytes();
            self.page.events.push(event);
        }
        self.page.scanned_to = position;
        // Without a filter nothing is gained by looking on.
        self.full = self.page.events.len() >= self.limit;
        Ok(())
    }
}

impl Shared {
    /// As [`crate::EventLog::read_all`].
    pub(crate) fn read_all(
        &self,
        after: Position,
        filter: &Filter,
        limit: usize,
        limit_bytes: usize,
    ) -> Result<Page, ReadError> {
        let head = self.head();
        let view = self.view();
        let page = Page { events: Vec::new(), scanned_to: after, at_head: false };
        let mut collector =
            Collector { page, filter, all: filter.is_all(), limit, limit_bytes, bytes: 0, full: limit == 0 };
        let mut scanned = 0;
        while !collector.full && collector.page.scanned_to < head && scanned < MAX_SCAN_BYTES {
            match self.collect(&mut collector, &view, head) {
                Ok(bytes) => scanned += bytes,
                // What was read before is good; the next read begins with what is not.
                Err(_) if collector.page.scanned_to > after => break,
                Err(error) => return Err(error),
            }
        }
        let mut page = collector.page;
        page.at_head = page.scanned_to >= head;
        Ok(page)
    }

    /// Goes through, or passes over, the next frames; returns how many bytes that counts as.
    fn collect(&self, collector: &mut Collector<'_>, view: &View, head: Position) -> Result<u64, ReadError> {
        let next = collector.page.scanned_to + 1;
        if !collector.all
            && let Some(last) = self.skip_unselected(view, next, collector.filter)?
        {
            collector.page.scanned_to = last;
            return Ok(SKIP_BYTES);
        }
        let frames = self.frames_at(view, next, head)?;
        collector.take(&frames, head)
    }

    /// As [`crate::EventLog::read_stream`].
    pub(crate) fn read_stream(
        &self,
        stream: &str,
        from: Revision,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let head = self.head();
        let view = self.view();
        let from = from.max(1);
        let positions = self.stream_positions(&view, stream, from, limit, head)?;
        let mut events = Vec::with_capacity(positions.len());
        let mut frames: Option<Frames> = None;
        for (revision, position) in (from..).zip(positions) {
            let held = frames.as_ref().and_then(|frames| frames.record(position));
            let record = match held {
                Some(record) => record,
                None => {
                    let found = frames.insert(self.frames_at(&view, position, position)?);
                    found.record(position).ok_or_else(|| found.malformed(position))?
                }
            };
            let frames = frames.as_ref().expect("set above");
            let agrees = record.header.revision == revision && record.stream(&frames.bytes) == stream;
            // The events of a stream are spread over many blocks: each one kept as a part of its block would keep that.
            let event = record.to_event(&frames.bytes).filter(|_| agrees).map(RecordedEvent::detached);
            events.push(event.ok_or_else(|| ReadError::Damaged {
                file: frames.file.clone(),
                offset: frames.at as u64,
                position,
                detail: format!("the index says revision {revision} of {stream} is here, and it is not"),
            })?);
        }
        Ok(events)
    }

    /// As [`crate::EventLog::stream_revision`]: only what is durable.
    pub(crate) fn stream_revision(&self, stream: &str) -> Result<Revision, ReadError> {
        let head = self.head();
        let view = self.view();
        for segment in view.tail.iter().rev() {
            if let Some(entry) = segment.index.read().streams.get(stream) {
                let durable = entry.places.partition_point(|p| segment.first + u64::from(*p) <= head) as u64;
                if durable > 0 {
                    return Ok(entry.first_revision + durable - 1);
                }
            }
        }
        self.sealed_revision(&view, stream)
    }

    /// As [`crate::EventLog::piece_end`]: the end of a block or of a segment.
    pub(crate) fn piece_end(&self, after: Position, wanted: u64) -> Position {
        let view = self.view();
        let target = after.saturating_add(wanted);
        let at = view.sealed.partition_point(|segment| segment.last <= after);
        if let Some(segment) = view.sealed.get(at) {
            let inside = target < segment.last;
            // What is damaged is for the reader to find.
            let open = if inside { self.open_sealed(segment).ok() } else { None };
            return open.map_or(segment.last, |open| open.block_last(open.block_of(target)));
        }
        let behind = view.tail.iter().map(|segment| segment.first).find(|first| *first > after + 1);
        behind.map_or(target, |behind| target.min(behind - 1))
    }

    /// Whole frames with the events after `after`, up to `head` at most as far as they are asked for.
    pub(crate) fn frames_after(&self, after: Position, head: Position) -> Result<Frames, ReadError> {
        self.frames_at(&self.view(), after + 1, head)
    }

    /// Frames from the one with the event at `position` on; up to `until` they are asked for.
    fn frames_at(&self, view: &View, position: Position, until: Position) -> Result<Frames, ReadError> {
        if let Some(group) = self.ring.read().find(position)
            && let Some(at) = group.frame_of(position)
        {
            return Ok(Frames { bytes: group.bytes, at, file: "memory".into() });
        }
        let at = view.sealed.partition_point(|segment| segment.first <= position);
        if let Some(segment) = at.checked_sub(1).map(|at| &view.sealed[at])
            && position <= segment.last
        {
            let open = self.open_sealed(segment)?;
            let block = open.block_of(position);
            let bytes = self.sealed_block(segment.first, &open, block)?;
            return Ok(Frames { bytes, at: 0, file: segment.name.clone() });
        }
        let at = view.tail.partition_point(|segment| segment.first <= position);
        match at.checked_sub(1).and_then(|at| view.tail.get(at)) {
            Some(segment) => read_frames(segment, position, until),
            None => {
                Err(ReadError::Unavailable(format!("position {position} is before the log's first segment")))
            }
        }
    }

    /// If the sealed block with `position` holds nothing that the filter selects: the last position of it and of all
    /// such blocks that follow in its segment.
    fn skip_unselected(
        &self,
        view: &View,
        position: Position,
        filter: &Filter,
    ) -> Result<Option<Position>, ReadError> {
        let at = view.sealed.partition_point(|segment| segment.last < position);
        let Some(segment) = view.sealed.get(at) else { return Ok(None) };
        let open = self.open_sealed(segment)?;
        let selection = open.select(filter);
        let start = open.block_of(position);
        let skipped =
            (start..open.block_count()).take_while(|block| !open.is_selected(*block, selection)).last();
        Ok(skipped.map(|block| open.block_last(block)))
    }

    /// The positions of a stream's durable events from revision `from` on.
    fn stream_positions(
        &self,
        view: &View,
        stream: &str,
        from: Revision,
        limit: usize,
        head: Position,
    ) -> Result<Vec<Position>, ReadError> {
        let mut positions = Vec::new();
        if !view.runs.is_empty() {
            let hash = (self.options.stream_hash)(stream);
            for run in &view.runs {
                run.positions(hash, stream, from, limit, &mut positions)?;
            }
        }
        for segment in &view.tail {
            if let Some(entry) = segment.index.read().streams.get(stream) {
                let skip = index(from.saturating_sub(entry.first_revision));
                let durable = entry.places.iter().map(|place| segment.first + u64::from(*place));
                let wanted = durable.skip(skip).take_while(|position| *position <= head);
                positions.extend(wanted.take(limit - positions.len()));
            }
        }
        Ok(positions)
    }
}

/// Reads whole frames of an unsealed segment from the one with `position` on, about a chunk of them, none behind the
/// one with `until`.
fn read_frames(segment: &TailSegment, position: Position, until: Position) -> Result<Frames, ReadError> {
    let place = position - segment.first;
    let (start, end) = {
        let index = segment.index.read();
        let start = index.frame_offset(place);
        // The frame behind the last one that is asked for, to read no more than that.
        let behind = (until + 1).checked_sub(segment.first).and_then(|place| index.frame_offset(place));
        (start, behind.filter(|behind| Some(*behind) > start).unwrap_or(index.end))
    };
    let Some(start) = start else {
        return Err(segment.damaged(0, position, "the event is missing from its segment"));
    };
    let mut want = index(end.saturating_sub(start)).clamp(FRAME_HEAD, CHUNK_BYTES);
    loop {
        let mut bytes = vec![0; want];
        let read = read_full_at(&*segment.file, &mut bytes, start)
            .map_err(|error| ReadError::Unavailable(format!("reading {}: {error}", segment.name)))?;
        bytes.truncate(read);
        let mut at = 0;
        while let Some(head) = FrameHead::at(&bytes, at)
            && at + head.len() <= bytes.len()
            && head.is_intact(&bytes, at)
        {
            at += head.len();
        }
        if at > 0 {
            bytes.truncate(at);
            return Ok(Frames { bytes: Bytes::from(bytes), at: 0, file: segment.name.clone() });
        }
        match FrameHead::at(&bytes, 0) {
            Some(head) if head.len() > want && head.len() as u64 <= segment.size => want = head.len(),
            _ => return Err(segment.damaged(start, position, "a frame's checksum is wrong")),
        }
    }
}
