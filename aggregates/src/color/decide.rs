//! What a colour answers to each command.

use daybook_schemas::color::{Changed, Created, Event, ProtectionChanged, SlugChanged};
use daybook_schemas::master::{Lifecycle, LockScope};
use daybook_schemas::{Slug, ValueId};

use super::{
    Action, Change, ChangeSlug, Color, Command, Create, Existing, MAX_PREVIOUS_SLUGS, Protect, Rejection,
    tone,
};
use crate::Decider;
use crate::lifecycle::{Refused, Rule, Table, Transition};
use crate::master::table::{EDITORS, LOCK, OWNERS, RECOUNT, UNLOCK, approved, edit};

type Decision = Result<Vec<Event>, Rejection>;

static TRANSITIONS: [Transition<Lifecycle>; 7] = approved(&[], &[Rule::Unused]);

/// The lifecycle of a colour.
pub static LIFECYCLE: Table<Lifecycle> = Table {
    aggregate: "color",
    initial: Lifecycle::Draft,
    creators: EDITORS,
    transitions: &TRANSITIONS,
    edits: &[
        edit("change", EDITORS, Some(LockScope::Details)),
        edit("change-slug", OWNERS, Some(LockScope::Details)),
        edit("protect", OWNERS, Some(LockScope::Details)),
        LOCK,
        UNLOCK,
        RECOUNT,
    ],
};

/// The slug that a creation asks for.
pub fn slug_of(create: &Create) -> Result<Slug, Rejection> {
    match &create.slug {
        Some(slug) => Ok(slug.clone()),
        None => Slug::of_name(create.name.as_str())
            .map_err(|_| Rejection::Unprocessable("the name gives no slug: give one".to_owned())),
    }
}

impl Decider for Color {
    type Action = Action;

    fn decide(&self, command: &Command) -> Decision {
        let existing = || self.existing().ok_or(Rejection::NotFound);
        match &command.action {
            Action::Create(create) => self.create(create, command),
            Action::Change(change) => existing()?.change(change, command),
            Action::ChangeSlug(change) => existing()?.change_slug(change, command),
            Action::Protect(protect) => existing()?.protect(protect, command),
            Action::Govern(action) => {
                existing()?.governed.decide(&LIFECYCLE, action, command.roles, command.now)
            }
        }
    }

    fn size_bytes(&self) -> usize {
        size_of::<Self>()
            + self
                .existing()
                .map_or(0, |existing| size_of::<Existing>() + 400 + existing.previous_slugs.len() * 64)
    }
}

impl Color {
    fn create(&self, create: &Create, command: &Command) -> Decision {
        LIFECYCLE.create(command.roles)?;
        // Born protected is protected: for those who protect.
        if create.brand.is_some() && !OWNERS.iter().any(|role| command.roles.contains(*role)) {
            return Err(Refused::Forbidden { command: "create", roles: OWNERS }.into());
        }
        let color_id = match &create.color_id {
            Some(id) => id.clone(),
            None => ValueId::new(command.fresh_id.as_str())?,
        };
        let created = Created {
            color_id,
            slug: slug_of(create)?,
            name: create.name.clone(),
            tone: tone::of_hex(&create.hex)?,
            visual_category: create.visual_category,
            family: create.family.clone(),
            brand: create.brand.clone(),
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
        self.slug == created.slug
            && self.name == created.name
            && self.tone == created.tone
            && self.visual_category == created.visual_category
            && self.family == created.family
            && self.brand == created.brand
    }

    /// State, role and lock; a brand's colour is its owner's to change.
    fn editable(&self, name: &'static str, command: &Command) -> Result<(), Rejection> {
        self.governed.edit(&LIFECYCLE, name, command.roles, command.now)?;
        if self.brand.is_some() && !OWNERS.iter().any(|role| command.roles.contains(*role)) {
            return Err(Refused::Forbidden { command: name, roles: OWNERS }.into());
        }
        Ok(())
    }

    fn change(&self, change: &Change, command: &Command) -> Decision {
        self.editable("change", command)?;
        let tone = change.hex.as_deref().map(tone::of_hex).transpose()?;
        let changed = Changed {
            name: change.name.clone().filter(|name| *name != self.name),
            tone: tone.filter(|tone| *tone != self.tone),
            visual_category: change.visual_category.filter(|category| *category != self.visual_category),
            family: change.family.clone().filter(|family| Some(family) != self.family.as_ref()),
            reason: None,
        };
        if changed == Changed::default() {
            return Ok(Vec::new());
        }
        Ok(vec![Changed { reason: change.reason.clone(), ..changed }.into()])
    }

    fn change_slug(&self, change: &ChangeSlug, command: &Command) -> Decision {
        self.editable("change-slug", command)?;
        if change.slug == self.slug {
            return Ok(Vec::new());
        }
        if self.previous_slugs.len() >= MAX_PREVIOUS_SLUGS {
            let detail = format!("a colour had at most {MAX_PREVIOUS_SLUGS} slugs before");
            return Err(Rejection::Unprocessable(detail));
        }
        let (slug, previous) = (change.slug.clone(), self.slug.clone());
        Ok(vec![SlugChanged { slug, previous, reason: change.reason.clone() }.into()])
    }

    fn protect(&self, protect: &Protect, command: &Command) -> Decision {
        self.editable("protect", command)?;
        if protect.brand == self.brand {
            return Ok(Vec::new());
        }
        if let Some(brand) = &protect.brand
            && self.governed.in_use > 0
        {
            let detail = format!(
                "variants use it, maybe of other brands than {brand}: it is protected before its first use"
            );
            return Err(Rejection::Unprocessable(detail));
        }
        Ok(vec![ProtectionChanged { brand: protect.brand.clone(), reason: protect.reason.clone() }.into()])
    }
}
