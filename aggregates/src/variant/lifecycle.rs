//! The lifecycle of a variant as data: which step leads where, who may take it, what governs it, what it writes.

use daybook_schemas::Text;
use daybook_schemas::variant::{
    Activated, Archived, Cleared, Discontinued, Event, Lifecycle, LockScope, Matured, Reactivated, Rejected,
    Submitted,
};

use crate::Role;
use crate::lifecycle::{Edit, Rule, Table, Transition};

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

/// The name of a lock's scope in JSON.
pub(super) const fn scope_name(scope: LockScope) -> &'static str {
    match scope {
        LockScope::Price => "price",
        LockScope::Lifecycle => "lifecycle",
        LockScope::Details => "details",
        LockScope::Segmentation => "segmentation",
    }
}

const EDITORS: &[Role] = &[Role::Merchandiser, Role::BrandOwner, Role::Operator, Role::System];
const APPROVERS: &[Role] = &[Role::Approver, Role::BrandOwner, Role::Operator, Role::System];
const OWNERS: &[Role] = &[Role::BrandOwner, Role::Operator, Role::System];
const TIMERS: &[Role] = &[Role::System];

const FOR_SALE: &[Rule] = &[Rule::Priced, Rule::LiveCategory, Rule::LiveValues, Rule::AllowedCombination];

const fn row(
    from: Lifecycle,
    step: StepName,
    to: Lifecycle,
    roles: &'static [Role],
    rules: &'static [Rule],
) -> Transition<Lifecycle> {
    Transition { command: step.as_str(), from, to, roles, rules }
}

/// Every step that there is; all others are refused.
pub const TRANSITIONS: &[Transition<Lifecycle>] = &[
    row(Lifecycle::Draft, StepName::Submit, Lifecycle::PendingApproval, EDITORS, &[]),
    row(Lifecycle::PendingApproval, StepName::Reject, Lifecycle::Draft, APPROVERS, &[]),
    row(Lifecycle::PendingApproval, StepName::Approve, Lifecycle::Active, APPROVERS, FOR_SALE),
    row(Lifecycle::PendingApproval, StepName::Activate, Lifecycle::Active, APPROVERS, FOR_SALE),
    row(Lifecycle::Active, StepName::Mature, Lifecycle::Mature, EDITORS, &[]),
    row(Lifecycle::Active, StepName::Clear, Lifecycle::Clearance, EDITORS, &[]),
    row(Lifecycle::Mature, StepName::Clear, Lifecycle::Clearance, EDITORS, &[]),
    row(Lifecycle::Active, StepName::Discontinue, Lifecycle::Discontinued, OWNERS, &[]),
    row(Lifecycle::Mature, StepName::Discontinue, Lifecycle::Discontinued, OWNERS, &[]),
    row(Lifecycle::Clearance, StepName::Discontinue, Lifecycle::Discontinued, OWNERS, &[]),
    row(Lifecycle::Discontinued, StepName::Reactivate, Lifecycle::Active, OWNERS, FOR_SALE),
    row(Lifecycle::Discontinued, StepName::Archive, Lifecycle::Archived, OWNERS, &[Rule::EmptyStock]),
    row(Lifecycle::Draft, StepName::Archive, Lifecycle::Archived, OWNERS, &[Rule::EmptyStock]),
];

const ALIVE: &[Lifecycle] = &[
    Lifecycle::Draft,
    Lifecycle::PendingApproval,
    Lifecycle::Active,
    Lifecycle::Mature,
    Lifecycle::Clearance,
    Lifecycle::Discontinued,
];

const fn edit(command: &'static str, roles: &'static [Role], lock: Option<LockScope>) -> Edit<Lifecycle> {
    let lock = match lock {
        Some(scope) => Some(scope_name(scope)),
        None => None,
    };
    Edit { command, states: ALIVE, roles, lock }
}

/// The lifecycle of a variant.
pub static LIFECYCLE: Table<Lifecycle> = Table {
    aggregate: "variant",
    initial: Lifecycle::Draft,
    creators: EDITORS,
    transitions: TRANSITIONS,
    edits: &[
        edit("change-price", EDITORS, Some(LockScope::Price)),
        edit("end-price-list", EDITORS, Some(LockScope::Price)),
        edit("cancel-price-schedule", EDITORS, Some(LockScope::Price)),
        edit("change-details", EDITORS, Some(LockScope::Details)),
        edit("change-segmentation", EDITORS, Some(LockScope::Segmentation)),
        edit("lock", APPROVERS, None),
        edit("unlock", APPROVERS, None),
        Edit { command: "refresh-attribute", states: ALIVE, roles: TIMERS, lock: None },
        Edit { command: "apply-due-prices", states: &Lifecycle::ALL, roles: TIMERS, lock: None },
    ],
};
