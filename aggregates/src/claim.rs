//! A claim (`claim-{kind}-{key}`): who owns a value that must be unique.
//!
//! ```text
//!  free ⇄ taken      take, release (a SKU is never released)
//! ```
//!
//! Invariants, after every event:
//!
//! 1. A value has one owner. The owner may take it again, which changes nothing.
//! 2. A SKU is its owner's for ever; a configuration hash until the owner gives it back.

use cqrs_es::event_sink::EventSink;
use daybook_schemas::VariantId;
pub use daybook_schemas::claim::{Event, Kind as What};
use daybook_schemas::claim::{Released, Taken};
use serde::{Deserialize, Serialize};

use crate::{Decider, Kind, Reject};

/// A command to a claim.
pub type Command = crate::Command<Action>;

/// What can be asked of a claim. Claims have no routes: other commands take and release them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The value is to belong to the owner.
    Take { kind: What, key: String, owner: VariantId },
    /// The owner gives the value back.
    Release { kind: What, key: String, owner: VariantId },
}

/// Who owns the value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub owner: Option<VariantId>,
}

/// Why a claim refuses a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("SKU {key} belongs to variant {owner}")]
    DuplicateSku { key: String, owner: VariantId },
    #[error("variant {owner} has the same configuration ({key})")]
    DuplicateConfiguration { key: String, owner: VariantId },
    #[error("the value belongs to another variant")]
    NotOwner,
    #[error("a SKU is never given back")]
    SkuIsForEver,
}

impl Reject for Rejection {
    fn code(&self) -> &'static str {
        match self {
            Self::DuplicateSku { .. } => "duplicate_sku",
            Self::DuplicateConfiguration { .. } => "duplicate_configuration",
            Self::NotOwner | Self::SkuIsForEver => "invalid_transition",
        }
    }

    fn kind(&self) -> Kind {
        Kind::Conflict
    }
}

impl Decider for Claim {
    type Action = Action;

    fn decide(&self, command: &Command) -> Result<Vec<Event>, Rejection> {
        match &command.action {
            Action::Take { kind, key, owner } => match &self.owner {
                None => Ok(vec![Taken { kind: *kind, key: key.clone(), owner: owner.clone() }.into()]),
                Some(present) if present == owner => Ok(Vec::new()),
                Some(present) => Err(taken(*kind, key, present)),
            },
            Action::Release { kind: What::Sku, .. } => Err(Rejection::SkuIsForEver),
            Action::Release { kind: kind @ What::Config, key, owner } => match &self.owner {
                None => Ok(Vec::new()),
                Some(present) if present == owner => {
                    Ok(vec![Released { kind: *kind, key: key.clone(), owner: owner.clone() }.into()])
                }
                Some(_) => Err(Rejection::NotOwner),
            },
        }
    }

    fn size_bytes(&self) -> usize {
        size_of::<Self>() + 64
    }
}

fn taken(kind: What, key: &str, owner: &VariantId) -> Rejection {
    let (key, owner) = (key.to_owned(), owner.clone());
    match kind {
        What::Sku => Rejection::DuplicateSku { key, owner },
        What::Config => Rejection::DuplicateConfiguration { key, owner },
    }
}

impl cqrs_es::Aggregate for Claim {
    const TYPE: &'static str = Event::AGGREGATE;
    type Command = Command;
    type Event = Event;
    type Error = Rejection;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Rejection> {
        crate::execute(self, &command, sink).await
    }

    fn apply(&mut self, event: Event) {
        self.owner = match event {
            Event::Taken(event) => Some(event.owner),
            Event::Released(_) => None,
        };
    }
}
