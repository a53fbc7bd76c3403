//! Stock cqrs-es on stock postgres-es: its own framework, its own tables, a retry whenever another client was first.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::anyhow;
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, AggregateError, DomainEvent};
use postgres_es::{PostgresCqrs, postgres_cqrs};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::measure::{Dice, Reserve, Settings, measure};
use crate::{Contender, UNITS};

pub(crate) const NAME: &str = "stock cqrs-es with postgres-es";

/// The fields of Daybook's own event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Event {
    Reserved {
        reservation_id: String,
        customer_id: String,
        quantity: u32,
        location: String,
        expires_at: String,
    },
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        "inventory.reserved".into()
    }
    fn event_version(&self) -> String {
        "1".into()
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Item {
    reserved: i64,
}

#[derive(Debug, thiserror::Error)]
#[error("sold out")]
struct SoldOut;

impl Aggregate for Item {
    const TYPE: &'static str = "inventory";
    /// The customer.
    type Command = String;
    type Event = Event;
    type Error = SoldOut;
    type Services = ();

    async fn handle(&mut self, customer: String, (): &(), sink: &EventSink<Self>) -> Result<(), SoldOut> {
        if self.reserved >= UNITS {
            return Err(SoldOut);
        }
        let event = Event::Reserved {
            reservation_id: format!("r-{customer}"),
            customer_id: customer,
            quantity: 1,
            location: "default".to_owned(),
            expires_at: "2030-01-01T00:00:00.000000Z".to_owned(),
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        let Event::Reserved { quantity, .. } = event;
        self.reserved += i64::from(quantity);
    }
}

pub(crate) struct Stock {
    cqrs: Arc<PostgresCqrs<Item>>,
}

impl Stock {
    pub(crate) async fn connect(url: &str, clients: u32) -> anyhow::Result<Self> {
        let schema = format!("stock_{}", std::process::id());
        let options: PgConnectOptions = url.parse()?;
        let pool = PgPoolOptions::new()
            .max_connections(clients)
            .connect_with(options.options([("search_path", &schema)]))
            .await?;
        // As postgres-es documents it.
        sqlx::raw_sql(&format!(
            "CREATE SCHEMA {schema}; CREATE TABLE events (aggregate_type text NOT NULL, aggregate_id text NOT NULL,
             sequence bigint CHECK (sequence >= 0) NOT NULL, event_type text NOT NULL, event_version text NOT NULL,
             payload json NOT NULL, metadata json NOT NULL, PRIMARY KEY (aggregate_type, aggregate_id, sequence))"
        ))
        .execute(&pool)
        .await?;
        Ok(Self { cqrs: Arc::new(postgres_cqrs(pool, Vec::new(), ())) })
    }
}

struct Client {
    cqrs: Arc<PostgresCqrs<Item>>,
    prefix: String,
    items: u64,
    dice: Dice,
    number: u32,
    count: u64,
}

impl Reserve for Client {
    async fn reserve(&mut self) -> anyhow::Result<()> {
        let item = format!("{}-{}", self.prefix, self.dice.roll(self.items));
        self.count += 1;
        let customer = format!("c-{}-{}-{}", self.prefix, self.number, self.count);
        loop {
            match self.cqrs.execute(&item, customer.clone()).await {
                Ok(()) => return Ok(()),
                Err(AggregateError::AggregateConflict) => {}
                Err(error) => return Err(anyhow!("{error}")),
            }
        }
    }
}

impl Contender for Stock {
    fn name(&self) -> &'static str {
        NAME
    }

    fn round(
        &mut self,
        settings: Settings,
        items: u64,
        round: u64,
    ) -> Pin<Box<dyn Future<Output = anyhow::Result<f64>> + '_>> {
        // New streams each round: what a stream has grown to would slow the next round down.
        let prefix = format!("{items}-{round}");
        Box::pin(measure(settings.clients, settings, move |number| Client {
            cqrs: Arc::clone(&self.cqrs),
            prefix: prefix.clone(),
            items,
            dice: Dice::new(number),
            number,
            count: 0,
        }))
    }
}
