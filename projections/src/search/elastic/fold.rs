//! The events that wait for one variant, folded into its two rows.

use daybook_eventlog::Position;
use daybook_schemas::{VariantId, inventory, variant};

use super::super::document::{
    Counter, Misfit, SearchDocument, fold_inventory, fold_variant, popularity_bucket,
};
use super::super::schema::to_json;
use super::super::store::parse;
use super::control::EventRef;
use crate::model::{DeadLetter, StoreError};

/// An event that waits for the next commit.
pub(super) struct Touch {
    pub(super) event: EventRef,
    pub(super) change: Change,
}

/// What it does to a variant's rows.
pub(super) enum Change {
    Variant(Box<variant::Event>),
    Inventory(Box<inventory::Event>),
    /// Units ordered.
    Sold(u64),
    /// Given up for good: its revision counts as seen.
    PassedOver {
        /// Of the variant's own stream, or of its inventory's.
        variant: bool,
    },
}

/// The texts of the rows that changed, and the events that did not fit.
#[derive(Default)]
pub(super) struct Folded {
    pub(super) document: Option<String>,
    pub(super) counter: Option<String>,
    pub(super) parked: Vec<DeadLetter>,
}

/// Folds. [`StoreError::Damaged`]: a row is not readable, or an event is missing.
pub(super) fn fold(
    id: &VariantId,
    document: Option<&str>,
    counter: Option<&str>,
    touches: &[Touch],
) -> Result<Folded, StoreError> {
    let before: Option<SearchDocument> = document.map(parse).transpose()?;
    let units_before = counter.map(parse::<Counter>).transpose()?.map_or(0, |counter| counter.units);
    let mut folded = Folded::default();
    let mut after = before.clone();
    let mut units = units_before;
    for Touch { event, change } in touches {
        if let Some(first) = first_parked(&folded.parked, &event.stream) {
            let reason = format!("waits behind the event at position {first}");
            folded.parked.push(event.letter(reason, true));
            continue;
        }
        match change {
            Change::Sold(quantity) => units = units.saturating_add(*quantity),
            Change::PassedOver { variant } => {
                let row = after.get_or_insert_with(|| SearchDocument::stub(id.clone()));
                let seen = if *variant { &mut row.variant_revision } else { &mut row.inventory_revision };
                *seen = event.revision;
            }
            Change::Variant(inner) => match fold_variant(after.clone(), id, inner, event.revision) {
                Ok(row) => after = Some(row),
                Err(misfit) => folded.parked.push(misplaced(event, misfit)?),
            },
            Change::Inventory(inner) => match fold_inventory(after.clone(), id, inner, event.revision) {
                Ok(Some(row)) => after = Some(row),
                Ok(None) => {}
                Err(misfit) => folded.parked.push(misplaced(event, misfit)?),
            },
        }
    }
    let popularity = popularity_bucket(units);
    if after.as_ref().map_or(0, |row| row.popularity) != popularity {
        after.get_or_insert_with(|| SearchDocument::stub(id.clone())).popularity = popularity;
    }
    if after != before {
        folded.document = after.as_ref().map(to_json);
    }
    if units != units_before {
        folded.counter = Some(to_json(&Counter { variant_id: id.clone(), units }));
    }
    Ok(folded)
}

fn first_parked(parked: &[DeadLetter], stream: &str) -> Option<Position> {
    parked.iter().find(|letter| letter.stream == stream).map(|letter| letter.position)
}

fn misplaced(event: &EventRef, misfit: Misfit) -> Result<DeadLetter, StoreError> {
    let stream = &event.stream;
    match misfit {
        Misfit::Gap { from, to } => Err(StoreError::Damaged(format!(
            "stream {stream} went from revision {from} to {to}: an event is missing"
        ))),
        Misfit::Impossible(why) => Ok(event.letter(format!("{stream}: {why}"), false)),
    }
}
