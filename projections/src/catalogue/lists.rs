//! The rows of price lists follow their variant.

use daybook_eventlog::RecordedEvent;
use daybook_schemas::prices::{Changed, PriceList, Schedule};
use daybook_schemas::variant::Event;

use super::VariantView;
use super::prices::{ListView, PastPrice, PriceRecord, course_key};
use crate::model::ProjectError;
use crate::rows::Rows;
use crate::streams;

/// Folds an event into the rows of the lists that it concerns. The variant's own row has taken it in already.
pub(super) fn follow(
    variant_id: &str,
    event: &Event,
    recorded: &RecordedEvent,
    rows: &mut Rows<'_>,
) -> Result<(), ProjectError> {
    match event {
        Event::ListPriceChanged(event) => {
            let mut past = None;
            change(variant_id, &event.list, recorded, rows, |row| {
                past = row.course().change(Changed::from(event));
            })?;
            keep_past(&course_key(variant_id, Some(&event.list)), past, recorded, rows)
        }
        Event::ListPriceScheduled(event) => change(variant_id, &event.list, recorded, rows, |row| {
            row.course().schedule(Schedule::from(event));
        }),
        Event::PriceScheduleCancelled(event) => {
            for list in lists(variant_id, rows)? {
                let row = rows.get::<ListView>(&course_key(variant_id, Some(&list)))?;
                let waits =
                    |row: &ListView| row.schedules.iter().any(|other| other.schedule_id == event.schedule_id);
                if row.is_some_and(waits) {
                    change(variant_id, &list, recorded, rows, |row| row.course().cancel(&event.schedule_id))?;
                }
            }
            Ok(())
        }
        Event::DetailsChanged(event) => {
            let Some(group) = &event.product_group else { return Ok(()) };
            change_all(variant_id, recorded, rows, |row| row.product_group = group.clone())
        }
        Event::Archived(_) => change_all(variant_id, recorded, rows, |row| {
            row.archived = true;
            row.schedules.clear();
        }),
        Event::Created(_)
        | Event::PriceChanged(_)
        | Event::PriceScheduled(_)
        | Event::SegmentationChanged(_)
        | Event::Locked(_)
        | Event::Unlocked(_)
        | Event::Submitted(_)
        | Event::Rejected(_)
        | Event::Activated(_)
        | Event::Matured(_)
        | Event::Cleared(_)
        | Event::Discontinued(_)
        | Event::Reactivated(_)
        | Event::ReferencesBound(_)
        | Event::AttributeRefreshed(_) => Ok(()),
    }
}

/// Keeps a price that its row has no room for any more. Each event pushes out one at most, so its revision tells them apart.
pub(super) fn keep_past(
    course: &str,
    past: Option<PriceRecord>,
    recorded: &RecordedEvent,
    rows: &mut Rows<'_>,
) -> Result<(), ProjectError> {
    let Some(record) = past else { return Ok(()) };
    let row = PastPrice { course: course.to_owned(), record };
    Ok(rows.put(&format!("{course}/{:020}", recorded.revision), Some(row))?)
}

fn lists(variant_id: &str, rows: &mut Rows<'_>) -> Result<Vec<PriceList>, ProjectError> {
    Ok(rows.get::<VariantView>(variant_id)?.map(|view| view.price_lists.clone()).unwrap_or_default())
}

fn change(
    variant_id: &str,
    list: &PriceList,
    recorded: &RecordedEvent,
    rows: &mut Rows<'_>,
    change: impl FnOnce(&mut ListView),
) -> Result<(), ProjectError> {
    let variant = rows.get::<VariantView>(variant_id)?.ok_or_else(|| streams::nothing_there(recorded))?;
    let new = ListView::new(&variant.variant_id, &variant.product_group, list);
    rows.fold(&course_key(variant_id, Some(list)), |row| {
        let mut row = row.unwrap_or(new);
        change(&mut row);
        Ok(Some(row))
    })
}

fn change_all(
    variant_id: &str,
    recorded: &RecordedEvent,
    rows: &mut Rows<'_>,
    mut each: impl FnMut(&mut ListView),
) -> Result<(), ProjectError> {
    for list in lists(variant_id, rows)? {
        change(variant_id, &list, recorded, rows, &mut each)?;
    }
    Ok(())
}
