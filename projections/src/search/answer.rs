//! What a search answers.

use std::collections::{BTreeMap, HashSet};

use daybook_eventlog::Position;
use daybook_schemas::variant::{AttributeSnapshot, Lifecycle};
use daybook_schemas::{Label, ProductId, Sku, Timestamp, VariantId};
use schemars::JsonSchema;
use serde::Serialize;

use super::document::SearchDocument;
pub use super::facets::FacetValue;
use super::facets::{self, Totals};
use super::highlight::highlights;
use super::request::SearchRequest;
use super::segment::Vocabularies;
use crate::amounts::PriceView;
use crate::model::StoreError;

/// One variant that was found.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct SearchHit {
    pub variant_id: VariantId,
    pub product_id: ProductId,
    pub product_group: Label,
    pub sku: Sku,
    pub name: Label,
    pub brand: Label,
    pub category: Label,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceView>,
    pub discount_percent: u8,
    pub attributes: Vec<AttributeSnapshot>,
    pub in_stock: bool,
    pub lifecycle: Lifecycle,
    pub popularity: u64,
    pub created_at: Timestamp,
    /// How well the words fit; only when sorted by relevance, comparable within one search only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
    /// HTML of the fields that hold a word that was searched for, finds in `<em>`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub highlights: BTreeMap<&'static str, String>,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct SearchResponse {
    /// Variants that fit, exactly.
    pub total: u64,
    pub hits: Vec<SearchHit>,
    /// By facet (`brand`, `attr.color` …): values with counts, the most frequent first; prices in ascending order. A group's
    /// own selection does not narrow its counts.
    pub facets: BTreeMap<String, Vec<FacetValue>>,
    /// Where the next page starts; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The log position that the answer is current to.
    #[serde(skip)]
    pub position: Position,
}

/// The answer when a word is nowhere in the index.
pub(super) fn nothing(request: &SearchRequest, position: Position) -> SearchResponse {
    let totals = Totals::default();
    SearchResponse {
        total: 0,
        hits: Vec::new(),
        facets: facets::lists(request, &totals, &Vocabularies::default()),
        cursor: None,
        position,
    }
}

impl SearchHit {
    /// The hit that a row is, with the finds of `terms` marked.
    pub(super) fn of(
        row: SearchDocument,
        score: Option<f32>,
        terms: Option<&HashSet<String>>,
    ) -> Result<Self, StoreError> {
        let Some(listing) = row.listing else {
            return Err(StoreError::Damaged(format!(
                "search finds {}, which has no listing",
                row.variant_id
            )));
        };
        Ok(Self {
            highlights: terms.map(|terms| highlights(&listing, terms)).unwrap_or_default(),
            score,
            variant_id: row.variant_id,
            product_id: listing.product_id,
            product_group: listing.product_group,
            sku: listing.sku,
            name: listing.name,
            brand: listing.brand,
            category: listing.category,
            price: listing.price,
            discount_percent: listing.discount_percent,
            attributes: listing.attributes,
            in_stock: row.in_stock,
            lifecycle: listing.lifecycle,
            popularity: row.popularity,
            created_at: listing.created_at,
        })
    }
}
