//! Queries of the catalogue.

use std::ops::Bound;

use daybook_schemas::prices::PriceList;
use daybook_schemas::{Currency, Money};
use schemars::JsonSchema;
use serde::Serialize;

use super::prices::{LIST_PRICES, ListView, list_key};
pub use super::timeline::{EffectivePrice, VariantPrices, effective_price, prices, with_all_past};
use super::{VARIANTS, VariantView, indexed_hash};
use crate::model::StoreError;
use crate::rows::{IndexValue, ReadTransaction, Select, decode_view, get_view, select_views};

/// Most variants of one page.
pub const MAX_PAGE: usize = 1_000;

/// The least and the greatest price of a product group in one currency, over the variants that are not archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PriceRange {
    pub currency: Currency,
    pub min: Money,
    pub max: Money,
}

/// The least and the greatest price of a product group on a price list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ListPriceRange {
    pub list: PriceList,
    pub min: Money,
    pub max: Money,
}

/// A variant, with the price range of its product group.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct VariantDetails {
    #[serde(flatten)]
    pub variant: VariantView,
    /// One for each currency, by code; empty if no variant of the group has a price.
    pub price_range: Vec<PriceRange>,
    /// The same on each price list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub list_price_range: Vec<ListPriceRange>,
    /// What the buyer that was asked for gets, at the time that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective_price: Option<EffectivePrice>,
}

/// A page of variants in order of their ids.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct VariantPage {
    pub variants: Vec<VariantView>,
    /// Where the next page starts: give it as `after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A product group as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ProductGroup {
    pub product_group: String,
    /// Variants, archived ones included.
    pub variants: u64,
    pub price_range: Vec<PriceRange>,
    /// The same on each price list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub list_price_range: Vec<ListPriceRange>,
}

/// The variant with this id.
pub fn by_id(rows: &dyn ReadTransaction, id: &str) -> Result<Option<VariantDetails>, StoreError> {
    get_view::<VariantView>(rows, id)?.map(|variant| details(rows, variant)).transpose()
}

/// The variant with this SKU. SKUs are never used twice.
pub fn by_sku(rows: &dyn ReadTransaction, sku: &str) -> Result<Option<VariantDetails>, StoreError> {
    let found = select_views::<VariantView>(rows, &Select::all(&VARIANTS, 1).equal("sku", sku))?;
    found.into_iter().next().map(|(_, variant)| details(rows, variant)).transpose()
}

/// Variants with this configuration: at most one that is not archived.
pub fn by_config_hash(
    rows: &dyn ReadTransaction,
    hash: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<VariantPage, StoreError> {
    let mut page = page(rows, Select::all(&VARIANTS, limit).equal("config_hash", indexed_hash(hash)), after)?;
    // Of a made-up hash that only begins like a real one there is none.
    page.variants.retain(|variant| variant.config_hash == hash);
    Ok(page)
}

/// Variants of a product group.
pub fn by_product_group(
    rows: &dyn ReadTransaction,
    group: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<VariantPage, StoreError> {
    page(rows, Select::all(&VARIANTS, limit).equal("product_group", group), after)
}

/// All variants.
pub fn list(
    rows: &dyn ReadTransaction,
    after: Option<&str>,
    limit: usize,
) -> Result<VariantPage, StoreError> {
    page(rows, Select::all(&VARIANTS, limit), after)
}

/// What two variants must not have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unique {
    Sku,
    ConfigHash,
}

/// All variants in the order of what must be unique, so that those that share it are neighbours; after the last of the page before.
pub fn in_order_of(
    rows: &dyn ReadTransaction,
    unique: Unique,
    after: Option<&VariantView>,
    limit: usize,
) -> Result<Vec<VariantView>, StoreError> {
    let (column, value): (_, fn(&VariantView) -> &str) = match unique {
        Unique::Sku => ("sku", |variant| variant.sku.as_str()),
        Unique::ConfigHash => ("config_hash", |variant| indexed_hash(&variant.config_hash)),
    };
    let after = after.map(|last| vec![value(last).into(), last.variant_id.as_str().into()]);
    let select = Select::all(&VARIANTS, limit).order_by(column).after(after);
    Ok(select_views::<VariantView>(rows, &select)?.into_iter().map(|(_, variant)| variant).collect())
}

fn page(rows: &dyn ReadTransaction, select: Select, after: Option<&str>) -> Result<VariantPage, StoreError> {
    let limit = select.limit.clamp(1, MAX_PAGE);
    let mut select = select.after(after.map(|key| vec![key.into()]));
    select.limit = limit + 1;
    let mut found = select_views::<VariantView>(rows, &select)?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|(key, _)| key.clone());
    Ok(VariantPage { variants: found.into_iter().map(|(_, variant)| variant).collect(), next })
}

