//! Steps of a course of prices, from the events of a variant and back.

use super::{Changed, PriceList, Schedule, Step};
use crate::variant::{
    Event, ListPriceChanged, ListPriceScheduled, PriceChanged, PriceScheduleCancelled, PriceScheduled,
};

impl From<&PriceChanged> for Changed {
    fn from(event: &PriceChanged) -> Self {
        Self {
            price: Some(event.price),
            previous: event.previous,
            effective_from: event.effective_from,
            effective_to: event.effective_to,
            reason: event.reason.clone(),
            schedule_id: event.schedule_id.clone(),
        }
    }
}

impl From<&PriceChanged> for Step {
    fn from(event: &PriceChanged) -> Self {
        Self::Changed(event.into())
    }
}

impl From<&ListPriceChanged> for Changed {
    fn from(event: &ListPriceChanged) -> Self {
        Self {
            price: event.price,
            previous: event.previous,
            effective_from: event.effective_from,
            effective_to: event.effective_to,
            reason: event.reason.clone(),
            schedule_id: event.schedule_id.clone(),
        }
    }
}

impl From<&ListPriceChanged> for Step {
    fn from(event: &ListPriceChanged) -> Self {
        Self::Changed(event.into())
    }
}

impl From<&PriceScheduled> for Schedule {
    fn from(event: &PriceScheduled) -> Self {
        Self {
            schedule_id: event.schedule_id.clone(),
            price: Some(event.price),
            effective_from: event.effective_from,
            effective_to: event.effective_to,
            reason: event.reason.clone(),
            restores: false,
        }
    }
}

impl From<&PriceScheduled> for Step {
    fn from(event: &PriceScheduled) -> Self {
        Self::Scheduled(event.into())
    }
}

impl From<&ListPriceScheduled> for Schedule {
    fn from(event: &ListPriceScheduled) -> Self {
        Self {
            schedule_id: event.schedule_id.clone(),
            price: event.price,
            effective_from: event.effective_from,
            effective_to: event.effective_to,
            reason: event.reason.clone(),
            restores: false,
        }
    }
}

impl From<&ListPriceScheduled> for Step {
    fn from(event: &ListPriceScheduled) -> Self {
        Self::Scheduled(event.into())
    }
}

impl From<&PriceScheduleCancelled> for Step {
    fn from(event: &PriceScheduleCancelled) -> Self {
        Self::Cancelled { schedule_id: event.schedule_id.clone(), reason: event.reason.clone() }
    }
}

impl Step {
    /// The event of a variant that says so, of a list or of the variant's own price.
    ///
    /// # Panics
    ///
    /// For an own price that ends: no course of one has such a step.
    #[must_use]
    pub fn into_event(self, list: Option<&PriceList>) -> Event {
        const OWN: &str = "a variant's own price never ends";
        match (self, list.cloned()) {
            (Self::Changed(step), None) => PriceChanged {
                price: step.price.expect(OWN),
                previous: step.previous,
                effective_from: step.effective_from,
                effective_to: step.effective_to,
                reason: step.reason,
                schedule_id: step.schedule_id,
            }
            .into(),
            (Self::Changed(step), Some(list)) => ListPriceChanged {
                list,
                price: step.price,
                previous: step.previous,
                effective_from: step.effective_from,
                effective_to: step.effective_to,
                reason: step.reason,
                schedule_id: step.schedule_id,
            }
            .into(),
            (Self::Scheduled(step), None) => PriceScheduled {
                schedule_id: step.schedule_id,
                price: step.price.expect(OWN),
                effective_from: step.effective_from,
                effective_to: step.effective_to,
                reason: step.reason,
            }
            .into(),
            (Self::Scheduled(step), Some(list)) => ListPriceScheduled {
                list,
                schedule_id: step.schedule_id,
                price: step.price,
                effective_from: step.effective_from,
                effective_to: step.effective_to,
                reason: step.reason,
            }
            .into(),
            (Self::Cancelled { schedule_id, reason }, _) => {
                PriceScheduleCancelled { schedule_id, reason }.into()
            }
        }
    }
}
