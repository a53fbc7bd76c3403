//! Reservations: to reserve, confirm and release.

use daybook_schemas::inventory::{Allocation, Confirmed, Released, Reserved};
use daybook_schemas::{LocationId, Quantity, ReservationId, Timestamp};

use super::decide::{Decision, insufficient};
use super::draft::Draft;
use super::holds::Hold;
use super::stock::LocationStock;
use super::{
    Command, Confirm, Inventory, MAX_ACTIVE_HOLDS, MAX_EXPIRED_PER_EVENT, MAX_TTL_SECONDS, Outcome,
    Rejection, Release, Reserve,
};

impl Inventory {
    pub(super) fn reserve(&self, reserve: &Reserve, command: &Command) -> Decision {
        if !(1..=MAX_TTL_SECONDS).contains(&reserve.ttl_seconds) {
            return Err(Rejection::TtlOutOfBounds);
        }
        if reserve.customer_id.is_none() && reserve.order_id.is_none() {
            return Err(Rejection::NobodyToHoldFor);
        }
        let reservation_id = id_for(reserve, command);
        if self.is_retry(reserve, &reservation_id, command)? {
            return Ok(Draft::new(self, command.now).finish());
        }
        if reserve.order_id.is_none() && reserve.customer_active_holds.is_some_and(|n| n >= MAX_ACTIVE_HOLDS)
        {
            return Err(Rejection::TooManyReservations);
        }
        self.refuse_if_hopeless(reserve)?;
        let mut draft = Draft::new(self, command.now);
        let allocations = self.allocate(reserve, &mut draft)?;
        draft.record(Reserved {
            reservation_id,
            customer_id: reserve.customer_id.clone(),
            order_id: reserve.order_id.clone(),
            quantity: reserve.quantity,
            allocations,
            expires_at: command.now.plus_secs(i64::from(reserve.ttl_seconds)),
        });
        Ok(draft.finish())
    }

    /// Whether the hold that is asked for stands already.
    fn is_retry(&self, reserve: &Reserve, id: &ReservationId, command: &Command) -> Result<bool, Rejection> {
        let now = command.now;
        if let Some(hold) = self.hold(id) {
            if hold.is_due(now) {
                return Err(Rejection::ReservationExpired(hold.reservation_id.clone()));
            }
            let same = hold.customer_id == reserve.customer_id
                && hold.order_id == reserve.order_id
                && hold.quantity == reserve.quantity;
            return if same {
                Ok(true)
            } else {
                Err(Rejection::ReservationConflict(hold.reservation_id.clone()))
            };
        }
        match self.finished.outcome(id) {
            Some(Outcome::Expired) => return Err(Rejection::ReservationExpired(id.clone())),
            Some(Outcome::Confirmed | Outcome::Released) => {
                return Err(Rejection::ReservationConflict(id.clone()));
            }
            None => {}
        }
        let (Some(customer), None) = (&reserve.customer_id, &reserve.order_id) else { return Ok(false) };
        let Some(own) = self.active_hold_of(customer, now) else { return Ok(false) };
        if reserve.reservation_id.is_none() && own.quantity == reserve.quantity {
            return Ok(true);
        }
        Err(Rejection::AlreadyReserved {
            customer: customer.clone(),
            reservation: command.roles.speak_for_the_shop().then(|| own.reservation_id.clone()),
        })
    }

    /// Refuses at once what could not be had even if nothing were held: the answer of a sold-out sale, without a look
    /// at the holds.
    fn refuse_if_hopeless(&self, reserve: &Reserve) -> Result<(), Rejection> {
        let supply = self
            .locations
            .iter()
            .filter(|stock| reserve.location.as_ref().is_none_or(|location| *location == stock.location))
            .fold(i64::from(self.policy.backorder_limit), |sum, stock| {
                sum.saturating_add(stock.supply().max(0))
            });
        if supply >= reserve.quantity.as_i64() {
            return Ok(());
        }
        let available = match &reserve.location {
            Some(location) => self.location(location).map_or(0, LocationStock::sellable),
            None => self.available(),
        };
        Err(insufficient(reserve.quantity.as_i64(), available, reserve.location.clone()))
    }

    /// Where the goods come from: `default` first, then by name; what is missing is backordered at the first of them.
    fn allocate(&self, reserve: &Reserve, draft: &mut Draft<'_>) -> Result<Vec<Allocation>, Rejection> {
        let asked = reserve.quantity.as_i64();
        let available = loop {
            let available = match &reserve.location {
                Some(location) => draft.stock(location).map_or(0, LocationStock::sellable),
                None => draft.available(),
            };
            if available >= asked || !draft.sweep(MAX_EXPIRED_PER_EVENT) {
                break available;
            }
        };
        let missing = (asked - available).max(0);
        let backordered = draft.locations().fold(0_i64, |sum, stock| sum.saturating_add(stock.backordered()));
        if missing > 0 && backordered.saturating_add(missing) > i64::from(self.policy.backorder_limit) {
            return Err(insufficient(asked, available, reserve.location.clone()));
        }
        let (first, in_stock) = match &reserve.location {
            Some(location) => (location.clone(), vec![(location.clone(), available.min(asked))]),
            None => spread(draft, asked),
        };
        if missing > 0 {
            self.room_for(&first, 0)?;
        }
        Ok(allocations(in_stock, &first, missing))
    }

