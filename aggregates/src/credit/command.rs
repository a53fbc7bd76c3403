//! What can be asked of a credit.

use daybook_schemas::{CreditId, CustomerId, Label, Money, Quantity, Sku, Text, Timestamp, VariantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::actions::actions;

/// Gives money back for goods that no order covers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Issue {
    #[serde(default)]
    pub customer_id: Option<CustomerId>,
    pub variant_id: VariantId,
    pub sku: Sku,
    pub name: Label,
    pub category: Label,
    pub quantity: Quantity,
    /// What is given back, zero or more.
    pub amount: Money,
    #[serde(default)]
    pub country: Option<Label>,
    #[serde(default)]
    pub reference: Option<Label>,
    #[serde(default)]
    pub reason: Option<Text>,
    /// Now unless given.
    #[serde(default)]
    pub issued_at: Option<Timestamp>,
    /// A fact: the id in the route; the command's fresh id unless given.
    #[serde(skip)]
    pub credit_id: Option<CreditId>,
}

/// Corrects the books for bad debt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdjustBadDebt {
    /// Negative: money lost.
    pub amount: Money,
    #[serde(default)]
    pub country: Option<Label>,
    #[serde(default)]
    pub reference: Option<Label>,
    #[serde(default)]
    pub reason: Option<Text>,
    /// Now unless given.
    #[serde(default)]
    pub adjusted_at: Option<Timestamp>,
    /// A fact: the id in the route; the command's fresh id unless given.
    #[serde(skip)]
    pub credit_id: Option<CreditId>,
}

actions! {
    /// What can be asked of a credit.
    routed {
        "issue": Issue(Box<Issue>), "Gives money back for goods that no order covers.";
        "adjust-bad-debt": AdjustBadDebt(AdjustBadDebt), "Corrects the books for bad debt.";
    }
    internal {}
    described {}
    composed {}
}
