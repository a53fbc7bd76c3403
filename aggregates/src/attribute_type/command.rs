//! What can be asked of an attribute type.

use daybook_schemas::attribute_type::{AllowedValues, DataType};
use daybook_schemas::body::or_default;
use daybook_schemas::{Label, Text, Token};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::master::master_actions;

/// Creates an attribute type in state draft.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Create {
    /// What variants write as attribute type; the id unless given.
    #[serde(default)]
    pub code: Option<Token>,
    pub name: Label,
    pub data_type: DataType,
    #[serde(default, deserialize_with = "or_default")]
    pub allowed: AllowedValues,
    /// What numbers are measured in.
    #[serde(default)]
    pub unit: Option<Label>,
    #[serde(default)]
    pub description: Option<Text>,
    /// Where it may be used; empty: everywhere.
    #[serde(default, deserialize_with = "or_default")]
    pub channels: Vec<Token>,
    /// Where it may be used; empty: everywhere.
    #[serde(default, deserialize_with = "or_default")]
    pub regions: Vec<Token>,
    /// A fact: the id in the route; the command's fresh id unless given.
    #[serde(skip)]
    pub attribute_type_id: Option<Token>,
}

/// Changes the definition; absent fields stay. Values that exist already stay as they are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    #[serde(default)]
    pub name: Option<Label>,
    #[serde(default)]
    pub allowed: Option<AllowedValues>,
    #[serde(default)]
    pub unit: Option<Label>,
    #[serde(default)]
    pub description: Option<Text>,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<Text>,
}

/// Sets channels and regions; an absent list stays, an empty one means everywhere.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeSegmentation {
    #[serde(default)]
    pub channels: Option<Vec<Token>>,
    #[serde(default)]
    pub regions: Option<Vec<Token>>,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<Text>,
}

master_actions! {
    /// What can be asked of an attribute type.
    routed {
        "create": Create(Box<Create>), "Creates an attribute type in state draft; its code is unique.";
        "change": Change(Box<Change>), "Changes the definition; counts its number up.";
        "change-segmentation": ChangeSegmentation(ChangeSegmentation), "Sets the channels and regions where it may be used.";
    }
    composed {}
}
