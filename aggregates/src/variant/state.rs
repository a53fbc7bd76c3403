//! What is known of a variant.

use std::collections::VecDeque;

use cqrs_es::event_sink::EventSink;
use daybook_schemas::variant::{
    AttributeSnapshot, Created, Event, Lifecycle, LockScope, Locked, Price, PriceChanged, PriceScheduled,
    ReferencesBound,
};
use daybook_schemas::{Label, ProductId, ScheduleId, Sku, Text, Timestamp, Token, ValueId, VariantId};
use serde::{Deserialize, Serialize};

use super::{Command, REMEMBERED_PRICES, Rejection};

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
    /// The price on record; see [`Variant::price_at`].
    pub price: Option<Price>,
    /// The last prices, the one that stands last.
    pub price_history: VecDeque<PricePoint>,
    /// Prices that wait for their time, in the order of it.
    pub schedules: Vec<Schedule>,
    /// When the price that stands ends, if it is temporary.
    pub temporary_until: Option<Timestamp>,
    pub lock: Option<Locked>,
    /// The master data that counts the variant as its user.
    pub references: ReferencesBound,
    /// Values that the master data has deprecated or archived.
    pub deprecated_values: Vec<ValueId>,
    pub created_at: Timestamp,
}

/// A price and when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PricePoint {
    pub price: Price,
    pub effective_from: Timestamp,
}

/// A price that waits for its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    pub schedule_id: ScheduleId,
    pub price: Price,
    pub effective_from: Timestamp,
    pub effective_to: Option<Timestamp>,
    pub reason: Text,
    /// Whether it is the price before a temporary one, coming back.
    pub restores: bool,
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

    /// The price that holds at a time: scheduled ones count from their time on, whether or not that is on record yet.
    /// `None`: no variant, no price, or earlier than the prices that are remembered.
    #[must_use]
    pub fn price_at(&self, at: Timestamp) -> Option<Price> {
        self.existing()?.price_at(at)
    }

    /// When the next scheduled price takes effect.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        Some(self.existing()?.schedules.first()?.effective_from)
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
        let first = event.price.map(|price| PricePoint { price, effective_from: event.created_at });
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
            price: event.price,
            price_history: first.into_iter().collect(),
            schedules: Vec::new(),
            temporary_until: None,
            lock: None,
            references: ReferencesBound::default(),
            deprecated_values: Vec::new(),
            created_at: event.created_at,
        }
    }

    fn price_changed(&mut self, event: PriceChanged) {
        self.price = Some(event.price);
        self.temporary_until = event.effective_to;
        self.price_history.push_back(PricePoint { price: event.price, effective_from: event.effective_from });
        if self.price_history.len() > REMEMBERED_PRICES {
            self.price_history.pop_front();
        }
        if let Some(id) = event.schedule_id {
            self.forget_schedule(&id);
        }
    }

    fn price_scheduled(&mut self, event: PriceScheduled) {
        // The return of the price before is scheduled right after the temporary price that it ends.
        let restores = self.temporary_until == Some(event.effective_from)
            && event.effective_to.is_none()
            && !self.schedules.iter().any(|other| other.restores);
        let at = self.schedules.partition_point(|other| other.effective_from <= event.effective_from);
        self.schedules.insert(
            at,
            Schedule {
                schedule_id: event.schedule_id,
                price: event.price,
                effective_from: event.effective_from,
                effective_to: event.effective_to,
                reason: event.reason,
                restores,
            },
        );
    }

    fn forget_schedule(&mut self, id: &ScheduleId) {
        self.schedules.retain(|schedule| schedule.schedule_id != *id);
    }

    fn entered(&mut self, lifecycle: Lifecycle) {
        self.lifecycle = lifecycle;
        if lifecycle == Lifecycle::Archived {
            self.schedules.clear();
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Created(event) => *self = Self::new(event),
            Event::PriceChanged(event) => self.price_changed(event),
            Event::PriceScheduled(event) => self.price_scheduled(event),
            Event::PriceScheduleCancelled(event) => self.forget_schedule(&event.schedule_id),
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
