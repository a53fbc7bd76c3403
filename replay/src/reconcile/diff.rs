//! The merge of two sorted row streams. Memory: a page of each, and what differs.

use std::cmp::Ordering;

use daybook_projections::model::{RowAccess, RowKey, StoreError};
use daybook_schemas::operations::DriftKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const PAGE: usize = 1_024;
/// Differences listed with their contents; further ones are counted, and repaired all the same.
const MAX_LISTED: usize = 1_000;

/// A row that differs from what the log gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// `{table}/{key}`.
    pub key: String,
    pub kind: DriftKind,
    /// What the log gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Value>,
    /// What the read model has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual: Option<Value>,
}

/// Everything that differs.
#[derive(Debug, Default)]
pub(crate) struct Differences {
    /// Rows that the log gives.
    pub(crate) rows: u64,
    pub(crate) listed: Vec<Difference>,
    pub(crate) more: u64,
    /// Every differing row.
    pub(crate) keys: Vec<(RowKey, DriftKind)>,
}

/// A row's name as reports show it.
pub(crate) fn shown(key: &RowKey) -> String {
    format!("{}/{}", key.table, key.key)
}

/// Compares two snapshots at one position.
pub(crate) fn compare(expected: &dyn RowAccess, actual: &dyn RowAccess) -> Result<Differences, StoreError> {
    assert_eq!(expected.checkpoint(), actual.checkpoint(), "a diff is of two snapshots at one position");
    let mut found = Differences::default();
    for table in expected.tables() {
        compare_table(table, expected, actual, &mut found)?;
    }
    Ok(found)
}

fn compare_table(
    table: &'static str,
    expected: &dyn RowAccess,
    actual: &dyn RowAccess,
    found: &mut Differences,
) -> Result<(), StoreError> {
    let mut left = Cursor::new(table, expected)?;
    let mut right = Cursor::new(table, actual)?;
    loop {
        let order = match (left.row(), right.row()) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((left, _)), Some((right, _))) => left.as_bytes().cmp(right.as_bytes()),
        };
        match order {
            Ordering::Less => {
                let (key, row) = left.take()?;
                found.rows += 1;
                found.push(table, key, DriftKind::Missing, Some(&row), None);
            }
            Ordering::Greater => {
                let (key, row) = right.take()?;
                found.push(table, key, DriftKind::Extra, None, Some(&row));
            }
            Ordering::Equal => {
                let (key, wanted) = left.take()?;
                let (_, row) = right.take()?;
                found.rows += 1;
                // The same key again: the read model has the row twice, whatever the copies say.
                let twice = right.row().is_some_and(|(next, _)| *next == key);
                while right.row().is_some_and(|(next, _)| *next == key) {
                    right.take()?;
                }
                if twice || wanted != row {
                    found.push(table, key, DriftKind::Changed, Some(&wanted), Some(&row));
                }
            }
        }
    }
}

impl Differences {
    fn push(
        &mut self,
        table: &'static str,
        key: String,
        kind: DriftKind,
        expected: Option<&[u8]>,
        actual: Option<&[u8]>,
    ) {
        let key = RowKey { table, key };
        if self.listed.len() < MAX_LISTED {
            // A damaged row may be no JSON at all; then its text is shown.
            let value = |bytes: &[u8]| {
                serde_json::from_slice(bytes)
                    .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
            };
            self.listed.push(Difference {
                key: shown(&key),
                kind,
                expected: expected.map(value),
                actual: actual.map(value),
            });
        } else {
            self.more += 1;
        }
        self.keys.push((key, kind));
    }
}

/// Walks a table page by page.
struct Cursor<'a> {
    table: &'static str,
    rows: &'a dyn RowAccess,
    page: std::vec::IntoIter<(String, Vec<u8>)>,
    current: Option<(String, Vec<u8>)>,
    last: Option<String>,
    ended: bool,
}

impl<'a> Cursor<'a> {
    fn new(table: &'static str, rows: &'a dyn RowAccess) -> Result<Self, StoreError> {
        let mut cursor =
            Self { table, rows, page: Vec::new().into_iter(), current: None, last: None, ended: false };
        cursor.step()?;
        Ok(cursor)
    }

    const fn row(&self) -> Option<&(String, Vec<u8>)> {
        self.current.as_ref()
    }

    fn take(&mut self) -> Result<(String, Vec<u8>), StoreError> {
        let row = self.current.take().expect("taken only when there is a row");
        self.step()?;
        Ok(row)
    }

    fn step(&mut self) -> Result<(), StoreError> {
        self.current = self.page.next();
        if self.current.is_none() && !self.ended {
            let page = self.rows.scan(self.table, self.last.as_deref(), PAGE)?;
            self.ended = page.is_empty();
            self.last = page.last().map(|(key, _)| key.clone()).or(self.last.take());
            self.page = page.into_iter();
            self.current = self.page.next();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rows(Vec<(&'static str, &'static str)>);

    impl RowAccess for Rows {
        fn checkpoint(&self) -> u64 {
            7
        }
        fn tables(&self) -> Vec<&'static str> {
            vec!["t"]
        }
        fn scan(
            &self,
            _: &str,
            after: Option<&str>,
            limit: usize,
        ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
            let rows = self.0.iter().filter(|(key, _)| after.is_none_or(|after| *key > after)).take(limit);
            Ok(rows.map(|(key, row)| ((*key).to_owned(), row.as_bytes().to_vec())).collect())
        }
        fn get(&self, key: &RowKey) -> Result<Option<Vec<u8>>, StoreError> {
            Ok(self.0.iter().find(|(k, _)| *k == key.key).map(|(_, row)| row.as_bytes().to_vec()))
        }
    }

    fn kinds(
        expected: Vec<(&'static str, &'static str)>,
        actual: Vec<(&'static str, &'static str)>,
    ) -> Vec<(String, DriftKind)> {
        let found = compare(&Rows(expected), &Rows(actual)).unwrap();
        assert_eq!(found.keys.len(), found.listed.len());
        found.listed.into_iter().map(|d| (d.key, d.kind)).collect()
    }

    #[test]
    fn equal_rows_are_clean() {
        assert!(kinds(vec![("a", "1"), ("b", "2")], vec![("a", "1"), ("b", "2")]).is_empty());
        assert!(kinds(vec![], vec![]).is_empty());
    }

    #[test]
    fn names_exactly_what_differs() {
        let expected = vec![("a", "1"), ("b", "2"), ("d", "4"), ("e", "5")];
        let actual = vec![("a", "1"), ("b", "9"), ("c", "3"), ("e", "5"), ("f", "6")];
        let named = |key: &str, kind| (format!("t/{key}"), kind);
        assert_eq!(
            kinds(expected, actual),
            [
                named("b", DriftKind::Changed),
                named("c", DriftKind::Extra),
                named("d", DriftKind::Missing),
                named("f", DriftKind::Extra)
            ]
        );
    }

    #[test]
    fn a_row_that_is_there_twice_is_drift() {
        assert_eq!(
            kinds(vec![("a", "1"), ("b", "2")], vec![("a", "1"), ("a", "1"), ("b", "2")]),
            [("t/a".to_owned(), DriftKind::Changed)]
        );
    }
}
