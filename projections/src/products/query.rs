//! Queries of the product analytics.

use std::ops::Bound;

use daybook_schemas::{Currency, Money};
use schemars::JsonSchema;
use serde::Serialize;

use super::{BUYERS, BuyerRow, MONTHS, MonthRow, PRODUCTS, PeriodFigures, ProductRow};
use crate::analytics::names::name_of;
use crate::analytics::{Figures, Period};
use crate::model::StoreError;
use crate::rows::{ReadTransaction, Select, select_views};
use crate::sales::query::SalesDay;

/// Customers in a report.
pub const TOP_CUSTOMERS: usize = 10;
/// Rows read at once.
const SCAN_PAGE: usize = 2_000;

/// What a variant earned in a period, in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ProductReport {
    pub variant_id: String,
    pub sku: String,
    pub name: String,
    pub period: String,
    pub currency: Currency,
    pub gross_revenue: Money,
    pub refunds: Money,
    pub net_revenue: Money,
    /// Orders that have the variant.
    pub orders: i64,
    /// Units ordered.
    pub quantity: i64,
    /// What the variant earned by order, rounded to the minor unit, half to even.
    pub average_order_value: Money,
    pub unique_customers: i64,
    /// Days on which something counted, in order.
    pub daily: Vec<SalesDay>,
    /// By what they spent on the variant in the period, the largest first; then by customer id.
    pub top_customers: Vec<TopCustomer>,
}

/// What a customer bought of a variant in a period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TopCustomer {
    pub customer_id: String,
    pub gross_revenue: Money,
    pub orders: i64,
    pub quantity: i64,
}

/// A variant's report; `None` if it was never sold nor credited. Without a currency: that of most orders.
pub fn report(
    rows: &dyn ReadTransaction,
    variant_id: &str,
    period: &Period,
    currency: Option<Currency>,
) -> Result<Option<ProductReport>, StoreError> {
    let mut known = select_views::<ProductRow>(
        rows,
        &Select::all(&PRODUCTS, SCAN_PAGE).key_prefix(&format!("{variant_id}/")),
    )?;
    known.retain(|(_, row)| currency.is_none_or(|wanted| row.currency() == wanted));
    // In reverse, because `max_by_key` takes the last of equals.
    let Some((product, row)) = known.into_iter().rev().max_by_key(|(_, row)| row.all.figures.orders) else {
        return Ok(None);
    };
    let currency = row.currency();
    let months = months(rows, &product, period)?;
    let total = total(&row, &months, period, currency);
    let days = months.iter().flat_map(|month| &month.days).filter(|day| period.contains(&day.period));
    let (sku, name) = name_of(rows, variant_id)?;
    Ok(Some(ProductReport {
        variant_id: variant_id.to_owned(),
        sku,
        name,
        period: period.to_string(),
        currency,
        gross_revenue: total.figures.gross_revenue,
        refunds: total.figures.refunds,
        net_revenue: total.figures.net_revenue(),
        orders: total.figures.orders,
        quantity: total.figures.quantity,
        average_order_value: total.figures.average_order_value(),
        unique_customers: total.unique_customers,
        daily: days.map(|day| SalesDay::new(&day.period, &day.figures)).collect(),
        top_customers: top_customers(rows, &product, period)?,
    }))
}

impl ProductRow {
    fn currency(&self) -> Currency {
        self.all.figures.gross_revenue.currency()
    }
}

/// The figures of the period itself, wherever they are kept.
fn total(row: &ProductRow, months: &[MonthRow], period: &Period, currency: Currency) -> PeriodFigures {
    let days = months.iter().flat_map(|month| &month.days);
    let mut kept =
        std::iter::once(&row.all).chain(&row.years).chain(months.iter().map(|m| &m.month)).chain(days);
    let found = kept.find(|known| known.period == period.as_str()).cloned();
    found.unwrap_or_else(|| PeriodFigures {
        period: period.as_str().into(),
        figures: Figures::zero(currency),
        unique_customers: 0,
    })
}

/// The months that overlap the period.
fn months(rows: &dyn ReadTransaction, product: &str, period: &Period) -> Result<Vec<MonthRow>, StoreError> {
    let prefix = period.day_prefix();
    let month = prefix.get(..7).unwrap_or(prefix);
    // A product with more months than this would be over 160 years old.
    let select = Select::all(&MONTHS, SCAN_PAGE).key_prefix(&format!("{product}/{month}"));
    Ok(select_views::<MonthRow>(rows, &select)?.into_iter().map(|(_, row)| row).collect())
}

fn top_customers(
    rows: &dyn ReadTransaction,
    product: &str,
    period: &Period,
) -> Result<Vec<TopCustomer>, StoreError> {
    if *period == Period::all() {
        let select = Select::all(&BUYERS, TOP_CUSTOMERS).equal("product", product).order_by("rank");
        let best = select_views::<BuyerRow>(rows, &select)?;
        return Ok(best.iter().filter_map(|(_, row)| row.within(period)).collect());
    }
    let mut best: Vec<TopCustomer> = Vec::new();
    let mut after = None;
    loop {
        let select = Select::all(&BUYERS, SCAN_PAGE)
            .equal("product", product)
            .between("last_day", Bound::Included(period.day_prefix().into()), Bound::Unbounded)
            .order_by("last_day")
            .after(after.take());
        let page = select_views::<BuyerRow>(rows, &select)?;
        let full = page.len() == SCAN_PAGE;
        after = page.last().map(|(key, row)| {
            let last = row.days.last().map_or("", |day| day.day.as_str());
            vec![last.into(), key.as_str().into()]
        });
        best.extend(page.iter().filter_map(|(_, row)| row.within(period)));
        best.sort_by(|a, b| {
            let spent = |customer: &TopCustomer| customer.gross_revenue.amount();
            spent(b).cmp(&spent(a)).then_with(|| a.customer_id.cmp(&b.customer_id))
        });
        best.truncate(TOP_CUSTOMERS);
        if !full {
            return Ok(best);
        }
    }
}

impl BuyerRow {
    /// What the customer bought in the period; `None` if nothing.
    fn within(&self, period: &Period) -> Option<TopCustomer> {
        let mut bought: Option<TopCustomer> = None;
        for day in self.days.iter().filter(|day| period.contains(&day.day)) {
            let sum = bought.get_or_insert_with(|| TopCustomer {
                customer_id: self.customer_id.to_string(),
                gross_revenue: Money::zero(day.gross_revenue.currency()),
                orders: 0,
                quantity: 0,
            });
            // Each day is part of a sum that was within bounds when it was projected.
            sum.gross_revenue = sum.gross_revenue.plus(day.gross_revenue).unwrap_or(sum.gross_revenue);
            sum.orders += day.orders;
            sum.quantity += day.quantity;
        }
        bought
    }
}
