//! What an order answers to each command.

use std::collections::{BTreeMap, HashSet};

use daybook_schemas::order::{
    Cancelled, Completed, Delivered, Event, LineQuantity, Paid, PaymentFailed, Reserved, Shipped,
};
use daybook_schemas::{Quantity, ShipmentId, Timestamp};

use super::{
    Action, Cancel, Command, Complete, Deliver, Existing, FailPayment, MarkReserved, Order, Pay, Rejection,
    Ship, Status,
};
use crate::Decider;

type Decision = Result<Vec<Event>, Rejection>;

impl Decider for Order {
    type Action = Action;

    fn decide(&self, command: &Command) -> Decision {
        let now = command.now;
        let existing = || self.existing().ok_or(Rejection::NotFound);
        match &command.action {
            Action::Place(place) => self.place(place, command),
            Action::MarkReserved(mark) => existing()?.mark_reserved(mark),
            Action::Pay(pay) => existing()?.pay(pay, now),
            Action::FailPayment(fail) => existing()?.fail_payment(fail, now),
            Action::Ship(ship) => existing()?.ship(ship, command),
            Action::Deliver(deliver) => existing()?.deliver(deliver, now),
            Action::Complete(complete) => existing()?.complete(complete, now),
            Action::Cancel(cancel) => existing()?.cancel(cancel, now),
            Action::RequestReturn(request) => existing()?.request_return(request, command),
            Action::ReceiveReturn(receive) => existing()?.receive_return(receive, now),
            Action::Refund(refund) => existing()?.refund(refund, command),
        }
    }

    fn size_bytes(&self) -> usize {
        self.existing().map_or(size_of::<Self>(), Existing::size_bytes)
    }
}

impl Existing {
    pub(super) fn impossible(&self, command: &'static str) -> Rejection {
        Rejection::InvalidTransition { command, status: self.status, possible: self.possible() }
    }

