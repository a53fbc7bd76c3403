//! The group of appends that is being filled.
//!
//! On a log of this node's own every command has an append to itself, and the next is built on it while it is in flight.
//! On a shared log nothing may be built on what another writer can still push aside (ADR 0021), so commands that write to
//! the same stream *join*: their events make one append, which stands or falls as a whole.

use daybook_eventlog::{Append, Expected, StreamId};
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::task::{Task, Trace};
use super::undo::Before;
use crate::request::Reply;
use crate::sequential::Steps;

/// A group with more events or bytes takes no more joins: the log has limits for one append, and whoever waits for it waits
/// for all of it.
const MAX_JOINED_EVENTS: usize = 4_096;
const MAX_JOINED_BYTES: usize = 1 << 20;

/// An accepted command whose append is not durable yet.
pub(crate) struct Item {
    pub(crate) task: Box<Task>,
    /// Complete but for the position.
    pub(crate) reply: Reply,
    pub(crate) written: SmallVec<[StreamId; 2]>,
    /// What it wrote to and can be taken back.
    pub(crate) before: Vec<Before>,
    /// Its last event.
    pub(crate) trace: Trace,
    pub(crate) events: usize,
    /// How its append is written where the log takes one stream at a time.
    pub(crate) steps: Steps,
}

/// An accepted command in its group.
pub(crate) struct Grouped {
    pub(crate) item: Item,
    /// The number of its append in the group.
    pub(crate) append: usize,
    /// Whether others share its append.
    pub(crate) joined: bool,
}

/// What is to be answered once a group is durable.
#[derive(Default)]
pub(crate) struct Pending {
    /// In the order of the decisions.
    pub(crate) items: Vec<Grouped>,
    /// Commands that changed nothing, but looked at what the group writes.
    pub(crate) followers: Vec<(Box<Task>, Reply)>,
}

#[derive(Default)]
pub(crate) struct Group {
    appends: Vec<Append>,
    pending: Pending,
    events: usize,
    bytes: usize,
    /// Whether commands on one stream join. Then `parts` and `moved` are kept.
    joining: bool,
    /// Where the events for a stream are: the number of the append, and that of the stream in it.
    parts: HashMap<StreamId, (usize, usize), foldhash::fast::RandomState>,
    /// For each append the one that took it in, or itself.
    moved: Vec<usize>,
    /// A command that must have its append for itself is in the group.
    closed: bool,
}

impl Group {
    pub(crate) fn new(joining: bool) -> Self {
        Self { joining, ..Self::default() }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.appends.is_empty()
    }

    /// Whether commands on one stream share an append.
    pub(crate) const fn is_joining(&self) -> bool {
        self.joining
    }

    /// Commands in the group that wrote something.
    pub(crate) const fn len(&self) -> usize {
        self.pending.items.len()
    }

    /// Whether a command may write to a stream that the group writes to already.
    pub(crate) const fn takes_joins(&self) -> bool {
        self.joining && !self.closed && self.events < MAX_JOINED_EVENTS && self.bytes < MAX_JOINED_BYTES
    }

    /// The answer waits until the group is durable.
    pub(crate) fn follow(&mut self, task: Box<Task>, reply: Reply) {
        self.pending.followers.push((task, reply));
    }

    /// Takes in what a command writes. Where streams are written to already, it follows on what is there.
    pub(crate) fn push(&mut self, append: Append, item: Item) {
        let append = if self.joining {
            self.closed |= item.task.alone;
            self.events += item.events;
            let events = append.streams.iter().flat_map(|part| &part.events);
            self.bytes += events.map(|event| event.data.len() + event.metadata.len()).sum::<usize>();
            self.join(append)
        } else {
            self.appends.push(append);
            self.appends.len() - 1
        };
        self.pending.items.push(Grouped { item, append, joined: false });
    }

    fn join(&mut self, append: Append) -> usize {
        let mut homes: SmallVec<[usize; 4]> = append
            .streams
            .iter()
            .filter_map(|part| self.parts.get(&part.stream).map(|(append, _)| *append))
            .collect();
        homes.sort_unstable();
        homes.dedup();
        let Some((&home, others)) = homes.split_first() else {
            let home = self.appends.len();
            for (nth, part) in append.streams.iter().enumerate() {
                self.parts.insert(part.stream.clone(), (home, nth));
            }
            self.appends.push(append);
            self.moved.push(home);
            return home;
        };
        for &other in others {
            self.moved[other] = home;
            let premises = std::mem::take(&mut self.appends[other].premises);
            self.appends[home].premises.extend(premises);
            for part in std::mem::take(&mut self.appends[other].streams) {
                self.parts.insert(part.stream.clone(), (home, self.appends[home].streams.len()));
                self.appends[home].streams.push(part);
            }
        }
        self.appends[home].premises.extend(append.premises);
        let streams = &mut self.appends[home].streams;
        for part in append.streams {
            if let Some(&(_, nth)) = self.parts.get(&part.stream) {
                let before = &mut streams[nth];
                debug_assert_eq!(Some(part.expected), after(before.expected, before.events.len()));
                before.events.extend(part.events);
            } else {
                self.parts.insert(part.stream.clone(), (home, streams.len()));
                streams.push(part);
            }
        }
        home
    }

    /// What goes to the log, and what waits for it. The group is empty then.
    pub(crate) fn close(&mut self) -> (Vec<Append>, Pending) {
        let next = Self::new(self.joining);
        let mut group = std::mem::replace(self, next);
        if group.joining {
            group.number_again();
        }
        (group.appends, group.pending)
    }

    /// Leaves out the appends that others took in, and tells the commands that share one.
    fn number_again(&mut self) {
        let mut number = 0;
        let numbers: Vec<usize> = self
            .appends
            .iter()
            .map(|append| {
                let this = number;
                number += usize::from(!is_moved(append));
                this
            })
            .collect();
        let mut commands = vec![0_u32; number];
        for grouped in &mut self.pending.items {
            let mut home = grouped.append;
            while self.moved[home] != home {
                home = self.moved[home];
            }
            grouped.append = numbers[home];
            commands[grouped.append] += 1;
        }
        for grouped in &mut self.pending.items {
            grouped.joined = commands[grouped.append] > 1;
        }
        self.appends.retain(|append| !is_moved(append));
        for append in &mut self.appends {
            let Append { streams, premises } = append;
            premises.sort_unstable();
            premises.dedup();
            // What one of them looked at, a later one wrote to: the revision that is expected says the same.
            premises.retain(|premise| {
                self.parts
                    .get(&premise.stream)
                    .is_none_or(|(_, nth)| streams.get(*nth).is_none_or(|part| part.stream != premise.stream))
            });
        }
    }
}

/// Whether another append took this one in.
fn is_moved(append: &Append) -> bool {
    append.streams.is_empty()
}

/// The revision after so many events.
fn after(expected: Expected, events: usize) -> Option<Expected> {
    match expected {
        Expected::Exact(before) => Some(Expected::Exact(before + events as u64)),
        Expected::Any => None,
    }
}
