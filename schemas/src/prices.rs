//! Prices over time: what the price events of a variant mean together. Write side and read side answer "which price holds at a
//! time" with this code, so that they can't differ.
//!
//! A variant has its own price and any number of *lists*, each for a currency and, if it says so, a channel and a customer
//! group. Each of them has a course of its own ([`Prices`]): what stood, what stands, what waits for its time.
//!
//! Which price a buyer gets is decided by [`Wanted::choose`]: of the lists that fit, the most specific one that has a price.
//!
//! Invariants of a course, after every step:
//!
//! 1. Scheduled prices take effect in the order of their time (those of one time: in the order in which they were scheduled),
//!    each once: the step that lets one take effect is the step that forgets its schedule.
//! 2. A temporary price gives way to what stood before it. Any other change takes the place of that return.
//! 3. What holds at a time does not depend on when it was put on record.

mod events;

use std::cmp::Reverse;
use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::variant::Price;
use crate::{Currency, ScheduleId, Text, Timestamp, Token};

/// How many past prices a course remembers; the log has them all.
pub const REMEMBERED_PRICES: usize = 64;

/// A list: prices in one currency for a channel, for a customer group, for both, or for everybody who pays in that currency.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceList {
    pub currency: Currency,
    /// Absent: every channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Token>,
    /// Absent: every customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_group: Option<Token>,
}

impl std::fmt::Display for PriceList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.currency)?;
        if let Some(channel) = &self.channel {
            write!(f, ", channel {channel}")?;
        }
        match &self.customer_group {
            Some(group) => write!(f, ", customer group {group}"),
            None => Ok(()),
        }
    }
}

/// What a buyer asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Absent: the currency of the variant's own price.
    pub currency: Option<Currency>,
    pub channel: Option<Token>,
    pub customer_group: Option<Token>,
}

impl Wanted {
    /// The price that a buyer gets, and the list that it is from (`None`: the variant's own). Of the lists in the currency
    /// whose channel and customer group are absent or the buyer's, the most specific that has a price: a customer group counts
    /// more than a channel, a list more than the own price. `price` gives what holds on a list, or of the variant itself.
    pub fn choose<'l>(
        &self,
        lists: impl IntoIterator<Item = &'l PriceList>,
        mut price: impl FnMut(Option<&PriceList>) -> Option<Price>,
    ) -> Option<(Option<&'l PriceList>, Price)> {
        let own = price(None);
        let currency = self.currency.or_else(|| own.map(|own| own.currency()))?;
        let mut fitting: Vec<&PriceList> =
            lists.into_iter().filter(|list| list.currency == currency && self.may_use(list)).collect();
        fitting.sort_by_key(|list| Reverse((list.customer_group.is_some(), list.channel.is_some())));
        let listed = fitting.into_iter().find_map(|list| Some((Some(list), price(Some(list))?)));
        listed.or_else(|| own.filter(|own| own.currency() == currency).map(|own| (None, own)))
    }

    /// Whether the list is for this buyer, whatever its currency.
    #[must_use]
    pub fn may_use(&self, list: &PriceList) -> bool {
        (list.channel.is_none() || list.channel == self.channel)
            && (list.customer_group.is_none() || list.customer_group == self.customer_group)
    }
}

/// The course of one price.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prices {
    /// The price on record; see [`Prices::at`].
    pub price: Option<Price>,
    /// The last prices, the one that stands last.
    pub price_history: VecDeque<PricePoint>,
    /// Prices that wait for their time, in the order of it.
    pub schedules: Vec<Schedule>,
    /// When the price that stands ends, if it is temporary.
    pub temporary_until: Option<Timestamp>,
    /// Whether there may be no price again: a list can end, a variant's own price only changes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_end: bool,
}

/// A price and when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PricePoint {
    /// `None`: the list ended.
    pub price: Option<Price>,
    pub effective_from: Timestamp,
}

/// A price that waits for its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    pub schedule_id: ScheduleId,
    /// `None`: the list ends.
    pub price: Option<Price>,
    pub effective_from: Timestamp,
    pub effective_to: Option<Timestamp>,
    pub reason: Text,
    /// Whether it is what stood before a temporary price, coming back.
    pub restores: bool,
}

/// What stands at a time, and from when on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    pub price: Option<Price>,
    /// `None`: there never was a price before, as far as is remembered.
    pub since: Option<Timestamp>,
    /// When the next change takes effect, as far as is known.
    pub next: Option<Timestamp>,
}

