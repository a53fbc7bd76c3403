//! The writer thread: owns the newest segment, decides, encodes, writes and syncs a group at a time, then publishes.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::frame::{FRAME_HEAD, FrameHead, encode_append, encode_marker, frame_len};
use super::queue::{Job, Results};
use super::sealing::{WorkError, merge_due, seal_oldest};
use super::shared::{Shared, StreamState};
use super::storage::{is_disk_full, write_all_at, write_zeros_at};
use super::tail::{RingGroup, SEGMENT_HEAD, TailSegment};
use crate::log::{Append, AppendError, Appended, Expected, Position, ReadError, Revision};
use crate::rules::AppendSize;

/// The one writer of the log.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    segment: Arc<TailSegment>,
    /// Byte offset in the segment behind what is written.
    end: u64,
    /// Position of the last durable event.
    head: Position,
    /// Position of the next event; all from `head + 1` to before it are in `buffer`.
    next: Position,
    buffer: Vec<u8>,
    /// Results up to here stand: their events are durable, or they need none.
    settled: usize,
    results: Results,
    /// Set for good by the first failure that leaves the disk in doubt.
    stopped: Option<AppendError>,
    /// Set while a batch is under way when the disk had no room for a segment: one attempt a batch is enough.
    no_room: Option<AppendError>,
    /// Whether the next segment is being made.
    asked_for_spare: bool,
}

