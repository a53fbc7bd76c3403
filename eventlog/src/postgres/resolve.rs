//! Decides what becomes of a group of appends: which are written where, which were written before, which conflict.
//!
//! Pure, in two ways. [`optimistic`] goes by the writer's hints and by what the callers expect; it gives up wherever an
//! append might not simply be written. [`under_lock`] knows the truth about every stream and event id of the group, read
//! while the ordering lock is held, and decides every case.

use hashbrown::{HashMap, HashSet};
use uuid::Uuid;

use super::layout::Columns;
use super::revisions::Revisions;
use crate::event::NewEvent;
use crate::log::{Append, AppendError, Appended, Expected, Position, Premise, Revision, StreamId};
use crate::rules::check_append;

/// No stream is that long; a guess beyond it would not fit the table's `bigint`.
const MAX_GUESS: Revision = 1 << 62;

/// An append that keeps the rules, laid out for the table.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) parts: Vec<PreparedPart>,
    pub(super) premises: Vec<Premise>,
    pub(super) events: usize,
    pub(super) bytes: usize,
}

/// The events of one stream.
#[derive(Debug)]
pub(super) struct PreparedPart {
    pub(super) stream: StreamId,
    pub(super) expected: Expected,
    pub(super) rows: Vec<(NewEvent, Columns)>,
}

impl Prepared {
    pub(super) fn new(append: Append) -> Result<Self, AppendError> {
        let size = check_append(&append)?;
        let parts = append
            .streams
            .into_iter()
            .map(|part| {
                let rows = part.events.into_iter().map(|event| {
                    let columns = Columns::of(&event, false);
                    (event, columns)
                });
                PreparedPart { stream: part.stream, expected: part.expected, rows: rows.collect() }
            })
            .collect();
        Ok(Self { parts, premises: append.premises, events: size.events, bytes: size.bytes })
    }

    /// Every stream that it writes to or looks at.
    pub(super) fn streams(&self) -> impl Iterator<Item = &StreamId> {
        self.parts.iter().map(|part| &part.stream).chain(self.premises.iter().map(|premise| &premise.stream))
    }

    /// Keeps all bytes out of the `json` columns. False if that was done before.
    pub(super) fn make_raw(&mut self) -> bool {
        let mut changed = false;
        for (event, columns) in self.parts.iter_mut().flat_map(|part| &mut part.rows) {
            let raw = Columns::of(event, true);
            changed |= *columns != raw;
            *columns = raw;
        }
        changed
    }

    fn ids(&self) -> impl Iterator<Item = Uuid> + '_ {
        self.parts.iter().flat_map(|part| part.rows.iter().map(|(event, _)| event.event_id))
    }
}

/// What to write and what to answer.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Every stream that is written to.
    pub(super) streams: Vec<StreamPlan>,
    /// One for each append.
    pub(super) outcomes: Vec<Outcome>,
    /// Events to write.
    pub(super) rows: u64,
}

#[derive(Debug)]
pub(super) struct StreamPlan {
    pub(super) stream: StreamId,
    /// The revision that the group's first event follows, and the one that its last event has.
    pub(super) before: Revision,
    pub(super) after: Revision,
    /// Whether `before` is certain as long as nobody else has written.
    pub(super) known: bool,
}

#[derive(Debug)]
pub(super) enum Outcome {
    /// Written as the group's rows `first` to `last`, from 1; the streams then have these revisions.
    Write { first: u64, last: u64, revisions: Vec<Revision> },
    /// Nothing to write. Stands once the rest of the group is committed.
    Done(Result<Appended, AppendError>),
}

impl Outcome {
    /// The answer, when the group was written after position `before`.
    pub(super) fn result(self, before: Position) -> Result<Appended, AppendError> {
        match self {
            Self::Write { first, last, revisions } => {
                Ok(Appended { first: before + first, last: before + last, revisions })
            }
            Self::Done(result) => result,
        }
    }
}

/// The plan while it grows: the streams written so far with their revisions.
#[derive(Default)]
struct Growing {
    plan: Plan,
    index: HashMap<StreamId, usize, foldhash::fast::RandomState>,
}

