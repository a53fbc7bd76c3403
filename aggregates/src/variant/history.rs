//! What a variant that comes from elsewhere brings along: past and waiting prices, its own and those of its lists, and its lock.
//! With it, a catalogue that was exported is the same where it is imported.

use daybook_schemas::body::or_default;
use daybook_schemas::prices::{Changed, PriceList, Prices, Schedule, Step};
use daybook_schemas::variant::{Event, LockScope, Locked, Price};
use daybook_schemas::{Label, ScheduleId, Text, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::create::checked;
use super::{Create, MAX_PRICE_LISTS, MAX_SCHEDULES, NewPrice, Rejection};
use crate::{Role, Roles};

/// Most past prices of one variant, over all lists.
pub const MAX_PAST_PRICES: usize = 10_000;

/// What became of the variant before, elsewhere. For operators; it is taken as it is told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// Its own prices, oldest first; the last one is the price of the command. One without a reason is that of the creation.
    #[serde(default, deserialize_with = "or_default")]
    pub prices: Vec<PastPrice>,
    /// Its own prices that wait for their time, in the order of it.
    #[serde(default, deserialize_with = "or_default")]
    pub schedules: Vec<WaitingPrice>,
    #[serde(default, deserialize_with = "or_default")]
    pub lists: Vec<PastList>,
    /// The lock that is on it.
    #[serde(default)]
    pub lock: Option<PastLock>,
}

/// The prices of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PastList {
    pub list: PriceList,
    /// Oldest first, the one that stands last.
    #[serde(default, deserialize_with = "or_default")]
    pub prices: Vec<PastPrice>,
    /// In the order of their time.
    #[serde(default, deserialize_with = "or_default")]
    pub schedules: Vec<WaitingPrice>,
}

/// A price that stood or stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PastPrice {
    /// Absent: the list ended.
    #[serde(default)]
    pub price: Option<NewPrice>,
    /// Not in the future.
    pub effective_from: Timestamp,
    #[serde(default)]
    pub effective_to: Option<Timestamp>,
    #[serde(default)]
    pub reason: Option<Text>,
    /// The schedule that took effect, if one did.
    #[serde(default)]
    pub schedule_id: Option<ScheduleId>,
}

/// A price that waits for its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitingPrice {
    pub schedule_id: ScheduleId,
    /// Absent: the list ends.
    #[serde(default)]
    pub price: Option<NewPrice>,
    pub effective_from: Timestamp,
    #[serde(default)]
    pub effective_to: Option<Timestamp>,
    pub reason: Text,
}

/// A governance lock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PastLock {
    /// At least one.
    pub scopes: Vec<LockScope>,
    pub reason: Text,
    #[serde(default)]
    pub until: Option<Timestamp>,
    #[serde(default)]
    pub locked_by: Option<Label>,
}