    pub(super) fn confirm(&self, confirm: &Confirm, now: Timestamp) -> Decision {
        let Some(hold) = self.held(&confirm.reservation_id, now)? else {
            return match self.outcome(&confirm.reservation_id) {
                Some(Outcome::Confirmed) => Ok(Draft::new(self, now).finish()),
                outcome => Err(used_up(&confirm.reservation_id, outcome)),
            };
        };
        let (quantity, remaining) = part(hold, confirm.quantity)?;
        let mut draft = Draft::new(self, now);
        draft.record(Confirmed {
            reservation_id: hold.reservation_id.clone(),
            customer_id: hold.customer_id.clone(),
            order_id: hold.order_id.clone(),
            quantity,
            allocations: hold.take(quantity),
            remaining,
            expires_at: hold.expires_at,
        });
        Ok(draft.finish())
    }

    pub(super) fn release(&self, release: &Release, now: Timestamp) -> Decision {
        let Some(hold) = self.held(&release.reservation_id, now)? else {
            return match self.outcome(&release.reservation_id) {
                Some(Outcome::Released) => Ok(Draft::new(self, now).finish()),
                outcome => Err(used_up(&release.reservation_id, outcome)),
            };
        };
        let (quantity, remaining) = part(hold, release.quantity)?;
        let mut draft = Draft::new(self, now);
        draft.record(Released {
            reservation_id: hold.reservation_id.clone(),
            customer_id: hold.customer_id.clone(),
            order_id: hold.order_id.clone(),
            quantity,
            allocations: hold.take(quantity),
            remaining,
            expires_at: hold.expires_at,
        });
        Ok(draft.finish())
    }

    /// The hold, if it counts; `None` if it is not on record; refused if its deadline has passed.
    fn held(&self, id: &ReservationId, now: Timestamp) -> Result<Option<&Hold>, Rejection> {
        match self.hold(id) {
            Some(hold) if hold.is_due(now) => Err(Rejection::ReservationExpired(id.clone())),
            hold => Ok(hold),
        }
    }
}

fn id_for(reserve: &Reserve, command: &Command) -> ReservationId {
    match &reserve.reservation_id {
        Some(id) => id.clone(),
        None => ReservationId::new(command.fresh_id.as_str()).expect("tokens and ids have one alphabet"),
    }
}

const fn used_up_kind(outcome: Option<Outcome>) -> fn(ReservationId) -> Rejection {
    match outcome {
        Some(Outcome::Confirmed) => Rejection::ReservationConfirmed,
        Some(Outcome::Released) => Rejection::ReservationReleased,
        Some(Outcome::Expired) => Rejection::ReservationExpired,
        None => Rejection::NotFound,
    }
}

fn used_up(id: &ReservationId, outcome: Option<Outcome>) -> Rejection {
    used_up_kind(outcome)(id.clone())
}

/// The part of the hold that is asked for, and what remains of it.
fn part(hold: &Hold, asked: Option<Quantity>) -> Result<(Quantity, u32), Rejection> {
    let held = hold.quantity.get();
    let quantity = asked.unwrap_or(hold.quantity);
    match held.checked_sub(quantity.get()) {
        Some(remaining) => Ok((quantity, remaining)),
        None => Err(Rejection::HoldsLess {
            reservation: hold.reservation_id.clone(),
            held,
            asked: quantity.get(),
        }),
    }
}

/// Takes what is available from location after location. Also the first location, for what is missing.
fn spread(draft: &Draft<'_>, asked: i64) -> (LocationId, Vec<(LocationId, i64)>) {
    let mut left = asked;
    let mut taken = Vec::with_capacity(1);
    let mut first = None;
    for stock in draft.locations() {
        first.get_or_insert_with(|| stock.location.clone());
        let part = stock.sellable().min(left);
        if part > 0 {
            taken.push((stock.location.clone(), part));
            left -= part;
        }
        if left == 0 {
            break;
        }
    }
    (first.unwrap_or_default(), taken)
}

/// Adds what is missing at `first`, and leaves out what is nothing.
fn allocations(mut taken: Vec<(LocationId, i64)>, first: &LocationId, missing: i64) -> Vec<Allocation> {
    if missing > 0 {
        match taken.iter_mut().find(|(location, _)| location == first) {
            Some((_, units)) => *units += missing,
            None => taken.insert(0, (first.clone(), missing)),
        }
    }
    taken
        .into_iter()
        .filter_map(|(location, units)| {
            let quantity = Quantity::new(u64::try_from(units).ok()?).ok()?;
            Some(Allocation { location, quantity })
        })
        .collect()
}
