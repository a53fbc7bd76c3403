//! `variant/archive`: looks at the stock of the variant, and gives its configuration back for others to use.

use daybook_aggregates::claim::{Action as ClaimAction, Claim, What};
use daybook_aggregates::inventory::Inventory;
use daybook_aggregates::variant::{self, Archive, StockFacts, Variant};
use daybook_eventlog::StreamId;
use daybook_schemas::VariantId;

use super::create::token;
use super::masters::usage;
use crate::workspace::{Halt, Workspace, stream};

pub(crate) fn decide(workspace: &mut Workspace<'_>, main: &StreamId, archive: &Archive) -> Result<(), Halt> {
    let existing = workspace.peek::<Variant>(main)?.existing();
    let known = existing.map(|existing| {
        (existing.variant_id.clone(), existing.config_hash.clone(), existing.references.clone())
    });
    let Some((id, hash, references)) = known else {
        return finish(workspace, main, archive, StockFacts::default()).map(|_| ());
    };
    let claim = stream::claim(What::Config, &hash);
    workspace.require([&stream::inventory(&id), &claim])?;
    let facts = stock(workspace, &id)?;
    if finish(workspace, main, archive, facts)? == 0 {
        return Ok(());
    }
    usage::count(workspace, &references, -1)?;
    let owner = token(&id);
    if workspace.peek::<Claim>(&claim)?.owner.as_ref() == Some(&owner) {
        let release = ClaimAction::Release { kind: What::Config, key: hash, owner };
        let command = workspace.context.command(release);
        workspace.decide::<Claim>(&claim, &command)?;
    }
    Ok(())
}

/// The step alone, to see what speaks against it.
pub(super) fn step(workspace: &mut Workspace<'_>, main: &StreamId, archive: &Archive) -> Result<(), Halt> {
    let id = workspace.peek::<Variant>(main)?.existing().map(|existing| existing.variant_id.clone());
    let facts = id.map(|id| stock(workspace, &id)).transpose()?.unwrap_or_default();
    finish(workspace, main, archive, facts).map(|_| ())
}

fn stock(workspace: &mut Workspace<'_>, id: &VariantId) -> Result<StockFacts, Halt> {
    let now = workspace.context.now;
    let inventory = workspace.read::<Inventory>(&stream::inventory(id))?;
    let totals = inventory.totals();
    let (on_hand, damaged, incoming) = (totals.on_hand, totals.damaged, totals.incoming);
    Ok(StockFacts { on_hand, reserved: inventory.reserved_at(now), damaged, incoming })
}

fn finish(
    workspace: &mut Workspace<'_>,
    main: &StreamId,
    archive: &Archive,
    stock: StockFacts,
) -> Result<usize, Halt> {
    let archive = Archive { stock: Some(stock), ..archive.clone() };
    let command = workspace.context.command(variant::Action::Archive(archive));
    workspace.decide::<Variant>(main, &command)
}
