//! `order/place`: the order with complete copies of its variants, and a hold on the stock of each, for the sum of its
//! lines. All lines are reserved together, or none is and every reason is told.
//!
//! A line may name a hold of the customer's own (from the cart): it is released and taken over in the same append.

use daybook_aggregates::inventory::{self, Inventory};
use daybook_aggregates::order::{self, MarkReserved, Order, Place, PlaceBody};
use daybook_aggregates::{Kind, Refusal, Roles};
use daybook_eventlog::StreamId;
use daybook_schemas::order::Hold;
use daybook_schemas::prices::Wanted;
use daybook_schemas::{CustomerId, OrderId, ReservationId};

use super::lines::{self, Asked, Buyer, Need, When};
use super::{Reasons, hold, number, refusal};
use crate::workspace::{Halt, Workspace};

pub(crate) struct PlaceOrder {
    pub(crate) order_id: OrderId,
    pub(crate) body: PlaceBody,
    /// Orders of one customer that may hold stock unpaid at once.
    pub(crate) max_open_orders: u32,
}

pub(crate) fn decide(workspace: &mut Workspace<'_>, main: &StreamId, asked: &PlaceOrder) -> Result<(), Halt> {
    let body = &asked.body;
    let lines: Vec<Asked<'_>> = body
        .lines
        .iter()
        .map(|line| Asked {
            variant_id: &line.variant_id,
            quantity: line.quantity,
            unit_price: line.unit_price,
            discounts: &line.discounts,
            tax: line.tax,
            name: None,
            stocked: true,
            reservation_id: line.reservation_id.as_ref(),
        })
        .collect();
    check_count(lines.len())?;
    refuse_words_of_the_shop(workspace.context.roles, body)?;
    if let Some(existing) = workspace.peek::<Order>(main)?.existing() {
        let repeated = lines::repeated(existing, &lines);
        return repeat(workspace, main, place(asked, repeated.unwrap_or_default()));
    }
    let number = number::stream_of(&asked.order_id, body.order_number.as_ref());
    workspace.require(lines::streams(&lines).iter().chain([&number]))?;
    let mut reasons = Reasons::default();
    let wanted = Wanted {
        currency: body.currency,
        channel: body.channel.clone(),
        customer_group: body.customer_group.clone(),
    };
    let buyer = Buyer { wanted, region: body.region.clone() };
    let snapshots = lines::snapshots(workspace, &lines, When::Now, &buyer, &mut reasons)?;
    let needs = lines::needs(&lines)?;
    check_open_orders(workspace, asked)?;
    let ttl_seconds = body.ttl_seconds.unwrap_or(inventory::DEFAULT_TTL_SECONDS);
    let reservation = hold::of_order(&asked.order_id);
    let reserve =
        |need: &Need| reserve(need, &reservation, body.customer_id.as_ref(), &asked.order_id, ttl_seconds);
    for need in &needs {
        if reasons.is_against(need.variant_id.as_str()) {
            continue;
        }
        let first = if need.taken_over.is_empty() {
            let command = workspace.context.command(reserve(need));
            workspace.decide::<Inventory>(&need.stream, &command).map(|_| ())
        } else {
            take_over(workspace, need, body.customer_id.as_ref(), &reservation)
        };
        reasons.collect(first, need.variant_id.as_str())?;
    }
    reasons.check()?;
    // After the holds: where streams are written one by one these run out if the number is taken meanwhile.
    number::take(workspace, &asked.order_id, body.order_number.as_ref())?;
    let command = workspace.context.command(order::Action::Place(Box::new(place(asked, snapshots))));
    workspace.decide::<Order>(main, &command)?;
    // From here on decisions see the ones before, and none is refused.
    for need in needs.iter().filter(|need| !need.taken_over.is_empty()) {
        let command = workspace.context.command(reserve(need));
        workspace.decide::<Inventory>(&need.stream, &command)?;
    }
    mark_reserved(workspace, main, &needs, &reservation, ttl_seconds)
}

/// A buyer says what is bought, for whom and where to; not to which group the customer belongs, nor how the order is numbered and dated.
fn refuse_words_of_the_shop(roles: Roles, body: &PlaceBody) -> Result<(), Refusal> {
    let words = [
        ("customer_group", body.customer_group.is_some()),
        ("order_number", body.order_number.is_some()),
        ("placed_at", body.placed_at.is_some()),
    ];
    let Some((word, _)) = words.into_iter().find(|(_, said)| *said && !roles.speak_for_the_shop()) else {
        return Ok(());
    };
    Err(refusal(
        "forbidden",
        Kind::Forbidden,
        format!("{word} is the shop's to say: its own key places such an order"),
    ))
}

