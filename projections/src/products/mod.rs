//! Product analytics: what each variant earned in every year, month and day, and who bought it. See
//! [`analytics`](crate::analytics) for what counts when.
//!
//! | table | key | holds |
//! |---|---|---|
//! | `order_facts` | order id | what later events of the order need |
//! | `products` | variant id/currency | all time and each year |
//! | `names` | variant id | what it is called |
//! | `product_months` | variant id/currency/month | the month and each of its days |
//! | `product_buyers` | variant id/currency/customer id | what a customer bought of it, day by day |
//!
//! A buyer's row is ranked by what the customer spent in all; the best buyers of a shorter period are found among those
//! whose orders overlap it.

pub mod query;
#[cfg(test)]
mod tests;

use daybook_eventlog::RecordedEvent;
use daybook_schemas::{Currency, CustomerId, Money};
use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, format_smolstr};

use crate::amounts::micros;
use crate::analytics::period::periods_of;
use crate::analytics::{self, Figures, Movement, NAMES, ORDER_FACTS, OrderFacts, Refund, group, names};
use crate::model::{ProjectError, Projected};
use crate::rows::{Column, IndexValue, KeyKind, Projector, Rows, StoreSpec, TableSpec, View};

/// The projection's name.
pub const NAME: &str = "products";

static PRODUCTS: TableSpec = TableSpec::plain("products");
static MONTHS: TableSpec = TableSpec::plain("product_months");
static BUYERS: TableSpec = TableSpec {
    name: "product_buyers",
    key: KeyKind::Text,
    columns: &[Column::text("product"), Column::integer("rank"), Column::text("last_day")],
    indexes: &[&["product", "rank"], &["product", "last_day"]],
    dictionary: None,
};
static TABLES: &[&TableSpec] = &[&ORDER_FACTS, &PRODUCTS, &MONTHS, &NAMES, &BUYERS];

/// The figures of one period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeriodFigures {
    /// `all`, a year, a month or a day.
    pub period: SmolStr,
    pub figures: Figures,
    pub unique_customers: i64,
}

/// A variant over all time, and year by year.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductRow {
    pub all: PeriodFigures,
    /// Years in which something counted, in order.
    pub years: Vec<PeriodFigures>,
}

/// A variant in a month, and day by day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonthRow {
    pub month: PeriodFigures,
    /// Days on which something counted, in order.
    pub days: Vec<PeriodFigures>,
}

/// What a customer bought of a variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuyerRow {
    /// variant id/currency.
    pub product: SmolStr,
    pub customer_id: CustomerId,
    pub figures: Figures,
    /// Days with orders that count, in order.
    pub days: Vec<BuyerDay>,
}

/// What a customer bought of a variant on one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuyerDay {
    pub day: SmolStr,
    pub gross_revenue: Money,
    pub orders: i64,
    pub quantity: i64,
}

impl View for ProductRow {
    const TABLE: &'static TableSpec = &PRODUCTS;
}

impl View for MonthRow {
    const TABLE: &'static TableSpec = &MONTHS;
}

impl View for BuyerRow {
    const TABLE: &'static TableSpec = &BUYERS;

    fn index(&self) -> Vec<IndexValue> {
        // Who was only given money back bought nothing.
        let last = self.days.last();
        vec![
            last.map(|_| self.product.as_str()).into(),
            last.map(|_| -micros(self.figures.gross_revenue.amount())).into(),
            last.map(|last| last.day.as_str()).into(),
        ]
    }
}

/// Fills the product analytics.
#[derive(Debug, Clone, Copy, Default)]
pub struct Products;

impl Projector for Products {
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
    for part in group(&facts.lines, |line| &line.variant_id) {
        let gross = part.gross()?;
        let product = format_smolstr!("{}/{currency}", part.first.variant_id);
        let newcomers = match &facts.customer_id {
            Some(customer) => {
                let bought = BuyerDay {
                    day: day.as_str().into(),
                    gross_revenue: gross,
                    orders: sign,
                    quantity: sign * part.quantity,
                };
                count_buyer(&product, customer, bought, sign, rows)?
            }
            None => [0; 4],
        };
        change(&product, currency, &day, rows, newcomers, &|figures| {
            figures.order(gross, part.quantity, sign)
        })?;
    }
    Ok(())
}

fn refund(event: &Refund, rows: &mut Rows<'_>) -> Result<(), ProjectError> {
    let currency = event.amount.currency();
    let day = event.at.date();
    for part in &event.of {
        let product = format_smolstr!("{}/{currency}", part.variant_id);
        change(&product, currency, &day, rows, [0; 4], &|figures| figures.refund(part.amount))?;
        if let Some(customer) = &event.customer_id {
            rows.fold(&buyer_key(&product, customer), |row: Option<BuyerRow>| {
                let mut row = row.unwrap_or_else(|| BuyerRow::new(&product, customer, currency));
                row.figures.refund(part.amount)?;
                Ok(row.unless_empty())
            })?;
        }
    }
    Ok(())
}