impl History {
    /// Everything that speaks against it by itself.
    pub(super) fn check(&self, create: &Create, now: Timestamp, roles: Roles) -> Result<(), Rejection> {
        if !roles.contains(Role::Operator) && !roles.contains(Role::System) {
            return Err(Rejection::HistoryIsForOperators);
        }
        let schedules = || self.lists.iter().map(|list| &list.schedules).chain([&self.schedules]);
        let prices = || self.lists.iter().map(|list| &list.prices).chain([&self.prices]);
        if prices().map(Vec::len).sum::<usize>() > MAX_PAST_PRICES {
            return Err(Rejection::Invalid(format!("at most {MAX_PAST_PRICES} past prices")));
        }
        if schedules().map(Vec::len).sum::<usize>() > MAX_SCHEDULES {
            return Err(Rejection::TooManySchedules);
        }
        if self.lists.len() > MAX_PRICE_LISTS {
            return Err(Rejection::TooManyPriceLists);
        }
        let mut ids: Vec<&ScheduleId> = schedules().flatten().map(|waiting| &waiting.schedule_id).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Rejection::Invalid("every waiting price has an id of its own".to_owned()));
        }
        if prices().flatten().any(|past| past.effective_from > now) {
            return Err(Rejection::Invalid("a price that stood did not begin in the future".to_owned()));
        }
        if self.lock.as_ref().is_some_and(|lock| lock.scopes.is_empty()) {
            return Err(Rejection::NothingToLock);
        }
        self.check_own(create)?;
        for list in &self.lists {
            let currencies = list.prices.iter().filter_map(|past| past.price.as_ref());
            let mut currencies =
                currencies.chain(list.schedules.iter().filter_map(|waiting| waiting.price.as_ref()));
            if currencies.any(|price| price.currency != list.list.currency) {
                return Err(Rejection::Invalid(format!(
                    "the prices of list {} are in its currency",
                    list.list
                )));
            }
        }
        Ok(())
    }

    fn check_own(&self, create: &Create) -> Result<(), Rejection> {
        let ends = self.prices.iter().any(|past| past.price.is_none())
            || self.schedules.iter().any(|waiting| waiting.price.is_none());
        if ends {
            return Err(Rejection::Invalid("only the prices of a list end".to_owned()));
        }
        let price = |new: Option<&NewPrice>| new.map(checked).transpose();
        let last = price(self.prices.last().and_then(|past| past.price.as_ref()))?;
        if last != price(create.price.as_ref())? {
            return Err(Rejection::Invalid(
                "the last price of the history is the variant's price".to_owned(),
            ));
        }
        Ok(())
    }

    /// The price that the variant was created with.
    pub(super) fn first_price(&self, created_at: Timestamp) -> Result<Option<Price>, Rejection> {
        let first = self.prices.first().filter(|first| first.is_of_creation(created_at));
        first.and_then(|first| first.price.as_ref()).map(checked).transpose()
    }

    /// What happened after the creation.
    pub(super) fn events(&self, created_at: Timestamp) -> Result<Vec<Event>, Rejection> {
        let mut events = Vec::new();
        let own = Prices::own(self.first_price(created_at)?, created_at);
        let later = match self.prices.split_first() {
            Some((first, later)) if first.is_of_creation(created_at) => later,
            _ => &self.prices,
        };
        tell(None, own, later, &self.schedules, &mut events)?;
        for PastList { list, prices, schedules } in &self.lists {
            tell(Some(list), Prices::of_list(), prices, schedules, &mut events)?;
        }
        if let Some(PastLock { scopes, reason, until, locked_by }) = self.lock.clone() {
            let mut scopes = scopes;
            scopes.sort_unstable();
            scopes.dedup();
            events.push(Locked { scopes, reason, until, locked_by }.into());
        }
        Ok(events)
    }
}

impl PastPrice {
    fn is_of_creation(&self, created_at: Timestamp) -> bool {
        self.reason.is_none() && self.schedule_id.is_none() && self.effective_from == created_at
    }
}

fn tell(
    list: Option<&PriceList>,
    mut course: Prices,
    past: &[PastPrice],
    waiting: &[WaitingPrice],
    events: &mut Vec<Event>,
) -> Result<(), Rejection> {
    let price = |new: Option<&NewPrice>| new.map(checked).transpose();
    let mut say = |course: &mut Prices, step: Step| {
        course.apply(&step);
        events.push(step.into_event(list));
    };
    for past in past {
        let changed = Changed {
            price: price(past.price.as_ref())?,
            previous: course.price,
            effective_from: past.effective_from,
            effective_to: past.effective_to,
            reason: past.reason.clone().unwrap_or_else(|| Text::new("unknown").expect("a short text")),
            schedule_id: past.schedule_id.clone(),
        };
        say(&mut course, Step::Changed(changed));
    }
    for waiting in waiting {
        let schedule = Schedule {
            schedule_id: waiting.schedule_id.clone(),
            price: price(waiting.price.as_ref())?,
            effective_from: waiting.effective_from,
            effective_to: waiting.effective_to,
            reason: waiting.reason.clone(),
            restores: false,
        };
        say(&mut course, Step::Scheduled(schedule));
    }
    Ok(())
}
