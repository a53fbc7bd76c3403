//! Quantities by location, and what each event does to them.

use daybook_schemas::LocationId;
use daybook_schemas::inventory::{Allocation, Event};
use serde::{Deserialize, Serialize};

/// The quantities of one location in units. Below zero only through backorder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocationStock {
    pub location: LocationId,
    pub on_hand: i64,
    /// In holds on record.
    pub reserved: i64,
    pub damaged: i64,
    /// Expected deliveries.
    pub incoming: i64,
    /// Kept back.
    pub safety_stock: u32,
}

impl LocationStock {
    pub(super) const fn empty(location: LocationId) -> Self {
        Self { location, on_hand: 0, reserved: 0, damaged: 0, incoming: 0, safety_stock: 0 }
    }

    /// On hand − reserved − safety stock; may be below zero.
    #[must_use]
    pub const fn available(&self) -> i64 {
        self.on_hand.saturating_sub(self.reserved).saturating_sub(self.safety_stock as i64)
    }

    /// What can be reserved here without backorder.
    #[must_use]
    pub const fn sellable(&self) -> i64 {
        let available = self.available();
        if available > 0 { available } else { 0 }
    }

    /// What could be reserved here if nothing were held; below zero: goods sold that never were there.
    pub(super) const fn supply(&self) -> i64 {
        if self.on_hand < 0 {
            return self.on_hand;
        }
        let supply = self.on_hand.saturating_sub(self.safety_stock as i64);
        if supply > 0 { supply } else { 0 }
    }

    /// Units promised beyond the supply.
    pub(super) const fn backordered(&self) -> i64 {
        let excess = self.reserved.saturating_sub(self.supply());
        if excess > 0 { excess } else { 0 }
    }

    pub(super) const fn change(&mut self, delta: Delta) {
        self.on_hand = self.on_hand.saturating_add(delta.on_hand);
        self.reserved = self.reserved.saturating_add(delta.reserved);
        self.damaged = self.damaged.saturating_add(delta.damaged);
        self.incoming = self.incoming.saturating_add(delta.incoming);
        if let Some(safety_stock) = delta.safety_stock {
            self.safety_stock = safety_stock;
        }
    }
}

/// Sums over all locations in units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub on_hand: i64,
    pub reserved: i64,
    pub damaged: i64,
    pub incoming: i64,
    /// What can be reserved without backorder: the sum of what is available at each location, where above zero.
    pub available: i64,
}

/// The locations of a variant, in the order in which a reservation takes from them: `default` first, then by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Locations(Vec<LocationStock>);

impl Locations {
    fn search(&self, location: &LocationId) -> Result<usize, usize> {
        let rank = |id: &LocationId| id.as_str() != "default";
        self.0.binary_search_by(|stock| {
            rank(&stock.location).cmp(&rank(location)).then_with(|| stock.location.cmp(location))
        })
    }

    pub(super) fn get(&self, location: &LocationId) -> Option<&LocationStock> {
        self.search(location).ok().map(|at| &self.0[at])
    }

    pub(super) fn change(&mut self, location: &LocationId, delta: Delta) {
        let at = self.search(location).unwrap_or_else(|at| {
            self.0.insert(at, LocationStock::empty(location.clone()));
            at
        });
        self.0[at].change(delta);
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, LocationStock> {
        self.0.iter()
    }

    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }
}

/// What an event does to one location.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Delta {
    on_hand: i64,
    reserved: i64,
    damaged: i64,
    incoming: i64,
    safety_stock: Option<u32>,
}

/// Visits each location that the event changes. State and decisions both use it, so they can't disagree.
pub(super) fn deltas(event: &Event, visit: &mut impl FnMut(&LocationId, Delta)) {
    let zero = Delta::default();
    match event {
        Event::Received(e) => visit(
            &e.location,
            Delta { on_hand: e.quantity.as_i64(), incoming: -i64::from(e.from_incoming), ..zero },
        ),
        Event::Adjusted(e) => visit(&e.location, Delta { on_hand: e.delta, ..zero }),
        Event::Counted(e) => {
            visit(&e.location, Delta { on_hand: e.counted.saturating_sub(e.expected), ..zero });
        }
        Event::Transferred(e) => {
            visit(&e.from, Delta { on_hand: -e.quantity.as_i64(), ..zero });
            visit(&e.to, Delta { on_hand: e.quantity.as_i64(), ..zero });
        }
        Event::Sold(e) => visit(&e.location, Delta { on_hand: -e.quantity.as_i64(), ..zero }),
        Event::Returned(e) if e.damaged => {
            visit(&e.location, Delta { damaged: e.quantity.as_i64(), ..zero });
        }
        Event::Returned(e) => visit(&e.location, Delta { on_hand: e.quantity.as_i64(), ..zero }),
        Event::Damaged(e) => {
            let quantity = e.quantity.as_i64();
            visit(&e.location, Delta { on_hand: -quantity, damaged: quantity, ..zero });
        }
        Event::DeliveryExpected(e) => visit(&e.location, Delta { incoming: e.quantity.as_i64(), ..zero }),
        Event::PolicyChanged(e) => {
            if let Some(safety) = &e.safety_stock {
                visit(&safety.location, Delta { safety_stock: Some(safety.quantity), ..zero });
            }
        }
        Event::Reserved(e) => held(&e.allocations, 0, 1, visit),
        Event::Confirmed(e) => held(&e.allocations, -1, -1, visit),
        Event::Released(e) => held(&e.allocations, 0, -1, visit),
        Event::ReservationsExpired(e) => {
            for expired in &e.reservations {
                held(&expired.allocations, 0, -1, visit);
            }
        }
        Event::OutOfStock(_) | Event::BackInStock(_) | Event::LowStock(_) => {}
    }
}

fn held(allocations: &[Allocation], on_hand: i64, reserved: i64, visit: &mut impl FnMut(&LocationId, Delta)) {
    for allocation in allocations {
        let quantity = allocation.quantity.as_i64();
        let delta = Delta { on_hand: on_hand * quantity, reserved: reserved * quantity, ..Delta::default() };
        visit(&allocation.location, delta);
    }
}

/// What the expiry of a hold does to its locations.
pub(super) fn freed(allocations: &[Allocation], visit: &mut impl FnMut(&LocationId, Delta)) {
    held(allocations, 0, -1, visit);
}
