//! Queries of master data.

use std::ops::Bound;

use daybook_schemas::master::Lifecycle;
use schemars::JsonSchema;
use serde::Serialize;

use super::views::{CATEGORIES, COLORS, Governance, SIZES, TYPES, USES, VALUES};
use super::{AttributeTypeView, AttributeValueView, CategoryView, ColorView, SizeView, SlugView};
use crate::model::StoreError;
use crate::rows::store::KEY;
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

/// Variants that use a record, in the order of their ids. `aggregate`: `color`, `size`, `attribute_value`, `category` or `attribute_type`.
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

/// How often a record is used: as it says itself, and as those say that use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// `color`, `size`, `attribute_value`, `category` or `attribute_type`.
    pub aggregate: &'static str,
    pub id: String,
    /// What the record says, and at which revision. `None`: there is no such record.
    pub said: Option<(u64, u64)>,
    /// Variants bound to it; of an attribute type, its values that are not archived as well.
    pub users: u64,
}

/// Every record, and every name that a variant is bound to without there being a record.
pub fn usages(rows: &dyn ReadTransaction, each: &mut dyn FnMut(Usage)) -> Result<(), StoreError> {
    recorded::<ColorView>(rows, "color", |own| &own.governance, each)?;
    recorded::<SizeView>(rows, "size", |own| &own.governance, each)?;
    recorded::<AttributeValueView>(rows, "attribute_value", |own| &own.governance, each)?;
    recorded::<CategoryView>(rows, "category", |own| &own.governance, each)?;
    each_record::<AttributeTypeView>(rows, &mut |id, of| {
        let mut users = count_users(rows, "attribute_type", &id)?;
        let mut after = None;
        loop {
            let values = attribute_values(rows, Some(of.code.as_str()), after.as_deref(), MAX_PAGE)?;
            let alive = |value: &&AttributeValueView| value.governance.lifecycle != Lifecycle::Archived;
            users += values.items.iter().filter(alive).count() as u64;
            match values.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let said = Some((of.governance.in_use, of.governance.revision));
        each(Usage { aggregate: "attribute_type", id, said, users });
        Ok(())
    })?;
    orphans(rows, each)
}

fn recorded<V: View>(
    rows: &dyn ReadTransaction,
    aggregate: &'static str,
    governance: impl Fn(&V) -> &Governance,
    each: &mut dyn FnMut(Usage),
) -> Result<(), StoreError> {
    each_record::<V>(rows, &mut |id, view| {
        let users = count_users(rows, aggregate, &id)?;
        let governance = governance(&view);
        each(Usage { aggregate, id, said: Some((governance.in_use, governance.revision)), users });
        Ok(())
    })
}

fn each_record<V: View>(
    rows: &dyn ReadTransaction,
    each: &mut dyn FnMut(String, V) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut after: Option<String> = None;
    loop {
        let select = Select::all(V::TABLE, MAX_PAGE).after(after.map(|key| vec![key.as_str().into()]));
        let found = select_views::<V>(rows, &select)?;
        let Some((last, _)) = found.last() else { return Ok(()) };
        after = Some(last.clone());
        for (key, view) in found {
            each(key, view)?;
        }
    }
}

/// One step in the index for each name that is used, however many use it.
fn orphans(rows: &dyn ReadTransaction, each: &mut dyn FnMut(Usage)) -> Result<(), StoreError> {
    let mut from = Bound::Unbounded;
    loop {
        let next = Select::all(&USES, 1).between(KEY, from, Bound::Unbounded);
        let Some(found) = rows.select(&next)?.pop() else { return Ok(()) };
        let mut parts = found.key.splitn(3, '/');
        let (Some(kind), Some(id)) = (parts.next(), parts.next()) else {
            return Err(StoreError::Damaged(format!("a use has the key {:?}", found.key)));
        };
        let (aggregate, table) = match kind {
            "color" => ("color", &COLORS),
            "size" => ("size", &SIZES),
            "attribute_value" => ("attribute_value", &VALUES),
            "category" => ("category", &CATEGORIES),
            "attribute_type" => ("attribute_type", &TYPES),
            other => {
                return Err(StoreError::Damaged(format!("{other:?} is no master data that variants use")));
            }
        };
        if rows.get(table, id)?.is_none() {
            let users = count_users(rows, aggregate, id)?;
            each(Usage { aggregate, id: id.to_owned(), said: None, users });
        }
        // `0` follows `/` in ASCII.
        from = Bound::Included(IndexValue::from(format!("{kind}/{id}0").as_str()));
    }
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
