//! Sales analytics: totals of every year, month and day, by country, category and payment method, and the products that
//! earned most. See [`analytics`](crate::analytics) for what counts when.
//!
//! | table | key | holds |
//! |---|---|---|
//! | `order_facts` | order id | what later events of the order need |
//! | `periods` | period/currency | the totals, unique customers included |
//! | `shares` | period/currency/dimension/value | the part of one country, category or payment method |
//! | `earners` | period/currency/variant id | the part of one variant, ranked by gross revenue |
//! | `names` | variant id | what it is called |
//! | `buyers` | customer id/currency | the days on which a customer ordered: who is unique in which period |

pub mod query;
#[cfg(test)]
mod tests;

use daybook_eventlog::RecordedEvent;
use daybook_schemas::{Currency, CustomerId, VariantId};
use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, format_smolstr};

use crate::amounts::micros;
use crate::analytics::period::periods_of;
use crate::analytics::{self, Figures, Movement, NAMES, ORDER_FACTS, OrderFacts, Refund, group, names};
use crate::model::{ProjectError, Projected};
use crate::rows::{Column, IndexValue, KeyKind, Projector, Rows, StoreSpec, TableSpec, View};

/// The projection's name.
pub const NAME: &str = "sales";

static PERIODS: TableSpec = TableSpec::plain("periods");
static SHARES: TableSpec = TableSpec::plain("shares");
static BUYERS: TableSpec = TableSpec::plain("buyers");
static EARNERS: TableSpec = TableSpec {
    name: "earners",
    key: KeyKind::Text,
    columns: &[Column::text("period"), Column::integer("rank")],
    indexes: &[&["period", "rank"]],
    dictionary: None,
};

static TABLES: &[&TableSpec] = &[&ORDER_FACTS, &PERIODS, &SHARES, &EARNERS, &NAMES, &BUYERS];

/// The totals of a period in one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeriodRow {
    pub figures: Figures,
    pub unique_customers: i64,
}

/// The part of one country, category or payment method.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareRow {
    pub value: SmolStr,
    pub figures: Figures,
}

/// The part of one variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarnerRow {
    /// period/currency.
    pub period: SmolStr,
    pub variant_id: VariantId,
    pub figures: Figures,
}

/// The days on which a customer placed orders that count, in order, with how many.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuyerRow {
    pub days: Vec<(SmolStr, u32)>,
}

impl View for PeriodRow {
    const TABLE: &'static TableSpec = &PERIODS;
}

impl View for ShareRow {
    const TABLE: &'static TableSpec = &SHARES;
}

impl View for BuyerRow {
    const TABLE: &'static TableSpec = &BUYERS;
}

impl View for EarnerRow {
    const TABLE: &'static TableSpec = &EARNERS;

    fn index(&self) -> Vec<IndexValue> {
        // What was only given back earned nothing. The largest comes first in ascending order, and equals by variant.
        let ranked = self.figures.orders > 0;
        vec![
            ranked.then_some(self.period.as_str()).into(),
            ranked.then_some(-micros(self.figures.gross_revenue.amount())).into(),
        ]
    }
}

/// What a share is a share of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dimension {
    Country,
    Category,
    PaymentMethod,
}

impl Dimension {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Country => "country",
            Self::Category => "category",
            Self::PaymentMethod => "payment_method",
        }
    }
}

/// Fills the sales analytics.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sales;

impl Projector for Sales {
    fn spec(&self) -> StoreSpec {
        StoreSpec { name: NAME, version: 2, tables: TABLES }
    }

    fn handles(&self, event_type: &str) -> bool {
        analytics::handles(event_type)
    }

    fn project(&self, event: &Projected, rows: &mut Rows<'_>) -> Result<(), ProjectError> {
        let Some(movement) = analytics::movement(NAME, event, rows)? else { return Ok(()) };
        names::note(&movement, rows)?;
        match movement {
            Movement::Order { facts, sign, .. } => order(&facts, sign, rows),
            Movement::Refund(event) => refund(&event, rows),
        }
    }

    fn pass_over(&self, event: &RecordedEvent, rows: &mut Rows<'_>) -> Result<(), ProjectError> {
        analytics::pass_over(event, rows)
    }
}

fn order(facts: &OrderFacts, sign: i64, rows: &mut Rows<'_>) -> Result<(), ProjectError> {
    let currency = facts.currency();
    let day = facts.placed_at.date();
    let newcomers = match &facts.customer_id {
        Some(customer) => count_buyer(customer, currency, &day, sign, rows)?,
        None => [0; 4],
    };
    let variants = group(&facts.lines, |line| &line.variant_id);
    let categories = group(&facts.lines, |line| &line.category);
    for (period, newcomer) in periods_of(&day).into_iter().zip(newcomers) {
        let prefix = format_smolstr!("{period}/{currency}");
        change_period(&prefix, currency, rows, |row| {
            row.unique_customers += newcomer;
            row.figures.order(facts.total, facts.units(), sign)
        })?;
        let mut share = |dimension: Dimension, value: &str, gross, quantity| {
            change_share(&prefix, dimension, value, currency, rows, |figures| {
                figures.order(gross, quantity, sign)
            })
        };
        share(Dimension::Country, &facts.country, facts.total, facts.units())?;
        share(Dimension::PaymentMethod, &facts.payment_method, facts.total, facts.units())?;
        for part in &categories {
            share(Dimension::Category, part.first.category.as_str(), part.gross()?, part.quantity)?;
        }
        for part in &variants {
            let gross = part.gross()?;
            change_earner(&prefix, &part.first.variant_id, currency, rows, |figures| {
                figures.order(gross, part.quantity, sign)
            })?;
        }
    }
    Ok(())
}

