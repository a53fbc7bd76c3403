//! Reading a long stretch of the log on several threads, with the results in order: for replays and verification.
//!
//! ```text
//!            piece 1          piece 2          piece 3            pieces end where segments and blocks do
//!  threads   read + work      read + work      read + work        several at a time
//!  caller    ──────── take 1 ──────── take 2 ──────── take 3 ──▶  one after the other, ascending
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::event::RecordedEvent;
use crate::log::{EventLog, Filter, Position, ReadError};

/// Events in a piece, about. At half a KiB an event that is 2 MiB for each thread.
const PIECE_EVENTS: u64 = 4_096;

/// Bytes asked for at once.
const PAGE_BYTES: usize = 8 << 20;

/// What to read, and how.
#[derive(Debug, Clone)]
pub struct Scan {
    /// Begins after this position.
    pub after: Position,
    /// Ends with this position, which is the head or before it.
    pub until: Position,
    pub filter: Filter,
    /// Pieces that are read and worked on at a time, 1 or more. Each takes the memory of its events.
    pub threads: usize,
}

impl Scan {
    /// Everything after `after` up to `until`, on as many threads as there are cores.
    #[must_use]
    pub fn all(after: Position, until: Position) -> Self {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        Self { after, until, filter: Filter::default(), threads }
    }
}

/// A part of a scan.
struct Piece<R> {
    result: R,
    /// Everything up to here has been read.
    until: Position,
    error: Option<ReadError>,
}

/// Reads what `scan` says. `work` gets the selected events of each piece on a thread that may block; `take` gets what it
/// returns in ascending order, with the position up to which everything has been read.
///
/// # Errors
/// Reading failed. What could be read before that has been taken.
pub async fn scan_in_order<R: Send + 'static>(
    log: &Arc<dyn EventLog>,
    scan: Scan,
    work: impl Fn(Vec<RecordedEvent>) -> R + Send + Sync + 'static,
    mut take: impl FnMut(R, Position),
) -> Result<(), ReadError> {
    let (scan, work) = (Arc::new(scan), Arc::new(work));
    let mut under_way: VecDeque<JoinHandle<Piece<R>>> = VecDeque::new();
    let mut next = scan.after;
    loop {
        while next < scan.until && under_way.len() < scan.threads.max(1) {
            let end = log.piece_end(next, PIECE_EVENTS).clamp(next + 1, scan.until);
            let (log, scan, work, runtime) = (log.clone(), scan.clone(), work.clone(), Handle::current());
            under_way.push_back(tokio::task::spawn_blocking(move || {
                let (events, until, error) = read_piece(&*log, &runtime, &scan.filter, next, end);
                Piece { result: work(events), until, error }
            }));
            next = end;
        }
        let Some(oldest) = under_way.pop_front() else { return Ok(()) };
        let piece = match oldest.await {
            Ok(piece) => piece,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return Err(ReadError::Unavailable("the process is stopping".into())),
        };
        take(piece.result, piece.until);
        if let Some(error) = piece.error {
            return Err(error);
        }
    }
}

/// The selected events after `after` up to `end`, how far that got, and why not further.
fn read_piece(
    log: &dyn EventLog,
    runtime: &Handle,
    filter: &Filter,
    after: Position,
    end: Position,
) -> (Vec<RecordedEvent>, Position, Option<ReadError>) {
    let mut events: Vec<RecordedEvent> = Vec::new();
    let mut at = after;
    while at < end {
        let limit = usize::try_from(end - at).unwrap_or(usize::MAX);
        let page = match runtime.block_on(log.read_all(at, filter, limit, PAGE_BYTES)) {
            Ok(page) => page,
            Err(error) => return (events, at, Some(error)),
        };
        if page.scanned_to <= at {
            let error = ReadError::Unavailable(format!("the log ends at position {at}, before {end}"));
            return (events, at, Some(error));
        }
        events.extend(page.events.into_iter().take_while(|event| event.position <= end));
        at = page.scanned_to.min(end);
    }
    (events, at, None)
}
