//! Why a variant refuses a command.

use daybook_schemas::prices::PriceList;
use daybook_schemas::variant::{Lifecycle, LockScope, Locked};
use daybook_schemas::{Currency, Invalid, Label, MoneyError, ScheduleId, Text, Timestamp, Token, ValueId};

use super::{MAX_ATTRIBUTES, MAX_PRICE_LISTS, MAX_SCHEDULES, MAX_SEGMENTS, StockFacts};
use crate::lifecycle::{BrokenRule, Refused};
use crate::{Kind, RefusalItem, Reject};

/// Why a variant refuses a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("there is no such variant")]
    NotFound,
    #[error("a variant with this id exists already, with other content")]
    Exists,
    #[error(transparent)]
    Lifecycle(#[from] Refused),
    #[error("{} (and {} more, see errors)", .0[0], .0.len() - 1)]
    Several(Vec<Rejection>),
    #[error("{0}")]
    Broken(BrokenRule),
    #[error("the attribute type {kind} is registered and has no value {value:?}: create it first")]
    UnknownValue { kind: Token, value: Label },
    #[error("{value_id} belongs to the brand {brand}")]
    ProtectedColor { value_id: ValueId, brand: Label },
    #[error("{what} (rules of {source_of})")]
    Combination { source_of: String, what: String },
    #[error("{what} {name} is outside of what {source_of} allows")]
    Outside { what: &'static str, name: String, source_of: String },
    #[error("a variant is activated with a price only: change-price first")]
    NoPrice,
    #[error("a variant is not created in state {}", .0.as_str())]
    NotOnTheWay(Lifecycle),
    #[error("{}: a variant is archived with empty stock only", left(.0))]
    StockLeft(StockFacts),
    #[error("the stock of the variant was not looked up")]
    StockUnknown,
    #[error("{} is locked{}{}: {reason}", named(*.scope), whom(.by.as_ref()), end(.until.as_ref()))]
    Locked { scope: LockScope, reason: Text, until: Option<Timestamp>, by: Option<Label> },
    #[error(
        "a lock on {} stands{}{} ({}), and this one would lift it: unlock first, or cover the same and as long if it is yours",
        all_named(&.0.scopes), whom(.0.locked_by.as_ref()), end(.0.until.as_ref()), .0.reason
    )]
    LockStands(Box<Locked>),
    #[error("there is no scheduled price {0}")]
    NoSuchSchedule(ScheduleId),
    #[error("the variant has no price list for {0}")]
    NoSuchPriceList(PriceList),
    #[error("what everybody pays in {0} is the variant's own price: leave the list out")]
    OwnPriceIsNoList(Currency),
    #[error(
        "everybody who pays in its currency gets the price of list {0}, which would hide the own price: end the list first"
    )]
    ListHidesOwnPrice(PriceList),
    #[error("only operators bring a history along")]
    HistoryIsForOperators,
    #[error("at most {MAX_PRICE_LISTS} price lists")]
    TooManyPriceLists,
    #[error("at most {MAX_SCHEDULES} prices wait for their time")]
    TooManySchedules,
    #[error("a price is zero or more")]
    NegativePrice,
    #[error("the crossed-out price is not below the price")]
    CompareAtBelowPrice,
    #[error("effective_to is later than now and than effective_from")]
    PeriodEndsTooEarly,
    #[error("effective_to needs a price that can come back")]
    NothingToRestore,
    #[error("a lock covers at least one scope")]
    NothingToLock,
    #[error("a lock ends in the future")]
    LockEndsTooEarly,
    #[error("at most {MAX_ATTRIBUTES} attributes")]
    TooManyAttributes,
    #[error("at most {MAX_SEGMENTS} channels and {MAX_SEGMENTS} regions")]
    TooManySegments,
    #[error("attribute value id {0} stands for two different values")]
    AmbiguousValue(String),
    #[error("the SKU template needs a number from the sequence {0}, which was not looked up")]
    SkuNeedsSequence(String),
    #[error("{0}")]
    SkuTemplate(String),
    #[error("{0}")]
    Invalid(String),
}

impl From<Invalid> for Rejection {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid.0)
    }
}

impl From<MoneyError> for Rejection {
    fn from(error: MoneyError) -> Self {
        Self::Invalid(error.to_string())
    }
}

const fn named(scope: LockScope) -> &'static str {
    match scope {
        LockScope::Price => "the price",
        LockScope::Lifecycle => "the lifecycle",
        LockScope::Details => "the description",
        LockScope::Segmentation => "the segmentation",
    }
}

fn all_named(scopes: &[LockScope]) -> String {
    scopes.iter().map(|scope| named(*scope)).collect::<Vec<_>>().join(", ")
}

fn left(stock: &StockFacts) -> String {
    let StockFacts { on_hand, reserved, damaged, incoming } = stock;
    let mut left = format!("{on_hand} units are on hand and {reserved} are held");
    if *damaged > 0 || *incoming > 0 {
        left.push_str(&format!(", {damaged} are damaged and {incoming} on their way"));
    }
    left
}

fn whom(by: Option<&Label>) -> String {
    by.map(|by| format!(" by {by}")).unwrap_or_default()
}

fn end(until: Option<&Timestamp>) -> String {
    until.map(|until| format!(" until {until}")).unwrap_or_default()
}

impl Reject for Rejection {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound | Self::NoSuchSchedule(_) | Self::NoSuchPriceList(_) => "not_found",
            Self::Exists => "duplicate_variant",
            Self::Lifecycle(refused) => refused.code(),
            // The first reason decides; every reason has its own code in `errors`.
            Self::Several(reasons) => reasons.first().map_or("unprocessable", Reject::code),
            Self::HistoryIsForOperators => "forbidden",
            Self::StockLeft(_) => "stock_left",
            Self::Combination { .. } => "combination_not_allowed",
            Self::Locked { .. } | Self::LockStands(_) => "locked",
            Self::NoPrice
            | Self::StockUnknown
            | Self::Broken(_)
            | Self::UnknownValue { .. }
            | Self::ProtectedColor { .. }
            | Self::Outside { .. }
            | Self::TooManySchedules
            | Self::TooManyPriceLists
            | Self::OwnPriceIsNoList(_)
            | Self::ListHidesOwnPrice(_)
            | Self::NegativePrice
            | Self::CompareAtBelowPrice
            | Self::PeriodEndsTooEarly
            | Self::NothingToRestore
            | Self::LockEndsTooEarly
            | Self::SkuNeedsSequence(_)
            | Self::SkuTemplate(_)
            | Self::AmbiguousValue(_) => "unprocessable",
            Self::NothingToLock
            | Self::NotOnTheWay(_)
            | Self::TooManyAttributes
            | Self::TooManySegments
            | Self::Invalid(_) => "invalid_request",
        }
    }

    fn kind(&self) -> Kind {
        match self.code() {
            "not_found" => Kind::NotFound,
            "locked" => Kind::Locked,
            "unprocessable" => Kind::Unprocessable,
            "combination_not_allowed" => Kind::Unprocessable,
            "invalid_request" => Kind::Invalid,
            "forbidden" => Kind::Forbidden,
            _ => Kind::Conflict,
        }
    }

    fn errors(&self) -> Vec<RefusalItem> {
        let Self::Several(reasons) = self else { return Vec::new() };
        let item = |reason: &Self| RefusalItem {
            code: reason.code(),
            detail: reason.to_string(),
            subject: if let Self::Broken(broken) = reason { Some(broken.id.clone()) } else { None },
        };
        reasons.iter().map(item).collect()
    }
}
