//! What an attribute type answers to each command.

use std::str::FromStr;

use daybook_schemas::attribute_type::{AllowedValues, Changed, Created, DataType, Event};
use daybook_schemas::master::{Lifecycle, LockScope, SegmentationChanged};
use daybook_schemas::{Label, Token};
use rust_decimal::Decimal;

use super::{
    Action, AttributeType, Change, ChangeSegmentation, Command, Create, Existing, MAX_ONE_OF, Rejection,
};
use crate::Decider;
use crate::lifecycle::{Rule, Table, Transition};
use crate::master::table::{EDITORS, LOCK, RECOUNT, UNLOCK, direct, edit};
use crate::master::{folded, segments};

type Decision = Result<Vec<Event>, Rejection>;

static TRANSITIONS: [Transition<Lifecycle>; 8] = direct(&[], &[Rule::Unused]);

/// The lifecycle of an attribute type.
pub static LIFECYCLE: Table<Lifecycle> = Table {
    aggregate: "attribute_type",
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

/// Whether a value is one of a type: of its data type, and allowed.
pub fn check_value(data_type: DataType, allowed: &AllowedValues, value: &Label) -> Result<(), Rejection> {
    let text = value.as_str();
    let refuse =
        |why: String| Err(Rejection::Unprocessable(format!("{text:?} is no value of the type: {why}")));
    let number = decimal(text);
    match data_type {
        DataType::Number => match number.map(|number| number.normalize().to_string()) {
            None => return refuse("it is no decimal number".to_owned()),
            // One number, one value: what is unique about a value is its text.
            Some(written) if written != text => return refuse(format!("write it as {written}")),
            Some(_) => {}
        },
        DataType::Boolean if !matches!(text, "true" | "false") => {
            return refuse("it is true or false".to_owned());
        }
        DataType::Color => return refuse("its values are colours: create a color".to_owned()),
        DataType::Size => return refuse("its values are sizes: create a size".to_owned()),
        DataType::Text | DataType::Boolean => {}
    }
    if let Some(most) = allowed.max_length
        && text.chars().count() > usize::from(most)
    {
        return refuse(format!("it is longer than {most} characters"));
    }
    let key = folded(text);
    if !allowed.one_of.is_empty() && !allowed.one_of.iter().any(|one| folded(one.as_str()) == key) {
        return refuse("it is none of those that are allowed".to_owned());
    }
    match number {
        Some(number) if allowed.min.as_ref().is_some_and(|min| number < min.value()) => {
            refuse("it is too small".to_owned())
        }
        Some(number) if allowed.max.as_ref().is_some_and(|max| number > max.value()) => {
            refuse("it is too large".to_owned())
        }
        Some(_) | None => Ok(()),
    }
}

/// Digits, with a sign before and a fraction behind if need be, and nothing else.
fn decimal(text: &str) -> Option<Decimal> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) =
        unsigned.split_once('.').map_or((unsigned, None), |(whole, rest)| (whole, Some(rest)));
    (digits(whole) && fraction.is_none_or(digits)).then(|| Decimal::from_str(text).ok()).flatten()
}

/// Bounds make sense together and for the data type.
fn check_allowed(data_type: DataType, allowed: &AllowedValues) -> Result<(), Rejection> {
    let bounded = allowed.min.is_some() || allowed.max.is_some();
    if bounded && data_type != DataType::Number {
        return Err(Rejection::Unprocessable("min and max are for numbers".to_owned()));
    }
    if let (Some(min), Some(max)) = (&allowed.min, &allowed.max)
        && min.value() > max.value()
    {
        return Err(Rejection::Unprocessable("min is not above max".to_owned()));
    }
    if allowed.one_of.len() > MAX_ONE_OF {
        return Err(Rejection::Invalid(format!("one_of names at most {MAX_ONE_OF} values")));
    }
    let open = AllowedValues { one_of: Vec::new(), ..allowed.clone() };
    match data_type {
        DataType::Color | DataType::Size if !allowed.one_of.is_empty() => {
            Err(Rejection::Unprocessable("one_of is not for colours and sizes".to_owned()))
        }
        DataType::Color | DataType::Size => Ok(()),
        DataType::Text | DataType::Number | DataType::Boolean => {
            allowed.one_of.iter().try_for_each(|value| check_value(data_type, &open, value))
        }
    }
}

impl Decider for AttributeType {
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
            + self.existing().map_or(0, |existing| {
                size_of::<Existing>()
                    + 500
                    + existing.allowed.one_of.len() * 40
                    + existing.channels.len() * 32
            })
    }
}

impl AttributeType {
    fn create(&self, create: &Create, command: &Command) -> Decision {
        LIFECYCLE.create(command.roles)?;
        check_allowed(create.data_type, &create.allowed)?;
        let id: &Token = create.attribute_type_id.as_ref().unwrap_or(&command.fresh_id);
        let created = Created {
            attribute_type_id: id.clone(),
            code: create.code.clone().unwrap_or_else(|| id.clone()),
            name: create.name.clone(),
            data_type: create.data_type,
            allowed: create.allowed.clone(),
            unit: create.unit.clone(),
            description: create.description.clone(),
            channels: segments(&create.channels)?,
            regions: segments(&create.regions)?,
        };
        match self {
            Self::Absent => Ok(vec![created.into()]),
            Self::Existing(existing) if existing.repeats(&created) => Ok(Vec::new()),
            Self::Existing(_) => Err(Rejection::Exists),
        }
    }
}

impl Existing {
    fn repeats(&self, created: &Created) -> bool {
        self.code == created.code
            && self.name == created.name
            && self.data_type == created.data_type
            && self.allowed == created.allowed
            && self.unit == created.unit
            && self.description == created.description
            && self.channels == created.channels
            && self.regions == created.regions
    }

    fn change(&self, change: &Change, command: &Command) -> Decision {
        self.governed.edit(&LIFECYCLE, "change", command.roles, command.now)?;
        if let Some(allowed) = &change.allowed {
            check_allowed(self.data_type, allowed)?;
        }
        let changed = Changed {
            definition: self.definition.saturating_add(1),
            name: change.name.clone().filter(|name| *name != self.name),
            allowed: change.allowed.clone().filter(|allowed| *allowed != self.allowed),
            unit: change.unit.clone().filter(|unit| Some(unit) != self.unit.as_ref()),
            description: change.description.clone().filter(|text| Some(text) != self.description.as_ref()),
            reason: change.reason.clone(),
        };
        let same = changed.name.is_none()
            && changed.allowed.is_none()
            && changed.unit.is_none()
            && changed.description.is_none();
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
