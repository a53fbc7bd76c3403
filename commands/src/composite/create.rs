//! `variant/create`: the variant, the claims on its SKU and on its configuration, and a number for its SKU if the
//! template asks for one.
//!
//! Of two creates with one SKU or one configuration the first gets the claim, and with it the variant; the other is
//! refused with the name of the owner.

use daybook_aggregates::claim::{Action as ClaimAction, Claim, What};
use daybook_aggregates::sequence::{Action as SequenceAction, Sequence};
use daybook_aggregates::variant::masters::resolve;
use daybook_aggregates::variant::sku::{self, SkuPlan};
use daybook_aggregates::variant::{self, Create, SkuStrategy, Variant, configuration};
use daybook_aggregates::{Command, Kind, Refusal};
use daybook_eventlog::StreamId;
use daybook_schemas::claim::{Event as ClaimEvent, Released, Taken};
use daybook_schemas::sequence::{Advanced, Event as SequenceEvent};
use daybook_schemas::variant::Lifecycle;
use daybook_schemas::{Sku, Token, VariantId};

use super::masters::{facts, usage};
use super::refusal;
use crate::workspace::{Halt, Workspace, stream};

/// Numbers that are looked at one by one, before a free one is searched for by doubling the step.
const ONE_BY_ONE: u64 = 8;

/// The streams that a creation looks at beside its own if master data leaves it as it says: to be read at once, and named on the
/// caller's thread. What is missing here is read when it is asked for.
pub(crate) fn expected_streams(create: &Create) -> Vec<StreamId> {
    let mut streams = facts::first_streams(create);
    // A creation without configuration or SKU is refused by its decision.
    if let Ok((_, hash)) = configuration(create) {
        streams.push(stream::claim(What::Config, &hash));
    }
    match sku::plan(create) {
        Ok(SkuPlan::Fixed(sku)) => streams.push(stream::claim(What::Sku, sku.as_str())),
        Ok(SkuPlan::NeedsSequence(name)) => streams.push(stream::sequence(name.as_str())),
        Err(_) => {}
    }
    streams
}

pub(crate) fn decide(
    workspace: &mut Workspace<'_>,
    main: &StreamId,
    create: &Create,
    expected: &[StreamId],
) -> Result<(), Halt> {
    workspace.require([main].into_iter().chain(expected))?;
    let resolved = resolve(create, &facts::of_creation(workspace, create)?);
    if let Some(existing) = workspace.peek::<Variant>(main)?.existing() {
        // A repeat of what was done changes nothing; anything else is refused.
        let (sku, create) = (existing.sku.clone(), resolved.create);
        return variant(workspace, main, &create, may_have_become(&create, &sku));
    }
    let create = &resolved.accepted().map_err(Refusal::from)?;
    let (_, hash) = configuration(create).map_err(Refusal::from)?;
    let config = stream::claim(What::Config, &hash);
    let owner = create
        .variant_id
        .clone()
        .ok_or_else(|| refusal("invalid_request", Kind::Invalid, "no variant id"))?;
    workspace.require([main, &config])?;
    claim(workspace, &config, What::Config, hash, &owner)?;
    let (sku, number) = match sku::plan(create).map_err(Refusal::from)? {
        SkuPlan::Fixed(sku) => (free_or_longer(workspace, create, sku, &owner)?, None),
        SkuPlan::NeedsSequence(name) => {
            let (sku, number) = numbered(workspace, create, &name, &owner)?;
            (sku, Some((name, number)))
        }
    };
    claim(workspace, &stream::claim(What::Sku, sku.as_str()), What::Sku, sku.to_string(), &owner)?;
    if let Some((name, number)) = number {
        draw(workspace, name, number)?;
    }
    variant(workspace, main, create, Some(sku))?;
    match &create.references {
        Some(references) => usage::count(workspace, references, 1),
        None => Ok(()),
    }
}

pub(super) fn variant(
    workspace: &mut Workspace<'_>,
    main: &StreamId,
    create: &Create,
    resolved_sku: Option<Sku>,
) -> Result<(), Halt> {
    let create = Create { resolved_sku, ..create.clone() };
    let command: Command<variant::Action> =
        workspace.context.command(variant::Action::Create(Box::new(create)));
    workspace.decide::<Variant>(main, &command).map(|_| ())
}

/// The id as owner of a claim.
pub(super) fn token(id: &VariantId) -> Token {
    Token::new(id.as_str()).expect("all ids have one alphabet")
}

/// Takes the claim. One whose owner never came to be, or that an archived owner should have given back, passes on.
pub(super) fn claim(
    workspace: &mut Workspace<'_>,
    claim: &StreamId,
    kind: What,
    key: String,
    owner: &VariantId,
) -> Result<(), Halt> {
    let owner = token(owner);
    let present = workspace.peek::<Claim>(claim)?.owner.clone();
    if let Some(present) = present
        && present != owner
        && is_void(workspace, claim, kind, &present)?
    {
        let released = Released { kind, key: key.clone(), owner: present };
        let taken = Taken { kind, key, owner };
        workspace.note(claim, [ClaimEvent::from(released).into(), ClaimEvent::from(taken).into()]);
        return Ok(());
    }
    let command = workspace.context.command(ClaimAction::Take { kind, key, owner });
    workspace.decide::<Claim>(claim, &command).map(|_| ())
}

