//! What can be asked of an attribute value.

use daybook_schemas::attribute_type::{AllowedValues, DataType};
use daybook_schemas::body::or_default;
use daybook_schemas::{Label, Text, Token, ValueId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attribute_type::ChangeSegmentation;
use crate::master::master_actions;

/// Creates an attribute value in state draft.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Create {
    /// The code of the type.
    #[serde(rename = "type")]
    pub kind: Token,
    pub value: Label,
    /// What customers read; the value unless given.
    #[serde(default)]
    pub display_name: Option<Label>,
    /// Colour as `#rrggbb`, in either case.
    #[serde(default)]
    #[schemars(regex(pattern = r"^#[0-9a-fA-F]{6}$"))]
    pub hex: Option<String>,
    /// Place in an ordered scale.
    #[serde(default)]
    pub rank: Option<i32>,
    /// Where it may be used; empty: everywhere.
    #[serde(default, deserialize_with = "or_default")]
    pub channels: Vec<Token>,
    /// Where it may be used; empty: everywhere.
    #[serde(default, deserialize_with = "or_default")]
    pub regions: Vec<Token>,
    /// A fact: the id in the route; the command's fresh id unless given.
    #[serde(skip)]
    pub attribute_value_id: Option<ValueId>,
    /// A looked-up fact: the type; without it the command is refused.
    #[serde(skip)]
    pub type_facts: Option<TypeFacts>,
}

/// What is known of the type that a value belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeFacts {
    pub attribute_type_id: Token,
    pub data_type: DataType,
    pub allowed: AllowedValues,
}

/// Changes what may change; absent fields stay.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    #[serde(default)]
    pub display_name: Option<Label>,
    /// Colour as `#rrggbb`, in either case.
    #[serde(default)]
    #[schemars(regex(pattern = r"^#[0-9a-fA-F]{6}$"))]
    pub hex: Option<String>,
    #[serde(default)]
    pub rank: Option<i32>,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<Text>,
}

master_actions! {
    /// What can be asked of an attribute value.
    routed {
        "create": Create(Box<Create>), "Creates a value of an attribute type in state draft; unique within the type.";
        "change": Change(Change), "Changes display name, colour or rank; counts its number up.";
        "change-segmentation": ChangeSegmentation(ChangeSegmentation), "Sets the channels and regions where it may be used.";
    }
    composed {}
}