/// One step of a course: what a price event says, of whichever list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Changed(Changed),
    /// `restores` is not part of the event: it follows from what stands, see [`Prices::apply`].
    Scheduled(Schedule),
    Cancelled {
        schedule_id: ScheduleId,
        reason: Text,
    },
}

/// The price that stands from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// `None`: the list ends.
    pub price: Option<Price>,
    pub previous: Option<Price>,
    pub effective_from: Timestamp,
    pub effective_to: Option<Timestamp>,
    pub reason: Text,
    /// The schedule that took effect, if one did.
    pub schedule_id: Option<ScheduleId>,
}

/// A change that is asked for.
#[derive(Debug, Clone)]
pub struct Change<'a> {
    pub price: Option<Price>,
    pub from: Timestamp,
    pub to: Option<Timestamp>,
    pub reason: &'a Text,
    pub schedule_id: Option<&'a ScheduleId>,
}

impl Prices {
    /// A variant's own, with what stands from the creation on.
    #[must_use]
    pub fn own(price: Option<Price>, created_at: Timestamp) -> Self {
        let first = price.map(|_| PricePoint { price, effective_from: created_at });
        Self { price, price_history: first.into_iter().collect(), ..Self::default() }
    }

    /// Those of a list, before the first.
    #[must_use]
    pub fn of_list() -> Self {
        Self { may_end: true, ..Self::default() }
    }

    /// The price that holds at a time: scheduled ones count from their time on, whether or not that is on record yet. `None`:
    /// no price, or earlier than the prices that are remembered.
    #[must_use]
    pub fn at(&self, at: Timestamp) -> Option<Price> {
        if self.schedules.first().is_some_and(|next| next.effective_from <= at) {
            let mut course = self.clone();
            course.bring_up_to(at);
            return course.price;
        }
        self.price_history.iter().rev().find(|point| point.effective_from <= at)?.price
    }

    /// The price that holds at a time, since when it does, and when that changes.
    #[must_use]
    pub fn standing_at(&self, at: Timestamp) -> Standing {
        let mut course = self.clone();
        course.bring_up_to(at);
        let points = &course.price_history;
        let place = points.iter().rposition(|point| point.effective_from <= at);
        let point = place.map(|place| points[place]);
        let later = points.range(place.map_or(0, |place| place + 1)..).map(|point| point.effective_from);
        Standing {
            price: point.and_then(|point| point.price),
            since: point.map(|point| point.effective_from),
            next: later.chain(course.next_deadline()).min(),
        }
    }

    /// What stands at a time, and after every change to come that is known, each with when it begins; temporary prices and what comes back
    /// after them included.
    pub fn course_from(&self, start: Timestamp) -> impl Iterator<Item = (Timestamp, Option<Price>)> + use<> {
        let mut course = self.clone();
        let price = self.at(start);
        course.bring_up_to(start);
        let later = std::iter::from_fn(move || {
            let next = course.next_deadline()?;
            course.bring_up_to(next);
            Some((next, course.price))
        });
        std::iter::once((start, price)).chain(later)
    }

