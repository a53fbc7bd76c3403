//! What is known of an attribute value.

use cqrs_es::event_sink::EventSink;
use daybook_schemas::attribute_value::{Changed, Created, Event};
use daybook_schemas::variant::HexColor;
use daybook_schemas::{Label, Token, ValueId};
use serde::{Deserialize, Serialize};

use super::{Command, Rejection};
use crate::master::Governed;
use crate::master::governed::apply_governed;

/// An attribute value, or the place where one may be created.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttributeValue {
    #[default]
    Absent,
    Existing(Box<Existing>),
}

/// An attribute value that was created.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Existing {
    pub attribute_value_id: ValueId,
    pub attribute_type_id: Token,
    /// The code of the type.
    pub kind: Token,
    pub value: Label,
    pub display_name: Label,
    pub hex: Option<HexColor>,
    pub rank: Option<i32>,
    /// Empty: everywhere.
    pub channels: Vec<Token>,
    /// Empty: everywhere.
    pub regions: Vec<Token>,
    /// The number of the definition that holds.
    pub definition: u32,
    pub governed: Governed,
}

impl AttributeValue {
    /// The attribute value, if it was created.
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
            attribute_value_id: event.attribute_value_id,
            attribute_type_id: event.attribute_type_id,
            kind: event.kind,
            value: event.value,
            display_name: event.display_name,
            hex: event.hex,
            rank: event.rank,
            channels: event.channels,
            regions: event.regions,
            definition: 1,
            governed: Governed::default(),
        }
    }

    fn changed(&mut self, event: Changed) {
        self.definition = event.definition;
        if let Some(display_name) = event.display_name {
            self.display_name = display_name;
        }
        self.hex = event.hex.or_else(|| self.hex.take());
        self.rank = event.rank.or(self.rank);
    }

    fn apply(&mut self, event: Event) {
        apply_governed!(self.governed, event, {
            Event::Created(event) => *self = Self::new(event),
            Event::Changed(event) => self.changed(event),
            Event::SegmentationChanged(event) => {
                self.channels = event.channels;
                self.regions = event.regions;
            }
        });
    }
}

impl cqrs_es::Aggregate for AttributeValue {
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
