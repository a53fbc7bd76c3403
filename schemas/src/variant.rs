//! Events of a variant (`variant-{id}`): one sellable configuration of a product.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::macros::events;
use crate::prices::PriceList;
use crate::{
    CategoryId, Currency, Label, Money, ProductId, ScheduleId, Sku, Text, Timestamp, Token, ValueId,
    VariantId,
};

/// An attribute value as it was when copied into the variant, so that reading a variant joins nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AttributeSnapshot {
    /// Attribute type, such as `color`.
    #[serde(rename = "type")]
    pub kind: Token,
    /// The value as merchandisers write it, such as `Navy`.
    pub value: Label,
    /// Identity of the value in the master data.
    pub value_id: ValueId,
    /// What customers read.
    pub display: Label,
    /// Colour as `#rrggbb`, lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<HexColor>,
    /// Place in an ordered scale, such as sizes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<i32>,
}

crate::macros::text_newtypes! {
    /// A colour as `#rrggbb` in lower case.
    HexColor: |text| {
        let ok = text.len() == 7
            && text.starts_with('#')
            && text[1..].bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if ok { Ok(()) } else { Err(format!("a colour is # and six lower-case hexadecimal digits, got {:?}", text.chars().take(20).collect::<String>())) }
    }, schemars::json_schema!({"type": "string", "pattern": "^#[0-9a-f]{6}$"});
}

/// A price: the amount asked, and the one it is compared with (the crossed-out one), same currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    pub amount: Money,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare_at: Option<Money>,
    #[serde(default)]
    pub price_type: PriceType,
}

impl Price {
    /// The currency.
    #[must_use]
    pub const fn currency(&self) -> Currency {
        self.amount.currency()
    }
}

/// Why a price stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PriceType {
    #[default]
    Regular,
    Sale,
    Clearance,
}

/// The lifecycle of a variant, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    Draft,
    PendingApproval,
    Active,
    Mature,
    Clearance,
    Discontinued,
    Archived,
}

impl Lifecycle {
    /// All states, in order.
    pub const ALL: [Self; 7] = [
        Self::Draft,
        Self::PendingApproval,
        Self::Active,
        Self::Mature,
        Self::Clearance,
        Self::Discontinued,
        Self::Archived,
    ];

    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::PendingApproval => "pending_approval",
            Self::Active => "active",
            Self::Mature => "mature",
            Self::Clearance => "clearance",
            Self::Discontinued => "discontinued",
            Self::Archived => "archived",
        }
    }

    /// Whether customers may buy it.
    #[must_use]
    pub const fn is_sellable(self) -> bool {
        matches!(self, Self::Active | Self::Mature | Self::Clearance)
    }
}

/// What a lock refuses to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LockScope {
    Price,
    Lifecycle,
    Details,
    Segmentation,
}

impl LockScope {
    pub const ALL: [Self; 4] = [Self::Price, Self::Lifecycle, Self::Details, Self::Segmentation];
}

/// The variant came to be, in state draft. Configuration and SKU never change afterwards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Created {
    pub variant_id: VariantId,
    pub product_id: ProductId,
    /// Variants shown together; the product unless given.
    pub product_group: Label,
    pub sku: Sku,
    pub name: Label,
    pub brand: Label,
    pub category: Label,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Text>,
    /// Sorted by type, then value id; at most one value a type and value id.
    pub attributes: Vec<AttributeSnapshot>,
    /// See `configuration::hash`.
    pub config_hash: String,
    /// See `configuration::signature`.
    pub config_signature: String,
    /// Where it is sold; empty: everywhere.
    pub channels: Vec<Token>,
    /// Where it is sold; empty: everywhere.
    pub regions: Vec<Token>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    pub created_at: Timestamp,
}

/// The price that stands from now on. Version 1 had `amount` and `currency` at the top and no previous price.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceChanged {
    pub price: Price,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Price>,
    pub effective_from: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_to: Option<Timestamp>,
    pub reason: Text,
    /// The schedule that took effect, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_id: Option<ScheduleId>,
}

/// A price that is to take effect at `effective_from`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceScheduled {
    pub schedule_id: ScheduleId,
    pub price: Price,
    pub effective_from: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_to: Option<Timestamp>,
    pub reason: Text,
}

/// A scheduled price will not take effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceScheduleCancelled {
    pub schedule_id: ScheduleId,
    pub reason: Text,
}

