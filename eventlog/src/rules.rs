//! What every backend checks of an append before it looks at the log, in one place so that all refuse alike.

use crate::event::NewEvent;
use crate::log::{Append, AppendError};

/// The largest append, in bytes of names, payloads and metadata together: 8 MiB.
pub const MAX_APPEND_BYTES: usize = 8 << 20;

/// The most events in one append.
pub const MAX_APPEND_EVENTS: usize = 65_535;

/// Checks the shape of an append; returns its number of events and its bytes of names, payloads and metadata.
pub(crate) fn check_append(append: &Append) -> Result<AppendSize, AppendError> {
    if append.streams.is_empty() {
        return Err(AppendError::Invalid("an append needs at least one stream".into()));
    }
    let mut size = AppendSize { events: 0, bytes: 0 };
    for (index, part) in append.streams.iter().enumerate() {
        if part.events.is_empty() {
            return Err(AppendError::Invalid(format!("no events for stream {}", part.stream)));
        }
        if append.streams[..index].iter().any(|earlier| earlier.stream == part.stream) {
            return Err(AppendError::Invalid(format!("stream {} occurs twice in one append", part.stream)));
        }
        size.events += part.events.len();
        for event in &part.events {
            check_event(event)?;
            size.bytes +=
                part.stream.as_str().len() + event.event_type.len() + event.data.len() + event.metadata.len();
        }
    }
    for premise in &append.premises {
        if append.streams.iter().any(|part| part.stream == premise.stream) {
            let detail = format!("stream {} is both written to and a premise", premise.stream);
            return Err(AppendError::Invalid(detail));
        }
    }
    if size.events > MAX_APPEND_EVENTS {
        let detail = format!("{} events in one append, at most {MAX_APPEND_EVENTS} fit", size.events);
        return Err(AppendError::Invalid(detail));
    }
    if size.bytes > MAX_APPEND_BYTES {
        let detail = format!("an append of {} bytes, at most {MAX_APPEND_BYTES} fit", size.bytes);
        return Err(AppendError::Invalid(detail));
    }
    Ok(size)
}

/// How much an append holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AppendSize {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

fn check_event(event: &NewEvent) -> Result<(), AppendError> {
    let name = event.event_type;
    if name.is_empty() || name.len() > 255 || !name.bytes().all(|b| b.is_ascii_graphic()) {
        let detail = format!("an event type is 1 to 255 visible ASCII characters, got {name:?}");
        return Err(AppendError::Invalid(detail));
    }
    if event.version == 0 {
        return Err(AppendError::Invalid(format!("the version of {name} is 0; versions begin at 1")));
    }
    Ok(())
}
