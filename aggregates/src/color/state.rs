//! What is known of a colour.

use cqrs_es::event_sink::EventSink;
use daybook_schemas::color::{Changed, Created, Event, SlugChanged, Tone, VisualCategory};
use daybook_schemas::{Label, Slug, ValueId};
use serde::{Deserialize, Serialize};

use super::{Command, Rejection};
use crate::master::Governed;
use crate::master::governed::apply_governed;

/// A colour, or the place where one may be created.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Color {
    #[default]
    Absent,
    Existing(Box<Existing>),
}

/// A colour that was created.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Existing {
    pub color_id: ValueId,
    pub slug: Slug,
    /// Oldest first; they still lead here.
    pub previous_slugs: Vec<Slug>,
    pub name: Label,
    pub tone: Tone,
    pub visual_category: VisualCategory,
    pub family: Option<Label>,
    /// The one brand that may use it.
    pub brand: Option<Label>,
    pub governed: Governed,
}

impl Color {
    /// The colour, if it was created.
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
            color_id: event.color_id,
            slug: event.slug,
            previous_slugs: Vec::new(),
            name: event.name,
            tone: event.tone,
            visual_category: event.visual_category,
            family: event.family,
            brand: event.brand,
            governed: Governed::default(),
        }
    }

    fn changed(&mut self, event: Changed) {
        if let Some(name) = event.name {
            self.name = name;
        }
        if let Some(tone) = event.tone {
            self.tone = tone;
        }
        self.visual_category = event.visual_category.unwrap_or(self.visual_category);
        self.family = event.family.or_else(|| self.family.take());
    }

    fn slug_changed(&mut self, event: SlugChanged) {
        self.previous_slugs.retain(|slug| *slug != event.slug);
        self.previous_slugs.push(event.previous);
        self.slug = event.slug;
    }

    fn apply(&mut self, event: Event) {
        apply_governed!(self.governed, event, {
            Event::Created(event) => *self = Self::new(event),
            Event::Changed(event) => self.changed(event),
            Event::SlugChanged(event) => self.slug_changed(event),
            Event::ProtectionChanged(event) => self.brand = event.brand,
        });
    }
}

impl cqrs_es::Aggregate for Color {
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
