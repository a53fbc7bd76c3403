//! Commands to master data: the record itself, the claim on what is unique about it, and the records beside it that are
//! written in the same append.
//!
//! - [`claims`]: who owns a slug, a code, a value, a size
//! - [`tree`]: categories with their parents, children and paths
//! - [`facts`]: what variants look up of master data
//! - [`place`]: which master data a variant is under, read at once
//! - [`usage`]: how many variants use a record

pub(crate) mod claims;
pub(crate) mod facts;
pub(crate) mod place;
mod tree;
pub(crate) mod usage;

use daybook_aggregates::attribute_type::{self, AttributeType};
use daybook_aggregates::attribute_value::{self, AttributeValue, TypeFacts};
use daybook_aggregates::category::{self, Category};
use daybook_aggregates::claim::{Claim, What};
use daybook_aggregates::color::{self, Color};
use daybook_aggregates::lifecycle::{BrokenRule, Rule};
use daybook_aggregates::master::{Action as Govern, CountUsage};
use daybook_aggregates::product::{self, Product};
use daybook_aggregates::size::{self, Size};
use daybook_aggregates::{Command, Refusal};
use daybook_eventlog::StreamId;
use daybook_schemas::master::Lifecycle;
use daybook_schemas::{CategoryId, Label, ProductId, Token, ValueId};

use crate::request::Principal;
use crate::workspace::{Halt, Workspace, stream};

/// A command to one piece of master data, or to a product.
pub(crate) enum MasterOp {
    Size(Token, Command<size::Action>),
    Color(Token, Command<color::Action>),
    AttributeType(Token, Command<attribute_type::Action>),
    AttributeValue(Token, Command<attribute_value::Action>),
    Category(Token, Command<category::Action>),
    Product(Command<product::Action>),
}

impl MasterOp {
    /// Puts in what the request knows beside the body: the id in the route, and who locks.
    pub(crate) fn with_facts(mut self, id: &Token, principal: &Principal) -> Self {
        let lock = |action: &mut Govern| {
            if let Govern::Lock(lock) = action {
                lock.locked_by = Some(principal.name.clone());
            }
        };
        match &mut self {
            Self::Size(_, command) => match &mut command.action {
                size::Action::Create(create) => create.size_id = ValueId::new(id.as_str()).ok(),
                size::Action::Govern(action) => lock(action),
                size::Action::Change(_) => {}
            },
            Self::Color(_, command) => match &mut command.action {
                color::Action::Create(create) => create.color_id = ValueId::new(id.as_str()).ok(),
                color::Action::Govern(action) => lock(action),
                color::Action::Change(_) | color::Action::ChangeSlug(_) | color::Action::Protect(_) => {}
            },
            Self::AttributeType(_, command) => match &mut command.action {
                attribute_type::Action::Create(create) => create.attribute_type_id = Some(id.clone()),
                attribute_type::Action::Govern(action) => lock(action),
                attribute_type::Action::Change(_) | attribute_type::Action::ChangeSegmentation(_) => {}
            },
            Self::AttributeValue(_, command) => match &mut command.action {
                attribute_value::Action::Create(create) => {
                    create.attribute_value_id = ValueId::new(id.as_str()).ok();
                }
                attribute_value::Action::Govern(action) => lock(action),
                attribute_value::Action::Change(_) | attribute_value::Action::ChangeSegmentation(_) => {}
            },
            Self::Category(_, command) => match &mut command.action {
                category::Action::Create(create) => create.category_id = CategoryId::new(id.as_str()).ok(),
                category::Action::Govern(action) => lock(action),
                _ => {}
            },
            Self::Product(command) => {
                if let product::Action::SetRules(set) = &mut command.action {
                    set.product_id = ProductId::new(id.as_str()).ok();
                }
            }
        }
        self
    }

    /// Decides on the present state.
    pub(crate) fn decide(&mut self, workspace: &mut Workspace<'_>, main: &StreamId) -> Result<(), Halt> {
        let now = workspace.context.now;
        match self {
            Self::Size(id, command) => {
                command.now = now;
                if let size::Action::Create(create) = &command.action {
                    let key = size::claim_key(&create.category, create.gender, create.region, &create.value);
                    claims::take_folded(workspace, What::Size, key, id)?;
                }
                workspace.decide::<Size>(main, command).map(|_| ())
            }
            Self::Color(id, command) => {
                command.now = now;
                match &command.action {
                    color::Action::Create(create) => {
                        let slug = color::slug_of(create).map_err(Refusal::from)?;
                        claims::take(workspace, What::Color, slug.as_str(), id)?;
                    }
                    color::Action::ChangeSlug(change) => {
                        let slug = change.slug.clone();
                        claims::take(workspace, What::Color, slug.as_str(), id)?;
                    }
                    color::Action::Change(_) | color::Action::Protect(_) | color::Action::Govern(_) => {}
                }
                workspace.decide::<Color>(main, command).map(|_| ())
            }
            Self::AttributeType(id, command) => {
                command.now = now;
                if let attribute_type::Action::Create(create) = &command.action {
                    let code = create.code.as_ref().unwrap_or(id).clone();
                    claims::take(workspace, What::AttributeType, code.as_str(), id)?;
                }
                workspace.decide::<AttributeType>(main, command).map(|_| ())
            }
            Self::AttributeValue(id, command) => {
                command.now = now;
                attribute_value(workspace, main, id, command)
            }
            Self::Category(id, command) => {
                command.now = now;
                tree::decide(workspace, main, id, command)
            }
            Self::Product(command) => {
                command.now = now;
                workspace.decide::<Product>(main, command).map(|_| ())
            }
        }
    }
}

