//! What can be asked of a size.

use daybook_schemas::body::or_default;
use daybook_schemas::size::{Conversions, Gender, Region};
use daybook_schemas::{Label, Text, Token, ValueId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::master::master_actions;

/// Creates a size in state draft.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Create {
    /// The kind of goods, such as `shoes`.
    pub category: Token,
    pub gender: Gender,
    pub region: Region,
    pub value: Label,
    /// What customers read; the value unless given.
    #[serde(default)]
    pub display_name: Option<Label>,
    /// What other regions call it.
    #[serde(default, deserialize_with = "or_default")]
    pub conversions: Conversions,
    /// Its place in the order; read from the value unless given.
    #[serde(default)]
    pub rank: Option<i32>,
    /// A fact: the id in the route; the command's fresh id unless given.
    #[serde(skip)]
    pub size_id: Option<ValueId>,
}

/// Changes what may change; absent fields stay.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    #[serde(default)]
    pub display_name: Option<Label>,
    /// All conversions as they are from now on.
    #[serde(default)]
    pub conversions: Option<Conversions>,
    #[serde(default)]
    pub rank: Option<i32>,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<Text>,
}

master_actions! {
    /// What can be asked of a size.
    routed {
        "create": Create(Box<Create>), "Creates a size in state draft; category, gender, region and value are unique together.";
        "change": Change(Change), "Changes display name, conversions or rank.";
    }
    composed {}
}
