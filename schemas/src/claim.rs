//! Events of a claim (`claim-{kind}-{key}`): who owns a value that must be unique.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Token;
use crate::macros::events;

/// What is unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A SKU: for ever.
    Sku,
    /// A configuration hash: until the variant is archived.
    Config,
    /// Category, gender, region and value of a size: for ever.
    Size,
    /// A slug of a colour, present or previous: for ever.
    Color,
    /// The code of an attribute type: for ever.
    AttributeType,
    /// Type and value of an attribute value: for ever.
    AttributeValue,
    /// A slug of a category, present or previous: for ever.
    Category,
    /// The number of an order, given or its id: for ever.
    OrderNumber,
}

impl Kind {
    /// The name in the stream.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sku => "sku",
            Self::Config => "config",
            Self::Size => "size",
            Self::Color => "color",
            Self::AttributeType => "attribute_type",
            Self::AttributeValue => "attribute_value",
            Self::Category => "category",
            Self::OrderNumber => "order_number",
        }
    }
}

/// The value belongs to the owner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Taken {
    pub kind: Kind,
    pub key: String,
    /// The id of the variant, of the master data or of the order.
    pub owner: Token,
}

/// The value is free again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Released {
    pub kind: Kind,
    pub key: String,
    /// The id of the variant, of the master data or of the order.
    pub owner: Token,
}

events! {
    /// What happens to a claim.
    "claim" {
        Taken = "claim.taken" v 1,
        Released = "claim.released" v 1,
    }
}
