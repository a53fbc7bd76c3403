//! What the writer remembers of streams' revisions.

use hashbrown::HashMap;

use crate::log::{Position, Revision, StreamId};

/// Revisions that were right when the log's head was at [`Revisions::head`]: a hint that the database checks by
/// comparing heads. Bounded: two generations, the older of which is dropped when the younger one is full.
pub(super) struct Revisions {
    head: Position,
    young: HashMap<StreamId, Revision, foldhash::fast::RandomState>,
    old: HashMap<StreamId, Revision, foldhash::fast::RandomState>,
    capacity: usize,
}

impl Revisions {
    /// Remembers at least `capacity` and at most twice as many streams.
    pub(super) fn new(capacity: usize) -> Self {
        Self { head: 0, young: HashMap::default(), old: HashMap::default(), capacity }
    }

    /// The head for which everything here is right.
    pub(super) fn head(&self) -> Position {
        self.head
    }

    pub(super) fn get(&self, stream: &StreamId) -> Option<Revision> {
        self.young.get(stream).or_else(|| self.old.get(stream)).copied()
    }

    /// Goes on from `before`, where the log stood before what we wrote, to `head`. Had others written, all is forgotten.
    pub(super) fn advance(&mut self, before: Position, head: Position) {
        if before != self.head {
            self.forget();
        }
        self.head = head;
    }

    pub(super) fn set(&mut self, stream: &StreamId, revision: Revision) {
        if self.young.len() >= self.capacity {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(stream.clone(), revision);
    }

    /// Knows nothing any more.
    pub(super) fn forget(&mut self) {
        self.young.clear();
        self.old.clear();
        self.head = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(n: usize) -> StreamId {
        StreamId::new(format!("s-{n}")).unwrap()
    }

    #[test]
    fn the_newest_streams_are_remembered_and_memory_is_bounded() {
        let mut revisions = Revisions::new(10);
        for n in 0..100 {
            revisions.set(&stream(n), n as u64);
            assert!(revisions.young.len() + revisions.old.len() <= 20);
        }
        for n in 90..100 {
            assert_eq!(revisions.get(&stream(n)), Some(n as u64));
        }
        assert_eq!(revisions.get(&stream(5)), None);
    }

    #[test]
    fn what_others_wrote_makes_everything_uncertain() {
        let mut revisions = Revisions::new(10);
        revisions.advance(0, 5);
        revisions.set(&stream(1), 5);
        revisions.advance(5, 6);
        assert_eq!(revisions.get(&stream(1)), Some(5));
        revisions.advance(9, 10);
        assert_eq!((revisions.get(&stream(1)), revisions.head()), (None, 10));
    }
}