fn refund(event: &Refund, rows: &mut Rows<'_>) -> Result<(), ProjectError> {
    let currency = event.amount.currency();
    let day = event.at.date();
    for period in periods_of(&day) {
        let prefix = format_smolstr!("{period}/{currency}");
        change_period(&prefix, currency, rows, |row| row.figures.refund(event.amount))?;
        let mut share = |dimension: Dimension, value: &str, amount| {
            change_share(&prefix, dimension, value, currency, rows, |figures| figures.refund(amount))
        };
        share(Dimension::Country, &event.country, event.amount)?;
        share(Dimension::PaymentMethod, &event.payment_method, event.amount)?;
        for part in &event.of {
            share(Dimension::Category, part.category.as_str(), part.amount)?;
        }
        for part in &event.of {
            let change = |figures: &mut Figures| figures.refund(part.amount);
            change_earner(&prefix, &part.variant_id, currency, rows, change)?;
        }
    }
    Ok(())
}

fn change_period(
    key: &str,
    currency: Currency,
    rows: &mut Rows<'_>,
    change: impl FnOnce(&mut PeriodRow) -> Result<(), ProjectError>,
) -> Result<(), ProjectError> {
    rows.fold(key, |row: Option<PeriodRow>| {
        let mut row =
            row.unwrap_or_else(|| PeriodRow { figures: Figures::zero(currency), unique_customers: 0 });
        change(&mut row)?;
        Ok(Some(row).filter(|row| !row.figures.is_zero()))
    })
}

fn change_share(
    prefix: &str,
    dimension: Dimension,
    value: &str,
    currency: Currency,
    rows: &mut Rows<'_>,
    change: impl FnOnce(&mut Figures) -> Result<(), ProjectError>,
) -> Result<(), ProjectError> {
    let key = format_smolstr!("{prefix}/{}/{value}", dimension.as_str());
    rows.fold(&key, |row: Option<ShareRow>| {
        let mut row =
            row.unwrap_or_else(|| ShareRow { value: value.into(), figures: Figures::zero(currency) });
        change(&mut row.figures)?;
        Ok(Some(row).filter(|row| !row.figures.is_zero()))
    })
}

fn change_earner(
    prefix: &SmolStr,
    variant_id: &VariantId,
    currency: Currency,
    rows: &mut Rows<'_>,
    change: impl FnOnce(&mut Figures) -> Result<(), ProjectError>,
) -> Result<(), ProjectError> {
    let key = format_smolstr!("{prefix}/{variant_id}");
    rows.fold(&key, |row: Option<EarnerRow>| {
        let mut row = row.unwrap_or_else(|| EarnerRow {
            period: prefix.clone(),
            variant_id: variant_id.clone(),
            figures: Figures::zero(currency),
        });
        change(&mut row.figures)?;
        Ok(Some(row).filter(|row| !row.figures.is_zero()))
    })
}

/// Notes an order of the customer; by how much the unique customers of each of the day's periods change.
fn count_buyer(
    customer: &CustomerId,
    currency: Currency,
    day: &str,
    sign: i64,
    rows: &mut Rows<'_>,
) -> Result<[i64; 4], ProjectError> {
    let mut newcomers = [0; 4];
    rows.fold(&format_smolstr!("{customer}/{currency}"), |row: Option<BuyerRow>| {
        let mut row = row.unwrap_or_default();
        let before = row.presence(day);
        row.count(day, sign);
        newcomers = analytics::newcomers(before, row.presence(day));
        Ok(Some(row).filter(|row| !row.days.is_empty()))
    })?;
    Ok(newcomers)
}

impl BuyerRow {
    /// Whether the customer has ordered at all, in the day's year, in its month, on it.
    fn presence(&self, day: &str) -> [bool; 4] {
        analytics::presence(&self.days, |(known, _)| known, day)
    }

    fn count(&mut self, day: &str, sign: i64) {
        match self.days.binary_search_by(|(known, _)| known.as_str().cmp(day)) {
            Ok(at) => {
                let orders = &mut self.days[at].1;
                *orders = orders.saturating_add_signed(if sign < 0 { -1 } else { 1 });
                if *orders == 0 {
                    self.days.remove(at);
                }
            }
            Err(at) if sign > 0 => self.days.insert(at, (day.into(), 1)),
            Err(_) => {}
        }
    }
}
