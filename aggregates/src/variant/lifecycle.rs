//! The lifecycle as data: which step leads where, who may take it, what it writes.

use daybook_schemas::Text;
use daybook_schemas::variant::{
    Activated, Archived, Cleared, Discontinued, Event, Lifecycle, Matured, Reactivated, Rejected, Submitted,
};

use crate::Role;

/// A step of the lifecycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StepName {
    Submit,
    Reject,
    Approve,
    Activate,
    Mature,
    Clear,
    Discontinue,
    Reactivate,
    Archive,
}

impl StepName {
    /// All steps.
    pub const ALL: [Self; 9] = [
        Self::Submit,
        Self::Reject,
        Self::Approve,
        Self::Activate,
        Self::Mature,
        Self::Clear,
        Self::Discontinue,
        Self::Reactivate,
        Self::Archive,
    ];

    /// The name of the command.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Reject => "reject",
            Self::Approve => "approve",
            Self::Activate => "activate",
            Self::Mature => "mature",
            Self::Clear => "clear",
            Self::Discontinue => "discontinue",
            Self::Reactivate => "reactivate",
            Self::Archive => "archive",
        }
    }

    /// The event it writes.
    pub(super) fn event(self, from: Lifecycle, reason: Option<Text>) -> Event {
        match self {
            Self::Submit => Submitted { from, reason }.into(),
            Self::Reject => Rejected { from, reason }.into(),
            Self::Approve | Self::Activate => Activated { from, reason }.into(),
            Self::Mature => Matured { from, reason }.into(),
            Self::Clear => Cleared { from, reason }.into(),
            Self::Discontinue => Discontinued { from, reason }.into(),
            Self::Reactivate => Reactivated { from, reason }.into(),
            Self::Archive => Archived { from, reason }.into(),
        }
    }
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    pub step: StepName,
    pub from: Lifecycle,
    pub to: Lifecycle,
    /// Any of these may take it (not enforced yet).
    pub roles: &'static [Role],
}

const EDITORS: &[Role] = &[Role::Merchandiser, Role::BrandOwner, Role::Operator, Role::System];
const APPROVERS: &[Role] = &[Role::Approver, Role::BrandOwner, Role::Operator, Role::System];
const OWNERS: &[Role] = &[Role::BrandOwner, Role::Operator, Role::System];

const fn row(from: Lifecycle, step: StepName, to: Lifecycle, roles: &'static [Role]) -> Transition {
    Transition { step, from, to, roles }
}

/// Every step that there is; all others are refused.
pub const TRANSITIONS: &[Transition] = &[
    row(Lifecycle::Draft, StepName::Submit, Lifecycle::PendingApproval, EDITORS),
    row(Lifecycle::PendingApproval, StepName::Reject, Lifecycle::Draft, APPROVERS),
    row(Lifecycle::PendingApproval, StepName::Approve, Lifecycle::Active, APPROVERS),
    row(Lifecycle::PendingApproval, StepName::Activate, Lifecycle::Active, APPROVERS),
    row(Lifecycle::Active, StepName::Mature, Lifecycle::Mature, EDITORS),
    row(Lifecycle::Active, StepName::Clear, Lifecycle::Clearance, EDITORS),
    row(Lifecycle::Mature, StepName::Clear, Lifecycle::Clearance, EDITORS),
    row(Lifecycle::Active, StepName::Discontinue, Lifecycle::Discontinued, OWNERS),
    row(Lifecycle::Mature, StepName::Discontinue, Lifecycle::Discontinued, OWNERS),
    row(Lifecycle::Clearance, StepName::Discontinue, Lifecycle::Discontinued, OWNERS),
    row(Lifecycle::Discontinued, StepName::Reactivate, Lifecycle::Active, OWNERS),
    row(Lifecycle::Discontinued, StepName::Archive, Lifecycle::Archived, OWNERS),
    row(Lifecycle::Draft, StepName::Archive, Lifecycle::Archived, OWNERS),
];

/// The row for a step from a state.
pub(super) fn transition(from: Lifecycle, step: StepName) -> Option<&'static Transition> {
    TRANSITIONS.iter().find(|row| row.from == from && row.step == step)
}

/// The state that a step leads to, wherever it begins.
pub(super) fn target(step: StepName) -> Option<Lifecycle> {
    TRANSITIONS.iter().find(|row| row.step == step).map(|row| row.to)
}

/// The names of the steps that are possible from a state.
pub(super) fn allowed(from: Lifecycle) -> Vec<&'static str> {
    TRANSITIONS.iter().filter(|row| row.from == from).map(|row| row.step.as_str()).collect()
}
