//! What stock answers to each command.

use daybook_schemas::inventory::{
    Adjusted, Counted, Damaged, DeliveryExpected, Event, PolicyChanged, Received, Returned,
    SafetyStock as SafetyStockSet, Sold, Transferred,
};
use daybook_schemas::{LocationId, Timestamp};

use super::draft::Draft;
use super::stock::LocationStock;
use super::{
    Action, Adjust, Command, Count, Damage, ExpectDelivery, Inventory, MAX_EXPIRED_PER_EVENT, MAX_LOCATIONS,
    MAX_UNITS, Receive, Rejection, Return, Sell, SetPolicy, Transfer,
};
use crate::Decider;

pub(super) type Decision = Result<Vec<Event>, Rejection>;

impl Decider for Inventory {
    type Action = Action;

    fn decide(&self, command: &Command) -> Decision {
        let now = command.now;
        match &command.action {
            Action::Receive(receive) => self.receive(receive, now),
            Action::Adjust(adjust) => self.adjust(adjust, now),
            Action::Transfer(transfer) => self.transfer(transfer, now),
            Action::Sell(sell) => self.sell(sell, now),
            Action::Return(back) => self.take_back(back, now),
            Action::Damage(damage) => self.damage(damage, now),
            Action::Count(count) => self.count(count, now),
            Action::ExpectDelivery(expect) => self.expect_delivery(expect, now),
            Action::SetPolicy(policy) => self.set_policy(policy, now),
            Action::Reserve(reserve) => self.reserve(reserve, command),
            Action::Confirm(confirm) => self.confirm(confirm, now),
            Action::Release(release) => self.release(release, now),
            Action::Expire(_) => Ok(Draft::new(self, now).finish()),
        }
    }

    fn size_bytes(&self) -> usize {
        // A hold with its places in three maps: about 500 bytes with UUIDs for ids.
        size_of::<Self>() + self.locations.len() * 64 + self.holds.len() * 500 + self.finished.len() * 120
    }
}

impl Inventory {
    fn receive(&self, receive: &Receive, now: Timestamp) -> Decision {
        let stock = self.room_for(&receive.location, receive.quantity.as_i64())?;
        let incoming = stock.map_or(0, |stock| stock.incoming);
        let from_incoming = u32::try_from(incoming).unwrap_or(if incoming > 0 { u32::MAX } else { 0 });
        let mut draft = Draft::new(self, now);
        draft.record(Received {
            location: receive.location.clone(),
            quantity: receive.quantity,
            from_incoming: from_incoming.min(receive.quantity.get()),
            reference: receive.reference.clone(),
        });
        Ok(draft.finish())
    }

    fn adjust(&self, adjust: &Adjust, now: Timestamp) -> Decision {
        let bounds = -MAX_UNITS..=MAX_UNITS;
        if adjust.delta == 0 || !bounds.contains(&adjust.delta) {
            return Err(Rejection::DeltaOutOfBounds);
        }
        let mut draft = if adjust.delta > 0 {
            self.room_for(&adjust.location, adjust.delta)?;
            Draft::new(self, now)
        } else {
            self.leaving(&adjust.location, -adjust.delta, now)?
        };
        draft.record(Adjusted {
            location: adjust.location.clone(),
            delta: adjust.delta,
            reason: adjust.reason.clone(),
            reference: adjust.reference.clone(),
        });
        Ok(draft.finish())
    }

    fn transfer(&self, transfer: &Transfer, now: Timestamp) -> Decision {
        if transfer.from == transfer.to {
            return Err(Rejection::SameLocation);
        }
        self.room_for(&transfer.to, transfer.quantity.as_i64())?;
        let mut draft = self.leaving(&transfer.from, transfer.quantity.as_i64(), now)?;
        draft.record(Transferred {
            from: transfer.from.clone(),
            to: transfer.to.clone(),
            quantity: transfer.quantity,
            reference: transfer.reference.clone(),
        });
        Ok(draft.finish())
    }

