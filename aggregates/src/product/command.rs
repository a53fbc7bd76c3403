//! What can be asked of a product.

use daybook_schemas::body::{object_or_default, or_default};
use daybook_schemas::product::{Generated, LeftOut};
use daybook_schemas::rules::CombinationRules;
use daybook_schemas::{Label, ProductId, Text, Token};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::actions::actions;
use crate::variant::{NewAttribute, NewPrice, NewValue, SkuStrategy};

/// Sets the combination rules for the product's variants; they hold beside those of its category. Variants that exist stay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRules {
    pub rules: CombinationRules,
    #[serde(default)]
    pub reason: Option<Text>,
    /// A fact: the id in the route; the command's fresh id unless given.
    #[serde(skip)]
    pub product_id: Option<ProductId>,
}

/// One value of an option.
pub type OptionValue = NewValue;

/// An attribute with the values that variants are made for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProductOption {
    /// Attribute type, such as `color`.
    #[serde(rename = "type")]
    pub kind: Token,
    /// At least one.
    pub values: Vec<OptionValue>,
}

/// What happens when some combinations can't be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// All variants, or none and every reason.
    #[default]
    AllOrNothing,
    /// Those that can be; the others are told with their reasons.
    Each,
}

/// Makes a variant in state draft for every combination of the options' values, at most 2,048 at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GenerateVariants {
    pub name: Label,
    pub brand: Label,
    pub category: Label,
    /// Variants shown together; the product unless given.
    #[serde(default)]
    pub product_group: Option<Label>,
    /// At least one; no attribute type twice.
    pub options: Vec<ProductOption>,
    /// Attributes that all of the variants have.
    #[serde(default, deserialize_with = "or_default")]
    pub attributes: Vec<NewAttribute>,
    #[serde(default)]
    pub price: Option<NewPrice>,
    /// Automatic or from a template; a given SKU can't serve several.
    #[serde(default, deserialize_with = "object_or_default")]
    pub sku: SkuStrategy,
    #[serde(default, deserialize_with = "or_default")]
    pub channels: Vec<Token>,
    #[serde(default, deserialize_with = "or_default")]
    pub regions: Vec<Token>,
    #[serde(default)]
    pub description: Option<Text>,
    #[serde(default, deserialize_with = "or_default")]
    pub mode: Mode,
}

/// What was generated goes on record, in the same append as the variants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordGenerated {
    pub product_id: ProductId,
    pub variants: Vec<Generated>,
    pub left_out: Vec<LeftOut>,
}

actions! {
    /// What can be asked of a product.
    routed {
        "set-rules": SetRules(SetRules), "Sets the combination rules for its variants.";
    }
    internal {}
    described {
        "generate-variants": GenerateVariants, "Makes a variant for every combination of the options' values.";
    }
    composed {
        /// What was generated goes on record.
        RecordGenerated(RecordGenerated),
    }
}
