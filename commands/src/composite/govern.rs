//! Commands to a variant that look at master data: becoming active, where it is sold, taking over what changed.

use daybook_aggregates::Command;
use daybook_aggregates::variant::{Action, Variant};
use daybook_eventlog::StreamId;

use super::masters::facts;
use crate::workspace::{Halt, Workspace};

pub(crate) fn decide(
    workspace: &mut Workspace<'_>,
    main: &StreamId,
    command: &mut Command<Action>,
) -> Result<(), Halt> {
    command.now = workspace.context.now;
    if let Some(existing) = workspace.peek::<Variant>(main)?.existing() {
        let references = existing.references.clone();
        match &mut command.action {
            Action::Approve(step) | Action::Activate(step) | Action::Reactivate(step) => {
                step.dead = facts::broken(workspace, &references)?;
            }
            Action::ChangeSegmentation(change) => {
                let existing = existing.clone();
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
    workspace.decide::<Variant>(main, command).map(|_| ())
}
