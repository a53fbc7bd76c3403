//! Lifecycle, lock and usage count of one piece of master data.

use daybook_schemas::master::{
    Activated, Archived, Deprecated, Lifecycle, LockScope, Locked, Reinstated, Rejected, Submitted, Unlocked,
    UsageChanged,
};
use daybook_schemas::{Text, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Action, Lock, Rejection, Step};
use crate::Roles;
use crate::lifecycle::{BrokenRule, Rule, Table, Transition};
use crate::lock::Held;

/// The events that all master data has, each aggregate under its own wire names.
pub trait MasterEvent:
    From<Submitted>
    + From<Rejected>
    + From<Activated>
    + From<Deprecated>
    + From<Reinstated>
    + From<Archived>
    + From<Locked>
    + From<Unlocked>
    + From<UsageChanged>
{
}

impl<E> MasterEvent for E where
    E: From<Submitted>
        + From<Rejected>
        + From<Activated>
        + From<Deprecated>
        + From<Reinstated>
        + From<Archived>
        + From<Locked>
        + From<Unlocked>
        + From<UsageChanged>
{
}

/// Lifecycle, lock and usage count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Governed {
    pub lifecycle: Lifecycle,
    pub lock: Option<Locked>,
    /// How many use it: variants, or values of a type.
    pub in_use: u64,
}

impl Default for Governed {
    fn default() -> Self {
        Self { lifecycle: Lifecycle::Draft, lock: None, in_use: 0 }
    }
}

impl Governed {
    /// Whether an edit is possible: by state, role and lock, each as the table has it.
    pub(crate) fn edit(
        &self,
        table: &'static Table<Lifecycle>,
        command: &'static str,
        roles: Roles,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        let row = table.edit(self.lifecycle, command, roles)?;
        let covers = LockScope::ALL.into_iter().find(|scope| row.lock == Some(scope.as_str()));
        covers.map_or(Ok(()), |scope| self.unlocked(scope, now))
    }

