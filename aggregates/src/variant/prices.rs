//! Prices over time: changes, schedules, and what is due.

use daybook_schemas::variant::{
    Event, LockScope, Price, PriceChanged, PriceScheduleCancelled, PriceScheduled,
};
use daybook_schemas::{ScheduleId, Text, Timestamp};

use super::create::checked;
use super::{CancelPriceSchedule, ChangePrice, Command, Existing, MAX_SCHEDULES, Rejection, Schedule};

/// The prices of a variant while decisions are made on them.
struct Course {
    price: Option<Price>,
    temporary_until: Option<Timestamp>,
    /// In the order of their time.
    schedules: Vec<Schedule>,
    events: Vec<Event>,
}

impl Course {
    /// Where the record stands, with everything due at `now` put on record first.
    fn at(existing: &Existing, now: Timestamp) -> Self {
        let mut course = Self {
            price: existing.price,
            temporary_until: existing.temporary_until,
            schedules: existing.schedules.clone(),
            events: Vec::new(),
        };
        while course.schedules.first().is_some_and(|next| next.effective_from <= now) {
            let due = course.schedules.remove(0);
            course.start(&due);
        }
        course
    }

    /// A scheduled price takes effect at its time, however late that is noticed.
    fn start(&mut self, due: &Schedule) {
        let change = Change {
            price: due.price,
            from: due.effective_from,
            to: due.effective_to,
            reason: &due.reason,
            schedule_id: Some(&due.schedule_id),
        };
        let restore_id = end_of(&due.schedule_id);
        self.change(&change, restore_id);
    }

    /// Another price stands from now on. The return that was to end the price before it has no place any more; a
    /// temporary price brings back what that return would have brought.
    fn change(&mut self, change: &Change<'_>, restore_id: ScheduleId) {
        let base = match self.schedules.iter().position(|schedule| schedule.restores) {
            Some(at) => {
                let overtaken = self.schedules.remove(at);
                let reason = Text::new("overtaken by another price").expect("a short text");
                self.events
                    .push(PriceScheduleCancelled { schedule_id: overtaken.schedule_id, reason }.into());
                Some(overtaken.price)
            }
            None => self.price,
        };
        let restores = base.filter(|_| change.to.is_some());
        self.events.push(
            PriceChanged {
                price: change.price,
                previous: self.price,
                effective_from: change.from,
                effective_to: change.to.filter(|_| restores.is_some()),
                reason: change.reason.clone(),
                schedule_id: change.schedule_id.cloned(),
            }
            .into(),
        );
        self.price = Some(change.price);
        self.temporary_until = change.to.filter(|_| restores.is_some());
        if let (Some(price), Some(to)) = (restores, change.to) {
            self.schedule(Schedule {
                schedule_id: restore_id,
                price,
                effective_from: to,
                effective_to: None,
                reason: change.reason.clone(),
                restores: true,
            });
        }
    }

    fn schedule(&mut self, schedule: Schedule) {
        self.events.push(
            PriceScheduled {
                schedule_id: schedule.schedule_id.clone(),
                price: schedule.price,
                effective_from: schedule.effective_from,
                effective_to: schedule.effective_to,
                reason: schedule.reason.clone(),
            }
            .into(),
        );
        let at = self.schedules.partition_point(|other| other.effective_from <= schedule.effective_from);
        self.schedules.insert(at, schedule);
    }
}

struct Change<'a> {
    price: Price,
    from: Timestamp,
    to: Option<Timestamp>,
    reason: &'a Text,
    schedule_id: Option<&'a ScheduleId>,
}

/// The id of the schedule that ends a temporary price.
fn end_of(id: &ScheduleId) -> ScheduleId {
    let short: String = id.as_str().chars().take(60).collect();
    ScheduleId::new(format!("{short}-end")).expect("at most 64 characters of the alphabet")
}

impl Existing {
    /// See [`super::Variant::price_at`].
    pub(super) fn price_at(&self, at: Timestamp) -> Option<Price> {
        if self.schedules.first().is_some_and(|next| next.effective_from <= at) {
            return Course::at(self, at).price;
        }
        self.price_history.iter().rev().find(|point| point.effective_from <= at).map(|point| point.price)
    }

    pub(super) fn apply_due_prices(&self, now: Timestamp) -> Vec<Event> {
        Course::at(self, now).events
    }

    pub(super) fn change_price(
        &self,
        change: &ChangePrice,
        command: &Command,
    ) -> Result<Vec<Event>, Rejection> {
        self.refuse_if_locked(LockScope::Price, command.now)?;
        let now = command.now;
        let price = checked(&change.price)?;
        let from = change.effective_from.filter(|from| *from > now);
        if change.effective_to.is_some_and(|to| to <= from.unwrap_or(now)) {
            return Err(Rejection::PeriodEndsTooEarly);
        }
        let schedule_id =
            ScheduleId::new(command.fresh_id.as_str()).expect("tokens and ids have one alphabet");
        let mut course = Course::at(self, now);
        if course.schedules.len() >= MAX_SCHEDULES {
            return Err(Rejection::TooManySchedules);
        }
        let price_before = course.price.is_some() || from.is_some() && !course.schedules.is_empty();
        if change.effective_to.is_some() && !price_before {
            return Err(Rejection::NothingToRestore);
        }
        match from {
            Some(from) => course.schedule(Schedule {
                schedule_id,
                price,
                effective_from: from,
                effective_to: change.effective_to,
                reason: change.reason.clone(),
                restores: false,
            }),
            None if course.stands(price, change.effective_to) => {}
            None => course.change(
                &Change {
                    price,
                    from: now,
                    to: change.effective_to,
                    reason: &change.reason,
                    schedule_id: None,
                },
                schedule_id,
            ),
        }
        Ok(course.events)
    }

    pub(super) fn cancel_price_schedule(
        &self,
        cancel: &CancelPriceSchedule,
        now: Timestamp,
    ) -> Result<Vec<Event>, Rejection> {
        self.refuse_if_locked(LockScope::Price, now)?;
        let mut course = Course::at(self, now);
        if !course.schedules.iter().any(|schedule| schedule.schedule_id == cancel.schedule_id) {
            return Err(Rejection::NoSuchSchedule(cancel.schedule_id.clone()));
        }
        course.events.push(
            PriceScheduleCancelled { schedule_id: cancel.schedule_id.clone(), reason: cancel.reason.clone() }
                .into(),
        );
        Ok(course.events)
    }
}

impl Course {
    /// Whether exactly this price stands already, for the same time.
    fn stands(&self, price: Price, until: Option<Timestamp>) -> bool {
        self.price == Some(price) && self.temporary_until == until
    }
}
