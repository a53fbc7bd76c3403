//! [`Select`] as SQL, for every engine.

use std::fmt::Write;
use std::ops::Bound;

use super::spec::{IndexValue, KeyKind, TableSpec};
use super::store::{KEY, Select};
use crate::model::StoreError;

/// In what two engines' SQL differs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect {
    /// What comes before a parameter's number.
    pub(super) mark: char,
    /// Says where nulls stand, for an engine that does not have them first in ascending order by itself.
    pub(super) nulls: Option<Nulls>,
}

/// What follows a column in the order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nulls {
    pub(super) ascending: &'static str,
    pub(super) descending: &'static str,
}

/// A key as it is stored.
pub(super) fn stored_key(table: &TableSpec, key: &str) -> Result<IndexValue, StoreError> {
    match table.key {
        KeyKind::Text => Ok(key.into()),
        KeyKind::Position => key.parse().map(IndexValue::Integer).map_err(|_| {
            StoreError::Damaged(format!("{key:?} is no key of table {}: keys are positions", table.name))
        }),
    }
}

/// A query as SQL with its parameters, without order and limit. `columns` is what is selected, `from` the table's name.
pub(super) fn select_sql(
    select: &Select,
    columns: &str,
    from: &str,
    dialect: Dialect,
) -> Result<(String, Vec<IndexValue>), StoreError> {
    let table = select.table;
    let mut parameters = Vec::new();
    let mut conditions: Vec<String> = Vec::new();
    let mut mark = |column: &str, value: &IndexValue| -> Result<String, StoreError> {
        let stored = match (column, value) {
            // Compares with nothing, of whatever type.
            (_, IndexValue::Null) => return Ok("NULL".to_owned()),
            (KEY, IndexValue::Text(key)) => stored_key(table, key)?,
            _ => value.clone(),
        };
        parameters.push(stored);
        Ok(format!("{}{}", dialect.mark, parameters.len()))
    };
    for (column, value) in &select.equals {
        conditions.push(format!("{column} = {}", mark(column, value)?));
    }
    if let Some((column, from, to)) = &select.range {
        for (bound, included, excluded) in [(from, ">=", ">"), (to, "<=", "<")] {
            match bound {
                Bound::Included(value) => {
                    conditions.push(format!("{column} {included} {}", mark(column, value)?))
                }
                Bound::Excluded(value) => {
                    conditions.push(format!("{column} {excluded} {}", mark(column, value)?))
                }
                Bound::Unbounded => {}
            }
        }
    }
    if let Some(after) = &select.after {
        let mut marks = Vec::with_capacity(after.len());
        let names: Vec<&str> = select.order.iter().copied().chain([KEY]).collect();
        for (name, value) in names.iter().zip(after) {
            marks.push(mark(name, value)?);
        }
        let operator = if select.descending { "<" } else { ">" };
        conditions.push(format!("({}) {operator} ({})", names.join(", "), marks.join(", ")));
    }
    let mut sql = format!("SELECT {columns} FROM {from}");
    if !conditions.is_empty() {
        write!(sql, " WHERE {}", conditions.join(" AND ")).expect("a String takes every write");
    }
    Ok((sql, parameters))
}

/// The order and limit of a query.
pub(super) fn order_sql(select: &Select, dialect: Dialect) -> String {
    let direction = if select.descending { " DESC" } else { "" };
    let nulls =
        dialect.nulls.map_or("", |nulls| if select.descending { nulls.descending } else { nulls.ascending });
    let mut order = String::new();
    for name in &select.order {
        write!(order, "{name}{direction}{nulls}, ").expect("a String takes every write");
    }
    format!(" ORDER BY {order}{KEY}{direction} LIMIT {}", select.limit)
}
