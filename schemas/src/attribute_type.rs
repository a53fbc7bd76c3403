//! Events of an attribute type (`attribute_type-{id}`): what kind of values an attribute has.

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::macros::events;
use crate::master::{
    Activated, Archived, Deprecated, Locked, Reinstated, Rejected, SegmentationChanged, Submitted, Unlocked,
    UsageChanged,
};
use crate::{Label, Text, Token};

/// What the values of a type are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DataType {
    Text,
    /// A decimal number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// Colours of the master data.
    Color,
    /// Sizes of the master data.
    Size,
}

crate::macros::text_newtypes! {
    /// A decimal number as text, such as `-0.5`.
    DecimalText: |text| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let only_digits = |part: &str, most| {
            (1..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
        };
        if only_digits(whole, 18) && only_digits(fraction, 9) {
            Ok(())
        } else {
            Err("a decimal number has at most 18 digits before and 9 after its point".to_owned())
        }
    }, schemars::json_schema!({"type": "string", "pattern": "^-?[0-9]{1,18}(\\.[0-9]{1,9})?$"});
}

impl DecimalText {
    /// The number.
    #[must_use]
    pub fn value(&self) -> Decimal {
        self.as_str().parse().expect("the rule admits decimal numbers only")
    }
}

/// Which values a type takes. What is absent does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AllowedValues {
    /// One of these, in either case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub one_of: Vec<Label>,
    /// A number not below this, as a decimal string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<DecimalText>,
    /// A number not above this, as a decimal string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<DecimalText>,
    /// At most so many characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u16>,
}

/// The type came to be, in state draft. Code and data type never change; no two types have one code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Created {
    pub attribute_type_id: Token,
    /// What variants write as attribute type, such as `color`.
    pub code: Token,
    pub name: Label,
    pub data_type: DataType,
    pub allowed: AllowedValues,
    /// What numbers are measured in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Text>,
    /// Where it may be used; empty: everywhere.
    pub channels: Vec<Token>,
    /// Where it may be used; empty: everywhere.
    pub regions: Vec<Token>,
}

/// What of the type is different from now on; what is absent stays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Changed {
    /// The number of this definition; the first is 1.
    pub definition: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<AllowedValues>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Text>,
    /// Why, as whoever did it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
}

events! {
    /// What happens to an attribute type.
    "attribute_type" {
        Created = "attribute_type.created" v 1,
        Changed = "attribute_type.changed" v 2,
        SegmentationChanged = "attribute_type.segmentation_changed" v 2,
        Submitted = "attribute_type.submitted" v 1,
        Rejected = "attribute_type.rejected" v 1,
        Activated = "attribute_type.activated" v 1,
        Deprecated = "attribute_type.deprecated" v 1,
        Reinstated = "attribute_type.reinstated" v 1,
        Archived = "attribute_type.archived" v 1,
        Locked = "attribute_type.locked" v 1,
        Unlocked = "attribute_type.unlocked" v 1,
        UsageChanged = "attribute_type.usage_changed" v 1,
    }
}
