//! What a decision works on: the streams in memory, seen by one command at one time.
//!
//! A handler reads states, decides on streams (the first decision on each against the state in memory), and either
//! ends with a list of writes or halts: because a stream is not in memory, because an older command is before it there,
//! because what it read is not durable yet, or because the answer is no. Nothing is changed until the whole decision
//! stands. Only a second decision on the same stream, which must see the first, takes the first into the state early;
//! handlers make such follow-ups where they can no longer be refused. If one is refused nevertheless, the engine takes
//! back what the states took in, or drops those that can't do that and reads them again.

use std::time::Duration;

use daybook_aggregates::inventory::{Inventory, Undo};
use daybook_aggregates::variant::Variant;
use daybook_aggregates::{Command, Refusal, Roles};
use daybook_eventlog::{NewEvent, Revision, StreamId};
use daybook_schemas::{AnyEvent, ReservationId, Timestamp, Token, VariantId};
use hashbrown::HashMap;

use crate::encode::Encoder;
use crate::engine::table::{GroupNo, Table};
use crate::engine::task::TaskId;
use crate::error::CommandError;
use crate::holds::{HoldChange, HoldIndex};
use crate::state::{Resident, StreamState};

/// Why a decision did not come to an end.
#[derive(Debug, PartialEq)]
pub(crate) enum Halt {
    /// Streams must be read first, or an older command is before this one: see [`Workspace::missing`].
    Wait,
    /// What was read of the stream must be durable before anything is built on it.
    Fence(StreamId),
    /// Another writer has the next turn at the stream.
    Rest(StreamId),
    /// No.
    Refused(CommandError),
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.into())
    }
}

/// Events for one stream.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) stream: StreamId,
    /// The stream's revision before.
    pub(crate) before: Revision,
    /// Decided, not yet taken into the state.
    decided: Vec<AnyEvent>,
    /// Taken into the state and ready for the log.
    pub(crate) encoded: Vec<NewEvent>,
}

impl Write {
    pub(crate) const fn new(stream: StreamId, before: Revision) -> Self {
        Self { stream, before, decided: Vec::new(), encoded: Vec::new() }
    }
}

/// The time and the principal of a decision.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) now: Timestamp,
    pub(crate) fresh_id: Token,
    pub(crate) roles: Roles,
    /// Whether the log writes one stream at a time, so that an earlier attempt may have left traces.
    pub(crate) sequential: bool,
    /// Whether others write to the log as well. Then nothing is built on what is in flight: if that fails because
    /// another writer was first, what was built on it could find the very revision it expects, on other events. What is not
    /// handed over yet can be joined.
    pub(crate) shared: bool,
    /// How long a claim without its variant stands.
    pub(crate) claim_timeout: Duration,
}

impl Context {
    /// Whether another writer may be first at what was decided, and tell so before anything is written.
    const fn can_be_overtaken(&self) -> bool {
        self.shared && !self.sequential
    }

    /// The command that says this.
    pub(crate) fn command<A>(&self, action: A) -> Command<A> {
        Command { now: self.now, fresh_id: self.fresh_id.clone(), roles: self.roles, action }
    }
}

/// Buffers that are used again for every decision.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) touched: Vec<StreamId>,
    pub(crate) missing: Vec<StreamId>,
    pub(crate) writes: Vec<Write>,
    pub(crate) changes: Vec<(StreamId, HoldChange)>,
    /// What takes the events back that the states took in, where that may be called for: the decision does not stand yet, or another
    /// writer may be first.
    pub(crate) undos: Vec<(StreamId, Undo)>,
    /// The hold that a repeated reservation found.
    pub(crate) standing_hold: Option<ReservationId>,
    /// The places of the streams in `touched` and in `writes`, once there are many.
    touched_places: Places,
    write_places: Places,
}

/// Where streams stand in a list that only grows. Most decisions look at a few streams, which are found faster by looking through
/// them; those that generate thousands of variants are not.
#[derive(Default)]
struct Places {
    known: HashMap<StreamId, usize, foldhash::fast::RandomState>,
    /// How much of the list is in the map.
    taken: usize,
}

impl Places {
    /// Up to so many are looked through.
    const FEW: usize = 32;

    fn clear(&mut self) {
        self.known.clear();
        self.taken = 0;
    }

