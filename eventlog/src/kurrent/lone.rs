//! One append by itself, tried until its outcome is clear or its time is up.

use std::time::Duration;

use eventstore::{AppendToStreamOptions, CurrentRevision, Error, Position as Offset};
use tokio::time::Instant;

use super::connection::{Connection, Fault};
use super::envelope::to_event_data;
use super::reader::Reader;
use super::writer::{Job, expected_revision, written_somewhere};
use crate::event::RecordedEvent;
use crate::log::{AppendError, Appended, Expected, Position, Revision, StreamAppend};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Appends alone. An append without an expected revision gets the stream's: of two at once one is then tried again.
pub(super) async fn append(
    connection: &Connection,
    reader: &Reader,
    job: &mut Job,
) -> Result<Appended, AppendError> {
    let mut pause = FIRST_PAUSE;
    // Where an append without an expected revision was tried without a clear outcome.
    let mut tried_at = None;
    loop {
        let left = job.deadline.saturating_duration_since(Instant::now()).min(connection.timeout());
        if left.is_zero() {
            return Err(Fault::TimedOut(connection.timeout()).into_append_error_unsent(job.sent));
        }
        let fault = match place(reader, &job.part, tried_at).await {
            Ok(Place::Written(appended)) => return Ok(appended),
            Ok(Place::At(expected)) => match append_at(connection, reader, job, expected, left).await {
                Ok(appended) => return Ok(appended),
                Err(Failed::Conflict(error)) if job.part.expected != Expected::Any => return Err(error),
                Err(Failed::Conflict(_)) => continue,
                Err(Failed::Lost(error)) => return Err(error),
                Err(Failed::Fault(fault)) => {
                    tried_at = Some(expected);
                    fault
                }
            },
            Err(fault) => fault,
        };
        let over = Instant::now() + pause >= job.deadline;
        if over || !fault.is_transient() {
            return Err(fault.into_append_error_unsent(job.sent));
        }
        tracing::debug!(%fault, stream = %job.part.stream, "appending again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

impl Fault {
    /// The error of an append, which is unclear only if it may have reached the server.
    fn into_append_error_unsent(self, sent: bool) -> AppendError {
        match self.into_append_error(sent) {
            AppendError::Unavailable { reason, .. } => {
                AppendError::Unavailable { reason, indeterminate: sent }
            }
            error => error,
        }
    }
}

enum Place {
    /// The revision to expect.
    At(Revision),
    Written(Appended),
}

/// Where the append belongs. An append without an expected revision belongs at the end, unless its events are there
/// already, or where it was tried.
async fn place(reader: &Reader, part: &StreamAppend, tried_at: Option<Revision>) -> Result<Place, Fault> {
    if let Expected::Exact(expected) = part.expected {
        return Ok(Place::At(expected));
    }
    let count = part.events.len() as u64;
    let current = reader.try_stream_revision(&part.stream).await?;
    let candidates = [tried_at, current.checked_sub(count)];
    for start in candidates.into_iter().flatten().filter(|start| start + count <= current) {
        let there = reader.try_read_stream(&part.stream, start + 1, part.events.len()).await?;
        if let Some(last) = end_of(&there, part) {
            return Ok(Place::Written(appended(last, start + count)));
        }
    }
    Ok(Place::At(current))
}

enum Failed {
    Conflict(AppendError),
    /// Accepted, but its place is not known.
    Lost(AppendError),
    Fault(Fault),
}

async fn append_at(
    connection: &Connection,
    reader: &Reader,
    job: &mut Job,
    expected: Revision,
    time: Duration,
) -> Result<Appended, Failed> {
    let lease = connection.lease();
    let options = AppendToStreamOptions::default()
        .expected_revision(expected_revision(expected))
        .deadline(time)
        .requires_leader(true);
    let part = &job.part;
    let events: Vec<_> = part.events.iter().map(to_event_data).collect();
    let appending = lease.client.append_to_stream(part.stream.as_str(), &options, events);
    match connection.call_within(time, &lease, appending).await {
        Ok(written) => {
            let revision = Some(written.next_expected_version);
            match of_reply(part, expected, None, revision, Some(written.position)) {
                Some(appended) => Ok(appended),
                None => read_back(reader, part, expected).await.map_err(Failed::Lost),
            }
        }
        Err(Fault::Client(Error::WrongExpectedVersion { current, .. })) => {
            let actual = match current {
                CurrentRevision::Current(last) => last + 1,
                CurrentRevision::NoStream => 0,
            };
            conflict_unless_written(reader, part, expected, actual).await
        }
        Err(fault) => {
            job.sent |= !fault.was_not_sent();
            Err(Failed::Fault(fault))
        }
    }
}

/// The server compares ids by its own rules; the promise of the log is kept by comparing them ourselves.
async fn conflict_unless_written(
    reader: &Reader,
    part: &StreamAppend,
    expected: Revision,
    actual: Revision,
) -> Result<Appended, Failed> {
    if expected + part.events.len() as u64 <= actual {
        let there = reader.try_read_stream(&part.stream, expected + 1, part.events.len()).await;
        let there = there.map_err(Failed::Fault)?;
        if let Some(last) = end_of(&there, part) {
            return Ok(appended(last, expected + there.len() as u64));
        }
    }
    Err(Failed::Conflict(AppendError::Conflict { stream: part.stream.clone(), expected, actual }))
}

/// The last position, if these are the events of the append.
fn end_of(there: &[RecordedEvent], part: &StreamAppend) -> Option<Position> {
    let same = there.len() == part.events.len()
        && there.iter().zip(&part.events).all(|(old, new)| old.event_id == new.event_id);
    there.last().filter(|_| same).map(|last| last.position)
}

/// The server tells where an append ends, not where it begins.
fn appended(last: Position, revision: Revision) -> Appended {
    Appended { first: last, last, revisions: vec![revision] }
}

/// Where an append lies, if the server's reply says so: its last revision and the position of that. `floor` is a position that the
/// log had when the append was first sent. A reply that does not lie behind it speaks of a repetition, and of which of its events
/// is not said; of one event it can only be that.
pub(super) fn of_reply(
    part: &StreamAppend,
    expected: Revision,
    floor: Option<Position>,
    last: Option<u64>,
    position: Option<Offset>,
) -> Option<Appended> {
    let position = position.filter(|position| position.commit > 0 && position.commit == position.prepare)?;
    let revision = expected + part.events.len() as u64;
    let is_new = part.events.len() == 1 || floor.is_some_and(|floor| position.commit > floor);
    (is_new && last == revision.checked_sub(1)).then(|| appended(position.commit, revision))
}

/// Where an append lies that the server has accepted without saying where.
pub(super) async fn read_back(
    reader: &Reader,
    part: &StreamAppend,
    expected: Revision,
) -> Result<Appended, AppendError> {
    let there = reader.read_stream(&part.stream, expected + 1, part.events.len()).await;
    let there = there.map_err(|error| written_somewhere(Fault::Unusable(error)))?;
    match end_of(&there, part) {
        Some(last) => Ok(appended(last, expected + part.events.len() as u64)),
        None => Err(AppendError::Unavailable {
            reason: format!("the server accepted events for {} that it does not give back", part.stream),
            indeterminate: true,
        }),
    }
}
