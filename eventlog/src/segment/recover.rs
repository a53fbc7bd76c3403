//! Opening: the identity, the lock, and the tail, which is read, checked and cut where a crash tore it.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use uuid::Uuid;

use super::FORMAT;
use super::codec::index;
use super::frame::{FRAME_HEAD, FrameHead, encode_marker};
use super::options::{Cut, OpenError, OpenReport, SegmentOptions};
use super::restore::{SealedPart, restore};
use super::shared::View;
use super::storage::{Storage, StorageFile, read_full_at, write_all_at, write_zeros_at};
use super::tail::{SEGMENT_HEAD, SegmentHead, Spare, TailSegment, segment_name};
use crate::log::Position;

/// Without it a folder holds no log.
pub(crate) const IDENTITY: &str = "LOG";
const LOCK: &str = "LOCK";

/// A log as found on disk, ready to be written to.
pub(crate) struct Recovered {
    pub(crate) log_id: Uuid,
    pub(crate) view: View,
    pub(crate) head: Position,
    pub(crate) report: OpenReport,
    pub(crate) lock: Box<dyn Any + Send + Sync>,
}

/// Locks the folder and reads the log's state, making a new log if the folder is empty.
pub(crate) fn recover(storage: &dyn Storage, options: &SegmentOptions) -> Result<Recovered, OpenError> {
    let lock = storage.lock(LOCK).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::InUse { folder: storage.describe() },
        _ => OpenError::Io { action: format!("lock {}", storage.describe()), source: error },
    })?;
    let mut names = storage.list().map_err(OpenError::io(format!("list {}", storage.describe())))?;
    if !names.iter().any(|name| name == IDENTITY) {
        create(storage, options, &names)?;
        names = storage.list().map_err(OpenError::io(format!("list {}", storage.describe())))?;
    }
    let log_id = read_identity(storage)?;
    for name in names.iter().filter(|name| name.ends_with(".tmp")) {
        storage.remove(name).map_err(OpenError::io(format!("remove {name}")))?;
    }
    let sealed = restore(storage, log_id, &names, options.stream_hash)?;
    let mut report = OpenReport::default();
    let firsts = unsealed(storage, &names, &sealed)?;
    let mut view = View { sealed: sealed.segments, runs: sealed.runs, ..View::default() };
    let next = sealed.next;
    let [full @ .., newest] = &firsts[..] else {
        let detail = "the log's segment files are missing".into();
        return Err(OpenError::Damaged { file: segment_name(next), offset: 0, position: next, detail });
    };
    // The newest one last: it may be written to, and is not if others are damaged.
    view.tail = read_full(storage, log_id, &firsts, next, options.background)?;
    report.bytes_read = view.tail.iter().map(|segment| segment.size).sum();
    let segment = load(storage, log_id, *newest, if full.is_empty() { next } else { *newest })?;
    let End { next, marked } = scan(&segment, None, &mut report)?;
    if !marked {
        mark(&segment, next).map_err(OpenError::io(format!("write to {}", segment.name)))?;
    }
    view.tail.push(Arc::new(segment));
    report.events = next - 1;
    Ok(Recovered { log_id, view, head: next - 1, report, lock })
}

/// Reads all unsealed segments but the newest. Each has to reach exactly to the one that follows, so that each can be
/// checked by itself, on a thread of its own if `parallel`.
fn read_full(
    storage: &dyn Storage,
    log_id: Uuid,
    firsts: &[Position],
    next: Position,
    parallel: bool,
) -> Result<Vec<Arc<TailSegment>>, OpenError> {
    let read = |i: usize| -> Result<Arc<TailSegment>, OpenError> {
        let segment = load(storage, log_id, firsts[i], if i == 0 { next } else { firsts[i] })?;
        scan(&segment, Some(firsts[i + 1]), &mut OpenReport::default())?;
        Ok(Arc::new(segment))
    };
    let count = firsts.len() - 1;
    let threads = if parallel { std::thread::available_parallelism().map_or(2, usize::from) } else { 1 };
    if threads == 1 || count < 2 {
        return (0..count).map(read).collect();
    }
    let place = AtomicUsize::new(0);
    let work = || -> Vec<(usize, Result<Arc<TailSegment>, OpenError>)> {
        let places =
            std::iter::from_fn(|| Some(place.fetch_add(1, Ordering::Relaxed)).filter(|i| *i < count));
        places.map(|i| (i, read(i))).collect()
    };
    let mut segments: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.min(count)).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("reading a segment does not panic"))
            .collect()
    });
    segments.sort_unstable_by_key(|(i, _)| *i);
    segments.into_iter().map(|(_, segment)| segment).collect()
}

