//! Deadlines of holds and scheduled prices: a heap with at most one live entry a stream, stale ones dropped when met.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use daybook_eventlog::StreamId;
use daybook_schemas::Timestamp;
use hashbrown::HashMap;

#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Timestamp, StreamId)>>,
    /// What each stream is armed for. Entries of the heap that say anything else are stale.
    armed: HashMap<StreamId, Timestamp, foldhash::fast::RandomState>,
}

impl Timers {
    /// Makes sure that the stream fires at `deadline` or earlier.
    pub(crate) fn arm(&mut self, stream: &StreamId, deadline: Timestamp) {
        if self.armed.get(stream).is_some_and(|armed| *armed <= deadline) {
            return;
        }
        self.armed.insert(stream.clone(), deadline);
        self.heap.push(Reverse((deadline, stream.clone())));
    }

    /// The earliest deadline.
    pub(crate) fn next(&mut self) -> Option<Timestamp> {
        while let Some(Reverse((deadline, stream))) = self.heap.peek() {
            if self.armed.get(stream) == Some(deadline) {
                return Some(*deadline);
            }
            self.heap.pop();
        }
        None
    }

    /// A stream whose deadline has come. It is no longer armed.
    pub(crate) fn fire(&mut self, now: Timestamp) -> Option<StreamId> {
        if self.next()? > now {
            return None;
        }
        let Reverse((_, stream)) = self.heap.pop()?;
        self.armed.remove(&stream);
        Some(stream)
    }

    /// Forgets everything; whether there was anything.
    pub(crate) fn clear(&mut self) -> bool {
        let any = !self.armed.is_empty();
        if any {
            *self = Self::default();
        }
        any
    }

    /// Streams that are armed.
    pub(crate) fn len(&self) -> usize {
        self.armed.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_fires_once_at_its_earliest_deadline() {
        let stream = |n: u32| StreamId::new(format!("inventory-{n}")).unwrap();
        let at = Timestamp::from_secs;
        let mut timers = Timers::default();
        timers.arm(&stream(1), at(30));
        timers.arm(&stream(1), at(10));
        timers.arm(&stream(1), at(20));
        timers.arm(&stream(2), at(15));
        assert_eq!((timers.len(), timers.next()), (2, Some(at(10))));
        assert_eq!(timers.fire(at(9)), None);
        assert_eq!(timers.fire(at(40)), Some(stream(1)));
        assert_eq!(timers.fire(at(40)), Some(stream(2)));
        assert_eq!(timers.fire(at(40)), None);
        timers.arm(&stream(1), at(50));
        assert_eq!(timers.next(), Some(at(50)));
    }
}
