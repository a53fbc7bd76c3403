//! `order/pay`: the holds of the order become sales. A hold that ran out meanwhile is taken anew if the stock allows;
//! if it does not, the order is called off and the money goes back in the same append: never oversold, never kept. So it is with a
//! payment after one that failed.

use daybook_aggregates::inventory::{self, Inventory, Outcome};
use daybook_aggregates::order::{self, Cancel, Existing, Order, Pay, Refund, Status};
use daybook_eventlog::StreamId;
use daybook_schemas::order::Hold;
use daybook_schemas::{CustomerId, OrderId, Quantity, ReservationId, Text};

use super::for_sale;
use super::hold::again;
use super::lines::Need;
use super::place::reserve;
use crate::error::CommandError;
use crate::workspace::{Halt, Workspace, stream};

/// The order that is paid.
struct Paying {
    order_id: OrderId,
    customer: Option<CustomerId>,
    /// The id of what it takes anew.
    again: ReservationId,
}

/// What is left to do about one hold of the order.
enum Left {
    /// It was sold already.
    Nothing,
    /// It counts: sell it.
    Confirm,
    /// It ran out, whole or in part: take this much anew, and sell both.
    Renew { held: bool, missing: Quantity },
}

pub(crate) fn decide(workspace: &mut Workspace<'_>, main: &StreamId, pay: &Pay) -> Result<(), Halt> {
    let existing = workspace.peek::<Order>(main)?.existing();
    let known = existing.map(|o| {
        let again = again(o);
        let holds = holds_of(o, &again);
        let order = Paying { order_id: o.order_id.clone(), customer: o.customer_id.clone(), again };
        (order, holds, o.total)
    });
    let Some((order, holds, total)) = known else {
        return settle(workspace, main, pay).map(|_| ());
    };
    let streams: Vec<StreamId> = holds.iter().map(|hold| stream::inventory(&hold.variant_id)).collect();
    workspace.require(&streams)?;
    if settle(workspace, main, pay)? == 0 {
        return Ok(());
    }
    match sell(workspace, &order, &holds) {
        Ok(renewed) => confirm_renewed(workspace, &order, &renewed),
        Err(Halt::Refused(CommandError::Refused(_))) => {
            let why = Text::new("the reservation had run out and the goods are gone").expect("a short text");
            workspace.discard();
            call_off(workspace, main, pay, &holds, &why)?;
            if total.is_zero() { Ok(()) } else { refund(workspace, main, pay, why) }
        }
        Err(halt) => Err(halt),
    }
}

/// What is held for the order; where its holds were given back, what it would take now.
fn holds_of(existing: &Existing, again: &ReservationId) -> Vec<Hold> {
    if existing.status != Status::PaymentFailed {
        return existing.holds.clone();
    }
    let units = existing.stocked_units().into_iter();
    units
        .map(|(variant_id, units)| Hold {
            variant_id,
            reservation_id: again.clone(),
            quantity: Quantity::new(units).expect("the sum of its lines was held as one quantity"),
        })
        .collect()
}

fn settle(workspace: &mut Workspace<'_>, main: &StreamId, pay: &Pay) -> Result<usize, Halt> {
    let command = workspace.context.command(order::Action::Pay(pay.clone()));
    workspace.decide::<Order>(main, &command)
}

/// First decisions on every variant: sells what is held, holds anew what ran out. Gives the variants of the latter.
fn sell(
    workspace: &mut Workspace<'_>,
    order: &Paying,
    holds: &[Hold],
) -> Result<Vec<(StreamId, Option<ReservationId>)>, Halt> {
    let mut renewed = Vec::new();
    for hold in holds {
        let stock = stream::inventory(&hold.variant_id);
        match left(workspace, order, hold)? {
            Left::Nothing => {}
            Left::Confirm => confirm(workspace, &stock, &hold.reservation_id)?,
            Left::Renew { held, missing } => {
                // What was archived since is gone, whatever may be promised beyond the stock.
                for_sale::check_stocked(workspace, &hold.variant_id)?;
                let need = Need {
                    variant_id: hold.variant_id.clone(),
                    stream: stock.clone(),
                    quantity: missing,
                    taken_over: Vec::new(),
                };
                let Paying { order_id, customer, again } = order;
                let ttl = inventory::DEFAULT_TTL_SECONDS;
                let action = reserve(&need, again, customer.as_ref(), order_id, ttl);
                let command = workspace.context.command(action);
                workspace.decide::<Inventory>(&stock, &command)?;
                renewed.push((stock, held.then(|| hold.reservation_id.clone())));
            }
        }
    }
    Ok(renewed)
}

fn left(workspace: &mut Workspace<'_>, order: &Paying, hold: &Hold) -> Result<Left, Halt> {
    let now = workspace.context.now;
    let stock = workspace.inventory(&hold.variant_id)?;
    if [&hold.reservation_id, &order.again].iter().any(|id| stock.outcome(id) == Some(Outcome::Confirmed)) {
        return Ok(Left::Nothing);
    }
    let held = stock
        .hold(&hold.reservation_id)
        .filter(|held| !held.is_due(now))
        .map_or(0, |held| held.quantity.get());
    match Quantity::new(u64::from(hold.quantity.get().saturating_sub(held))) {
        Err(_) => Ok(Left::Confirm),
        Ok(missing) => Ok(Left::Renew { held: held > 0, missing }),
    }
}

/// Follow-ups: the holds taken anew are sold at once. A fresh hold is never refused.
fn confirm_renewed(
    workspace: &mut Workspace<'_>,
    order: &Paying,
    renewed: &[(StreamId, Option<ReservationId>)],
) -> Result<(), Halt> {
    for (stock, held) in renewed {
        confirm(workspace, stock, &order.again)?;
        if let Some(held) = held {
            confirm(workspace, stock, held)?;
        }
    }
    Ok(())
}

fn confirm(workspace: &mut Workspace<'_>, stock: &StreamId, id: &ReservationId) -> Result<(), Halt> {
    let confirm = inventory::Confirm { reservation_id: id.clone(), quantity: None };
    let command = workspace.context.command(inventory::Action::Confirm(confirm));
    workspace.decide::<Inventory>(stock, &command).map(|_| ())
}

/// Paid and cancelled at once; what is still held is released.
fn call_off(
    workspace: &mut Workspace<'_>,
    main: &StreamId,
    pay: &Pay,
    holds: &[Hold],
    why: &Text,
) -> Result<(), Halt> {
    super::give_back::release(workspace, holds)?;
    settle(workspace, main, pay)?;
    let command = workspace.context.command(order::Action::Cancel(Cancel { reason: Some(why.clone()) }));
    workspace.decide::<Order>(main, &command).map(|_| ())
}

/// The whole amount goes back.
fn refund(workspace: &mut Workspace<'_>, main: &StreamId, pay: &Pay, why: Text) -> Result<(), Halt> {
    let refund = Refund { reason: Some(why), refunded_at: pay.paid_at, ..Refund::default() };
    let command = workspace.context.command(order::Action::Refund(refund));
    workspace.decide::<Order>(main, &command).map(|_| ())
}
