//! What is known of the stock of a variant.

use cqrs_es::event_sink::EventSink;
use daybook_schemas::inventory::Event;
use daybook_schemas::{CustomerId, LocationId, ReservationId, Timestamp};
use serde::{Deserialize, Serialize};

use super::holds::{Finished, Hold, Holds, Outcome};
use super::stock::{LocationStock, Locations, Totals, deltas};
use super::{Command, Rejection};

/// The stock of one variant over all locations.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    pub(super) locations: Locations,
    pub(super) policy: Policy,
    pub(super) holds: Holds,
    pub(super) finished: Finished,
    pub(super) signals: Signals,
}

/// When stock is low, and how far it may be oversold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Available units at or below which stock is low; 0: no signal.
    pub reorder_point: u32,
    pub reorder_quantity: Option<u32>,
    /// Units that may be reserved beyond what is available.
    pub backorder_limit: u32,
}

/// What was signalled last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signals {
    pub stock: Availability,
    pub low: bool,
}

/// Whether something can be had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Availability {
    /// Nothing could be had so far: what comes is new, not back.
    #[default]
    Never,
    In,
    /// What there was is gone, or what came first could not be had.
    Out,
}

impl Inventory {
    /// Sums over all locations. Holds whose deadline has passed still count until it is on record.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.locations.iter().fold(Totals::default(), |sum, stock| Totals {
            on_hand: sum.on_hand.saturating_add(stock.on_hand),
            reserved: sum.reserved.saturating_add(stock.reserved),
            damaged: sum.damaged.saturating_add(stock.damaged),
            incoming: sum.incoming.saturating_add(stock.incoming),
            available: sum.available.saturating_add(stock.sellable()),
        })
    }

    /// Units in holds that still count at `now`. Costs as many steps as holds are due.
    #[must_use]
    pub fn reserved_at(&self, now: Timestamp) -> i64 {
        let due: i64 = self.holds.due(now).map(|(_, hold)| hold.quantity.as_i64()).sum();
        self.totals().reserved.saturating_sub(due)
    }

    /// Each location, in the order in which a reservation takes from them.
    pub fn locations(&self) -> impl Iterator<Item = &LocationStock> {
        self.locations.iter()
    }

    /// One location.
    #[must_use]
    pub fn location(&self, location: &LocationId) -> Option<&LocationStock> {
        self.locations.get(location)
    }

    #[must_use]
    pub const fn policy(&self) -> Policy {
        self.policy
    }

    /// A hold on record; its deadline may have passed.
    #[must_use]
    pub fn hold(&self, id: &ReservationId) -> Option<&Hold> {
        self.holds.get(id)
    }

    /// The customer's own hold (without an order) that counts at `now`.
    #[must_use]
    pub fn active_hold_of(&self, customer: &CustomerId, now: Timestamp) -> Option<&Hold> {
        self.holds.of_customer(customer).filter(|hold| !hold.is_due(now))
    }

    /// All holds on record in order of deadline.
    pub fn holds(&self) -> impl Iterator<Item = &Hold> {
        self.holds.iter()
    }

    /// What became of a used-up reservation id, while it is remembered.
    #[must_use]
    pub fn outcome(&self, id: &ReservationId) -> Option<Outcome> {
        self.finished.outcome(id)
    }

    /// When the next hold runs out.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.holds.next_deadline()
    }

    pub(super) fn available(&self) -> i64 {
        self.locations.iter().fold(0_i64, |sum, stock| sum.saturating_add(stock.sellable()))
    }

    fn finish(&mut self, id: ReservationId, outcome: Outcome) {
        self.holds.remove(&id);
        self.finished.remember(id, outcome);
    }
}

impl cqrs_es::Aggregate for Inventory {
    const TYPE: &'static str = Event::AGGREGATE;
    type Command = Command;
    type Event = Event;
    type Error = Rejection;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Rejection> {
        crate::execute(self, &command, sink).await
    }

    fn apply(&mut self, event: Event) {
        deltas(&event, &mut |location, delta| self.locations.change(location, delta));
        let arrives = event.is_arrival();
        match event {
            Event::Received(_)
            | Event::Adjusted(_)
            | Event::Counted(_)
            | Event::Transferred(_)
            | Event::Sold(_)
            | Event::Returned(_)
            | Event::Damaged(_)
            | Event::DeliveryExpected(_) => {}
            Event::PolicyChanged(e) => {
                self.policy.reorder_point = e.reorder_point.unwrap_or(self.policy.reorder_point);
                self.policy.reorder_quantity = e.reorder_quantity.or(self.policy.reorder_quantity);
                self.policy.backorder_limit = e.backorder_limit.unwrap_or(self.policy.backorder_limit);
            }
            Event::Reserved(e) => self.holds.insert(e.into()),
            Event::Confirmed(e) if e.remaining == 0 => self.finish(e.reservation_id, Outcome::Confirmed),
            Event::Confirmed(e) => self.holds.reduce(&e.reservation_id, &e.allocations, e.remaining),
            Event::Released(e) if e.remaining == 0 => self.finish(e.reservation_id, Outcome::Released),
            Event::Released(e) => self.holds.reduce(&e.reservation_id, &e.allocations, e.remaining),
            Event::ReservationsExpired(e) => {
                for expired in e.reservations {
                    self.finish(expired.reservation_id, Outcome::Expired);
                }
            }
            Event::OutOfStock(_) => self.signals.stock = Availability::Out,
            Event::BackInStock(_) => self.signals.stock = Availability::In,
            Event::LowStock(_) => self.signals.low = true,
        }
        // The first units to be had are in stock by themselves; every later flip has an event. First goods of which none can be
        // had are out of stock: an event says so, but did not always.
        match self.signals.stock {
            Availability::Never if self.available() > 0 => self.signals.stock = Availability::In,
            Availability::Never if arrives => self.signals.stock = Availability::Out,
            Availability::Never | Availability::In | Availability::Out => {}
        }
        // The end of low stock has no event of its own: it shows from the quantities.
        if self.signals.low && self.available() > i64::from(self.policy.reorder_point) {
            self.signals.low = false;
        }
    }
}
