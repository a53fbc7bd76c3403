//! What a variant answers to each command.

use daybook_schemas::variant::{
    DetailsChanged, Event, Lifecycle, LockScope, Locked, SegmentationChanged, Unlocked,
};
use daybook_schemas::{Text, Timestamp};

use super::create::segments;
use super::lifecycle::{allowed, target, transition};
use super::{
    Action, Archive, ChangeDetails, ChangeSegmentation, Command, Existing, Lock, Rejection, Step, StepName,
    Unlock, Variant,
};
use crate::Decider;

type Decision = Result<Vec<Event>, Rejection>;

impl Decider for Variant {
    type Action = Action;

    fn decide(&self, command: &Command) -> Decision {
        let now = command.now;
        let existing = || self.existing().ok_or(Rejection::NotFound);
        let editable = || existing().and_then(Existing::editable);
        let step = |name, body: &Step| existing()?.step(name, body.reason.as_ref(), now);
        match &command.action {
            Action::Create(create) => self.create(create, command),
            Action::ChangePrice(change) => editable()?.change_price(change, command),
            Action::CancelPriceSchedule(cancel) => editable()?.cancel_price_schedule(cancel, now),
            Action::ApplyDuePrices(_) => Ok(existing()?.apply_due_prices(now)),
            Action::ChangeDetails(change) => editable()?.change_details(change, now),
            Action::ChangeSegmentation(change) => editable()?.change_segmentation(change, now),
            Action::Lock(lock) => editable()?.lock(lock, now),
            Action::Unlock(unlock) => Ok(editable()?.unlock(unlock)),
            Action::Submit(body) => step(StepName::Submit, body),
            Action::Reject(body) => step(StepName::Reject, body),
            Action::Approve(body) => existing()?.activate(StepName::Approve, body, now),
            Action::Activate(body) => existing()?.activate(StepName::Activate, body, now),
            Action::Mature(body) => step(StepName::Mature, body),
            Action::Clear(body) => step(StepName::Clear, body),
            Action::Discontinue(body) => step(StepName::Discontinue, body),
            Action::Reactivate(body) => step(StepName::Reactivate, body),
            Action::Archive(archive) => existing()?.archive(archive, now),
        }
    }

    fn size_bytes(&self) -> usize {
        self.existing().map_or(size_of::<Self>(), Existing::size_bytes)
    }
}

impl Existing {
    /// The variant, unless it is archived.
    fn editable(&self) -> Result<&Self, Rejection> {
        if self.lifecycle == Lifecycle::Archived { Err(Rejection::Archived) } else { Ok(self) }
    }

    pub(super) fn refuse_if_locked(&self, scope: LockScope, now: Timestamp) -> Result<(), Rejection> {
        match self.lock_on(scope, now) {
            Some(lock) => Err(Rejection::Locked { scope, reason: lock.reason.clone(), until: lock.until }),
            None => Ok(()),
        }
    }

    fn step(&self, step: StepName, reason: Option<&Text>, now: Timestamp) -> Decision {
        if target(step) == Some(self.lifecycle) {
            return Ok(Vec::new());
        }
        if transition(self.lifecycle, step).is_none() {
            return Err(Rejection::InvalidTransition {
                command: step.as_str(),
                state: self.lifecycle,
                allowed: allowed(self.lifecycle),
            });
        }
        self.refuse_if_locked(LockScope::Lifecycle, now)?;
        Ok(vec![step.event(self.lifecycle, reason.cloned())])
    }

    fn activate(&self, step: StepName, body: &Step, now: Timestamp) -> Decision {
        let events = self.step(step, body.reason.as_ref(), now)?;
        if !events.is_empty() && self.price_at(now).is_none() {
            return Err(Rejection::NoPrice);
        }
        Ok(events)
    }

    fn archive(&self, archive: &Archive, now: Timestamp) -> Decision {
        let events = self.step(StepName::Archive, archive.reason.as_ref(), now)?;
        if events.is_empty() {
            return Ok(events);
        }
        let stock = archive.stock.ok_or(Rejection::StockUnknown)?;
        if stock.on_hand != 0 || stock.reserved != 0 {
            return Err(Rejection::StockLeft { on_hand: stock.on_hand, reserved: stock.reserved });
        }
        Ok(events)
    }

    fn change_details(&self, change: &ChangeDetails, now: Timestamp) -> Decision {
        self.refuse_if_locked(LockScope::Details, now)?;
        let changed = DetailsChanged {
            name: change.name.clone().filter(|name| *name != self.name),
            brand: change.brand.clone().filter(|brand| *brand != self.brand),
            category: change.category.clone().filter(|category| *category != self.category),
            product_group: change.product_group.clone().filter(|group| *group != self.product_group),
            description: change.description.clone().filter(|text| Some(text) != self.description.as_ref()),
        };
        Ok(if changed == DetailsChanged::default() { Vec::new() } else { vec![changed.into()] })
    }

    fn change_segmentation(&self, change: &ChangeSegmentation, now: Timestamp) -> Decision {
        self.refuse_if_locked(LockScope::Segmentation, now)?;
        let channels = change.channels.as_deref().map_or_else(|| Ok(self.channels.clone()), segments)?;
        let regions = change.regions.as_deref().map_or_else(|| Ok(self.regions.clone()), segments)?;
        if channels == self.channels && regions == self.regions {
            return Ok(Vec::new());
        }
        Ok(vec![SegmentationChanged { channels, regions }.into()])
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
        let locked = Locked { scopes, reason: lock.reason.clone(), until: lock.until };
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
            + self.price_history.len() * 80
            + self.schedules.len() * 200
            + (self.channels.len() + self.regions.len()) * 32
            + 400
    }
}
