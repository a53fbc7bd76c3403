//! Events of a colour (`color-{id}`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::macros::events;
use crate::master::{
    Activated, Archived, Deprecated, Locked, Reinstated, Rejected, Submitted, Unlocked, UsageChanged,
};
use crate::variant::HexColor;
use crate::{Label, Slug, Text, ValueId};

/// How a colour looks beside its tone.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum VisualCategory {
    #[default]
    Solid,
    Metallic,
    Pattern,
    Gradient,
    Neon,
    Pastel,
    Transparent,
    Multicolor,
}

/// Red, green and blue, 0 to 255 each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rgb {
    pub r: u8,
    pub g: u8,
    pub b: u8,
}

/// Hue in degrees (0 to 359), saturation and lightness in per cent (0 to 100), rounded half up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hsl {
    pub h: u16,
    pub s: u8,
    pub l: u8,
}

/// A tone in its three forms; red, green, blue and hue, saturation, lightness follow from the hexadecimal form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tone {
    pub hex: HexColor,
    pub rgb: Rgb,
    pub hsl: Hsl,
}

/// The colour came to be, in state draft.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Created {
    /// What variants refer to as value id.
    pub color_id: ValueId,
    pub slug: Slug,
    pub name: Label,
    pub tone: Tone,
    pub visual_category: VisualCategory,
    /// The broad colour it counts as, such as `blue`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Label>,
    /// The one brand that may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brand: Option<Label>,
}

/// What of the colour is different from now on; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Changed {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tone: Option<Tone>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visual_category: Option<VisualCategory>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Label>,
    /// Why, as whoever did it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
}

/// The colour is found under another slug; the one before still leads to it and is never anyone else's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlugChanged {
    pub slug: Slug,
    pub previous: Slug,
    pub reason: Text,
}

/// One brand alone may use the colour from now on; without a brand, everyone may.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProtectionChanged {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brand: Option<Label>,
    pub reason: Text,
}

events! {
    /// What happens to a colour.
    "color" {
        Created = "color.created" v 1,
        Changed = "color.changed" v 2,
        SlugChanged = "color.slug_changed" v 1,
        ProtectionChanged = "color.protection_changed" v 1,
        Submitted = "color.submitted" v 1,
        Rejected = "color.rejected" v 1,
        Activated = "color.activated" v 1,
        Deprecated = "color.deprecated" v 1,
        Reinstated = "color.reinstated" v 1,
        Archived = "color.archived" v 1,
        Locked = "color.locked" v 1,
        Unlocked = "color.unlocked" v 1,
        UsageChanged = "color.usage_changed" v 1,
    }
}
