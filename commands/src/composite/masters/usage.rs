//! Usage counts: how many variants refer to a record of the master data, kept by events in the append that makes or ends a reference.

use daybook_aggregates::attribute_value::{self, AttributeValue};
use daybook_aggregates::color::{self, Color};
use daybook_aggregates::master::{Action as Govern, CountUsage};
use daybook_aggregates::size::{self, Size};
use daybook_schemas::variant::{MasterKind, ReferencesBound, ValueReference};

use super::facts::stream_of;
use super::{count_category, count_type};
use crate::workspace::{Halt, Workspace, stream};

/// More or fewer variants use what is referred to.
pub(crate) fn count(
    workspace: &mut Workspace<'_>,
    references: &ReferencesBound,
    delta: i64,
) -> Result<(), Halt> {
    if let Some(id) = &references.category_id {
        count_category(workspace, id, delta)?;
    }
    for id in &references.attribute_types {
        count_type(workspace, &stream::of("attribute_type", id), delta)?;
    }
    references.values.iter().try_for_each(|reference| count_value(workspace, reference, delta))
}

/// A variant refers to something else: what it leaves counts one fewer, what it comes to one more, and what it keeps the same.
pub(crate) fn recount(
    workspace: &mut Workspace<'_>,
    before: &ReferencesBound,
    after: &ReferencesBound,
) -> Result<(), Halt> {
    count(workspace, &without(before, after), -1)?;
    count(workspace, &without(after, before), 1)
}

fn without(these: &ReferencesBound, those: &ReferencesBound) -> ReferencesBound {
    ReferencesBound {
        category_id: these.category_id.clone().filter(|id| Some(id) != those.category_id.as_ref()),
        values: these.values.iter().filter(|own| !those.values.contains(own)).cloned().collect(),
        attribute_types: these
            .attribute_types
            .iter()
            .filter(|id| !those.attribute_types.contains(id))
            .cloned()
            .collect(),
    }
}

/// More or fewer variants use a value.
pub(crate) fn count_value(
    workspace: &mut Workspace<'_>,
    reference: &ValueReference,
    delta: i64,
) -> Result<(), Halt> {
    let stream = stream_of(reference.kind, &reference.value_id);
    let count = Govern::CountUsage(CountUsage { delta });
    let decided = match reference.kind {
        MasterKind::Color => {
            let command = workspace.context.command(color::Action::Govern(count));
            workspace.decide::<Color>(&stream, &command)
        }
        MasterKind::Size => {
            let command = workspace.context.command(size::Action::Govern(count));
            workspace.decide::<Size>(&stream, &command)
        }
        MasterKind::AttributeValue => {
            let command = workspace.context.command(attribute_value::Action::Govern(count));
            workspace.decide::<AttributeValue>(&stream, &command)
        }
    };
    decided.map(|_| ())
}
