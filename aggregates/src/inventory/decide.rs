//! What stock answers to each command.

use daybook_schemas::inventory::{
    Adjusted, Allocation, Confirmed, Counted, Damaged, DeliveryExpected, Event, PolicyChanged, Received,
    Released, Reserved, Returned, SafetyStock as SafetyStockSet, Sold, Transferred,
};
use daybook_schemas::{LocationId, Quantity, ReservationId, Timestamp};

use super::draft::Draft;
use super::holds::Hold;
use super::stock::LocationStock;
use super::{
    Action, Adjust, Command, Confirm, Count, Damage, ExpectDelivery, Inventory, MAX_ACTIVE_HOLDS,
    MAX_LOCATIONS, MAX_TTL_SECONDS, MAX_UNITS, Outcome, Receive, Rejection, Release, Reserve, Return, Sell,
    SetPolicy, Transfer,
};
use crate::Decider;

type Decision = Result<Vec<Event>, Rejection>;

impl Decider for Inventory {
    type Action = Action;

    fn decide(&self, command: &Command) -> Decision {
        let draft = || Draft::new(self, command.now);
        match &command.action {
            Action::Receive(receive) => self.receive(receive, draft()),
            Action::Adjust(adjust) => self.adjust(adjust, draft()),
            Action::Transfer(transfer) => self.transfer(transfer, draft()),
            Action::Sell(sell) => self.sell(sell, draft()),
            Action::Return(back) => self.take_back(back, draft()),
            Action::Damage(damage) => self.damage(damage, draft()),
            Action::Count(count) => self.count(count, draft()),
            Action::ExpectDelivery(expect) => self.expect_delivery(expect, draft()),
            Action::SetPolicy(policy) => self.set_policy(policy, draft()),
            Action::Reserve(reserve) => self.reserve(reserve, command),
            Action::Confirm(confirm) => self.confirm(confirm, command.now),
            Action::Release(release) => self.release(release, command.now),
            Action::Expire(_) => Ok(draft().finish()),
        }
    }

    fn size_bytes(&self) -> usize {
        // A hold with its places in three maps: about 500 bytes with UUIDs for ids.
        size_of::<Self>() + self.locations.len() * 64 + self.holds.len() * 500 + self.finished.len() * 120
    }
}

impl Inventory {
    fn receive(&self, receive: &Receive, mut draft: Draft<'_>) -> Decision {
        let stock = self.room_for(&receive.location, receive.quantity.as_i64())?;
        let incoming = stock.map_or(0, |stock| stock.incoming);
        let from_incoming = u32::try_from(incoming).unwrap_or(if incoming > 0 { u32::MAX } else { 0 });
        draft.record(Received {
            location: receive.location.clone(),
            quantity: receive.quantity,
            from_incoming: from_incoming.min(receive.quantity.get()),
            reference: receive.reference.clone(),
        });
        Ok(draft.finish())
    }

    fn adjust(&self, adjust: &Adjust, mut draft: Draft<'_>) -> Decision {
        let bounds = -MAX_UNITS..=MAX_UNITS;
        if adjust.delta == 0 || !bounds.contains(&adjust.delta) {
            return Err(Rejection::DeltaOutOfBounds);
        }
        if adjust.delta > 0 {
            self.room_for(&adjust.location, adjust.delta)?;
        } else {
            free_of_holds(&mut draft, &adjust.location, -adjust.delta)?;
        }
        draft.record(Adjusted {
            location: adjust.location.clone(),
            delta: adjust.delta,
            reason: adjust.reason.clone(),
            reference: adjust.reference.clone(),
        });
        Ok(draft.finish())
    }

    fn transfer(&self, transfer: &Transfer, mut draft: Draft<'_>) -> Decision {
        if transfer.from == transfer.to {
            return Err(Rejection::SameLocation);
        }
        self.room_for(&transfer.to, transfer.quantity.as_i64())?;
        free_of_holds(&mut draft, &transfer.from, transfer.quantity.as_i64())?;
        draft.record(Transferred {
            from: transfer.from.clone(),
            to: transfer.to.clone(),
            quantity: transfer.quantity,
            reference: transfer.reference.clone(),
        });
        Ok(draft.finish())
    }

    #[allow(clippy::unused_self, reason = "one form for all commands")]
    fn sell(&self, sell: &Sell, mut draft: Draft<'_>) -> Decision {
        free_of_holds(&mut draft, &sell.location, sell.quantity.as_i64())?;
        draft.record(Sold {
            location: sell.location.clone(),
            quantity: sell.quantity,
            reference: sell.reference.clone(),
        });
        Ok(draft.finish())
    }

    fn take_back(&self, back: &Return, mut draft: Draft<'_>) -> Decision {
        self.room_for(&back.location, back.quantity.as_i64())?;
        draft.record(Returned {
            location: back.location.clone(),
            quantity: back.quantity,
            damaged: back.damaged,
            reference: back.reference.clone(),
        });
        Ok(draft.finish())
    }

    fn damage(&self, damage: &Damage, mut draft: Draft<'_>) -> Decision {
        self.room_for(&damage.location, damage.quantity.as_i64())?;
        free_of_holds(&mut draft, &damage.location, damage.quantity.as_i64())?;
        draft.record(Damaged {
            location: damage.location.clone(),
            quantity: damage.quantity,
            reason: damage.reason.clone(),
            reference: damage.reference.clone(),
        });
        Ok(draft.finish())
    }

