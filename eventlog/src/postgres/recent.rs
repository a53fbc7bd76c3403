//! The newest events of the log, as this process wrote or read them: a gateway has a dozen readers at the head (every projection,
//! the relay, what follows other writers), and without this each of them would ask the server for the same events.
//!
//! ```text
//!             after                     until          a gap: others wrote here, nobody has read it yet
//!  ───────────┤ e e e e e e e e e e e e e ├──────────┤ e e e ├──
//!   the server │            run            │         │ ahead │   written by this process
//! ```
//!
//! Invariants: positions are dense, so that a run holds every event between its ends; whatever comes in was committed before; what
//! this process writes beyond a gap is kept apart until somebody has read the gap. Where this process writes at a position at which another
//! event is held, the database was put back, and everything is forgotten.

use std::collections::VecDeque;

use parking_lot::RwLock;

use crate::event::RecordedEvent;
use crate::log::{Filter, Page, Position};

/// What an event takes beside its bytes.
const OVERHEAD: usize = 128;

/// A page looks at no more events than this, however few of them the filter selects.
const MAX_SCAN: usize = 8_192;

/// Every event after `after`, one position after the other.
#[derive(Default)]
struct Run {
    after: Position,
    events: VecDeque<RecordedEvent>,
    bytes: usize,
}

impl Run {
    fn at(after: Position) -> Self {
        Self { after, ..Self::default() }
    }

    fn until(&self) -> Position {
        self.after + self.events.len() as u64
    }

    fn push(&mut self, event: RecordedEvent) {
        debug_assert_eq!(event.position, self.until() + 1);
        self.bytes += cost(&event);
        self.events.push_back(event);
    }

    /// Takes what follows its end out of events that begin no later than that.
    fn extend(&mut self, events: impl IntoIterator<Item = RecordedEvent>) {
        for event in events {
            if event.position == self.until() + 1 {
                self.push(event);
            }
        }
    }

    fn holds(&self, event: &RecordedEvent) -> bool {
        let place = event.position.checked_sub(self.after + 1).and_then(|place| usize::try_from(place).ok());
        place.and_then(|place| self.events.get(place)).is_some_and(|held| held.event_id == event.event_id)
    }

    /// Lets the oldest event go.
    fn shorten(&mut self) {
        if let Some(oldest) = self.events.pop_front() {
            self.bytes -= cost(&oldest);
            self.after += 1;
        }
    }
}

fn cost(event: &RecordedEvent) -> usize {
    event.len_bytes() + OVERHEAD
}

#[derive(Default)]
struct State {
    run: Run,
    /// Written by this process, each beyond a gap.
    ahead: VecDeque<Run>,
}

impl State {
    /// Appends what no gap separates from the run any more.
    fn connect(&mut self) {
        while self.ahead.front().is_some_and(|next| next.after <= self.run.until()) {
            let next = self.ahead.pop_front().expect("just looked at");
            self.run.extend(next.events);
        }
    }

    fn shorten_to(&mut self, limit: usize) {
        let mut bytes = self.run.bytes + self.ahead.iter().map(|run| run.bytes).sum::<usize>();
        while bytes > limit {
            let before = self.run.bytes;
            self.run.shorten();
            bytes -= before - self.run.bytes;
            if self.run.events.is_empty() {
                // Nobody reads what is between: what was written last is worth more.
                let Some(next) = self.ahead.pop_front() else { return };
                self.run = next;
            }
        }
    }
}

pub(super) struct Recent {
    state: RwLock<State>,
    limit_bytes: usize,
    /// Held by the reader that asks the server for what comes next; the others wait, and then find it here.
    pub(super) turn: tokio::sync::Mutex<()>,
}

impl Recent {
    /// Nothing yet, with everything up to `head` in the past. Holds at most about so many bytes.
    pub(super) fn new(head: Position, limit_bytes: usize) -> Self {
        let state = RwLock::new(State { run: Run::at(head), ahead: VecDeque::new() });
        Self { state, limit_bytes, turn: tokio::sync::Mutex::new(()) }
    }

    /// Takes in what this process has committed right after position `before`.
    pub(super) fn wrote(&self, before: Position, events: impl IntoIterator<Item = RecordedEvent>) {
        let mut events = events.into_iter().peekable();
        let mut state = self.state.write();
        let newest = state.ahead.back().unwrap_or(&state.run);
        if before > newest.until() {
            state.ahead.push_back(Run::at(before));
        } else if before < newest.until() && !events.peek().is_some_and(|first| newest.holds(first)) {
            *state = State { run: Run::at(before), ahead: VecDeque::new() };
        }
        let State { run, ahead } = &mut *state;
        // A follower may have been told, and have read them, before this process took note of its own commit.
        ahead.back_mut().unwrap_or(run).extend(events);
        state.shorten_to(self.limit_bytes);
    }

