//! What is known of a category.

use std::collections::BTreeSet;

use cqrs_es::event_sink::EventSink;
use daybook_schemas::category::{Changed, Created, Event};
use daybook_schemas::rules::CombinationRules;
use daybook_schemas::{CategoryId, Label, Slug, Text, Token};
use serde::{Deserialize, Serialize};

use super::{Command, Rejection};
use crate::master::Governed;
use crate::master::governed::apply_governed;

/// A category, or the place where one may be created.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    #[default]
    Absent,
    Existing(Box<Existing>),
}

/// A category that was created.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Existing {
    pub category_id: CategoryId,
    /// The present slug.
    pub slug: Slug,
    /// Oldest first; they still lead here.
    pub previous_slugs: Vec<Slug>,
    pub name: Label,
    pub description: Option<Text>,
    /// None: a root.
    pub parent_id: Option<CategoryId>,
    /// The slugs from the root to here, joined by `/`.
    pub path: String,
    /// 0 for a root.
    pub depth: u8,
    pub attribute_schema: CombinationRules,
    /// Empty: everywhere.
    pub channels: Vec<Token>,
    /// Empty: everywhere.
    pub regions: Vec<Token>,
    /// Those that hang right below it.
    pub children: BTreeSet<CategoryId>,
    pub governed: Governed,
}

impl Category {
    /// The category, if it was created.
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
            category_id: event.category_id,
            slug: event.slug,
            previous_slugs: Vec::new(),
            name: event.name,
            description: event.description,
            parent_id: event.parent_id,
            path: event.path,
            depth: event.depth,
            attribute_schema: event.attribute_schema,
            channels: event.channels,
            regions: event.regions,
            children: BTreeSet::new(),
            governed: Governed::default(),
        }
    }

    fn changed(&mut self, event: Changed) {
        if let Some(name) = event.name {
            self.name = name;
        }
        self.description = event.description.or_else(|| self.description.take());
    }

    fn apply(&mut self, event: Event) {
        apply_governed!(self.governed, event, {
            Event::Created(event) => *self = Self::new(event),
            Event::Changed(event) => self.changed(event),
            Event::SchemaChanged(event) => self.attribute_schema = event.attribute_schema,
            Event::SegmentationChanged(event) => {
                self.channels = event.channels;
                self.regions = event.regions;
            }
            Event::SlugChanged(event) => {
                self.previous_slugs.retain(|slug| *slug != event.slug);
                self.previous_slugs.push(event.previous);
                self.slug = event.slug;
                self.path = event.path;
            }
            Event::Moved(event) => {
                self.parent_id = event.to_parent;
                self.path = event.path;
                self.depth = event.depth;
            }
            Event::PathChanged(event) => {
                self.path = event.path;
                self.depth = event.depth;
            }
            Event::ChildAdded(event) => {
                self.children.insert(event.child_id);
            }
            Event::ChildRemoved(event) => {
                self.children.remove(&event.child_id);
            }
        });
    }
}

impl cqrs_es::Aggregate for Category {
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