impl Growing {
    fn revision(&self, stream: &StreamId) -> Option<Revision> {
        self.index.get(stream).map(|at| self.plan.streams[*at].after)
    }

    /// Has the database check a stream that nothing was written to so far.
    fn look_at(&mut self, premise: &Premise, known: bool) {
        self.index.entry(premise.stream.clone()).or_insert_with(|| {
            let (stream, revision) = (premise.stream.clone(), premise.revision);
            self.plan.streams.push(StreamPlan { stream, before: revision, after: revision, known });
            self.plan.streams.len() - 1
        });
    }

    /// Writes an append behind what its streams have, where `before` says it for those not written to yet.
    fn write(&mut self, append: &Prepared, before: impl Fn(&PreparedPart) -> (Revision, bool)) {
        let mut revisions = Vec::with_capacity(append.parts.len());
        for part in &append.parts {
            let at = *self.index.entry(part.stream.clone()).or_insert_with(|| {
                let (revision, known) = before(part);
                let stream = part.stream.clone();
                self.plan.streams.push(StreamPlan { stream, before: revision, after: revision, known });
                self.plan.streams.len() - 1
            });
            self.plan.streams[at].after += part.rows.len() as u64;
            revisions.push(self.plan.streams[at].after);
        }
        let first = self.plan.rows + 1;
        self.plan.rows += append.events as u64;
        self.plan.outcomes.push(Outcome::Write { first, last: self.plan.rows, revisions });
    }
}

/// A plan that writes everything, if hints and expectations agree: the database checks what is not certain.
pub(super) fn optimistic<'a>(appends: impl Iterator<Item = &'a Prepared>, hints: &Revisions) -> Option<Plan> {
    let mut growing = Growing::default();
    for append in appends {
        for part in &append.parts {
            match (part.expected, growing.revision(&part.stream), hints.get(&part.stream)) {
                (Expected::Exact(expected), Some(current), _) if expected == current => {}
                // Who expects more than is remembered has heard of another writer.
                (Expected::Exact(expected), None, hint)
                    if hint.is_none_or(|hint| hint <= expected) && expected <= MAX_GUESS => {}
                (Expected::Any, current, hint) if current.or(hint).is_some() => {}
                _ => return None,
            }
        }
        for premise in &append.premises {
            let hint = hints.get(&premise.stream);
            match growing.revision(&premise.stream) {
                Some(current) if current != premise.revision => return None,
                None if hint.is_some_and(|hint| hint > premise.revision) => return None,
                _ if premise.revision > MAX_GUESS => return None,
                _ => growing.look_at(premise, hint == Some(premise.revision)),
            }
        }
        growing.write(append, |part| match (hints.get(&part.stream), part.expected) {
            (Some(hint), Expected::Exact(revision)) => (revision, hint == revision),
            (Some(hint), Expected::Any) => (hint, true),
            (None, Expected::Exact(revision)) => (revision, false),
            (None, Expected::Any) => unreachable!("checked above: such an append has no optimistic plan"),
        });
    }
    Some(growing.plan)
}

/// The truth about a group's streams and event ids, while nobody else can write.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) head: Position,
    /// Streams that exist.
    pub(super) revisions: HashMap<StreamId, Revision>,
    /// Events of the group's ids that exist.
    pub(super) events: HashMap<Uuid, Place>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) stream: StreamId,
    pub(super) revision: Revision,
    pub(super) position: Position,
}

/// The plan for a group whose circumstances are known.
pub(super) fn under_lock<'a>(appends: impl Iterator<Item = &'a Prepared>, mut stored: Stored) -> Plan {
    let mut growing = Growing::default();
    for append in appends {
        if let Some(done) = decide_without_writing(append, &stored, &growing) {
            growing.plan.outcomes.push(Outcome::Done(done));
            continue;
        }
        let mut position = stored.head + growing.plan.rows;
        growing.write(append, |part| (stored.revisions.get(&part.stream).copied().unwrap_or(0), true));
        for part in &append.parts {
            let after = growing.revision(&part.stream).expect("just written");
            let before = after - part.rows.len() as u64;
            for ((event, _), revision) in part.rows.iter().zip(before + 1..) {
                position += 1;
                let place = Place { stream: part.stream.clone(), revision, position };
                stored.events.insert(event.event_id, place);
            }
        }
    }
    growing.plan
}

