//! Daybook's engine in this process, over its event log in PostgreSQL: what stock cqrs-es with postgres-es is compared with like for like,
//! a call instead of a request. Several engines share one log as gateways do.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use daybook_aggregates::Roles;
use daybook_commands::{Dispatcher, Options, Principal, Request, SystemClock};
use daybook_eventlog::EventLog;
use daybook_eventlog::postgres::{PostgresLog, PostgresOptions};
use daybook_schemas::Label;

use crate::measure::{Dice, Reserve, Settings, measure};
use crate::{Contender, ITEMS, UNITS};

pub(crate) struct Engines {
    name: &'static str,
    dispatchers: Vec<Dispatcher>,
    principal: Principal,
}

impl Engines {
    /// So many on one log, in a schema of their own.
    pub(crate) async fn connect(url: &str, name: &'static str, count: usize) -> anyhow::Result<Self> {
        let mut dispatchers = Vec::new();
        for _ in 0..count {
            let mut options = PostgresOptions::new(url);
            options.schema = format!("engines_{count}_{}", std::process::id());
            let log: Arc<dyn EventLog> = Arc::new(PostgresLog::connect(options).await?);
            let options = Options { shared_log: true, cache_bytes: 1 << 30, ..Options::default() };
            dispatchers.push(Dispatcher::start(log, options, Arc::new(SystemClock)).await?);
        }
        let principal = Principal { name: Label::new("bench")?, roles: Roles::ALL };
        let engines = Self { name, dispatchers, principal };
        engines.stock_up().await?;
        Ok(engines)
    }

    /// Every engine receives goods of every item, so that all of them have all states in memory, as after a while in service.
    async fn stock_up(&self) -> anyhow::Result<()> {
        for dispatcher in &self.dispatchers {
            let received = (0..ITEMS).map(|item| {
                let body = format!(r#"{{"quantity":{UNITS}}}"#);
                let principal = self.principal.clone();
                dispatcher.dispatch(Request::new("inventory", format!("v{item}"), "receive", body, principal))
            });
            futures::future::try_join_all(received).await?;
        }
        Ok(())
    }
}

struct Client {
    dispatcher: Dispatcher,
    principal: Principal,
    items: u64,
    dice: Dice,
    prefix: String,
    count: u64,
}

impl Reserve for Client {
    async fn reserve(&mut self) -> anyhow::Result<()> {
        self.count += 1;
        let item = format!("v{}", self.dice.roll(self.items));
        let body =
            format!(r#"{{"customer_id":"{}-{}","quantity":1,"ttl_seconds":3600}}"#, self.prefix, self.count);
        let request = Request::new("inventory", item, "reserve", body, self.principal.clone());
        self.dispatcher.dispatch(request).await?;
        Ok(())
    }
}

impl Contender for Engines {
    fn name(&self) -> &'static str {
        self.name
    }

    /// All engines take commands for the same items. Each client keeps to one of them.
    fn round(
        &mut self,
        settings: Settings,
        items: u64,
        round: u64,
    ) -> Pin<Box<dyn Future<Output = anyhow::Result<f64>> + '_>> {
        Box::pin(measure(settings.clients, settings, move |number| Client {
            dispatcher: self.dispatchers[number as usize % self.dispatchers.len()].clone(),
            principal: self.principal.clone(),
            items,
            dice: Dice::new(number),
            prefix: format!("c-{items}-{round}-{number}"),
            count: 0,
        }))
    }
}
