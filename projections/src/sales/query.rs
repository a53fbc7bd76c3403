//! Queries of the sales analytics.

use daybook_schemas::{Currency, Money};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Dimension, EARNERS, EarnerRow, PERIODS, PeriodRow, SHARES, ShareRow};
use crate::analytics::names::name_of;
use crate::analytics::{FALLBACK_CURRENCY, Figures, Period};
use crate::model::StoreError;
use crate::rows::{ReadTransaction, Select, get_view, select_views};

/// Products in a report.
pub const TOP_PRODUCTS: usize = 100;
/// Rows read at once.
const SCAN_PAGE: usize = 2_000;

/// The sales of a period in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SalesReport {
    pub period: String,
    pub currency: Currency,
    pub gross_revenue: Money,
    pub refunds: Money,
    pub net_revenue: Money,
    pub orders: i64,
    /// Units ordered.
    pub quantity: i64,
    /// Customers who placed orders that count; guests are not among them.
    pub unique_customers: i64,
    /// Gross revenue by order, rounded to the minor unit, half to even.
    pub average_order_value: Money,
    /// By gross revenue, the largest first; then by name.
    pub by_country: Vec<CountryShare>,
    pub by_category: Vec<CategoryShare>,
    pub by_payment_method: Vec<PaymentMethodShare>,
    /// By gross revenue, the largest first; then by variant id.
    pub top_products: Vec<TopProduct>,
    /// Days on which something counted, in order.
    pub daily: Vec<SalesDay>,
}

/// A country's part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CountryShare {
    pub country: String,
    pub gross_revenue: Money,
    pub refunds: Money,
    pub orders: i64,
    pub quantity: i64,
}

/// A category's part. An order counts for each category that it has lines of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CategoryShare {
    pub category: String,
    pub gross_revenue: Money,
    pub refunds: Money,
    pub orders: i64,
    pub quantity: i64,
}

/// A payment method's part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PaymentMethodShare {
    pub payment_method: String,
    pub gross_revenue: Money,
    pub refunds: Money,
    pub orders: i64,
    pub quantity: i64,
}

/// A variant's part. SKU and name are those of the order of it that was placed last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TopProduct {
    pub variant_id: String,
    pub sku: String,
    pub name: String,
    pub gross_revenue: Money,
    pub refunds: Money,
    pub quantity: i64,
    pub orders: i64,
}

/// A day's part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SalesDay {
    pub date: String,
    pub gross_revenue: Money,
    pub refunds: Money,
    pub orders: i64,
    pub quantity: i64,
}

/// The sales of a period. Without a currency: that of most orders. A period without sales gives zeros.
pub fn report(
    rows: &dyn ReadTransaction,
    period: &Period,
    currency: Option<Currency>,
) -> Result<SalesReport, StoreError> {
    let currency = match currency {
        Some(currency) => currency,
        None => main_currency(rows)?.unwrap_or(FALLBACK_CURRENCY),
    };
    let key = format!("{period}/{currency}");
    let row: Option<PeriodRow> = get_view(rows, &key)?;
    let row = row.unwrap_or_else(|| PeriodRow { figures: Figures::zero(currency), unique_customers: 0 });
    let figures = row.figures;
    Ok(SalesReport {
        period: period.to_string(),
        currency,
        gross_revenue: figures.gross_revenue,
        refunds: figures.refunds,
        net_revenue: figures.net_revenue(),
        orders: figures.orders,
        quantity: figures.quantity,
        unique_customers: row.unique_customers,
        average_order_value: figures.average_order_value(),
        by_country: shares(rows, &key, Dimension::Country)?.into_iter().map(CountryShare::from).collect(),
        by_category: shares(rows, &key, Dimension::Category)?.into_iter().map(CategoryShare::from).collect(),
        by_payment_method: shares(rows, &key, Dimension::PaymentMethod)?
            .into_iter()
            .map(PaymentMethodShare::from)
            .collect(),
        top_products: top_products(rows, &key, TOP_PRODUCTS)?,
        daily: daily(rows, period, currency)?,
    })
}

/// The currencies in which anything was ordered or given back.
pub fn currencies(rows: &dyn ReadTransaction) -> Result<Vec<Currency>, StoreError> {
    Ok(currency_rows(rows)?.into_iter().map(|(currency, _)| currency).collect())
}

fn main_currency(rows: &dyn ReadTransaction) -> Result<Option<Currency>, StoreError> {
    let rows = currency_rows(rows)?;
    // `max_by_key` takes the last of equals: in reverse, the first by code.
    Ok(rows.into_iter().rev().max_by_key(|(_, row)| row.figures.orders).map(|(currency, _)| currency))
}