/// A product group; `None` if no variant is in it.
pub fn product_group(rows: &dyn ReadTransaction, group: &str) -> Result<Option<ProductGroup>, StoreError> {
    let variants = rows.count(&Select::all(&VARIANTS, 0).equal("product_group", group))?;
    if variants == 0 {
        return Ok(None);
    }
    let price_range = price_range(rows, group)?;
    let list_price_range = list_price_range(rows, group)?;
    Ok(Some(ProductGroup { product_group: group.to_owned(), variants, price_range, list_price_range }))
}

fn details(rows: &dyn ReadTransaction, variant: VariantView) -> Result<VariantDetails, StoreError> {
    let group = variant.product_group.as_str();
    let (price_range, list_price_range) = (price_range(rows, group)?, list_price_range(rows, group)?);
    Ok(VariantDetails { variant, price_range, list_price_range, effective_price: None })
}

/// Two steps in the index for each currency, however many variants the group has.
fn price_range(rows: &dyn ReadTransaction, group: &str) -> Result<Vec<PriceRange>, StoreError> {
    let mut ranges: Vec<PriceRange> = Vec::new();
    loop {
        let from = ranges
            .last()
            .map_or(Bound::Unbounded, |last| Bound::Excluded(IndexValue::from(last.currency.as_str())));
        let cheapest = Select::all(&VARIANTS, 1)
            .equal("priced_group", group)
            .between("currency", from, Bound::Unbounded)
            .order_by("currency")
            .order_by("price_micros");
        let Some(min) = price_of_first(rows, &cheapest)? else {
            return Ok(ranges);
        };
        if ranges.last().is_some_and(|last| last.currency >= min.currency()) {
            return Err(StoreError::Damaged(format!(
                "prices of group {group} are indexed in other currencies"
            )));
        }
        let dearest = Select::all(&VARIANTS, 1)
            .equal("priced_group", group)
            .equal("currency", min.currency().as_str())
            .order_by("price_micros")
            .descending();
        let max = price_of_first(rows, &dearest)?.unwrap_or(min);
        ranges.push(PriceRange { currency: min.currency(), min, max });
    }
}

/// Two steps in the index for each list that has a price in the group.
fn list_price_range(rows: &dyn ReadTransaction, group: &str) -> Result<Vec<ListPriceRange>, StoreError> {
    let mut ranges: Vec<ListPriceRange> = Vec::new();
    loop {
        let from = ranges.last().map_or(Bound::Unbounded, |last| {
            Bound::Excluded(IndexValue::from(list_key(&last.list).as_str()))
        });
        let cheapest = Select::all(&LIST_PRICES, 1)
            .equal("priced_group", group)
            .between("list", from, Bound::Unbounded)
            .order_by("list")
            .order_by("price_micros");
        let Some((list, min)) = list_price_of_first(rows, &cheapest)? else {
            return Ok(ranges);
        };
        let key = list_key(&list);
        if ranges.last().is_some_and(|last| list_key(&last.list) >= key) {
            return Err(StoreError::Damaged(format!("prices of group {group} are indexed on other lists")));
        }
        let dearest = Select::all(&LIST_PRICES, 1)
            .equal("priced_group", group)
            .equal("list", key.as_str())
            .order_by("price_micros")
            .descending();
        let max = list_price_of_first(rows, &dearest)?.map_or(min, |(_, max)| max);
        ranges.push(ListPriceRange { list, min, max });
    }
}

fn list_price_of_first(
    rows: &dyn ReadTransaction,
    select: &Select,
) -> Result<Option<(PriceList, Money)>, StoreError> {
    let Some((key, row)) = select_views::<ListView>(rows, select)?.pop() else {
        return Ok(None);
    };
    let price = row.price.ok_or_else(|| {
        StoreError::Damaged(format!("list {key} is indexed with a price that it does not have"))
    })?;
    Ok(Some((row.list, price.money())))
}

fn price_of_first(rows: &dyn ReadTransaction, select: &Select) -> Result<Option<Money>, StoreError> {
    let Some(row) = rows.select(select)?.pop() else {
        return Ok(None);
    };
    let view: VariantView = decode_view(&row.key, &row.doc)?;
    let price = view.price.ok_or_else(|| {
        StoreError::Damaged(format!("variant {} is indexed with a price that it does not have", row.key))
    })?;
    Ok(Some(price.money()))
}
