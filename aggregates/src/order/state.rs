//! What is known of an order.

use cqrs_es::event_sink::EventSink;
use daybook_schemas::order::{Address, Event, Hold, Line, LineQuantity, LineRefund, Placed};
use daybook_schemas::{
    CustomerId, Label, Money, OrderId, RefundId, ReturnId, ShipmentId, Timestamp, Token, VariantId,
};
use serde::{Deserialize, Serialize};

use super::{Command, Rejection};

/// An order, or the place where one may be placed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    #[default]
    Absent,
    Existing(Box<Existing>),
}

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Placed,
    Reserved,
    Paid,
    PaymentFailed,
    PartiallyShipped,
    Shipped,
    Delivered,
    Completed,
    Cancelled,
}

impl Status {
    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Reserved => "reserved",
            Self::Paid => "paid",
            Self::PaymentFailed => "payment_failed",
            Self::PartiallyShipped => "partially_shipped",
            Self::Shipped => "shipped",
            Self::Delivered => "delivered",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// An order that was placed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Existing {
    pub order_id: OrderId,
    pub order_number: Label,
    /// Absent for a guest.
    pub customer_id: Option<CustomerId>,
    /// In the order of their numbers, which begin at 1.
    pub lines: Vec<LineState>,
    pub total: Money,
    pub payment_method: Token,
    pub shipping_address: Option<Address>,
    pub billing_address: Option<Address>,
    pub placed_at: Timestamp,
    pub status: Status,
    /// What is held for it; empty once it is paid, cancelled or payment failed.
    pub holds: Vec<Hold>,
    pub holds_expire_at: Option<Timestamp>,
    /// Also of a cancelled order.
    pub paid: Option<Payment>,
    pub shipments: Vec<ShipmentState>,
    pub returns: Vec<ReturnState>,
    pub refunds: Vec<RefundState>,
    pub refunded: Money,
    /// Each status with the time it began.
    pub history: Vec<(Status, Timestamp)>,
}

/// A line and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LineState {
    pub line: Line,
    /// Units that left.
    pub shipped: u32,
    /// Units that are to come back, or did.
    pub returned: u32,
    /// Money that went back.
    pub refunded: Money,
}

/// What was paid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Payment {
    pub amount: Money,
    pub reference: Option<Label>,
    pub paid_at: Timestamp,
}

/// A parcel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShipmentState {
    pub shipment_id: ShipmentId,
    pub lines: Vec<LineQuantity>,
    pub delivered: bool,
}

/// A return.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReturnState {
    pub return_id: ReturnId,
    pub lines: Vec<LineQuantity>,
    /// Whether the goods arrived, and if so whether they went back to stock.
    pub received: Option<Received>,
    /// Units refunded so far, in the order of `lines`.
    pub refunded: Vec<u32>,
}

/// How the goods of a return arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    pub restocked: bool,
}

/// A refund.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RefundState {
    pub refund_id: RefundId,
    pub return_id: Option<ReturnId>,
    pub lines: Vec<LineRefund>,
}

impl Order {
    /// The order, if it was placed.
    #[must_use]
    pub fn existing(&self) -> Option<&Existing> {
        match self {
            Self::Absent => None,
            Self::Existing(existing) => Some(existing),
        }
    }
}

impl Existing {
    /// The line with this number.
    #[must_use]
    pub fn line(&self, line_id: u32) -> Option<&LineState> {
        self.lines.get(index(line_id)?).filter(|state| state.line.line_id == line_id)
    }

    /// The return with this id.
    #[must_use]
    pub fn return_by_id(&self, id: &ReturnId) -> Option<&ReturnState> {
        self.returns.iter().find(|found| found.return_id == *id)
    }

    /// Units of all lines that take goods from stock, by variant, in the order of their first line.
    #[must_use]
    pub fn stocked_units(&self) -> Vec<(VariantId, u64)> {
        let mut units: Vec<(VariantId, u64)> = Vec::new();
        let mut places = std::collections::HashMap::new();
        for LineState { line, .. } in self.lines.iter().filter(|state| state.line.stocked) {
            let at = *places.entry(&line.variant_id).or_insert_with(|| {
                units.push((line.variant_id.clone(), 0));
                units.len() - 1
            });
            units[at].1 += u64::from(line.quantity.get());
        }
        units
    }

    /// Whether any line takes goods from stock.
    #[must_use]
    pub fn is_stocked(&self) -> bool {
        self.lines.iter().any(|state| state.line.stocked)
    }

    fn new(event: Placed) -> Self {
        let zero = Money::zero(event.total.currency());
        let lines = event.lines.into_iter();
        Self {
            order_id: event.order_id,
            order_number: event.order_number,
            customer_id: event.customer_id,
            lines: lines.map(|line| LineState { line, shipped: 0, returned: 0, refunded: zero }).collect(),
            total: event.total,
            payment_method: event.payment_method,
            shipping_address: event.shipping_address,
            billing_address: event.billing_address,
            placed_at: event.placed_at,
            status: Status::Placed,
            holds: Vec::new(),
            holds_expire_at: None,
            paid: None,
            shipments: Vec::new(),
            returns: Vec::new(),
            refunds: Vec::new(),
            refunded: zero,
            history: vec![(Status::Placed, event.placed_at)],
        }
    }

