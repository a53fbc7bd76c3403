//! Events of a category (`category-{id}`): a place in the tree of goods.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::macros::events;
use crate::master::{
    Activated, Archived, Deprecated, Locked, Reinstated, Rejected, SegmentationChanged, Submitted, Unlocked,
    UsageChanged,
};
use crate::rules::CombinationRules;
use crate::{CategoryId, Label, Slug, Text, Token};

/// The category came to be, in state draft.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Created {
    pub category_id: CategoryId,
    /// Unique over the whole tree.
    pub slug: Slug,
    pub name: Label,
    /// None for a root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<CategoryId>,
    /// The slugs from the root to here, joined by `/`.
    pub path: String,
    /// 0 for a root.
    pub depth: u8,
    /// Which attributes its variants have; those of its ancestors hold as well.
    pub attribute_schema: CombinationRules,
    /// Where its variants may be sold; empty: everywhere.
    pub channels: Vec<Token>,
    /// Where its variants may be sold; empty: everywhere.
    pub regions: Vec<Token>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Text>,
}

/// What of the category is different from now on; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Changed {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Text>,
    /// Why, as whoever did it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
}

/// The attributes that variants of the category have from now on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SchemaChanged {
    pub attribute_schema: CombinationRules,
    /// Why, as whoever did it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
}

/// The category has another slug; the one before still leads to it and is never any other's. Its own path and those of all that
/// is below it follow in the same append.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlugChanged {
    pub slug: Slug,
    pub previous: Slug,
    pub path: String,
    pub reason: Text,
}

/// The category hangs elsewhere in the tree, with all that is below it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Moved {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_parent: Option<CategoryId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_parent: Option<CategoryId>,
    pub path: String,
    pub depth: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
}

/// The path follows that of a category above. Written in the same append as what happened there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PathChanged {
    pub path: String,
    pub depth: u8,
}

/// A category hangs below this one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChildAdded {
    pub child_id: CategoryId,
}

/// A category no longer hangs below this one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChildRemoved {
    pub child_id: CategoryId,
}

events! {
    /// What happens to a category.
    "category" {
        Created = "category.created" v 1,
        Changed = "category.changed" v 2,
        SchemaChanged = "category.schema_changed" v 2,
        SegmentationChanged = "category.segmentation_changed" v 2,
        SlugChanged = "category.slug_changed" v 1,
        Moved = "category.moved" v 1,
        PathChanged = "category.path_changed" v 1,
        ChildAdded = "category.child_added" v 1,
        ChildRemoved = "category.child_removed" v 1,
        Submitted = "category.submitted" v 1,
        Rejected = "category.rejected" v 1,
        Activated = "category.activated" v 1,
        Deprecated = "category.deprecated" v 1,
        Reinstated = "category.reinstated" v 1,
        Archived = "category.archived" v 1,
        Locked = "category.locked" v 1,
        Unlocked = "category.unlocked" v 1,
        UsageChanged = "category.usage_changed" v 1,
    }
}
