//! Who holds stock, over all variants: the index behind "at most five active reservations a customer".
//!
//! It is kept by the decision thread from the events it decides, and rebuilt at the start. A hold counts until its
//! deadline. Holds for orders are counted by order, however many variants an order has.

use daybook_aggregates::inventory::Hold;
use daybook_aggregates::parted::PartedMap;
use daybook_eventlog::StreamId;
use daybook_schemas::inventory::{Event, ExpiredReservation};
use daybook_schemas::{CustomerId, OrderId, ReservationId, Timestamp};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use smallvec::SmallVec;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// What identifies a hold of a customer, within the stream of its variant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(crate) struct HoldKey {
    pub(crate) customer: CustomerId,
    pub(crate) reservation: ReservationId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) order: Option<OrderId>,
}

/// What an event does to the index. Holds of guests are not in it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum HoldChange {
    Add(HoldKey, Timestamp),
    Remove(HoldKey),
}

impl HoldChange {
    /// What the event changes.
    pub(crate) fn of(event: &Event, mut visit: impl FnMut(Self)) {
        let key = |customer: &Option<CustomerId>, reservation: &ReservationId, order: &Option<OrderId>| {
            customer.as_ref().map(|customer| HoldKey {
                customer: customer.clone(),
                reservation: reservation.clone(),
                order: order.clone(),
            })
        };
        match event {
            Event::Reserved(e) => {
                if let Some(key) = key(&e.customer_id, &e.reservation_id, &e.order_id) {
                    visit(Self::Add(key, e.expires_at));
                }
            }
            Event::Confirmed(e) if e.remaining == 0 => {
                key(&e.customer_id, &e.reservation_id, &e.order_id)
                    .into_iter()
                    .for_each(|key| visit(Self::Remove(key)));
            }
            Event::Released(e) if e.remaining == 0 => {
                key(&e.customer_id, &e.reservation_id, &e.order_id)
                    .into_iter()
                    .for_each(|key| visit(Self::Remove(key)));
            }
            Event::ReservationsExpired(e) => {
                for ExpiredReservation { customer_id, reservation_id, order_id, .. } in &e.reservations {
                    key(customer_id, reservation_id, order_id)
                        .into_iter()
                        .for_each(|key| visit(Self::Remove(key)));
                }
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
            | Event::Confirmed(_)
            | Event::Released(_)
            | Event::OutOfStock(_)
            | Event::BackInStock(_)
            | Event::LowStock(_) => {}
        }
    }
}

/// A customer's own hold.
#[derive(Debug, Clone)]
struct Own {
    stream: StreamId,
    reservation: ReservationId,
    expires_at: Timestamp,
}

/// The holds for one order of a customer.
#[derive(Debug, Clone)]
struct ForOrder {
    order: OrderId,
    /// Variants on which the order still holds stock.
    open: u32,
    expires_at: Timestamp,
}

#[derive(Debug, Clone, Default)]
struct Customer {
    own: SmallVec<[Own; 1]>,
    orders: SmallVec<[ForOrder; 1]>,
}

/// The holds of a stream that is not in memory, as they were known last. A hot stream has many, and they end in any order.
type Residue = Map<HoldKey, Timestamp>;

#[derive(Debug, Default)]
pub(crate) struct HoldIndex {
    customers: PartedMap<CustomerId, Customer>,
    /// What streams that are not in memory contribute, to be replaced by what they say once they are read.
    residue: Map<StreamId, Residue>,
    active: usize,
}

impl HoldIndex {
    /// Active holds of the customer's own at `now`.
    pub(crate) fn own(&self, customer: &CustomerId, now: Timestamp) -> u32 {
        let count = |c: &Customer| c.own.iter().filter(|hold| hold.expires_at > now).count();
        self.customers.get(customer).map_or(0, |c| u32::try_from(count(c)).unwrap_or(u32::MAX))
    }

