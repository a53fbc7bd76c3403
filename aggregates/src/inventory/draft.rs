//! The books as they will be after the events decided so far, kept as an overlay over the state.

use std::collections::btree_map;

use daybook_schemas::inventory::{
    BackInStock, Event, ExpiredReservation, LowStock, OutOfStock, ReservationsExpired,
};
use daybook_schemas::{LocationId, Timestamp};
use smallvec::SmallVec;

use super::holds::Hold;
use super::stock::{Delta, LocationStock, deltas, freed};
use super::{Availability, Inventory, MAX_EXPIRED_PER_COMMAND, MAX_EXPIRED_PER_EVENT, Policy, Signals};

/// Decisions in the making.
pub(super) struct Draft<'a> {
    state: &'a Inventory,
    due: btree_map::Range<'a, (Timestamp, u64), Hold>,
    /// Due holds that will be put on record, in order of deadline.
    expired: Vec<&'a Hold>,
    /// Locations that differ from the state.
    changed: SmallVec<[LocationStock; 2]>,
    policy: Policy,
    /// What counts as signalled; see [`Inventory`]'s `apply`.
    signals: Signals,
    events: Vec<Event>,
}

impl<'a> Draft<'a> {
    /// Starts with the holds that are due at `now` dropped, up to a bound; [`Self::sweep`] drops more.
    pub(super) fn new(state: &'a Inventory, now: Timestamp) -> Self {
        let mut draft = Self {
            state,
            due: state.holds.due(now),
            expired: Vec::new(),
            changed: SmallVec::new(),
            policy: state.policy,
            signals: state.signals,
            events: Vec::new(),
        };
        draft.sweep(MAX_EXPIRED_PER_COMMAND);
        draft
    }

    /// Drops up to `count` further due holds. False: there are no more.
    pub(super) fn sweep(&mut self, count: usize) -> bool {
        let before = self.expired.len();
        while self.expired.len() < before + count
            && let Some((_, hold)) = self.due.next()
        {
            self.expired.push(hold);
            freed(&hold.allocations, &mut |location, delta| {
                change(self.state, &mut self.changed, location, delta);
            });
        }
        let swept = self.expired.len() > before;
        if swept {
            self.notice_silent_flips();
        }
        swept
    }

    /// The quantities of one location after what was decided.
    pub(super) fn stock(&self, location: &LocationId) -> Option<&LocationStock> {
        self.changed
            .iter()
            .find(|stock| stock.location == *location)
            .or_else(|| self.state.locations.get(location))
    }

    /// All locations in the order in which a reservation takes from them. New ones are not among them.
    pub(super) fn locations(&self) -> impl Iterator<Item = &LocationStock> {
        self.state.locations.iter().map(|stock| {
            self.changed.iter().find(|changed| changed.location == stock.location).unwrap_or(stock)
        })
    }

    /// What can be reserved without backorder.
    pub(super) fn available(&self) -> i64 {
        let before = self.state.available();
        self.changed.iter().fold(before, |sum, changed| {
            let old = self.state.locations.get(&changed.location).map_or(0, LocationStock::sellable);
            sum.saturating_sub(old).saturating_add(changed.sellable())
        })
    }

    /// Adds an event.
    pub(super) fn record(&mut self, event: impl Into<Event>) {
        let event = event.into();
        deltas(&event, &mut |location, delta| change(self.state, &mut self.changed, location, delta));
        if let Event::PolicyChanged(policy) = &event {
            self.policy.reorder_point = policy.reorder_point.unwrap_or(self.policy.reorder_point);
            self.policy.reorder_quantity = policy.reorder_quantity.or(self.policy.reorder_quantity);
        }
        if self.events.is_empty() {
            self.events.reserve_exact(2);
        }
        self.events.push(event);
        self.notice_silent_flips();
    }

    /// What flips without an event of its own.
    fn notice_silent_flips(&mut self) {
        if self.signals.stock == Availability::Never && self.available() > 0 {
            self.signals.stock = Availability::In;
        }
        if self.signals.low && self.available() > i64::from(self.policy.reorder_point) {
            self.signals.low = false;
        }
    }

    /// What has run out, then what was decided, then the signals that flip.
    pub(super) fn finish(mut self) -> Vec<Event> {
        if self.expired.is_empty() && self.events.is_empty() {
            return self.events;
        }
        self.signal();
        if self.expired.is_empty() {
            return self.events;
        }
        let mut events =
            Vec::with_capacity(self.expired.len() / MAX_EXPIRED_PER_EVENT + 1 + self.events.len());
        for holds in self.expired.chunks(MAX_EXPIRED_PER_EVENT) {
            let reservations = holds.iter().map(|hold| expired(hold)).collect();
            events.push(ReservationsExpired { reservations }.into());
        }
        events.append(&mut self.events);
        events
    }

    fn signal(&mut self) {
        let available = self.available();
        match self.signals.stock {
            Availability::Out if available > 0 => self.events.push(BackInStock { available }.into()),
            Availability::In if available <= 0 => self.events.push(OutOfStock {}.into()),
            // Who only listens takes the first arrival for goods to be had.
            Availability::Never if self.events.iter().any(Event::is_arrival) => {
                self.events.push(OutOfStock {}.into())
            }
            Availability::Never | Availability::In | Availability::Out => {}
        }
        let Policy { reorder_point, reorder_quantity, .. } = self.policy;
        if !self.signals.low && reorder_point > 0 && available <= i64::from(reorder_point) {
            self.events.push(LowStock { available, reorder_point, reorder_quantity }.into());
        }
    }
}

fn change(
    state: &Inventory,
    changed: &mut SmallVec<[LocationStock; 2]>,
    location: &LocationId,
    delta: Delta,
) {
    if let Some(stock) = changed.iter_mut().find(|stock| stock.location == *location) {
        stock.change(delta);
        return;
    }
    let mut stock =
        state.locations.get(location).cloned().unwrap_or_else(|| LocationStock::empty(location.clone()));
    stock.change(delta);
    changed.push(stock);
}

fn expired(hold: &Hold) -> ExpiredReservation {
    ExpiredReservation {
        reservation_id: hold.reservation_id.clone(),
        customer_id: hold.customer_id.clone(),
        order_id: hold.order_id.clone(),
        quantity: hold.quantity,
        allocations: hold.allocations.clone(),
        expires_at: hold.expires_at,
    }
}
