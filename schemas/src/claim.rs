//! Events of a claim (`claim-{kind}-{key}`): who owns a value that must be unique.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::VariantId;
use crate::macros::events;

/// What is unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A SKU: for ever.
    Sku,
    /// A configuration hash: until the variant is archived.
    Config,
}

impl Kind {
    /// The name in the stream.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sku => "sku",
            Self::Config => "config",
        }
    }
}

/// The value belongs to the owner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Taken {
    pub kind: Kind,
    pub key: String,
    pub owner: VariantId,
}

/// The value is free again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Released {
    pub kind: Kind,
    pub key: String,
    pub owner: VariantId,
}

events! {
    /// What happens to a claim.
    "claim" {
        Taken = "claim.taken" v 1,
        Released = "claim.released" v 1,
    }
}
