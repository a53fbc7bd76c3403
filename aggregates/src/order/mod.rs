//! An order (`order-{id}`): item snapshots, totals, payment, fulfilment, returns and refunds.
//!
//! It protects what was agreed: the lines and their prices, and that no more goes back than went out.
//!
//! ```text
//!            mark-reserved          pay                ship              deliver             complete
//!  placed ──────────────▶ reserved ─────▶ paid ───────────────▶ shipped ────────▶ delivered ────────▶ completed
//!    │  ▲ (lines in stock)  │              │ ship a part  ▲
//!    │  │ mark-reserved     │ fail-payment └▶ partially ──┘
//!    │  │                   ▼                 shipped
//!    │  └──────────── payment_failed
//!    │ pay (no line takes goods from stock) ─▶ paid
//!    └ cancel (also from reserved, payment_failed, paid) ─▶ cancelled
//!
//!  another try:  payment_failed ──pay──▶ paid, if the goods can be had anew, else paid, cancelled and refunded at once
//!
//!  a return of shipped goods:  requested ──▶ received ──▶ refunded, whole or part
//! ```
//!
//! Invariants, after every event:
//!
//! 1. The lines never change. A line's total is quantity × unit price − discounts + tax; the order's total is their sum,
//!    exact, in one currency.
//! 2. Exactly the total is paid, once. A payment that succeeds after the hold ran out or after one that failed pays for goods or is
//!    refunded.
//! 3. Of each line: shipped ≤ ordered, coming back ≤ shipped.
//! 4. A refund settles only a return that arrived, a cancelled order, or goodwill after payment; for no line is more
//!    refunded than was paid for it.
//! 5. What was shipped is not cancelled.
//! 6. A shipment, return or refund id stands for one content; saying it again changes nothing.

mod command;
mod decide;
mod place;
mod refund;
mod rejection;
mod returns;
mod state;
#[cfg(test)]
mod tests;

pub use command::{
    Action, Cancel, Complete, Deliver, FailPayment, MarkReserved, NewLine, Pay, Place, PlaceBody,
    PlaceLineBody, ReceiveReturn, Refund, RefundLine, RequestReturn, Ship,
};
pub use daybook_schemas::order::Event;
pub use rejection::Rejection;
pub use state::{
    Existing, LineState, Order, Payment, Received, RefundState, ReturnState, ShipmentState, Status,
};

/// A command to an order.
pub type Command = crate::Command<Action>;

/// Most lines of an order.
pub const MAX_LINES: usize = 2_000;
