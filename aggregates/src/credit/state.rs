//! What is known of a credit.

use cqrs_es::event_sink::EventSink;
use daybook_schemas::credit::{BadDebtAdjusted, Event, Issued};
use serde::{Deserialize, Serialize};

use super::{Command, Rejection};

/// A credit, or the place where one may be booked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credit {
    #[default]
    Absent,
    Issued(Box<Issued>),
    BadDebtAdjusted(Box<BadDebtAdjusted>),
}

impl cqrs_es::Aggregate for Credit {
    const TYPE: &'static str = Event::AGGREGATE;
    type Command = Command;
    type Event = Event;
    type Error = Rejection;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Rejection> {
        crate::execute(self, &command, sink).await
    }

    fn apply(&mut self, event: Event) {
        *self = match event {
            Event::Issued(event) => Self::Issued(Box::new(event)),
            Event::BadDebtAdjusted(event) => Self::BadDebtAdjusted(Box::new(event)),
        };
    }
}