    /// The customer's orders that hold stock at `now`, `except` left out.
    pub(crate) fn open_orders(&self, customer: &CustomerId, except: &OrderId, now: Timestamp) -> u32 {
        let open = |order: &&ForOrder| order.expires_at > now && order.order != *except;
        let count = |c: &Customer| c.orders.iter().filter(open).count();
        self.customers.get(customer).map_or(0, |c| u32::try_from(count(c)).unwrap_or(u32::MAX))
    }

    /// Takes a change of a stream in memory in. `now` is when it was decided.
    pub(crate) fn change(&mut self, stream: &StreamId, change: HoldChange, now: Timestamp) {
        match change {
            HoldChange::Add(key, expires_at) => self.add(stream, key, expires_at, now),
            HoldChange::Remove(key) => self.remove(stream, &key),
        }
    }

    fn add(&mut self, stream: &StreamId, key: HoldKey, expires_at: Timestamp, now: Timestamp) {
        let customer = self.customers.get_or_default(key.customer);
        // What ran out counts no more; its removal later finds nothing, which is fine.
        let before = customer.own.len() + customer.orders.len();
        customer.own.retain(|hold| hold.expires_at > now);
        customer.orders.retain(|order| order.expires_at > now);
        let gone = before - customer.own.len() - customer.orders.len();
        self.active = self.active + 1 - gone;
        match key.order {
            None => {
                customer.own.push(Own { stream: stream.clone(), reservation: key.reservation, expires_at })
            }
            Some(order) => match customer.orders.iter_mut().find(|open| open.order == order) {
                Some(open) => {
                    open.open += 1;
                    open.expires_at = open.expires_at.max(expires_at);
                    self.active -= 1;
                }
                None => customer.orders.push(ForOrder { order, open: 1, expires_at }),
            },
        }
    }

    fn remove(&mut self, stream: &StreamId, key: &HoldKey) {
        let Some(customer) = self.customers.get_mut(&key.customer) else { return };
        let before = customer.own.len() + customer.orders.len();
        match &key.order {
            None => customer.own.retain(|own| own.reservation != key.reservation || own.stream != *stream),
            Some(order) => {
                if let Some(at) = customer.orders.iter().position(|open| open.order == *order) {
                    customer.orders[at].open -= 1;
                    if customer.orders[at].open == 0 {
                        customer.orders.swap_remove(at);
                    }
                }
            }
        }
        self.active -= before - customer.own.len() - customer.orders.len();
        if customer.own.is_empty() && customer.orders.is_empty() {
            self.customers.remove(&key.customer);
        }
    }

    /// The stream leaves memory with these holds on record. They go on counting.
    pub(crate) fn leave<'h>(&mut self, stream: StreamId, holds: impl Iterator<Item = &'h Hold>) {
        let residue: Residue = holds.filter_map(|hold| Some((HoldKey::of(hold)?, hold.expires_at))).collect();
        if !residue.is_empty() {
            self.residue.insert(stream, residue);
        }
    }

    /// The stream was read and has these holds: they replace what was known of it.
    pub(crate) fn enter<'h>(
        &mut self,
        stream: &StreamId,
        holds: impl Iterator<Item = &'h Hold>,
        now: Timestamp,
    ) {
        for (key, _) in self.residue.remove(stream).unwrap_or_default() {
            self.remove(stream, &key);
        }
        for hold in holds.filter(|hold| !hold.is_due(now)) {
            if let Some(key) = HoldKey::of(hold) {
                self.add(stream, key, hold.expires_at, now);
            }
        }
    }

    /// What the log says happened to a stream that is not in memory, maybe for the second time.
    pub(crate) fn hear_of(&mut self, stream: &StreamId, change: HoldChange, now: Timestamp) {
        let known = self.residue.get_mut(stream);
        match change {
            HoldChange::Add(key, expires_at) => {
                let known = match known {
                    Some(known) => known,
                    None => self.residue.entry(stream.clone()).or_default(),
                };
                if let Entry::Vacant(place) = known.entry(key.clone()) {
                    place.insert(expires_at);
                    self.add(stream, key, expires_at, now);
                }
            }
            HoldChange::Remove(key) => {
                let Some(known) = known else { return };
                let found = known.remove(&key).is_some();
                if known.is_empty() {
                    self.residue.remove(stream);
                }
                if found {
                    self.remove(stream, &key);
                }
            }
        }
    }

    /// What a scan of the log found for a stream that is not in memory.
    pub(crate) fn seed(&mut self, stream: &StreamId, holds: Residue, now: Timestamp) {
        for (key, expires_at) in &holds {
            self.add(stream, key.clone(), *expires_at, now);
        }
        self.residue.insert(stream.clone(), holds);
    }

    /// Own holds and orders that are counted.
    pub(crate) const fn len(&self) -> usize {
        self.active
    }
}

