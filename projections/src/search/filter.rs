//! Filter groups: resolved once a query, compiled once a segment, evaluated over blocks of documents.

use std::ops::Range;

use tantivy::columnar::{Cardinality, Column};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocId, Term};

use super::analysis::fold_value;
use super::request::{Facet, SearchRequest};
use super::schema::{EVERYWHERE, Fields, attribute_value, decimal_rank};
use super::segment::{Dimension, SegmentColumns, View, Vocabularies};
use super::store::{io_error, store_error};
use crate::model::StoreError;

/// Documents evaluated at once: columns are read in batches, and what a batch needs stays in the first-level cache.
pub(super) const BLOCK: usize = 1024;

/// One group of a query; a document passes if any of the group's values fits.
pub(super) struct Group {
    /// The facet whose counts ignore this group.
    pub(super) facet: Option<Facet>,
    pub(super) filter: Filter,
}

pub(super) enum Filter {
    Values {
        dimension: Dimension,
        globals: Vec<u32>,
    },
    /// Inclusive, as ranks of the price column.
    Price {
        min: u64,
        max: u64,
    },
    InStock(bool),
}

impl Group {
    /// Identifies the group among all queries of this process.
    pub(super) fn key(&self) -> String {
        match &self.filter {
            Filter::Values { dimension, globals } => {
                format!("{}:{:?}:{globals:?}", dimension.name(), self.facet)
            }
            Filter::Price { min, max } => format!("price:{min}:{max}"),
            Filter::InStock(wanted) => format!("in_stock:{wanted}"),
        }
    }

    /// The column and posting field of a group that selects values.
    pub(super) fn field(&self, fields: &Fields) -> Option<(Dimension, Field, &[u32])> {
        let Filter::Values { dimension, globals } = &self.filter else { return None };
        let field = match dimension {
            Dimension::Category => fields.category,
            Dimension::Brand => fields.brand,
            Dimension::Attribute => fields.attribute,
            Dimension::Lifecycle => fields.lifecycle,
            Dimension::Channel => fields.channel,
            Dimension::Region => fields.region,
            Dimension::Currency => fields.currency,
        };
        Some((*dimension, field, globals))
    }

    /// How many documents the group's posting lists hold, deleted ones included; `None`: there are no such lists.
    pub(super) fn estimate(
        &self,
        view: &View,
        fields: &Fields,
        words: &Vocabularies,
    ) -> Result<Option<u64>, StoreError> {
        let Some((dimension, field, globals)) = self.field(fields) else { return Ok(None) };
        let mut sum = 0;
        for global in globals {
            let term = Term::from_field_text(field, &words.of(dimension).text(*global));
            for reader in view.searcher.segment_readers() {
                let inverted = reader.inverted_index(field).map_err(store_error)?;
                sum += u64::from(inverted.doc_freq(&term).map_err(io_error)?);
            }
        }
        Ok(Some(sum))
    }

    /// The posting lists of one segment.
    pub(super) fn postings(
        &self,
        reader: &tantivy::SegmentReader,
        fields: &Fields,
        words: &Vocabularies,
    ) -> Result<Vec<tantivy::postings::BlockSegmentPostings>, StoreError> {
        let Some((dimension, field, globals)) = self.field(fields) else { return Ok(Vec::new()) };
        let inverted = reader.inverted_index(field).map_err(store_error)?;
        let mut lists = Vec::new();
        for global in globals {
            let term = Term::from_field_text(field, &words.of(dimension).text(*global));
            lists.extend(inverted.read_block_postings(&term, IndexRecordOption::Basic).map_err(io_error)?);
        }
        Ok(lists)
    }
}

/// The groups of a request. The lifecycle group is always there: it also keeps hidden rows out.
pub(super) fn groups(request: &SearchRequest, words: &Vocabularies) -> Vec<Group> {
    let mut groups = Vec::new();
    let mut values = |dimension: Dimension, facet: Option<Facet>, wanted: Vec<String>| {
        let vocabulary = words.of(dimension);
        let mut globals: Vec<u32> =
            wanted.iter().flat_map(|value| vocabulary.matching(&fold_value(value))).collect();
        globals.sort_unstable();
        globals.dedup();
        groups.push(Group { facet, filter: Filter::Values { dimension, globals } });
    };
    if !request.category.is_empty() {
        values(Dimension::Category, Some(Facet::Category), request.category.clone());
    }
    if !request.brand.is_empty() {
        values(Dimension::Brand, Some(Facet::Brand), request.brand.clone());
    }
    for (kind, wanted) in &request.attributes {
        let wanted = wanted.iter().map(|value| attribute_value(kind, value.trim())).collect();
        values(Dimension::Attribute, Some(Facet::Attribute(kind.clone())), wanted);
    }
    for (dimension, facet, place) in [
        (Dimension::Channel, Facet::Channel, &request.channel),
        (Dimension::Region, Facet::Region, &request.region),
    ] {
        if let Some(place) = place {
            values(dimension, Some(facet), vec![place.as_str().to_owned(), EVERYWHERE.to_owned()]);
        }
    }
    if let Some(currency) = request.currency {
        values(Dimension::Currency, None, vec![currency.as_str().to_owned()]);
    }
    let states = request.effective_lifecycle();
    let states = states.iter().map(|state| state.as_str().to_owned()).collect();
    values(Dimension::Lifecycle, Some(Facet::Lifecycle), states);
    if let Some((min, max)) = price_range(request) {
        groups.push(Group { facet: Some(Facet::Price), filter: Filter::Price { min, max } });
    }
    if let Some(wanted) = request.in_stock {
        groups.push(Group { facet: Some(Facet::InStock), filter: Filter::InStock(wanted) });
    }
    groups
}

