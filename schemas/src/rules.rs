//! Which combinations of attribute values a variant may have.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Token, ValueId};

/// What is asked of one attribute type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AttributeRule {
    /// The code of the type.
    #[serde(rename = "type")]
    pub kind: Token,
    /// Every variant has a value of this type.
    #[serde(default)]
    pub required: bool,
    /// Only these values; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<ValueId>,
}

/// Two values that no variant has together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForbiddenPair {
    pub first: ValueId,
    pub second: ValueId,
}

/// Combination rules of a category or of a product. Empty rules allow everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CombinationRules {
    /// At most one for each type.
    #[serde(default)]
    pub attributes: Vec<AttributeRule>,
    #[serde(default)]
    pub forbidden: Vec<ForbiddenPair>,
    /// Whether types that `attributes` does not name are refused.
    #[serde(default)]
    pub closed: bool,
}
