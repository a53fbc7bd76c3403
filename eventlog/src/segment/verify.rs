//! Checking everything: checksums, positions, revisions, and that the stream index agrees with the events.
//!
//! Memory is bounded: streams are checked in several passes over the log, some of them in each, and the index is
//! compared by sums over (stream, revision, position), which need no order.

use hashbrown::HashMap;

use super::filter::stream_hash;
use super::frame::FrameHead;
use super::run::Run;
use super::sealed::SealedSegment;
use super::sealing::{WorkError, for_each_frame};
use super::shared::{Shared, View};
use super::tail::TailSegment;
use crate::log::{Position, ReadError, Revision};

/// Streams followed in one pass; about 64 bytes each.
const STREAMS_A_PASS: u64 = 2_000_000;

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub position: Position,
    /// The stream concerned, if one is.
    pub stream: Option<String>,
    pub revision: Option<Revision>,
    /// `damaged`, `position_gap`, `revision_gap`, `malformed` or `index_mismatch`.
    pub code: &'static str,
    pub detail: String,
}

/// What was checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Position of the last event that was checked.
    pub position: Position,
    /// Events that were read.
    pub events: u64,
    /// Things that are not as they must be.
    pub findings: u64,
}

struct Check<'a> {
    head: Position,
    pass: u64,
    passes: u64,
    next: Position,
    revisions: HashMap<u128, (Revision, u32), foldhash::fast::RandomState>,
    /// Grows with every damaged place: behind one, a stream may go on at a higher revision.
    damages: u32,
    /// Sums over the events of each run's range, in the order of the runs.
    sums: Vec<u64>,
    run: usize,
    report: VerifyReport,
    on_finding: &'a mut dyn FnMut(Finding),
}

impl Shared {
    /// Checks everything up to the head as it is now; goes on after what it finds.
    pub(crate) fn verify(&self, on_finding: &mut dyn FnMut(Finding)) -> Result<VerifyReport, ReadError> {
        let head = self.head();
        let view = self.view();
        let streams: u64 = view.runs.iter().map(|run| run.streams).sum();
        let passes = streams.div_ceil(STREAMS_A_PASS).max(1);
        let mut report = VerifyReport::default();
        for pass in 0..passes {
            let mut check = Check {
                head,
                pass,
                passes,
                next: 1,
                revisions: HashMap::default(),
                damages: 0,
                sums: vec![0; view.runs.len()],
                run: 0,
                report,
                on_finding: &mut *on_finding,
            };
            for segment in &view.sealed {
                check.sealed(self, &view, segment)?;
            }
            for segment in &view.tail {
                check.unsealed(&view, segment)?;
            }
            if pass == 0 {
                check.compare_index(&view, self.options.stream_hash)?;
            }
            report = check.report;
        }
        report.position = head;
        Ok(report)
    }
}