/// The ranks that a request's prices may have, both inclusive; `None`: any, also none.
pub(super) fn price_range(request: &SearchRequest) -> Option<(u64, u64)> {
    if request.price_min.is_none() && request.price_max.is_none() {
        return None;
    }
    let min = request.price_min.map_or(1, decimal_rank_up).max(1);
    Some((min, request.price_max.map_or(u64::MAX, decimal_rank)))
}

/// A lower bound finer than a millionth excludes the millionth below it.
fn decimal_rank_up(amount: rust_decimal::Decimal) -> u64 {
    decimal_rank(amount) + u64::from(amount.normalize().scale() > 6)
}

/// A group compiled for one segment.
pub(super) enum Check<'a> {
    /// One value a document; by ordinal, whether it is selected.
    Single {
        column: &'a Column<u64>,
        selected: Vec<bool>,
    },
    /// Any number of values a document.
    Multi {
        column: &'a Column<u64>,
        selected: Vec<bool>,
    },
    Range {
        column: &'a Column<u64>,
        range: Range<u64>,
    },
}

impl<'a> Check<'a> {
    pub(super) fn compile(group: &Group, columns: &'a SegmentColumns) -> Self {
        match &group.filter {
            Filter::Values { dimension, globals } => {
                let ordinals = columns.ordinals(*dimension);
                let mut selected = vec![false; ordinals.global.len()];
                for ordinal in ordinals.ordinals(globals) {
                    selected[index(ordinal)] = true;
                }
                if ordinals.column.get_cardinality() == Cardinality::Full {
                    Self::Single { column: &ordinals.column, selected }
                } else {
                    Self::Multi { column: &ordinals.column, selected }
                }
            }
            Filter::Price { min, max } => {
                Self::Range { column: &columns.price, range: *min..max.saturating_add(1) }
            }
            Filter::InStock(wanted) => {
                let wanted = u64::from(*wanted);
                Self::Range { column: &columns.in_stock, range: wanted..wanted + 1 }
            }
        }
    }

    /// Calls `fail` with the place of every document that does not pass.
    #[inline]
    pub(super) fn failing(&self, docs: &[DocId], values: &mut [u64], mut fail: impl FnMut(usize)) {
        match self {
            Self::Single { column, selected } => {
                let values = read(column, docs, values);
                for (at, value) in values.iter().enumerate() {
                    if !selected.get(index(*value)).copied().unwrap_or(false) {
                        fail(at);
                    }
                }
            }
            Self::Multi { column, selected } => {
                for (at, &doc) in docs.iter().enumerate() {
                    if !any_selected(column, selected, doc) {
                        fail(at);
                    }
                }
            }
            Self::Range { column, range } => {
                let values = read(column, docs, values);
                for (at, value) in values.iter().enumerate() {
                    if !range.contains(value) {
                        fail(at);
                    }
                }
            }
        }
    }

    #[inline]
    pub(super) fn passes(&self, doc: DocId) -> bool {
        match self {
            Self::Single { column, selected } | Self::Multi { column, selected } => {
                any_selected(column, selected, doc)
            }
            Self::Range { column, range } => column.first(doc).is_some_and(|value| range.contains(&value)),
        }
    }
}

#[inline]
fn any_selected(column: &Column<u64>, selected: &[bool], doc: DocId) -> bool {
    column.values_for_doc(doc).any(|ordinal| selected.get(index(ordinal)).copied().unwrap_or(false))
}

/// The value of each document of a block; `u64::MAX` for none, which no ordinal or rank is.
#[inline]
pub(super) fn read<'v>(column: &Column<u64>, docs: &[DocId], values: &'v mut [u64]) -> &'v [u64] {
    let values = &mut values[..docs.len()];
    if column.get_cardinality() == Cardinality::Full {
        column.values.get_vals(docs, values);
    } else {
        for (value, &doc) in values.iter_mut().zip(docs) {
            *value = column.first(doc).unwrap_or(u64::MAX);
        }
    }
    values
}

/// Ordinals index vectors in memory; one that does not fit is out of every vector's range.
#[inline]
pub(super) fn index(ordinal: u64) -> usize {
    usize::try_from(ordinal).unwrap_or(usize::MAX)
}
