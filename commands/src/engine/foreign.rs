//! What other writers on the same log did: states catch up from the tail of the log, without reading streams again.

use daybook_eventlog::{Revision, StreamId};
use daybook_schemas::inventory::Event as InventoryEvent;
use daybook_schemas::variant::Event as VariantEvent;
use daybook_schemas::{AnyEvent, Timestamp};

use super::Engine;
use super::table::Slot;
use crate::follow::{Foreign, Told, leads};
use crate::holds::HoldChange;

impl Engine {
    /// Takes in what the log has of a stream. What this node wrote comes by as well, and is known already.
    pub(crate) fn take_foreign(&mut self, foreign: Foreign) {
        let Foreign { stream, events } = foreign;
        let Some(newest) = events.last().map(|(revision, _, _)| *revision) else { return };
        let durable = self.commits.durable();
        let Some(slot) = self.table.get_mut(&stream) else { return self.hear_of(&stream, &events) };
        let was_stale = slot.is_stale();
        slot.foreign = slot.foreign.max(newest);
        if slot.state.is_none() {
            return self.hear_of(&stream, &events);
        }
        // With writes in flight the log will answer with a conflict, and recovery reads what is missing.
        if slot.pending > durable || slot.revision >= newest {
            return;
        }
        // The turn that was left to the other is over, and this node leaves it the next one, too, as the other does.
        slot.contended |= slot.rest_until.take().is_some();
        if events.first().is_some_and(|(first, _, _)| *first > slot.revision + 1) {
            // What is between was told while a write was in flight.
            return self.want(&stream);
        }
        if !self.catch_up(&stream, events) {
            return self.poison(&stream);
        }
        if was_stale {
            self.wake_waiters(&stream);
        }
    }

    /// Applies the events to the state in memory, if they continue it. After `false` the state is not to be used.
    pub(crate) fn catch_up(&mut self, stream: &StreamId, events: Vec<Told>) -> bool {
        for (revision, recorded_at, event) in events {
            let Some(slot) = self.table.get_mut(stream) else { return false };
            if revision <= slot.revision {
                continue;
            }
            let (Some(event), true) = (event, revision == slot.revision + 1) else { return false };
            let mut changes = Vec::new();
            if let AnyEvent::Inventory(event) = &event {
                HoldChange::of(event, |change| changes.push(change));
            }
            if !apply(slot, event, revision, recorded_at) {
                return false;
            }
            for change in changes {
                self.holds.change(stream, change, self.now);
            }
        }
        self.table.resize(stream);
        self.arm_from_memory(stream);
        true
    }

    pub(crate) fn arm_from_memory(&mut self, stream: &StreamId) {
        if !leads(&self.options.leader) {
            return self.inbox.want_deadlines();
        }
        let state = self.table.get(stream).and_then(|slot| slot.state.as_ref());
        if let Some(deadline) = state.and_then(super::next_deadline) {
            self.timers.arm(stream, deadline.max(self.now));
        }
    }

    /// A stream that is not in memory: its holds count nevertheless, and its deadlines must fire.
    fn hear_of(&mut self, stream: &StreamId, events: &[Told]) {
        for (_, _, event) in events {
            match event {
                Some(AnyEvent::Inventory(event)) => {
                    let (holds, now) = (&mut self.holds, self.now);
                    HoldChange::of(event, |change| holds.hear_of(stream, change, now));
                    if let InventoryEvent::Reserved(event) = event {
                        self.hear_of_deadline(stream, event.expires_at);
                    }
                }
                Some(AnyEvent::Variant(VariantEvent::PriceScheduled(event))) => {
                    self.hear_of_deadline(stream, event.effective_from);
                }
                Some(AnyEvent::Variant(VariantEvent::ListPriceScheduled(event))) => {
                    self.hear_of_deadline(stream, event.effective_from);
                }
                _ => {}
            }
        }
    }

    /// Who does not lead keeps no timers. It asks for all of them, to be told on the day that it does lead: the follower has a
    /// page in its book before it tells of it, so that what was heard here is among them.
    fn hear_of_deadline(&mut self, stream: &StreamId, deadline: Timestamp) {
        if leads(&self.options.leader) {
            self.timers.arm(stream, deadline);
        } else {
            self.inbox.want_deadlines();
        }
    }
}

fn apply(slot: &mut Slot, event: AnyEvent, revision: Revision, recorded_at: Timestamp) -> bool {
    let Some(state) = &mut slot.state else { return false };
    if state.apply(event).is_err() {
        return false;
    }
    slot.revision = revision;
    slot.recorded_at = Some(recorded_at);
    true
}
