//! The catalogue as rows: what `import` takes.

use std::io::Write;

use daybook_projections::amounts::PriceView;
use daybook_projections::catalogue::query::{self, VariantPrices};
use daybook_projections::catalogue::{ListView, LockView, PriceRecord, ScheduleView, VariantView};
use daybook_projections::model::StoreError;
use daybook_projections::rows::RowReader;
use daybook_schemas::prices::PriceList;
use daybook_schemas::variant::{AttributeSnapshot, Lifecycle, LockScope};
use daybook_schemas::{Label, ProductId, ScheduleId, Sku, Text, Timestamp, Token, VariantId};
use serde::Serialize;

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Exported {
    pub rows: u64,
    /// Archived variants, which nothing can bring back.
    pub archived: u64,
}

/// Why an export stopped.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the rows could not be written")]
    Write(#[from] std::io::Error),
}

/// Writes every variant that is not archived as a line of NDJSON, in the order of ids: its fields, price and state as they are now,
/// and in `history` its past and waiting prices, those of its lists, and its lock, where there is any of these.
/// What a row does not say: that the value of an attribute was registered.
pub fn export(
    rows: &dyn RowReader,
    out: &mut dyn Write,
    mut progress: impl FnMut(u64),
) -> Result<Exported, ExportError> {
    let transaction = rows.begin()?;
    let mut exported = Exported::default();
    let mut after: Option<String> = None;
    loop {
        let page = query::list(&*transaction, after.as_deref(), query::MAX_PAGE)?;
        for variant in &page.variants {
            if variant.lifecycle == Lifecycle::Archived {
                exported.archived += 1;
                continue;
            }
            let prices = query::with_all_past(&*transaction, variant)?;
            let line = line(variant, History::of(variant, &prices));
            serde_json::to_writer(&mut *out, &line).map_err(std::io::Error::from)?;
            out.write_all(b"\n")?;
            exported.rows += 1;
        }
        progress(exported.rows);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(exported),
        }
    }
}

#[derive(Serialize)]
struct Row<'a> {
    aggregate: &'static str,
    id: &'a VariantId,
    command: &'static str,
    data: Data<'a>,
}

/// The body of `variant/create`.
#[derive(Serialize)]
struct Data<'a> {
    product_id: &'a ProductId,
    product_group: &'a Label,
    name: &'a Label,
    brand: &'a Label,
    category: &'a Label,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a Text>,
    attributes: &'a [AttributeSnapshot],
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<&'a PriceView>,
    sku: Manual<'a>,
    channels: &'a [Token],
    regions: &'a [Token],
    lifecycle: Lifecycle,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<History<'a>>,
}

/// The field `history` of `variant/create`.
#[derive(Serialize)]
struct History<'a> {
    prices: &'a [PriceRecord],
    schedules: Vec<Waiting<'a>>,
    lists: Vec<List<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lock: Option<Lock<'a>>,
}

#[derive(Serialize)]
struct List<'a> {
    list: &'a PriceList,
    prices: &'a [PriceRecord],
    schedules: Vec<Waiting<'a>>,
}

#[derive(Serialize)]
struct Waiting<'a> {
    schedule_id: &'a ScheduleId,
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<PriceView>,
    effective_from: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_to: Option<Timestamp>,
    reason: &'a Text,
}

#[derive(Serialize)]
struct Lock<'a> {
    scopes: &'a [LockScope],
    reason: &'a Text,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locked_by: Option<&'a Label>,
}

impl<'a> History<'a> {
    /// `None`: the variant has the price that it was created with, and nothing else to tell.
    fn of(variant: &'a VariantView, prices: &'a VariantPrices) -> Option<Self> {
        let later = |record: &PriceRecord| record.reason.is_some();
        let quiet = !prices.price_history.iter().any(later) && prices.schedules.is_empty();
        if quiet && prices.lists.is_empty() && variant.locks.is_empty() {
            return None;
        }
        let list = |row: &'a ListView| List {
            list: &row.list,
            prices: &row.price_history,
            schedules: waiting(&row.schedules),
        };
        let lock = |lock: &'a LockView| Lock {
            scopes: &lock.scopes,
            reason: &lock.reason,
            until: lock.until,
            locked_by: lock.locked_by.as_ref(),
        };
        Some(Self {
            prices: &prices.price_history,
            schedules: waiting(&prices.schedules),
            lists: prices.lists.iter().map(list).collect(),
            lock: variant.locks.first().map(lock),
        })
    }
}

/// The return of a temporary price comes first among those of one time: it is known by following its price at once.
fn waiting(schedules: &[ScheduleView]) -> Vec<Waiting<'_>> {
    let mut sorted: Vec<&ScheduleView> = schedules.iter().collect();
    sorted.sort_by_key(|schedule| (schedule.effective_from, !schedule.restores));
    sorted
        .into_iter()
        .map(|schedule| Waiting {
            schedule_id: &schedule.schedule_id,
            price: schedule.price,
            effective_from: schedule.effective_from,
            effective_to: schedule.effective_to,
            reason: &schedule.reason,
        })
        .collect()
}

#[derive(Serialize)]
struct Manual<'a> {
    strategy: &'static str,
    value: &'a Sku,
}

fn line<'a>(variant: &'a VariantView, history: Option<History<'a>>) -> Row<'a> {
    let data = Data {
        product_id: &variant.product_id,
        product_group: &variant.product_group,
        name: &variant.name,
        brand: &variant.brand,
        category: &variant.category,
        description: variant.description.as_ref(),
        attributes: &variant.attributes,
        price: variant.price.as_ref(),
        sku: Manual { strategy: "manual", value: &variant.sku },
        channels: &variant.channels,
        regions: &variant.regions,
        lifecycle: variant.lifecycle,
        created_at: variant.created_at,
        history,
    };
    Row { aggregate: "variant", id: &variant.variant_id, command: "create", data }
}
