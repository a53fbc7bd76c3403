//! Queries of master data.

use std::ops::Bound;

use schemars::JsonSchema;
use serde::Serialize;

use super::views::{CATEGORIES, COLORS, SIZES, TYPES, USES, VALUES};
use super::{AttributeTypeView, AttributeValueView, CategoryView, ColorView, SizeView, SlugView};
use crate::model::StoreError;
use crate::rows::{IndexValue, ReadTransaction, Select, View, get_view, select_views};

/// Most rows of one page.
pub const MAX_PAGE: usize = 1_000;

/// A page of master data in order of the ids.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Page<V> {
    pub items: Vec<V>,
    /// Where the next page starts: give it as `cursor`.
    #[serde(rename = "cursor", skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The record with this id.
pub fn by_id<V: View>(rows: &dyn ReadTransaction, id: &str) -> Result<Option<V>, StoreError> {
    get_view::<V>(rows, id)
}

/// The record that a slug leads to, a previous one included. `aggregate`: `color` or `category`.
pub fn by_slug<V: View>(
    rows: &dyn ReadTransaction,
    aggregate: &str,
    slug: &str,
) -> Result<Option<V>, StoreError> {
    match get_view::<SlugView>(rows, &format!("{aggregate}/{slug}"))? {
        Some(found) => get_view::<V>(rows, &found.id),
        None => Ok(None),
    }
}

/// Sizes of a category of goods, smallest first; of all, in order of their ids.
pub fn sizes(
    rows: &dyn ReadTransaction,
    category: Option<&str>,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<SizeView>, StoreError> {
    let Some(category) = category else {
        return page(rows, Select::all(&SIZES, limit), after.map(|key| vec![key.into()]), |_, key| key);
    };
    let select = Select::all(&SIZES, limit).equal("category", category).order_by("rank");
    let after = after.and_then(|text| text.split_once(':')).and_then(|(rank, key)| {
        let rank: i64 = rank.parse().ok()?;
        Some(vec![IndexValue::from(rank), key.into()])
    });
    page(rows, select, after, |size: &SizeView, key| format!("{}:{key}", size.rank))
}

/// Colours, of a family if one is named.
pub fn colors(
    rows: &dyn ReadTransaction,
    family: Option<&str>,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<ColorView>, StoreError> {
    let select = narrowed(Select::all(&COLORS, limit), "family", family);
    page(rows, select, after.map(|key| vec![key.into()]), |_, key| key)
}

/// Attribute types, the one with a code if one is named.
pub fn attribute_types(
    rows: &dyn ReadTransaction,
    code: Option<&str>,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<AttributeTypeView>, StoreError> {
    let select = narrowed(Select::all(&TYPES, limit), "code", code);
    page(rows, select, after.map(|key| vec![key.into()]), |_, key| key)
}

/// Attribute values, of a type if one is named.
pub fn attribute_values(
    rows: &dyn ReadTransaction,
    kind: Option<&str>,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<AttributeValueView>, StoreError> {
    let select = narrowed(Select::all(&VALUES, limit), "type", kind);
    page(rows, select, after.map(|key| vec![key.into()]), |_, key| key)
}

/// Categories: those right below a parent, or all.
pub fn categories(
    rows: &dyn ReadTransaction,
    parent: Option<&str>,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<CategoryView>, StoreError> {
    let select = narrowed(Select::all(&CATEGORIES, limit), "parent", parent);
    page(rows, select, after.map(|key| vec![key.into()]), |_, key| key)
}

/// Everything below a path, in the order of paths: a category stands before what hangs below it.
pub fn subtree(
    rows: &dyn ReadTransaction,
    path: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<CategoryView>, StoreError> {
    // `0` follows `/` in ASCII.
    let (from, to) = (format!("{path}/"), format!("{path}0"));
    let from = Bound::Included(IndexValue::from(from.as_str()));
    let to = Bound::Excluded(IndexValue::from(to.as_str()));
    let select = Select::all(&CATEGORIES, limit).between("path", from, to).order_by("path");
    let after = after
        .and_then(|text| text.rsplit_once(':'))
        .map(|(path, key)| vec![IndexValue::from(path), key.into()]);
    page(rows, select, after, |category: &CategoryView, key| format!("{}:{key}", category.path))
}

/// Variants that use a record, in the order of their ids. `aggregate`: `color`, `size`, `attribute_value` or `category`.
pub fn users(
    rows: &dyn ReadTransaction,
    aggregate: &str,
    id: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<String>, StoreError> {
    let prefix = format!("{aggregate}/{id}/");
    let after = after.map(|variant| vec![IndexValue::from(format!("{prefix}{variant}").as_str())]);
    let select = Select::all(&USES, limit).key_prefix(&prefix).after(after);
    let found = rows.select(&select)?;
    Ok(found.into_iter().map(|row| row.key[prefix.len()..].to_owned()).collect())
}

/// How many variants use a record.
pub fn count_users(rows: &dyn ReadTransaction, aggregate: &str, id: &str) -> Result<u64, StoreError> {
    rows.count(&Select::all(&USES, 0).key_prefix(&format!("{aggregate}/{id}/")))
}

fn narrowed(select: Select, column: &'static str, value: Option<&str>) -> Select {
    match value {
        Some(value) => select.equal(column, value),
        None => select,
    }
}

fn page<V: View>(
    rows: &dyn ReadTransaction,
    select: Select,
    after: Option<Vec<IndexValue>>,
    cursor: impl Fn(&V, String) -> String,
) -> Result<Page<V>, StoreError> {
    let limit = select.limit.clamp(1, MAX_PAGE);
    let mut select = select.after(after);
    select.limit = limit + 1;
    let mut found = select_views::<V>(rows, &select)?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|(key, view)| cursor(view, key.clone()));
    Ok(Page { items: found.into_iter().map(|(_, view)| view).collect(), next })
}
