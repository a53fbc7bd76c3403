//! What is known of a size.

use cqrs_es::event_sink::EventSink;
use daybook_schemas::size::{Changed, Conversions, Created, Event, Gender, Region};
use daybook_schemas::{Label, Token, ValueId};
use serde::{Deserialize, Serialize};

use super::{Command, Rejection};
use crate::master::Governed;
use crate::master::governed::apply_governed;

/// A size, or the place where one may be created.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    #[default]
    Absent,
    Existing(Box<Existing>),
}

/// A size that was created.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Existing {
    pub size_id: ValueId,
    pub category: Token,
    pub gender: Gender,
    pub region: Region,
    pub value: Label,
    pub display_name: Label,
    pub conversions: Conversions,
    pub rank: i32,
    pub governed: Governed,
}

impl Size {
    /// The size, if it was created.
    #[must_use]
    pub fn existing(&self) -> Option<&Existing> {
        match self {
            Self::Absent => None,
            Self::Existing(existing) => Some(existing),
        }
    }
}

impl Existing {
    fn new(event: Created) -> Self {
        Self {
            size_id: event.size_id,
            category: event.category,
            gender: event.gender,
            region: event.region,
            value: event.value,
            display_name: event.display_name,
            conversions: event.conversions,
            rank: event.rank,
            governed: Governed::default(),
        }
    }

    fn changed(&mut self, event: Changed) {
        if let Some(display_name) = event.display_name {
            self.display_name = display_name;
        }
        if let Some(conversions) = event.conversions {
            self.conversions = conversions;
        }
        self.rank = event.rank.unwrap_or(self.rank);
    }

    fn apply(&mut self, event: Event) {
        apply_governed!(self.governed, event, {
            Event::Created(event) => *self = Self::new(event),
            Event::Changed(event) => self.changed(event),
        });
    }
}

impl cqrs_es::Aggregate for Size {
    const TYPE: &'static str = Event::AGGREGATE;
    type Command = Command;
    type Event = Event;
    type Error = Rejection;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Rejection> {
        crate::execute(self, &command, sink).await
    }

    fn apply(&mut self, event: Event) {
        match (self, event) {
            (this @ Self::Absent, Event::Created(event)) => {
                *this = Self::Existing(Box::new(Existing::new(event)));
            }
            // A stream that does not begin with its creation is damaged; there is nothing that the event could change.
            (Self::Absent, _) => {}
            (Self::Existing(existing), event) => existing.apply(event),
        }
    }
}
