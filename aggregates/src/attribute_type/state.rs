//! What is known of an attribute type.

use cqrs_es::event_sink::EventSink;
use daybook_schemas::attribute_type::{AllowedValues, Changed, Created, DataType, Event};
use daybook_schemas::{Label, Text, Token};
use serde::{Deserialize, Serialize};

use super::{Command, Rejection};
use crate::master::Governed;
use crate::master::governed::apply_governed;

/// An attribute type, or the place where one may be created.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttributeType {
    #[default]
    Absent,
    Existing(Box<Existing>),
}

/// An attribute type that was created.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Existing {
    pub attribute_type_id: Token,
    pub code: Token,
    pub name: Label,
    pub data_type: DataType,
    pub allowed: AllowedValues,
    pub unit: Option<Label>,
    pub description: Option<Text>,
    /// Empty: everywhere.
    pub channels: Vec<Token>,
    /// Empty: everywhere.
    pub regions: Vec<Token>,
    /// The number of the definition that holds.
    pub definition: u32,
    pub governed: Governed,
}

impl AttributeType {
    /// The attribute type, if it was created.
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
            attribute_type_id: event.attribute_type_id,
            code: event.code,
            name: event.name,
            data_type: event.data_type,
            allowed: event.allowed,
            unit: event.unit,
            description: event.description,
            channels: event.channels,
            regions: event.regions,
            definition: 1,
            governed: Governed::default(),
        }
    }

    fn changed(&mut self, event: Changed) {
        self.definition = event.definition;
        if let Some(name) = event.name {
            self.name = name;
        }
        if let Some(allowed) = event.allowed {
            self.allowed = allowed;
        }
        self.unit = event.unit.or_else(|| self.unit.take());
        self.description = event.description.or_else(|| self.description.take());
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

impl cqrs_es::Aggregate for AttributeType {
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