    fn sell(&self, sell: &Sell, now: Timestamp) -> Decision {
        let mut draft = self.leaving(&sell.location, sell.quantity.as_i64(), now)?;
        draft.record(Sold {
            location: sell.location.clone(),
            quantity: sell.quantity,
            reference: sell.reference.clone(),
        });
        Ok(draft.finish())
    }

    fn take_back(&self, back: &Return, now: Timestamp) -> Decision {
        self.room_for(&back.location, back.quantity.as_i64())?;
        let mut draft = Draft::new(self, now);
        draft.record(Returned {
            location: back.location.clone(),
            quantity: back.quantity,
            damaged: back.damaged,
            reference: back.reference.clone(),
        });
        Ok(draft.finish())
    }

    fn damage(&self, damage: &Damage, now: Timestamp) -> Decision {
        self.room_for(&damage.location, damage.quantity.as_i64())?;
        let mut draft = self.leaving(&damage.location, damage.quantity.as_i64(), now)?;
        draft.record(Damaged {
            location: damage.location.clone(),
            quantity: damage.quantity,
            reason: damage.reason.clone(),
            reference: damage.reference.clone(),
        });
        Ok(draft.finish())
    }

    fn count(&self, count: &Count, now: Timestamp) -> Decision {
        if !(0..=MAX_UNITS).contains(&count.counted) {
            return Err(Rejection::CountOutOfBounds);
        }
        let on_hand = self.room_for(&count.location, 0)?.map_or(0, |stock| stock.on_hand);
        if on_hand != count.expected {
            return Err(Rejection::CountMismatch { expected: count.expected, on_hand });
        }
        let mut draft = if count.counted < on_hand {
            self.leaving(&count.location, on_hand - count.counted, now)?
        } else {
            Draft::new(self, now)
        };
        draft.record(Counted {
            location: count.location.clone(),
            expected: count.expected,
            counted: count.counted,
            reference: count.reference.clone(),
        });
        Ok(draft.finish())
    }

    fn expect_delivery(&self, expect: &ExpectDelivery, now: Timestamp) -> Decision {
        self.room_for(&expect.location, expect.quantity.as_i64())?;
        let mut draft = Draft::new(self, now);
        draft.record(DeliveryExpected {
            location: expect.location.clone(),
            quantity: expect.quantity,
            reference: expect.reference.clone(),
        });
        Ok(draft.finish())
    }

    fn set_policy(&self, set: &SetPolicy, now: Timestamp) -> Decision {
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
        let mut draft = Draft::new(self, now);
        if changed != PolicyChanged::default() {
            draft.record(changed);
        }
        Ok(draft.finish())
    }

    /// A draft in which `units` can leave the location without touching what is held there.
    fn leaving(&self, location: &LocationId, units: i64, now: Timestamp) -> Result<Draft<'_>, Rejection> {
        let on_hand = self.locations.get(location).map_or(0, |stock| stock.on_hand);
        let refusal = |free: i64| insufficient(units, free.max(0), Some(location.clone()));
        // What is not there at all, no expiry frees: no look at the holds.
        if on_hand < units {
            let reserved = self.locations.get(location).map_or(0, |stock| stock.reserved);
            return Err(refusal(on_hand.saturating_sub(reserved)));
        }
        let mut draft = Draft::new(self, now);
        loop {
            let free = draft.stock(location).map_or(0, |stock| stock.on_hand.saturating_sub(stock.reserved));
            if free >= units {
                return Ok(draft);
            }
            if !draft.sweep(MAX_EXPIRED_PER_EVENT) {
                return Err(refusal(free));
            }
        }
    }

    /// The location, if it has room for that many more units of any kind; `None` if it is new and may be added.
    pub(super) fn room_for(
        &self,
        location: &LocationId,
        units: i64,
    ) -> Result<Option<&LocationStock>, Rejection> {
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

pub(super) const fn insufficient(asked: i64, available: i64, location: Option<LocationId>) -> Rejection {
    Rejection::InsufficientStock { asked, available, location }
}
