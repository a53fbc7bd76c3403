//! Claims of master data and on the numbers of orders: the first to ask owns the value, in the same append as the record; others are refused with the
//! name of the owner.

use daybook_aggregates::attribute_type::AttributeType;
use daybook_aggregates::attribute_value::{self, AttributeValue};
use daybook_aggregates::category::Category;
use daybook_aggregates::claim::{Action, Claim, What};
use daybook_aggregates::color::Color;
use daybook_aggregates::order::Order;
use daybook_aggregates::size::{self, Size};
use daybook_eventlog::StreamId;
use daybook_schemas::Token;
use daybook_schemas::claim::{Event, Released, Taken};
use daybook_schemas::configuration::hex;
use sha2::{Digest, Sha256};

use crate::workspace::{Halt, Workspace, stream};

/// The claim on a key that is longer than an id, or has other characters: named by its SHA-256.
pub(crate) fn folded_stream(kind: What, key: &str) -> StreamId {
    stream::claim(kind, &hex(&Sha256::digest(key.as_bytes())))
}

/// Takes the claim on a key of any form.
pub(crate) fn take_folded(
    workspace: &mut Workspace<'_>,
    kind: What,
    key: String,
    owner: &Token,
) -> Result<(), Halt> {
    let claim = folded_stream(kind, &key);
    take_from(workspace, &claim, kind, key, owner)
}

/// Takes the claim on a key in the alphabet of ids.
pub(crate) fn take(workspace: &mut Workspace<'_>, kind: What, key: &str, owner: &Token) -> Result<(), Halt> {
    take_from(workspace, &stream::claim(kind, key), kind, key.to_owned(), owner)
}

/// One whose owner never came to hold the value passes on.
fn take_from(
    workspace: &mut Workspace<'_>,
    claim: &StreamId,
    kind: What,
    key: String,
    owner: &Token,
) -> Result<(), Halt> {
    let present = workspace.peek::<Claim>(claim)?.owner.clone();
    if let Some(present) = present
        && present != *owner
        && is_void(workspace, claim, kind, &key, &present)?
    {
        let released = Released { kind, key: key.clone(), owner: present };
        let taken = Taken { kind, key, owner: owner.clone() };
        workspace.note(claim, [Event::from(released).into(), Event::from(taken).into()]);
        return Ok(());
    }
    let command = workspace.context.command(Action::Take { kind, key, owner: owner.clone() });
    workspace.decide::<Claim>(claim, &command).map(|_| ())
}

/// Whether a claim stands without reason, and did so for longer than an append takes. This only comes about where the log
/// writes one stream at a time: elsewhere claim and record are one append.
fn is_void(
    workspace: &mut Workspace<'_>,
    claim: &StreamId,
    kind: What,
    key: &str,
    owner: &Token,
) -> Result<bool, Halt> {
    if !workspace.context.sequential || holds(workspace, kind, key, owner)? {
        return Ok(false);
    }
    let now = workspace.context.now.as_micros();
    let timeout = i64::try_from(workspace.context.claim_timeout.as_micros()).unwrap_or(i64::MAX);
    Ok(workspace.recorded_at(claim).is_some_and(|at| now.saturating_sub(at.as_micros()) >= timeout))
}

/// Whether the owner has the value that it claimed.
fn holds(workspace: &mut Workspace<'_>, kind: What, key: &str, owner: &Token) -> Result<bool, Halt> {
    Ok(match kind {
        What::Size => {
            let state = workspace.peek::<Size>(&stream::of("size", owner))?.existing();
            let key_of =
                |own: &size::Existing| size::claim_key(&own.category, own.gender, own.region, &own.value);
            state.is_some_and(|own| key_of(own) == key)
        }
        What::Color => {
            let state = workspace.peek::<Color>(&stream::of("color", owner))?.existing();
            state.is_some_and(|own| {
                own.slug.as_str() == key || own.previous_slugs.iter().any(|slug| slug.as_str() == key)
            })
        }
        What::AttributeType => {
            let state = workspace.peek::<AttributeType>(&stream::of("attribute_type", owner))?.existing();
            state.is_some_and(|own| own.code.as_str() == key)
        }
        What::AttributeValue => {
            let state = workspace.peek::<AttributeValue>(&stream::of("attribute_value", owner))?.existing();
            state.is_some_and(|own| attribute_value::claim_key(&own.kind, &own.value) == key)
        }
        What::Category => {
            let state = workspace.peek::<Category>(&stream::of("category", owner))?.existing();
            state.is_some_and(|own| {
                own.slug.as_str() == key || own.previous_slugs.iter().any(|slug| slug.as_str() == key)
            })
        }
        What::OrderNumber => {
            let state = workspace.peek::<Order>(&stream::of("order", owner))?.existing();
            state.is_some_and(|own| own.order_number.as_str() == key)
        }
        // Those of variants have rules of their own: see `composite::create`.
        What::Sku | What::Config => true,
    })
}
