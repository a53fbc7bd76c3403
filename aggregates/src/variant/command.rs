//! What can be asked of a variant.

use daybook_schemas::body::{object_or_default, or_default};
use daybook_schemas::money::parse_decimal;
use daybook_schemas::prices::PriceList;
use daybook_schemas::variant::{HexColor, Lifecycle, LockScope, Price, PriceType, ReferencesBound};
use daybook_schemas::{
    Currency, Invalid, Label, Money, ProductId, ScheduleId, Sku, Text, Timestamp, Token, ValueId, VariantId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::History;
use super::masters::{Limit, MasterFacts, NamedRules, ValueFacts};
use crate::actions::actions;
use crate::lifecycle::BrokenRule;

/// A price in a command: amounts as decimal strings, one currency for both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPrice {
    /// Such as `"12.50"`, zero or more.
    pub amount: String,
    pub currency: Currency,
    /// The crossed-out price, not below the amount.
    #[serde(default)]
    pub compare_at: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub price_type: PriceType,
}

impl NewPrice {
    /// The price it stands for. Errors say what is wrong with the amounts.
    pub fn price(&self) -> Result<Price, Invalid> {
        let money = |text: &str| Money::new(parse_decimal(text)?, self.currency);
        let amount = money(&self.amount)?;
        let compare_at = self.compare_at.as_deref().map(money).transpose()?;
        Ok(Price { amount, compare_at, price_type: self.price_type })
    }
}

/// One attribute of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAttribute {
    /// Attribute type, such as `color`.
    #[serde(rename = "type")]
    pub kind: Token,
    /// The value as merchandisers write it, such as `Navy`.
    pub value: Label,
    /// Identity of the value, in the master data where it is there; `{type}-{value in id form}` unless given.
    #[serde(default)]
    pub value_id: Option<ValueId>,
    /// What customers read; the value unless given.
    #[serde(default)]
    pub display: Option<Label>,
    /// Colour as `#rrggbb`, in either case.
    #[serde(default, deserialize_with = "any_case_hex")]
    #[schemars(with = "Option<String>", regex(pattern = r"^#[0-9a-fA-F]{6}$"))]
    pub hex: Option<HexColor>,
    /// Place in an ordered scale, such as sizes.
    #[serde(default)]
    pub rank: Option<i32>,
}

/// One value of an option: an attribute without its type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewValue {
    /// The value as merchandisers write it, such as `Navy`.
    pub value: Label,
    /// Identity of the value, in the master data where it is there; `{type}-{value in id form}` unless given.
    #[serde(default)]
    pub value_id: Option<ValueId>,
    /// What customers read; the value unless given.
    #[serde(default)]
    pub display: Option<Label>,
    /// Colour as `#rrggbb`, in either case.
    #[serde(default, deserialize_with = "any_case_hex")]
    #[schemars(with = "Option<String>", regex(pattern = r"^#[0-9a-fA-F]{6}$"))]
    pub hex: Option<HexColor>,
    /// Place in an ordered scale, such as sizes.
    #[serde(default)]
    pub rank: Option<i32>,
}

impl NewValue {
    /// The value as an attribute of a type.
    #[must_use]
    pub fn of_type(&self, kind: &Token) -> NewAttribute {
        NewAttribute {
            kind: kind.clone(),
            value: self.value.clone(),
            value_id: self.value_id.clone(),
            display: self.display.clone(),
            hex: self.hex.clone(),
            rank: self.rank,
        }
    }
}

fn any_case_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<HexColor>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| HexColor::new(text.to_ascii_lowercase())).transpose().map_err(serde::de::Error::custom)
}

/// How the SKU is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "strategy", rename_all = "snake_case", deny_unknown_fields)]
pub enum SkuStrategy {
    /// From the configuration hash.
    // With braces, so that unknown fields are refused here too.
    Auto {},
    /// From a template such as `{brand}-{color}-{size}-{seq}`. Placeholders: `brand`, `category`, `product`, `name`, any
    /// attribute type, `seq`; `{brand:3}` takes three characters, `{seq:4}` fills up with zeros to four digits.
    Template {
        template: String,
        /// Longest SKU it may make; 64 unless given.
        #[serde(default)]
        #[schemars(range(min = 1, max = 64))]
        max_length: Option<u8>,
    },
    /// Given by the client.
    Manual { value: Sku },
}

