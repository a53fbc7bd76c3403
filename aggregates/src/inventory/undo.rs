//! Taking events back that never reached the log.
//!
//! On a log that several write to, a decision may meet another writer. Reading a hot stream again costs as much as it has holds; what
//! is noted here costs as much as the event touched.

use cqrs_es::Aggregate as _;
use daybook_schemas::inventory::Event;
use daybook_schemas::{CustomerId, ReservationId};

use super::holds::{FinishedBefore, Hold, Key};
use super::state::{Inventory, Policy, Signals};
use super::stock::Locations;

/// What an event changed, as it was before.
#[derive(Debug)]
pub struct Undo {
    locations: Locations,
    policy: Policy,
    signals: Signals,
    next: u64,
    holds: Vec<(ReservationId, Option<(Key, Hold)>)>,
    customers: Vec<(CustomerId, Option<Key>)>,
    finished: Option<FinishedBefore>,
}

/// What became of a hold when an event was taken back.
#[derive(Debug, Clone, PartialEq)]
pub enum Undone {
    /// The event had made it.
    Gone(Hold),
    /// The event had ended it.
    Back(Hold),
}

impl Inventory {
    /// Applies an event, and gives what takes it back.
    pub fn apply_undoable(&mut self, event: Event) -> Undo {
        let (ids, ends) = holds_of(&event);
        let mut customers: Vec<CustomerId> = Vec::new();
        if let Event::Reserved(e) = &event {
            customers.extend(e.customer_id.clone());
        }
        let holds: Vec<_> = ids
            .into_iter()
            .map(|id| {
                let before = self.holds.place(&id);
                customers.extend(before.as_ref().and_then(|(_, hold)| hold.customer_id.clone()));
                (id, before)
            })
            .collect();
        let undo = Undo {
            locations: self.locations.clone(),
            policy: self.policy,
            signals: self.signals,
            next: self.holds.next(),
            customers: customers
                .into_iter()
                .map(|customer| {
                    let before = self.holds.place_of_customer(&customer);
                    (customer, before)
                })
                .collect(),
            finished: ends.then(|| self.finished.before(holds.iter().map(|(id, _)| id))),
            holds,
        };
        self.apply(event);
        undo
    }

    /// Takes the event back that was applied last, of those not taken back yet. Gives the holds that come and go with it.
    pub fn undo(&mut self, undo: Undo) -> Vec<Undone> {
        let Undo { locations, policy, signals, next, holds, customers, finished } = undo;
        (self.locations, self.policy, self.signals) = (locations, policy, signals);
        if let Some(finished) = finished {
            self.finished.put_back(finished);
        }
        let mut undone = Vec::with_capacity(holds.len());
        for (id, before) in holds.into_iter().rev() {
            let back = before.as_ref().map(|(_, hold)| hold.clone());
            match (self.holds.put_back(&id, before), back) {
                (Some(made), None) => undone.push(Undone::Gone(made)),
                (None, Some(ended)) => undone.push(Undone::Back(ended)),
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
        for (customer, before) in customers {
            self.holds.put_back_customer(customer, before);
        }
        self.holds.set_next(next);
        undone
    }
}

/// The holds that an event makes, changes or ends, and whether it may end one.
fn holds_of(event: &Event) -> (Vec<ReservationId>, bool) {
    match event {
        Event::Reserved(e) => (vec![e.reservation_id.clone()], false),
        Event::Confirmed(e) => (vec![e.reservation_id.clone()], e.remaining == 0),
        Event::Released(e) => (vec![e.reservation_id.clone()], e.remaining == 0),
        Event::ReservationsExpired(e) => {
            (e.reservations.iter().map(|expired| expired.reservation_id.clone()).collect(), true)
        }
        Event::Received(_)
        | Event::Adjusted(_)
        | Event::Counted(_)
        | Event::Transferred(_)
        | Event::Sold(_)
        | Event::Returned(_)
        | Event::Damaged(_)
        | Event::DeliveryExpected(_)
        | Event::PolicyChanged(_)
        | Event::OutOfStock(_)
        | Event::BackInStock(_)
        | Event::LowStock(_) => (Vec::new(), false),
    }
}
