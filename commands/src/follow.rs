//! Follows a log that others write to as well, and tells the decision thread which streams they brought how far.
//! Without it a node would notice others only by conflicts, and a refusal on an old state causes none.

use std::sync::Arc;

use daybook_eventlog::{EventLog, Filter, Position, StreamId};
use hashbrown::HashMap;

use crate::engine::inbox::{Inbox, Signal};

const PAGE_EVENTS: usize = 4_096;
const PAGE_BYTES: usize = 8 << 20;

/// Runs until the dispatcher is closed.
pub(crate) async fn follow(log: Arc<dyn EventLog>, inbox: Arc<Inbox>, mut after: Position) {
    let mut head = log.watch_head();
    let everything = Filter::default();
    while !inbox.is_closed() {
        match log.read_all(after, &everything, PAGE_EVENTS, PAGE_BYTES).await {
            Ok(page) => {
                after = page.scanned_to;
                let mut newest: HashMap<StreamId, u64, foldhash::fast::RandomState> = HashMap::default();
                for event in &page.events {
                    if let Ok(stream) = StreamId::new(event.stream()) {
                        newest.insert(stream, event.revision);
                    }
                }
                if !newest.is_empty() {
                    inbox.signal(Signal::Foreign(newest.into_iter().collect()));
                }
                if !page.at_head {
                    continue;
                }
            }
            Err(error) => tracing::warn!(%error, "the log could not be followed; trying again"),
        }
        // Wakes up now and then to see whether the dispatcher is still there, and after an error.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), head.changed()).await;
    }
}