impl HoldKey {
    /// `None` for a guest's: it is not counted.
    pub(crate) fn of(hold: &Hold) -> Option<Self> {
        Some(Self {
            customer: hold.customer_id.clone()?,
            reservation: hold.reservation_id.clone(),
            order: hold.order_id.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::EPOCH;

    fn key(reservation: &str, order: Option<&str>) -> HoldKey {
        HoldKey {
            customer: CustomerId::new("c").unwrap(),
            reservation: ReservationId::new(reservation).unwrap(),
            order: order.map(|order| OrderId::new(order).unwrap()),
        }
    }

    fn stream(name: &str) -> StreamId {
        StreamId::new(name).unwrap()
    }

    fn count(index: &HoldIndex, now: Timestamp) -> (u32, u32) {
        let customer = CustomerId::new("c").unwrap();
        (index.own(&customer, now), index.open_orders(&customer, &OrderId::new("none").unwrap(), now))
    }

    #[test]
    fn own_holds_count_one_by_one_and_orders_once() {
        let mut index = HoldIndex::default();
        let soon = NOW.plus_secs(60);
        for variant in ["inventory-1", "inventory-2"] {
            index.change(&stream(variant), HoldChange::Add(key("r", None), soon), NOW);
            index.change(&stream(variant), HoldChange::Add(key("o", Some("o")), soon), NOW);
        }
        assert_eq!(count(&index, NOW), (2, 1));
        assert_eq!(count(&index, soon), (0, 0), "a hold counts until its deadline");
        index.change(&stream("inventory-1"), HoldChange::Remove(key("o", Some("o"))), NOW);
        assert_eq!(count(&index, NOW), (2, 1), "the order still holds the other variant");
        index.change(&stream("inventory-2"), HoldChange::Remove(key("o", Some("o"))), NOW);
        index.change(&stream("inventory-2"), HoldChange::Remove(key("r", None)), NOW);
        assert_eq!(count(&index, NOW), (1, 0));
        assert_eq!(index.len(), 1);
    }

    #[test]
    fn what_is_heard_twice_counts_once() {
        let mut index = HoldIndex::default();
        let soon = NOW.plus_secs(60);
        let place = stream("inventory-1");
        for _ in 0..2 {
            index.hear_of(&place, HoldChange::Add(key("r", None), soon), NOW);
        }
        assert_eq!(count(&index, NOW), (1, 0));
        index.enter(&place, std::iter::empty(), NOW);
        assert_eq!(count(&index, NOW), (0, 0), "the stream itself knows better");
        index.hear_of(&place, HoldChange::Add(key("r", None), soon), NOW);
        for _ in 0..2 {
            index.hear_of(&place, HoldChange::Remove(key("r", None)), NOW);
        }
        assert_eq!(count(&index, NOW), (0, 0));
        assert!(index.residue.is_empty() && index.customers.is_empty());
    }

    #[test]
    fn a_stream_that_is_read_again_replaces_what_was_known_of_it() {
        let mut index = HoldIndex::default();
        let soon = NOW.plus_secs(60);
        index.seed(
            &stream("inventory-1"),
            [(key("a", None), soon), (key("b", None), soon)].into_iter().collect(),
            NOW,
        );
        assert_eq!(count(&index, NOW), (2, 0));
        index.enter(&stream("inventory-1"), std::iter::empty(), NOW);
        assert_eq!(count(&index, NOW), (0, 0));
        assert!(index.customers.is_empty());
    }
}
