//! Opening the sealed part of the log: which segments and runs there are, and that they join.

use std::sync::Arc;

use uuid::Uuid;

use super::options::OpenError;
use super::run::{Run, RunRange};
use super::sealed::{SealedSegment, parse_sealed_name};
use super::sealing::{WorkError, rebuild_run};
use super::storage::Storage;
use crate::log::Position;

/// Sealed segments and index runs, oldest first.
#[derive(Default)]
pub(crate) struct SealedPart {
    pub(crate) segments: Vec<Arc<SealedSegment>>,
    pub(crate) runs: Vec<Arc<Run>>,
    /// The position after the last sealed event.
    pub(crate) next: Position,
}

/// Reads the sealed part; removes runs that were merged into others, and makes missing ones again.
pub(crate) fn restore(
    storage: &dyn Storage,
    log_id: Uuid,
    names: &[String],
    hash: fn(&str) -> u64,
) -> Result<SealedPart, OpenError> {
    let mut part = SealedPart { next: 1, ..SealedPart::default() };
    let mut firsts: Vec<Position> = names.iter().filter_map(|name| parse_sealed_name(name)).collect();
    firsts.sort_unstable();
    for first in firsts {
        let segment = SealedSegment::probe(storage, log_id, first)?;
        if first != part.next {
            let detail =
                format!("the segment should begin with position {}: one is missing or overlaps", part.next);
            return Err(segment.damaged(0, part.next, &detail).into());
        }
        part.next = segment.last + 1;
        part.segments.push(Arc::new(segment));
    }
    let mut ranges: Vec<RunRange> = names.iter().filter_map(|name| RunRange::parse(name)).collect();
    // Of runs that begin alike the widest first: the others are merged into it.
    ranges.sort_unstable_by_key(|range| (range.first, std::cmp::Reverse(range.last)));
    let mut next = 1;
    for segment in &part.segments {
        if segment.first < next {
            continue;
        }
        let fits = |range: &&RunRange| {
            range.first == segment.first && part.segments.iter().any(|segment| segment.last == range.last)
        };
        let run = match ranges.iter().find(fits) {
            Some(range) => Run::open(storage, log_id, *range)?,
            None => {
                tracing::warn!(segment = %segment.name, "the stream index of a sealed segment is missing: making it");
                rebuild_run(storage, log_id, segment, hash).map_err(|error| match error {
                    WorkError::Read(error) => OpenError::from(error),
                    WorkError::Io(source) => OpenError::Io { action: "write an index run".into(), source },
                    WorkError::Stopping => unreachable!("nothing can stop a log that is not open yet"),
                })?
            }
        };
        next = run.range.last + 1;
        part.runs.push(Arc::new(run));
    }
    for range in ranges {
        if !part.runs.iter().any(|run| run.range == range) {
            let name = range.file_name();
            storage.remove(&name).map_err(OpenError::io(format!("remove {name}")))?;
        }
    }
    Ok(part)
}
