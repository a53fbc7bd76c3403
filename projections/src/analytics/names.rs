//! What a variant is called in reports.
//!
//! Logs of one history on different backends order streams differently, and reports must not: so the name is that of the order that
//! was placed last, by its own time and then its id, whether or not the order counts, and never of the one that comes last in the log. A
//! variant that was never ordered has the name of the credit that was issued last. Rows are never taken back, since what was
//! seen before they were would be forgotten.

use daybook_schemas::{Label, Sku, Timestamp, VariantId};
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{Movement, group};
use crate::model::{ProjectError, StoreError};
use crate::rows::{ReadTransaction, Rows, TableSpec, View, get_view};

pub(crate) static NAMES: TableSpec = TableSpec::plain("names");

/// What a variant is called, by its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRow {
    pub sku: Sku,
    pub name: Label,
    /// Whether an order says so. What orders say goes before what credits say.
    pub ordered: bool,
    /// When it was ordered or credited.
    pub at: Timestamp,
    /// The id of the order or credit.
    pub source: SmolStr,
}

impl View for NameRow {
    const TABLE: &'static TableSpec = &NAMES;
}

impl NameRow {
    fn standing(&self) -> (bool, Timestamp, &str) {
        (self.ordered, self.at, self.source.as_str())
    }
}

/// Notes the names that an order or a credit gives its variants. An order's refunds say nothing that its placing did not.
pub(crate) fn note(movement: &Movement, rows: &mut Rows<'_>) -> Result<(), ProjectError> {
    match movement {
        Movement::Order { order_id, facts, sign } if *sign > 0 => {
            for part in group(&facts.lines, |line| &line.variant_id) {
                let line = part.first;
                let row = NameRow {
                    sku: line.sku.clone(),
                    name: line.name.clone(),
                    ordered: true,
                    at: facts.placed_at,
                    source: order_id.clone(),
                };
                keep_latest(&line.variant_id, row, rows)?;
            }
        }
        Movement::Refund(refund) => {
            let Some(credit) = &refund.credit_id else { return Ok(()) };
            for part in &refund.of {
                let row = NameRow {
                    sku: part.sku.clone(),
                    name: part.name.clone(),
                    ordered: false,
                    at: refund.at,
                    source: credit.clone(),
                };
                keep_latest(&part.variant_id, row, rows)?;
            }
        }
        Movement::Order { .. } => {}
    }
    Ok(())
}

fn keep_latest(variant: &VariantId, new: NameRow, rows: &mut Rows<'_>) -> Result<(), ProjectError> {
    rows.fold(variant.as_str(), |row: Option<NameRow>| {
        Ok(Some(match row {
            Some(row) if row.standing() > new.standing() => row,
            _ => new,
        }))
    })
}

/// SKU and name of a variant; the id for both where a row was lost, until a repair.
pub(crate) fn name_of(rows: &dyn ReadTransaction, variant_id: &str) -> Result<(String, String), StoreError> {
    let row: Option<NameRow> = get_view(rows, variant_id)?;
    Ok(row.map_or_else(
        || (variant_id.to_owned(), variant_id.to_owned()),
        |row| (row.sku.to_string(), row.name.to_string()),
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use daybook_eventlog::Filter;
    use daybook_schemas::AnyEvent;
    use proptest::prelude::*;

    use crate::analytics::Period;
    use crate::products::Products;
    use crate::sales::Sales;
    use crate::sales::query::report;
    use crate::testing::World;
    use crate::testing::orders::{credited, happenings, live, paid, placed, refunded};

    /// A log of the same streams, in another order one among another: each pick takes the next event of one of them.
    fn interleaved(world: &World, picks: &[u8]) -> World {
        use daybook_eventlog::EventLog;
        let everything = Filter::default();
        let all = world.log.read_all(0, &everything, 10_000, 64 << 20);
        let mut streams: BTreeMap<String, Vec<AnyEvent>> = BTreeMap::new();
        for event in world.runtime.block_on(all).unwrap().events {
            let decoded = AnyEvent::decode(event.event_type(), event.version, event.data()).unwrap();
            streams.entry(event.stream().to_owned()).or_default().insert(0, decoded);
        }
        let other = World::new();
        let mut picks = picks.iter().copied().chain(std::iter::repeat(0));
        while !streams.is_empty() {
            let at = usize::from(picks.next().unwrap()) % streams.len();
            let stream = streams.keys().nth(at).unwrap().clone();
            let events = streams.get_mut(&stream).unwrap();
            other.append(&stream, events.pop().unwrap());
            if events.is_empty() {
                streams.remove(&stream);
            }
        }
        assert_eq!(other.head(), world.head());
        other
    }

    fn name(world: &World, period: &str) -> String {
        let rows = world.project(|| Sales).reader;
        let rows = rows.begin().unwrap();
        report(&*rows, &Period::parse(period).unwrap(), None).unwrap().top_products[0].name.clone()
    }

    #[test]
    fn the_order_that_was_placed_last_names_a_variant_wherever_it_is_in_the_log() {
        let world = World::new();
        let place = |id: &str, at: &str| {
            world.append(
                &format!("order-{id}"),
                placed(id, None, None, "card", at, &[("v1", "Toys", 1, 100)]),
            );
        };
        world.append("credit-k1", credited("k1", None, "v1", 100, "2012-06-01T00:00:00Z"));
        place("late", "2011-11-05T00:00:00Z");
        place("early", "2011-11-04T00:00:00Z");
        place("equal", "2011-11-05T00:00:00Z");
        world.append("order-early", paid(100, "2011-11-04T00:00:00Z"));
        world.append("order-early", refunded("f", "2012-01-01T00:00:00Z", &[(1, 1, 100)]));
        assert_eq!(
            [name(&world, "2011-11-04"), name(&world, "all")],
            ["Thing v1 of late", "Thing v1 of late"]
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn however_a_log_orders_the_streams_the_rows_are_the_same(
            happenings in happenings(),
            picks in proptest::collection::vec(any::<u8>(), 0..120),
        ) {
            let world = World::new();
            live(&world, &happenings);
            let other = interleaved(&world, &picks);
            prop_assert_eq!(world.project(|| Sales).dump(), other.project(|| Sales).dump());
            prop_assert_eq!(world.project(|| Products).dump(), other.project(|| Products).dump());
        }
    }
}
