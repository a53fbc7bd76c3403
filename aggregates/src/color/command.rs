//! What can be asked of a colour.

use daybook_schemas::body::or_default;
use daybook_schemas::color::VisualCategory;
use daybook_schemas::{Label, Slug, Text, ValueId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::master::master_actions;

/// Creates a colour in state draft.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Create {
    pub name: Label,
    /// `#rrggbb`, in either case.
    #[schemars(regex(pattern = r"^#[0-9a-fA-F]{6}$"))]
    pub hex: String,
    /// Read from the name unless given.
    #[serde(default)]
    pub slug: Option<Slug>,
    #[serde(default, deserialize_with = "or_default")]
    pub visual_category: VisualCategory,
    /// The broad colour it counts as, such as `blue`.
    #[serde(default)]
    pub family: Option<Label>,
    /// The one brand that may use it.
    #[serde(default)]
    pub brand: Option<Label>,
    /// A fact: the id in the route; the command's fresh id unless given.
    #[serde(skip)]
    pub color_id: Option<ValueId>,
}

/// Changes what may change; absent fields stay.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    #[serde(default)]
    pub name: Option<Label>,
    /// `#rrggbb`, in either case.
    #[serde(default)]
    #[schemars(regex(pattern = r"^#[0-9a-fA-F]{6}$"))]
    pub hex: Option<String>,
    #[serde(default)]
    pub visual_category: Option<VisualCategory>,
    #[serde(default)]
    pub family: Option<Label>,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<Text>,
}

/// Gives the colour another slug; the one before still leads to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeSlug {
    pub slug: Slug,
    pub reason: Text,
}

/// Gives the colour to one brand, or, without a brand, back to everyone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Protect {
    #[serde(default)]
    pub brand: Option<Label>,
    pub reason: Text,
}

master_actions! {
    /// What can be asked of a colour.
    routed {
        "create": Create(Box<Create>), "Creates a colour in state draft; its slug leads to it for ever.";
        "change": Change(Change), "Changes name, tone, visual category or family.";
        "change-slug": ChangeSlug(ChangeSlug), "Gives it another slug; the one before still leads to it.";
        "protect": Protect(Protect), "Gives it to one brand, or back to everyone.";
    }
    composed {}
}
