//! What a variant answers to each command.

use daybook_schemas::master::Lifecycle as MasterState;
use daybook_schemas::variant::{AttributeRefreshed, Event, LockScope, Locked, SegmentationChanged, Unlocked};
use daybook_schemas::{Text, Timestamp};

use super::create::segments;
use super::masters::{NamedRules, check_rules, within};
use super::{
    Action, Archive, ChangeSegmentation, Command, Existing, LIFECYCLE, Lock, RefreshAttribute, Rejection,
    Step, StepName, StockFacts, Unlock, Variant,
};
use crate::lifecycle::{BrokenRule, Rule, Transition};
use crate::lock::Held;
use crate::{Decider, Roles};

pub(super) type Decision = Result<Vec<Event>, Rejection>;

impl Decider for Variant {
    type Action = Action;

    fn decide(&self, command: &Command) -> Decision {
        let (now, roles) = (command.now, command.roles);
        let existing = || self.existing().ok_or(Rejection::NotFound);
        let editable = |name| {
            let existing = existing()?;
            LIFECYCLE.edit(existing.lifecycle, name, roles)?;
            Ok::<_, Rejection>(existing)
        };
        let step = |name, body: &Step| existing()?.step(name, body, roles, now);
        match &command.action {
            Action::Create(create) => {
                LIFECYCLE.create(roles)?;
                self.create(create, command)
            }
            Action::ChangePrice(change) => editable("change-price")?.change_price(change, command),
            Action::EndPriceList(end) => editable("end-price-list")?.end_price_list(end, command),
            Action::CancelPriceSchedule(cancel) => {
                editable("cancel-price-schedule")?.cancel_price_schedule(cancel, now)
            }
            Action::RefreshAttribute(refresh) => {
                Ok(editable("refresh-attribute")?.refresh_attribute(refresh))
            }
            Action::ApplyDuePrices(_) => Ok(editable("apply-due-prices")?.apply_due_prices(now)),
            Action::ChangeDetails(change) => editable("change-details")?.change_details(change, now),
            Action::ChangeSegmentation(change) => {
                editable("change-segmentation")?.change_segmentation(change, now)
            }
            Action::Lock(lock) => editable("lock")?.lock(lock, now),
            Action::Unlock(unlock) => Ok(editable("unlock")?.unlock(unlock)),
            Action::Submit(body) => step(StepName::Submit, body),
            Action::Reject(body) => step(StepName::Reject, body),
            Action::Approve(body) => step(StepName::Approve, body),
            Action::Activate(body) => step(StepName::Activate, body),
            Action::Mature(body) => step(StepName::Mature, body),
            Action::Clear(body) => step(StepName::Clear, body),
            Action::Discontinue(body) => step(StepName::Discontinue, body),
            Action::Reactivate(body) => step(StepName::Reactivate, body),
            Action::Archive(archive) => existing()?.archive(archive, roles, now),
        }
    }

    fn size_bytes(&self) -> usize {
        self.existing().map_or(size_of::<Self>(), Existing::size_bytes)
    }
}

impl Existing {
    pub(super) fn refuse_if_locked(&self, scope: LockScope, now: Timestamp) -> Result<(), Rejection> {
        match self.lock_on(scope, now) {
            Some(lock) => Err(Rejection::Locked {
                scope,
                reason: lock.reason.clone(),
                until: lock.until,
                by: lock.locked_by.clone(),
            }),
            None => Ok(()),
        }
    }

    fn step(&self, step: StepName, body: &Step, roles: Roles, now: Timestamp) -> Decision {
        self.governed(step, body.reason.as_ref(), roles, now, |rule| match rule {
            Rule::AllowedCombination => self.against(&body.rules),
            rule @ (Rule::Priced
            | Rule::LiveCategory
            | Rule::LiveValues
            | Rule::EmptyStock
            | Rule::Unused
            | Rule::Childless
            | Rule::LiveParent) => self.check(rule, &body.dead, None, now),
        })
    }

    fn archive(&self, archive: &Archive, roles: Roles, now: Timestamp) -> Decision {
        let check = |rule| self.check(rule, &[], archive.stock, now);
        self.governed(StepName::Archive, archive.reason.as_ref(), roles, now, check)
    }

    /// Takes the step if the table has it and all of its rules hold; reports every one that does not.
    fn governed(
        &self,
        step: StepName,
        reason: Option<&Text>,
        roles: Roles,
        now: Timestamp,
        check: impl Fn(Rule) -> Vec<Rejection>,
    ) -> Decision {
        let Some(Transition { rules, .. }) = LIFECYCLE.step(self.lifecycle, step.as_str(), roles)? else {
            return Ok(Vec::new());
        };
        let mut reasons: Vec<Rejection> =
            self.refuse_if_locked(LockScope::Lifecycle, now).err().into_iter().collect();
        reasons.extend(rules.iter().flat_map(|rule| check(*rule)));
        match reasons.len() {
            0 => Ok(vec![step.event(self.lifecycle, reason.cloned())]),
            1 => Err(reasons.remove(0)),
            _ => Err(Rejection::Several(reasons)),
        }
    }