/// The price of a list from now on; without a price the list has none from now on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListPriceChanged {
    pub list: PriceList,
    /// In the list's currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Price>,
    pub effective_from: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_to: Option<Timestamp>,
    pub reason: Text,
    /// The schedule that took effect, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_id: Option<ScheduleId>,
}

/// A price of a list that is to take effect at `effective_from`; without a price the list is to end then. It is taken back by
/// `variant.price_schedule_cancelled`, like any.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListPriceScheduled {
    pub list: PriceList,
    pub schedule_id: ScheduleId,
    /// In the list's currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    pub effective_from: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_to: Option<Timestamp>,
    pub reason: Text,
}

/// Descriptive fields as they are from now on; absent ones stay.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DetailsChanged {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brand: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_group: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Text>,
    /// Why, as whoever did it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
}

/// Channels and regions as they are from now on; empty: everywhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SegmentationChanged {
    pub channels: Vec<Token>,
    pub regions: Vec<Token>,
    /// Why, as whoever did it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
}

/// A governance lock: what it covers refuses changes until it is lifted or runs out. Version 1 did not say who locked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// Sorted, without repetition, at least one.
    pub scopes: Vec<LockScope>,
    pub reason: Text,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The principal that locked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_by: Option<Label>,
}

/// The lock was lifted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unlocked {
    pub reason: Text,
}

/// Where attribute values of the master data live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MasterKind {
    Size,
    Color,
    AttributeValue,
}

impl MasterKind {
    /// The name of the aggregate.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Color => "color",
            Self::AttributeValue => "attribute_value",
        }
    }
}

/// An attribute value of the master data that the variant has.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ValueReference {
    pub kind: MasterKind,
    pub value_id: ValueId,
}

/// The master data that counts the variant as its user from now on. Written with the creation; a variant without it names
/// everything inline.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReferencesBound {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category_id: Option<CategoryId>,
    /// Values of attributes, and that of the brand. Sorted, without repetition.
    pub values: Vec<ValueReference>,
    /// Registered types, by id, whose values are colours or sizes, which do not count for their type. Sorted, without repetition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attribute_types: Vec<Token>,
}

/// Master data changed: what customers see of one attribute value from now on. The configuration stays what it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AttributeRefreshed {
    pub value_id: ValueId,
    pub display: Label,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<HexColor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<i32>,
    /// Whether the value is deprecated or archived.
    #[serde(default)]
    pub deprecated: bool,
}

/// Declares the lifecycle events, which carry where the variant came from and why.
macro_rules! transitions {
    ($( $(#[$meta:meta])* $name:ident )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// The state before.
            pub from: Lifecycle,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub reason: Option<Text>,
        }
    )*};
}

transitions! {
    /// Draft → pending approval.
    Submitted
    /// Pending approval → draft.
    Rejected
    /// Pending approval → active.
    Activated
    /// Active → mature.
    Matured
    /// Active or mature → clearance.
    Cleared
    /// Active, mature or clearance → discontinued.
    Discontinued
    /// Discontinued → active.
    Reactivated
    /// Discontinued (or draft) → archived, for ever.
    Archived
}

events! {
    /// What happens to a variant.
    "variant" {
        Created = "variant.created" v 1,
        PriceChanged = "variant.price_changed" v 2,
        PriceScheduled = "variant.price_scheduled" v 1,
        PriceScheduleCancelled = "variant.price_schedule_cancelled" v 1,
        DetailsChanged = "variant.details_changed" v 2,
        SegmentationChanged = "variant.segmentation_changed" v 2,
        Locked = "variant.locked" v 2,
        Unlocked = "variant.unlocked" v 1,
        Submitted = "variant.submitted" v 1,
        Rejected = "variant.rejected" v 1,
        Activated = "variant.activated" v 1,
        Matured = "variant.matured" v 1,
        Cleared = "variant.cleared" v 1,
        Discontinued = "variant.discontinued" v 1,
        Reactivated = "variant.reactivated" v 1,
        Archived = "variant.archived" v 1,
        ReferencesBound = "variant.references_bound" v 2,
        AttributeRefreshed = "variant.attribute_refreshed" v 1,
        ListPriceChanged = "variant.list_price_changed" v 1,
        ListPriceScheduled = "variant.list_price_scheduled" v 1,
    }
}
