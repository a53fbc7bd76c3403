//! What goes into the dispatcher and what comes out.

use std::fmt;

use bytes::Bytes;
use daybook_aggregates::{Role, Roles};
use daybook_eventlog::{Position, Revision, StreamId};
use daybook_schemas::{CommandId, Label, ReservationId};
use smallvec::{SmallVec, smallvec};
use smol_str::SmolStr;

/// Who asks: the name of an API key or process, and what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Stands as actor in the metadata of every event. Idempotency keys of different principals are different.
    pub name: Label,
    pub roles: Roles,
}

impl Principal {
    /// Daybook itself: timers, imports, process managers.
    #[must_use]
    pub fn system() -> Self {
        Self { name: daybook_schemas::Actor::system().0, roles: Roles::of([Role::System, Role::Operator]) }
    }
}

/// A command as it comes from outside.
#[derive(Debug, Clone)]
pub struct Request {
    /// `variant`, `inventory`, `order`, `credit`.
    pub aggregate: SmolStr,
    /// The id of the aggregate (`[A-Za-z0-9._~-]{1,64}`); for `inventory` the variant's.
    pub id: SmolStr,
    /// The command's name as in the route, such as `change-price`.
    pub command: SmolStr,
    /// The command's data as JSON; empty means `{}`.
    pub body: Bytes,
    /// Same key and same body: the same outcome, once. 1 to 255 visible ASCII characters.
    pub idempotency_key: Option<String>,
    /// Where the stream must be; else the command decides on the newest state.
    pub if_match: Option<IfMatch>,
    pub principal: Principal,
    /// The first command of the conversation; this one unless given.
    pub correlation_id: Option<CommandId>,
    /// The command or event that led to this one; this one unless given.
    pub causation_id: Option<CommandId>,
}

impl Request {
    /// A request without key, expectation or conversation.
    #[must_use]
    pub fn new(
        aggregate: impl Into<SmolStr>,
        id: impl Into<SmolStr>,
        command: impl Into<SmolStr>,
        body: impl Into<Bytes>,
        principal: Principal,
    ) -> Self {
        Self {
            aggregate: aggregate.into(),
            id: id.into(),
            command: command.into(),
            body: body.into(),
            idempotency_key: None,
            if_match: None,
            principal,
            correlation_id: None,
            causation_id: None,
        }
    }

    /// The same request under an idempotency key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// The same request, only on that revision.
    #[must_use]
    pub fn if_match(mut self, revision: Revision) -> Self {
        self.if_match = Some(IfMatch::OneOf(smallvec![revision]));
        self
    }
}

/// Where a stream must be for a command to be decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IfMatch {
    /// It has events.
    Exists,
    /// At one of these revisions.
    OneOf(SmallVec<[Revision; 2]>),
}

impl IfMatch {
    /// Whether a stream at this revision (0: there is no stream) is where it must be.
    #[must_use]
    pub fn holds(&self, revision: Revision) -> bool {
        match self {
            Self::Exists => revision > 0,
            Self::OneOf(revisions) => revisions.contains(&revision),
        }
    }
}

impl fmt::Display for IfMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists => f.write_str("1 or a later one"),
            Self::OneOf(revisions) => {
                for (place, revision) in revisions.iter().enumerate() {
                    let or = if place > 0 { " or " } else { "" };
                    write!(f, "{or}{revision}")?;
                }
                Ok(())
            }
        }
    }
}

/// What an accepted command did. It is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The stream that the command was sent to.
    pub stream: StreamId,
    /// Its revision after the command.
    pub revision: Revision,
    /// Where a reader must be to see what the command did: the position of the last event of its append. For a command
    /// that changed nothing, a position that what it looked at was durable at.
    pub position: Position,
    /// The events written to [`Reply::stream`]; empty if there was nothing to change.
    pub events: Vec<ReplyEvent>,
    /// The hold that stands already, where a reservation that named none is a repeat. Only for those who speak for the shop, and not in
    /// the outcome of an earlier request with the same key.
    pub reservation: Option<ReservationId>,
    /// Whether these are the first events of the stream.
    pub created: bool,
    /// Whether this is the outcome of an earlier request with the same idempotency key.
    pub replayed: bool,
}

/// One event of a [`Reply`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyEvent {
    /// Wire name.
    pub event_type: &'static str,
    /// Schema version of the data.
    pub version: u16,
    /// The payload as JSON, shared with what went to the log.
    pub data: Bytes,
}
