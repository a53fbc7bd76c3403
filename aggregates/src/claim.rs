//! A claim (`claim-{kind}-{key}`): who owns a value that must be unique.
//!
//! ```text
//!  free ⇄ taken      take, release (of a configuration only)
//! ```
//!
//! Invariants, after every event:
//!
//! 1. A value has one owner. The owner may take it again, which changes nothing.
//! 2. A configuration hash is its owner's until the owner gives it back; everything else for ever.

use cqrs_es::event_sink::EventSink;
use daybook_schemas::Token;
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
    Take { kind: What, key: String, owner: Token },
    /// The owner gives the value back.
    Release { kind: What, key: String, owner: Token },
}

/// Who owns the value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub owner: Option<Token>,
}

/// Why a claim refuses a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("SKU {key} belongs to variant {owner}")]
    DuplicateSku { key: String, owner: Token },
    #[error("variant {owner} has the same configuration ({key})")]
    DuplicateConfiguration { key: String, owner: Token },
    #[error("{} {key} belongs to {owner}", .kind.as_str())]
    Duplicate { kind: What, key: String, owner: Token },
    #[error("the value belongs to another")]
    NotOwner,
    #[error("only a configuration is given back")]
    ForEver,
}

impl Reject for Rejection {
    fn code(&self) -> &'static str {
        match self {
            Self::DuplicateSku { .. } => "duplicate_sku",
            Self::DuplicateConfiguration { .. } => "duplicate_configuration",
            Self::Duplicate { kind: What::Color | What::Category, .. } => "duplicate_slug",
            Self::Duplicate { kind: What::Size, .. } => "duplicate_size",
            Self::Duplicate { kind: What::AttributeType, .. } => "duplicate_code",
            Self::Duplicate { kind: What::AttributeValue, .. } => "duplicate_value",
            Self::Duplicate { kind: What::OrderNumber, .. } => "duplicate_order_number",
            Self::Duplicate { kind: What::Sku | What::Config, .. } => "duplicate",
            Self::NotOwner | Self::ForEver => "invalid_transition",
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
            Action::Release { kind, .. } if *kind != What::Config => Err(Rejection::ForEver),
            Action::Release { kind, key, owner } => match &self.owner {
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

fn taken(kind: What, key: &str, owner: &Token) -> Rejection {
    let (key, owner) = (key.to_owned(), owner.clone());
    match kind {
        What::Sku => Rejection::DuplicateSku { key, owner },
        What::Config => Rejection::DuplicateConfiguration { key, owner },
        What::Size
        | What::Color
        | What::AttributeType
        | What::AttributeValue
        | What::Category
        | What::OrderNumber => Rejection::Duplicate { kind, key, owner },
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

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;
    use daybook_schemas::Timestamp;

    use super::*;
    use crate::Roles;

    fn owner(id: &str) -> Token {
        Token::new(id).unwrap()
    }

    fn command(action: Action) -> Command {
        Command { now: Timestamp::EPOCH, fresh_id: Token::new("f").unwrap(), roles: Roles::ALL, action }
    }

    fn take(kind: What, id: &str) -> Command {
        command(Action::Take { kind, key: "k".to_owned(), owner: owner(id) })
    }

    fn release(kind: What, id: &str) -> Command {
        command(Action::Release { kind, key: "k".to_owned(), owner: owner(id) })
    }

    fn taken(kind: What, id: &str) -> Event {
        Taken { kind, key: "k".to_owned(), owner: owner(id) }.into()
    }

    fn released(id: &str) -> Event {
        Released { kind: What::Config, key: "k".to_owned(), owner: owner(id) }.into()
    }

    fn given(events: Vec<Event>) -> cqrs_es::test::AggregateTestExecutor<Claim> {
        TestFramework::with(()).given(events)
    }

    #[test]
    fn a_value_has_one_owner() {
        for kind in [What::Sku, What::Config] {
            given(vec![]).when(take(kind, "a")).then_expect_events(vec![taken(kind, "a")]);
            given(vec![taken(kind, "a")]).when(take(kind, "a")).then_expect_events(vec![]);
        }
        let (key, owner) = ("k".to_owned(), owner("a"));
        let refused =
            given(vec![taken(What::Sku, "a")]).when(take(What::Sku, "b")).inspect_result().unwrap_err();
        assert_eq!(refused, Rejection::DuplicateSku { key: key.clone(), owner: owner.clone() });
        assert_eq!((refused.code(), refused.kind()), ("duplicate_sku", Kind::Conflict));
        let refused =
            given(vec![taken(What::Config, "a")]).when(take(What::Config, "b")).inspect_result().unwrap_err();
        assert_eq!(refused, Rejection::DuplicateConfiguration { key, owner });
        assert_eq!(refused.code(), "duplicate_configuration");
    }

    #[test]
    fn a_configuration_is_given_back_and_taken_again() {
        let config = || vec![taken(What::Config, "a")];
        given(config()).when(release(What::Config, "a")).then_expect_events(vec![released("a")]);
        given(config()).when(release(What::Config, "b")).then_expect_error(Rejection::NotOwner);
        let free = || vec![taken(What::Config, "a"), released("a")];
        given(free()).when(release(What::Config, "a")).then_expect_events(vec![]);
        given(free()).when(take(What::Config, "b")).then_expect_events(vec![taken(What::Config, "b")]);
    }

    #[test]
    fn only_a_configuration_is_given_back() {
        for (kind, code) in [
            (What::Sku, "duplicate_sku"),
            (What::Size, "duplicate_size"),
            (What::Color, "duplicate_slug"),
            (What::Category, "duplicate_slug"),
            (What::AttributeType, "duplicate_code"),
            (What::AttributeValue, "duplicate_value"),
            (What::OrderNumber, "duplicate_order_number"),
        ] {
            given(vec![taken(kind, "a")]).when(release(kind, "a")).then_expect_error(Rejection::ForEver);
            let refused = given(vec![taken(kind, "a")]).when(take(kind, "b")).inspect_result().unwrap_err();
            assert_eq!((refused.code(), refused.kind()), (code, Kind::Conflict));
        }
    }
}
