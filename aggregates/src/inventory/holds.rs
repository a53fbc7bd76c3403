//! The holds on record, ordered by deadline, and what became of those used up.

use std::collections::{BTreeMap, VecDeque};

use daybook_schemas::inventory::{Allocation, Reserved};
use daybook_schemas::{CustomerId, OrderId, Quantity, ReservationId, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::REMEMBERED_OUTCOMES;
use crate::parted::PartedMap;

type HashMap<K, V> = hashbrown::HashMap<K, V, foldhash::fast::RandomState>;

/// Goods held until a deadline. It counts while `expires_at` is later than now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    pub reservation_id: ReservationId,
    pub customer_id: Option<CustomerId>,
    pub order_id: Option<OrderId>,
    /// What is still held.
    pub quantity: Quantity,
    /// Where; they sum up to the quantity.
    pub allocations: Vec<Allocation>,
    pub expires_at: Timestamp,
}

impl Hold {
    /// Whether the deadline has passed.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.expires_at <= now
    }

    /// The first `quantity` units of the allocations; fewer if less is held.
    pub(super) fn take(&self, quantity: Quantity) -> Vec<Allocation> {
        let mut missing = quantity.get();
        let mut taken = Vec::with_capacity(self.allocations.len());
        for allocation in &self.allocations {
            let part = allocation.quantity.get().min(missing);
            missing -= part;
            if let Ok(quantity) = Quantity::new(u64::from(part)) {
                taken.push(Allocation { location: allocation.location.clone(), quantity });
            }
        }
        taken
    }
}

impl From<Reserved> for Hold {
    fn from(event: Reserved) -> Self {
        Self {
            reservation_id: event.reservation_id,
            customer_id: event.customer_id,
            order_id: event.order_id,
            quantity: event.quantity,
            allocations: event.allocations,
            expires_at: event.expires_at,
        }
    }
}

/// What became of a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Confirmed,
    Released,
    Expired,
}

/// Place in the order of deadlines; the second part keeps equal deadlines apart, in order of arrival.
pub(super) type Key = (Timestamp, u64);

/// The holds on record.
#[derive(Debug, Clone, Default)]
pub(super) struct Holds {
    by_deadline: BTreeMap<Key, Hold>,
    by_id: PartedMap<ReservationId, Key>,
    /// Each customer's own hold, without an order.
    by_customer: PartedMap<CustomerId, Key>,
    next: u64,
}

impl Holds {
    pub(super) fn get(&self, id: &ReservationId) -> Option<&Hold> {
        self.by_deadline.get(self.by_id.get(id)?)
    }

    /// The customer's own hold, on record last.
    pub(super) fn of_customer(&self, customer: &CustomerId) -> Option<&Hold> {
        self.by_deadline.get(self.by_customer.get(customer)?)
    }

    pub(super) fn insert(&mut self, hold: Hold) {
        let key = (hold.expires_at, self.next);
        self.next = self.next.wrapping_add(1);
        if let Some(replaced) = self.by_id.insert(hold.reservation_id.clone(), key) {
            self.forget(&replaced);
        }
        if let (Some(customer), None) = (&hold.customer_id, &hold.order_id) {
            self.by_customer.insert(customer.clone(), key);
        }
        self.by_deadline.insert(key, hold);
    }

    pub(super) fn remove(&mut self, id: &ReservationId) -> Option<Hold> {
        let key = self.by_id.remove(id)?;
        self.forget(&key)
    }

    /// Takes the hold at a place out of the other maps.
    fn forget(&mut self, key: &Key) -> Option<Hold> {
        let hold = self.by_deadline.remove(key)?;
        // The customer may have a newer hold, if this one was due and is put on record only now.
        if let Some(customer) = &hold.customer_id
            && self.by_customer.get(customer) == Some(key)
        {
            self.by_customer.remove(customer);
        }
        Some(hold)
    }

    /// Takes units off a hold; removes it once nothing is left.
    pub(super) fn reduce(&mut self, id: &ReservationId, taken: &[Allocation], remaining: u32) {
        let Ok(remaining) = Quantity::new(u64::from(remaining)) else {
            self.remove(id);
            return;
        };
        let Some(hold) = self.by_id.get(id).and_then(|key| self.by_deadline.get_mut(key)) else { return };
        hold.quantity = remaining;
        for part in taken {
            hold.allocations.retain_mut(|allocation| {
                if allocation.location != part.location {
                    return true;
                }
                let left = allocation.quantity.get().saturating_sub(part.quantity.get());
                Quantity::new(u64::from(left)).is_ok_and(|left| {
                    allocation.quantity = left;
                    true
                })
            });
        }
    }

