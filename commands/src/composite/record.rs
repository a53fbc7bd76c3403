//! `order/record`: an order of the past, as importers know it: placed, reserved, paid, shipped and delivered at its own
//! time, in one append. Its goods leave the stock by way of a hold like those of any order, so nothing is ever oversold.

use daybook_aggregates::inventory::{self, Inventory, Outcome};
use daybook_aggregates::order::{self, Deliver, Order, Pay, Place, Ship};
use daybook_aggregates::{Kind, Role};
use daybook_eventlog::StreamId;
use daybook_schemas::body;
use daybook_schemas::order::{Address, Discount};
use daybook_schemas::{
    CustomerId, Label, Money, OrderId, Quantity, ReservationId, Timestamp, Token, VariantId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lines::{self, Asked, Buyer, Need, When};
use super::place::{check_count, mark_reserved, repeat, reserve};
use super::{Reasons, hold, number, refusal};
use crate::workspace::{Halt, Workspace};

/// Records an order of the past, from placing to delivery. For operators and importers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordBody {
    /// Absent for a guest.
    #[serde(default)]
    pub customer_id: Option<CustomerId>,
    /// 1 to 2,000.
    pub lines: Vec<RecordLine>,
    pub payment_method: Token,
    #[serde(default)]
    pub shipping_address: Option<Address>,
    #[serde(default)]
    pub billing_address: Option<Address>,
    /// When it was placed, paid, shipped and delivered.
    pub placed_at: Timestamp,
    /// The order's id unless given. No two orders have one number.
    #[serde(default)]
    pub order_number: Option<Label>,
}

/// A line of an order of the past.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordLine {
    pub variant_id: VariantId,
    pub quantity: Quantity,
    /// The variant's price of today unless given.
    #[serde(default)]
    pub unit_price: Option<Money>,
    /// Taken off quantity × unit price: positive amounts, each with its reason, together at most as much.
    #[serde(default, deserialize_with = "body::or_default")]
    pub discounts: Vec<Discount>,
    /// On top, already rounded.
    #[serde(default)]
    pub tax: Option<Money>,
    /// As it stood on the invoice; the variant's unless given.
    #[serde(default)]
    pub name: Option<Label>,
    /// Whether the line takes goods from stock (postage, fees and the like do not); it does unless it is said otherwise.
    #[serde(default = "body::yes", deserialize_with = "body::or_yes")]
    pub stocked: bool,
}

pub(crate) struct RecordOrder {
    pub(crate) order_id: OrderId,
    pub(crate) body: RecordBody,
}

pub(crate) fn decide(
    workspace: &mut Workspace<'_>,
    main: &StreamId,
    asked: &RecordOrder,
) -> Result<(), Halt> {
    let roles = workspace.context.roles;
    if !roles.contains(Role::Operator) && !roles.contains(Role::System) {
        return Err(refusal("forbidden", Kind::Forbidden, "only operators record orders of the past").into());
    }
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
            name: line.name.as_ref(),
            stocked: line.stocked,
            reservation_id: None,
        })
        .collect();
    check_count(lines.len())?;
    if let Some(existing) = workspace.peek::<Order>(main)?.existing() {
        let repeated = lines::repeated(existing, &lines);
        return repeat(workspace, main, place(asked, repeated.unwrap_or_default()));
    }
    let number = number::stream_of(&asked.order_id, body.order_number.as_ref());
    workspace.require(lines::streams(&lines).iter().chain([&number]))?;
    // Before the goods: they are sold at once, and must not be while the order can still be refused.
    number::take(workspace, &asked.order_id, body.order_number.as_ref())?;
    let mut reasons = Reasons::default();
    let snapshots = lines::snapshots(workspace, &lines, When::Past, &Buyer::default(), &mut reasons)?;
    // Decided as of its own time: a history imported twice gives the same events, deadlines of holds included. Holds of
    // others that ran out since still count here, which can refuse an order but never oversell.
    workspace.context.now = workspace.context.now.min(body.placed_at);
    let needs = lines::needs(&lines)?;
    let reservation = hold::of_order(&asked.order_id);
    let open = not_sold_yet(workspace, &needs, &reservation)?;
    let ttl = inventory::DEFAULT_TTL_SECONDS;
    for need in &open {
        if reasons.is_against(need.variant_id.as_str()) {
            continue;
        }
        let action = reserve(need, &reservation, body.customer_id.as_ref(), &asked.order_id, ttl);
        let command = workspace.context.command(action);
        let decided = workspace.decide::<Inventory>(&need.stream, &command);
        reasons.collect(decided, need.variant_id.as_str())?;
    }
    reasons.check()?;
    let command = workspace.context.command(order::Action::Place(Box::new(place(asked, snapshots))));
    workspace.decide::<Order>(main, &command)?;
    // From here on decisions see the ones before, and none is refused.
    for need in &open {
        let confirm = inventory::Confirm { reservation_id: reservation.clone(), quantity: None };
        let command = workspace.context.command(inventory::Action::Confirm(confirm));
        workspace.decide::<Inventory>(&need.stream, &command)?;
    }
    mark_reserved(workspace, main, &needs, &reservation, ttl)?;
    let at = Some(body.placed_at);
    for action in [
        order::Action::Pay(Pay { paid_at: at, ..Pay::default() }),
        order::Action::Ship(Ship { shipped_at: at, ..Ship::default() }),
        order::Action::Deliver(Deliver { delivered_at: at, ..Deliver::default() }),
    ] {
        let command = workspace.context.command(action);
        workspace.decide::<Order>(main, &command)?;
    }
    Ok(())
}

/// The needs that an earlier attempt has not met already, where the log writes one stream at a time.
fn not_sold_yet<'n>(
    workspace: &mut Workspace<'_>,
    needs: &'n [Need],
    reservation: &ReservationId,
) -> Result<Vec<&'n Need>, Halt> {
    let sequential = workspace.context.sequential;
    let mut open = Vec::with_capacity(needs.len());
    for need in needs {
        let outcome = workspace.inventory(&need.variant_id)?.outcome(reservation);
        if !sequential || outcome != Some(Outcome::Confirmed) {
            open.push(need);
        }
    }
    Ok(open)
}

fn place(asked: &RecordOrder, lines: Vec<order::NewLine>) -> Place {
    let body = &asked.body;
    Place {
        order_id: asked.order_id.clone(),
        order_number: body.order_number.clone(),
        customer_id: body.customer_id.clone(),
        lines,
        payment_method: body.payment_method.clone(),
        shipping_address: body.shipping_address.clone(),
        billing_address: body.billing_address.clone(),
        placed_at: Some(body.placed_at),
    }
}
