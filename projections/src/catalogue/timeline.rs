//! Which price holds when: the effective price of a variant for a buyer, as of any time, past or to come.

use std::ops::Bound;

use daybook_schemas::prices::{PriceList, Prices, Standing, Wanted};
use daybook_schemas::{Timestamp, VariantId};
use schemars::JsonSchema;
use serde::Serialize;

use super::VariantView;
use super::prices::{
    ListView, MAX_PRICE_HISTORY, PAST_PRICES, PastPrice, PriceRecord, ScheduleView, course_key,
};
use crate::amounts::PriceView;
use crate::model::StoreError;
use crate::rows::{ReadTransaction, Select, get_view, select_views};

/// The price that a buyer gets of a variant at a time.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct EffectivePrice {
    pub variant_id: VariantId,
    pub as_of: Timestamp,
    /// Absent: the buyer gets none, in the currency that was asked for or at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceView>,
    /// The list that the price is from; absent: the variant's own price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<PriceList>,
    /// Since when that list, or the variant itself, has this price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective_from: Option<Timestamp>,
    /// When a price that could be this buyer's changes next, as far as is known: until then this one holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_change: Option<Timestamp>,
}

/// Everything about a variant's prices: what stands, the latest 50 that stood, and what is to come.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct VariantPrices {
    pub variant_id: VariantId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceView>,
    pub price_history: Vec<PriceRecord>,
    pub schedules: Vec<ScheduleView>,
    /// By currency, channel and customer group.
    pub lists: Vec<ListView>,
}

/// The variant's own prices and those of its lists; `None` if there is no such variant.
pub fn prices(rows: &dyn ReadTransaction, variant_id: &str) -> Result<Option<VariantPrices>, StoreError> {
    let Some(variant) = get_view::<VariantView>(rows, variant_id)? else { return Ok(None) };
    Ok(Some(VariantPrices {
        lists: lists(rows, &variant)?,
        variant_id: variant.variant_id,
        price: variant.price,
        price_history: variant.price_history,
        schedules: variant.schedules,
    }))
}

/// What a buyer gets at a time; `None` if there is no such variant.
pub fn effective_price(
    rows: &dyn ReadTransaction,
    variant_id: &str,
    wanted: &Wanted,
    at: Timestamp,
) -> Result<Option<EffectivePrice>, StoreError> {
    let Some(variant) = get_view::<VariantView>(rows, variant_id)? else { return Ok(None) };
    let own = standing(rows, &course_key(variant_id, None), &variant.prices(), at)?;
    let mut listed: Vec<(PriceList, Standing)> = Vec::new();
    for row in lists(rows, &variant)?.into_iter().filter(|row| wanted.may_use(&row.list)) {
        let standing = standing(rows, &course_key(variant_id, Some(&row.list)), &row.prices(), at)?;
        listed.push((row.list, standing));
    }
    let of = |list: Option<&PriceList>| -> Standing {
        let found = |list| listed.iter().find(|(known, _)| known == list).map(|(_, standing)| *standing);
        list.map_or(Some(own), found).unwrap_or_default()
    };
    let chosen = wanted.choose(listed.iter().map(|(list, _)| list), |list| of(list).price);
    let next = listed.iter().map(|(_, standing)| standing.next).chain([own.next]).flatten().min();
    Ok(Some(EffectivePrice {
        variant_id: variant.variant_id.clone(),
        as_of: at,
        price: chosen.map(|(_, price)| price.into()),
        list: chosen.and_then(|(list, _)| list.cloned()),
        effective_from: chosen.and_then(|(list, _)| of(list).since),
        next_change: next,
    }))
}

/// Every price that a variant ever had, oldest first: its own, and those of each list; see [`VariantPrices`] for the rest.
pub fn with_all_past(rows: &dyn ReadTransaction, variant: &VariantView) -> Result<VariantPrices, StoreError> {
    let id = variant.variant_id.as_str();
    let whole = |list: Option<&PriceList>, latest: &[PriceRecord]| -> Result<Vec<PriceRecord>, StoreError> {
        let mut all = past(rows, &course_key(id, list), latest)?;
        all.extend_from_slice(latest);
        Ok(all)
    };
    let mut lists = lists(rows, variant)?;
    for row in &mut lists {
        row.price_history = whole(Some(&row.list), &row.price_history)?;
    }
    Ok(VariantPrices {
        variant_id: variant.variant_id.clone(),
        price: variant.price,
        price_history: whole(None, &variant.price_history)?,
        schedules: variant.schedules.clone(),
        lists,
    })
}

/// What the row of a course, whose latest prices are given, has no room for.
fn past(
    rows: &dyn ReadTransaction,
    course: &str,
    latest: &[PriceRecord],
) -> Result<Vec<PriceRecord>, StoreError> {
    const PAGE: usize = 1_000;
    let mut all = Vec::new();
    if latest.len() < MAX_PRICE_HISTORY {
        return Ok(all);
    }
    let mut after = None;
    loop {
        let select = Select::all(&PAST_PRICES, PAGE)
            .equal("course", course)
            .order_by("from_micros")
            .after(after.take());
        let page = select_views::<PastPrice>(rows, &select)?;
        let full = page.len() == PAGE;
        after = page
            .last()
            .map(|(key, row)| vec![row.record.effective_from.as_micros().into(), key.as_str().into()]);
        all.extend(page.into_iter().map(|(_, row)| row.record));
        if !full {
            return Ok(all);
        }
    }
}

fn lists(rows: &dyn ReadTransaction, variant: &VariantView) -> Result<Vec<ListView>, StoreError> {
    let find = |list| get_view::<ListView>(rows, &course_key(variant.variant_id.as_str(), Some(list)));
    variant.price_lists.iter().filter_map(|list| find(list).transpose()).collect()
}

/// What stands at a time on one course. What is older than its row remembers stands in the table of the past.
fn standing(
    rows: &dyn ReadTransaction,
    course: &str,
    prices: &Prices,
    at: Timestamp,
) -> Result<Standing, StoreError> {
    let standing = prices.standing_at(at);
    if standing.since.is_some() || prices.price_history.len() < MAX_PRICE_HISTORY {
        return Ok(standing);
    }
    let all = Select::all(&PAST_PRICES, 1).equal("course", course).order_by("from_micros");
    let until = Bound::Included(at.as_micros().into());
    let before = all.clone().between("from_micros", Bound::Unbounded, until).descending();
    let after = all.between("from_micros", Bound::Excluded(at.as_micros().into()), Bound::Unbounded);
    let first = |select: &Select| -> Result<Option<PriceRecord>, StoreError> {
        Ok(select_views::<PastPrice>(rows, select)?.pop().map(|(_, row)| row.record))
    };
    let (record, next) = (first(&before)?, first(&after)?);
    Ok(Standing {
        price: record.as_ref().and_then(|record| record.price).map(|price| price.price()),
        since: record.map(|record| record.effective_from),
        next: next.map(|next| next.effective_from).or(standing.next),
    })
}
