//! Deadlines and holds as the log tells them: what the decision thread must know before it takes the first command.
//!
//! A start reads the log (from a checkpoint on, if there is one) and folds the few types of events that matter.

use std::sync::LazyLock;

use daybook_eventlog::{EventLog, Filter, Position, StreamId};
use daybook_schemas::inventory::Event as InventoryEvent;
use daybook_schemas::variant::{Event as VariantEvent, ListPriceChanged, PriceChanged};
use daybook_schemas::{AnyEvent, OrderId, ReservationId, ScheduleId, Timestamp};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::error::StartError;
use crate::holds::{HoldIndex, HoldKey};
use crate::mark::Mark;
use crate::timers::Timers;

/// Events a page, and their bytes.
const PAGE_EVENTS: usize = 10_000;
const PAGE_BYTES: usize = 8 << 20;

type Map<V> = HashMap<StreamId, V, foldhash::fast::RandomState>;

/// The types that matter.
static FILTER: LazyLock<Filter> = LazyLock::new(|| Filter {
    types: [
        "inventory.reserved",
        "inventory.confirmed",
        "inventory.released",
        "inventory.reservations_expired",
        "variant.price_changed",
        "variant.price_scheduled",
        "variant.price_schedule_cancelled",
        "variant.list_price_changed",
        "variant.list_price_scheduled",
    ]
    .map(str::to_owned)
    .to_vec(),
    stream_prefixes: Vec::new(),
});

/// A hold that is on record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct OpenHold {
    pub(crate) reservation: ReservationId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) customer: Option<daybook_schemas::CustomerId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) order: Option<OrderId>,
    pub(crate) expires_at: Timestamp,
}

/// The open holds of a stream. They end in any order, and a hot stream has many.
pub(crate) type Holds = HashMap<ReservationId, OpenHold, foldhash::fast::RandomState>;

/// Open holds and waiting prices by stream, up to a position.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Book {
    pub(crate) position: Position,
    /// The last event that matters up to there.
    pub(crate) mark: Option<Mark>,
    pub(crate) holds: Map<Holds>,
    pub(crate) prices: Map<Vec<(ScheduleId, Timestamp)>>,
}

impl Book {
    /// Folds the log from where the book stands to its head. Gives the number of events looked at closely.
    pub(crate) async fn catch_up(&mut self, log: &dyn EventLog) -> Result<u64, StartError> {
        let mut folded = 0;
        loop {
            let page = log.read_all(self.position, &FILTER, PAGE_EVENTS, PAGE_BYTES).await?;
            for event in &page.events {
                let decoded = AnyEvent::decode(event.event_type(), event.version, event.data())
                    .map_err(|source| StartError::Decode { position: event.position, source })?;
                self.fold(event.stream(), &decoded);
                self.mark = Some(Mark { position: event.position, event_id: event.event_id });
                folded += 1;
            }
            self.position = page.scanned_to;
            if page.at_head {
                return Ok(folded);
            }
        }
    }

    /// Takes an event in. Position and mark are the caller's to move.
    pub(crate) fn fold(&mut self, stream: &str, event: &AnyEvent) {
        match event {
            AnyEvent::Inventory(event) => self.fold_inventory(stream, event),
            AnyEvent::Variant(event) => self.fold_variant(stream, event),
            _ => {}
        }
    }

    /// The first deadline of every stream that has one.
    pub(crate) fn deadlines(&self) -> Vec<(StreamId, Timestamp)> {
        let holds = self.holds.iter().filter_map(|(stream, holds)| {
            Some((stream.clone(), holds.values().map(|hold| hold.expires_at).min()?))
        });
        let prices = self.prices.iter().filter_map(|(stream, prices)| {
            Some((stream.clone(), prices.iter().map(|(_, from)| *from).min()?))
        });
        holds.chain(prices).collect()
    }

    fn fold_inventory(&mut self, stream: &str, event: &InventoryEvent) {
        match event {
            InventoryEvent::Reserved(e) => {
                let hold = OpenHold {
                    reservation: e.reservation_id.clone(),
                    customer: e.customer_id.clone(),
                    order: e.order_id.clone(),
                    expires_at: e.expires_at,
                };
                entry(&mut self.holds, stream).insert(hold.reservation.clone(), hold);
            }
            InventoryEvent::Confirmed(e) if e.remaining == 0 => self.close(stream, &e.reservation_id),
            InventoryEvent::Released(e) if e.remaining == 0 => self.close(stream, &e.reservation_id),
            InventoryEvent::ReservationsExpired(e) => {
                for expired in &e.reservations {
                    self.close(stream, &expired.reservation_id);
                }
            }
            _ => {}
        }
    }

    fn close(&mut self, stream: &str, reservation: &ReservationId) {
        if let Some(holds) = self.holds.get_mut(stream) {
            holds.remove(reservation);
            if holds.is_empty() {
                self.holds.remove(stream);
            }
        }
    }

    fn fold_variant(&mut self, stream: &str, event: &VariantEvent) {
        match event {
            VariantEvent::PriceScheduled(e) => {
                entry(&mut self.prices, stream).push((e.schedule_id.clone(), e.effective_from));
            }
            VariantEvent::ListPriceScheduled(e) => {
                entry(&mut self.prices, stream).push((e.schedule_id.clone(), e.effective_from));
            }
            VariantEvent::PriceScheduleCancelled(e) => self.unschedule(stream, &e.schedule_id),
            VariantEvent::PriceChanged(PriceChanged { schedule_id: Some(schedule), .. })
            | VariantEvent::ListPriceChanged(ListPriceChanged { schedule_id: Some(schedule), .. }) => {
                self.unschedule(stream, schedule);
            }
            _ => {}
        }
    }

    fn unschedule(&mut self, stream: &str, schedule: &ScheduleId) {
        if let Some(prices) = self.prices.get_mut(stream) {
            prices.retain(|(other, _)| other != schedule);
            if prices.is_empty() {
                self.prices.remove(stream);
            }
        }
    }

    /// What the decision thread keeps of it.
    pub(crate) fn index(&self, now: Timestamp) -> (HoldIndex, Timers) {
        let (mut index, mut timers) = (HoldIndex::default(), Timers::default());
        for (stream, deadline) in self.deadlines() {
            timers.arm(&stream, deadline);
        }
        for (stream, holds) in &self.holds {
            let of_customers = holds.values().filter_map(|hold| {
                let customer = hold.customer.clone()?;
                let key =
                    HoldKey { customer, reservation: hold.reservation.clone(), order: hold.order.clone() };
                Some((key, hold.expires_at))
            });
            index.seed(stream, of_customers.collect(), now);
        }
        (index, timers)
    }
}

fn entry<'m, T: Default>(map: &'m mut Map<T>, stream: &str) -> &'m mut T {
    map.entry(StreamId::new(stream).expect("the log only has streams with valid names")).or_default()
}
