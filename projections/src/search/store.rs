//! Reading rows by key from a searcher: for the fold, for reconciliation, for hits.

use tantivy::directory::error::OpenReadError;
use tantivy::schema::{IndexRecordOption, Value};
use tantivy::{DocAddress, DocSet, Searcher, TERMINATED, TantivyDocument};

use super::schema::{self, Columns, Fields, SEPARATOR};
use super::segment::{Dimension, Vocabularies};
use crate::model::StoreError;

/// Maps the engine's errors: what is on disk but wrong is damage, the rest may pass.
#[allow(clippy::needless_pass_by_value, reason = "used as a function for map_err")]
pub(super) fn store_error(error: tantivy::TantivyError) -> StoreError {
    use tantivy::TantivyError as E;
    match error {
        E::DataCorruption(_)
        | E::SchemaError(_)
        | E::IncompatibleIndex(_)
        | E::InvalidArgument(_)
        | E::FieldNotFound(_)
        | E::OpenReadError(OpenReadError::FileDoesNotExist(_) | OpenReadError::IncompatibleIndex(_)) => {
            StoreError::Damaged(error.to_string())
        }
        other => StoreError::Unavailable(other.to_string()),
    }
}

pub(super) fn io_error(error: std::io::Error) -> StoreError {
    store_error(error.into())
}

/// Where the live documents with a key are; more than one only if the index is damaged.
pub(super) fn addresses(
    searcher: &Searcher,
    fields: &Fields,
    table: &str,
    id: &str,
) -> Result<Vec<DocAddress>, StoreError> {
    let term = schema::key_term(fields, table, id);
    let mut found = Vec::new();
    for (ordinal, reader) in (0..).zip(searcher.segment_readers()) {
        let inverted = reader.inverted_index(fields.key).map_err(store_error)?;
        let Some(mut postings) = inverted.read_postings(&term, IndexRecordOption::Basic).map_err(io_error)?
        else {
            continue;
        };
        while postings.doc() != TERMINATED {
            if reader.alive_bitset().is_none_or(|alive| alive.is_alive(postings.doc())) {
                found.push(DocAddress::new(ordinal, postings.doc()));
            }
            postings.advance();
        }
    }
    Ok(found)
}

/// The stored JSON of a document.
pub(super) fn row_text(
    searcher: &Searcher,
    fields: &Fields,
    address: DocAddress,
) -> Result<String, StoreError> {
    let stored: TantivyDocument = searcher.doc(address).map_err(store_error)?;
    stored
        .get_first(fields.row)
        .and_then(|value| value.as_str())
        .map(str::to_owned)
        .ok_or_else(|| StoreError::Damaged(format!("search document {address:?} has no stored row")))
}

/// Reads a row as what it should be.
pub(super) fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text)
        .map_err(|e| StoreError::Damaged(format!("a stored search row is not readable: {e}")))
}

/// The indexed copies of a document, read back from its columns.
pub(super) fn columns_of(
    searcher: &Searcher,
    opened: &super::segment::SegmentColumns,
    vocabularies: &Vocabularies,
    address: DocAddress,
) -> Columns {
    debug_assert!(address.doc_id < searcher.segment_reader(address.segment_ord).max_doc());
    let values = |dimension: Dimension| -> Vec<String> {
        let ordinals = opened.ordinals(dimension);
        let known = ordinals.column.values_for_doc(address.doc_id).filter_map(|ordinal| {
            let global = usize::try_from(ordinal).ok().and_then(|at| ordinals.global.get(at))?;
            Some(vocabularies.of(dimension).text(*global).to_string())
        });
        let mut values: Vec<String> = known.collect();
        values.sort_unstable();
        values
    };
    let one = |dimension| values(dimension).join(&SEPARATOR.to_string());
    let number = |column: &tantivy::columnar::Column<u64>| column.first(address.doc_id).unwrap_or(0);
    Columns {
        brand: one(Dimension::Brand),
        category: one(Dimension::Category),
        lifecycle: one(Dimension::Lifecycle),
        currency: one(Dimension::Currency),
        attribute: values(Dimension::Attribute),
        channel: values(Dimension::Channel),
        region: values(Dimension::Region),
        price: number(&opened.price),
        discount: number(&opened.discount),
        popularity: number(&opened.popularity),
        created: number(&opened.created),
        in_stock: number(&opened.in_stock),
        tie: number(&opened.tie),
    }
}
