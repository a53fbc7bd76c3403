//! Categories with what is above and below them: a creation and a move write to parent and child, a move and a new slug to all below, in
//! one append. So the tree is whole at every position, and two moves that would make a cycle together meet in a stream
//! that both write.

use daybook_aggregates::Command;
use daybook_aggregates::Refusal;
use daybook_aggregates::category::{
    self, Action, Adopt, Category, Disown, MAX_DEPTH, MAX_SUBTREE, ParentFacts, Repath, path_below,
};
use daybook_aggregates::claim::What;
use daybook_aggregates::lifecycle::{BrokenRule, Rule};
use daybook_aggregates::master::Action as Govern;
use daybook_eventlog::StreamId;
use daybook_schemas::master::Lifecycle;
use daybook_schemas::{CategoryId, Token};

use super::super::refusal;
use super::{becoming_active, claims, not_active};
use crate::workspace::{Halt, Workspace, stream};

pub(super) fn stream_of(id: &CategoryId) -> StreamId {
    stream::of("category", &Token::new(id.as_str()).expect("all ids have one alphabet"))
}

pub(super) fn decide(
    workspace: &mut Workspace<'_>,
    main: &StreamId,
    id: &Token,
    command: &mut Command<Action>,
) -> Result<(), Halt> {
    match &mut command.action {
        Action::Create(create) => {
            let parent_id = create.parent_id.clone();
            create.parent = facts(workspace, parent_id.as_ref())?;
            let slug = category::slug_of(create).map_err(Refusal::from)?;
            claims::take(workspace, What::Category, slug.as_str(), id)?;
            let created = workspace.decide::<Category>(main, command)?;
            if let Some(parent_id) = parent_id.filter(|_| created > 0) {
                adopt(workspace, &parent_id, own_id(id))?;
            }
            Ok(())
        }
        Action::Move(asked) => {
            let to = asked.parent_id.clone();
            let Some(existing) = workspace.peek::<Category>(main)?.existing() else {
                return workspace.decide::<Category>(main, command).map(|_| ());
            };
            let (from, slug) = (existing.parent_id.clone(), existing.slug.clone());
            asked.parent = facts(workspace, to.as_ref())?;
            let below = below(workspace, main)?;
            asked.height = below.iter().map(|found| found.levels).max().unwrap_or(0);
            let (path, depth) = match &asked.parent {
                Some(parent) => (path_below(Some(&parent.path), &slug), parent.depth.saturating_add(1)),
                None => (path_below(None, &slug), 0),
            };
            if workspace.decide::<Category>(main, command)? == 0 {
                return Ok(());
            }
            repath(workspace, &below, &path, depth)?;
            if let Some(from) = from {
                let disown = Action::Disown(Disown { child_id: own_id(id) });
                let command = workspace.context.command(disown);
                workspace.decide::<Category>(&stream_of(&from), &command)?;
            }
            match to {
                Some(to) => adopt(workspace, &to, own_id(id)),
                None => Ok(()),
            }
        }
        Action::ChangeSlug(change) => {
            let slug = change.slug.clone();
            let Some(existing) = workspace.peek::<Category>(main)?.existing() else {
                return workspace.decide::<Category>(main, command).map(|_| ());
            };
            let parent = existing.path.rsplit_once('/').map(|(parent, _)| parent.to_owned());
            let depth = existing.depth;
            let below = below(workspace, main)?;
            claims::take(workspace, What::Category, slug.as_str(), id)?;
            if workspace.decide::<Category>(main, command)? > 0 {
                repath(workspace, &below, &path_below(parent.as_deref(), &slug), depth)?;
            }
            Ok(())
        }
        Action::Govern(action) => {
            govern_facts(workspace, main, action)?;
            workspace.decide::<Category>(main, command).map(|_| ())
        }
        Action::Change(_)
        | Action::ChangeSchema(_)
        | Action::ChangeSegmentation(_)
        | Action::Repath(_)
        | Action::Adopt(_)
        | Action::Disown(_) => workspace.decide::<Category>(main, command).map(|_| ()),
    }
}

fn own_id(id: &Token) -> CategoryId {
    CategoryId::new(id.as_str()).expect("all ids have one alphabet")
}

fn adopt(workspace: &mut Workspace<'_>, parent: &CategoryId, child_id: CategoryId) -> Result<(), Halt> {
    let command = workspace.context.command(Action::Adopt(Adopt { child_id }));
    workspace.decide::<Category>(&stream_of(parent), &command).map(|_| ())
}