impl Check<'_> {
    fn find(&mut self, code: &'static str, stream: Option<(&str, Revision)>, detail: String) {
        self.report.findings += 1;
        let (stream, revision) = stream.map(|(s, r)| (s.to_owned(), r)).unzip();
        (self.on_finding)(Finding { position: self.next, stream, revision, code, detail });
    }

    /// Notes damage once, in the first pass.
    fn damaged(&mut self, error: &ReadError) {
        self.damages += 1;
        if self.pass == 0 {
            self.find("damaged", None, error.to_string());
        }
    }

    fn sealed(&mut self, shared: &Shared, view: &View, segment: &SealedSegment) -> Result<(), ReadError> {
        let open = match segment.open(&*shared.storage) {
            Ok(open) => open,
            Err(error @ ReadError::Damaged { .. }) => {
                self.damaged(&error);
                self.next = segment.last + 1;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for block in 0..open.block_count() {
            match open.read_block(block) {
                Ok(bytes) => {
                    let mut at = 0;
                    while let Some(head) = FrameHead::at(&bytes, at).filter(|head| head.is_intact(&bytes, at))
                    {
                        self.frame(view, &head, &bytes, at);
                        at += head.len();
                    }
                    if at != bytes.len() {
                        let detail = "a frame in a sealed block is not intact";
                        self.damaged(&segment.damaged(open.block_offset(block), self.next, detail));
                    }
                }
                Err(error @ ReadError::Damaged { .. }) => self.damaged(&error),
                Err(error) => return Err(error),
            }
            if self.damages > 0 {
                self.next = self.next.max(open.block_last(block) + 1);
            }
        }
        Ok(())
    }

    fn unsealed(&mut self, view: &View, segment: &TailSegment) -> Result<(), ReadError> {
        let checked = for_each_frame(segment, |head, bytes, at, _| {
            if head.first <= self.head {
                self.frame(view, head, bytes, at);
            }
            Ok::<(), WorkError>(())
        });
        match checked {
            Ok(()) | Err(WorkError::Stopping) => Ok(()),
            Err(WorkError::Read(error @ ReadError::Damaged { .. })) => {
                self.damaged(&error);
                // What follows in this segment cannot be found any more; the next one begins where it says.
                let behind = view.tail.iter().find(|next| next.first > segment.first);
                self.next = behind.map_or(self.head + 1, |next| next.first);
                Ok(())
            }
            Err(WorkError::Read(error)) => Err(error),
            Err(WorkError::Io(error)) => {
                Err(ReadError::Unavailable(format!("reading {}: {error}", segment.name)))
            }
        }
    }

    fn frame(&mut self, view: &View, head: &FrameHead, bytes: &[u8], at: usize) {
        if head.count > 0 && head.first != self.next {
            if self.pass == 0 {
                let detail = format!("position {} stands where {} should", head.first, self.next);
                self.find("position_gap", None, detail);
            }
            self.next = head.first;
        }
        for record in head.records(bytes, at) {
            let Some(record) = record else {
                self.find("malformed", None, "a record's lengths do not fit".into());
                self.next = head.last() + 1;
                return;
            };
            if self.pass == 0 {
                self.report.events += 1;
            }
            let stream = record.stream(bytes);
            let hash = stream_hash(stream);
            self.add_to_sum(view, hash, record.header.revision);
            if hash % self.passes == self.pass {
                self.revision(stream, hash, record.header.revision);
            }
            self.next += 1;
        }
    }

    fn revision(&mut self, stream: &str, hash: u64, revision: Revision) {
        // 128 bits of two unlike hashes stand for the name.
        let second = u64::from(crc32c::crc32c(stream.as_bytes())) << 32 | stream.len() as u64;
        let key = u128::from(hash) << 64 | u128::from(second);
        let (last, damages) = self.revisions.insert(key, (revision, self.damages)).unwrap_or((0, 0));
        let lost_some = damages < self.damages && revision > last;
        if revision != last + 1 && !lost_some {
            let detail = format!("revision {revision} follows revision {last}");
            self.find("revision_gap", Some((stream, revision)), detail);
        }
    }

    fn add_to_sum(&mut self, view: &View, hash: u64, revision: Revision) {
        if self.pass > 0 {
            return;
        }
        while view.runs.get(self.run).is_some_and(|run| run.range.last < self.next) {
            self.run += 1;
        }
        if let Some(sum) = self.sums.get_mut(self.run) {
            *sum = sum.wrapping_add(fingerprint(hash, revision, self.next));
        }
    }

    fn compare_index(&mut self, view: &View, hash: fn(&str) -> u64) -> Result<(), ReadError> {
        for (i, run) in view.runs.iter().enumerate() {
            self.next = run.range.first;
            match index_sum(run, hash) {
                Ok(sum) if sum == self.sums[i] || self.damages > 0 => {}
                Ok(_) => {
                    let detail = format!(
                        "{} does not list the events of positions {} to {}; remove it and open the log to make it again",
                        run.range.file_name(),
                        run.range.first,
                        run.range.last
                    );
                    self.find("index_mismatch", None, detail);
                }
                Err(error @ ReadError::Damaged { .. }) => self.find("damaged", None, error.to_string()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn index_sum(run: &Run, hash: fn(&str) -> u64) -> Result<u64, ReadError> {
    let mut sum = 0u64;
    for block in 0..run.block_count() {
        for entry in run.read_block(block)? {
            let name = stream_hash(&entry.stream);
            if entry.hash != hash(&entry.stream) {
                // An entry under the wrong hash is never found by a lookup.
                sum = sum.wrapping_add(1);
            }
            for (revision, position) in (entry.first_revision..).zip(&entry.positions) {
                sum = sum.wrapping_add(fingerprint(name, revision, *position));
            }
        }
    }
    Ok(sum)
}

fn fingerprint(hash: u64, revision: Revision, position: Position) -> u64 {
    let mixed = (hash ^ revision.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (mixed ^ (mixed >> 32) ^ position.wrapping_mul(0xd134_2543_de82_ef95)).wrapping_mul(0xc4ce_b9fe_1a85_ec53)
}
