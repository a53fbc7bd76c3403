//! Decisions that met another writer are taken back out of the states in memory, and what the other wrote is read after them: that costs as
//! much as both wrote. Reading a hot stream again would cost as much as it has holds, and in that time the other would be ahead again.

use daybook_aggregates::inventory::{Undo, Undone};
use daybook_eventlog::{AppendError, Revision, StreamId};
use daybook_schemas::Timestamp;

use super::Engine;
use super::group::{Grouped, Item};
use super::load::Tail;
use super::table::Slot;
use crate::holds::{HoldChange, HoldKey};

/// A stream before a decision on it, as far as what was decided can be taken back.
pub(crate) struct Before {
    pub(crate) stream: StreamId,
    pub(crate) revision: Revision,
    pub(crate) recorded_at: Option<Timestamp>,
    /// In the order of the events, each of which has one.
    pub(crate) undos: Vec<Undo>,
}

impl Engine {
    /// Makes the states forget what failed, given in the order of the decisions. What can't be taken back is read again.
    pub(crate) fn take_back(&mut self, failed: &mut [(Grouped, Option<AppendError>)]) {
        for (Grouped { item, .. }, error) in failed.iter_mut().rev() {
            // Of other failures nobody knows whether the events are in the log after all.
            let is_known = matches!(error, None | Some(AppendError::Conflict { .. }));
            for stream in std::mem::take(&mut item.written).into_iter().rev() {
                let before = item.before.iter().position(|before| before.stream == stream);
                let before = before.map(|at| item.before.swap_remove(at)).filter(|_| is_known);
                if !before.is_some_and(|before| self.restore(before)) {
                    self.poison(&stream);
                }
            }
        }
        for (_, error) in failed {
            let Some(AppendError::Conflict { stream, expected, actual }) = error else { continue };
            match self.table.get_mut(stream) {
                Some(slot) if slot.state.is_some() && *actual > slot.revision => {
                    slot.foreign = slot.foreign.max(*actual);
                    self.want(stream);
                }
                // Looked at only, and heard of meanwhile.
                Some(slot) if slot.state.is_some() && expected < actual => {}
                // The log disagrees about what both have.
                _ => self.poison(stream),
            }
        }
    }

    /// False if the state is not the one that the decision made.
    fn restore(&mut self, before: Before) -> bool {
        let Before { stream, revision, recorded_at, undos } = before;
        let now = self.now;
        let Some(slot) = self.table.get_mut(&stream) else { return false };
        let made = slot.revision == revision + undos.len() as u64;
        let Some(state) = slot.state.as_mut().filter(|_| made) else { return false };
        for undo in undos.into_iter().rev() {
            for undone in state.undo(undo) {
                let change = match &undone {
                    Undone::Gone(hold) => HoldKey::of(hold).map(HoldChange::Remove),
                    Undone::Back(hold) if hold.is_due(now) => None,
                    Undone::Back(hold) => HoldKey::of(hold).map(|key| HoldChange::Add(key, hold.expires_at)),
                };
                if let Some(change) = change {
                    self.holds.change(&stream, change, now);
                }
            }
        }
        (slot.revision, slot.recorded_at, slot.pending) = (revision, recorded_at, 0);
        self.table.resize(&stream);
        self.arm_from_memory(&stream);
        // What was told while the write was in flight.
        self.want(&stream);
        true
    }

    /// What was told of these streams while the write was in flight is read.
    pub(crate) fn read_on(&mut self, item: &Item) {
        for stream in &item.written {
            if self.table.get(stream).is_some_and(Slot::is_stale) {
                self.want(stream);
            }
        }
    }

    /// Takes in what was read of a stream beyond the state in memory.
    pub(crate) fn take_tail(&mut self, Tail { stream, after, events }: Tail) {
        let durable = self.commits.durable();
        let Some(slot) = self.table.get_mut(&stream) else { return };
        slot.catching_up = false;
        if slot.state.is_none() {
            // Dropped meanwhile: whoever did that has it read.
            return;
        }
        let events = match events {
            Ok(events) => events,
            Err(error) => return self.fail_waiters(&stream, &error),
        };
        if slot.pending <= durable && after <= slot.revision {
            if events.is_empty() && after == slot.revision {
                // The log has no more, whatever was heard; should that be wrong, it says so when it is written to.
                slot.foreign = slot.revision;
            }
            if !self.catch_up(&stream, events) {
                return self.poison(&stream);
            }
        }
        self.want(&stream);
        self.wake_waiters(&stream);
    }
}
