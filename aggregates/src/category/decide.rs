//! What a category answers to each command.

use daybook_schemas::category::{
    Changed, ChildAdded, ChildRemoved, Created, Event, Moved, PathChanged, SchemaChanged, SlugChanged,
};
use daybook_schemas::master::{Lifecycle, LockScope, SegmentationChanged};
use daybook_schemas::{CategoryId, Slug};

use super::{
    Action, Category, Change, ChangeSchema, ChangeSegmentation, ChangeSlug, Command, Create, Existing,
    MAX_CHILDREN, MAX_DEPTH, Move, ParentFacts, Rejection, Repath, check_rules,
};
use crate::Decider;
use crate::lifecycle::{BrokenRule, Rule, Table, Transition};
use crate::master::segments;
use crate::master::table::{EDITORS, LOCK, OWNERS, RECOUNT, UNLOCK, direct, edit};

type Decision = Result<Vec<Event>, Rejection>;

static TRANSITIONS: [Transition<Lifecycle>; 8] =
    direct(&[Rule::LiveParent], &[Rule::Unused, Rule::Childless]);

/// The lifecycle of a category.
pub static LIFECYCLE: Table<Lifecycle> = Table {
    aggregate: "category",
    initial: Lifecycle::Draft,
    creators: EDITORS,
    transitions: &TRANSITIONS,
    edits: &[
        edit("change", EDITORS, Some(LockScope::Details)),
        edit("change-schema", EDITORS, Some(LockScope::Details)),
        edit("change-segmentation", EDITORS, Some(LockScope::Segmentation)),
        edit("change-slug", OWNERS, Some(LockScope::Details)),
        edit("move", EDITORS, Some(LockScope::Details)),
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

/// The path of a slug below a path; of a root without one.
#[must_use]
pub fn path_below(parent: Option<&str>, slug: &Slug) -> String {
    match parent {
        Some(parent) => format!("{parent}/{slug}"),
        None => slug.to_string(),
    }
}

impl Decider for Category {
    type Action = Action;

    fn decide(&self, command: &Command) -> Decision {
        let existing = || self.existing().ok_or(Rejection::NotFound);
        match &command.action {
            Action::Create(create) => self.create(create, command),
            Action::Change(change) => existing()?.change(change, command),
            Action::ChangeSchema(change) => existing()?.change_schema(change, command),
            Action::ChangeSegmentation(change) => existing()?.change_segmentation(change, command),
            Action::ChangeSlug(change) => existing()?.change_slug(change, command),
            Action::Move(asked) => existing()?.hang(asked, command),
            Action::Repath(repath) => Ok(existing()?.repath(repath)),
            Action::Adopt(adopt) => Ok(existing()?.adopt(&adopt.child_id)),
            Action::Disown(disown) => Ok(existing()?.disown(&disown.child_id)),
            Action::Govern(action) => {
                existing()?.governed.decide(&LIFECYCLE, action, command.roles, command.now)
            }
        }
    }

    fn size_bytes(&self) -> usize {
        size_of::<Self>()
            + self.existing().map_or(0, |existing| {
                let schema = &existing.attribute_schema;
                let allowed: usize = schema.attributes.iter().map(|rule| 48 + rule.allowed.len() * 24).sum();
                size_of::<Existing>()
                    + 500
                    + existing.path.len()
                    + existing.children.len() * 48
                    + existing.previous_slugs.len() * 64
                    + schema.forbidden.len() * 48
                    + allowed
            })
    }
}

/// Where a category hangs: path and depth. Refuses a place that is too deep, full or archived.
fn place(
    parent_id: Option<&CategoryId>,
    parent: Option<&ParentFacts>,
    slug: &Slug,
    height: u8,
) -> Result<(String, u8), Rejection> {
    let Some(id) = parent_id else { return Ok((path_below(None, slug), 0)) };
    let Some(parent) = parent else {
        return Err(Rejection::Unprocessable(format!("there is no category {id} to hang it below")));
    };
    if parent.lifecycle == Lifecycle::Archived {
        return Err(Rejection::Unprocessable(format!("category {id} is archived: nothing hangs below it")));
    }
    if parent.children >= MAX_CHILDREN {
        let detail = format!("{MAX_CHILDREN} categories hang below {id} already");
        return Err(Rejection::Unprocessable(detail));
    }
    let depth = parent.depth.saturating_add(1);
    if depth.saturating_add(height) > MAX_DEPTH {
        let detail = format!("the tree has at most {MAX_DEPTH} levels below a root");
        return Err(Rejection::Unprocessable(detail));
    }
    Ok((path_below(Some(&parent.path), slug), depth))
}

impl Category {
    fn create(&self, create: &Create, command: &Command) -> Decision {
        LIFECYCLE.create(command.roles)?;
        check_rules(&create.attribute_schema)?;
        let category_id = match &create.category_id {
            Some(id) => id.clone(),
            None => CategoryId::new(command.fresh_id.as_str())?,
        };
        let slug = slug_of(create)?;
        let (channels, regions) = (segments(&create.channels)?, segments(&create.regions)?);
        if let Self::Existing(existing) = self {
            let repeats = existing.slug == slug
                && existing.name == create.name
                && existing.parent_id == create.parent_id
                && existing.attribute_schema == create.attribute_schema
                && existing.channels == channels
                && existing.regions == regions
                && existing.description == create.description;
            return if repeats { Ok(Vec::new()) } else { Err(Rejection::Exists) };
        }
        let (path, depth) = place(create.parent_id.as_ref(), create.parent.as_ref(), &slug, 0)?;
        let created = Created {
            category_id,
            slug,
            name: create.name.clone(),
            parent_id: create.parent_id.clone(),
            path,
            depth,
            attribute_schema: create.attribute_schema.clone(),
            channels,
            regions,
            description: create.description.clone(),
        };
        Ok(vec![created.into()])
    }
}

impl Existing {
    fn edit(&self, name: &'static str, command: &Command) -> Result<(), Rejection> {
        self.governed.edit(&LIFECYCLE, name, command.roles, command.now)
    }

    fn change(&self, change: &Change, command: &Command) -> Decision {
        self.edit("change", command)?;
        let changed = Changed {
            name: change.name.clone().filter(|name| *name != self.name),
            description: change.description.clone().filter(|text| Some(text) != self.description.as_ref()),
            reason: None,
        };
        if changed == Changed::default() {
            return Ok(Vec::new());
        }
        Ok(vec![Changed { reason: change.reason.clone(), ..changed }.into()])
    }

    fn change_schema(&self, change: &ChangeSchema, command: &Command) -> Decision {
        self.edit("change-schema", command)?;
        check_rules(&change.attribute_schema)?;
        if change.attribute_schema == self.attribute_schema {
            return Ok(Vec::new());
        }
        Ok(vec![
            SchemaChanged {
                attribute_schema: change.attribute_schema.clone(),
                reason: change.reason.clone(),
            }
            .into(),
        ])
    }

    fn change_segmentation(&self, change: &ChangeSegmentation, command: &Command) -> Decision {
        self.edit("change-segmentation", command)?;
        let channels = change.channels.as_deref().map_or_else(|| Ok(self.channels.clone()), segments)?;
        let regions = change.regions.as_deref().map_or_else(|| Ok(self.regions.clone()), segments)?;
        if channels == self.channels && regions == self.regions {
            return Ok(Vec::new());
        }
        Ok(vec![SegmentationChanged { channels, regions, reason: change.reason.clone() }.into()])
    }

    fn change_slug(&self, change: &ChangeSlug, command: &Command) -> Decision {
        self.edit("change-slug", command)?;
        if change.slug == self.slug {
            return Ok(Vec::new());
        }
        let parent = self.path.rsplit_once('/').map(|(parent, _)| parent);
        let (slug, previous) = (change.slug.clone(), self.slug.clone());
        let path = path_below(parent, &slug);
        Ok(vec![SlugChanged { slug, previous, path, reason: change.reason.clone() }.into()])
    }

    fn hang(&self, asked: &Move, command: &Command) -> Decision {
        self.edit("move", command)?;
        if asked.parent_id == self.parent_id {
            return Ok(Vec::new());
        }
        if asked.parent.as_ref().is_some_and(|parent| parent.line.contains(&self.category_id)) {
            let detail = "a category can't hang below itself or below what hangs below it";
            return Err(Rejection::Unprocessable(detail.to_owned()));
        }
        let (path, depth) = place(asked.parent_id.as_ref(), asked.parent.as_ref(), &self.slug, asked.height)?;
        self.refuse_dead_parent(asked)?;
        let moved = Moved {
            from_parent: self.parent_id.clone(),
            to_parent: asked.parent_id.clone(),
            path,
            depth,
            reason: asked.reason.clone(),
        };
        Ok(vec![moved.into()])
    }

    /// What is active hangs below what is active: a move is no way around the rule of its activation.
    fn refuse_dead_parent(&self, asked: &Move) -> Result<(), Rejection> {
        let (Some(id), Some(parent)) = (&asked.parent_id, &asked.parent) else { return Ok(()) };
        if self.governed.lifecycle != Lifecycle::Active || parent.lifecycle == Lifecycle::Active {
            return Ok(());
        }
        let (rule, state) = (Rule::LiveParent, parent.lifecycle.as_str());
        Err(Rejection::Broken(BrokenRule { rule, what: "category", id: id.to_string(), state }))
    }

    fn repath(&self, repath: &Repath) -> Vec<Event> {
        if repath.path == self.path && repath.depth == self.depth {
            return Vec::new();
        }
        vec![PathChanged { path: repath.path.clone(), depth: repath.depth }.into()]
    }

    fn adopt(&self, child_id: &CategoryId) -> Vec<Event> {
        if self.children.contains(child_id) {
            return Vec::new();
        }
        vec![ChildAdded { child_id: child_id.clone() }.into()]
    }

    fn disown(&self, child_id: &CategoryId) -> Vec<Event> {
        if !self.children.contains(child_id) {
            return Vec::new();
        }
        vec![ChildRemoved { child_id: child_id.clone() }.into()]
    }
}
