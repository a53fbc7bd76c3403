//! Events of a product (`product-{id}`): the rules for its variants, and which were generated from its options.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::macros::events;
use crate::rules::CombinationRules;
use crate::{ProductId, Sku, Text, VariantId};

/// The rules for the product's variants from now on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RulesSet {
    pub product_id: ProductId,
    pub rules: CombinationRules,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
}

/// A variant that was generated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Generated {
    pub variant_id: VariantId,
    pub sku: Sku,
    /// The configuration, readable.
    pub signature: String,
}

/// A combination that was not generated, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// The configuration, readable.
    pub signature: String,
    pub code: String,
    pub detail: String,
}

/// Options were expanded into variants; each of them is there in the same append.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VariantsGenerated {
    pub product_id: ProductId,
    pub variants: Vec<Generated>,
    pub left_out: Vec<LeftOut>,
}

events! {
    /// What happens to a product.
    "product" {
        RulesSet = "product.rules_set" v 1,
        VariantsGenerated = "product.variants_generated" v 1,
    }
}
