//! Reading the whole log from its end. The log reads forwards only, so windows of it are read and turned round.

use daybook_eventlog::{Filter, Position, RecordedEvent};

use crate::filter::EventFilter;
use crate::read::{Ended, From, PAGE_BYTES, PAGE_EVENTS, Reader, wanted};
use crate::write::read_status;

/// A window that held nothing is made so many times larger, because positions may lie far apart.
const WIDEN: u64 = 8;

/// Sends up to `count` events before the position, newest first. The event at the position is not part of the read.
pub(crate) async fn all(
    reader: &Reader<'_>,
    filter: Option<&EventFilter>,
    from: From,
    count: u64,
) -> Result<(), Ended> {
    let mut high = match from {
        From::Start => 0,
        From::At(position) => position.saturating_sub(1).min(reader.head().await?),
        From::End => reader.head().await?,
    };
    let mut left = count;
    let mut width = PAGE_EVENTS as u64;
    while high > 0 && left > 0 {
        let low = high.saturating_sub(width);
        let events = window(reader, filter, low, high).await?;
        for event in events.iter().rev() {
            if left == 0 {
                return Ok(());
            }
            reader.send_event(event).await?;
            left -= 1;
        }
        width = match events.len() {
            0 => width.saturating_mul(WIDEN),
            many if many > 4 * PAGE_EVENTS => (width / WIDEN).max(1),
            _ => width,
        };
        high = low;
    }
    Ok(())
}

/// The selected events after `low` up to and including `high`.
async fn window(
    reader: &Reader<'_>,
    filter: Option<&EventFilter>,
    low: Position,
    high: Position,
) -> Result<Vec<RecordedEvent>, Ended> {
    let for_log = filter.map_or_else(Filter::default, EventFilter::for_log);
    let mut events = Vec::new();
    let mut after = low;
    while after < high {
        let page = reader.context.log.read_all(after, &for_log, PAGE_EVENTS, PAGE_BYTES).await;
        let page = page.map_err(|error| read_status(&error))?;
        for event in page.events {
            if event.position > high {
                return Ok(events);
            }
            if wanted(filter, &event)? {
                events.push(event);
            }
        }
        if page.at_head {
            return Ok(events);
        }
        after = page.scanned_to;
    }
    Ok(events)
}
