//! Queries of the customer analytics.
//!
//! **RFM.** Recency is the time of the last order, frequency the number of orders, monetary the net spend (gross less refunds). Each
//! is scored 1 to 5 by the customer's place among all customers with an order in the same currency: `1 + ⌊5 × b ÷ n⌋`, where b of
//! the n customers are strictly below. Equal values get equal scores, and 5 is the best fifth.
//!
//! **Segment**, the first that fits: `champion` (all three at least 4), `loyal` (frequency at least 4 and recency at least 3), `new` (one
//! order, recency at least 4), `promising` (recency at least 4), `at_risk` (recency at most 2 and frequency or monetary at least 4), `lost`
//! (recency 1), `regular` (all others). Who has refunds or credits but no order that counts is in `no_orders` and has no scores.

use std::cmp::Reverse;
use std::ops::Bound;

use daybook_schemas::{Currency, Money, Timestamp};
use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};
use schemars::JsonSchema;
use serde::Serialize;

use super::{CUSTOMERS, CustomerRow};
use crate::amounts::micros;
use crate::model::StoreError;
use crate::rows::{IndexValue, ReadTransaction, Select, select_views};

/// Categories in a report.
pub const FAVOURITE_CATEGORIES: usize = 3;
/// More currencies than there are.
const MAX_CURRENCIES: usize = 1_000;

/// A customer's lifetime in one currency.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CustomerReport {
    pub customer_id: String,
    pub currency: Currency,
    pub orders: i64,
    pub gross_spend: Money,
    pub refunds: Money,
    pub net_spend: Money,
    /// Gross spend by order, rounded to the minor unit, half to even.
    pub average_order_value: Money,
    /// Units by order, rounded to 4 digits after the point.
    pub items_per_order: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_order_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_order_at: Option<Timestamp>,
    /// Up to three, by gross spend, the largest first; then by name.
    pub favourite_categories: Vec<String>,
    /// That of most orders; of several, the first by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_payment_method: Option<String>,
    /// Units refunded or credited by unit ordered, rounded to 4 digits after the point.
    pub return_rate: f64,
    pub segment: Segment,
    /// Absent without orders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rfm: Option<Rfm>,
    /// When this was asked.
    pub as_of: Timestamp,
}

/// Scores from 1 to 5, the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Rfm {
    pub recency: u8,
    pub frequency: u8,
    pub monetary: u8,
}

/// What kind of customer this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Segment {
    Champion,
    Loyal,
    New,
    Promising,
    AtRisk,
    Lost,
    Regular,
    NoOrders,
}

/// A customer's report; `None` for one without orders, refunds and credits. Without a currency: that of most orders.
pub fn report(
    rows: &dyn ReadTransaction,
    customer_id: &str,
    currency: Option<Currency>,
    as_of: Timestamp,
) -> Result<Option<CustomerReport>, StoreError> {
    let of_customer = Select::all(&CUSTOMERS, MAX_CURRENCIES).key_prefix(&format!("{customer_id}/"));
    let mut known = select_views::<CustomerRow>(rows, &of_customer)?;
    known.retain(|(_, row)| currency.is_none_or(|wanted| row.currency() == wanted));
    // In reverse, because `max_by_key` takes the last of equals.
    let Some((_, row)) = known.into_iter().rev().max_by_key(|(_, row)| row.figures.orders) else {
        return Ok(None);
    };
    let rfm = rfm(rows, &row)?;
    let figures = &row.figures;
    Ok(Some(CustomerReport {
        customer_id: customer_id.to_owned(),
        currency: row.currency(),
        orders: figures.orders,
        gross_spend: figures.gross_revenue,
        refunds: figures.refunds,
        net_spend: figures.net_revenue(),
        average_order_value: figures.average_order_value(),
        items_per_order: ratio(figures.quantity, figures.orders),
        first_order_at: row.first_order_at,
        last_order_at: row.last_order_at,
        favourite_categories: favourites(&row),
        preferred_payment_method: preferred(&row),
        return_rate: ratio(row.units_refunded, figures.quantity),
        segment: segment(rfm, figures.orders),
        rfm,
        as_of,
    }))
}

impl CustomerRow {
    const fn currency(&self) -> Currency {
        self.figures.gross_revenue.currency()
    }
}

/// A share, rounded half to even to 4 digits; 0 of nothing. A number in JSON, because nothing is added up from it.
fn ratio(part: i64, whole: i64) -> f64 {
    let share = Decimal::from(part).checked_div(Decimal::from(whole)).unwrap_or_default();
    share.round_dp_with_strategy(4, RoundingStrategy::MidpointNearestEven).to_f64().unwrap_or_default()
}

fn favourites(row: &CustomerRow) -> Vec<String> {
    let mut categories: Vec<_> = row.categories.iter().collect();
    // Stable: equals stay in order of their names.
    categories.sort_by_key(|(_, spent)| Reverse(spent.amount()));
    categories.into_iter().take(FAVOURITE_CATEGORIES).map(|(category, _)| category.to_string()).collect()
}

fn preferred(row: &CustomerRow) -> Option<String> {
    let most = row.payment_methods.iter().rev().max_by_key(|(_, orders)| **orders);
    most.map(|(method, _)| method.to_string())
}

/// Four counts over indexes.
fn rfm(rows: &dyn ReadTransaction, row: &CustomerRow) -> Result<Option<Rfm>, StoreError> {
    let Some(last_order_at) = row.last_order_at.filter(|_| row.figures.orders > 0) else {
        return Ok(None);
    };
    let currency = row.currency();
    let population = || Select::all(&CUSTOMERS, 0).equal("currency", currency.as_str());
    let customers = rows.count(&population())?;
    let score = |column: &'static str, value: i64| -> Result<u8, StoreError> {
        let lower = Bound::Excluded(IndexValue::Integer(value));
        let below = rows.count(&population().between(column, Bound::Unbounded, lower))?;
        let fifth = (5 * below).checked_div(customers).unwrap_or(0).min(4);
        Ok(u8::try_from(1 + fifth).expect("between 1 and 5"))
    };
    Ok(Some(Rfm {
        recency: score("last_order_at", last_order_at.as_micros())?,
        frequency: score("orders", row.figures.orders)?,
        monetary: score("net_micros", micros(row.figures.net_revenue().amount()))?,
    }))
}

fn segment(rfm: Option<Rfm>, orders: i64) -> Segment {
    let Some(Rfm { recency, frequency, monetary }) = rfm else {
        return Segment::NoOrders;
    };
    if recency.min(frequency).min(monetary) >= 4 {
        Segment::Champion
    } else if frequency >= 4 && recency >= 3 {
        Segment::Loyal
    } else if orders == 1 && recency >= 4 {
        Segment::New
    } else if recency >= 4 {
        Segment::Promising
    } else if recency <= 2 && frequency.max(monetary) >= 4 {
        Segment::AtRisk
    } else if recency == 1 {
        Segment::Lost
    } else {
        Segment::Regular
    }
}
