//! Events of a size (`size-{id}`): one size of a category, a gender and a region.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::macros::events;
use crate::master::{
    Activated, Archived, Deprecated, Locked, Reinstated, Rejected, Submitted, Unlocked, UsageChanged,
};
use crate::{Label, Text, Token, ValueId};

/// Whom a size is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Gender {
    Women,
    Men,
    Unisex,
    Girls,
    Boys,
    Kids,
    Infants,
}

impl Gender {
    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Women => "women",
            Self::Men => "men",
            Self::Unisex => "unisex",
            Self::Girls => "girls",
            Self::Boys => "boys",
            Self::Kids => "kids",
            Self::Infants => "infants",
        }
    }
}

/// The system that a size is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Region {
    Us,
    Uk,
    Eu,
    Jp,
    Au,
    Cn,
    /// One that is read the same everywhere, such as `M`.
    International,
}

impl Region {
    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Us => "us",
            Self::Uk => "uk",
            Self::Eu => "eu",
            Self::Jp => "jp",
            Self::Au => "au",
            Self::Cn => "cn",
            Self::International => "international",
        }
    }
}

/// The same size as other regions write it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Conversions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub us: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uk: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eu: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jp: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub au: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cn: Option<Label>,
}

impl Conversions {
    /// The size as a region writes it. International sizes have none.
    #[must_use]
    pub const fn of(&self, region: Region) -> Option<&Label> {
        match region {
            Region::Us => self.us.as_ref(),
            Region::Uk => self.uk.as_ref(),
            Region::Eu => self.eu.as_ref(),
            Region::Jp => self.jp.as_ref(),
            Region::Au => self.au.as_ref(),
            Region::Cn => self.cn.as_ref(),
            Region::International => None,
        }
    }

    /// The place for a region's value.
    pub const fn of_mut(&mut self, region: Region) -> Option<&mut Option<Label>> {
        match region {
            Region::Us => Some(&mut self.us),
            Region::Uk => Some(&mut self.uk),
            Region::Eu => Some(&mut self.eu),
            Region::Jp => Some(&mut self.jp),
            Region::Au => Some(&mut self.au),
            Region::Cn => Some(&mut self.cn),
            Region::International => None,
        }
    }
}

/// The size came to be, in state draft. Category, gender, region and value never change and are unique together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Created {
    /// What variants refer to as value id.
    pub size_id: ValueId,
    /// The kind of goods, such as `shoes`.
    pub category: Token,
    pub gender: Gender,
    pub region: Region,
    pub value: Label,
    pub display_name: Label,
    /// Its own region's value is among them.
    pub conversions: Conversions,
    /// Smaller sizes first; see the rule of normalized ranks.
    pub rank: i32,
}

/// What of the size is different from now on; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Changed {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversions: Option<Conversions>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<i32>,
    /// Why, as whoever did it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
}

events! {
    /// What happens to a size.
    "size" {
        Created = "size.created" v 1,
        Changed = "size.changed" v 2,
        Submitted = "size.submitted" v 1,
        Rejected = "size.rejected" v 1,
        Activated = "size.activated" v 1,
        Deprecated = "size.deprecated" v 1,
        Reinstated = "size.reinstated" v 1,
        Archived = "size.archived" v 1,
        Locked = "size.locked" v 1,
        Unlocked = "size.unlocked" v 1,
        UsageChanged = "size.usage_changed" v 1,
    }
}
