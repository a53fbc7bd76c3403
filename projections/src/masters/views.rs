//! What the rows of master data share: tables, governance, the fold; and the rows that say who uses what.

use daybook_eventlog::{Position, RecordedEvent};
use daybook_schemas::master::{Lifecycle, LockScope, Locked};
use daybook_schemas::variant::ValueReference;
use daybook_schemas::{CategoryId, Label, Text, Timestamp, Token};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NAME;
use crate::model::ProjectError;
use crate::rows::{Column, KeyKind, TableSpec, View};
use crate::streams;

pub(super) static SIZES: TableSpec = TableSpec {
    name: "sizes",
    key: KeyKind::Text,
    columns: &[Column::text("category"), Column::integer("rank")],
    indexes: &[&["category", "rank"]],
    dictionary: None,
};
pub(super) static COLORS: TableSpec = TableSpec {
    name: "colors",
    key: KeyKind::Text,
    columns: &[Column::text("family")],
    indexes: &[&["family"]],
    dictionary: None,
};
pub(super) static TYPES: TableSpec = TableSpec {
    name: "attribute_types",
    key: KeyKind::Text,
    columns: &[Column::text("code")],
    indexes: &[&["code"]],
    dictionary: None,
};
pub(super) static VALUES: TableSpec = TableSpec {
    name: "attribute_values",
    key: KeyKind::Text,
    columns: &[Column::text("type")],
    indexes: &[&["type"]],
    dictionary: None,
};
pub(super) static CATEGORIES: TableSpec = TableSpec {
    name: "categories",
    key: KeyKind::Text,
    columns: &[Column::text("parent"), Column::text("path")],
    indexes: &[&["parent"], &["path"]],
    dictionary: None,
};
pub(super) static SLUGS: TableSpec = TableSpec::plain("slugs");

pub(super) static USES: TableSpec = TableSpec::plain("uses");
pub(super) static BINDINGS: TableSpec = TableSpec::plain("bindings");

/// That a variant uses a value: the key says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UseView {}

impl View for UseView {
    const TABLE: &'static TableSpec = &USES;
}

/// The master data that a variant uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BindingView {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category_id: Option<CategoryId>,
    pub values: Vec<ValueReference>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attribute_types: Vec<Token>,
}

impl View for BindingView {
    const TABLE: &'static TableSpec = &BINDINGS;
}

impl BindingView {
    /// The keys of what the variant uses.
    pub(super) fn uses(&self, variant: &str) -> Vec<String> {
        let category = self.category_id.iter().map(|id| format!("category/{id}/{variant}"));
        let values =
            self.values.iter().map(|own| format!("{}/{}/{variant}", own.kind.as_str(), own.value_id));
        let types = self.attribute_types.iter().map(|id| format!("attribute_type/{id}/{variant}"));
        category.chain(values).chain(types).collect()
    }
}

/// Where a slug leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SlugView {
    pub id: String,
}

impl View for SlugView {
    const TABLE: &'static TableSpec = &SLUGS;
}

/// What all master data has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Governance {
    pub lifecycle: Lifecycle,
    /// One whose time has run out locks nothing any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<MasterLock>,
    /// How many use it.
    pub in_use: u64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub revision: u64,
    #[serde(with = "crate::position_text")]
    #[schemars(with = "String")]
    pub position: Position,
}

/// A governance lock: who, why, until when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MasterLock {
    pub scopes: Vec<LockScope>,
    pub reason: Text,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_by: Option<Label>,
    pub locked_at: Timestamp,
}

impl Governance {
    pub(super) fn new(recorded: &RecordedEvent) -> Self {
        let now = Timestamp::from_micros(recorded.recorded_at);
        Self {
            lifecycle: Lifecycle::Draft,
            lock: None,
            in_use: 0,
            created_at: now,
            updated_at: now,
            revision: 0,
            position: 0,
        }
    }

    pub(super) fn locked(&mut self, event: &Locked, recorded: &RecordedEvent) {
        self.lock = Some(MasterLock {
            scopes: event.scopes.clone(),
            reason: event.reason.clone(),
            until: event.until,
            locked_by: event.locked_by.clone().or_else(|| streams::actor(recorded)),
            locked_at: Timestamp::from_micros(recorded.recorded_at),
        });
    }
}

/// A row that is one record.
pub(super) trait Record: View + Sized {
    type Event;
    /// How its streams begin.
    const PREFIX: &'static str;

    fn created(event: &Self::Event, recorded: &RecordedEvent) -> Option<Self>;
    fn apply(&mut self, event: &Self::Event, recorded: &RecordedEvent);
    fn governance(&mut self) -> &mut Governance;
}

/// Folds one event of a record.
pub(super) fn record<V: Record>(
    view: Option<V>,
    event: &V::Event,
    recorded: &RecordedEvent,
) -> Result<Option<V>, ProjectError> {
    let mut view = view;
    let seen = view.as_mut().map_or(0, |view| view.governance().revision);
    streams::follows(NAME, recorded, seen)?;
    let mut view = match (V::created(event, recorded), view) {
        (Some(created), None) => created,
        (None, Some(mut view)) => {
            view.apply(event, recorded);
            view
        }
        (Some(_), Some(_)) => {
            return Err(ProjectError::Rejected("a record is created once".to_owned()));
        }
        (None, None) => return Err(streams::nothing_there(recorded)),
    };
    let governance = view.governance();
    governance.updated_at = Timestamp::from_micros(recorded.recorded_at);
    governance.revision = recorded.revision;
    governance.position = recorded.position;
    Ok(Some(view))
}

/// The arms that all master data shares.
macro_rules! apply_shared {
    ($view:expr, $module:ident, $event:expr, $recorded:expr, { $($own:tt)* }) => {
        match $event {
            $module::Event::Created(_) => {}
            $module::Event::Submitted(_) => $view.governance.lifecycle = daybook_schemas::master::Lifecycle::PendingApproval,
            $module::Event::Rejected(_) => $view.governance.lifecycle = daybook_schemas::master::Lifecycle::Draft,
            $module::Event::Activated(_) | $module::Event::Reinstated(_) => {
                $view.governance.lifecycle = daybook_schemas::master::Lifecycle::Active;
            }
            $module::Event::Deprecated(_) => $view.governance.lifecycle = daybook_schemas::master::Lifecycle::Deprecated,
            $module::Event::Archived(_) => $view.governance.lifecycle = daybook_schemas::master::Lifecycle::Archived,
            $module::Event::Locked(event) => $view.governance.locked(event, $recorded),
            $module::Event::Unlocked(_) => $view.governance.lock = None,
            $module::Event::UsageChanged(event) => $view.governance.in_use = event.in_use,
            $($own)*
        }
    };
}
pub(super) use apply_shared;

pub(super) fn set<T: Clone>(field: &mut T, value: Option<&T>) {
    if let Some(value) = value {
        field.clone_from(value);
    }
}

pub(super) fn set_option<T: Clone>(field: &mut Option<T>, value: Option<&T>) {
    if value.is_some() {
        *field = value.cloned();
    }
}
