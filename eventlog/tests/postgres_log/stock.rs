//! An aggregate for stock `postgres-es`, over the events of the contract.

use std::collections::HashMap;

use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::PersistedEventStore;
use cqrs_es::{Aggregate, EventEnvelope, View};
use daybook_schemas::inventory::{Event, Received, Sold};
use daybook_schemas::{LocationId, Quantity};
use postgres_es::{PostgresCqrs, PostgresEventRepository, postgres_cqrs};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

/// Units on hand, from receipts and sales.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stock {
    pub(crate) on_hand: i64,
    pub(crate) events: u64,
}

pub(crate) enum Command {
    Receive(u64),
    Sell(u64),
    /// Several events at once, which postgres-es writes with as many statements.
    ReceiveEach(Vec<u64>),
}

#[derive(Debug, thiserror::Error)]
#[error("only {on_hand} on hand")]
pub(crate) struct TooFew {
    on_hand: i64,
}

pub(crate) fn received(quantity: u64) -> Event {
    Event::from(Received {
        location: LocationId::new("default").unwrap(),
        quantity: Quantity::new(quantity).unwrap(),
        from_incoming: 0,
        reference: None,
    })
}

pub(crate) fn sold(quantity: u64) -> Event {
    Event::from(Sold {
        location: LocationId::new("default").unwrap(),
        quantity: Quantity::new(quantity).unwrap(),
        reference: None,
    })
}

impl Aggregate for Stock {
    const TYPE: &'static str = "inventory";
    type Command = Command;
    type Event = Event;
    type Error = TooFew;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), TooFew> {
        match command {
            Command::Receive(quantity) => sink.write(received(quantity), self).await,
            Command::ReceiveEach(quantities) => {
                for quantity in quantities {
                    sink.write(received(quantity), self).await;
                }
            }
            Command::Sell(quantity) => {
                if self.on_hand < i64::try_from(quantity).unwrap() {
                    return Err(TooFew { on_hand: self.on_hand });
                }
                sink.write(sold(quantity), self).await;
            }
        }
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        self.events += 1;
        match event {
            Event::Received(received) => self.on_hand += received.quantity.as_i64(),
            Event::Sold(sold) => self.on_hand -= sold.quantity.as_i64(),
            other => panic!("no event of this test: {other:?}"),
        }
    }
}

impl View<Stock> for Stock {
    fn update(&mut self, event: &EventEnvelope<Stock>) {
        self.apply(event.payload.clone());
    }
}

pub(crate) fn cqrs(pool: PgPool) -> PostgresCqrs<Stock> {
    postgres_cqrs(pool, Vec::new(), ())
}

pub(crate) fn store(pool: PgPool) -> PersistedEventStore<PostgresEventRepository, Stock> {
    PersistedEventStore::new_event_store(PostgresEventRepository::new(pool))
}

pub(crate) fn metadata() -> HashMap<String, String> {
    HashMap::from([("actor".to_owned(), "stock".to_owned())])
}
