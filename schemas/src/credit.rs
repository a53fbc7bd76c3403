//! Events of a credit (`credit-{id}`): money given back or written off without an order that covers it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::macros::events;
use crate::{CreditId, CustomerId, Label, Money, Quantity, Sku, Text, Timestamp, VariantId};

/// A credit note. Counts as a refund at `issued_at`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Issued {
    pub credit_id: CreditId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    pub variant_id: VariantId,
    pub sku: Sku,
    pub name: Label,
    pub category: Label,
    pub quantity: Quantity,
    /// What is given back, zero or more.
    pub amount: Money,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
    pub issued_at: Timestamp,
}

/// An adjustment of bad debt: a correction of the books, neither revenue nor refund. Negative: money lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BadDebtAdjusted {
    pub credit_id: CreditId,
    pub amount: Money,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
    pub adjusted_at: Timestamp,
}

events! {
    /// What happens to a credit.
    "credit" {
        Issued = "credit.issued" v 1,
        BadDebtAdjusted = "credit.bad_debt_adjusted" v 1,
    }
}