    /// The first place of the stream in the list.
    fn find<T>(&mut self, list: &[T], stream: &StreamId, of: impl Fn(&T) -> &StreamId) -> Option<usize> {
        if list.len() <= Self::FEW {
            return list.iter().position(|item| of(item) == stream);
        }
        for (at, item) in list.iter().enumerate().skip(self.taken) {
            self.known.entry(of(item).clone()).or_insert(at);
        }
        self.taken = list.len();
        self.known.get(stream).copied()
    }
}

/// How far the groups of appends are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Known {
    /// The newest durable one.
    pub(crate) durable: GroupNo,
    /// On a shared log: the one whose streams may be written to, though they are not durable; 0: none.
    pub(crate) joinable: GroupNo,
}

pub(crate) struct Workspace<'a> {
    table: &'a mut Table,
    holds: &'a HoldIndex,
    encoder: Encoder,
    scratch: &'a mut Scratch,
    pub(crate) context: Context,
    task: TaskId,
    known: Known,
    follow_up: bool,
}

impl<'a> Workspace<'a> {
    pub(crate) fn new(
        table: &'a mut Table,
        holds: &'a HoldIndex,
        scratch: &'a mut Scratch,
        encoder: Encoder,
        context: Context,
        task: TaskId,
        known: Known,
    ) -> Self {
        scratch.touched.clear();
        scratch.missing.clear();
        scratch.writes.clear();
        scratch.changes.clear();
        scratch.undos.clear();
        scratch.standing_hold = None;
        scratch.touched_places.clear();
        scratch.write_places.clear();
        Self { table, holds, encoder, scratch, context, task, known, follow_up: false }
    }

