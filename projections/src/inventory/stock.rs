//! What each event does to the stock of a location.

use daybook_schemas::inventory::{Allocation, Event};
use daybook_schemas::{LocationId, Timestamp};
use serde::{Deserialize, Serialize};

/// Deadlines are kept in steps of this many microseconds, rounded up.
const STEP_MICROS: i64 = 100_000;

/// The stock of one location in units. Numbers go below zero only through backorder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocationRow {
    pub location: LocationId,
    pub on_hand: i64,
    /// In holds on record, also those that have run out since.
    pub reserved: i64,
    pub damaged: i64,
    pub incoming: i64,
    pub safety_stock: u32,
    /// How much of `reserved` is held until when, in order of time.
    pub held: Vec<HeldUntil>,
}

/// Units held until a time: tenths of a second since 1970, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldUntil(pub i64, pub i64);

impl LocationRow {
    const fn empty(location: LocationId) -> Self {
        Self { location, on_hand: 0, reserved: 0, damaged: 0, incoming: 0, safety_stock: 0, held: Vec::new() }
    }

    /// Units in holds that have not run out at `now`.
    #[must_use]
    pub fn reserved_at(&self, now: Timestamp) -> i64 {
        let over = self.held.iter().take_while(|held| held.0.saturating_mul(STEP_MICROS) <= now.as_micros());
        over.fold(self.reserved, |reserved, held| reserved.saturating_sub(held.1))
    }

    fn hold(&mut self, expires_at: Timestamp, units: i64) {
        self.reserved = self.reserved.saturating_add(units);
        let micros = expires_at.as_micros();
        let step = micros.div_euclid(STEP_MICROS) + i64::from(micros.rem_euclid(STEP_MICROS) > 0);
        // New holds mostly run out last.
        let at = if self.held.last().is_some_and(|last| last.0 < step) {
            Err(self.held.len())
        } else {
            self.held.binary_search_by_key(&step, |held| held.0)
        };
        match at {
            Ok(at) => {
                self.held[at].1 = self.held[at].1.saturating_add(units);
                if self.held[at].1 == 0 {
                    self.held.remove(at);
                }
            }
            Err(at) => self.held.insert(at, HeldUntil(step, units)),
        }
    }
}

/// The row of a location, made if need be.
pub(super) fn location<'a>(locations: &'a mut Vec<LocationRow>, id: &LocationId) -> &'a mut LocationRow {
    let rank = |id: &LocationId| id.as_str() != "default";
    let found = locations
        .binary_search_by(|row| rank(&row.location).cmp(&rank(id)).then_with(|| row.location.cmp(id)));
    let at = found.unwrap_or_else(|at| {
        locations.insert(at, LocationRow::empty(id.clone()));
        at
    });
    &mut locations[at]
}

/// Applies an event's quantities. Whether it has any.
pub(super) fn move_goods(locations: &mut Vec<LocationRow>, event: &Event) -> bool {
    let mut on_hand = |id: &LocationId, delta: i64| {
        let row = location(locations, id);
        row.on_hand = row.on_hand.saturating_add(delta);
    };
    match event {
        Event::Received(e) => {
            let row = location(locations, &e.location);
            row.on_hand = row.on_hand.saturating_add(e.quantity.as_i64());
            row.incoming = row.incoming.saturating_sub(i64::from(e.from_incoming));
        }
        Event::Adjusted(e) => on_hand(&e.location, e.delta),
        Event::Counted(e) => on_hand(&e.location, e.counted.saturating_sub(e.expected)),
        Event::Transferred(e) => {
            on_hand(&e.from, -e.quantity.as_i64());
            on_hand(&e.to, e.quantity.as_i64());
        }
        Event::Sold(e) => on_hand(&e.location, -e.quantity.as_i64()),
        Event::Returned(e) if !e.damaged => on_hand(&e.location, e.quantity.as_i64()),
        Event::Returned(e) => {
            let row = location(locations, &e.location);
            row.damaged = row.damaged.saturating_add(e.quantity.as_i64());
        }
        Event::Damaged(e) => {
            on_hand(&e.location, -e.quantity.as_i64());
            let row = location(locations, &e.location);
            row.damaged = row.damaged.saturating_add(e.quantity.as_i64());
        }
        Event::DeliveryExpected(e) => {
            let row = location(locations, &e.location);
            row.incoming = row.incoming.saturating_add(e.quantity.as_i64());
        }
        Event::Reserved(e) => held(locations, &e.allocations, e.expires_at, 1),
        Event::Released(e) => held(locations, &e.allocations, e.expires_at, -1),
        Event::Confirmed(e) => {
            held(locations, &e.allocations, e.expires_at, -1);
            for allocation in &e.allocations {
                let row = location(locations, &allocation.location);
                row.on_hand = row.on_hand.saturating_sub(allocation.quantity.as_i64());
            }
        }
        Event::ReservationsExpired(e) => {
            for expired in &e.reservations {
                held(locations, &expired.allocations, expired.expires_at, -1);
            }
        }
        Event::PolicyChanged(_) | Event::OutOfStock(_) | Event::BackInStock(_) | Event::LowStock(_) => {
            return false;
        }
    }
    true
}

fn held(locations: &mut Vec<LocationRow>, allocations: &[Allocation], expires_at: Timestamp, sign: i64) {
    for allocation in allocations {
        location(locations, &allocation.location).hold(expires_at, sign * allocation.quantity.as_i64());
    }
}
