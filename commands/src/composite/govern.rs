//! Commands to a variant that look at master data: becoming active, another category or brand, where it is sold, taking over what
//! changed.

use daybook_aggregates::Command;
use daybook_aggregates::variant::rebind::rebound;
use daybook_aggregates::variant::{Action, Variant};
use daybook_eventlog::StreamId;

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
        let existing = existing.clone();
        let references = &existing.references;
        match &mut command.action {
            Action::Approve(step) | Action::Activate(step) | Action::Reactivate(step) => {
                step.dead = facts::broken(workspace, references)?;
                step.rules = facts::rules(workspace, &existing)?;
            }
            Action::ChangeDetails(change) => {
                let touches = change.category.is_some()
                    || change.brand.is_some()
                    || change.channels.is_some()
                    || change.regions.is_some();
                if touches {
                    change.masters = Some(Box::new(facts::of_change(workspace, &existing, change)?));
                    moved = rebound(&existing, change).map(|now| (references.clone(), now.references));
                }
            }
            Action::ChangeSegmentation(change) => {
                change.limits = facts::limits(workspace, &existing)?;
            }
            Action::RefreshAttribute(refresh) => {
                let own = references.values.iter().find(|own| own.value_id == refresh.value_id);
                refresh.value = match own {
                    Some(own) => facts::value(workspace, own.kind, &own.value_id, None)?,
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
