//! Sends the planned commands and accounts for every row.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::Arc;

use daybook_commands::{CommandError, Dispatcher, Principal, Reply, Request};
use daybook_eventlog::EventLog;
use futures::future::BoxFuture;
use hashbrown::HashMap;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::plan::{Class, NOT_GOODS, Plan, Planned, Tally, classify};
use super::source::{Row, Source, SourceError};
use crate::operations;

/// How to run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Commands under way at once. Order is kept in any case: the dispatcher takes them in the order they are sent.
    pub in_flight: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { in_flight: 2_048 }
    }
}

/// Why an import stopped. What was acknowledged stays; starting again goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{aggregate}/{id}/{command} (key {key}) was refused: {reason}")]
    Refused { aggregate: &'static str, id: String, command: &'static str, key: String, reason: String },
    #[error("the report could not be stored")]
    Report(#[source] operations::RecordError),
}

/// Rows and money of one class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassReport {
    pub class: String,
    pub rows: u64,
    /// Exact sum of quantity × price, GBP.
    #[serde(with = "daybook_schemas::money::decimal_text")]
    pub amount: Decimal,
}

/// A stock code that takes nothing from stock, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotGoods {
    pub variant_id: String,
    pub reason: String,
}

/// Accounts for every row of the file. Stored in the log as `operations.import_completed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub source: String,
    pub file_sha256: String,
    pub rows: u64,
    /// Exact sum of quantity × price over all rows, GBP.
    #[serde(with = "daybook_schemas::money::decimal_text")]
    pub net: Decimal,
    pub classes: Vec<ClassReport>,
    pub orders: u64,
    pub guest_orders: u64,
    pub variants: u64,
    pub customers: u64,
    /// Refunds of orders; a cancellation row may be spread over several.
    pub refunds: u64,
    /// Cancellation rows that orders of the file do not cover, or not wholly.
    pub credits_without_order: u64,
    /// Units received before the first row, so that the history never oversells.
    pub opening_units: u64,
    pub not_goods: Vec<NotGoods>,
    pub commands: u64,
    /// Commands that an earlier run of this import had carried out already; not part of the stored report.
    pub replayed: u64,
}

/// Commands that are told of before it is their turn. What most of them wait for is the one before, so a few waves of them suffice.
const AHEAD: usize = 64;

struct Sent {
    number: u64,
    planned: Planned,
    reply: BoxFuture<'static, Result<Reply, CommandError>>,
}

/// Imports a file (CSV, plain or gzip) through the command path. `progress` gets rows done and rows in all.
pub async fn import(
    file: impl Read,
    dispatcher: &Dispatcher,
    log: &Arc<dyn EventLog>,
    principal: &Principal,
    options: Options,
    mut progress: impl FnMut(u64, u64),
) -> Result<Report, ImportError> {
    let source = Source::read(file)?;
    let mut plan = Plan::new(&source);
    let mut sender = Sender {
        dispatcher,
        principal,
        ahead: VecDeque::new(),
        in_flight: VecDeque::new(),
        last_on_stock: HashMap::new(),
        sent: 0,
        options,
        commands: 0,
        replayed: 0,
    };
    let total = source.rows.len() as u64;
    for planned in plan.prologue() {
        sender.send(planned).await?;
    }
    sender.finish().await?;
    for (done, row) in (1_u64..).zip(&source.rows) {
        for planned in plan.commands(row) {
            sender.send(planned).await?;
        }
        if done % 1_024 == 0 || done == total {
            progress(done, total);
        }
    }
    sender.finish().await?;
    let report = report(&source, &plan.tally, sender.commands, sender.replayed);
    operations::record_import(log, &report.source, &report.file_sha256, &report)
        .await
        .map_err(ImportError::Report)?;
    Ok(report)
}