    fn enter(&mut self, status: Status, at: Timestamp) {
        if self.status != status {
            self.status = status;
            self.history.push((status, at));
        }
    }

    fn drop_holds(&mut self) {
        self.holds = Vec::new();
        self.holds_expire_at = None;
    }

    fn line_mut(&mut self, line_id: u32) -> Option<&mut LineState> {
        self.lines.get_mut(index(line_id)?).filter(|state| state.line.line_id == line_id)
    }

    fn shipped(&mut self, event: daybook_schemas::order::Shipped) {
        for part in &event.lines {
            if let Some(line) = self.line_mut(part.line_id) {
                line.shipped = line.shipped.saturating_add(part.quantity.get());
            }
        }
        self.shipments.push(ShipmentState {
            shipment_id: event.shipment_id,
            lines: event.lines,
            delivered: false,
        });
        let all = self.lines.iter().all(|state| state.shipped >= state.line.quantity.get());
        self.enter(if all { Status::Shipped } else { Status::PartiallyShipped }, event.shipped_at);
    }

    fn delivered(&mut self, event: &daybook_schemas::order::Delivered) {
        for shipment in &mut self.shipments {
            shipment.delivered |= shipment.shipment_id == event.shipment_id;
        }
        if self.status == Status::Shipped && self.shipments.iter().all(|shipment| shipment.delivered) {
            self.enter(Status::Delivered, event.delivered_at);
        }
    }

    fn return_requested(&mut self, event: daybook_schemas::order::ReturnRequested) {
        for part in &event.lines {
            if let Some(line) = self.line_mut(part.line_id) {
                line.returned = line.returned.saturating_add(part.quantity.get());
            }
        }
        let refunded = vec![0; event.lines.len()];
        self.returns.push(ReturnState {
            return_id: event.return_id,
            lines: event.lines,
            received: None,
            refunded,
        });
    }

    fn refunded(&mut self, event: daybook_schemas::order::Refunded) {
        for refund in &event.lines {
            if let Some(line) = self.line_mut(refund.line_id) {
                line.refunded = line.refunded.plus(refund.amount).unwrap_or(line.refunded);
            }
        }
        self.refunded = self.refunded.plus(event.amount).unwrap_or(self.refunded);
        let settled = event.return_id.as_ref();
        if let Some(returned) = self.returns.iter_mut().find(|found| Some(&found.return_id) == settled) {
            for (part, refunded) in returned.lines.iter().zip(&mut returned.refunded) {
                let units = event.lines.iter().filter(|refund| refund.line_id == part.line_id);
                *refunded = units.fold(*refunded, |sum, refund| sum.saturating_add(refund.quantity.get()));
            }
        }
        self.refunds.push(RefundState {
            refund_id: event.refund_id,
            return_id: event.return_id,
            lines: event.lines,
        });
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Placed(event) => *self = Self::new(event),
            Event::Reserved(event) => {
                // The event has no time of its own: holds are taken with the order, or anew after a failed payment.
                let at = self.history.last().map_or(self.placed_at, |(_, at)| *at);
                self.holds = event.holds;
                self.holds_expire_at = Some(event.expires_at);
                self.enter(Status::Reserved, at);
            }
            Event::Paid(event) => {
                self.drop_holds();
                self.enter(Status::Paid, event.paid_at);
                self.paid = Some(Payment {
                    amount: event.amount,
                    reference: event.payment_reference,
                    paid_at: event.paid_at,
                });
            }
            Event::PaymentFailed(event) => {
                self.drop_holds();
                self.enter(Status::PaymentFailed, event.failed_at);
            }
            Event::Shipped(event) => self.shipped(event),
            Event::Delivered(event) => self.delivered(&event),
            Event::Completed(event) => self.enter(Status::Completed, event.completed_at),
            Event::Cancelled(event) => {
                self.drop_holds();
                self.enter(Status::Cancelled, event.cancelled_at);
            }
            Event::ReturnRequested(event) => self.return_requested(event),
            Event::ReturnReceived(event) => {
                let found = self.returns.iter_mut().find(|found| found.return_id == event.return_id);
                if let Some(returned) = found {
                    returned.received = Some(Received { restocked: event.restocked });
                }
            }
            Event::Refunded(event) => self.refunded(event),
        }
    }
}

fn index(line_id: u32) -> Option<usize> {
    usize::try_from(line_id).ok()?.checked_sub(1)
}

impl cqrs_es::Aggregate for Order {
    const TYPE: &'static str = Event::AGGREGATE;
    type Command = Command;
    type Event = Event;
    type Error = Rejection;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Rejection> {
        crate::execute(self, &command, sink).await
    }

    fn apply(&mut self, event: Event) {
        match (self, event) {
            (this @ Self::Absent, Event::Placed(event)) => {
                *this = Self::Existing(Box::new(Existing::new(event)))
            }
            // A stream that does not begin with its placing is damaged; there is nothing that the event could change.
            (Self::Absent, _) => {}
            (Self::Existing(existing), event) => existing.apply(event),
        }
    }
}
