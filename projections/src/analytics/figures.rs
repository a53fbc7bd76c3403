//! The figures that every aggregate has.

use daybook_schemas::{Currency, Money};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::add;
use crate::model::ProjectError;

/// Revenue, refunds, orders and units. Sums are exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Figures {
    /// What was ordered.
    pub gross_revenue: Money,
    /// What was given back, refunds and credits.
    pub refunds: Money,
    pub orders: i64,
    /// Units ordered.
    pub quantity: i64,
}

impl Figures {
    /// Nothing yet.
    #[must_use]
    pub fn zero(currency: Currency) -> Self {
        Self { gross_revenue: Money::zero(currency), refunds: Money::zero(currency), orders: 0, quantity: 0 }
    }

    /// Whether nothing counts (any more).
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.gross_revenue.is_zero() && self.refunds.is_zero() && self.orders == 0 && self.quantity == 0
    }

    /// Counts an order (`sign` 1), or takes it out (−1).
    pub fn order(&mut self, gross: Money, quantity: i64, sign: i64) -> Result<(), ProjectError> {
        add(&mut self.gross_revenue, gross, sign)?;
        self.orders += sign;
        self.quantity += sign * quantity;
        Ok(())
    }

    /// Counts a refund.
    pub fn refund(&mut self, amount: Money) -> Result<(), ProjectError> {
        add(&mut self.refunds, amount, 1)
    }

    /// Gross revenue less refunds.
    #[must_use]
    pub fn net_revenue(&self) -> Money {
        self.gross_revenue.minus(self.refunds).unwrap_or(self.gross_revenue)
    }

    /// Gross revenue by order, rounded; zero without orders.
    #[must_use]
    pub fn average_order_value(&self) -> Money {
        self.gross_revenue.average(u64::try_from(self.orders).unwrap_or(0))
    }
}
