//! Whether goods of a variant may come in and be held, as its lifecycle says.
//!
//! Invariants, and how they would break:
//!
//! 1. No goods are announced, come in or are held for a variant that was archived. Else they would stand in its books for ever:
//!    nobody finds it, and no step leads out of that state. Archiving looks at the stock in its turn, so that of both at once one
//!    is refused. (Goods that come *back* are taken: a cancelled order or a return must not fail, and books say what is there.)
//! 2. Nobody but an operator holds goods of a variant that is not for sale (yet, or any more). Operators put goods aside.
//! 3. Stock without a variant is nobody's catalogue: it goes as it always did.

use daybook_aggregates::{Kind, Refusal, Role, Roles};
use daybook_schemas::VariantId;
use daybook_schemas::variant::Lifecycle;

use super::refusal;
use crate::workspace::{Halt, Workspace};

/// Refuses goods for a variant that was archived.
pub(super) fn check_stocked(workspace: &mut Workspace<'_>, id: &VariantId) -> Result<(), Halt> {
    match lifecycle(workspace, id)? {
        Some(Lifecycle::Archived) => Err(gone().into()),
        Some(_) | None => Ok(()),
    }
}

/// Refuses a hold on goods that are not for sale.
pub(super) fn check_held(workspace: &mut Workspace<'_>, id: &VariantId) -> Result<(), Halt> {
    let roles = workspace.context.roles;
    match lifecycle(workspace, id)? {
        Some(Lifecycle::Archived) => Err(gone().into()),
        Some(lifecycle) if !lifecycle.is_sellable() && !puts_aside(roles) => {
            Err(not_for_sale(lifecycle).into())
        }
        Some(_) | None => Ok(()),
    }
}

fn gone() -> Refusal {
    let detail = "the variant is archived: no goods of it come in or are held any more";
    refusal("unprocessable", Kind::Unprocessable, detail)
}

pub(super) fn not_for_sale(lifecycle: Lifecycle) -> Refusal {
    let detail = format!("the variant is {} and not for sale", lifecycle.as_str());
    refusal("unprocessable", Kind::Unprocessable, detail)
}

fn puts_aside(roles: Roles) -> bool {
    roles.contains(Role::Operator) || roles.contains(Role::System)
}

fn lifecycle(workspace: &mut Workspace<'_>, id: &VariantId) -> Result<Option<Lifecycle>, Halt> {
    Ok(workspace.variant(id)?.existing().map(|existing| existing.lifecycle))
}