    fn unlocked(&self, scope: LockScope, now: Timestamp) -> Result<(), Rejection> {
        let covers =
            |lock: &&Locked| lock.scopes.contains(&scope) && lock.until.is_none_or(|until| until > now);
        match self.lock.as_ref().filter(covers) {
            Some(lock) => Err(Rejection::Locked {
                scope,
                reason: lock.reason.clone(),
                until: lock.until,
                by: lock.locked_by.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Decides what all master data can be asked.
    pub(crate) fn decide<E: MasterEvent>(
        &self,
        table: &'static Table<Lifecycle>,
        action: &Action,
        roles: Roles,
        now: Timestamp,
    ) -> Result<Vec<E>, Rejection> {
        let from = self.lifecycle;
        let step = |name, body: &Step| self.step(table, name, body, roles, now);
        let edit = |name| table.edit(from, name, roles);
        Ok(match action {
            Action::Submit(body) => one(step("submit", body)?, |reason| Submitted { from, reason }.into()),
            Action::Reject(body) => one(step("reject", body)?, |reason| Rejected { from, reason }.into()),
            Action::Approve(body) => one(step("approve", body)?, |reason| Activated { from, reason }.into()),
            Action::Activate(body) => {
                one(step("activate", body)?, |reason| Activated { from, reason }.into())
            }
            Action::Deprecate(body) => {
                one(step("deprecate", body)?, |reason| Deprecated { from, reason }.into())
            }
            Action::Reinstate(body) => {
                one(step("reinstate", body)?, |reason| Reinstated { from, reason }.into())
            }
            Action::Archive(body) => one(step("archive", body)?, |reason| Archived { from, reason }.into()),
            Action::Lock(lock) => {
                edit("lock")?;
                self.lock(lock, now)?.into_iter().map(E::from).collect()
            }
            Action::Unlock(unlock) => {
                edit("unlock")?;
                let lifted = self.lock.as_ref().map(|_| Unlocked { reason: unlock.reason.clone() });
                lifted.into_iter().map(E::from).collect()
            }
            Action::Recount(recount) => {
                edit("recount")?;
                self.recount(recount.in_use).into_iter().map(E::from).collect()
            }
            Action::CountUsage(count) => self.count(count.delta)?.into_iter().map(E::from).collect(),
        })
    }

    /// `Some`: the step is taken, with this reason.
    fn step(
        &self,
        table: &'static Table<Lifecycle>,
        name: &'static str,
        body: &Step,
        roles: Roles,
        now: Timestamp,
    ) -> Result<Option<Option<Text>>, Rejection> {
        let Some(Transition { rules, .. }) = table.step(self.lifecycle, name, roles)? else {
            return Ok(None);
        };
        let mut reasons: Vec<Rejection> =
            self.unlocked(LockScope::Lifecycle, now).err().into_iter().collect();
        reasons.extend(rules.iter().flat_map(|rule| self.check(*rule, &body.broken)));
        match reasons.len() {
            0 => Ok(Some(body.reason.clone())),
            1 => Err(reasons.remove(0)),
            _ => Err(Rejection::Several(reasons)),
        }
    }

    /// What breaks a rule: the usage count stands here, all else is carried in the command.
    fn check(&self, rule: Rule, broken: &[BrokenRule]) -> Vec<Rejection> {
        if rule == Rule::Unused && self.in_use > 0 {
            return vec![Rejection::InUse(self.in_use)];
        }
        broken.iter().filter(|broken| broken.rule == rule).cloned().map(Rejection::Broken).collect()
    }

    fn lock(&self, lock: &Lock, now: Timestamp) -> Result<Option<Locked>, Rejection> {
        let mut scopes = lock.scopes.clone();
        scopes.sort_unstable();
        scopes.dedup();
        if scopes.is_empty() {
            return Err(Rejection::Invalid("a lock covers at least one scope".to_owned()));
        }
        if lock.until.is_some_and(|until| until <= now) {
            return Err(Rejection::Unprocessable("a lock ends in the future".to_owned()));
        }
        let locked = Locked {
            scopes,
            reason: lock.reason.clone(),
            until: lock.until,
            locked_by: lock.locked_by.clone(),
        };
        if let Some(standing) = &self.lock
            && held(standing).stands_against(&held(&locked), now)
        {
            return Err(Rejection::LockStands(Box::new(standing.clone())));
        }
        Ok((self.lock.as_ref() != Some(&locked)).then_some(locked))
    }

    fn count(&self, delta: i64) -> Result<Option<UsageChanged>, Rejection> {
        if delta > 0 && matches!(self.lifecycle, Lifecycle::Deprecated | Lifecycle::Archived) {
            return Err(Rejection::NotLive(self.lifecycle));
        }
        // A count that once went wrong must not stop what uses it from going away; a recount puts it right.
        let in_use = self.in_use.saturating_add_signed(delta);
        let delta = in_use.cast_signed().wrapping_sub(self.in_use.cast_signed());
        Ok((delta != 0).then_some(UsageChanged { delta, in_use, recounted: false }))
    }

    fn recount(&self, in_use: u64) -> Option<UsageChanged> {
        let delta = in_use.cast_signed().wrapping_sub(self.in_use.cast_signed());
        (delta != 0).then_some(UsageChanged { delta, in_use, recounted: true })
    }

    pub(crate) const fn enter(&mut self, lifecycle: Lifecycle) {
        self.lifecycle = lifecycle;
    }
}

fn one<E>(taken: Option<Option<Text>>, event: impl FnOnce(Option<Text>) -> E) -> Vec<E> {
    taken.map(event).into_iter().collect()
}

/// The arms of `apply` that all master data shares.
macro_rules! apply_governed {
    ($governed:expr, $event:expr, { $($own:tt)* }) => {{
        use daybook_schemas::master::Lifecycle;
        let governed: &mut $crate::master::Governed = &mut $governed;
        match $event {
            Event::Submitted(_) => governed.enter(Lifecycle::PendingApproval),
            Event::Rejected(_) => governed.enter(Lifecycle::Draft),
            Event::Activated(_) | Event::Reinstated(_) => governed.enter(Lifecycle::Active),
            Event::Deprecated(_) => governed.enter(Lifecycle::Deprecated),
            Event::Archived(_) => governed.enter(Lifecycle::Archived),
            Event::Locked(event) => governed.lock = Some(event),
            Event::Unlocked(_) => governed.lock = None,
            Event::UsageChanged(event) => governed.in_use = event.in_use,
            $($own)*
        }
    }};
}
pub(crate) use apply_governed;

fn held(lock: &Locked) -> Held<'_, LockScope> {
    Held { scopes: &lock.scopes, until: lock.until, by: lock.locked_by.as_ref() }
}
