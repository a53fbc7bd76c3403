//! Why an order refuses a command.

use daybook_schemas::{Currency, Money, MoneyError, RefundId, ReturnId, ShipmentId};

use super::{MAX_LINES, Status};
use crate::lifecycle::list;
use crate::{Kind, Reject};

/// Ids told in one refusal.
const IDS_TOLD: usize = 20;

/// Why an order refuses a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("there is no such order")]
    NotFound,
    #[error("an order with this id was placed already, with other content")]
    DuplicateOrder,
    #[error("{command} is not possible in state {}; possible there: {}", .status.as_str(), list(.possible))]
    InvalidTransition { command: &'static str, status: Status, possible: Vec<&'static str> },
    #[error("an order has 1 to {MAX_LINES} lines, got {0}")]
    LineCount(usize),
    #[error("all lines of an order are in one currency, line {line} is in {found}, not {expected}")]
    MixedCurrencies { line: u32, found: Currency, expected: Currency },
    #[error("line {0}: a price and a tax are zero or more, a discount is above zero")]
    NegativeAmount(u32),
    #[error("line {0}: the discounts exceed quantity × unit price")]
    DiscountTooLarge(u32),
    #[error("{0}")]
    Money(#[from] MoneyError),
    #[error("the holds cover other goods than the lines that take from stock")]
    HoldsDoNotCover,
    #[error("the order has lines that take goods from stock: they are reserved before it is paid")]
    NotReserved,
    #[error("exactly {total} is to be paid, got {paid}")]
    WrongAmount { total: Money, paid: Money },
    #[error("there is no line {0}")]
    NoSuchLine(u32),
    #[error("line {0} stands there twice")]
    RepeatedLine(u32),
    #[error("name at least one line")]
    NoLines,
    #[error("line {line}: {left} units are left to ship, asked for {asked}")]
    ShipsTooMuch { line: u32, left: u32, asked: u32 },
    #[error("line {line}: {left} shipped units could come back, asked for {asked}")]
    ReturnsTooMuch { line: u32, left: u32, asked: u32 },
    #[error("line {line}: {left} units are left to refund, asked for {asked}")]
    RefundsTooManyUnits { line: u32, left: u32, asked: u32 },
    #[error("line {line}: {left} of what was paid is left, asked for {asked}")]
    RefundsTooMuch { line: u32, left: Money, asked: Money },
    #[error("line {0}: a refund is above zero")]
    RefundsNothing(u32),
    #[error("nothing is left to refund")]
    NothingToRefund,
    #[error("say what to refund, a return or lines: there is no return that arrived and is not refunded")]
    RefundOfWhat,
    #[error("say which return: {}", some_of(.0))]
    WhichReturn(Vec<ReturnId>),
    #[error("there is no return that has not arrived")]
    NoReturnOnItsWay,
    #[error("all that was shipped is coming back already")]
    NothingToReturn,
    #[error("there is no shipment {0}")]
    NoSuchShipment(ShipmentId),
    #[error("there is no return {0}")]
    NoSuchReturn(ReturnId),
    #[error("shipment {0} left already, with other lines")]
    DuplicateShipment(ShipmentId),
    #[error("return {0} was requested already, with other lines")]
    DuplicateReturn(ReturnId),
    #[error("refund {0} was made already, with other lines")]
    DuplicateRefund(RefundId),
    #[error("the goods of return {0} have not arrived")]
    NotReceived(ReturnId),
    #[error("return {0} was received already, and went elsewhere")]
    ReceivedOtherwise(ReturnId),
}

impl Reject for Rejection {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound | Self::NoSuchShipment(_) | Self::NoSuchReturn(_) => "not_found",
            Self::DuplicateOrder => "duplicate_order",
            Self::DuplicateShipment(_) => "duplicate_shipment",
            Self::DuplicateReturn(_) => "duplicate_return",
            Self::DuplicateRefund(_) => "duplicate_refund",
            Self::InvalidTransition { .. }
            | Self::NotReserved
            | Self::NoReturnOnItsWay
            | Self::NotReceived(_)
            | Self::ReceivedOtherwise(_) => "invalid_transition",
            Self::ShipsTooMuch { .. } => "exceeds_ordered",
            Self::ReturnsTooMuch { .. } | Self::NothingToReturn => "exceeds_shipped",
            Self::RefundsTooManyUnits { .. } => "exceeds_returned",
            Self::RefundsTooMuch { .. } | Self::NothingToRefund => "exceeds_paid",
            Self::LineCount(_)
            | Self::RepeatedLine(_)
            | Self::NoLines
            | Self::RefundOfWhat
            | Self::WhichReturn(_) => "invalid_request",
            Self::MixedCurrencies { .. }
            | Self::NegativeAmount(_)
            | Self::DiscountTooLarge(_)
            | Self::Money(_)
            | Self::HoldsDoNotCover
            | Self::WrongAmount { .. }
            | Self::NoSuchLine(_)
            | Self::RefundsNothing(_) => "unprocessable",
        }
    }

    fn kind(&self) -> Kind {
        match self.code() {
            "not_found" => Kind::NotFound,
            "invalid_request" => Kind::Invalid,
            "unprocessable" => Kind::Unprocessable,
            _ => Kind::Conflict,
        }
    }
}

fn some_of(ids: &[ReturnId]) -> String {
    let mut told: Vec<&str> = ids.iter().take(IDS_TOLD).map(ReturnId::as_str).collect();
    if ids.len() > IDS_TOLD {
        told.push("…");
    }
    told.join(", ")
}
