//! The streams in memory, bounded in bytes: state, revision, and who waits in line.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use daybook_eventlog::{Revision, StreamId};
use daybook_schemas::Timestamp;
use hashbrown::hash_map::Entry;
use hashbrown::{HashMap, HashSet};

use super::task::TaskId;
use crate::state::StreamState;

/// The number of a group of appends, from 1; 0: none.
pub(crate) type GroupNo = u64;

type Map<V> = HashMap<StreamId, V, foldhash::fast::RandomState>;

/// What a stream costs beside its state: the slot, its name, its place on the ring.
const OVERHEAD: usize = size_of::<Slot>() + 128;

/// Streams looked at in one call of [`Table::evict`]: where nothing can go, looking for it must not hold up commands.
const STEPS: usize = 4_096;

/// A stream that is in memory, or on its way there.
#[derive(Default)]
pub(crate) struct Slot {
    /// What the stream has come to, speculative as far as `pending` goes. `None`: not read yet.
    pub(crate) state: Option<StreamState>,
    pub(crate) revision: Revision,
    /// The newest group that writes to the stream; in flight if it is newer than the last durable one.
    pub(crate) pending: GroupNo,
    /// Whether a read of the whole is under way, or will be once what is in flight is durable.
    pub(crate) loading: bool,
    /// Whether a read of what is beyond the state is under way.
    pub(crate) catching_up: bool,
    /// The revision that another writer is known to have brought the stream to.
    pub(crate) foreign: Revision,
    /// Whether another writer and this one are after the stream at the same time: one overtook the other, or they take turns.
    pub(crate) contended: bool,
    /// On a contended stream: how long this node leaves the next turn to the other.
    pub(crate) rest_until: Option<Instant>,
    /// When the last event was recorded.
    pub(crate) recorded_at: Option<Timestamp>,
    /// The revision from which on a new snapshot is due.
    pub(crate) snapshot_due: Revision,
    pub(crate) line: Option<Box<Line>>,
    size: usize,
    used: bool,
    /// Whether there was a state, this one or one before.
    known: bool,
}

/// Who waits at a stream. Places and waiters are few, except behind a slow read.
#[derive(Default)]
pub(crate) struct Line {
    /// Tasks that were here first: a task waits behind every place that is older than itself.
    pub(crate) places: BTreeSet<TaskId>,
    /// Tasks to try again when the stream was read or the oldest place is given up.
    pub(crate) waiters: Vec<TaskId>,
}

impl Slot {
    /// Whether an older task holds a place in line.
    pub(crate) fn is_behind(&self, task: TaskId) -> bool {
        self.line.as_ref().is_some_and(|line| line.places.first().is_some_and(|first| *first < task))
    }

    /// Whether nothing was ever read of the stream, decided on it or heard of it: what there is, the log has.
    pub(crate) const fn is_new(&self) -> bool {
        !self.known && !self.loading && self.pending == 0 && self.foreign == 0
    }

    /// Whether the log is known to have more than the state.
    pub(crate) const fn is_stale(&self) -> bool {
        self.foreign > self.revision
    }

    pub(crate) fn line(&mut self) -> &mut Line {
        self.line.get_or_insert_default()
    }
}

pub(crate) struct Table {
    slots: Map<Slot>,
    /// Second-chance order of eviction. Every slot with a state is on it; names of streams that were dropped may be too.
    ring: VecDeque<StreamId>,
    bytes: usize,
    limit: usize,
}

