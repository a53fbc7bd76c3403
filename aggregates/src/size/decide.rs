//! What a size answers to each command.

use daybook_schemas::ValueId;
use daybook_schemas::master::{Lifecycle, LockScope};
use daybook_schemas::size::{Changed, Conversions, Created, Event, Gender, Region};
use daybook_schemas::{Label, Token};

use super::{Action, Change, Command, Create, Existing, Rejection, Size, rank};
use crate::Decider;
use crate::lifecycle::{Rule, Table, Transition};
use crate::master::folded;
use crate::master::table::{EDITORS, LOCK, RECOUNT, UNLOCK, direct, edit};

type Decision = Result<Vec<Event>, Rejection>;

static TRANSITIONS: [Transition<Lifecycle>; 8] = direct(&[], &[Rule::Unused]);

/// The lifecycle of a size.
pub static LIFECYCLE: Table<Lifecycle> = Table {
    aggregate: "size",
    initial: Lifecycle::Draft,
    creators: EDITORS,
    transitions: &TRANSITIONS,
    edits: &[edit("change", EDITORS, Some(LockScope::Details)), LOCK, UNLOCK, RECOUNT],
};

/// What is unique about a size: `category|gender|region|value`, in lower case.
#[must_use]
pub fn claim_key(category: &Token, gender: Gender, region: Region, value: &Label) -> String {
    let category = category.as_str().to_lowercase();
    format!("{category}|{}|{}|{}", gender.as_str(), region.as_str(), folded(value.as_str()))
}

impl Decider for Size {
    type Action = Action;

    fn decide(&self, command: &Command) -> Decision {
        let existing = || self.existing().ok_or(Rejection::NotFound);
        match &command.action {
            Action::Create(create) => self.create(create, command),
            Action::Change(change) => existing()?.change(change, command),
            Action::Govern(action) => {
                existing()?.governed.decide(&LIFECYCLE, action, command.roles, command.now)
            }
        }
    }

    fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.existing().map_or(0, |_| size_of::<Existing>() + 400)
    }
}

impl Size {
    fn create(&self, create: &Create, command: &Command) -> Decision {
        LIFECYCLE.create(command.roles)?;
        let size_id = match &create.size_id {
            Some(id) => id.clone(),
            None => ValueId::new(command.fresh_id.as_str())?,
        };
        let read = || {
            rank::normalized(create.value.as_str()).ok_or_else(|| {
                Rejection::Unprocessable(format!(
                    "{:?} is read as no size: give its rank, smaller sizes first",
                    create.value
                ))
            })
        };
        let created = Created {
            size_id,
            category: create.category.clone(),
            gender: create.gender,
            region: create.region,
            display_name: create.display_name.clone().unwrap_or_else(|| create.value.clone()),
            conversions: own_value(create.conversions.clone(), create.region, &create.value)?,
            rank: create.rank.map_or_else(read, Ok)?,
            value: create.value.clone(),
        };
        match self {
            Self::Absent => Ok(vec![created.into()]),
            Self::Existing(existing) if existing.repeats(&created) => Ok(Vec::new()),
            Self::Existing(_) => Err(Rejection::Exists),
        }
    }
}

/// The conversions with the region's own value among them; refuses one that says otherwise.
fn own_value(mut conversions: Conversions, region: Region, value: &Label) -> Result<Conversions, Rejection> {
    if let Some(place) = conversions.of_mut(region)
        && place.replace(value.clone()).is_some_and(|given| given != *value)
    {
        let region = region.as_str();
        return Err(Rejection::Unprocessable(format!(
            "conversions.{region} is the value itself, {value:?}, or absent"
        )));
    }
    Ok(conversions)
}

impl Existing {
    fn repeats(&self, created: &Created) -> bool {
        self.category == created.category
            && self.gender == created.gender
            && self.region == created.region
            && self.value == created.value
            && self.display_name == created.display_name
            && self.conversions == created.conversions
            && self.rank == created.rank
    }

    fn change(&self, change: &Change, command: &Command) -> Decision {
        self.governed.edit(&LIFECYCLE, "change", command.roles, command.now)?;
        let conversions = change
            .conversions
            .clone()
            .map(|conversions| own_value(conversions, self.region, &self.value))
            .transpose()?;
        let changed = Changed {
            display_name: change.display_name.clone().filter(|name| *name != self.display_name),
            conversions: conversions.filter(|conversions| *conversions != self.conversions),
            rank: change.rank.filter(|rank| *rank != self.rank),
            reason: None,
        };
        if changed == Changed::default() {
            return Ok(Vec::new());
        }
        Ok(vec![Changed { reason: change.reason.clone(), ..changed }.into()])
    }
}
