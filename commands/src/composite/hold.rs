//! Commands to stock as they come from outside. What an order holds is the order's alone: it is sold by
//! `order/pay` and given back by `order/cancel`, which keep order and stock in step.
//!
//! Invariants, and how they would break:
//!
//! 1. No hold of an order is confirmed or released but by its order. Else its goods leave the stock while the order, not paid
//!    and cancelled, gives nothing back.
//! 2. No hold from outside has the id that an order's hold needs. Else whoever guesses the order's id can keep it from
//!    being placed.
//! 3. Holds without the limits of a customer (`order_id`) are for those who speak for the shop.

use daybook_aggregates::inventory::{self, Action, Hold, Inventory};
use daybook_aggregates::order::{Existing, Status};
use daybook_aggregates::{Command, Kind, Refusal, Role};
use daybook_eventlog::StreamId;
use daybook_schemas::configuration::hex;
use daybook_schemas::{OrderId, ReservationId, VariantId};
use sha2::{Digest, Sha256};

use super::{for_sale, refusal};
use crate::workspace::{Context, Halt, Workspace, stream};

/// What the ids of orders' holds begin with, and no other.
const OF_ORDERS: &str = "order~";
/// The same, of a hold that a payment takes anew.
const AGAIN: &str = "order-again~";
/// Longest id.
const MAX_LENGTH: usize = 64;

/// The hold of an order has one id on every variant: the order's, marked; where that is too long, its SHA-256.
pub(super) fn of_order(order: &OrderId) -> ReservationId {
    marked(OF_ORDERS, order.as_str())
}

/// The hold that a payment takes where the order's first one counts no more. It is named by the order and how many payments failed before,
/// so that an attempt that breaks off half way leaves it for the next to find, and goods that were given back since are no trace of it.
pub(super) fn again(order: &Existing) -> ReservationId {
    let failed = order.history.iter().filter(|(status, _)| *status == Status::PaymentFailed).count();
    marked(AGAIN, &format!("{failed}~{}", order.order_id))
}

fn is_marked(id: &ReservationId) -> bool {
    id.as_str().starts_with(OF_ORDERS) || id.as_str().starts_with(AGAIN)
}

fn marked(mark: &str, id: &str) -> ReservationId {
    let mut marked = format!("{mark}{id}");
    if marked.len() > MAX_LENGTH {
        marked = format!("{mark}{}", hex(&Sha256::digest(id.as_bytes())));
        marked.truncate(MAX_LENGTH);
    }
    ReservationId::new(marked).expect("the mark and ids have one alphabet, and it is cut to their length")
}

/// Whether an order keeps the hold. Holds of orders once had the order's very id.
fn is_an_orders(hold: &Hold) -> bool {
    let Some(order) = &hold.order_id else { return false };
    is_marked(&hold.reservation_id) || hold.reservation_id.as_str() == order.as_str()
}

/// Decides a command to stock that came from outside.
pub(crate) fn decide(
    workspace: &mut Workspace<'_>,
    main: &StreamId,
    command: &mut Command<Action>,
) -> Result<(), Halt> {
    command.now = workspace.context.now;
    let of_variant = variant_of(main).filter(|_| brings_or_holds(&command.action));
    if let Some(id) = &of_variant {
        workspace.require([main, &stream::variant(id)])?;
    }
    match &mut command.action {
        Action::Reserve(reserve) => {
            check_reserve(&workspace.context, reserve)?;
            reserve.customer_active_holds = match (&reserve.customer_id, &reserve.order_id) {
                (Some(customer), None) => Some(workspace.holds().own(customer, command.now)),
                _ => None,
            };
        }
        Action::Confirm(inventory::Confirm { reservation_id, .. })
        | Action::Release(inventory::Release { reservation_id, .. }) => {
            let hold = workspace.peek::<Inventory>(main)?.hold(reservation_id);
            // One that ran out is told as such.
            if let Some(hold) = hold.filter(|hold| is_an_orders(hold) && !hold.is_due(command.now)) {
                return Err(kept_for_order(hold).into());
            }
        }
        _ => {}
    }
    let decided = workspace.decide::<Inventory>(main, command);
    // A repeat changes nothing and is answered as ever. All else asks the variant, whose word goes before that of the stock.
    match (&decided, &of_variant) {
        (Ok(1..) | Err(Halt::Refused(_)), Some(id)) if matches!(command.action, Action::Reserve(_)) => {
            for_sale::check_held(workspace, id)?;
        }
        (Ok(1..) | Err(Halt::Refused(_)), Some(id)) => for_sale::check_stocked(workspace, id)?,
        (Ok(0), _) => tell_of_standing(workspace, main, command)?,
        _ => {}
    }
    decided.map(|_| ())
}

/// Whoever repeats a reservation without an id has no other way to learn the id of the hold. A stranger who knows a customer's id must not.
fn tell_of_standing(
    workspace: &mut Workspace<'_>,
    main: &StreamId,
    command: &Command<Action>,
) -> Result<(), Halt> {
    let Action::Reserve(inventory::Reserve {
        reservation_id: None,
        customer_id: Some(customer),
        order_id: None,
        ..
    }) = &command.action
    else {
        return Ok(());
    };
    if workspace.context.roles.speak_for_the_shop() {
        let standing = workspace.peek::<Inventory>(main)?.active_hold_of(customer, command.now);
        if let Some(id) = standing.map(|hold| hold.reservation_id.clone()) {
            workspace.tell_of(id);
        }
    }
    Ok(())
}

/// The stream that a command looks at beside its own, to be read ahead.
pub(crate) fn looked_at(aggregate: &str, command: &str, id: &str) -> Option<StreamId> {
    let looks = aggregate == "inventory" && matches!(command, "reserve" | "receive" | "expect-delivery");
    VariantId::new(id).ok().filter(|_| looks).map(|id| stream::variant(&id))
}

/// Whether more goods are to come or to be held.
const fn brings_or_holds(action: &Action) -> bool {
    matches!(action, Action::Reserve(_) | Action::Receive(_) | Action::ExpectDelivery(_))
}

/// The variant whose stock it is.
fn variant_of(main: &StreamId) -> Option<VariantId> {
    main.as_str().strip_prefix("inventory-").and_then(|id| VariantId::new(id).ok())
}

fn check_reserve(context: &Context, reserve: &inventory::Reserve) -> Result<(), Refusal> {
    let for_the_shop = context.roles.contains(Role::Operator) || context.roles.contains(Role::System);
    if reserve.order_id.is_some() && !for_the_shop {
        let detail = "only operators hold stock in the name of an order: place the order instead";
        return Err(refusal("forbidden", Kind::Forbidden, detail));
    }
    let Some(id) = &reserve.reservation_id else { return Ok(()) };
    let is_the_orders = reserve.order_id.as_ref().is_some_and(|order| order.as_str() == id.as_str());
    if is_the_orders || is_marked(id) {
        let detail = format!("the id {id} is kept for the hold of an order: choose another id");
        return Err(refusal("reservation_conflict", Kind::Conflict, detail));
    }
    Ok(())
}

fn kept_for_order(hold: &Hold) -> Refusal {
    let id = &hold.reservation_id;
    let order = hold.order_id.as_ref().map_or("", OrderId::as_str);
    let detail = format!("reservation {id} is that of order {order}: pay the order, or cancel it");
    refusal("held_for_order", Kind::Conflict, detail)
}