fn currency_rows(rows: &dyn ReadTransaction) -> Result<Vec<(Currency, PeriodRow)>, StoreError> {
    let found = select_views::<PeriodRow>(rows, &Select::all(&PERIODS, SCAN_PAGE).key_prefix("all/"))?;
    Ok(found.into_iter().map(|(_, row)| (row.figures.gross_revenue.currency(), row)).collect())
}

fn shares(rows: &dyn ReadTransaction, key: &str, dimension: Dimension) -> Result<Vec<ShareRow>, StoreError> {
    let prefix = format!("{key}/{}/", dimension.as_str());
    let mut all: Vec<ShareRow> = Vec::new();
    let mut after = None;
    loop {
        let select = Select::all(&SHARES, SCAN_PAGE).key_prefix(&prefix).after(after.take());
        let page = select_views::<ShareRow>(rows, &select)?;
        let full = page.len() == SCAN_PAGE;
        after = page.last().map(|(key, _)| vec![key.as_str().into()]);
        all.extend(page.into_iter().map(|(_, row)| row));
        if !full {
            break;
        }
    }
    all.sort_by(|a, b| {
        let gross = |row: &ShareRow| row.figures.gross_revenue.amount();
        gross(b).cmp(&gross(a)).then_with(|| a.value.cmp(&b.value))
    });
    Ok(all)
}

/// The variants that earned most in `key` (period/currency).
fn top_products(rows: &dyn ReadTransaction, key: &str, limit: usize) -> Result<Vec<TopProduct>, StoreError> {
    let select = Select::all(&EARNERS, limit).equal("period", key).order_by("rank");
    let found = select_views::<EarnerRow>(rows, &select)?;
    found.into_iter().map(|(_, row)| TopProduct::new(rows, row)).collect()
}

fn daily(
    rows: &dyn ReadTransaction,
    period: &Period,
    currency: Currency,
) -> Result<Vec<SalesDay>, StoreError> {
    let suffix = format!("/{currency}");
    let mut days = Vec::new();
    let mut after = None;
    loop {
        let mut select = Select::all(&PERIODS, SCAN_PAGE);
        if !period.day_prefix().is_empty() {
            select = select.key_prefix(period.day_prefix());
        }
        let page = select_views::<PeriodRow>(rows, &select.after(after.take()))?;
        let full = page.len() == SCAN_PAGE;
        after = page.last().map(|(key, _)| vec![key.as_str().into()]);
        for (key, row) in page {
            // Years and months stand between the days.
            if let Some(date) = key.strip_suffix(&suffix).filter(|date| date.len() == 10) {
                days.push(SalesDay::new(date, &row.figures));
            }
        }
        if !full {
            return Ok(days);
        }
    }
}

impl SalesDay {
    pub(crate) fn new(date: &str, figures: &Figures) -> Self {
        Self {
            date: date.to_owned(),
            gross_revenue: figures.gross_revenue,
            refunds: figures.refunds,
            orders: figures.orders,
            quantity: figures.quantity,
        }
    }
}

impl From<ShareRow> for CountryShare {
    fn from(ShareRow { value, figures }: ShareRow) -> Self {
        let Figures { gross_revenue, refunds, orders, quantity } = figures;
        Self { country: value.into(), gross_revenue, refunds, orders, quantity }
    }
}

impl From<ShareRow> for CategoryShare {
    fn from(ShareRow { value, figures }: ShareRow) -> Self {
        let Figures { gross_revenue, refunds, orders, quantity } = figures;
        Self { category: value.into(), gross_revenue, refunds, orders, quantity }
    }
}

impl From<ShareRow> for PaymentMethodShare {
    fn from(ShareRow { value, figures }: ShareRow) -> Self {
        let Figures { gross_revenue, refunds, orders, quantity } = figures;
        Self { payment_method: value.into(), gross_revenue, refunds, orders, quantity }
    }
}

impl TopProduct {
    fn new(rows: &dyn ReadTransaction, row: EarnerRow) -> Result<Self, StoreError> {
        let Figures { gross_revenue, refunds, orders, quantity } = row.figures;
        let (sku, name) = name_of(rows, row.variant_id.as_str())?;
        Ok(Self {
            variant_id: row.variant_id.to_string(),
            sku,
            name,
            gross_revenue,
            refunds,
            quantity,
            orders,
        })
    }
}
