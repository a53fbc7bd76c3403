//! The number of an order: no two orders have one. It is the order's id unless given, so that a given number may be the id of
//! another order: all numbers are claimed alike.

use daybook_aggregates::{Kind, Refusal};
use daybook_eventlog::StreamId;
use daybook_schemas::claim::Kind as What;
use daybook_schemas::{Label, OrderId, Token};

use super::masters::claims;
use super::refusal;
use crate::error::CommandError;
use crate::workspace::{Halt, Workspace};

/// The stream of the claim on an order's number.
pub(super) fn stream_of(order: &OrderId, given: Option<&Label>) -> StreamId {
    claims::folded_stream(What::OrderNumber, number(order, given))
}

fn number<'n>(order: &'n OrderId, given: Option<&'n Label>) -> &'n str {
    given.map_or(order.as_str(), Label::as_str)
}

/// Takes the number for an order that is about to be.
pub(super) fn take(
    workspace: &mut Workspace<'_>,
    order: &OrderId,
    given: Option<&Label>,
) -> Result<(), Halt> {
    let owner = Token::new(order.as_str()).expect("all ids have one alphabet");
    let number = number(order, given);
    match claims::take_folded(workspace, What::OrderNumber, number.to_owned(), &owner) {
        Err(Halt::Refused(CommandError::Refused(refused))) => Err(told(workspace, *refused, number).into()),
        taken => taken,
    }
}

/// Whoever knows the id of an order may call it off, so that the shop alone is told whose number it is.
fn told(workspace: &Workspace<'_>, refused: Refusal, number: &str) -> Refusal {
    if workspace.context.roles.speak_for_the_shop() {
        return refused;
    }
    let detail = format!("the number {number} is that of another order: choose another id");
    refusal(refused.code, Kind::Conflict, detail)
}
