//! Commands to a variant that look at master data: becoming active, another category or brand, where it is sold, taking over what
//! changed.

use daybook_aggregates::Command;
use daybook_aggregates::variant::rebind::rebound;
use daybook_aggregates::variant::{Action, Variant};
use daybook_eventlog::StreamId;

use super::masters::place::{Place, require_references};
use super::masters::{facts, usage};
use crate::workspace::{Halt, Workspace};

pub(crate) fn decide(
    workspace: &mut Workspace<'_>,
    main: &StreamId,
    command: &mut Command<Action>,
) -> Result<(), Halt> {
    command.now = workspace.context.now;
    let mut moved = None;
    if let Some(existing) = workspace.peek::<Variant>(main)?.existing() {
        match &mut command.action {
            Action::Approve(step) | Action::Activate(step) | Action::Reactivate(step) => {
                let place = Place::of(existing);
                require_references(workspace, &place)?;
                step.dead = facts::broken(workspace, &place.references)?;
                step.rules = facts::rules(workspace, &place)?;
            }
            Action::ChangeDetails(change) => {
                let touches = change.category.is_some()
                    || change.brand.is_some()
                    || change.channels.is_some()
                    || change.regions.is_some();
                if touches {
                    let place = Place::of(existing);
                    change.masters = Some(Box::new(facts::of_change(workspace, &place, change)?));
                    let existing = workspace.peek::<Variant>(main)?.existing();
                    let now = existing.and_then(|existing| rebound(existing, change));
                    moved = now.map(|now| (place.references, now.references));
                }
            }
            Action::ChangeSegmentation(change) => {
                let place = Place::of(existing);
                change.limits = facts::limits(workspace, &place)?;
            }
            Action::RefreshAttribute(refresh) => {
                let own = existing.references.values.iter().find(|own| own.value_id == refresh.value_id);
                let kind = own.map(|own| own.kind);
                refresh.value = match kind {
                    Some(kind) => facts::value(workspace, kind, &refresh.value_id, None)?,
                    None => None,
                };
            }
            _ => {}
        }
    }
    let decided = workspace.decide::<Variant>(main, command)?;
    match moved {
        Some((before, after)) if decided > 0 => usage::recount(workspace, &before, &after),
        Some(_) | None => Ok(()),
    }
}
