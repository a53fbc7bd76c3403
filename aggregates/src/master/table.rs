//! The lifecycle that all master data follows, as data: draft, active, deprecated, archived, with an approval workflow beside.

use daybook_schemas::master::{Lifecycle, LockScope};

use crate::Role;
use crate::lifecycle::{Edit, Rule, State, Transition};

impl State for Lifecycle {
    const ALL: &'static [Self] = &Lifecycle::ALL;

    fn as_str(self) -> &'static str {
        self.as_str()
    }
}

/// Who edits.
pub const EDITORS: &[Role] = &[Role::Merchandiser, Role::BrandOwner, Role::Operator, Role::System];
/// Who approves, deprecates and locks.
pub const APPROVERS: &[Role] = &[Role::Approver, Role::BrandOwner, Role::Operator, Role::System];
/// Who does what can't be taken back.
pub const OWNERS: &[Role] = &[Role::BrandOwner, Role::Operator, Role::System];
const COUNTERS: &[Role] = &[Role::Operator, Role::System];

/// Every state but archived.
pub const ALIVE: &[Lifecycle] =
    &[Lifecycle::Draft, Lifecycle::PendingApproval, Lifecycle::Active, Lifecycle::Deprecated];

const fn row(
    from: Lifecycle,
    command: &'static str,
    to: Lifecycle,
    roles: &'static [Role],
    rules: &'static [Rule],
) -> Transition<Lifecycle> {
    Transition { command, from, to, roles, rules }
}

/// The steps of the approval workflow and what follows it. `live`: what becoming active asks for; `end`: what archiving asks for.
#[must_use]
pub const fn approved(live: &'static [Rule], end: &'static [Rule]) -> [Transition<Lifecycle>; 7] {
    [
        row(Lifecycle::Draft, "submit", Lifecycle::PendingApproval, EDITORS, &[]),
        row(Lifecycle::PendingApproval, "reject", Lifecycle::Draft, APPROVERS, &[]),
        row(Lifecycle::PendingApproval, "approve", Lifecycle::Active, APPROVERS, live),
        row(Lifecycle::Active, "deprecate", Lifecycle::Deprecated, APPROVERS, &[]),
        row(Lifecycle::Deprecated, "reinstate", Lifecycle::Active, APPROVERS, live),
        row(Lifecycle::Deprecated, "archive", Lifecycle::Archived, OWNERS, end),
        row(Lifecycle::Draft, "archive", Lifecycle::Archived, OWNERS, end),
    ]
}

/// The same, with a way past the workflow for those who approve anyway.
#[must_use]
pub const fn direct(live: &'static [Rule], end: &'static [Rule]) -> [Transition<Lifecycle>; 8] {
    let [submit, reject, approve, deprecate, reinstate, archive, drop] = approved(live, end);
    let activate = row(Lifecycle::Draft, "activate", Lifecycle::Active, APPROVERS, live);
    [submit, reject, approve, activate, deprecate, reinstate, archive, drop]
}

/// An edit of everything but what is archived.
#[must_use]
pub const fn edit(command: &'static str, roles: &'static [Role], lock: Option<LockScope>) -> Edit<Lifecycle> {
    let lock = match lock {
        Some(scope) => Some(scope.as_str()),
        None => None,
    };
    Edit { command, states: ALIVE, roles, lock }
}

/// Edits that all master data has.
pub const LOCK: Edit<Lifecycle> = edit("lock", APPROVERS, None);
/// Lifts a lock.
pub const UNLOCK: Edit<Lifecycle> = edit("unlock", APPROVERS, None);
/// Puts the usage count right.
pub const RECOUNT: Edit<Lifecycle> =
    Edit { command: "recount", states: &Lifecycle::ALL, roles: COUNTERS, lock: None };
