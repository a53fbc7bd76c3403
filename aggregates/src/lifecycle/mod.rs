//! Lifecycles as data: for each aggregate one [`Table`] of states, steps between them, edits within them, and for each who may
//! do it and which rules govern it.
//!
//! The same table decides ([`Table::step`], [`Table::edit`]), and is what people read ([`Table::sheet`], drawn by [`draw`]): so what
//! is documented is what is decided.
//!
//! Invariants:
//!
//! 1. What a table does not have is refused with `invalid_transition`.
//! 2. What a principal has no role for is refused with `forbidden`, whatever the state.
//! 3. A step whose target is the present state is accepted and changes nothing, so that a repeat is harmless.

pub mod draw;

use std::fmt;

use serde::Serialize;

use crate::{Kind, Reject, Role, Roles};

/// A state of a lifecycle.
pub trait State: Copy + Eq + fmt::Debug + Send + Sync + 'static {
    /// Every state, in order.
    const ALL: &'static [Self];

    /// The name in JSON.
    fn as_str(self) -> &'static str;
}

impl State for daybook_schemas::variant::Lifecycle {
    const ALL: &'static [Self] = &daybook_schemas::variant::Lifecycle::ALL;

    fn as_str(self) -> &'static str {
        self.as_str()
    }
}

/// A condition on a step beyond its states and roles. What it needs to know and can't see in its own stream is looked up
/// before the command and carried in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// It has a price.
    Priced,
    /// The category that it is in, where that is master data, is not a draft, deprecated or archived.
    LiveCategory,
    /// So are the attribute values it has, where they are master data.
    LiveValues,
    /// Its attributes keep the combination rules of category and product.
    AllowedCombination,
    /// Nothing is in stock and nothing is held.
    EmptyStock,
    /// Nothing uses it.
    Unused,
    /// It has no children.
    Childless,
    /// What it belongs to (parent category, attribute type) is active.
    LiveParent,
}

impl Rule {
    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Priced => "priced",
            Self::LiveCategory => "live_category",
            Self::LiveValues => "live_values",
            Self::AllowedCombination => "allowed_combination",
            Self::EmptyStock => "empty_stock",
            Self::Unused => "unused",
            Self::Childless => "childless",
            Self::LiveParent => "live_parent",
        }
    }

    /// What it asks for, for people.
    #[must_use]
    pub const fn summary(self) -> &'static str {
        match self {
            Self::Priced => "it has a price",
            Self::LiveCategory => "its category is live",
            Self::LiveValues => "its attribute values are live",
            Self::AllowedCombination => "category and product allow its attributes",
            Self::EmptyStock => "nothing is in stock or held",
            Self::Unused => "nothing uses it",
            Self::Childless => "it has no children",
            Self::LiveParent => "what it belongs to is active",
        }
    }
}

/// What breaks a rule and stands in another stream: a looked-up fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenRule {
    pub rule: Rule,
    /// What it is about, such as `category`.
    pub what: &'static str,
    pub id: String,
    /// The state that it is in.
    pub state: &'static str,
}

impl fmt::Display for BrokenRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, what, id, state } = self;
        match rule {
            Rule::Childless => write!(f, "{what} {id} below it is {state}: archive it first"),
            Rule::Priced
            | Rule::LiveCategory
            | Rule::LiveValues
            | Rule::AllowedCombination
            | Rule::EmptyStock
            | Rule::Unused
            | Rule::LiveParent => write!(f, "{what} {id} is {state}: it must be active"),
        }
    }
}

/// A command that leads from one state to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition<S: 'static> {
    pub command: &'static str,
    pub from: S,
    pub to: S,
    /// Any of these may do it.
    pub roles: &'static [Role],
    /// All of these must hold; every one that does not is reported.
    pub rules: &'static [Rule],
}

/// A command that changes something within states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edit<S: 'static> {
    pub command: &'static str,
    pub states: &'static [S],
    /// Any of these may do it.
    pub roles: &'static [Role],
    /// What a governance lock must cover to forbid it.
    pub lock: Option<&'static str>,
}

/// The lifecycle of one aggregate.
#[derive(Debug, Clone, Copy)]
pub struct Table<S: 'static> {
    pub aggregate: &'static str,
    /// The state after the creation.
    pub initial: S,
    /// Who may create one.
    pub creators: &'static [Role],
    pub transitions: &'static [Transition<S>],
    pub edits: &'static [Edit<S>],
}

/// Why a table refuses a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("{command} is not possible in state {state}; possible there: {}", list(.allowed))]
    InvalidTransition { command: &'static str, state: &'static str, allowed: Vec<&'static str> },
    #[error("{command} needs one of the roles {}", role_names(.roles))]
    Forbidden { command: &'static str, roles: &'static [Role] },
}

