//! Counts of all segments put together, and the lists made of them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::counts::{BUCKETS, Counts, Wanted};
use super::request::{DEFAULT_FACET_LIMIT, Facet, FacetSelection, SearchRequest};
use super::schema::{EVERYWHERE, SEPARATOR};
use super::segment::{Dimension, SegmentColumns, Vocabularies};

/// A value of a facet and how many hits have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FacetValue {
    /// The value; for prices `10-20` (from 10, below 20) or `100000-` (from 100,000).
    pub value: String,
    pub count: u64,
    /// Lower end of a price bucket, inclusive, in currency units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Upper end of a price bucket, exclusive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

impl FacetValue {
    const fn plain(value: String, count: u64) -> Self {
        Self { value, count, from: None, to: None }
    }
}

/// Counts over all segments; words by their number in the vocabulary.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) total: u64,
    words: [Vec<u64>; Dimension::ALL.len()],
    price: [u64; BUCKETS.len()],
    in_stock: [u64; 2],
}

impl Totals {
    pub(super) fn add(&mut self, counts: &Counts, columns: &SegmentColumns, vocabularies: &Vocabularies) {
        self.total += u64::from(counts.total);
        for dimension in Dimension::ALL {
            let from = &counts.words[dimension as usize];
            if from.is_empty() {
                continue;
            }
            let to = &mut self.words[dimension as usize];
            if to.is_empty() {
                to.resize(vocabularies.of(dimension).len(), 0);
            }
            for (count, global) in from.iter().zip(&columns.ordinals(dimension).global) {
                to[*global as usize] += u64::from(*count);
            }
        }
        let numbers =
            self.price.iter_mut().zip(&counts.price).chain(self.in_stock.iter_mut().zip(&counts.in_stock));
        numbers.for_each(|(to, from)| *to += u64::from(*from));
    }

    /// Sets the count of a word, by its number in the vocabulary.
    #[cfg(feature = "elastic")]
    pub(super) fn set_word(&mut self, dimension: Dimension, id: u32, count: u64) {
        let words = &mut self.words[dimension as usize];
        let at = id as usize;
        words.resize(words.len().max(at + 1), 0);
        words[at] = count;
    }

    /// Sets the count of a price bucket.
    #[cfg(feature = "elastic")]
    pub(super) fn set_price(&mut self, bucket: usize, count: u64) {
        if let Some(known) = self.price.get_mut(bucket) {
            *known = count;
        }
    }

    /// Sets the count of what is not (0) or is (1) in stock.
    #[cfg(feature = "elastic")]
    pub(super) fn set_in_stock(&mut self, in_stock: usize, count: u64) {
        if let Some(known) = self.in_stock.get_mut(in_stock) {
            *known = count;
        }
    }

    /// Takes one facet's counts from another pass.
    pub(super) fn replace(&mut self, facet: &Facet, from: Self, vocabularies: &Vocabularies) {
        let Some(dimension) = dimension_of(facet) else { return };
        let mut new = from.words;
        let new = std::mem::take(&mut new[dimension as usize]);
        let old = &mut self.words[dimension as usize];
        let Facet::Attribute(kind) = facet else {
            *old = new;
            return;
        };
        // One column holds all attributes: only the values of this type change places.
        let vocabulary = vocabularies.of(dimension);
        old.resize(old.len().max(new.len()), 0);
        for (id, count) in (0_u32..).zip(old.iter_mut()) {
            let other = new.get(id as usize).copied().unwrap_or(0);
            if *count != other && split(&vocabulary.text(id)).0 == kind {
                *count = other;
            }
        }
    }

    /// Values that were counted, with their counts.
    fn counted<'a>(
        &'a self,
        dimension: Dimension,
        vocabularies: &'a Vocabularies,
    ) -> impl Iterator<Item = (std::sync::Arc<str>, u64)> + 'a {
        let numbered = (0_u32..).zip(&self.words[dimension as usize]);
        numbered
            .filter(|(_, count)| **count > 0)
            .map(move |(id, count)| (vocabularies.of(dimension).text(id), *count))
    }
}

/// The column of a facet that counts words.
const fn dimension_of(facet: &Facet) -> Option<Dimension> {
    match facet {
        Facet::Category => Some(Dimension::Category),
        Facet::Brand => Some(Dimension::Brand),
        Facet::Attributes | Facet::Attribute(_) => Some(Dimension::Attribute),
        Facet::Lifecycle => Some(Dimension::Lifecycle),
        Facet::Channel => Some(Dimension::Channel),
        Facet::Region => Some(Dimension::Region),
        Facet::Price | Facet::InStock => None,
    }
}

