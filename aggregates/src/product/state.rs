//! What is known of a product.

use cqrs_es::event_sink::EventSink;
use daybook_schemas::product::Event;
use daybook_schemas::rules::CombinationRules;
use serde::{Deserialize, Serialize};

use super::{Command, Rejection};

/// A product. One that nothing was said about has no rules.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Product {
    pub rules: CombinationRules,
    /// How many variants were generated from its options.
    pub generated: u64,
}

impl cqrs_es::Aggregate for Product {
    const TYPE: &'static str = Event::AGGREGATE;
    type Command = Command;
    type Event = Event;
    type Error = Rejection;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Rejection> {
        crate::execute(self, &command, sink).await
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::RulesSet(event) => self.rules = event.rules,
            Event::VariantsGenerated(event) => {
                self.generated = self.generated.saturating_add(event.variants.len() as u64);
            }
        }
    }
}
