//! A sequence (`sequence-{name}`): numbers that never repeat.
//!
//! Invariant, after every event: all numbers up to `last` are used, none is given out twice.

use std::convert::Infallible;

use cqrs_es::event_sink::EventSink;
use daybook_schemas::Token;
use daybook_schemas::sequence::Advanced;
pub use daybook_schemas::sequence::Event;
use serde::{Deserialize, Serialize};

use crate::{Decider, Kind, Reject};

/// A command to a sequence.
pub type Command = crate::Command<Action>;

/// What can be asked of a sequence. Sequences have no routes: other commands draw from them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Uses the next number: [`Sequence::next`].
    Next { name: Token },
}

/// The numbers used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    pub last: u64,
}

impl Sequence {
    /// The number that [`Action::Next`] uses: 1 for the first.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.last.saturating_add(1)
    }
}

/// A sequence refuses nothing.
impl Reject for Infallible {
    fn code(&self) -> &'static str {
        match *self {}
    }

    fn kind(&self) -> Kind {
        match *self {}
    }
}

impl Decider for Sequence {
    type Action = Action;

    fn decide(&self, command: &Command) -> Result<Vec<Event>, Infallible> {
        let Action::Next { name } = &command.action;
        Ok(vec![Advanced { name: name.clone(), last: self.next() }.into()])
    }

    fn size_bytes(&self) -> usize {
        size_of::<Self>()
    }
}

impl cqrs_es::Aggregate for Sequence {
    const TYPE: &'static str = Event::AGGREGATE;
    type Command = Command;
    type Event = Event;
    type Error = Infallible;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Infallible> {
        crate::execute(self, &command, sink).await
    }

    fn apply(&mut self, event: Event) {
        let Event::Advanced(event) = event;
        self.last = event.last;
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::Aggregate;
    use daybook_schemas::Timestamp;

    use super::*;
    use crate::Roles;

    #[test]
    fn numbers_never_repeat() {
        let name = Token::new("sku").unwrap();
        let command = Command {
            now: Timestamp::EPOCH,
            fresh_id: name.clone(),
            roles: Roles::ALL,
            action: Action::Next { name: name.clone() },
        };
        let mut sequence = Sequence::default();
        for expected in 1..=3 {
            assert_eq!(sequence.next(), expected);
            let events = sequence.decide(&command).unwrap();
            assert_eq!(events, [Advanced { name: name.clone(), last: expected }.into()]);
            events.into_iter().for_each(|event| sequence.apply(event));
        }
    }
}