/// The answer to an append that is a retry or a conflict; `None` if it is to be written.
fn decide_without_writing(
    append: &Prepared,
    stored: &Stored,
    growing: &Growing,
) -> Option<Result<Appended, AppendError>> {
    if let Some(earlier) = find_retried(append, stored) {
        return Some(Ok(earlier));
    }
    let actual = |stream: &StreamId| {
        growing.revision(stream).or_else(|| stored.revisions.get(stream).copied()).unwrap_or(0)
    };
    let conflict = |stream: &StreamId, expected| {
        Some(Err(AppendError::Conflict { stream: stream.clone(), expected, actual: actual(stream) }))
    };
    for part in &append.parts {
        if let Expected::Exact(expected) = part.expected
            && expected != actual(&part.stream)
        {
            return conflict(&part.stream, expected);
        }
    }
    for premise in &append.premises {
        if premise.revision != actual(&premise.stream) {
            return conflict(&premise.stream, premise.revision);
        }
    }
    let mut seen = HashSet::new();
    let reused = append.ids().any(|id| stored.events.contains_key(&id) || !seen.insert(id));
    if reused {
        // Any other reuse of an id is a conflict, though the revision fits.
        let stream = &append.parts[0].stream;
        return conflict(stream, actual(stream));
    }
    None
}