/// First positions of the unsealed segments in order. What was sealed but not removed before a crash is removed.
fn unsealed(
    storage: &dyn Storage,
    names: &[String],
    sealed: &SealedPart,
) -> Result<Vec<Position>, OpenError> {
    let mut firsts: Vec<Position> = names.iter().filter_map(|name| parse_segment_name(name)).collect();
    firsts.sort_unstable();
    for segment in &sealed.segments {
        if let Ok(at) = firsts.binary_search(&segment.first) {
            firsts.remove(at);
            let name = segment_name(segment.first);
            storage.remove(&name).map_err(OpenError::io(format!("remove {name}")))?;
        }
    }
    Ok(firsts)
}

/// Makes a new log. Its identity is written last, so that a log with an identity always has its first segment.
fn create(storage: &dyn Storage, options: &SegmentOptions, names: &[String]) -> Result<(), OpenError> {
    let first = segment_name(1);
    let foreign = names.iter().find(|n| **n != LOCK && **n != first && !n.ends_with(".tmp"));
    if let Some(name) = foreign {
        let detail = format!("it holds {name} but no {IDENTITY} file");
        return Err(OpenError::Foreign { folder: storage.describe(), detail });
    }
    if names.contains(&first) {
        let file = storage.open(&first).map_err(OpenError::io(format!("open {first}")))?;
        let contents = read_file(&*file).map_err(OpenError::io(format!("read {first}")))?;
        let used = contents.get(index(SEGMENT_HEAD)..).is_some_and(|frames| frames.iter().any(|b| *b != 0));
        if used {
            let detail = format!("it holds a segment with events but no {IDENTITY} file");
            return Err(OpenError::Foreign { folder: storage.describe(), detail });
        }
    }
    // Not an event's id: those come from the one id source, this is drawn once in the life of a log.
    #[allow(clippy::disallowed_methods)]
    let log_id = options.new_log_id.unwrap_or_else(Uuid::now_v7);
    let make = || -> io::Result<()> {
        let size = options.segment_bytes.max(2 * SEGMENT_HEAD);
        Spare::prepare(storage, size)?.into_segment(storage, log_id, 1)?;
        let temporary = "identity.tmp";
        let file = storage.create(temporary)?;
        write_all_at(&*file, identity_line(log_id).as_bytes(), 0)?;
        file.sync_data()?;
        storage.rename(temporary, IDENTITY)?;
        storage.sync_dir()
    };
    make().map_err(OpenError::io(format!("create an event log in {}", storage.describe())))
}

/// The content of the identity file: readable, with a checksum.
fn identity_line(log_id: Uuid) -> String {
    let line = format!("daybook-event-log format={FORMAT} id={}", log_id.simple());
    format!("{line} crc={:08x}\n", crc32c::crc32c(line.as_bytes()))
}

fn read_identity(storage: &dyn Storage) -> Result<Uuid, OpenError> {
    let file = storage.open(IDENTITY).map_err(OpenError::io(format!("open {IDENTITY}")))?;
    let bytes = read_file(&*file).map_err(OpenError::io(format!("read {IDENTITY}")))?;
    let foreign = |detail: &str| OpenError::Foreign { folder: storage.describe(), detail: detail.into() };
    let text = std::str::from_utf8(&bytes).map_err(|_| foreign("its LOG file is no text"))?;
    let rest = text
        .strip_prefix("daybook-event-log format=")
        .ok_or_else(|| foreign("its LOG file is not that of an event log"))?;
    let (format, _) = rest.split_once(' ').ok_or_else(|| foreign("its LOG file is cut off"))?;
    let format: u32 = format.parse().map_err(|_| foreign("its LOG file names no format"))?;
    if format > FORMAT {
        return Err(OpenError::NewerFormat { folder: storage.describe(), found: format, supported: FORMAT });
    }
    let id = rest.split_once(" id=").and_then(|(_, id)| id.get(..32)).and_then(|id| Uuid::try_parse(id).ok());
    match id {
        Some(id) if identity_line(id) == text => Ok(id),
        _ => Err(OpenError::Damaged {
            file: IDENTITY.into(),
            offset: 0,
            position: 0,
            detail: "the identity file's checksum is wrong".into(),
        }),
    }
}

fn parse_segment_name(name: &str) -> Option<Position> {
    let digits = name.strip_prefix("seg-")?.strip_suffix(".log")?;
    digits.parse().ok().filter(|first| segment_name(*first) == name)
}