/// What an append comes to before anything is written.
enum Decision {
    /// Write it; the revisions of its streams until now.
    Write(SmallVec<[Revision; 4]>),
    /// It was written before.
    Retried(Appended),
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, segment: Arc<TailSegment>) -> Self {
        let end = segment.index.read().end;
        let head = shared.head();
        Self {
            shared,
            segment,
            end,
            head,
            next: head + 1,
            buffer: Vec::new(),
            settled: 0,
            results: Vec::new(),
            stopped: None,
            no_room: None,
            asked_for_spare: false,
        }
    }

    /// Works until the queue is closed and empty, then marks the clean end.
    pub(crate) fn run(mut self) {
        let mut jobs = Vec::new();
        while self.shared.queue.take(self.shared.options.group_bytes, &mut jobs) {
            self.process(&mut jobs);
        }
        if self.stopped.is_none()
            && let Err(error) = self.mark_clean_end()
        {
            tracing::warn!(%error, "the event log was closed without its end mark");
        }
    }

    /// One batch: every job's appends in order, one commit, then the replies.
    fn process(&mut self, jobs: &mut Vec<Job>) {
        let sizes = jobs.iter().flat_map(|job| job.sizes.iter().flatten());
        let expected: usize = sizes.map(|size| frame_len(size.events, size.bytes)).sum();
        self.buffer.reserve(expected.min(self.shared.options.group_bytes * 2));
        self.no_room = None;
        self.settled = 0;
        if self.stopped.is_none() {
            self.stopped = self.shared.stopped();
        }
        let mut starts = SmallVec::<[usize; 16]>::new();
        for job in jobs.iter_mut() {
            starts.push(self.results.len());
            for (append, size) in job.appends.drain(..).zip(job.sizes.drain(..)) {
                let result = size.and_then(|size| self.append(&append, size));
                self.results.push(result);
            }
            // A failure is told to all whom it concerns through the results.
            if self.buffer.len() > self.shared.options.group_bytes {
                let _ = self.commit();
            }
        }
        let _ = self.commit();
        let mut results = std::mem::take(&mut self.results);
        for (job, start) in jobs.drain(..).zip(starts).rev() {
            // The caller may have gone away; its events are in the log all the same.
            let _ = job.reply.send(results.split_off(start));
        }
    }

    fn append(&mut self, append: &Append, size: AppendSize) -> Result<Appended, AppendError> {
        if let Some(stopped) = &self.stopped {
            return Err(stopped.clone());
        }
        let before = match self.decide(append)? {
            Decision::Write(before) => before,
            Decision::Retried(earlier) => return Ok(earlier),
        };
        let length = frame_len(size.events, size.bytes);
        if self.end + (self.buffer.len() + length) as u64 > self.segment.size {
            self.commit()?;
            self.roll(length)?;
        }
        let first = self.next;
        let offset = self.end + self.buffer.len() as u64;
        encode_append(&mut self.buffer, first, self.head, append, &before);
        self.next += size.events as u64;
        let mut index = self.segment.index.write();
        let mut revisions = Vec::with_capacity(append.streams.len());
        for (part, before) in append.streams.iter().zip(before) {
            let last_id = part.events[part.events.len() - 1].event_id;
            index.add(&part.stream, before, part.events.len(), last_id, offset);
            revisions.push(before + part.events.len() as u64);
        }
        Ok(Appended { first, last: self.next - 1, revisions })
    }

    /// Checks the expected revisions. The common case, a stream at its expected revision, costs one lookup.
    fn decide(&mut self, append: &Append) -> Result<Decision, AppendError> {
        let mut before = SmallVec::new();
        let mut conflict = None;
        let (mut may_be_retry, mut in_buffer) = (true, false);
        for part in &append.streams {
            let (state, buffered) =
                self.stream_state(part.stream.as_str()).map_err(|e| self.read_failed(&e))?;
            in_buffer |= buffered;
            let actual = state.map_or(0, |state| state.revision);
            let count = part.events.len() as u64;
            match part.expected {
                Expected::Exact(expected) => {
                    may_be_retry &= expected.checked_add(count).is_some_and(|end| end <= actual);
                    if expected != actual && conflict.is_none() {
                        let stream = part.stream.clone();
                        conflict = Some(AppendError::Conflict { stream, expected, actual });
                    }
                }
                Expected::Any => {
                    let last_id = part.events[part.events.len() - 1].event_id;
                    may_be_retry &= count <= actual
                        && state.and_then(|state| state.last_id).is_none_or(|there| there == last_id);
                }
            }
            before.push(actual);
        }
        for premise in &append.premises {
            let (state, _) = self.stream_state(premise.stream.as_str()).map_err(|e| self.read_failed(&e))?;
            let (expected, actual) = (premise.revision, state.map_or(0, |state| state.revision));
            if expected != actual && conflict.is_none() {
                conflict = Some(AppendError::Conflict { stream: premise.stream.clone(), expected, actual });
            }
        }
        if may_be_retry {
            // Where the events to compare with are still in the buffer, readers do not look.
            if in_buffer {
                self.commit()?;
            }
            if let Some(earlier) = self.find_retried(append, &before).map_err(|e| self.read_failed(&e))? {
                return Ok(Decision::Retried(earlier));
            }
        }
        match conflict {
            Some(conflict) => Err(conflict),
            None => Ok(Decision::Write(before)),
        }
    }

    /// The revision of a stream with what is encoded, and whether some of it is still in the buffer. Busy streams are in
    /// the newest segment, which is at hand, and so is all that is in the buffer.
    fn stream_state(&self, stream: &str) -> Result<(Option<StreamState>, bool), ReadError> {
        if let Some(entry) = self.segment.index.read().streams.get(stream) {
            let state = StreamState { revision: entry.last_revision(), last_id: entry.last_id };
            let last = entry.places.last().map_or(0, |place| self.segment.first + u64::from(*place));
            return Ok((Some(state), last > self.head));
        }
        Ok((self.shared.stream_state(stream)?, false))
    }

    /// The result of an earlier append with the same event ids at the expected place of every stream.
    fn find_retried(&self, append: &Append, actual: &[Revision]) -> Result<Option<Appended>, ReadError> {
        let mut found = Appended { first: Position::MAX, last: 0, revisions: Vec::new() };
        for (part, actual) in append.streams.iter().zip(actual) {
            let count = part.events.len();
            let before = match part.expected {
                Expected::Exact(expected) => expected,
                Expected::Any => actual - count as u64,
            };
            let there = self.shared.read_stream(part.stream.as_str(), before + 1, count)?;
            let same = there.len() == count
                && there.iter().zip(&part.events).all(|(there, new)| there.event_id == new.event_id);
            if !same {
                return Ok(None);
            }
            found.first = found.first.min(there[0].position);
            found.last = found.last.max(there[count - 1].position);
            found.revisions.push(before + count as u64);
        }
        Ok(Some(found))
    }

    fn read_failed(&mut self, error: &ReadError) -> AppendError {
        match error {
            ReadError::Damaged { .. } => self.stop(error.to_string()),
            ReadError::Unavailable(reason) => {
                AppendError::Unavailable { reason: reason.clone(), indeterminate: false }
            }
        }
    }

    /// Writes and syncs what is encoded and makes it visible. On failure every result since the last commit that
    /// depends on it becomes that failure.
    fn commit(&mut self) -> Result<(), AppendError> {
        if !self.buffer.is_empty()
            && let Err(error) = self.write_buffer()
        {
            // What was refused for a reason of its own is in no doubt; a conflict may be with what is now lost.
            let in_doubt = |r: &&mut Result<_, _>| matches!(r, Ok(_) | Err(AppendError::Conflict { .. }));
            let concerned = self.results[self.settled..].iter_mut().filter(in_doubt);
            concerned.for_each(|result| *result = Err(error.clone()));
            self.settled = self.results.len();
            return Err(error);
        }
        self.settled = self.results.len();
        Ok(())
    }

    fn write_buffer(&mut self) -> Result<(), AppendError> {
        if let Some(stopped) = &self.stopped {
            return Err(stopped.clone());
        }
        let file = &*self.segment.file;
        if let Err(error) = write_all_at(file, &self.buffer, self.end) {
            return Err(self.write_failed(&error));
        }
        if let Err(error) = file.sync_data() {
            // After a failed sync the kernel may have dropped the pages and call the next sync good: never retry.
            return Err(self.stop(format!("fdatasync of {} failed: {error}", self.segment.name)));
        }
        self.end += self.buffer.len() as u64;
        self.segment.index.write().end = self.end;
        let bytes = Bytes::from(std::mem::take(&mut self.buffer));
        let (first, last) = (self.head + 1, self.next - 1);
        self.head = last;
        self.shared.publish(RingGroup { first, last, bytes });
        if !self.asked_for_spare && self.shared.options.background && self.end > self.segment.size / 2 {
            self.asked_for_spare = true;
            self.shared.work.want_spare(self.shared.options.segment_bytes);
        }
        Ok(())
    }

    /// A write failed. For want of room, which preallocation makes rare but a copying file system can show, what was
    /// half written is wiped and the log goes on; anything else stops it.
    fn write_failed(&mut self, error: &io::Error) -> AppendError {
        let name = &self.segment.name;
        if !is_disk_full(error) {
            return self.stop(format!("writing to {name} failed: {error}"));
        }
        let file = &*self.segment.file;
        let wiped = write_zeros_at(file, self.end, self.buffer.len() as u64).and_then(|()| file.sync_data());
        if let Err(second) = wiped {
            return self.stop(format!("writing to {name} failed: {error}; wiping the rest failed: {second}"));
        }
        let error = AppendError::DiskFull(error.to_string());
        self.take_back_buffer();
        error
    }

    /// Forgets the events of the buffer, which are in the index but will not be in the log.
    fn take_back_buffer(&mut self) {
        let mut records = Vec::new();
        let mut at = 0;
        while let Some(head) = FrameHead::at(&self.buffer, at) {
            records.extend(head.records(&self.buffer, at).flatten());
            at += head.len();
        }
        let mut index = self.segment.index.write();
        for record in records.iter().rev() {
            index.take_back(record.stream(&self.buffer));
        }
        drop(index);
        self.buffer.clear();
        self.next = self.head + 1;
    }

    /// Goes on to a new segment with room for a frame of `length` bytes. Everything encoded is committed.
    fn roll(&mut self, length: usize) -> Result<(), AppendError> {
        if let Some(no_room) = &self.no_room {
            return Err(no_room.clone());
        }
        if self.shared.options.background
            && let Err(error) =
                self.shared.work.wait_for_sealer(&self.shared, self.shared.options.max_unsealed)
        {
            self.no_room = Some(error.clone());
            return Err(error);
        }
        match self.shared.next_segment(self.next, (length + FRAME_HEAD) as u64) {
            Ok(segment) => {
                self.segment = segment;
                self.end = SEGMENT_HEAD;
                self.after_roll()
            }
            Err(error) if is_disk_full(&error) => {
                let error = AppendError::DiskFull(error.to_string());
                self.no_room = Some(error.clone());
                Err(error)
            }
            Err(error) => Err(self.stop(format!("making a new segment failed: {error}"))),
        }
    }

    /// Hands the full segment on to be sealed.
    fn after_roll(&mut self) -> Result<(), AppendError> {
        self.asked_for_spare = false;
        if self.shared.options.background {
            self.shared.work.notify();
            return Ok(());
        }
        let work = || -> Result<(), WorkError> {
            while seal_oldest(&self.shared)? {}
            while merge_due(&self.shared)? {}
            Ok(())
        };
        match work() {
            Err(WorkError::Read(error @ ReadError::Damaged { .. })) => Err(self.stop(error.to_string())),
            Err(error) => {
                tracing::warn!(%error, "sealing failed; it is tried again at the next segment");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn stop(&mut self, reason: String) -> AppendError {
        tracing::error!(%reason, "the event log has stopped");
        let error = AppendError::Stopped(reason);
        self.shared.note_stopped(&error);
        self.stopped.get_or_insert(error).clone()
    }

    /// Writes a marker, so that a flipped bit in the last group is known for what it is at the next opening.
    fn mark_clean_end(&mut self) -> io::Result<()> {
        if self.end + FRAME_HEAD as u64 > self.segment.size {
            return Ok(());
        }
        let mut marker = Vec::with_capacity(FRAME_HEAD);
        encode_marker(&mut marker, self.next);
        write_all_at(&*self.segment.file, &marker, self.end)?;
        self.segment.file.sync_data()
    }
}
