//! What the three analytics read models share: which orders count when, by which figures, in which periods.
//!
//! **What counts.** An order counts from `order.placed` on, at its `placed_at`. If it is cancelled, or its payment fails, before
//! it was paid, it is taken out again from the periods of its `placed_at`; paid after all, it counts again. An order that is
//! cancelled after payment stays, and its refund counts as a refund. Refunds count at `refunded_at` and credits at `issued_at`,
//! for the country, category, payment method, product and customer of what they give back; a credit has no payment
//! method, which shows as `unknown`, as does a missing country. Bad-debt adjustments count nowhere.
//!
//! Rows do not depend on how a log orders the events of different streams: sums don't care, and `names` says which name wins.
//!
//! Figures are kept by currency and never added across currencies. Periods are `all`, years, months and days in UTC.

mod facts;
mod figures;
pub(crate) mod names;
mod parts;
pub(crate) mod period;

pub use facts::{FactLine, OrderFacts};
pub(crate) use facts::{Movement, ORDER_FACTS, Refund, handles, movement, pass_over};
pub use figures::Figures;
pub(crate) use names::NAMES;
pub use names::NameRow;
pub(crate) use parts::group;
pub use period::{Period, PeriodError};
pub(crate) use period::{newcomers, presence};

use daybook_schemas::{Currency, Money, MoneyError};

use crate::model::ProjectError;

/// Stands where a country or payment method is not known.
pub const UNKNOWN: &str = "unknown";

/// The currency of figures that are all zero because there is nothing at all.
pub const FALLBACK_CURRENCY: Currency = Currency::GBP;

pub(crate) fn rejected(error: MoneyError) -> ProjectError {
    ProjectError::Rejected(error.to_string())
}

/// `sum + sign × amount`, exact.
pub(crate) fn add(sum: &mut Money, amount: Money, sign: i64) -> Result<(), ProjectError> {
    let changed = if sign < 0 { sum.minus(amount) } else { sum.plus(amount) };
    *sum = changed.map_err(rejected)?;
    Ok(())
}