impl Default for SkuStrategy {
    fn default() -> Self {
        Self::Auto {}
    }
}

/// Creates a variant, in state draft unless another one is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Create {
    pub product_id: ProductId,
    /// Variants shown together; the product unless given.
    #[serde(default)]
    pub product_group: Option<Label>,
    pub name: Label,
    pub brand: Label,
    pub category: Label,
    /// At most 50.
    #[serde(default, deserialize_with = "or_default")]
    pub attributes: Vec<NewAttribute>,
    #[serde(default)]
    pub price: Option<NewPrice>,
    #[serde(default, deserialize_with = "object_or_default")]
    pub sku: SkuStrategy,
    /// Where it is sold; empty: everywhere.
    #[serde(default, deserialize_with = "or_default")]
    pub channels: Vec<Token>,
    /// Where it is sold; empty: everywhere.
    #[serde(default, deserialize_with = "or_default")]
    pub regions: Vec<Token>,
    #[serde(default)]
    pub description: Option<Text>,
    /// When it came to be, for imported histories; now unless given. Not in the future.
    #[serde(default)]
    pub created_at: Option<Timestamp>,
    /// The state to bring it to at once, `draft` unless given and `discontinued` at most: by every step of the lifecycle on the
    /// way, each with its roles and rules.
    #[serde(default)]
    pub lifecycle: Option<Lifecycle>,
    /// Past and waiting prices, lists and the lock, for a variant that comes from elsewhere.
    #[serde(default)]
    pub history: Option<Box<History>>,
    /// A fact: the id in the route; the command's fresh id unless given.
    #[serde(skip)]
    pub variant_id: Option<VariantId>,
    /// A looked-up fact: the SKU, where the strategy needs a sequence number or the automatic one was taken.
    #[serde(skip)]
    pub resolved_sku: Option<Sku>,
    /// A looked-up fact: the master data that counts the variant as its user; see [`super::masters::resolve`].
    #[serde(skip)]
    pub references: Option<Box<ReferencesBound>>,
}

/// Changes a price, the variant's own or a list's: now, or at a time to come; for good, or until a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePrice {
    pub price: NewPrice,
    /// Absent: the variant's own price. Else the price of a list, in the currency of the price; `{}` is the list of all who pay in
    /// that currency.
    #[serde(default)]
    pub list: Option<ListName>,
    /// Absent or not in the future: now.
    #[serde(default)]
    pub effective_from: Option<Timestamp>,
    /// When the price before comes back; on a list that had none, when it ends.
    #[serde(default)]
    pub effective_to: Option<Timestamp>,
    pub reason: Text,
}

/// A list in the currency of the price beside it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListName {
    /// Absent: every channel.
    #[serde(default)]
    pub channel: Option<Token>,
    /// Absent: every customer.
    #[serde(default)]
    pub customer_group: Option<Token>,
}

/// Ends a list: from then on its buyers get the price of a less specific list, or the variant's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndPriceList {
    pub list: PriceList,
    /// Absent or not in the future: now.
    #[serde(default)]
    pub effective_from: Option<Timestamp>,
    pub reason: Text,
}

/// Takes a scheduled price back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelPriceSchedule {
    pub schedule_id: ScheduleId,
    pub reason: Text,
}

/// Lets every scheduled price whose time has come take effect.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyDuePrices {}

/// Changes descriptive fields; absent ones stay. With another category or brand the rules, limits and protected colours of the master
/// data are those of the new one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeDetails {
    #[serde(default)]
    pub name: Option<Label>,
    #[serde(default)]
    pub brand: Option<Label>,
    #[serde(default)]
    pub category: Option<Label>,
    #[serde(default)]
    pub product_group: Option<Label>,
    #[serde(default)]
    pub description: Option<Text>,
    /// Where it is sold from then on, for a category or brand that is not where the variant is; it stays unless given.
    #[serde(default)]
    pub channels: Option<Vec<Token>>,
    /// As with the channels.
    #[serde(default)]
    pub regions: Option<Vec<Token>>,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<Text>,
    /// A looked-up fact: the master data of what the variant will be. Without it no reference changes.
    #[serde(skip)]
    pub masters: Option<Box<MasterFacts>>,
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
    /// A looked-up fact: where category, brand and attributes allow it to be sold.
    #[serde(skip)]
    pub limits: Vec<Limit>,
}