fn read_file(file: &dyn StorageFile) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; index(file.size()?)];
    let read = read_full_at(file, &mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Opens a segment file and checks its header and its place in the log.
fn load(
    storage: &dyn Storage,
    log_id: Uuid,
    first: Position,
    next: Position,
) -> Result<TailSegment, OpenError> {
    let name = segment_name(first);
    let file = storage.open(&name).map_err(OpenError::io(format!("open {name}")))?;
    let size = file.size().map_err(OpenError::io(format!("read {name}")))?;
    let mut head = [0; 64];
    let read = read_full_at(&*file, &mut head, 0).map_err(OpenError::io(format!("read {name}")))?;
    let segment = TailSegment::new(first, name, file, size);
    let Some(head) = SegmentHead::decode(&head[..read]) else {
        return Err(segment.damaged(0, first, "the segment's header is not what was written").into());
    };
    if head.log_id != log_id {
        return Err(segment.damaged(16, first, "the segment belongs to another log").into());
    }
    if head.first != first {
        return Err(segment.damaged(32, first, "the segment's name and header disagree").into());
    }
    if head.size != size {
        let detail = format!("the segment is {size} bytes long instead of {}", head.size);
        return Err(segment.damaged(size.min(head.size), first, &detail).into());
    }
    if first != next {
        let detail =
            format!("positions {next} to {} are missing before this segment", first.saturating_sub(1));
        let detail = if first < next { "the segment overlaps the one before".into() } else { detail };
        return Err(segment.damaged(0, next, &detail).into());
    }
    Ok(segment)
}

/// Where a segment's frames end.
struct End {
    /// Position after the last event.
    next: Position,
    /// Whether the last frame is a marker: everything before it is known to be durable.
    marked: bool,
}

/// Reads a segment's frames into its index. Only the newest segment (`until` is `None`) may end in a torn tail, which
/// is wiped.
fn scan(segment: &TailSegment, until: Option<Position>, report: &mut OpenReport) -> Result<End, OpenError> {
    let name = &segment.name;
    let bytes = read_file(&*segment.file).map_err(OpenError::io(format!("read {name}")))?;
    report.bytes_read += bytes.len() as u64;
    let mut at = index(SEGMENT_HEAD);
    let mut next = segment.first;
    let mut marked = false;
    while until != Some(next) {
        let Some(head) = FrameHead::at(&bytes, at).filter(|head| head.is_intact(&bytes, at)) else {
            break;
        };
        let ordered =
            head.first == next && head.durable < next && until.is_none_or(|until| head.last() < until);
        if !ordered || add_frame(segment, &head, &bytes, at).is_none() {
            return Err(segment.damaged(at as u64, next, "a frame is not in its place").into());
        }
        next += u64::from(head.count);
        at += head.len();
        marked = head.count == 0;
    }
    segment.index.write().end = at as u64;
    if until == Some(next) {
        return Ok(End { next, marked });
    }
    if until.is_some() || acknowledged_behind(&bytes, at, next) {
        return Err(segment
            .damaged(at as u64, next, "a frame's checksum is wrong, or the frame is cut off")
            .into());
    }
    if let Some(length) = bytes[at..].iter().rposition(|byte| *byte != 0) {
        let cut = Cut { file: name.clone(), offset: at as u64, bytes: length as u64 + 1, position: next };
        // A frame behind the tear could otherwise come back to life after the tear is written over.
        write_zeros_at(&*segment.file, cut.offset, cut.bytes)
            .and_then(|()| segment.file.sync_data())
            .map_err(OpenError::io(format!("wipe the torn tail of {name}")))?;
        report.cut = Some(cut);
    }
    Ok(End { next, marked })
}

/// Whether an intact frame behind `at` says that the event at `next` was durable when it was written: then what
/// stands at `at` is damage and not a torn tail.
fn acknowledged_behind(bytes: &[u8], at: usize, next: Position) -> bool {
    (at + 8..bytes.len().saturating_sub(FRAME_HEAD - 1)).step_by(8).any(|at| {
        FrameHead::at(bytes, at).is_some_and(|head| head.durable >= next && head.is_intact(bytes, at))
    })
}

/// Notes a frame's events in the index; `None` if a record is malformed or a revision out of order.
fn add_frame(segment: &TailSegment, head: &FrameHead, bytes: &[u8], at: usize) -> Option<()> {
    let mut index = segment.index.write();
    for record in head.records(bytes, at) {
        let record = record?;
        index.add_found(record.stream(bytes), record.header.revision, record.event_id(), at as u64)?;
    }
    Some(())
}

/// Notes that everything found is durable, so that damage to it is told from a torn tail from now on.
fn mark(segment: &TailSegment, next: Position) -> io::Result<()> {
    let mut index = segment.index.write();
    if index.end + FRAME_HEAD as u64 > segment.size {
        return Ok(());
    }
    let mut marker = Vec::with_capacity(FRAME_HEAD);
    encode_marker(&mut marker, next);
    write_all_at(&*segment.file, &marker, index.end)?;
    segment.file.sync_data()?;
    index.end += marker.len() as u64;
    Ok(())
}