/// Whether a claim stands without reason. This only comes about where the log writes one stream at a time: elsewhere
/// claim and variant are one append.
fn is_void(workspace: &mut Workspace<'_>, claim: &StreamId, kind: What, owner: &Token) -> Result<bool, Halt> {
    if !workspace.context.sequential {
        return Ok(false);
    }
    let owner = VariantId::new(owner.as_str()).expect("all ids have one alphabet");
    let lifecycle = workspace.variant(&owner)?.existing().map(|existing| existing.lifecycle);
    let now = workspace.context.now.as_micros();
    let timeout = i64::try_from(workspace.context.claim_timeout.as_micros()).unwrap_or(i64::MAX);
    Ok(match lifecycle {
        Some(lifecycle) => kind == What::Config && lifecycle == Lifecycle::Archived,
        None => workspace.recorded_at(claim).is_some_and(|at| now.saturating_sub(at.as_micros()) >= timeout),
    })
}

/// The SKU that the variant has, if the strategy may have led to it: then the command may be a repeat.
pub(super) fn may_have_become(create: &Create, has: &Sku) -> Option<Sku> {
    let mut candidate = match sku::plan(create) {
        Ok(SkuPlan::Fixed(sku)) => Some(sku),
        Ok(SkuPlan::NeedsSequence(_)) => return Some(has.clone()),
        Err(_) => None,
    };
    while let Some(sku) = candidate {
        if sku == *has {
            return Some(sku);
        }
        candidate = sku::longer(create, &sku);
    }
    // What a template takes from master data may have had another name when the SKU was made.
    let named_by_masters = matches!(create.sku, SkuStrategy::Template { .. }) && create.references.is_some();
    named_by_masters.then(|| has.clone())
}

/// Whether the owner may have the SKU.
pub(super) fn is_free(workspace: &mut Workspace<'_>, sku: &Sku, owner: &VariantId) -> Result<bool, Halt> {
    may_take(workspace, &stream::claim(What::Sku, sku.as_str()), What::Sku, owner)
}

/// Whether the claim is the owner's to take.
pub(super) fn may_take(
    workspace: &mut Workspace<'_>,
    claim: &StreamId,
    kind: What,
    owner: &VariantId,
) -> Result<bool, Halt> {
    match workspace.peek::<Claim>(claim)?.owner.clone() {
        Some(present) if present != token(owner) => is_void(workspace, claim, kind, &present),
        Some(_) | None => Ok(true),
    }
}

/// The planned SKU; where an automatic one is taken, the next longer one that is not. A taken one that is not
/// automatic comes back as it is: its claim refuses it.
pub(super) fn free_or_longer(
    workspace: &mut Workspace<'_>,
    create: &Create,
    planned: Sku,
    owner: &VariantId,
) -> Result<Sku, Halt> {
    let mut sku = planned;
    while !is_free(workspace, &sku, owner)? {
        match sku::longer(create, &sku) {
            Some(longer) => sku = longer,
            None => break,
        }
    }
    Ok(sku)
}

/// The first number of the sequence whose SKU is free.
pub(super) fn numbered(
    workspace: &mut Workspace<'_>,
    create: &Create,
    name: &Token,
    owner: &VariantId,
) -> Result<(Sku, u64), Halt> {
    let next = workspace.peek::<Sequence>(&stream::sequence(name.as_str()))?.next();
    first_free(workspace, create, next, |workspace, sku| is_free(workspace, sku, owner))
}

/// A number from `next` on whose SKU is free, and the one before it is not: the first such where there is one run of taken ones. Each
/// number looked at is a stream to read, so a long run taken by hand is passed over in steps that double.
pub(super) fn first_free(
    workspace: &mut Workspace<'_>,
    create: &Create,
    next: u64,
    mut is_free: impl FnMut(&mut Workspace<'_>, &Sku) -> Result<bool, Halt>,
) -> Result<(Sku, u64), Halt> {
    // The first number refuses with its own reason if no SKU can be made of it; of a later one only the length can be wrong.
    sku::with_number(create, next).map_err(Refusal::from)?;
    let (mut taken, mut step): (Option<u64>, u64) = (None, 1);
    // The least number known not to be taken, with its SKU if one can be made of it.
    let mut end: Option<(u64, Option<Sku>)> = None;
    loop {
        let number = match (taken, &end) {
            (None, _) => next,
            (Some(u64::MAX), _) => return Err(none_free()),
            (Some(taken), None) => taken.saturating_add(step),
            (Some(taken), Some((end, found))) if end - taken <= 1 => {
                return found.clone().map(|sku| (sku, *end)).ok_or_else(none_free);
            }
            (Some(taken), Some((end, _))) => taken + (end - taken) / 2,
        };
        match sku::with_number(create, number) {
            Ok(sku) if is_free(workspace, &sku)? => {
                if number == next {
                    return Ok((sku, number));
                }
                end = Some((number, Some(sku)));
            }
            Ok(_) => {
                taken = Some(number);
                if end.is_none() && number - next >= ONE_BY_ONE {
                    step = step.saturating_mul(2);
                }
            }
            Err(_) => end = Some((number, None)),
        }
    }
}

fn none_free() -> Halt {
    refusal("duplicate_sku", Kind::Conflict, "every SKU that the template can make is taken").into()
}

fn draw(workspace: &mut Workspace<'_>, name: Token, number: u64) -> Result<(), Halt> {
    let sequence = stream::sequence(name.as_str());
    if workspace.peek::<Sequence>(&sequence)?.next() == number {
        let command = workspace.context.command(SequenceAction::Next { name });
        workspace.decide::<Sequence>(&sequence, &command)?;
    } else {
        workspace.note(&sequence, [SequenceEvent::from(Advanced { name, last: number }).into()]);
    }
    Ok(())
}