    /// Makes sure that streams are in memory and that no older command is before this one there. Ask for all that is
    /// known to be needed at once, so that they are read at once.
    pub(crate) fn require<'s>(
        &mut self,
        streams: impl IntoIterator<Item = &'s StreamId>,
    ) -> Result<(), Halt> {
        let (mut in_flight, mut resting) = (None, None);
        for stream in streams {
            match self.table.get(stream) {
                Some(slot)
                    if slot.state.is_some()
                        && !slot.is_behind(self.task)
                        && (!slot.is_stale() || slot.pending > self.known.durable) =>
                {
                    let undurable = slot.pending > self.known.durable;
                    if self.context.shared && undurable && slot.pending != self.known.joinable {
                        in_flight.get_or_insert_with(|| stream.clone());
                    }
                    if slot.rest_until.is_some() {
                        resting.get_or_insert_with(|| stream.clone());
                    }
                    self.scratch.touched.push(stream.clone());
                }
                _ => self.scratch.missing.push(stream.clone()),
            }
        }
        match (in_flight, resting) {
            _ if !self.scratch.missing.is_empty() => Err(Halt::Wait),
            (Some(stream), _) => Err(Halt::Fence(stream)),
            (None, Some(stream)) => Err(Halt::Rest(stream)),
            (None, None) => Ok(()),
        }
    }

    fn state(&self, stream: &StreamId) -> Option<&StreamState> {
        self.table.get(stream)?.state.as_ref()
    }

    /// The stream's revision, with what was decided so far left out.
    pub(crate) fn revision(&mut self, stream: &StreamId) -> Result<Revision, Halt> {
        match self.table.get(stream) {
            Some(slot) if slot.state.is_some() => Ok(slot.revision),
            _ => self.require([stream]).map(|()| 0),
        }
    }

    /// The state, to decide on it afterwards. What it says may not be durable yet: the write that is built on it then
    /// depends on the same stream, and fails with it.
    pub(crate) fn peek<D: Resident>(&mut self, stream: &StreamId) -> Result<&D, Halt> {
        self.require_if_new(stream)?;
        Ok(self.resident(stream))
    }

    /// The state, to build writes to other streams on it: it must be durable.
    pub(crate) fn read<D: Resident>(&mut self, stream: &StreamId) -> Result<&D, Halt> {
        self.require_if_new(stream)?;
        if self.table.get(stream).is_some_and(|slot| slot.pending > self.known.durable) {
            return Err(Halt::Fence(stream.clone()));
        }
        Ok(self.resident(stream))
    }

    fn resident<D: Resident>(&self, stream: &StreamId) -> &D {
        self.state(stream).and_then(D::of).expect("required above, and the name says which aggregate it is")
    }

    fn require_if_new(&mut self, stream: &StreamId) -> Result<(), Halt> {
        let Scratch { touched, touched_places, .. } = &mut *self.scratch;
        let known = touched_places.find(touched, stream, |touched| touched).is_some();
        if known && self.state(stream).is_some() {
            return Ok(());
        }
        self.require([stream])
    }

    /// When the last event of the stream was recorded.
    pub(crate) fn recorded_at(&self, stream: &StreamId) -> Option<Timestamp> {
        self.table.get(stream).and_then(|slot| slot.recorded_at)
    }

    /// The newest record of an idempotency key.
    pub(crate) fn key_record(
        &mut self,
        stream: &StreamId,
    ) -> Result<Option<&daybook_schemas::idempotency::Recorded>, Halt> {
        self.require_if_new(stream)?;
        match self.state(stream) {
            Some(StreamState::Key(Some(_)))
                if self.table.get(stream).is_some_and(|s| s.pending > self.known.durable) =>
            {
                Err(Halt::Fence(stream.clone()))
            }
            Some(StreamState::Key(Some(record))) => Ok(Some(record)),
            _ => Ok(None),
        }
    }

    /// Has the answer name the hold that stands already.
    pub(crate) fn tell_of(&mut self, hold: ReservationId) {
        self.scratch.standing_hold = Some(hold);
    }

    /// Active holds over all variants.
    pub(crate) fn holds(&self) -> &HoldIndex {
        self.holds
    }

    /// Decides on a stream and notes the events. Gives their number.
    pub(crate) fn decide<D: Resident>(
        &mut self,
        stream: &StreamId,
        command: &Command<D::Action>,
    ) -> Result<usize, Halt>
    where
        AnyEvent: From<D::Event>,
        Refusal: From<D::Error>,
    {
        self.require_if_new(stream)?;
        let decided = self.write_to(stream).filter(|at| !self.scratch.writes[*at].decided.is_empty());
        if let Some(at) = decided {
            self.follow_up = true;
            self.take_in(at, true);
        }
        let events =
            self.resident::<D>(stream).decide(command).map_err(|error| Halt::from(Refusal::from(error)))?;
        Ok(self.note(stream, events.into_iter().map(AnyEvent::from)))
    }

    fn write_to(&mut self, stream: &StreamId) -> Option<usize> {
        let Scratch { writes, write_places, .. } = &mut *self.scratch;
        write_places.find(writes, stream, |write| &write.stream)
    }

    /// Notes events for a stream without a decision of an aggregate.
    pub(crate) fn note(&mut self, stream: &StreamId, events: impl IntoIterator<Item = AnyEvent>) -> usize {
        let mut events = events.into_iter().peekable();
        if events.peek().is_none() {
            return 0;
        }
        let at = self.write_to(stream).unwrap_or_else(|| {
            let before = self.table.get(stream).map_or(0, |slot| slot.revision);
            self.scratch.writes.push(Write::new(stream.clone(), before));
            self.scratch.writes.len() - 1
        });
        let write = &mut self.scratch.writes[at];
        let before = write.decided.len();
        write.decided.extend(events);
        write.decided.len() - before
    }

    /// Takes back all that was decided. Not after a follow-up.
    pub(crate) fn discard(&mut self) {
        debug_assert!(!self.follow_up, "a follow-up has changed states");
        self.scratch.writes.clear();
        self.scratch.write_places.clear();
    }

    /// Takes the decided events of a write into the state and encodes them. `early`: the decision may still be refused.
    fn take_in(&mut self, at: usize, early: bool) {
        let undoable = early || self.context.can_be_overtaken();
        let write = &mut self.scratch.writes[at];
        let slot = self.table.get_mut(&write.stream).expect("a write is to a stream in memory");
        let state = slot.state.as_mut().expect("a write is to a stream in memory");
        write.encoded.reserve(write.decided.len());
        for event in write.decided.drain(..) {
            write.encoded.push(self.encoder.encode(&event, &write.stream, write.encoded.len()));
            if let AnyEvent::Inventory(event) = &event {
                let changes = &mut self.scratch.changes;
                HoldChange::of(event, |change| changes.push((write.stream.clone(), change)));
            }
            let undo = if undoable { state.apply_undoable(event) } else { state.apply(event).map(|()| None) };
            let undo = undo.expect("the stream's own aggregate decided the event");
            self.scratch.undos.extend(undo.map(|undo| (write.stream.clone(), undo)));
        }
    }

    /// Streams that the decision looked at, wrote nothing to, and that are not durable yet.
    pub(crate) fn undurable_read(&mut self) -> Option<StreamId> {
        let Scratch { touched, writes, write_places, .. } = &mut *self.scratch;
        let undurable =
            |stream: &StreamId| self.table.get(stream).is_some_and(|s| s.pending > self.known.durable);
        let mut written =
            |stream: &StreamId| write_places.find(writes, stream, |write| &write.stream).is_some();
        touched.iter().find(|stream| undurable(stream) && !written(stream)).cloned()
    }

    /// The newest group in flight that anything the decision looked at depends on; 0 if all is durable.
    pub(crate) fn depends_on(&self) -> GroupNo {
        let pending = |stream| self.table.get(stream).map_or(0, |slot| slot.pending);
        let newest = self.scratch.touched.iter().map(pending).max().unwrap_or(0);
        if newest > self.known.durable { newest } else { 0 }
    }

    /// Whether states were changed before the decision stood.
    pub(crate) const fn has_follow_up(&self) -> bool {
        self.follow_up
    }

    /// Whether there is anything to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.scratch.writes.is_empty()
    }

    /// The number of events decided for a stream.
    pub(crate) fn events_of(&mut self, stream: &StreamId) -> usize {
        let write = self.write_to(stream).map(|at| &self.scratch.writes[at]);
        write.map_or(0, |write| write.decided.len() + write.encoded.len())
    }

    /// The decision stands: takes everything into the states. The writes are then in the scratch.
    pub(crate) fn finish(mut self) {
        for at in 0..self.scratch.writes.len() {
            self.take_in(at, false);
        }
        if !self.context.can_be_overtaken() {
            self.scratch.undos.clear();
        }
    }
}