/// What has to be counted for a selection of facets.
pub(super) fn wanted(selection: &FacetSelection) -> Wanted {
    let mut wanted = Wanted {
        price: selection.wants(&Facet::Price),
        in_stock: selection.wants(&Facet::InStock),
        ..Wanted::default()
    };
    for facet in [Facet::Category, Facet::Brand, Facet::Lifecycle, Facet::Channel, Facet::Region] {
        if let Some(dimension) = dimension_of(&facet) {
            wanted.words[dimension as usize] = selection.wants(&facet);
        }
    }
    wanted.words[Dimension::Attribute as usize] = selection.wants_attributes();
    wanted
}

/// The lists of a response.
pub(super) fn lists(
    request: &SearchRequest,
    totals: &Totals,
    vocabularies: &Vocabularies,
) -> BTreeMap<String, Vec<FacetValue>> {
    let selection = &request.facets;
    let most = request.facet_limit.unwrap_or(DEFAULT_FACET_LIMIT);
    let mut lists: BTreeMap<String, Vec<FacetValue>> = BTreeMap::new();
    for (name, facet) in
        [("category", Facet::Category), ("brand", Facet::Brand), ("lifecycle", Facet::Lifecycle)]
    {
        if let Some(dimension) = dimension_of(&facet).filter(|_| selection.wants(&facet)) {
            // Rows that no search finds have states of their own.
            let counted = totals.counted(dimension, vocabularies);
            let counted =
                counted.filter(|(value, _)| dimension != Dimension::Lifecycle || !value.starts_with('~'));
            lists.insert(
                name.to_owned(),
                ranked(counted.map(|(v, c)| FacetValue::plain(v.to_string(), c)), most),
            );
        }
    }
    for (name, facet) in [("channel", Facet::Channel), ("region", Facet::Region)] {
        if let Some(dimension) = dimension_of(&facet).filter(|_| selection.wants(&facet)) {
            lists.insert(name.to_owned(), ranked(places(totals, dimension, vocabularies).into_iter(), most));
        }
    }
    if selection.wants_attributes() {
        lists.extend(attributes(selection, totals, vocabularies, most));
    }
    if selection.wants(&Facet::Price) {
        lists.insert("price".to_owned(), prices(&totals.price));
    }
    if selection.wants(&Facet::InStock) {
        let values = [("false", totals.in_stock[0]), ("true", totals.in_stock[1])];
        let values = values.into_iter().filter(|(_, count)| *count > 0);
        lists.insert(
            "in_stock".to_owned(),
            ranked(values.map(|(v, c)| FacetValue::plain(v.to_owned(), c)), most),
        );
    }
    lists
}

fn ranked(values: impl Iterator<Item = FacetValue>, most: usize) -> Vec<FacetValue> {
    let mut values: Vec<FacetValue> = values.collect();
    values.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.value.cmp(&b.value)));
    values.truncate(most);
    values
}

/// The places that hits name; what is found everywhere counts for each of them.
fn places(totals: &Totals, dimension: Dimension, vocabularies: &Vocabularies) -> Vec<FacetValue> {
    let mut counted: BTreeMap<String, u64> =
        totals.counted(dimension, vocabularies).map(|(value, count)| (value.to_string(), count)).collect();
    let everywhere = counted.remove(EVERYWHERE).unwrap_or(0);
    counted.into_iter().map(|(value, count)| FacetValue::plain(value, count + everywhere)).collect()
}

fn attributes(
    selection: &FacetSelection,
    totals: &Totals,
    vocabularies: &Vocabularies,
    most: usize,
) -> BTreeMap<String, Vec<FacetValue>> {
    let mut by_type: BTreeMap<String, Vec<FacetValue>> = BTreeMap::new();
    if let FacetSelection::These(these) = selection {
        let named = these
            .iter()
            .filter_map(|facet| if let Facet::Attribute(kind) = facet { Some(kind) } else { None });
        by_type.extend(named.map(|kind| (kind.clone(), Vec::new())));
    }
    for (text, count) in totals.counted(Dimension::Attribute, vocabularies) {
        let (kind, value) = split(&text);
        if selection.wants(&Facet::Attribute(kind.to_owned())) {
            by_type.entry(kind.to_owned()).or_default().push(FacetValue::plain(value.to_owned(), count));
        }
    }
    let named =
        by_type.into_iter().map(|(kind, values)| (format!("attr.{kind}"), ranked(values.into_iter(), most)));
    named.collect()
}

/// Type and value of an attribute as the column holds them.
fn split(text: &str) -> (&str, &str) {
    text.split_once(SEPARATOR).unwrap_or((text, ""))
}

fn prices(counts: &[u64; BUCKETS.len()]) -> Vec<FacetValue> {
    let mut list = Vec::new();
    for (at, (from, count)) in BUCKETS.iter().zip(counts).enumerate() {
        if *count > 0 {
            let to = BUCKETS.get(at + 1).map(u32::to_string);
            let value = format!("{from}-{}", to.as_deref().unwrap_or(""));
            list.push(FacetValue { value, count: *count, from: Some(from.to_string()), to });
        }
    }
    list
}