/// The holds go on record in the order.
pub(super) fn mark_reserved(
    workspace: &mut Workspace<'_>,
    main: &StreamId,
    needs: &[Need],
    reservation: &ReservationId,
    ttl_seconds: u32,
) -> Result<(), Halt> {
    if needs.is_empty() {
        return Ok(());
    }
    let holds = needs
        .iter()
        .map(|need| Hold {
            variant_id: need.variant_id.clone(),
            reservation_id: reservation.clone(),
            quantity: need.quantity,
        })
        .collect();
    let expires_at = workspace.context.now.plus_secs(i64::from(ttl_seconds));
    let command = workspace.context.command(order::Action::MarkReserved(MarkReserved { holds, expires_at }));
    workspace.decide::<Order>(main, &command).map(|_| ())
}

/// The number of lines is checked before anything is looked up for them.
pub(super) fn check_count(count: usize) -> Result<(), Halt> {
    if (1..=order::MAX_LINES).contains(&count) {
        return Ok(());
    }
    Err(Refusal::from(order::Rejection::LineCount(count)).into())
}

/// An order that exists: the same once more changes nothing, another is refused.
pub(super) fn repeat(workspace: &mut Workspace<'_>, main: &StreamId, place: Place) -> Result<(), Halt> {
    if place.lines.is_empty() {
        return Err(Refusal::from(order::Rejection::DuplicateOrder).into());
    }
    let command = workspace.context.command(order::Action::Place(Box::new(place)));
    workspace.decide::<Order>(main, &command).map(|_| ())
}

fn place(asked: &PlaceOrder, lines: Vec<order::NewLine>) -> Place {
    let body = &asked.body;
    Place {
        order_id: asked.order_id.clone(),
        order_number: body.order_number.clone(),
        customer_id: body.customer_id.clone(),
        lines,
        payment_method: body.payment_method.clone(),
        shipping_address: body.shipping_address.clone(),
        billing_address: body.billing_address.clone(),
        placed_at: body.placed_at,
    }
}

pub(super) fn reserve(
    need: &Need,
    reservation: &ReservationId,
    customer: Option<&CustomerId>,
    order: &OrderId,
    ttl_seconds: u32,
) -> inventory::Action {
    inventory::Action::Reserve(inventory::Reserve {
        reservation_id: Some(reservation.clone()),
        customer_id: customer.cloned(),
        quantity: need.quantity,
        ttl_seconds,
        order_id: Some(order.clone()),
        location: None,
        customer_active_holds: None,
    })
}

fn check_open_orders(workspace: &Workspace<'_>, asked: &PlaceOrder) -> Result<(), Halt> {
    let Some(customer) = &asked.body.customer_id else { return Ok(()) };
    let open = workspace.holds().open_orders(customer, &asked.order_id, workspace.context.now);
    if open < asked.max_open_orders {
        return Ok(());
    }
    let detail = format!("the customer has {open} unpaid orders that hold stock: pay or cancel one first");
    Err(refusal("too_many_reservations", Kind::Conflict, detail).into())
}

/// Releases the customer's own holds, provided that the order then finds enough: the hold for the order is decided
/// after that release is in the state, where it must not be refused any more.
fn take_over(
    workspace: &mut Workspace<'_>,
    need: &Need,
    customer: Option<&CustomerId>,
    reservation: &ReservationId,
) -> Result<(), Halt> {
    let (now, sequential) = (workspace.context.now, workspace.context.sequential);
    let state = workspace.inventory(&need.variant_id)?;
    if sequential && state.hold(reservation).is_some_and(|hold| !hold.is_due(now)) {
        // An earlier attempt came this far; the hold for the order is compared when it is decided.
        return Ok(());
    }
    let totals = state.totals();
    let mut available = totals.available + (totals.reserved - state.reserved_at(now));
    for id in &need.taken_over {
        match state.hold(id) {
            Some(hold) if hold.customer_id.as_ref() != customer || hold.order_id.is_some() => {
                let detail = format!("reservation {id} is not the customer's own");
                return Err(refusal("reservation_conflict", Kind::Conflict, detail).into());
            }
            Some(hold) if !hold.is_due(now) => available += hold.quantity.as_i64(),
            // Run out, confirmed, released or unknown: the release below says which.
            _ => {}
        }
    }
    if available < need.quantity.as_i64() {
        let location = None;
        let asked = need.quantity.as_i64();
        return Err(
            Refusal::from(inventory::Rejection::InsufficientStock { asked, available, location }).into()
        );
    }
    for reservation_id in &need.taken_over {
        let release = inventory::Release { reservation_id: reservation_id.clone(), quantity: None };
        let command = workspace.context.command(inventory::Action::Release(release));
        workspace.decide::<Inventory>(&need.stream, &command)?;
    }
    Ok(())
}
