//! What goes back to stock with an order: its holds when it is cancelled or its payment fails, its goods when it is
//! cancelled after payment or a return arrives.

use daybook_aggregates::Kind;
use daybook_aggregates::inventory::{self, Inventory, Outcome};
use daybook_aggregates::order::{self, Action, Order, Status};
use daybook_eventlog::StreamId;
use daybook_schemas::order::{Hold, LineQuantity};
use daybook_schemas::{LocationId, Quantity, ReservationId, Text, VariantId};

use super::{hold, refusal};
use crate::workspace::{Halt, Workspace, stream};

/// `cancel`, `fail-payment`: the holds are released; goods that were sold and not shipped go back.
pub(crate) fn call_off(workspace: &mut Workspace<'_>, main: &StreamId, action: &Action) -> Result<(), Halt> {
    let roles = workspace.context.roles;
    let Some(existing) = workspace.peek::<Order>(main)?.existing() else {
        return order(workspace, main, action).map(|_| ());
    };
    if existing.status == Status::Paid && !roles.speak_for_the_shop() {
        let detail = "the order is paid: the shop calls it off";
        return Err(refusal("forbidden", Kind::Forbidden, detail).into());
    }
    let holds = existing.holds.clone();
    let (again, paid) = (hold::again(existing), existing.status == Status::Paid);
    let mut sold = if paid { existing.stocked_units() } else { Vec::new() };
    // A payment whose order failed before is to have taken the goods under its own hold.
    let units = if existing.status == Status::PaymentFailed { existing.stocked_units() } else { Vec::new() };
    let variants = sold.iter().chain(&units).map(|(variant, _)| variant);
    let streams: Vec<StreamId> =
        holds.iter().map(|hold| &hold.variant_id).chain(variants).map(stream::inventory).collect();
    workspace.require(&streams)?;
    if order(workspace, main, action)? == 0 {
        return Ok(());
    }
    for found in &holds {
        let units = u64::from(found.quantity.get());
        if was_sold(workspace, &found.variant_id, [&found.reservation_id, &again])? {
            sold.push((found.variant_id.clone(), units));
        }
    }
    for (variant, units) in units {
        if was_sold(workspace, &variant, [&again])? {
            sold.push((variant, units));
        }
    }
    release(workspace, &holds)?;
    put_back(workspace, main, &sold)
}

/// Whether goods of an order that is not paid have left the stock all the same: with a payment that broke off where the log writes one
/// stream at a time, or, in logs from before orders kept their holds, by a confirmation from outside.
fn was_sold<'h>(
    workspace: &mut Workspace<'_>,
    variant: &VariantId,
    holds: impl IntoIterator<Item = &'h ReservationId>,
) -> Result<bool, Halt> {
    let stock = workspace.inventory(variant)?;
    Ok(holds.into_iter().any(|hold| stock.outcome(hold) == Some(Outcome::Confirmed)))
}

/// `receive-return`: the goods go back, unless it is said otherwise.
pub(crate) fn receive_return(
    workspace: &mut Workspace<'_>,
    main: &StreamId,
    receive: &order::ReceiveReturn,
) -> Result<(), Halt> {
    let action = Action::ReceiveReturn(receive.clone());
    let Some(existing) = workspace.peek::<Order>(main)?.existing() else {
        return order(workspace, main, &action).map(|_| ());
    };
    let units = match existing.return_to_receive(receive) {
        Ok(returned) if receive.restock => units(existing, &returned.lines),
        // Without goods for the stock, or refused below.
        Ok(_) | Err(_) => Vec::new(),
    };
    let streams: Vec<StreamId> = units.iter().map(|(variant, _)| stream::inventory(variant)).collect();
    workspace.require(&streams)?;
    if order(workspace, main, &action)? == 0 {
        return Ok(());
    }
    put_back(workspace, main, &units)
}

fn order(workspace: &mut Workspace<'_>, main: &StreamId, action: &Action) -> Result<usize, Halt> {
    let command = workspace.context.command(action.clone());
    workspace.decide::<Order>(main, &command)
}

/// Units of stocked lines by variant, in the order of their first line.
fn units(existing: &order::Existing, lines: &[LineQuantity]) -> Vec<(VariantId, u64)> {
    let mut units: Vec<(VariantId, u64)> = Vec::new();
    for part in lines {
        let Some(state) = existing.line(part.line_id).filter(|state| state.line.stocked) else { continue };
        let variant = &state.line.variant_id;
        let quantity = u64::from(part.quantity.get());
        match units.iter_mut().find(|(known, _)| known == variant) {
            Some((_, sum)) => *sum += quantity,
            None => units.push((variant.clone(), quantity)),
        }
    }
    units
}

/// Releases the holds that still count; those that ran out go on record by themselves.
pub(super) fn release(workspace: &mut Workspace<'_>, holds: &[Hold]) -> Result<(), Halt> {
    let now = workspace.context.now;
    for hold in holds {
        let counts =
            workspace.inventory(&hold.variant_id)?.hold(&hold.reservation_id).is_some_and(|h| !h.is_due(now));
        if counts {
            let release = inventory::Release { reservation_id: hold.reservation_id.clone(), quantity: None };
            let command = workspace.context.command(inventory::Action::Release(release));
            workspace.decide::<Inventory>(&stream::inventory(&hold.variant_id), &command)?;
        }
    }
    Ok(())
}

/// Goods come back to the default location. The order's stream is their reference.
fn put_back(workspace: &mut Workspace<'_>, main: &StreamId, units: &[(VariantId, u64)]) -> Result<(), Halt> {
    for (variant, count) in units {
        let mut left = *count;
        while left > 0 {
            let part = left.min(u64::from(Quantity::MAX));
            left -= part;
            let returned = inventory::Return {
                location: LocationId::default(),
                quantity: Quantity::new(part).expect("between 1 and the largest"),
                damaged: false,
                reference: Text::new(main.as_str()).ok(),
            };
            let command = workspace.context.command(inventory::Action::Return(returned));
            workspace.decide::<Inventory>(&stream::inventory(variant), &command)?;
        }
    }
    Ok(())
}
