//! The search read model: one flat document per variant, on Tantivy.
//!
//! - [`document`]: rows and pure folds; [`analysis`]: how texts become tokens, the same for every engine
//! - `schema`, [`index`]: rows into the engine; checkpoint and segments are one atomic commit
//! - `folder`: what may be opened as an index; `merges`: when its segments are put together
//! - `store`, `rows`: reading rows back, by key and for reconciliation
//! - [`request`]: what may be asked, parsed from query-string pairs; [`cursor`]: where a page ended
//! - `text`: words of a query to terms of the index (exact, synonym, prefix, typo)
//! - `segment`, `packed`, `lane`, `bits`, `check`, `filter`, `source`, `count`, `counts`, `facets`, `top`, `cache`: evaluation, a
//!   segment at a time
//! - `elastic` (feature `elastic`): the same on Elasticsearch
//! - [`query`], `run`: the search itself; [`answer`]: what it gives; `highlight`: why a hit was found
//!
//! Not here: no rules about what may be sold, no writing but through the runner, no HTTP.

pub mod analysis;
pub mod answer;
mod bits;
mod cache;
mod check;
mod count;
mod counts;
pub mod cursor;
pub mod document;
#[cfg(feature = "elastic")]
pub mod elastic;
mod facets;
mod filter;
mod folder;
mod highlight;
pub mod index;
mod kind;
mod lane;
mod merges;
mod packed;
pub mod query;
pub mod request;
mod rows;
mod run;
mod schema;
mod segment;
mod source;
mod store;
mod text;
mod top;

#[cfg(test)]
mod tests;

pub use analysis::Synonyms;
pub use answer::{FacetValue, SearchHit, SearchResponse};
pub use document::{Counter, Listing, SearchDocument};
pub use index::{NAME, SearchModel};
pub use kind::SearchKind;
pub use query::SearchReader;
pub use request::{Collection, FacetSelection, SearchError, SearchRequest, Sort};

/// How a search index is opened.
#[derive(Debug, Clone)]
pub struct SearchOptions {
    /// The generation that the folder holds; an index of another one is refused.
    pub generation: u64,
    /// Threads that build segments, beside the one that commits.
    pub writer_threads: usize,
    /// Memory for segments being built, over all threads.
    pub writer_heap_bytes: usize,
    /// Threads that a broad query spreads over.
    pub search_threads: usize,
    /// Memory for what is kept between queries: counts, first pages, bits of values and words.
    pub cache_bytes: usize,
    pub synonyms: Synonyms,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self {
            generation: 1,
            writer_threads: 1,
            writer_heap_bytes: 64_000_000,
            search_threads: 2,
            cache_bytes: 256_000_000,
            synonyms: Synonyms::default(),
        }
    }
}