    /// What could be asked of it as it is.
    fn possible(&self) -> Vec<&'static str> {
        let status = self.status;
        let unpaid = matches!(status, Status::Placed | Status::Reserved);
        let commands = [
            (
                "pay",
                unpaid && !(status == Status::Placed && self.is_stocked()) || status == Status::PaymentFailed,
            ),
            ("fail-payment", unpaid),
            ("ship", matches!(status, Status::Paid | Status::PartiallyShipped)),
            ("deliver", self.shipments.iter().any(|shipment| !shipment.delivered)),
            ("complete", status == Status::Delivered),
            ("cancel", unpaid || matches!(status, Status::PaymentFailed | Status::Paid)),
            ("request-return", !self.returnable().is_empty()),
            ("receive-return", self.returns.iter().any(|known| known.received.is_none())),
            ("refund", self.paid.is_some() && self.refunded != self.total),
        ];
        commands.into_iter().filter(|(_, possible)| *possible).map(|(command, _)| command).collect()
    }

    fn mark_reserved(&self, mark: &MarkReserved) -> Decision {
        match self.status {
            Status::Placed | Status::PaymentFailed => {}
            Status::Reserved if self.holds == mark.holds => return Ok(Vec::new()),
            Status::Reserved
            | Status::Paid
            | Status::PartiallyShipped
            | Status::Shipped
            | Status::Delivered
            | Status::Completed
            | Status::Cancelled => return Err(self.impossible("reserve")),
        }
        let needed: BTreeMap<_, u64> = self.stocked_units().into_iter().collect();
        let held: BTreeMap<_, u64> =
            mark.holds.iter().map(|hold| (hold.variant_id.clone(), u64::from(hold.quantity.get()))).collect();
        if needed.is_empty() || needed != held || held.len() != mark.holds.len() {
            return Err(Rejection::HoldsDoNotCover);
        }
        Ok(vec![Reserved { holds: mark.holds.clone(), expires_at: mark.expires_at }.into()])
    }

    fn pay(&self, pay: &Pay, now: Timestamp) -> Decision {
        let amount = pay.amount.unwrap_or(self.total);
        if let Some(paid) = &self.paid {
            let same = paid.amount == amount && paid.reference == pay.payment_reference;
            return if same && self.status != Status::Cancelled {
                Ok(Vec::new())
            } else {
                Err(self.impossible("pay"))
            };
        }
        match self.status {
            // After a payment that failed the goods were given back: it is the composite's to take them anew, or to give the
            // money back in the same append.
            Status::Reserved | Status::PaymentFailed => {}
            Status::Placed if !self.is_stocked() => {}
            Status::Placed => return Err(Rejection::NotReserved),
            Status::Paid
            | Status::PartiallyShipped
            | Status::Shipped
            | Status::Delivered
            | Status::Completed
            | Status::Cancelled => return Err(self.impossible("pay")),
        }
        if amount != self.total {
            return Err(Rejection::WrongAmount { total: self.total, paid: amount });
        }
        let paid_at = pay.paid_at.unwrap_or(now);
        Ok(vec![Paid { amount, payment_reference: pay.payment_reference.clone(), paid_at }.into()])
    }

    fn fail_payment(&self, fail: &FailPayment, now: Timestamp) -> Decision {
        match self.status {
            Status::Placed | Status::Reserved => {
                Ok(vec![PaymentFailed { reason: fail.reason.clone(), failed_at: now }.into()])
            }
            Status::PaymentFailed => Ok(Vec::new()),
            Status::Paid
            | Status::PartiallyShipped
            | Status::Shipped
            | Status::Delivered
            | Status::Completed
            | Status::Cancelled => Err(self.impossible("fail-payment")),
        }
    }

    fn ship(&self, ship: &Ship, command: &Command) -> Decision {
        let shipment_id = match &ship.shipment_id {
            Some(id) => id.clone(),
            None => ShipmentId::new(command.fresh_id.as_str()).expect("tokens and ids have one alphabet"),
        };
        if let Some(left) = self.shipments.iter().find(|left| left.shipment_id == shipment_id) {
            let same = ship.lines.as_ref().is_none_or(|lines| *lines == left.lines);
            return if same { Ok(Vec::new()) } else { Err(Rejection::DuplicateShipment(shipment_id)) };
        }
        if !matches!(self.status, Status::Paid | Status::PartiallyShipped) {
            return Err(self.impossible("ship"));
        }
        let lines = match &ship.lines {
            Some(lines) => {
                self.check_parts(
                    lines,
                    |line, left, asked| Rejection::ShipsTooMuch { line, left, asked },
                    |state| state.line.quantity.get().saturating_sub(state.shipped),
                )?;
                lines.clone()
            }
            None => self.unshipped(),
        };
        Ok(vec![
            Shipped {
                shipment_id,
                lines,
                carrier: ship.carrier.clone(),
                tracking_number: ship.tracking_number.clone(),
                shipped_at: ship.shipped_at.unwrap_or(command.now),
            }
            .into(),
        ])
    }

    fn unshipped(&self) -> Vec<LineQuantity> {
        self.what_is_left(|state| state.line.quantity.get().saturating_sub(state.shipped))
    }

    /// The lines of which something is left, and how much.
    pub(super) fn what_is_left(&self, left: impl Fn(&super::LineState) -> u32) -> Vec<LineQuantity> {
        let parts = self.lines.iter().filter_map(|state| {
            let quantity = Quantity::new(u64::from(left(state))).ok()?;
            Some(LineQuantity { line_id: state.line.line_id, quantity })
        });
        parts.collect()
    }

    fn deliver(&self, deliver: &Deliver, now: Timestamp) -> Decision {
        let delivered_at = deliver.delivered_at.unwrap_or(now);
        if let Some(id) = &deliver.shipment_id {
            let found = self.shipments.iter().find(|shipment| shipment.shipment_id == *id);
            let shipment = found.ok_or_else(|| Rejection::NoSuchShipment(id.clone()))?;
            if shipment.delivered {
                return Ok(Vec::new());
            }
        } else if !matches!(
            self.status,
            Status::PartiallyShipped | Status::Shipped | Status::Delivered | Status::Completed
        ) {
            return Err(self.impossible("deliver"));
        }
        let meant = |id: &ShipmentId| deliver.shipment_id.as_ref().is_none_or(|named| named == id);
        let on_their_way =
            self.shipments.iter().filter(|shipment| !shipment.delivered && meant(&shipment.shipment_id));
        Ok(on_their_way
            .map(|shipment| Delivered { shipment_id: shipment.shipment_id.clone(), delivered_at }.into())
            .collect())
    }

    fn complete(&self, complete: &Complete, now: Timestamp) -> Decision {
        match self.status {
            Status::Delivered => {
                Ok(vec![Completed { completed_at: complete.completed_at.unwrap_or(now) }.into()])
            }
            Status::Completed => Ok(Vec::new()),
            Status::Placed
            | Status::Reserved
            | Status::Paid
            | Status::PaymentFailed
            | Status::PartiallyShipped
            | Status::Shipped
            | Status::Cancelled => Err(self.impossible("complete")),
        }
    }

    fn cancel(&self, cancel: &Cancel, now: Timestamp) -> Decision {
        match self.status {
            Status::Placed | Status::Reserved | Status::PaymentFailed | Status::Paid => {
                Ok(vec![Cancelled { reason: cancel.reason.clone(), cancelled_at: now }.into()])
            }
            Status::Cancelled => Ok(Vec::new()),
            Status::PartiallyShipped | Status::Shipped | Status::Delivered | Status::Completed => {
                Err(self.impossible("cancel"))
            }
        }
    }

    /// Refuses parts that name no line, a line twice or an unknown one, or more units than are left of it.
    pub(super) fn check_parts(
        &self,
        parts: &[LineQuantity],
        too_much: impl Fn(u32, u32, u32) -> Rejection,
        left: impl Fn(&super::LineState) -> u32,
    ) -> Result<(), Rejection> {
        refuse_repeated_lines(parts.iter().map(|part| part.line_id))?;
        for part in parts {
            let state = self.line(part.line_id).ok_or(Rejection::NoSuchLine(part.line_id))?;
            if part.quantity.get() > left(state) {
                return Err(too_much(part.line_id, left(state), part.quantity.get()));
            }
        }
        Ok(())
    }

    fn size_bytes(&self) -> usize {
        let attributes: usize = self.lines.iter().map(|state| state.line.attributes.len()).sum();
        let returned: usize = self.returns.iter().map(|state| state.lines.len()).sum();
        let shipped: usize = self.shipments.iter().map(|state| state.lines.len()).sum();
        let refunded: usize = self.refunds.iter().map(|state| state.lines.len()).sum();
        size_of::<Self>()
            + self.lines.len() * (size_of::<super::LineState>() + 100)
            + attributes * 220
            + (returned + shipped) * 16
            + refunded * 48
            + (self.shipments.len() + self.returns.len() + self.refunds.len() + self.holds.len()) * 150
            + 500
    }
}

pub(super) fn refuse_repeated_lines(ids: impl ExactSizeIterator<Item = u32>) -> Result<(), Rejection> {
    if ids.len() == 0 {
        return Err(Rejection::NoLines);
    }
    let mut seen = HashSet::with_capacity(ids.len());
    for id in ids {
        if !seen.insert(id) {
            return Err(Rejection::RepeatedLine(id));
        }
    }
    Ok(())
}
