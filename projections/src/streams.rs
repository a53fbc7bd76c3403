//! What projectors of one stream each share: the key, the continuity check, who did it.

use daybook_eventlog::RecordedEvent;
use daybook_schemas::{Label, Metadata};

use crate::model::ProjectError;

/// The part of the stream's name after `prefix`: the row's key.
pub(crate) fn key<'a>(event: &'a RecordedEvent, prefix: &str) -> Result<&'a str, ProjectError> {
    event.stream().strip_prefix(prefix).ok_or_else(|| {
        ProjectError::Rejected(format!(
            "event {} stands in stream {}, whose name does not begin with {prefix}",
            event.event_type(),
            event.stream()
        ))
    })
}

/// That the event is the next one after what the view has seen of its stream (0: nothing).
pub(crate) fn follows(model: &'static str, event: &RecordedEvent, seen: u64) -> Result<(), ProjectError> {
    if event.revision == seen + 1 {
        return Ok(());
    }
    Err(ProjectError::Gap { model, stream: event.stream().to_owned(), from: seen, to: event.revision })
}

/// An event that presupposes a view which is not there. Only a stream that begins with the wrong event has this.
pub(crate) fn nothing_there(event: &RecordedEvent) -> ProjectError {
    ProjectError::Rejected(format!("{} is the first event of {}", event.event_type(), event.stream()))
}

/// Who caused the event, if its metadata says so.
pub(crate) fn actor(event: &RecordedEvent) -> Option<Label> {
    serde_json::from_slice::<Metadata>(event.metadata()).ok().map(|metadata| metadata.actor.0)
}