    /// When the next scheduled price takes effect.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        Some(self.schedules.first()?.effective_from)
    }

    /// Whether exactly this price stands already, for the same time.
    #[must_use]
    pub fn stands(&self, price: Option<Price>, until: Option<Timestamp>) -> bool {
        self.price == price && self.temporary_until == until
    }

    /// What it weighs in memory beside itself, by estimate.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.price_history.len() * 80 + self.schedules.len() * 200
    }

    /// Takes a step in.
    pub fn apply(&mut self, step: &Step) {
        match step {
            Step::Changed(changed) => self.changed(changed),
            Step::Scheduled(schedule) => self.scheduled(schedule.clone()),
            Step::Cancelled { schedule_id, .. } => self.cancelled(schedule_id),
        }
    }

    fn changed(&mut self, changed: &Changed) {
        self.price = changed.price;
        self.temporary_until = changed.effective_to;
        let point = PricePoint { price: changed.price, effective_from: changed.effective_from };
        self.price_history.push_back(point);
        if self.price_history.len() > REMEMBERED_PRICES {
            self.price_history.pop_front();
        }
        if let Some(id) = &changed.schedule_id {
            self.schedules.retain(|schedule| schedule.schedule_id != *id);
        }
    }

    fn scheduled(&mut self, schedule: Schedule) {
        // The return of what stood before is scheduled right after the temporary price that it ends. One temporary price within another
        // has a return of its own, at another time.
        let restores = self.temporary_until == Some(schedule.effective_from)
            && schedule.effective_to.is_none()
            && !self.returns().any(|other| other.effective_from == schedule.effective_from);
        let at = self.schedules.partition_point(|other| other.effective_from <= schedule.effective_from);
        self.schedules.insert(at, Schedule { restores, ..schedule });
    }

    fn cancelled(&mut self, id: &ScheduleId) {
        let Some(at) = self.schedules.iter().position(|schedule| schedule.schedule_id == *id) else { return };
        // Without its return, what was temporary stays: for good, or until the price around it ends.
        let gone = self.schedules.remove(at);
        if gone.restores && self.temporary_until == Some(gone.effective_from) {
            self.temporary_until = self.next_return();
        }
    }

    /// The returns that wait: that of the price that stands, then those of the temporary prices around it.
    fn returns(&self) -> impl Iterator<Item = &Schedule> {
        self.schedules.iter().filter(|schedule| schedule.restores)
    }

    fn next_return(&self) -> Option<Timestamp> {
        self.returns().next().map(|next| next.effective_from)
    }

    fn take(&mut self, step: Step, steps: &mut Vec<Step>) {
        self.apply(&step);
        steps.push(step);
    }

    /// Lets everything due at `now` take effect at its time, however late that is noticed. Gives the steps.
    pub fn bring_up_to(&mut self, now: Timestamp) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some(due) = self.schedules.first().filter(|next| next.effective_from <= now).cloned() {
            // Off the list at once: a change looks for returns that still wait.
            self.schedules.remove(0);
            if due.restores {
                // What comes back may be temporary itself.
                let changed = Changed {
                    price: due.price,
                    previous: self.price,
                    effective_from: due.effective_from,
                    effective_to: self.next_return(),
                    reason: due.reason,
                    schedule_id: Some(due.schedule_id),
                };
                self.take(Step::Changed(changed), &mut steps);
                continue;
            }
            let change = Change {
                price: due.price,
                from: due.effective_from,
                to: due.effective_to,
                reason: &due.reason,
                schedule_id: Some(&due.schedule_id),
            };
            steps.extend(self.change(&change, end_of(&due.schedule_id)));
        }
        steps
    }

    /// Another price stands from now on. Returns that were to come before it ends have no place any more; a temporary price brings back
    /// what the last of them would have brought, and within a longer temporary price that price itself. Gives the steps.
    pub fn change(&mut self, change: &Change<'_>, restore_id: ScheduleId) -> Vec<Step> {
        let mut steps = Vec::new();
        let ends_before = |back: &&Schedule| change.to.is_none_or(|to| back.effective_from <= to);
        let overtaken: Vec<Schedule> = self.returns().filter(ends_before).cloned().collect();
        let base = overtaken.last().map_or(self.price, |overtaken| overtaken.price);
        for overtaken in overtaken {
            let reason = Text::new("overtaken by another price").expect("a short text");
            self.take(Step::Cancelled { schedule_id: overtaken.schedule_id, reason }, &mut steps);
        }
        let to = change.to.filter(|_| base.is_some() || self.may_end);
        let changed = Changed {
            price: change.price,
            previous: self.price,
            effective_from: change.from,
            effective_to: to,
            reason: change.reason.clone(),
            schedule_id: change.schedule_id.cloned(),
        };
        self.take(Step::Changed(changed), &mut steps);
        if let Some(to) = to {
            let back = Schedule {
                schedule_id: restore_id,
                price: base,
                effective_from: to,
                effective_to: None,
                reason: change.reason.clone(),
                restores: true,
            };
            self.take(Step::Scheduled(back), &mut steps);
        }
        steps
    }

    /// A price is to stand from a time to come on. Gives the step.
    pub fn schedule(&mut self, change: &Change<'_>, schedule_id: ScheduleId) -> Vec<Step> {
        let schedule = Schedule {
            schedule_id,
            price: change.price,
            effective_from: change.from,
            effective_to: change.to,
            reason: change.reason.clone(),
            restores: false,
        };
        let mut steps = Vec::new();
        self.take(Step::Scheduled(schedule), &mut steps);
        steps
    }

    /// A scheduled price is not to take effect. Gives the step.
    pub fn cancel(&mut self, schedule_id: &ScheduleId, reason: &Text) -> Vec<Step> {
        let mut steps = Vec::new();
        self.take(Step::Cancelled { schedule_id: schedule_id.clone(), reason: reason.clone() }, &mut steps);
        steps
    }
}

/// The id of the schedule that ends a temporary price.
fn end_of(id: &ScheduleId) -> ScheduleId {
    let short: String = id.as_str().chars().take(60).collect();
    ScheduleId::new(format!("{short}-end")).expect("at most 64 characters of the alphabet")
}