    /// Takes in a page of everything after `after`, as the server gave it.
    pub(super) fn read(&self, after: Position, page: &Page) {
        let mut state = self.state.write();
        if page.scanned_to <= state.run.until() {
            return;
        }
        if after > state.run.until() {
            state.run = Run::at(after);
        }
        state.run.extend(page.events.iter().cloned());
        state.connect();
        state.shorten_to(self.limit_bytes);
    }

    /// Whether what follows `after` is newer than anything here: to be asked of the server, by one for all.
    pub(super) fn ends_before(&self, after: Position) -> bool {
        after >= self.state.read().run.until()
    }

    /// How many events there are from `after` to what is held beyond it.
    pub(super) fn gap(&self, after: Position) -> Option<u64> {
        self.state.read().ahead.front().and_then(|next| next.after.checked_sub(after)).filter(|gap| *gap > 0)
    }

    /// As [`crate::EventLog::read_all`], where the log is known to end at `head`; `None` if what follows `after` is not here.
    pub(super) fn page(
        &self,
        after: Position,
        filter: &Filter,
        limit: usize,
        limit_bytes: usize,
        head: Position,
    ) -> Option<Page> {
        let state = self.state.read();
        let run = &state.run;
        if after >= run.until() {
            return None;
        }
        let from = usize::try_from(after.checked_sub(run.after)?).ok()?;
        let (all, mut bytes) = (filter.is_all(), 0);
        let mut page = Page { events: Vec::new(), scanned_to: after, at_head: false };
        for event in run.events.range(from..).take(MAX_SCAN) {
            if all || filter.matches(event.stream(), event.event_type()) {
                let over = !page.events.is_empty() && bytes + event.len_bytes() > limit_bytes;
                if page.events.len() >= limit || over {
                    break;
                }
                bytes += event.len_bytes();
                page.events.push(event.clone());
            }
            page.scanned_to = event.position;
        }
        page.at_head = page.scanned_to >= head;
        Some(page)
    }