    /// A hold and its place.
    pub(super) fn place(&self, id: &ReservationId) -> Option<(Key, Hold)> {
        let key = self.by_id.get(id)?;
        Some((*key, self.by_deadline.get(key)?.clone()))
    }

    pub(super) fn place_of_customer(&self, customer: &CustomerId) -> Option<Key> {
        self.by_customer.get(customer).copied()
    }

    /// The number that keeps the next hold apart.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// Has a hold be as it was, or not be. Gives the one that was there. The customers' own are put back by themselves.
    pub(super) fn put_back(&mut self, id: &ReservationId, before: Option<(Key, Hold)>) -> Option<Hold> {
        let was = self.by_id.remove(id).and_then(|key| self.by_deadline.remove(&key));
        if let Some((key, hold)) = before {
            self.by_id.insert(id.clone(), key);
            self.by_deadline.insert(key, hold);
        }
        was
    }

    pub(super) fn put_back_customer(&mut self, customer: CustomerId, before: Option<Key>) {
        match before {
            Some(key) => self.by_customer.insert(customer, key),
            None => self.by_customer.remove(&customer),
        };
    }

    pub(super) const fn set_next(&mut self, next: u64) {
        self.next = next;
    }

    /// In order of deadline.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Hold> {
        self.by_deadline.values()
    }

    /// Those whose deadline has passed, in order of deadline.
    pub(super) fn due(&self, now: Timestamp) -> std::collections::btree_map::Range<'_, Key, Hold> {
        self.by_deadline.range(..=(now, u64::MAX))
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.by_deadline.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    pub(super) fn len(&self) -> usize {
        self.by_deadline.len()
    }
}

impl PartialEq for Holds {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Serialize for Holds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Holds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut holds = Self::default();
        for hold in Vec::<Hold>::deserialize(deserializer)? {
            holds.insert(hold);
        }
        Ok(holds)
    }
}

/// The last used-up reservation ids with their outcome.
#[derive(Debug, Clone, Default)]
pub(super) struct Finished {
    order: VecDeque<ReservationId>,
    outcomes: HashMap<ReservationId, Outcome>,
}

/// The used-up ids as they were.
#[derive(Debug)]
pub(super) enum FinishedBefore {
    /// So many came at the one end, and these went at the other.
    Ends { added: usize, oldest: Vec<(ReservationId, Outcome)> },
    /// One of those that came had been there.
    Whole(Box<Finished>),
}

impl Finished {
    pub(super) fn outcome(&self, id: &ReservationId) -> Option<Outcome> {
        self.outcomes.get(id).copied()
    }

    pub(super) fn remember(&mut self, id: ReservationId, outcome: Outcome) {
        if self.outcomes.insert(id.clone(), outcome).is_some() {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > REMEMBERED_OUTCOMES
            && let Some(oldest) = self.order.pop_front()
        {
            self.outcomes.remove(&oldest);
        }
    }

    /// What it takes to be as now after these have been remembered, one after the other.
    pub(super) fn before<'a>(&self, ids: impl Iterator<Item = &'a ReservationId> + Clone) -> FinishedBefore {
        if ids.clone().any(|id| self.outcomes.contains_key(id)) {
            return FinishedBefore::Whole(Box::new(self.clone()));
        }
        let added = ids.count();
        let dropped = (self.order.len() + added).saturating_sub(REMEMBERED_OUTCOMES);
        let oldest = self.iter().take(dropped).map(|(id, outcome)| (id.clone(), outcome)).collect();
        FinishedBefore::Ends { added: added.min(REMEMBERED_OUTCOMES), oldest }
    }

    pub(super) fn put_back(&mut self, before: FinishedBefore) {
        match before {
            FinishedBefore::Whole(before) => *self = *before,
            FinishedBefore::Ends { added, oldest } => {
                for _ in 0..added {
                    if let Some(id) = self.order.pop_back() {
                        self.outcomes.remove(&id);
                    }
                }
                for (id, outcome) in oldest.into_iter().rev() {
                    self.outcomes.insert(id.clone(), outcome);
                    self.order.push_front(id);
                }
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    fn iter(&self) -> impl Iterator<Item = (&ReservationId, Outcome)> {
        self.order.iter().filter_map(|id| Some((id, self.outcome(id)?)))
    }
}

impl PartialEq for Finished {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Serialize for Finished {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Finished {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut finished = Self::default();
        for (id, outcome) in Vec::<(ReservationId, Outcome)>::deserialize(deserializer)? {
            finished.remember(id, outcome);
        }
        Ok(finished)
    }
}
