//! Follows a log that others write to as well, and tells the decision thread what they brought. Without it a node would
//! notice others only by conflicts, and a refusal on an old state causes none.
//!
//! It keeps a book of deadlines of its own: a node that becomes the one that fires them must know them all, also those of
//! streams that it never had in memory.

use std::sync::{Arc, Weak};
use std::time::Duration;

use daybook_eventlog::{EventLog, Filter, RecordedEvent, Revision, StreamId};
use daybook_schemas::{AnyEvent, Timestamp};
use hashbrown::HashMap;
use tokio::sync::{broadcast, watch};

use crate::book::Book;
use crate::engine::inbox::{Inbox, Signal};

const PAGE_EVENTS: usize = 4_096;
const PAGE_BYTES: usize = 8 << 20;

/// Wakes up now and then to see whether the dispatcher is still there, and after an error.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// An event as it was recorded; `None` where it can't be decoded.
pub(crate) type Told = (Revision, Timestamp, Option<AnyEvent>);

/// What the log has of one stream beyond what was told before.
pub(crate) struct Foreign {
    pub(crate) stream: StreamId,
    /// In the order of their revisions, without gaps.
    pub(crate) events: Vec<Told>,
}

/// Whether this node is the one that fires deadlines. `None`: it always is.
pub(crate) type Leader = Option<watch::Receiver<bool>>;

pub(crate) fn leads(leader: &Leader) -> bool {
    leader.as_ref().is_none_or(|leader| *leader.borrow())
}

/// Runs until the dispatcher is closed. The book is that of the start; what came after is told from there on.
pub(crate) async fn follow(log: Arc<dyn EventLog>, inbox: Arc<Inbox>, mut book: Book, leader: Leader) {
    let mut head = log.watch_head();
    let everything = Filter::default();
    while !inbox.is_closed() {
        match log.read_tail(book.position, &everything, PAGE_EVENTS, PAGE_BYTES).await {
            Ok(page) => {
                book.position = page.scanned_to;
                let streams = sorted(&page.events, &mut book);
                if !streams.is_empty() {
                    inbox.signal(Signal::Foreign(streams));
                }
                if !page.at_head {
                    continue;
                }
            }
            Err(error) => tracing::debug!(%error, "the log could not be followed; trying again"),
        }
        if leads(&leader) && inbox.wants_deadlines() {
            inbox.signal(Signal::Deadlines(book.deadlines()));
        }
        // Whether it is news or the time that is up is all the same.
        let _ = tokio::time::timeout(LONGEST_WAIT, head.changed()).await;
    }
}

/// Tells the decision thread of the turns that others ask for, until the log or the dispatcher is closed.
pub(crate) async fn follow_turns(mut turns: broadcast::Receiver<StreamId>, inbox: Weak<Inbox>) {
    loop {
        match turns.recv().await {
            Ok(stream) => match inbox.upgrade() {
                Some(inbox) if !inbox.is_closed() => inbox.signal(Signal::Turn(stream)),
                _ => return,
            },
            // Whoever was missed asks again at its next conflict.
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

fn sorted(events: &[RecordedEvent], book: &mut Book) -> Vec<Foreign> {
    let mut places: HashMap<&str, usize, foldhash::fast::RandomState> = HashMap::default();
    let mut streams: Vec<Foreign> = Vec::new();
    for recorded in events {
        let event = AnyEvent::decode(recorded.event_type(), recorded.version, recorded.data()).ok();
        if let Some(event) = &event {
            book.fold(recorded.stream(), event);
        }
        let place = *places.entry(recorded.stream()).or_insert_with(|| {
            let stream = StreamId::new(recorded.stream()).expect("the log only has streams with valid names");
            streams.push(Foreign { stream, events: Vec::new() });
            streams.len() - 1
        });
        let at = Timestamp::from_micros(recorded.recorded_at);
        streams[place].events.push((recorded.revision, at, event));
    }
    streams
}
