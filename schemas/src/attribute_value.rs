//! Events of an attribute value (`attribute_value-{id}`): one value of an attribute type.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::macros::events;
use crate::master::{
    Activated, Archived, Deprecated, Locked, Reinstated, Rejected, SegmentationChanged, Submitted, Unlocked,
    UsageChanged,
};
use crate::variant::HexColor;
use crate::{Label, Text, Token, ValueId};

/// The value came to be, in state draft. Type and value never change and are unique together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Created {
    /// What variants refer to as value id.
    pub attribute_value_id: ValueId,
    pub attribute_type_id: Token,
    /// The code of the type.
    #[serde(rename = "type")]
    pub kind: Token,
    pub value: Label,
    pub display_name: Label,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<HexColor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<i32>,
    /// Where it may be used; empty: everywhere.
    pub channels: Vec<Token>,
    /// Where it may be used; empty: everywhere.
    pub regions: Vec<Token>,
}

/// What of the value is different from now on; what is absent stays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Changed {
    /// The number of this definition; the first is 1.
    pub definition: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<HexColor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<i32>,
    /// Why, as whoever did it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
}

events! {
    /// What happens to an attribute value.
    "attribute_value" {
        Created = "attribute_value.created" v 1,
        Changed = "attribute_value.changed" v 2,
        SegmentationChanged = "attribute_value.segmentation_changed" v 2,
        Submitted = "attribute_value.submitted" v 1,
        Rejected = "attribute_value.rejected" v 1,
        Activated = "attribute_value.activated" v 1,
        Deprecated = "attribute_value.deprecated" v 1,
        Reinstated = "attribute_value.reinstated" v 1,
        Archived = "attribute_value.archived" v 1,
        Locked = "attribute_value.locked" v 1,
        Unlocked = "attribute_value.unlocked" v 1,
        UsageChanged = "attribute_value.usage_changed" v 1,
    }
}
