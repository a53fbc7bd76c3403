//! A stored row as canonical JSON: the form in which two stores are compared, and in which a row is repaired. The same row gives
//! the same bytes on every engine.

use serde_json::value::RawValue;
use smol_str::SmolStr;

use super::spec::{IndexValue, TableSpec};
use crate::model::StoreError;

/// What stands in an indexed column, be it what belongs there or not.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stored<'a> {
    Null,
    Integer(i64),
    Text(&'a [u8]),
    /// A value of a type that no column has: damage, shown as this text.
    Other(String),
}

/// The canonical JSON of a row: the document as it stands, and every indexed column.
pub(super) fn row_json<'a>(
    table: &TableSpec,
    doc: &[u8],
    columns: impl IntoIterator<Item = Stored<'a>>,
) -> Vec<u8> {
    let mut json = Vec::with_capacity(doc.len() + 64);
    if serde_json::from_slice::<&RawValue>(doc).is_ok() {
        json.extend_from_slice(b"{\"doc\":");
        json.extend_from_slice(doc);
    } else {
        json.extend_from_slice(b"{\"unreadable\":");
        append_text(&mut json, doc);
    }
    for (i, (column, stored)) in table.columns.iter().zip(columns).enumerate() {
        json.extend_from_slice(if i == 0 { b",\"index\":{" } else { b"," });
        append_text(&mut json, column.name.as_bytes());
        json.push(b':');
        match stored {
            Stored::Null => json.extend_from_slice(b"null"),
            Stored::Integer(number) => json.extend_from_slice(number.to_string().as_bytes()),
            Stored::Text(text) => append_text(&mut json, text),
            Stored::Other(text) => append_text(&mut json, text.as_bytes()),
        }
    }
    json.extend_from_slice(if table.columns.is_empty() { b"}" } else { b"}}" });
    json
}

fn append_text(json: &mut Vec<u8>, text: &[u8]) {
    serde_json::to_writer(json, &String::from_utf8_lossy(text)).expect("a Vec takes every write");
}

/// Reads what [`row_json`] wrote: the document and the index values.
pub(super) fn parse_row_json(
    table: &TableSpec,
    json: &[u8],
) -> Result<(String, Vec<IndexValue>), StoreError> {
    #[derive(serde::Deserialize)]
    struct Parsed<'a> {
        #[serde(borrow)]
        doc: &'a RawValue,
        #[serde(default)]
        index: std::collections::BTreeMap<SmolStr, serde_json::Value>,
    }
    let damaged = |reason: String| {
        StoreError::Damaged(format!("a row to repair table {} with is no row: {reason}", table.name))
    };
    let parsed: Parsed<'_> = serde_json::from_slice(json).map_err(|e| damaged(e.to_string()))?;
    let index = table.columns.iter().map(|column| match parsed.index.get(column.name) {
        None | Some(serde_json::Value::Null) => Ok(IndexValue::Null),
        Some(serde_json::Value::String(text)) => Ok(IndexValue::from(text.as_str())),
        Some(serde_json::Value::Number(number)) if number.is_i64() => {
            Ok(IndexValue::Integer(number.as_i64().expect("just asked")))
        }
        Some(other) => Err(damaged(format!("column {} holds {other}", column.name))),
    });
    Ok((parsed.doc.get().to_owned(), index.collect::<Result<_, _>>()?))
}