/// Master data changed: what customers see of one attribute value follows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshAttribute {
    pub value_id: ValueId,
    /// A looked-up fact: the value as the master data has it. Without it there is nothing to refresh.
    #[serde(skip)]
    pub value: Option<ValueFacts>,
}

/// Locks parts of the variant against change. One's own lock is replaced by one that covers
/// the same and as long; anything else that would lift a lock is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// At least one; all of them unless given.
    #[serde(default = "every_scope", deserialize_with = "or_every_scope")]
    pub scopes: Vec<LockScope>,
    pub reason: Text,
    /// When it ends by itself; never unless given.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// A fact: the principal behind the command.
    #[serde(skip)]
    pub locked_by: Option<Label>,
}

fn every_scope() -> Vec<LockScope> {
    LockScope::ALL.to_vec()
}

fn or_every_scope<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<LockScope>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_else(every_scope))
}

/// Lifts the lock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unlock {
    pub reason: Text,
}

/// A step of the lifecycle.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    #[serde(default)]
    pub reason: Option<Text>,
    /// A looked-up fact: the master data that the variant refers to and that is not live.
    #[serde(skip)]
    pub dead: Vec<BrokenRule>,
    /// A looked-up fact: the combination rules of its product and its category, as they are now.
    #[serde(skip)]
    pub rules: Vec<NamedRules>,
}

/// Retires the variant for ever: nothing may be in stock or held.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    #[serde(default)]
    pub reason: Option<Text>,
    /// A looked-up fact; without it the command is refused.
    #[serde(skip)]
    pub stock: Option<StockFacts>,
}

/// What the inventory of the variant holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StockFacts {
    /// Units on hand over all locations.
    pub on_hand: i64,
    /// Units in holds that have not run out.
    pub reserved: i64,
    /// Units that wait to be thrown away or sent back.
    pub damaged: i64,
    /// Units on their way.
    pub incoming: i64,
}

actions! {
    /// What can be asked of a variant.
    routed {
        "create": Create(Box<Create>), "Creates a variant, in state draft unless another one is asked for.";
        "change-price": ChangePrice(ChangePrice), "Changes the price, or that of a list, now or at a time to come.";
        "end-price-list": EndPriceList(EndPriceList), "Ends the prices of a list, now or at a time to come.";
        "cancel-price-schedule": CancelPriceSchedule(CancelPriceSchedule), "Takes a scheduled price back.";
        "change-details": ChangeDetails(ChangeDetails), "Changes name, brand, category, group or description.";
        "change-segmentation": ChangeSegmentation(ChangeSegmentation), "Sets the channels and regions where it is sold.";
        "lock": Lock(Lock), "Locks parts of the variant against change.";
        "unlock": Unlock(Unlock), "Lifts the lock.";
        "submit": Submit(Step), "Draft to pending approval.";
        "reject": Reject(Step), "Pending approval back to draft.";
        "approve": Approve(Step), "Pending approval to active; needs a price.";
        "activate": Activate(Step), "Pending approval to active; needs a price.";
        "mature": Mature(Step), "Active to mature.";
        "clear": Clear(Step), "Active or mature to clearance.";
        "discontinue": Discontinue(Step), "Active, mature or clearance to discontinued.";
        "reactivate": Reactivate(Step), "Discontinued back to active.";
        "archive": Archive(Archive), "Discontinued or draft to archived, for ever; needs empty stock.";
    }
    internal {
        "refresh-attribute": RefreshAttribute(RefreshAttribute), "Takes over what master data says of an attribute value.";
        "apply-due-prices": ApplyDuePrices(ApplyDuePrices), "Lets scheduled prices whose time has come take effect.";
    }
    described {}
    composed {}
}
