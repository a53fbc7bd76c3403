//! Filter groups: resolved once a query.

use tantivy::Term;
use tantivy::schema::{Field, IndexRecordOption};

use super::analysis::fold_value;
use super::request::{Facet, SearchRequest};
use super::schema::{EVERYWHERE, Fields, attribute_value, decimal_rank};
use super::segment::{Dimension, SegmentColumns, View, Vocabularies};
use super::store::{io_error, store_error};
use crate::model::StoreError;

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
    pub(super) fn estimate(&self, view: &View) -> Option<u64> {
        view.segments.iter().map(|segment| self.listed(&segment.columns)).sum()
    }

    /// The same of one segment.
    pub(super) fn listed(&self, columns: &SegmentColumns) -> Option<u64> {
        let Filter::Values { dimension, globals } = &self.filter else { return None };
        let ordinals = columns.ordinals(*dimension).ordinals(globals);
        let frequencies =
            ordinals.into_iter().map(|ordinal| u64::from(columns.packed.frequency(*dimension, ordinal)));
        Some(frequencies.sum())
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
