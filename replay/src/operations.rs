//! Events that operators' work leaves in the log, outside any aggregate.

use std::sync::Arc;

use bytes::Bytes;
use daybook_commands::clock::{Clock, SystemClock};
use daybook_eventlog::{
    Append, AppendError, EventLog, Expected, NewEvent, Position, ReadError, Revision, StreamAppend, StreamId,
};
use daybook_projections::generations::Projections;
use daybook_projections::model::DeadLetter;
use daybook_schemas::operations::{DeadLetterDiscarded, Event, ImportCompleted};
use daybook_schemas::{Actor, CommandId, Metadata};
use uuid::Uuid;

use crate::reconcile::ReconcileError;

/// Events read at once when a stream is searched.
const PAGE: Revision = 1_000;

/// Why an operation could not be put on record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Appends to `operations-{name}`. The event id follows from `cause`, so that a retry of one cause is one event.
pub async fn record(
    log: &Arc<dyn EventLog>,
    name: &str,
    cause: &str,
    event: &Event,
) -> Result<Position, RecordError> {
    let stream = StreamId::new(format!("operations-{name}"))
        .expect("names of projections and imports are short ASCII");
    let event_id = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{stream}\n{cause}").as_bytes());
    let command_id = CommandId::new(event_id.to_string()).expect("a UUID is an id");
    let metadata = Metadata {
        command_id: command_id.clone(),
        correlation_id: command_id.clone(),
        causation_id: command_id,
        actor: Actor::system(),
    };
    for _ in 0..8 {
        // The revision first: what comes into the stream during the search is a conflict afterwards.
        let revision = log.stream_revision(&stream).await?;
        if let Some(position) = find(log.as_ref(), &stream, revision, event_id).await? {
            return Ok(position);
        }
        let append = Append::new(vec![StreamAppend {
            stream: stream.clone(),
            expected: Expected::Exact(revision),
            events: vec![NewEvent {
                event_id,
                event_type: event.wire_name(),
                version: event.version(),
                recorded_at: SystemClock.now().as_micros(),
                data: Bytes::from(event.to_data()),
                metadata: Bytes::from(serde_json::to_vec(&metadata).expect("plain strings serialize")),
            }],
        }]);
        match log.append(append).await {
            Ok(appended) => return Ok(appended.last),
            Err(AppendError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(AppendError::Overloaded.into())
}

/// The position of an event in a stream, if it is there: from the newest events back, as most repetitions follow at once.
async fn find(
    log: &dyn EventLog,
    stream: &StreamId,
    revision: Revision,
    event_id: Uuid,
) -> Result<Option<Position>, ReadError> {
    let mut after = revision;
    while after > 0 {
        let end = after;
        after = end.saturating_sub(PAGE);
        let events =
            log.read_stream(stream, after + 1, usize::try_from(end - after).unwrap_or(usize::MAX)).await?;
        if let Some(found) = events.iter().find(|event| event.event_id == event_id) {
            return Ok(Some(found.position));
        }
    }
    Ok(None)
}

/// Gives up a parked event for good, and leaves an event that says so.
pub async fn discard_dead_letter(
    projections: &Projections,
    name: &str,
    position: Position,
    reason: String,
) -> Result<DeadLetter, ReconcileError> {
    let letter = projections.live(name)?.handle.discard_dead_letter(position).await?;
    let event =
        Event::DeadLetterDiscarded(DeadLetterDiscarded { projection: name.to_owned(), position, reason });
    record(projections.log(), name, &format!("discard {position}"), &event).await?;
    Ok(letter)
}

/// Puts the report of an import on record, once for each file.
pub async fn record_import(
    log: &Arc<dyn EventLog>,
    source: &str,
    file_sha256: &str,
    report: &impl serde::Serialize,
) -> Result<Position, RecordError> {
    let mut stored = serde_json::to_value(report).expect("a report serializes");
    // How often the import was interrupted is no fact about the file.
    if let Some(fields) = stored.as_object_mut() {
        fields.remove("replayed");
        fields.remove("resumed_after");
    }
    let (source, file_sha256) = (source.to_owned(), file_sha256.to_owned());
    let name = format!("import-{source}");
    let event = ImportCompleted { source, file_sha256: file_sha256.clone(), report: stored };
    record(log, &name, &file_sha256, &event.into()).await
}

#[cfg(test)]
mod tests {
    use daybook_eventlog::MemoryLog;

    use super::*;

    #[tokio::test]
    async fn one_cause_is_one_event_however_much_lies_between() {
        let log: Arc<dyn EventLog> = Arc::new(MemoryLog::new());
        let import = async |hash: &str| record_import(&log, "variants", hash, &"report").await.unwrap();
        let (a, b) = (import("a").await, import("b").await);
        assert_eq!((import("a").await, import("b").await), (a, b));
        for n in 0..PAGE + 10 {
            import(&n.to_string()).await;
        }
        assert_eq!(import("a").await, a, "also beyond the first page");
        let stream = StreamId::new("operations-import-variants").unwrap();
        assert_eq!(log.stream_revision(&stream).await.unwrap(), PAGE + 12);
    }
}