/// The result of an earlier append of the same events at the same places. With [`Expected::Any`] the place is wherever
/// they stand together: others may have written after an attempt whose answer was lost.
fn find_retried(append: &Prepared, stored: &Stored) -> Option<Appended> {
    let mut found = Appended { first: Position::MAX, last: 0, revisions: Vec::new() };
    for part in &append.parts {
        let place = |row: usize| stored.events.get(&part.rows[row].0.event_id);
        let start = match part.expected {
            Expected::Exact(expected) => expected.checked_add(1)?,
            Expected::Any => place(0)?.revision,
        };
        for (row, revision) in (0..part.rows.len()).zip(start..) {
            let there = place(row)?;
            if there.stream != part.stream || there.revision != revision {
                return None;
            }
            found.first = found.first.min(there.position);
            found.last = found.last.max(there.position);
        }
        found.revisions.push(start + part.rows.len() as u64 - 1);
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::log::StreamAppend;

    fn stream(name: &str) -> StreamId {
        StreamId::new(name).unwrap()
    }

    /// An append of one event to each stream.
    fn prepared(id: u128, parts: &[(&str, Expected)]) -> Prepared {
        let event = |n: usize| NewEvent {
            event_id: Uuid::from_u128(id + n as u128),
            event_type: "test.happened",
            version: 1,
            recorded_at: 0,
            data: Bytes::from_static(b"{}"),
            metadata: Bytes::from_static(b"{}"),
        };
        let streams = parts.iter().enumerate().map(|(n, (name, expected))| StreamAppend {
            stream: stream(name),
            expected: *expected,
            events: vec![event(n)],
        });
        Prepared::new(Append::new(streams.collect())).unwrap()
    }

    #[test]
    fn expectations_are_guesses_to_be_checked_and_memories_are_not() {
        let mut hints = Revisions::new(10);
        hints.set(&stream("known-1"), 4);
        let appends = [
            prepared(10, &[("new-1", Expected::Exact(7))]),
            prepared(20, &[("known-1", Expected::Any), ("new-1", Expected::Exact(8))]),
        ];
        let plan = optimistic(appends.iter(), &hints).unwrap();
        let streams: Vec<_> =
            plan.streams.iter().map(|s| (s.stream.as_str(), s.before, s.after, s.known)).collect();
        assert_eq!(streams, [("new-1", 7, 9, false), ("known-1", 4, 5, true)]);
        let results: Vec<_> = plan.outcomes.into_iter().map(|outcome| outcome.result(100).unwrap()).collect();
        assert_eq!(results[0], Appended { first: 101, last: 101, revisions: vec![8] });
        assert_eq!(results[1], Appended { first: 102, last: 103, revisions: vec![5, 9] });
    }

    #[test]
    fn who_expects_more_than_is_remembered_has_heard_of_another_writer() {
        let mut hints = Revisions::new(10);
        hints.set(&stream("known-1"), 4);
        hints.set(&stream("known-2"), 4);
        let mut looks = prepared(20, &[("new-1", Expected::Exact(0))]);
        looks.premises = vec![Premise { stream: stream("known-2"), revision: 6 }];
        let appends = [prepared(10, &[("known-1", Expected::Exact(5))]), looks];
        let plan = optimistic(appends.iter(), &hints).unwrap();
        let streams: Vec<_> =
            plan.streams.iter().map(|s| (s.stream.as_str(), s.before, s.after, s.known)).collect();
        assert_eq!(streams, [("known-1", 5, 6, false), ("known-2", 6, 6, false), ("new-1", 0, 1, false)]);

        let mut behind = prepared(30, &[("new-1", Expected::Exact(0))]);
        behind.premises = vec![Premise { stream: stream("known-2"), revision: 3 }];
        assert!(optimistic([behind].iter(), &hints).is_none());
        let mut beyond = prepared(40, &[("new-1", Expected::Exact(0))]);
        beyond.premises = vec![Premise { stream: stream("known-1"), revision: 7 }];
        let within = [prepared(10, &[("known-1", Expected::Exact(5))]), beyond];
        assert!(
            optimistic(within.iter(), &hints).is_none(),
            "nobody can know what the group itself does not write"
        );
    }

    #[test]
    fn what_might_not_simply_be_written_is_left_to_the_lock() {
        let mut hints = Revisions::new(10);
        hints.set(&stream("known-1"), 4);
        for parts in [
            [("known-1", Expected::Exact(3))],
            [("new-1", Expected::Any)],
            [("new-1", Expected::Exact(u64::MAX))],
        ] {
            assert!(optimistic([prepared(1, &parts)].iter(), &hints).is_none(), "{parts:?}");
        }
    }

    #[test]
    fn under_the_lock_retries_conflicts_and_writes_are_told_apart() {
        let place = |name: &str, revision, position| Place { stream: stream(name), revision, position };
        let stored = || Stored {
            head: 50,
            revisions: HashMap::from([(stream("a-1"), 3)]),
            events: HashMap::from([(Uuid::from_u128(1), place("a-1", 2, 40))]),
        };
        let appends = [
            prepared(1, &[("a-1", Expected::Exact(1))]),
            prepared(1, &[("a-1", Expected::Any)]),
            prepared(1, &[("b-1", Expected::Any)]),
            prepared(2, &[("a-1", Expected::Exact(2))]),
            prepared(3, &[("a-1", Expected::Exact(3))]),
            prepared(3, &[("a-1", Expected::Exact(3))]),
            prepared(4, &[("a-1", Expected::Any), ("b-1", Expected::Exact(0))]),
        ];
        let plan = under_lock(appends.iter(), stored());
        assert_eq!(plan.rows, 3);
        let results: Vec<_> = plan.outcomes.into_iter().map(|outcome| outcome.result(50)).collect();
        let earlier = Appended { first: 40, last: 40, revisions: vec![2] };
        assert_eq!(results[0].as_ref().unwrap(), &earlier);
        assert_eq!(results[1].as_ref().unwrap(), &earlier);
        assert!(
            matches!(&results[2], Err(AppendError::Conflict { actual: 0, .. })),
            "the id stands elsewhere"
        );
        assert!(matches!(&results[3], Err(AppendError::Conflict { expected: 2, actual: 3, .. })));
        let written = Appended { first: 51, last: 51, revisions: vec![4] };
        assert_eq!(results[4].as_ref().unwrap(), &written);
        assert_eq!(results[5].as_ref().unwrap(), &written, "a retry within the group");
        assert_eq!(results[6].as_ref().unwrap(), &Appended { first: 52, last: 53, revisions: vec![5, 1] });
    }
}
