//! `variant/check` and `variant/check-step`: everything that speaks against a creation, or against a step of the lifecycle, told
//! together; nothing is written.
//!
//! Where `variant/create` stops at the first stage that says no, this goes on: rules of the master data, the configuration and its
//! owner, the SKU and its owner, price, channels, regions, and the state asked for.

use daybook_aggregates::claim::What;
use daybook_aggregates::variant::masters::{Resolved, resolve};
use daybook_aggregates::variant::sku::{self, SkuPlan};
use daybook_aggregates::variant::{Action, Create, Variant, configuration, objections};
use daybook_aggregates::{Command, Refusal};
use daybook_eventlog::StreamId;
use daybook_schemas::{Sku, Token, VariantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::create::{claim, expected_streams, free_or_longer, may_have_become, numbered, variant};
use super::masters::facts;
use super::{Reasons, archive, govern};
use crate::workspace::{Halt, Workspace, stream};

/// A step of the lifecycle that is to be looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckStep {
    /// The command that would take it, such as `activate`.
    pub(crate) step: Token,
}

/// Takes the step on paper only.
pub(crate) fn step(
    workspace: &mut Workspace<'_>,
    main: &StreamId,
    command: &mut Command<Action>,
) -> Result<(), Halt> {
    match &command.action {
        Action::Archive(body) => archive::step(workspace, main, &body.clone())?,
        _ => govern::decide(workspace, main, command)?,
    }
    workspace.discard();
    Ok(())
}

pub(crate) fn decide(
    workspace: &mut Workspace<'_>,
    main: &StreamId,
    owner: &VariantId,
    create: &Create,
) -> Result<(), Halt> {
    workspace.require([main].into_iter().chain(&expected_streams(create)))?;
    let Resolved { create, reasons: told } = resolve(create, &facts::of_creation(workspace, create)?);
    if let Some(existing) = workspace.peek::<Variant>(main)?.existing() {
        let sku = existing.sku.clone();
        return variant(workspace, main, &create, may_have_become(&create, &sku));
    }
    let mut reasons = Reasons::default();
    let about = owner.as_str();
    for rejection in
        told.into_iter().chain(objections(&create, workspace.context.now, workspace.context.roles))
    {
        reasons.add(Refusal::from(rejection), about);
    }
    // Without a configuration there is neither its owner nor an automatic SKU, and why there is none is told already.
    if let Ok((_, hash)) = configuration(&create) {
        let taken = claim(workspace, &stream::claim(What::Config, &hash), What::Config, hash, owner);
        reasons.collect(taken, about)?;
        let sku = free_sku(workspace, owner, &create);
        reasons.collect(sku, about)?;
    }
    workspace.discard();
    reasons.check()
}

fn free_sku(workspace: &mut Workspace<'_>, owner: &VariantId, create: &Create) -> Result<Sku, Halt> {
    let sku = match sku::plan(create).map_err(Refusal::from)? {
        SkuPlan::Fixed(sku) => free_or_longer(workspace, create, sku, owner)?,
        SkuPlan::NeedsSequence(name) => numbered(workspace, create, &name, owner)?.0,
    };
    claim(workspace, &stream::claim(What::Sku, sku.as_str()), What::Sku, sku.to_string(), owner)?;
    Ok(sku)
}
