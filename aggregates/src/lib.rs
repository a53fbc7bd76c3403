//! The decisions: what may happen to a variant, to stock, to an order.
//!
//! Map of the crate: one folder an aggregate ([`variant`], [`product`], [`inventory`], [`order`],
//! [`credit`]; master data: [`size`], [`color`], [`attribute_type`], [`attribute_value`], [`category`], with what they share in [`master`]), each with `command.rs`,
//! `state.rs`, `decide.rs`, `rejection.rs` and `tests.rs`; the small machinery streams ([`claim`], [`sequence`]) in one file
//! each; [`lifecycle`]: the tables of states, steps, roles and rules that decide; here, what they share: [`Command`], [`Decider`], [`Refusal`].
//!
//! Everything is pure and synchronous: no IO, clock, randomness or float money. Time, ids and looked-up facts arrive in the
//! command. Every aggregate is a `cqrs_es::Aggregate`, so that it also runs under the stock framework.

#![cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm, clippy::float_arithmetic))]

mod actions;
pub mod attribute_type;
pub mod attribute_value;
pub mod category;
pub mod claim;
pub mod color;
pub mod credit;
pub mod inventory;
pub mod lifecycle;
mod lock;
pub mod master;
pub mod order;
pub mod parted;
pub mod product;
pub mod sequence;
pub mod size;
#[cfg(test)]
mod testing;
pub mod variant;

use std::fmt;

use cqrs_es::event_sink::EventSink;

use daybook_schemas::{Timestamp, Token};
use serde::{Deserialize, Serialize};

pub use actions::CommandSpec;

/// A command with the facts that a pure decision may not look up itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Command<A> {
    /// The time of the decision.
    pub now: Timestamp,
    /// A fresh identifier for what the command creates, where the client gave none. The same on a retry.
    pub fresh_id: Token,
    /// What the principal behind the command may do.
    pub roles: Roles,
    pub action: A,
}

/// A role that a principal can have.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads everything that is no personal data.
    Viewer,
    /// A storefront: reserves stock, places orders.
    Storefront,
    /// Creates and edits variants.
    Merchandiser,
    /// Approves and rejects.
    Approver,
    /// Decides over a brand.
    BrandOwner,
    /// Stock, fulfilment, imports, rebuilds, repairs.
    Operator,
    /// Daybook itself.
    System,
    /// One buyer, whom nobody has asked for a name: holds goods, places orders, calls off what is not paid. What a public key has.
    Buyer,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 8] = [
        Self::Viewer,
        Self::Storefront,
        Self::Merchandiser,
        Self::Approver,
        Self::BrandOwner,
        Self::Operator,
        Self::System,
        Self::Buyer,
    ];

    /// The name in JSON and in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Storefront => "storefront",
            Self::Merchandiser => "merchandiser",
            Self::Approver => "approver",
            Self::BrandOwner => "brand_owner",
            Self::Operator => "operator",
            Self::System => "system",
            Self::Buyer => "buyer",
        }
    }
}

/// A set of roles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Roles(u16);

impl Roles {
    /// Every role.
    pub const ALL: Self = Self(u16::MAX);

    /// The set with these roles.
    #[must_use]
    pub fn of(roles: impl IntoIterator<Item = Role>) -> Self {
        Self(roles.into_iter().fold(0, |set, role| set | 1 << role as u16))
    }

    /// Whether the role is in the set.
    #[must_use]
    pub const fn contains(self, role: Role) -> bool {
        self.0 & (1 << role as u16) != 0
    }

    /// Whether it is the shop that speaks, and not just one of its buyers.
    #[must_use]
    pub const fn speak_for_the_shop(self) -> bool {
        self.contains(Role::Storefront) || self.contains(Role::Operator) || self.contains(Role::System)
    }
}

/// What kind of refusal it is; the gateway maps it to an HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The command has not the right form or bounds (400).
    Invalid,
    /// What it speaks of does not exist (404).
    NotFound,
    /// The state does not allow it (409).
    Conflict,
    /// Well formed, but it makes no sense here (422).
    Unprocessable,
    /// A governance lock covers it (423).
    Locked,
    /// The principal lacks a role (403).
    Forbidden,
}

/// A refusal in the form that leaves the domain: a stable code, what kind it is, and a sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: &'static str,
    pub kind: Kind,
    pub detail: String,
    /// Several reasons, where a command reports all of them.
    pub errors: Vec<RefusalItem>,
}

/// One of several reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusalItem {
    pub code: &'static str,
    pub detail: String,
    /// What it is about: a field, a line, a variant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Refusal {}

/// What every aggregate's rejection type offers.
pub trait Reject: std::error::Error {
    /// Stable, snake_case.
    fn code(&self) -> &'static str;
    /// Which kind of refusal.
    fn kind(&self) -> Kind;
    /// Further reasons, if the command reports several.
    fn errors(&self) -> Vec<RefusalItem> {
        Vec::new()
    }
}

impl<R: Reject> From<R> for Refusal {
    fn from(rejection: R) -> Self {
        Self {
            code: rejection.code(),
            kind: rejection.kind(),
            detail: rejection.to_string(),
            errors: rejection.errors(),
        }
    }
}

/// The heart of an aggregate: synchronous, total, pure.
pub trait Decider: cqrs_es::Aggregate<Command = Command<Self::Action>> + Clone {
    /// What can be asked of it: an enum with one struct a command, deserialized from the command's JSON body.
    type Action;

    /// Decides on the present state. An empty list: accepted, nothing to change.
    fn decide(&self, command: &Command<Self::Action>) -> Result<Vec<Self::Event>, Self::Error>;

    /// About how many bytes of memory the state holds, for the bounded cache.
    fn size_bytes(&self) -> usize;
}

/// What `cqrs_es::Aggregate::handle` does for every aggregate: decide, then write the events, which applies them.
async fn execute<D: Decider>(
    state: &mut D,
    command: &Command<D::Action>,
    sink: &EventSink<D>,
) -> Result<(), D::Error> {
    for event in state.decide(command)? {
        sink.write(event, state).await;
    }
    Ok(())
}
