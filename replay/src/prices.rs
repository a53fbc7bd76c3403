//! The price that a buyer gets as of a time, from the variant's stream alone: however long ago, with no read model at hand.

use std::collections::BTreeMap;

use daybook_eventlog::{EventLog, StreamId};
use daybook_projections::catalogue::query::EffectivePrice;
use daybook_schemas::prices::{PriceList, PricePoint, Prices, Standing, Step, Wanted};
use daybook_schemas::variant::Event;
use daybook_schemas::{AnyEvent, Timestamp, VariantId};

use crate::time_travel::StateError;

const PAGE: usize = 4_096;

/// The price that holds for a buyer at a time, past or to come, as the stream now has it.
pub async fn effective(
    log: &dyn EventLog,
    variant_id: &VariantId,
    wanted: &Wanted,
    at: Timestamp,
) -> Result<EffectivePrice, StateError> {
    let courses = courses(log, variant_id).await?;
    let standings: BTreeMap<Option<&PriceList>, Standing> = courses
        .iter()
        .filter(|(list, _)| list.as_ref().is_none_or(|list| wanted.may_use(list)))
        .map(|(list, course)| (list.as_ref(), course.standing_at(at)))
        .collect();
    let of = |list: Option<&PriceList>| standings.get(&list).copied().unwrap_or_default();
    let chosen = wanted.choose(standings.keys().copied().flatten(), |list| of(list).price);
    Ok(EffectivePrice {
        variant_id: variant_id.clone(),
        as_of: at,
        price: chosen.map(|(_, price)| price.into()),
        list: chosen.and_then(|(list, _)| list.cloned()),
        effective_from: chosen.and_then(|(list, _)| of(list).since),
        next_change: standings.values().filter_map(|standing| standing.next).min(),
    })
}

/// Everything that the stream says of one price.
#[derive(Default)]
struct Course {
    prices: Prices,
    /// Every price that ever stood; `prices` remembers the last ones only.
    points: Vec<PricePoint>,
}

impl Course {
    fn take(&mut self, step: &Step) {
        self.prices.apply(step);
        if let Step::Changed(changed) = step {
            self.points.push(PricePoint { price: changed.price, effective_from: changed.effective_from });
        }
    }

    fn standing_at(&self, at: Timestamp) -> Standing {
        let whole = Prices { price_history: self.points.iter().copied().collect(), ..self.prices.clone() };
        whole.standing_at(at)
    }
}

/// The course of the variant's own price (`None`) and of each list's.
async fn courses(
    log: &dyn EventLog,
    variant_id: &VariantId,
) -> Result<BTreeMap<Option<PriceList>, Course>, StateError> {
    let stream =
        StreamId::new(format!("variant-{variant_id}")).map_err(|_| StateError::Id(variant_id.to_string()))?;
    let mut courses = BTreeMap::new();
    let mut from = 1;
    loop {
        let page = log.read_stream(&stream, from, PAGE).await?;
        for event in &page {
            let (name, revision) = (stream.to_string(), event.revision);
            let decoded = AnyEvent::decode(event.event_type(), event.version, event.data())
                .map_err(|source| StateError::Decode { stream: name.clone(), revision, source })?;
            let AnyEvent::Variant(event) = decoded else {
                return Err(StateError::Foreign { stream: name, revision });
            };
            fold(&mut courses, &event);
        }
        if page.len() < PAGE {
            break;
        }
        from += PAGE as u64;
    }
    if courses.is_empty() {
        return Err(StateError::NotFound { aggregate: "variant".to_owned(), id: variant_id.to_string() });
    }
    Ok(courses)
}

fn fold(courses: &mut BTreeMap<Option<PriceList>, Course>, event: &Event) {
    let list_course = || Course { prices: Prices::of_list(), points: Vec::new() };
    match event {
        Event::Created(created) => {
            let prices = Prices::own(created.price, created.created_at);
            let points = prices.price_history.iter().copied().collect();
            courses.insert(None, Course { prices, points });
        }
        Event::PriceChanged(event) => courses.entry(None).or_default().take(&event.into()),
        Event::PriceScheduled(event) => courses.entry(None).or_default().take(&event.into()),
        Event::ListPriceChanged(event) => {
            courses.entry(Some(event.list.clone())).or_insert_with(list_course).take(&event.into());
        }
        Event::ListPriceScheduled(event) => {
            courses.entry(Some(event.list.clone())).or_insert_with(list_course).take(&event.into());
        }
        Event::PriceScheduleCancelled(event) => {
            courses.values_mut().for_each(|course| course.take(&event.into()));
        }
        Event::Archived(_) => courses.values_mut().for_each(|course| course.prices.schedules.clear()),
        _ => {}
    }
}
