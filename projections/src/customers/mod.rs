//! Customer analytics: what each customer ordered and gave back over their lifetime. See
//! [`analytics`](crate::analytics) for what counts when; guests have no rows.
//!
//! | table | key | holds |
//! |---|---|---|
//! | `order_facts` | order id | what later events of the order need |
//! | `customers` | customer id/currency | the lifetime figures |
//! | `order_times` | customer id/currency/time/order id | that there is such an order: the first and the last are found by key |

pub mod query;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use daybook_eventlog::RecordedEvent;
use daybook_schemas::{Currency, Money, Timestamp};
use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, format_smolstr};

use crate::amounts::micros;
use crate::analytics::{self, Figures, Movement, ORDER_FACTS, OrderFacts, Refund, group};
use crate::model::{ProjectError, Projected};
use crate::rows::{Column, IndexValue, KeyKind, Projector, Rows, StoreSpec, TableSpec, View};

/// The projection's name.
pub const NAME: &str = "customers";

static CUSTOMERS: TableSpec = TableSpec {
    name: "customers",
    key: KeyKind::Text,
    columns: &[
        Column::text("currency"),
        Column::integer("last_order_at"),
        Column::integer("orders"),
        Column::integer("net_micros"),
    ],
    indexes: &[&["currency", "last_order_at"], &["currency", "orders"], &["currency", "net_micros"]],
    dictionary: None,
};
static ORDER_TIMES: TableSpec = TableSpec::plain("order_times");
static TABLES: &[&TableSpec] = &[&ORDER_FACTS, &CUSTOMERS, &ORDER_TIMES];

/// A customer's lifetime in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerRow {
    pub figures: Figures,
    /// Units that refunds and credits were for.
    pub units_refunded: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_order_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_order_at: Option<Timestamp>,
    /// Gross spend by category.
    pub categories: BTreeMap<SmolStr, Money>,
    /// Orders by payment method.
    pub payment_methods: BTreeMap<SmolStr, i64>,
}

/// An order that counts; its key says whose and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderTime {}

impl View for CustomerRow {
    const TABLE: &'static TableSpec = &CUSTOMERS;

    fn index(&self) -> Vec<IndexValue> {
        // Scores compare customers who ordered.
        let currency = self.figures.gross_revenue.currency();
        vec![
            (self.figures.orders > 0).then_some(currency.as_str()).into(),
            self.last_order_at.map(Timestamp::as_micros).into(),
            self.figures.orders.into(),
            micros(self.figures.net_revenue().amount()).into(),
        ]
    }
}

impl View for OrderTime {
    const TABLE: &'static TableSpec = &ORDER_TIMES;
}

/// Fills the customer analytics.
#[derive(Debug, Clone, Copy, Default)]
pub struct Customers;

impl Projector for Customers {
    fn spec(&self) -> StoreSpec {
        StoreSpec { name: NAME, version: 1, tables: TABLES }
    }

    fn handles(&self, event_type: &str) -> bool {
        analytics::handles(event_type)
    }

    fn project(&self, event: &Projected, rows: &mut Rows<'_>) -> Result<(), ProjectError> {
        match analytics::movement(NAME, event, rows)? {
            Some(Movement::Order { order_id, facts, sign }) => order(&order_id, &facts, sign, rows),
            Some(Movement::Refund(event)) => refund(&event, rows),
            None => Ok(()),
        }
    }

    fn pass_over(&self, event: &RecordedEvent, rows: &mut Rows<'_>) -> Result<(), ProjectError> {
        analytics::pass_over(event, rows)
    }
}

fn order(order_id: &str, facts: &OrderFacts, sign: i64, rows: &mut Rows<'_>) -> Result<(), ProjectError> {
    let Some(customer) = &facts.customer_id else {
        return Ok(());
    };
    let currency = facts.currency();
    let key = format_smolstr!("{customer}/{currency}");
    let at = facts.placed_at;
    rows.put(&time_key(&key, at, order_id), (sign > 0).then_some(OrderTime {}))?;
    // Only an order that is taken out can leave the ends to be looked up.
    let ends = if sign < 0 { Some((edge(rows, &key, false)?, edge(rows, &key, true)?)) } else { None };
    rows.fold(&key, |row: Option<CustomerRow>| {
        let mut row = row.unwrap_or_else(|| CustomerRow::new(currency));
        row.figures.order(facts.total, facts.units(), sign)?;
        (row.first_order_at, row.last_order_at) = match ends {
            Some(ends) => ends,
            None => (
                Some(row.first_order_at.map_or(at, |first| first.min(at))),
                Some(row.last_order_at.map_or(at, |last| last.max(at))),
            ),
        };
        let methods = row.payment_methods.entry(facts.payment_method.clone()).or_default();
        *methods += sign;
        row.payment_methods.retain(|_, orders| *orders != 0);
        for part in group(&facts.lines, |line| &line.category) {
            let category = SmolStr::new(part.first.category.as_str());
            let spent = row.categories.entry(category).or_insert_with(|| Money::zero(currency));
            analytics::add(spent, part.gross()?, sign)?;
        }
        row.categories.retain(|_, spent| !spent.is_zero());
        Ok(row.unless_empty())
    })
}

fn refund(event: &Refund, rows: &mut Rows<'_>) -> Result<(), ProjectError> {
    let Some(customer) = &event.customer_id else {
        return Ok(());
    };
    let currency = event.amount.currency();
    rows.fold(&format_smolstr!("{customer}/{currency}"), |row: Option<CustomerRow>| {
        let mut row = row.unwrap_or_else(|| CustomerRow::new(currency));
        row.figures.refund(event.amount)?;
        row.units_refunded += event.of.iter().map(|part| part.quantity.as_i64()).sum::<i64>();
        Ok(row.unless_empty())
    })
}

impl CustomerRow {
    const fn empty(figures: Figures) -> Self {
        Self {
            figures,
            units_refunded: 0,
            first_order_at: None,
            last_order_at: None,
            categories: BTreeMap::new(),
            payment_methods: BTreeMap::new(),
        }
    }

    fn new(currency: Currency) -> Self {
        Self::empty(Figures::zero(currency))
    }

    fn unless_empty(self) -> Option<Self> {
        (!self.figures.is_zero() || self.units_refunded != 0).then_some(self)
    }
}

/// Sorts by time: microseconds as 20 digits, shifted so that times before 1970 come first.
fn time_key(customer: &str, at: Timestamp, order_id: &str) -> SmolStr {
    let shifted = at.as_micros().cast_unsigned() ^ (1 << 63);
    format_smolstr!("{customer}/{shifted:020}/{order_id}")
}

/// When the customer's first or last order was placed.
fn edge(rows: &mut Rows<'_>, customer: &str, last: bool) -> Result<Option<Timestamp>, ProjectError> {
    let prefix = format!("{customer}/");
    let key = rows.edge_key::<OrderTime>(&prefix, last)?;
    let shifted = key.and_then(|key| key.get(prefix.len()..prefix.len() + 20)?.parse::<u64>().ok());
    Ok(shifted.map(|shifted| Timestamp::from_micros((shifted ^ (1 << 63)).cast_signed())))
}