/// Names of streams.
pub(crate) mod stream {
    use super::{StreamId, VariantId};

    fn named(kind: &str, id: &str) -> StreamId {
        let mut name = String::with_capacity(kind.len() + 1 + id.len());
        name.push_str(kind);
        name.push('-');
        name.push_str(id);
        StreamId::new(name).expect("ids are 1 to 64 visible ASCII characters")
    }

    pub(crate) fn of(aggregate: &str, id: &daybook_schemas::Token) -> StreamId {
        named(aggregate, id.as_str())
    }

    pub(crate) fn variant(id: &VariantId) -> StreamId {
        named("variant", id.as_str())
    }

    pub(crate) fn inventory(id: &VariantId) -> StreamId {
        named("inventory", id.as_str())
    }

    pub(crate) fn claim(kind: daybook_schemas::claim::Kind, key: &str) -> StreamId {
        let mut name = String::with_capacity(7 + key.len());
        name.push_str(kind.as_str());
        name.push('-');
        name.push_str(key);
        named("claim", &name)
    }

    pub(crate) fn sequence(name: &str) -> StreamId {
        named("sequence", name)
    }
}

/// The states that handlers of composites read most.
impl Workspace<'_> {
    pub(crate) fn variant(&mut self, id: &VariantId) -> Result<&Variant, Halt> {
        self.read(&stream::variant(id))
    }

    pub(crate) fn inventory(&mut self, id: &VariantId) -> Result<&Inventory, Halt> {
        self.peek(&stream::inventory(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Few or many, the first place of each stream is found, also after the list has grown, and after it was emptied.
    #[test]
    fn streams_are_found_where_they_stand_first() {
        let named = |n: usize| StreamId::new(format!("variant-{n}")).unwrap();
        let mut places = Places::default();
        for round in 0..2 {
            let mut list = Vec::new();
            for n in 0..3 * Places::FEW {
                let n = n + round;
                assert_eq!(places.find(&list, &named(n), |stream| stream), None);
                list.push(named(n));
                list.push(named(n));
                assert_eq!(places.find(&list, &named(round), |stream| stream), Some(0));
                assert_eq!(places.find(&list, &named(n), |stream| stream), Some(2 * (n - round)));
            }
            places.clear();
        }
    }
}