    /// What is here may not be what the server has: the connection was lost.
    pub(super) fn forget(&self) {
        let mut state = self.state.write();
        let until = state.run.until();
        *state = State { run: Run::at(until), ahead: VecDeque::new() };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::event::RecordedHeader;

    fn event(position: Position) -> RecordedEvent {
        event_of(0, position)
    }

    /// Of a log that was put back and written anew there are other events at the same positions.
    fn event_of(history: u128, position: Position) -> RecordedEvent {
        let header = RecordedHeader {
            position,
            revision: position,
            event_id: Uuid::from_u128((history << 64) | u128::from(position)),
            version: 1,
            recorded_at: 0,
        };
        let kind = if position.is_multiple_of(3) { "third" } else { "other" };
        RecordedEvent::from_parts(header, "s-1", kind, b"12345678", b"")
    }

    fn events(after: Position, until: Position) -> Vec<RecordedEvent> {
        (after + 1..=until).map(event).collect()
    }

    fn positions(page: &Page) -> Vec<Position> {
        page.events.iter().map(|event| event.position).collect()
    }

    fn everything(recent: &Recent, after: Position) -> Option<Vec<Position>> {
        recent.page(after, &Filter::default(), usize::MAX, usize::MAX, 0).map(|page| positions(&page))
    }

    #[test]
    fn what_is_written_is_read_until_it_is_too_old() {
        let recent = Recent::new(10, 20 * cost(&event(1)));
        assert_eq!(everything(&recent, 10), None);
        for before in (10..40).step_by(3) {
            recent.wrote(before, events(before, before + 3));
        }
        assert_eq!(everything(&recent, 19), None, "too old");
        assert_eq!(everything(&recent, 20), Some((21..=40).collect()));
        assert_eq!(everything(&recent, 40), None);
        assert!(recent.ends_before(40) && !recent.ends_before(39));
    }

    #[test]
    fn what_is_beyond_a_gap_is_handed_out_once_the_gap_was_read() {
        let recent = Recent::new(0, usize::MAX);
        recent.wrote(0, events(0, 5));
        recent.wrote(8, events(8, 10));
        recent.wrote(12, events(12, 13));
        assert_eq!(everything(&recent, 3), Some(vec![4, 5]));
        assert_eq!((recent.gap(5), everything(&recent, 5)), (Some(3), None));
        recent.read(5, &Page { events: events(5, 8), scanned_to: 8, at_head: false });
        assert_eq!(everything(&recent, 3), Some((4..=10).collect()));
        recent.read(2, &Page { events: events(2, 13), scanned_to: 13, at_head: true });
        assert_eq!((recent.gap(13), everything(&recent, 3)), (None, Some((4..=13).collect())));
    }

    #[test]
    fn a_database_that_was_put_back_leaves_nothing_here() {
        let recent = Recent::new(0, usize::MAX);
        recent.wrote(0, events(0, 9));
        recent.wrote(4, (5..=6).map(|position| event_of(1, position)));
        assert_eq!((everything(&recent, 3), everything(&recent, 4)), (None, Some(vec![5, 6])));
        recent.forget();
        assert_eq!(everything(&recent, 4), None);
    }

    #[test]
    fn what_a_follower_has_read_before_its_writer_took_note_of_it_is_there_once() {
        let recent = Recent::new(0, usize::MAX);
        recent.wrote(0, events(0, 5));
        recent.read(5, &Page { events: events(5, 8), scanned_to: 8, at_head: false });
        recent.wrote(5, events(5, 10));
        recent.read(10, &Page { events: events(10, 12), scanned_to: 12, at_head: true });
        recent.wrote(10, events(10, 12));
        assert_eq!(everything(&recent, 0), Some((1..=12).collect()));
    }

    #[test]
    fn a_page_keeps_its_limits_and_says_where_it_ends() {
        let recent = Recent::new(0, usize::MAX);
        recent.wrote(0, events(0, 10));
        let thirds = Filter { types: vec!["third".into()], ..Filter::default() };
        let page = |filter: &Filter, limit, bytes, head| {
            let page = recent.page(1, filter, limit, bytes, head).unwrap();
            (positions(&page), page.scanned_to, page.at_head)
        };
        assert_eq!(page(&thirds, 9, 1_000, 10), (vec![3, 6, 9], 10, true));
        assert_eq!(page(&thirds, 2, 1_000, 10), (vec![3, 6], 8, false));
        assert_eq!(page(&thirds, 9, 1_000, 11), (vec![3, 6, 9], 10, false));
        let size = event(1).len_bytes();
        assert_eq!(page(&Filter::default(), 9, 2 * size, 10), (vec![2, 3], 3, false));
        assert_eq!(page(&Filter::default(), 9, 1, 10), (vec![2], 2, false), "at least one");
    }

    #[derive(Debug, Clone)]
    enum Step {
        /// This process commits so many events.
        Write(u64),
        /// The same, and somebody reads them first.
        WriteReadFirst(u64),
        /// Others do.
        Others(u64),
        /// Somebody reads on from here, at most so many.
        Read(u64, usize),
        Forget,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1..9_u64).prop_map(Step::Write),
            2 => (1..9_u64).prop_map(Step::WriteReadFirst),
            2 => (1..9_u64).prop_map(Step::Others),
            4 => (0..30_u64, 1..20_usize).prop_map(|(back, limit)| Step::Read(back, limit)),
            1 => Just(Step::Forget),
        ]
    }

    proptest! {
        /// Whatever happened before: what is handed out is what the log has, without a hole, and no more is kept than is allowed.
        #[test]
        fn pages_are_what_the_log_has(steps in prop::collection::vec(step(), 1..60), room in 1..40_usize) {
            let recent = Recent::new(0, room * cost(&event(1)));
            let mut head = 0;
            for step in steps {
                match step {
                    Step::Write(count) => {
                        recent.wrote(head, events(head, head + count));
                        head += count;
                    }
                    Step::WriteReadFirst(count) => {
                        let until = head + count;
                        recent.read(head, &Page { events: events(head, until), scanned_to: until, at_head: true });
                        recent.wrote(head, events(head, until));
                        head = until;
                    }
                    Step::Others(count) => head += count,
                    Step::Read(back, limit) => {
                        let after = head.saturating_sub(back);
                        let until = head.min(after + limit as u64);
                        recent.read(after, &Page { events: events(after, until), scanned_to: until, at_head: until == head });
                    }
                    Step::Forget => recent.forget(),
                }
                let state = recent.state.read();
                prop_assert!(state.run.bytes + state.ahead.iter().map(|run| run.bytes).sum::<usize>() <= room * cost(&event(1)));
                drop(state);
                for after in 0..=head {
                    if let Some(found) = everything(&recent, after) {
                        let until = after + found.len() as u64;
                        prop_assert!(until <= head && until > after);
                        prop_assert_eq!(found, (after + 1..=until).collect::<Vec<_>>());
                    }
                }
            }
        }
    }
}