struct Sender<'a> {
    dispatcher: &'a Dispatcher,
    principal: &'a Principal,
    /// To be sent, in this order.
    ahead: VecDeque<(Planned, Request)>,
    in_flight: VecDeque<Sent>,
    /// For each variant, the last command sent that changes its stock: its number and its own stream.
    last_on_stock: HashMap<u32, (u64, (&'static str, String))>,
    sent: u64,
    options: Options,
    commands: u64,
    replayed: u64,
}

impl Sender<'_> {
    /// Sends, sooner or later, in the order of the calls.
    async fn send(&mut self, planned: Planned) -> Result<(), ImportError> {
        let request = self.request(&planned);
        self.dispatcher.read_ahead(&request);
        self.ahead.push_back((planned, request));
        while self.ahead.len() > AHEAD {
            self.send_next().await?;
        }
        Ok(())
    }

    /// Sends the next one, and waits for the oldest reply when enough are under way. The first refusal ends the import.
    async fn send_next(&mut self) -> Result<(), ImportError> {
        let Some((planned, request)) = self.ahead.pop_front() else { return Ok(()) };
        while self.in_flight.len() >= self.options.in_flight {
            self.settle_oldest().await?;
        }
        self.wait_for_turn(&planned).await?;
        let number = self.sent;
        self.sent += 1;
        for variant in &planned.stock_of {
            self.last_on_stock.insert(*variant, (number, (planned.aggregate, planned.id.clone())));
        }
        let reply = Box::pin(self.dispatcher.dispatch(request));
        self.in_flight.push_back(Sent { number, planned, reply });
        Ok(())
    }

    /// Commands on one stream keep their order by themselves. One that changes the stock of a variant by way of another
    /// stream (an order, a return) could overtake or be overtaken while the streams it needs are read, so it waits for
    /// the last one before it: the history of every stream is then the same in every run.
    async fn wait_for_turn(&mut self, planned: &Planned) -> Result<(), ImportError> {
        let other_stream =
            |last: &&(u64, (&'static str, String))| last.1 != (planned.aggregate, planned.id.clone());
        let before = planned.stock_of.iter().filter_map(|variant| self.last_on_stock.get(variant));
        let Some(number) = before.filter(other_stream).map(|(number, _)| *number).max() else {
            return Ok(());
        };
        while self.in_flight.front().is_some_and(|oldest| oldest.number <= number) {
            self.settle_oldest().await?;
        }
        Ok(())
    }

    fn request(&self, planned: &Planned) -> Request {
        let body = serde_json::to_vec(&planned.body).expect("a JSON value with string keys serializes");
        let mut request =
            Request::new(planned.aggregate, &planned.id, planned.command, body, self.principal.clone());
        request.idempotency_key = Some(planned.key.clone());
        request
    }

    async fn settle_oldest(&mut self) -> Result<(), ImportError> {
        let Some(Sent { planned, reply, .. }) = self.in_flight.pop_front() else { return Ok(()) };
        match reply.await {
            Ok(reply) => {
                self.commands += 1;
                self.replayed += u64::from(reply.replayed);
                Ok(())
            }
            Err(error) => Err(ImportError::Refused {
                aggregate: planned.aggregate,
                id: planned.id,
                command: planned.command,
                key: planned.key,
                reason: error.to_string(),
            }),
        }
    }

    async fn finish(&mut self) -> Result<(), ImportError> {
        while !self.ahead.is_empty() {
            self.send_next().await?;
        }
        while !self.in_flight.is_empty() {
            self.settle_oldest().await?;
        }
        Ok(())
    }
}

fn report(source: &Source, tally: &Tally, commands: u64, replayed: u64) -> Report {
    let value = |row: &Row| row.price * Decimal::from(row.quantity);
    let class = |class: Class| {
        let rows: Vec<&Row> = source.rows.iter().filter(|row| classify(source, row) == class).collect();
        ClassReport {
            class: class.name().to_owned(),
            rows: rows.len() as u64,
            amount: rows.iter().map(|row| value(row)).sum::<Decimal>().normalize(),
        }
    };
    Report {
        source: "online-retail".to_owned(),
        file_sha256: source.sha256.clone(),
        rows: source.rows.len() as u64,
        net: source.rows.iter().map(value).sum::<Decimal>().normalize(),
        classes: Class::ALL.into_iter().map(class).collect(),
        orders: tally.orders,
        guest_orders: tally.guest_orders,
        variants: source.variants.len() as u64,
        customers: source.customers.len() as u64,
        refunds: tally.refunds,
        credits_without_order: tally.credits_without_order,
        opening_units: tally.opening_units,
        not_goods: NOT_GOODS
            .iter()
            .filter(|(code, _)| source.variants.iter().any(|v| v.as_str() == *code))
            .map(|(code, reason)| NotGoods { variant_id: (*code).to_owned(), reason: (*reason).to_owned() })
            .collect(),
        commands,
        replayed,
    }
}
