//! Catch-up subscriptions: everything from a place on, then what is appended, for as long as the client listens.

use std::sync::atomic::{AtomicU64, Ordering};

use daybook_eventlog::{Filter, Position, StreamId};
use tonic::Status;

use crate::event::wire_revision;
use crate::filter::EventFilter;
use crate::proto::streams::read_resp::{self, CaughtUp, Checkpoint, Content, SubscriptionConfirmation};
use crate::read::{Ended, From, PAGE_BYTES, PAGE_EVENTS, Reader, wanted};
use crate::write::read_status;

static SUBSCRIPTIONS: AtomicU64 = AtomicU64::new(0);

async fn confirm(reader: &Reader<'_>) -> Result<(), Ended> {
    let number = SUBSCRIPTIONS.fetch_add(1, Ordering::Relaxed);
    let subscription_id = format!("daybook-{number}");
    reader.send(Content::Confirmation(SubscriptionConfirmation { subscription_id })).await
}

/// Follows a stream. The event at the given revision is not part of the subscription: the client has it.
pub(crate) async fn stream(reader: &Reader<'_>, stream: &StreamId, from: From) -> Result<(), Ended> {
    let mut head = reader.context.log.watch_head();
    let mut next = match from {
        From::Start => 1,
        From::At(revision) => revision.saturating_add(2),
        From::End => reader.revision(stream).await? + 1,
    };
    confirm(reader).await?;
    let mut caught_up = false;
    loop {
        // Seen before reading, so that no later change is missed.
        head.borrow_and_update();
        let events = reader.page_of_stream(stream, next, PAGE_EVENTS).await?;
        for event in &events {
            reader.send_event(event).await?;
            next = event.revision + 1;
        }
        if !events.is_empty() {
            continue;
        }
        if !caught_up {
            caught_up = true;
            let last = i64::try_from(wire_revision(next.saturating_sub(1))).unwrap_or(i64::MAX);
            let stream_revision = if next > 1 { Some(last) } else { None };
            reader.send(Content::CaughtUp(CaughtUp { stream_revision, ..CaughtUp::default() })).await?;
        }
        head.changed().await.map_err(|_| closed())?;
    }
}

/// Follows the whole log. The event at the given position is not part of the subscription: the client has it.
pub(crate) async fn all(reader: &Reader<'_>, filter: Option<&EventFilter>, from: From) -> Result<(), Ended> {
    let mut head = reader.context.log.watch_head();
    let mut after = match from {
        From::Start => 0,
        From::At(position) => position,
        From::End => reader.head().await?,
    };
    confirm(reader).await?;
    let for_log = filter.map_or_else(Filter::default, EventFilter::for_log);
    let mut told = after;
    let mut caught_up = false;
    loop {
        head.borrow_and_update();
        let page = reader.context.log.read_all(after, &for_log, PAGE_EVENTS, PAGE_BYTES).await;
        let page = page.map_err(|error| read_status(&error))?;
        for event in &page.events {
            if wanted(filter, event)? {
                reader.send_event(event).await?;
                told = event.position;
            }
        }
        after = page.scanned_to.max(after);
        let just_caught_up = page.at_head && !caught_up;
        if let Some(filter) = filter
            && after > told
            && (after - told >= filter.checkpoint_every || just_caught_up)
        {
            reader.send(Content::Checkpoint(checkpoint(after))).await?;
            told = after;
        }
        if just_caught_up {
            caught_up = true;
            let position = read_resp::Position { commit_position: after, prepare_position: after };
            reader
                .send(Content::CaughtUp(CaughtUp { position: Some(position), ..CaughtUp::default() }))
                .await?;
        }
        if page.at_head {
            head.changed().await.map_err(|_| closed())?;
        }
    }
}

fn checkpoint(position: Position) -> Checkpoint {
    Checkpoint { commit_position: position, prepare_position: position, timestamp: None }
}

fn closed() -> Status {
    Status::unavailable("the event log was closed")
}
