//! Prices over time, the variant's own and those of its lists: changes, schedules, and what is due.

use daybook_schemas::prices::{Change, PriceList, Prices, Step, Wanted};
use daybook_schemas::variant::{Event, LockScope, Price};
use daybook_schemas::{Currency, ScheduleId, Text, Timestamp};
use serde::{Deserialize, Serialize};

use super::create::checked;
use super::{
    CancelPriceSchedule, ChangePrice, Command, EndPriceList, Existing, MAX_PRICE_LISTS, MAX_SCHEDULES,
    Rejection,
};

/// A list of the variant's, with its prices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListPrices {
    pub list: PriceList,
    #[serde(flatten)]
    pub prices: Prices,
}

/// A price that is asked for, on a list (`None`: the variant's own).
struct Wish<'a> {
    list: Option<PriceList>,
    /// `None`: the list is to end.
    price: Option<Price>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    reason: &'a Text,
}

impl Existing {
    /// See [`super::Variant::price_at`].
    pub(super) fn price_at(&self, at: Timestamp) -> Option<Price> {
        self.prices.at(at)
    }

    /// See [`super::Variant::price_for`].
    pub(super) fn price_for(&self, wanted: &Wanted, at: Timestamp) -> Option<Price> {
        if self.price_lists.is_empty() && wanted.currency.is_none() {
            return self.price_at(at);
        }
        let price = |list: Option<&PriceList>| self.course(list)?.at(at);
        wanted.choose(self.price_lists.iter().map(|known| &known.list), price).map(|(_, price)| price)
    }

    /// When the next scheduled price takes effect, on whichever list.
    pub(super) fn next_price(&self) -> Option<Timestamp> {
        self.courses().filter_map(|(_, prices)| prices.next_deadline()).min()
    }

    /// The variant's own prices, then those of each list.
    fn courses(&self) -> impl Iterator<Item = (Option<&PriceList>, &Prices)> {
        let lists = self.price_lists.iter().map(|known| (Some(&known.list), &known.prices));
        std::iter::once((None, &self.prices)).chain(lists)
    }

    fn course(&self, list: Option<&PriceList>) -> Option<&Prices> {
        match list {
            None => Some(&self.prices),
            Some(list) => {
                self.price_lists.iter().find(|known| known.list == *list).map(|known| &known.prices)
            }
        }
    }

    /// The course of a list; the first event of a list makes it known.
    pub(super) fn course_mut(&mut self, list: &PriceList) -> &mut Prices {
        let at = self.price_lists.binary_search_by(|known| known.list.cmp(list));
        let at = at.unwrap_or_else(|at| {
            self.price_lists.insert(at, ListPrices { list: list.clone(), prices: Prices::of_list() });
            at
        });
        &mut self.price_lists[at].prices
    }

    /// The ids of schedules are unique over all lists.
    pub(super) fn forget_schedule(&mut self, step: &Step) {
        self.prices.apply(step);
        for known in &mut self.price_lists {
            known.prices.apply(step);
        }
    }

    pub(super) fn forget_all_schedules(&mut self) {
        self.prices.schedules.clear();
        for known in &mut self.price_lists {
            known.prices.schedules.clear();
        }
    }

    pub(super) fn apply_due_prices(&self, now: Timestamp) -> Vec<Event> {
        self.courses()
            .filter(|(_, prices)| prices.next_deadline().is_some_and(|due| due <= now))
            .flat_map(|(list, prices)| events(list, prices.clone().bring_up_to(now)))
            .collect()
    }

    pub(super) fn change_price(
        &self,
        change: &ChangePrice,
        command: &Command,
    ) -> Result<Vec<Event>, Rejection> {
        self.refuse_if_locked(LockScope::Price, command.now)?;
        let price = checked(&change.price)?;
        let list = change.list.as_ref().map(|named| PriceList {
            currency: price.currency(),
            channel: named.channel.clone(),
            customer_group: named.customer_group.clone(),
        });
        let (from, to, reason) = (change.effective_from, change.effective_to, &change.reason);
        self.reprice(Wish { list, price: Some(price), from, to, reason }, command)
    }

    pub(super) fn end_price_list(
        &self,
        end: &EndPriceList,
        command: &Command,
    ) -> Result<Vec<Event>, Rejection> {
        self.refuse_if_locked(LockScope::Price, command.now)?;
        if self.course(Some(&end.list)).is_none() {
            return Err(Rejection::NoSuchPriceList(end.list.clone()));
        }
        let (list, from, reason) = (Some(end.list.clone()), end.effective_from, &end.reason);
        self.reprice(Wish { list, price: None, from, to: None, reason }, command)
    }

