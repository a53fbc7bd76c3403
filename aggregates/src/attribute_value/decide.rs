//! What an attribute value answers to each command.

use daybook_schemas::attribute_value::{Changed, Created, Event};
use daybook_schemas::master::{Lifecycle, LockScope, SegmentationChanged};
use daybook_schemas::variant::HexColor;
use daybook_schemas::{Label, Token, ValueId};

use super::{Action, AttributeValue, Change, ChangeSegmentation, Command, Create, Existing, Rejection};
use crate::Decider;
use crate::attribute_type::check_value;
use crate::lifecycle::{Rule, Table, Transition};
use crate::master::table::{EDITORS, LOCK, RECOUNT, UNLOCK, direct, edit};
use crate::master::{folded, segments};

type Decision = Result<Vec<Event>, Rejection>;

static TRANSITIONS: [Transition<Lifecycle>; 8] = direct(&[Rule::LiveParent], &[Rule::Unused]);

/// The lifecycle of an attribute value.
pub static LIFECYCLE: Table<Lifecycle> = Table {
    aggregate: "attribute_value",
    initial: Lifecycle::Draft,
    creators: EDITORS,
    transitions: &TRANSITIONS,
    edits: &[
        edit("change", EDITORS, Some(LockScope::Details)),
        edit("change-segmentation", EDITORS, Some(LockScope::Segmentation)),
        LOCK,
        UNLOCK,
        RECOUNT,
    ],
};

/// What is unique about a value: `type|value`, the value in lower case.
#[must_use]
pub fn claim_key(kind: &Token, value: &Label) -> String {
    format!("{kind}|{}", folded(value.as_str()))
}

fn hex(text: Option<&String>) -> Result<Option<HexColor>, Rejection> {
    Ok(text.map(|text| HexColor::new(text.to_ascii_lowercase())).transpose()?)
}

impl Decider for AttributeValue {
    type Action = Action;

    fn decide(&self, command: &Command) -> Decision {
        let existing = || self.existing().ok_or(Rejection::NotFound);
        match &command.action {
            Action::Create(create) => self.create(create, command),
            Action::Change(change) => existing()?.change(change, command),
            Action::ChangeSegmentation(change) => existing()?.change_segmentation(change, command),
            Action::Govern(action) => {
                existing()?.governed.decide(&LIFECYCLE, action, command.roles, command.now)
            }
        }
    }

    fn size_bytes(&self) -> usize {
        size_of::<Self>()
            + self.existing().map_or(0, |existing| size_of::<Existing>() + 400 + existing.channels.len() * 32)
    }
}

impl AttributeValue {
    fn create(&self, create: &Create, command: &Command) -> Decision {
        LIFECYCLE.create(command.roles)?;
        let Some(facts) = &create.type_facts else {
            return Err(Rejection::Unprocessable(format!(
                "there is no attribute type {}: create it first",
                create.kind
            )));
        };
        let attribute_value_id = match &create.attribute_value_id {
            Some(id) => id.clone(),
            None => ValueId::new(command.fresh_id.as_str())?,
        };
        let created = Created {
            attribute_value_id,
            attribute_type_id: facts.attribute_type_id.clone(),
            kind: create.kind.clone(),
            value: create.value.clone(),
            display_name: create.display_name.clone().unwrap_or_else(|| create.value.clone()),
            hex: hex(create.hex.as_ref())?,
            rank: create.rank,
            channels: segments(&create.channels)?,
            regions: segments(&create.regions)?,
        };
        match self {
            Self::Absent => {
                check_value(facts.data_type, &facts.allowed, &create.value)?;
                Ok(vec![created.into()])
            }
            Self::Existing(existing) if existing.repeats(&created) => Ok(Vec::new()),
            Self::Existing(_) => Err(Rejection::Exists),
        }
    }
}

impl Existing {
    fn repeats(&self, created: &Created) -> bool {
        self.kind == created.kind
            && self.value == created.value
            && self.display_name == created.display_name
            && self.hex == created.hex
            && self.rank == created.rank
            && self.channels == created.channels
            && self.regions == created.regions
    }

    fn change(&self, change: &Change, command: &Command) -> Decision {
        self.governed.edit(&LIFECYCLE, "change", command.roles, command.now)?;
        let changed = Changed {
            definition: self.definition.saturating_add(1),
            display_name: change.display_name.clone().filter(|name| *name != self.display_name),
            hex: hex(change.hex.as_ref())?.filter(|hex| Some(hex) != self.hex.as_ref()),
            rank: change.rank.filter(|rank| Some(*rank) != self.rank),
            reason: change.reason.clone(),
        };
        let same = changed.display_name.is_none() && changed.hex.is_none() && changed.rank.is_none();
        Ok(if same { Vec::new() } else { vec![changed.into()] })
    }

    fn change_segmentation(&self, change: &ChangeSegmentation, command: &Command) -> Decision {
        let (roles, now) = (command.roles, command.now);
        self.governed.edit(&LIFECYCLE, "change-segmentation", roles, now)?;
        let channels = change.channels.as_deref().map_or_else(|| Ok(self.channels.clone()), segments)?;
        let regions = change.regions.as_deref().map_or_else(|| Ok(self.regions.clone()), segments)?;
        if channels == self.channels && regions == self.regions {
            return Ok(Vec::new());
        }
        Ok(vec![SegmentationChanged { channels, regions, reason: change.reason.clone() }.into()])
    }
}