/// The type with this code: its stream, if it was ever created.
pub(super) fn type_stream(workspace: &mut Workspace<'_>, code: &Token) -> Result<Option<StreamId>, Halt> {
    let claim = stream::claim(What::AttributeType, code.as_str());
    let owner = workspace.peek::<Claim>(&claim)?.owner.clone();
    Ok(owner.map(|id| stream::of("attribute_type", &id)))
}

/// A value, its type beside it: the type lends its facts and counts its values.
fn attribute_value(
    workspace: &mut Workspace<'_>,
    main: &StreamId,
    id: &Token,
    command: &mut Command<attribute_value::Action>,
) -> Result<(), Halt> {
    let known = workspace.peek::<AttributeValue>(main)?.existing().map(|value| value.kind.clone());
    match &mut command.action {
        attribute_value::Action::Create(create) => {
            let of = type_stream(workspace, &create.kind)?;
            if let Some(of) = &of {
                create.type_facts = workspace.peek::<AttributeType>(of)?.existing().map(|of| TypeFacts {
                    attribute_type_id: of.attribute_type_id.clone(),
                    data_type: of.data_type,
                    allowed: of.allowed.clone(),
                });
            }
            // A value of no type is refused before it claims anything.
            if create.type_facts.is_some() {
                let key = attribute_value::claim_key(&create.kind, &create.value);
                claims::take_folded(workspace, What::AttributeValue, key, id)?;
            }
            let created = workspace.decide::<AttributeValue>(main, command)?;
            match of {
                Some(of) if created > 0 => count_type(workspace, &of, 1),
                Some(_) | None => Ok(()),
            }
        }
        attribute_value::Action::Govern(action) => {
            let of = match &known {
                Some(kind) => type_stream(workspace, kind)?,
                None => None,
            };
            if let (Some(of), Some(kind), Some(step)) = (&of, &known, becoming_active(action)) {
                let state = workspace.peek::<AttributeType>(of)?.existing().map(|of| of.governed.lifecycle);
                step.broken = not_active(Rule::LiveParent, "attribute type", kind, state);
            }
            let archives = matches!(action, Govern::Archive(_));
            let decided = workspace.decide::<AttributeValue>(main, command)?;
            match of {
                Some(of) if archives && decided > 0 => count_type(workspace, &of, -1),
                Some(_) | None => Ok(()),
            }
        }
        attribute_value::Action::Change(_) | attribute_value::Action::ChangeSegmentation(_) => {
            workspace.decide::<AttributeValue>(main, command).map(|_| ())
        }
    }
}

pub(super) fn count_type(workspace: &mut Workspace<'_>, of: &StreamId, delta: i64) -> Result<(), Halt> {
    let action = attribute_type::Action::Govern(Govern::CountUsage(CountUsage { delta }));
    let command = workspace.context.command(action);
    workspace.decide::<AttributeType>(of, &command).map(|_| ())
}

/// The step that makes it active, if the command is one.
fn becoming_active(action: &mut Govern) -> Option<&mut daybook_aggregates::master::Step> {
    match action {
        Govern::Approve(step) | Govern::Activate(step) | Govern::Reinstate(step) => Some(step),
        Govern::Submit(_)
        | Govern::Reject(_)
        | Govern::Deprecate(_)
        | Govern::Archive(_)
        | Govern::Lock(_)
        | Govern::Unlock(_)
        | Govern::Recount(_)
        | Govern::CountUsage(_) => None,
    }
}

/// What breaks a rule that asks for something active.
pub(super) fn not_active(
    rule: Rule,
    what: &'static str,
    id: &impl ToString,
    state: Option<Lifecycle>,
) -> Vec<BrokenRule> {
    match state {
        Some(Lifecycle::Active) => Vec::new(),
        state => {
            let state = state.map_or("not there", Lifecycle::as_str);
            vec![BrokenRule { rule, what, id: id.to_string(), state }]
        }
    }
}

/// Lets a category count more or fewer variants.
pub(super) fn count_category(workspace: &mut Workspace<'_>, id: &CategoryId, delta: i64) -> Result<(), Halt> {
    let action = category::Action::Govern(Govern::CountUsage(CountUsage { delta }));
    let command = workspace.context.command(action);
    workspace.decide::<Category>(&tree::stream_of(id), &command).map(|_| ())
}

/// Lets a label be looked up as a slug.
pub(super) fn category_claim(category: &Label) -> Option<StreamId> {
    let slug = daybook_schemas::Slug::of_name(category.as_str()).ok()?;
    Some(stream::claim(What::Category, slug.as_str()))
}
