//! What can be asked of a category.

use daybook_schemas::body::or_default;
use daybook_schemas::master::Lifecycle;
use daybook_schemas::rules::CombinationRules;
use daybook_schemas::{CategoryId, Label, Slug, Text, Token};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attribute_type::ChangeSegmentation;
use crate::master::master_actions;

/// Creates a category in state draft.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Create {
    pub name: Label,
    /// Read from the name unless given.
    #[serde(default)]
    pub slug: Option<Slug>,
    /// The category above; none for a root.
    #[serde(default)]
    pub parent_id: Option<CategoryId>,
    #[serde(default, deserialize_with = "or_default")]
    pub attribute_schema: CombinationRules,
    /// Where its variants may be sold; empty: everywhere.
    #[serde(default, deserialize_with = "or_default")]
    pub channels: Vec<Token>,
    /// Where its variants may be sold; empty: everywhere.
    #[serde(default, deserialize_with = "or_default")]
    pub regions: Vec<Token>,
    #[serde(default)]
    pub description: Option<Text>,
    /// A fact: the id in the route; the command's fresh id unless given.
    #[serde(skip)]
    pub category_id: Option<CategoryId>,
    /// A looked-up fact: the category above.
    #[serde(skip)]
    pub parent: Option<ParentFacts>,
}

/// What is known of a category above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentFacts {
    pub path: String,
    pub depth: u8,
    pub lifecycle: Lifecycle,
    /// How many hang right below it.
    pub children: usize,
    /// Itself and everything above it.
    pub line: Vec<CategoryId>,
}

/// Changes name or description; absent fields stay.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    #[serde(default)]
    pub name: Option<Label>,
    #[serde(default)]
    pub description: Option<Text>,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<Text>,
}

/// Sets the attributes that variants of the category have; variants that exist stay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeSchema {
    pub attribute_schema: CombinationRules,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<Text>,
}

/// Gives the category another slug; the one before still leads to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeSlug {
    pub slug: Slug,
    pub reason: Text,
}

/// Hangs the category elsewhere, with everything below it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// The category above from now on; absent: it becomes a root.
    #[serde(default)]
    pub parent_id: Option<CategoryId>,
    #[serde(default)]
    pub reason: Option<Text>,
    /// A looked-up fact: the category above from now on.
    #[serde(skip)]
    pub parent: Option<ParentFacts>,
    /// A looked-up fact: the levels below this one.
    #[serde(skip)]
    pub height: u8,
}

/// The path follows one above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repath {
    pub path: String,
    pub depth: u8,
}

/// A category hangs below this one from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopt {
    pub child_id: CategoryId,
}

/// A category hangs below this one no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disown {
    pub child_id: CategoryId,
}

master_actions! {
    /// What can be asked of a category.
    routed {
        "create": Create(Box<Create>), "Creates a category in state draft, as a root or below another.";
        "change": Change(Change), "Changes name or description.";
        "change-schema": ChangeSchema(ChangeSchema), "Sets the attributes that its variants have.";
        "change-segmentation": ChangeSegmentation(ChangeSegmentation), "Sets the channels and regions where its variants may be sold.";
        "change-slug": ChangeSlug(ChangeSlug), "Gives it another slug; the one before still leads to it.";
        "move": Move(Move), "Hangs it elsewhere, with everything below it.";
    }
    composed {
        /// The path follows one above it.
        Repath(Repath),
        /// A category hangs below this one from now on.
        Adopt(Adopt),
        /// A category hangs below this one no longer.
        Disown(Disown),
    }
}