    /// Puts what is due of the course on record, then the change or its schedule.
    fn reprice(&self, wish: Wish<'_>, command: &Command) -> Result<Vec<Event>, Rejection> {
        let now = command.now;
        let from = wish.from.filter(|from| *from > now);
        if wish.to.is_some_and(|to| to <= from.unwrap_or(now)) {
            return Err(Rejection::PeriodEndsTooEarly);
        }
        let list = wish.list.as_ref();
        let known = self.course(list);
        if known.is_none() && self.price_lists.len() >= MAX_PRICE_LISTS {
            return Err(Rejection::TooManyPriceLists);
        }
        let mut course = known.cloned().unwrap_or_else(Prices::of_list);
        let mut steps = course.bring_up_to(now);
        let others =
            self.courses().filter(|(other, _)| *other != list).map(|(_, prices)| prices.schedules.len());
        if others.sum::<usize>() + course.schedules.len() >= MAX_SCHEDULES {
            return Err(Rejection::TooManySchedules);
        }
        // The price before is that of the time when the temporary one begins.
        let price_before = course.at(from.unwrap_or(now)).is_some();
        if wish.to.is_some() && !price_before && !course.may_end {
            return Err(Rejection::NothingToRestore);
        }
        let change = Change {
            price: wish.price,
            from: from.unwrap_or(now),
            to: wish.to,
            reason: wish.reason,
            schedule_id: None,
        };
        let fresh_id = ScheduleId::new(command.fresh_id.as_str()).expect("tokens and ids have one alphabet");
        match from {
            Some(_) => steps.extend(course.schedule(&change, fresh_id)),
            None if course.stands(wish.price, wish.to) => {}
            None => steps.extend(course.change(&change, fresh_id)),
        }
        // A list that ends hides no more than before.
        if wish.price.is_some()
            && let Some(hiding) = self.hides_own_price(list, &course, now)
        {
            return Err(match list {
                Some(list) => Rejection::OwnPriceIsNoList(list.currency),
                None => Rejection::ListHidesOwnPrice(hiding.clone()),
            });
        }
        Ok(events(list, steps).collect())
    }

    /// What everybody pays in a currency has one place, at all times to come: the own price, or a list for all. The list that would have a price
    /// in the currency of the own price, at a time when that stands too, if the course of `changed` (`None`: the own) were this one.
    fn hides_own_price<'a>(
        &'a self,
        changed: Option<&'a PriceList>,
        course: &Prices,
        now: Timestamp,
    ) -> Option<&'a PriceList> {
        let for_all = |list: &PriceList| list.channel.is_none() && list.customer_group.is_none();
        match changed {
            Some(list) => (for_all(list) && meet(&self.prices, course, list.currency, now)).then_some(list),
            None => {
                let lists = self.price_lists.iter().filter(|known| for_all(&known.list));
                let mut hiding = lists.filter(|known| meet(course, &known.prices, known.list.currency, now));
                hiding.next().map(|known| &known.list)
            }
        }
    }

    pub(super) fn cancel_price_schedule(
        &self,
        cancel: &CancelPriceSchedule,
        now: Timestamp,
    ) -> Result<Vec<Event>, Rejection> {
        self.refuse_if_locked(LockScope::Price, now)?;
        let waits = |prices: &Prices| {
            prices.schedules.iter().any(|schedule| schedule.schedule_id == cancel.schedule_id)
        };
        let unknown = || Rejection::NoSuchSchedule(cancel.schedule_id.clone());
        let (list, prices) = self.courses().find(|(_, prices)| waits(prices)).ok_or_else(unknown)?;
        let mut course = prices.clone();
        let mut steps = course.bring_up_to(now);
        // What is due has taken effect, and cannot be taken back any more.
        if !waits(&course) {
            return Err(unknown());
        }
        steps.extend(course.cancel(&cancel.schedule_id, &cancel.reason));
        // What was found in order because of the schedule must be so without it. A disorder that was there before is not its fault.
        if let Some(hiding) = self.hides_own_price(list, &course, now)
            && self.hides_own_price(list, prices, now).is_none()
        {
            return Err(Rejection::ListHidesOwnPrice(hiding.clone()));
        }
        let first = course.schedules.first();
        if course.price.is_none() && !course.may_end && first.is_some_and(|next| next.effective_to.is_some())
        {
            return Err(Rejection::NothingToRestore);
        }
        Ok(events(list, steps).collect())
    }
}

/// Whether both have a price in the currency at one time, from now on.
fn meet(own: &Prices, list: &Prices, currency: Currency, now: Timestamp) -> bool {
    let in_currency = |prices: &Prices| -> Vec<(Timestamp, bool)> {
        let stands = |price: Option<Price>| price.is_some_and(|price| price.currency() == currency);
        prices.course_from(now).map(|(from, price)| (from, stands(price))).collect()
    };
    let (own, list) = (in_currency(own), in_currency(list));
    let (mut at_own, mut at_list) = (0, 0);
    loop {
        if own[at_own].1 && list[at_list].1 {
            return true;
        }
        // To whichever changes next; both begin now.
        match (own.get(at_own + 1), list.get(at_list + 1)) {
            (None, None) => return false,
            (Some((next, _)), Some((other, _))) if next == other => {
                (at_own, at_list) = (at_own + 1, at_list + 1)
            }
            (Some((next, _)), other) if other.is_none_or(|(other, _)| next < other) => at_own += 1,
            (_, _) => at_list += 1,
        }
    }
}

fn events(list: Option<&PriceList>, steps: Vec<Step>) -> impl Iterator<Item = Event> {
    steps.into_iter().map(move |step| step.into_event(list))
}
