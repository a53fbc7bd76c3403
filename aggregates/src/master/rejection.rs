//! Why master data refuses a command.

use daybook_schemas::master::{Lifecycle, LockScope, Locked};
use daybook_schemas::{Invalid, Label, Text, Timestamp};

use crate::lifecycle::{BrokenRule, Refused};
use crate::{Kind, RefusalItem, Reject};

/// Why master data refuses a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("there is no such record")]
    NotFound,
    #[error("a record with this id exists already, with other content")]
    Exists,
    #[error(transparent)]
    Lifecycle(#[from] Refused),
    #[error("{} (and {} more, see errors)", .0[0], .0.len() - 1)]
    Several(Vec<Rejection>),
    #[error("{0}")]
    Broken(BrokenRule),
    #[error("{0} use it: what is in use is not archived")]
    InUse(u64),
    #[error("it is {}: nothing new may use it", .0.as_str())]
    NotLive(Lifecycle),
    #[error("the {} are locked{}{}: {reason}", scope_words(*.scope), whom(.by.as_ref()), end(.until.as_ref()))]
    Locked { scope: LockScope, reason: Text, until: Option<Timestamp>, by: Option<Label> },
    #[error(
        "a lock on the {} stands{}{} ({}), and this one would lift it: unlock first, or cover the same and as long if it is yours",
        all_words(&.0.scopes), whom(.0.locked_by.as_ref()), end(.0.until.as_ref()), .0.reason
    )]
    LockStands(Box<Locked>),
    #[error("{0}")]
    Unprocessable(String),
    #[error("{0}")]
    Invalid(String),
}

const fn scope_words(scope: LockScope) -> &'static str {
    match scope {
        LockScope::Details => "details",
        LockScope::Lifecycle => "lifecycle steps",
        LockScope::Segmentation => "channels and regions",
    }
}

fn all_words(scopes: &[LockScope]) -> String {
    scopes.iter().map(|scope| scope_words(*scope)).collect::<Vec<_>>().join(", ")
}

fn whom(by: Option<&Label>) -> String {
    by.map(|by| format!(" by {by}")).unwrap_or_default()
}

fn end(until: Option<&Timestamp>) -> String {
    until.map(|until| format!(" until {until}")).unwrap_or_default()
}

impl From<Invalid> for Rejection {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid.0)
    }
}

impl Reject for Rejection {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Exists => "duplicate_id",
            Self::Lifecycle(refused) => refused.code(),
            // The first reason decides; every reason has its own code in `errors`.
            Self::Several(reasons) => reasons.first().map_or("unprocessable", Reject::code),
            Self::InUse(_) => "in_use",
            Self::Locked { .. } | Self::LockStands(_) => "locked",
            Self::Broken(_) | Self::NotLive(_) | Self::Unprocessable(_) => "unprocessable",
            Self::Invalid(_) => "invalid_request",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotFound => Kind::NotFound,
            Self::Exists | Self::InUse(_) => Kind::Conflict,
            Self::Lifecycle(refused) => refused.kind(),
            Self::Several(reasons) => reasons.first().map_or(Kind::Unprocessable, Reject::kind),
            Self::Locked { .. } | Self::LockStands(_) => Kind::Locked,
            Self::Broken(_) | Self::NotLive(_) | Self::Unprocessable(_) => Kind::Unprocessable,
            Self::Invalid(_) => Kind::Invalid,
        }
    }

    fn errors(&self) -> Vec<RefusalItem> {
        let Self::Several(reasons) = self else { return Vec::new() };
        let item = |reason: &Self| RefusalItem {
            code: reason.code(),
            detail: reason.to_string(),
            subject: if let Self::Broken(broken) = reason { Some(broken.id.clone()) } else { None },
        };
        reasons.iter().map(item).collect()
    }
}
