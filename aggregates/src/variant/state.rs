//! What is known of a variant.

use cqrs_es::event_sink::EventSink;
use daybook_schemas::prices::{Prices, Step, Wanted};
use daybook_schemas::variant::{
    AttributeSnapshot, Created, Event, Lifecycle, LockScope, Locked, Price, ReferencesBound,
};
use daybook_schemas::{Label, ProductId, Sku, Text, Timestamp, Token, ValueId, VariantId};
use serde::{Deserialize, Serialize};

use super::{Command, ListPrices, Rejection};

/// A variant, or the place where one may be created.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    #[default]
    Absent,
    Existing(Box<Existing>),
}

/// A variant that was created.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Existing {
    pub variant_id: VariantId,
    pub product_id: ProductId,
    pub product_group: Label,
    pub sku: Sku,
    pub name: Label,
    pub brand: Label,
    pub category: Label,
    pub description: Option<Text>,
    /// Sorted by type, then value id.
    pub attributes: Vec<AttributeSnapshot>,
    pub config_hash: String,
    pub config_signature: String,
    /// Empty: everywhere.
    pub channels: Vec<Token>,
    /// Empty: everywhere.
    pub regions: Vec<Token>,
    pub lifecycle: Lifecycle,
    /// The variant's own price; see [`Variant::price_at`].
    #[serde(flatten)]
    pub prices: Prices,
    /// Prices of lists, in the order of the lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub price_lists: Vec<ListPrices>,
    pub lock: Option<Locked>,
    /// The master data that counts the variant as its user.
    pub references: ReferencesBound,
    /// Values that the master data has deprecated or archived.
    pub deprecated_values: Vec<ValueId>,
    pub created_at: Timestamp,
}

impl Variant {
    /// The variant, if it was created.
    #[must_use]
    pub fn existing(&self) -> Option<&Existing> {
        match self {
            Self::Absent => None,
            Self::Existing(existing) => Some(existing),
        }
    }

    /// The variant's own price that holds at a time: scheduled ones count from their time on, whether or not that is on record yet.
    /// `None`: no variant, no price, or earlier than the prices that are remembered.
    #[must_use]
    pub fn price_at(&self, at: Timestamp) -> Option<Price> {
        self.existing()?.price_at(at)
    }

    /// The price that a buyer gets at a time: of a list that fits, or the variant's own.
    #[must_use]
    pub fn price_for(&self, wanted: &Wanted, at: Timestamp) -> Option<Price> {
        self.existing()?.price_for(wanted, at)
    }

    /// When the next scheduled price takes effect.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.existing()?.next_price()
    }
}

impl Existing {
    /// The lock, if it covers the scope at `now`.
    #[must_use]
    pub fn lock_on(&self, scope: LockScope, now: Timestamp) -> Option<&Locked> {
        self.lock
            .as_ref()
            .filter(|lock| lock.scopes.contains(&scope) && lock.until.is_none_or(|until| until > now))
    }

    /// Whether customers may buy it: in a sellable state, with a price.
    #[must_use]
    pub fn is_sellable_at(&self, at: Timestamp) -> bool {
        self.lifecycle.is_sellable() && self.price_at(at).is_some()
    }

    fn new(event: Created) -> Self {
        Self {
            variant_id: event.variant_id,
            product_id: event.product_id,
            product_group: event.product_group,
            sku: event.sku,
            name: event.name,
            brand: event.brand,
            category: event.category,
            description: event.description,
            attributes: event.attributes,
            config_hash: event.config_hash,
            config_signature: event.config_signature,
            channels: event.channels,
            regions: event.regions,
            lifecycle: Lifecycle::Draft,
            prices: Prices::own(event.price, event.created_at),
            price_lists: Vec::new(),
            lock: None,
            references: ReferencesBound::default(),
            deprecated_values: Vec::new(),
            created_at: event.created_at,
        }
    }

    fn entered(&mut self, lifecycle: Lifecycle) {
        self.lifecycle = lifecycle;
        if lifecycle == Lifecycle::Archived {
            self.forget_all_schedules();
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Created(event) => *self = Self::new(event),
            Event::PriceChanged(event) => self.prices.apply(&Step::from(&event)),
            Event::PriceScheduled(event) => self.prices.apply(&Step::from(&event)),
            Event::ListPriceChanged(event) => self.course_mut(&event.list).apply(&Step::from(&event)),
            Event::ListPriceScheduled(event) => self.course_mut(&event.list).apply(&Step::from(&event)),
            Event::PriceScheduleCancelled(event) => self.forget_schedule(&Step::from(&event)),
            Event::DetailsChanged(event) => {
                let put = |field: &mut Label, new: Option<Label>| {
                    if let Some(new) = new {
                        *field = new;
                    }
                };
                put(&mut self.name, event.name);
                put(&mut self.brand, event.brand);
                put(&mut self.category, event.category);
                put(&mut self.product_group, event.product_group);
                self.description = event.description.or_else(|| self.description.take());
            }
            Event::SegmentationChanged(event) => {
                self.channels = event.channels;
                self.regions = event.regions;
            }
            Event::Locked(event) => self.lock = Some(event),
            Event::Unlocked(_) => self.lock = None,
            Event::Submitted(_) => self.entered(Lifecycle::PendingApproval),
            Event::Rejected(_) => self.entered(Lifecycle::Draft),
            Event::Activated(_) | Event::Reactivated(_) => self.entered(Lifecycle::Active),
            Event::Matured(_) => self.entered(Lifecycle::Mature),
            Event::Cleared(_) => self.entered(Lifecycle::Clearance),
            Event::Discontinued(_) => self.entered(Lifecycle::Discontinued),
            Event::Archived(_) => self.entered(Lifecycle::Archived),
            Event::ReferencesBound(event) => self.references = event,
            Event::AttributeRefreshed(event) => {
                for attribute in self.attributes.iter_mut().filter(|own| own.value_id == event.value_id) {
                    attribute.display = event.display.clone();
                    attribute.hex.clone_from(&event.hex);
                    attribute.rank = event.rank;
                }
                self.deprecated_values.retain(|value_id| *value_id != event.value_id);
                if event.deprecated {
                    self.deprecated_values.push(event.value_id);
                }
            }
        }
    }
}

impl cqrs_es::Aggregate for Variant {
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
                *this = Self::Existing(Box::new(Existing::new(event)))
            }
            // A stream that does not begin with its creation is damaged; there is nothing that the event could change.
            (Self::Absent, _) => {}
            (Self::Existing(existing), event) => existing.apply(event),
        }
    }
}