    fn count(&self, count: &Count, mut draft: Draft<'_>) -> Decision {
        if !(0..=MAX_UNITS).contains(&count.counted) {
            return Err(Rejection::CountOutOfBounds);
        }
        let on_hand = self.room_for(&count.location, 0)?.map_or(0, |stock| stock.on_hand);
        if on_hand != count.expected {
            return Err(Rejection::CountMismatch { expected: count.expected, on_hand });
        }
        if count.counted < on_hand {
            free_of_holds(&mut draft, &count.location, on_hand - count.counted)?;
        }
        draft.record(Counted {
            location: count.location.clone(),
            expected: count.expected,
            counted: count.counted,
            reference: count.reference.clone(),
        });
        Ok(draft.finish())
    }

    fn expect_delivery(&self, expect: &ExpectDelivery, mut draft: Draft<'_>) -> Decision {
        self.room_for(&expect.location, expect.quantity.as_i64())?;
        draft.record(DeliveryExpected {
            location: expect.location.clone(),
            quantity: expect.quantity,
            reference: expect.reference.clone(),
        });
        Ok(draft.finish())
    }

    fn set_policy(&self, set: &SetPolicy, mut draft: Draft<'_>) -> Decision {
        let safety_stock = match &set.safety_stock {
            Some(safety) => {
                let present = self.room_for(&safety.location, 0)?.map_or(0, |stock| stock.safety_stock);
                (present != safety.quantity)
                    .then(|| SafetyStockSet { location: safety.location.clone(), quantity: safety.quantity })
            }
            None => None,
        };
        let changed = PolicyChanged {
            safety_stock,
            reorder_point: set.reorder_point.filter(|point| *point != self.policy.reorder_point),
            reorder_quantity: set.reorder_quantity.filter(|n| Some(*n) != self.policy.reorder_quantity),
            backorder_limit: set.backorder_limit.filter(|limit| *limit != self.policy.backorder_limit),
        };
        if changed != PolicyChanged::default() {
            draft.record(changed);
        }
        Ok(draft.finish())
    }

    fn reserve(&self, reserve: &Reserve, command: &Command) -> Decision {
        if !(1..=MAX_TTL_SECONDS).contains(&reserve.ttl_seconds) {
            return Err(Rejection::TtlOutOfBounds);
        }
        if reserve.customer_id.is_none() && reserve.order_id.is_none() {
            return Err(Rejection::NobodyToHoldFor);
        }
        if self.is_retry(reserve, command)? {
            return Ok(Draft::new(self, command.now).finish());
        }
        let reservation_id = id_for(reserve, command);
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
    fn is_retry(&self, reserve: &Reserve, command: &Command) -> Result<bool, Rejection> {
        let id = &id_for(reserve, command);
        if let Some(hold) = self.hold(id) {
            if hold.is_due(command.now) {
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
        let Some(own) = self.active_hold_of(customer, command.now) else { return Ok(false) };
        if reserve.reservation_id.is_none() && own.quantity == reserve.quantity {
            return Ok(true);
        }
        Err(Rejection::AlreadyReserved {
            customer: customer.clone(),
            reservation: own.reservation_id.clone(),
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
            if available >= asked || !draft.sweep(super::MAX_EXPIRED_PER_EVENT) {
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

    fn confirm(&self, confirm: &Confirm, now: Timestamp) -> Decision {
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

    fn release(&self, release: &Release, now: Timestamp) -> Decision {
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

    /// The location, if it has room for that many more units of any kind; `None` if it is new and may be added.
    fn room_for(&self, location: &LocationId, units: i64) -> Result<Option<&LocationStock>, Rejection> {
        let Some(stock) = self.locations.get(location) else {
            return if self.locations.len() < MAX_LOCATIONS {
                Ok(None)
            } else {
                Err(Rejection::TooManyLocations)
            };
        };
        let most = stock.on_hand.max(stock.damaged).max(stock.incoming);
        if most.saturating_add(units) > MAX_UNITS { Err(Rejection::TooManyUnits) } else { Ok(Some(stock)) }
    }
}

fn id_for(reserve: &Reserve, command: &Command) -> ReservationId {
    match &reserve.reservation_id {
        Some(id) => id.clone(),
        None => ReservationId::new(command.fresh_id.as_str()).expect("tokens and ids have one alphabet"),
    }
}

/// Refuses unless `units` can leave the location without touching what is held there.
fn free_of_holds(draft: &mut Draft<'_>, location: &LocationId, units: i64) -> Result<(), Rejection> {
    loop {
        let (on_hand, reserved) =
            draft.stock(location).map_or((0, 0), |stock| (stock.on_hand, stock.reserved));
        let free = on_hand.saturating_sub(reserved);
        if free >= units {
            return Ok(());
        }
        // More expiries help only if the goods are there at all.
        if on_hand < units || !draft.sweep(super::MAX_EXPIRED_PER_EVENT) {
            return Err(insufficient(units, free.max(0), Some(location.clone())));
        }
    }
}

const fn insufficient(asked: i64, available: i64, location: Option<LocationId>) -> Rejection {
    Rejection::InsufficientStock { asked, available, location }
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