type Change<'a> = &'a dyn Fn(&mut Figures) -> Result<(), ProjectError>;

/// Changes the figures of a variant in all four periods of the day.
fn change(
    product: &SmolStr,
    currency: Currency,
    day: &str,
    rows: &mut Rows<'_>,
    newcomers: [i64; 4],
    change: Change<'_>,
) -> Result<(), ProjectError> {
    let [all, year, month, _] = periods_of(day);
    rows.fold(product, |row: Option<ProductRow>| {
        let mut row =
            row.unwrap_or_else(|| ProductRow { all: PeriodFigures::zero(all, currency), years: Vec::new() });
        row.all.change(newcomers[0], change)?;
        change_in(&mut row.years, year, currency, newcomers[1], change)?;
        Ok(Some(row).filter(|row| !row.years.is_empty()))
    })?;
    rows.fold(&format_smolstr!("{product}/{month}"), |row: Option<MonthRow>| {
        let mut row =
            row.unwrap_or_else(|| MonthRow { month: PeriodFigures::zero(month, currency), days: Vec::new() });
        row.month.change(newcomers[2], change)?;
        change_in(&mut row.days, day, currency, newcomers[3], change)?;
        Ok(Some(row).filter(|row| !row.days.is_empty()))
    })
}

impl PeriodFigures {
    fn zero(period: &str, currency: Currency) -> Self {
        Self { period: period.into(), figures: Figures::zero(currency), unique_customers: 0 }
    }

    fn change(&mut self, newcomers: i64, change: Change<'_>) -> Result<(), ProjectError> {
        self.unique_customers += newcomers;
        change(&mut self.figures)
    }
}

/// Changes one of several periods; one without figures goes.
fn change_in(
    periods: &mut Vec<PeriodFigures>,
    period: &str,
    currency: Currency,
    newcomers: i64,
    change: Change<'_>,
) -> Result<(), ProjectError> {
    let found = periods.binary_search_by(|known| known.period.as_str().cmp(period));
    let at = found.unwrap_or_else(|at| {
        periods.insert(at, PeriodFigures::zero(period, currency));
        at
    });
    periods[at].change(newcomers, change)?;
    if periods[at].figures.is_zero() {
        periods.remove(at);
    }
    Ok(())
}

fn buyer_key(product: &str, customer: &CustomerId) -> SmolStr {
    format_smolstr!("{product}/{customer}")
}

/// Notes what the customer bought; by how much the unique customers of each of the day's periods change.
fn count_buyer(
    product: &SmolStr,
    customer: &CustomerId,
    bought: BuyerDay,
    sign: i64,
    rows: &mut Rows<'_>,
) -> Result<[i64; 4], ProjectError> {
    let mut newcomers = [0; 4];
    let day = bought.day.clone();
    rows.fold(&buyer_key(product, customer), |row: Option<BuyerRow>| {
        let currency = bought.gross_revenue.currency();
        let mut row = row.unwrap_or_else(|| BuyerRow::new(product, customer, currency));
        let before = row.presence(&day);
        row.count(bought, sign)?;
        newcomers = analytics::newcomers(before, row.presence(&day));
        Ok(row.unless_empty())
    })?;
    Ok(newcomers)
}

impl BuyerRow {
    fn new(product: &SmolStr, customer: &CustomerId, currency: Currency) -> Self {
        Self {
            product: product.clone(),
            customer_id: customer.clone(),
            figures: Figures::zero(currency),
            days: Vec::new(),
        }
    }

    fn unless_empty(self) -> Option<Self> {
        (!self.days.is_empty() || !self.figures.is_zero()).then_some(self)
    }

    /// Whether the customer bought it at all, in the day's year, in its month, on it.
    fn presence(&self, day: &str) -> [bool; 4] {
        analytics::presence(&self.days, |known| &known.day, day)
    }

    fn count(&mut self, bought: BuyerDay, sign: i64) -> Result<(), ProjectError> {
        self.figures.order(bought.gross_revenue, bought.quantity * sign, sign)?;
        match self.days.binary_search_by(|known| known.day.cmp(&bought.day)) {
            Ok(at) => {
                let day = &mut self.days[at];
                analytics::add(&mut day.gross_revenue, bought.gross_revenue, sign)?;
                day.orders += bought.orders;
                day.quantity += bought.quantity;
                if day.orders == 0 {
                    self.days.remove(at);
                }
            }
            Err(at) => self.days.insert(at, bought),
        }
        Ok(())
    }
}