impl Table {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self { slots: Map::default(), ring: VecDeque::new(), bytes: 0, limit: limit_bytes }
    }

    pub(crate) fn get(&self, stream: &StreamId) -> Option<&Slot> {
        self.slots.get(stream)
    }

    pub(crate) fn get_mut(&mut self, stream: &StreamId) -> Option<&mut Slot> {
        self.slots.get_mut(stream)
    }

    /// The slot, made if there is none.
    pub(crate) fn slot(&mut self, stream: &StreamId) -> &mut Slot {
        match self.slots.entry(stream.clone()) {
            Entry::Occupied(slot) => slot.into_mut(),
            Entry::Vacant(place) => place.insert(Slot::default()),
        }
    }

    /// A stream was read.
    pub(crate) fn put(&mut self, stream: &StreamId, state: StreamState, revision: Revision) -> &mut Slot {
        let size = state.size_bytes() + OVERHEAD;
        let slot = match self.slots.entry(stream.clone()) {
            Entry::Occupied(slot) => slot.into_mut(),
            Entry::Vacant(place) => place.insert(Slot::default()),
        };
        let on_ring = slot.state.is_some();
        let was = std::mem::replace(&mut slot.size, size);
        slot.state = Some(state);
        slot.revision = revision;
        slot.loading = false;
        slot.used = true;
        slot.known = true;
        self.bytes = self.bytes + size - was;
        if !on_ring {
            self.ring.push_back(stream.clone());
            if self.ring.len() > 2 * self.slots.len() + 64 {
                self.clear_ring();
            }
        }
        self.slots.get_mut(stream).expect("it was put a moment ago")
    }

    /// Rids the ring of names that stand on it twice or for nothing.
    fn clear_ring(&mut self) {
        let mut seen =
            HashSet::with_capacity_and_hasher(self.slots.len(), foldhash::fast::RandomState::default());
        let slots = &self.slots;
        self.ring.retain(|stream| {
            slots.get(stream).is_some_and(|slot| slot.state.is_some()) && seen.insert(stream.clone())
        });
    }

    /// A decision changed the state: take its new size into account.
    pub(crate) fn resize(&mut self, stream: &StreamId) -> usize {
        let Some(slot) = self.slots.get_mut(stream) else { return 0 };
        let Some(state) = &slot.state else { return 0 };
        let size = state.size_bytes() + OVERHEAD;
        let was = std::mem::replace(&mut slot.size, size);
        slot.used = true;
        self.bytes = self.bytes + size - was;
        size
    }

    /// Drops the state, which is not what the log says. Waiters and places stay.
    pub(crate) fn forget(&mut self, stream: &StreamId) -> Option<StreamState> {
        let slot = self.slots.get_mut(stream)?;
        let state = slot.state.take()?;
        self.bytes -= std::mem::take(&mut slot.size);
        slot.pending = 0;
        Some(state)
    }

    /// Drops a slot that was only made to wait at, once nobody waits.
    pub(crate) fn tidy(&mut self, stream: &StreamId) {
        let idle = |slot: &Slot| slot.state.is_none() && !slot.loading && slot.line.is_none();
        if self.slots.get(stream).is_some_and(idle) {
            self.slots.remove(stream);
        }
    }

    /// Makes room: drops streams that nothing waits at and nothing is in flight for, those not used lately first,
    /// until the cache fits its bound or enough were looked at; the next call goes on. Hands each to `leave`.
    pub(crate) fn evict(&mut self, durable: GroupNo, mut leave: impl FnMut(StreamId, Slot)) {
        for _ in 0..STEPS {
            if self.bytes <= self.limit {
                break;
            }
            let Some(stream) = self.ring.pop_front() else { break };
            let Some(slot) = self.slots.get_mut(&stream).filter(|slot| slot.state.is_some()) else {
                continue;
            };
            let busy = slot.pending > durable || slot.line.is_some() || slot.loading || slot.catching_up;
            if busy || std::mem::take(&mut slot.used) {
                self.ring.push_back(stream);
                continue;
            }
            let slot = self.slots.remove(&stream).expect("it was there a moment ago");
            self.bytes -= slot.size;
            leave(stream, slot);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(n: u32) -> StreamId {
        StreamId::new(format!("claim-sku-{n}")).unwrap()
    }

    fn filled(count: u32, limit: usize) -> Table {
        let mut table = Table::new(limit);
        for n in 0..count {
            table.put(&stream(n), StreamState::initial("claim-sku-x").unwrap(), 1);
        }
        table
    }

    #[test]
    fn eviction_keeps_to_the_bound_and_spares_what_is_busy() {
        let mut table = filled(100, 10 * OVERHEAD);
        table.slot(&stream(3)).pending = 7;
        table.slot(&stream(4)).line().places.insert(1);
        let mut gone = 0;
        table.evict(6, |_, _| gone += 1);
        assert!(table.bytes() <= 10 * OVERHEAD);
        assert_eq!(gone + table.len(), 100);
        assert!(table.get(&stream(3)).is_some() && table.get(&stream(4)).is_some());
    }

    #[test]
    fn what_was_used_since_gets_a_second_chance() {
        let mut table = filled(10, 1_000_000);
        let one = table.bytes() / 10;
        table.limit = 9 * one;
        table.evict(0, |_, _| {});
        assert_eq!(table.len(), 9);
        // All had been used when they were read; the first one went, the others have lost their mark.
        table.resize(&stream(1));
        table.limit = 5 * one;
        table.evict(0, |_, _| {});
        assert_eq!(table.len(), 5);
        assert!(table.get(&stream(1)).is_some());
    }

    #[test]
    fn where_nothing_can_go_a_call_ends_all_the_same_and_the_next_goes_on() {
        let count = 3 * u32::try_from(STEPS).unwrap();
        let mut table = filled(count, 1_000_000_000);
        table.limit = 0;
        for n in 0..count {
            table.slot(&stream(n)).pending = 1;
        }
        table.evict(0, |_, _| panic!("all are in flight"));
        let mut gone = 0;
        // All had been used: they lose their mark first.
        for _ in 0..6 {
            table.evict(1, |_, _| gone += 1);
        }
        assert_eq!((gone, table.len(), table.bytes()), (count, 0, 0));
    }

    #[test]
    fn streams_that_are_dropped_and_read_again_do_not_pile_up_on_the_ring() {
        let mut table = filled(50, 1_000_000_000);
        for _ in 0..1_000 {
            table.forget(&stream(7));
            table.put(&stream(7), StreamState::initial("claim-sku-x").unwrap(), 1);
            table.forget(&stream(8));
            table.tidy(&stream(8));
            table.put(&stream(8), StreamState::initial("claim-sku-x").unwrap(), 1);
        }
        assert!(table.ring.len() <= 2 * table.len() + 64, "{} names for {}", table.ring.len(), table.len());
        let mut gone = 0;
        table.limit = 0;
        table.evict(0, |_, _| gone += 1);
        table.evict(0, |_, _| gone += 1);
        assert_eq!((gone, table.bytes()), (50, 0));
    }

    #[test]
    fn a_forgotten_stream_leaves_no_bytes_behind() {
        let mut table = filled(1, 1_000_000);
        assert!(table.forget(&stream(0)).is_some());
        assert_eq!(table.bytes(), 0);
        table.tidy(&stream(0));
        assert_eq!(table.len(), 0);
    }
}