/// What is known of a category to hang something below; `None`: none is named, or there is none.
fn facts(workspace: &mut Workspace<'_>, id: Option<&CategoryId>) -> Result<Option<ParentFacts>, Halt> {
    let Some(id) = id else { return Ok(None) };
    let Some(parent) = workspace.peek::<Category>(&stream_of(id))?.existing() else { return Ok(None) };
    let mut facts = ParentFacts {
        path: parent.path.clone(),
        depth: parent.depth,
        lifecycle: parent.governed.lifecycle,
        children: parent.children.len(),
        line: vec![id.clone()],
    };
    let mut above = parent.parent_id.clone();
    while let Some(next) = above {
        if facts.line.len() > usize::from(MAX_DEPTH) + 1 {
            break;
        }
        above = workspace
            .peek::<Category>(&stream_of(&next))?
            .existing()
            .and_then(|category| category.parent_id.clone());
        facts.line.push(next);
    }
    Ok(Some(facts))
}

/// A category below another.
struct Below {
    stream: StreamId,
    /// Levels below the one that was asked about, from 1.
    levels: u8,
    /// What its path adds to the path of the one that was asked about.
    tail: String,
}

/// Everything below a category, level by level.
fn below(workspace: &mut Workspace<'_>, top: &StreamId) -> Result<Vec<Below>, Halt> {
    let mut all: Vec<Below> = Vec::new();
    let mut level = vec![(top.clone(), String::new())];
    for levels in 1..=MAX_DEPTH + 1 {
        let mut next = Vec::new();
        for (stream, tail) in &level {
            let Some(category) = workspace.peek::<Category>(stream)?.existing() else { continue };
            next.extend(category.children.iter().map(|id| (stream_of(id), tail.clone())));
        }
        if next.is_empty() {
            return Ok(all);
        }
        if all.len() + next.len() > MAX_SUBTREE {
            let detail =
                format!("more than {MAX_SUBTREE} categories are below it: move its parts one by one");
            return Err(refusal("unprocessable", daybook_aggregates::Kind::Unprocessable, detail).into());
        }
        workspace.require(next.iter().map(|(stream, _)| stream))?;
        for (stream, tail) in &mut next {
            let slug = workspace.peek::<Category>(stream)?.existing().map(|category| category.slug.clone());
            if let Some(slug) = slug {
                tail.push('/');
                tail.push_str(slug.as_str());
            }
            all.push(Below { stream: stream.clone(), levels, tail: tail.clone() });
        }
        level = next;
    }
    Ok(all)
}

fn repath(workspace: &mut Workspace<'_>, below: &[Below], path: &str, depth: u8) -> Result<(), Halt> {
    for found in below {
        let repath =
            Repath { path: format!("{path}{}", found.tail), depth: depth.saturating_add(found.levels) };
        let command = workspace.context.command(Action::Repath(repath));
        workspace.decide::<Category>(&found.stream, &command)?;
    }
    Ok(())
}

/// What a step of the lifecycle has to know of the categories above and below.
fn govern_facts(workspace: &mut Workspace<'_>, main: &StreamId, action: &mut Govern) -> Result<(), Halt> {
    let Some(existing) = workspace.peek::<Category>(main)?.existing() else { return Ok(()) };
    let (parent, children) = (existing.parent_id.clone(), existing.children.clone());
    if let Some(step) = becoming_active(action) {
        if let Some(parent) = parent {
            let state = workspace.peek::<Category>(&stream_of(&parent))?.existing();
            let state = state.map(|category| category.governed.lifecycle);
            step.broken = not_active(Rule::LiveParent, "category", &parent, state);
        }
    } else if let Govern::Archive(step) = action {
        step.broken.clear();
        let streams: Vec<_> = children.iter().map(stream_of).collect();
        workspace.require(&streams)?;
        for (child, stream) in children.iter().zip(&streams) {
            let state = workspace.peek::<Category>(stream)?.existing();
            match state.map(|category| category.governed.lifecycle) {
                None | Some(Lifecycle::Archived) => {}
                Some(left) => step.broken.push(BrokenRule {
                    rule: Rule::Childless,
                    what: "category",
                    id: child.to_string(),
                    state: left.as_str(),
                }),
            }
        }
    }
    Ok(())
}