    /// What breaks a rule.
    fn check(
        &self,
        rule: Rule,
        dead: &[BrokenRule],
        stock: Option<StockFacts>,
        now: Timestamp,
    ) -> Vec<Rejection> {
        match rule {
            Rule::Priced => match self.price_at(now) {
                Some(_) => Vec::new(),
                None => vec![Rejection::NoPrice],
            },
            Rule::EmptyStock => match stock {
                None => vec![Rejection::StockUnknown],
                Some(stock) if stock == StockFacts::default() => Vec::new(),
                Some(stock) => vec![Rejection::StockLeft(stock)],
            },
            // Told by `against`.
            Rule::AllowedCombination => Vec::new(),
            Rule::LiveCategory | Rule::LiveValues | Rule::Unused | Rule::Childless | Rule::LiveParent => dead
                .iter()
                .filter(|reference| reference.rule == rule)
                .cloned()
                .map(Rejection::Broken)
                .collect(),
        }
    }

    /// Every combination rule that the attributes break.
    fn against(&self, rules: &[NamedRules]) -> Vec<Rejection> {
        let mut reasons = Vec::new();
        for named in rules {
            check_rules(named, &self.attributes, &mut reasons);
        }
        reasons
    }

    fn change_segmentation(&self, change: &ChangeSegmentation, now: Timestamp) -> Decision {
        self.refuse_if_locked(LockScope::Segmentation, now)?;
        let channels = change.channels.as_deref().map_or_else(|| Ok(self.channels.clone()), segments)?;
        let regions = change.regions.as_deref().map_or_else(|| Ok(self.regions.clone()), segments)?;
        let mut reasons = Vec::new();
        let channels =
            within("channel", &channels, &change.limits, |limit| limit.channels.clone(), &mut reasons);
        let regions = within("region", &regions, &change.limits, |limit| limit.regions.clone(), &mut reasons);
        match reasons.len() {
            0 => {}
            1 => return Err(reasons.remove(0)),
            _ => return Err(Rejection::Several(reasons)),
        }
        if channels == self.channels && regions == self.regions {
            return Ok(Vec::new());
        }
        Ok(vec![SegmentationChanged { channels, regions, reason: change.reason.clone() }.into()])
    }

    /// What customers see of the value, where it is not what the master data says. Locks do not cover it: nobody edits the variant.
    fn refresh_attribute(&self, refresh: &RefreshAttribute) -> Vec<Event> {
        let Some(value) = refresh.value.as_ref().filter(|value| value.value_id == refresh.value_id) else {
            return Vec::new();
        };
        let deprecated = matches!(value.lifecycle, MasterState::Deprecated | MasterState::Archived);
        let stale = self.attributes.iter().any(|own| {
            own.value_id == value.value_id
                && (own.display != value.display
                    || own.hex != value.hex
                    || own.rank != value.rank
                    || self.deprecated_values.contains(&value.value_id) != deprecated)
        });
        if !stale {
            return Vec::new();
        }
        let (display, hex, rank) = (value.display.clone(), value.hex.clone(), value.rank);
        vec![AttributeRefreshed { value_id: value.value_id.clone(), display, hex, rank, deprecated }.into()]
    }

    fn lock(&self, lock: &Lock, now: Timestamp) -> Decision {
        let mut scopes = lock.scopes.clone();
        scopes.sort_unstable();
        scopes.dedup();
        if scopes.is_empty() {
            return Err(Rejection::NothingToLock);
        }
        if lock.until.is_some_and(|until| until <= now) {
            return Err(Rejection::LockEndsTooEarly);
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
        Ok(if self.lock.as_ref() == Some(&locked) { Vec::new() } else { vec![locked.into()] })
    }

    fn unlock(&self, unlock: &Unlock) -> Vec<Event> {
        match self.lock {
            Some(_) => vec![Unlocked { reason: unlock.reason.clone() }.into()],
            None => Vec::new(),
        }
    }

    fn size_bytes(&self) -> usize {
        let texts = self.description.as_ref().map_or(0, |text| text.as_str().len());
        size_of::<Self>()
            + texts
            + self.attributes.len() * 220
            + self.prices.size_bytes()
            + self.price_lists.iter().map(|known| 150 + known.prices.size_bytes()).sum::<usize>()
            + (self.channels.len() + self.regions.len()) * 32
            + 400
    }
}

fn held(lock: &Locked) -> Held<'_, LockScope> {
    Held { scopes: &lock.scopes, until: lock.until, by: lock.locked_by.as_ref() }
}