impl Reject for Refused {
    fn code(&self) -> &'static str {
        match self {
            Self::InvalidTransition { .. } => "invalid_transition",
            Self::Forbidden { .. } => "forbidden",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::InvalidTransition { .. } => Kind::Conflict,
            Self::Forbidden { .. } => Kind::Forbidden,
        }
    }
}

pub(crate) fn list(names: &[&'static str]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

fn role_names(roles: &[Role]) -> String {
    roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ")
}

impl<S: State> Table<S> {
    /// Whether a principal with these roles may create one.
    pub fn create(&self, roles: Roles) -> Result<(), Refused> {
        permit("create", self.creators, roles)
    }

    /// The row for a step from a state. `None`: the step leads where it is already.
    pub fn step(
        &self,
        state: S,
        command: &'static str,
        roles: Roles,
    ) -> Result<Option<&'static Transition<S>>, Refused> {
        let rows = || self.transitions.iter().filter(|row| row.command == command);
        match rows().find(|row| row.from == state) {
            Some(row) => permit(command, row.roles, roles).map(|()| Some(row)),
            None => match rows().find(|row| row.to == state) {
                Some(row) => permit(command, row.roles, roles).map(|()| None),
                None => Err(self.impossible(state, command)),
            },
        }
    }

    /// The row for an edit, if the state and the roles allow it.
    pub fn edit(&self, state: S, command: &'static str, roles: Roles) -> Result<&'static Edit<S>, Refused> {
        match self.edits.iter().find(|edit| edit.command == command) {
            Some(edit) if edit.states.contains(&state) => permit(command, edit.roles, roles).map(|()| edit),
            Some(_) | None => Err(self.impossible(state, command)),
        }
    }

    /// The names of the steps that are possible from a state.
    #[must_use]
    pub fn allowed(&self, from: S) -> Vec<&'static str> {
        self.transitions.iter().filter(|row| row.from == from).map(|row| row.command).collect()
    }

    fn impossible(&self, state: S, command: &'static str) -> Refused {
        Refused::InvalidTransition { command, state: state.as_str(), allowed: self.allowed(state) }
    }

    /// The table in a form that all aggregates share.
    #[must_use]
    pub fn sheet(&self) -> Sheet {
        let transitions = self.transitions.iter().map(|row| StepRow {
            command: row.command,
            from: row.from.as_str(),
            to: row.to.as_str(),
            roles: row.roles,
            rules: row.rules,
        });
        let edits = self.edits.iter().map(|edit| EditRow {
            command: edit.command,
            states: edit.states.iter().map(|state| state.as_str()).collect(),
            roles: edit.roles,
            lock: edit.lock,
        });
        Sheet {
            aggregate: self.aggregate,
            initial: self.initial.as_str(),
            states: S::ALL.iter().map(|state| state.as_str()).filter(|state| self.has(state)).collect(),
            creators: self.creators,
            transitions: transitions.collect(),
            edits: edits.collect(),
        }
    }

    /// Whether the state can come about.
    fn has(&self, state: &str) -> bool {
        self.initial.as_str() == state || self.transitions.iter().any(|row| row.to.as_str() == state)
    }
}

fn permit(command: &'static str, any_of: &'static [Role], roles: Roles) -> Result<(), Refused> {
    if any_of.iter().any(|role| roles.contains(*role)) {
        Ok(())
    } else {
        Err(Refused::Forbidden { command, roles: any_of })
    }
}

/// A lifecycle table in the form that documents, the API description and the command line show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sheet {
    pub aggregate: &'static str,
    pub initial: &'static str,
    pub states: Vec<&'static str>,
    pub creators: &'static [Role],
    pub transitions: Vec<StepRow>,
    pub edits: Vec<EditRow>,
}

/// A step of a [`Sheet`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepRow {
    pub command: &'static str,
    pub from: &'static str,
    pub to: &'static str,
    pub roles: &'static [Role],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub rules: &'static [Rule],
}

/// An edit of a [`Sheet`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EditRow {
    pub command: &'static str,
    pub states: Vec<&'static str>,
    pub roles: &'static [Role],
    /// The scope of the lock that forbids it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<&'static str>,
}

/// The lifecycle of every aggregate that has a table.
#[must_use]
pub fn sheets() -> Vec<Sheet> {
    vec![
        crate::variant::LIFECYCLE.sheet(),
        crate::size::LIFECYCLE.sheet(),
        crate::color::LIFECYCLE.sheet(),
        crate::attribute_type::LIFECYCLE.sheet(),
        crate::attribute_value::LIFECYCLE.sheet(),
        crate::category::LIFECYCLE.sheet(),
    ]
}
