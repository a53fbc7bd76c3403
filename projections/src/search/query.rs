//! Searches: what they share, and how a request becomes an answer.

use std::collections::HashSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use daybook_eventlog::Position;
use tantivy::{Executor, IndexReader};

use super::SearchOptions;
use super::analysis::Synonyms;
use super::answer::{SearchResponse, nothing};
use super::cache::Cache;
use super::cursor::{Cursor, fingerprint};
use super::facets;
use super::filter::groups;
use super::request::{DEFAULT_LIMIT, SearchError, SearchRequest};
use super::run::Run;
use super::schema::Fields;
use super::segment::{View, Vocabularies};
use super::store::store_error;
use super::text::{TextQuery, ViewDictionary, resolve};
use crate::model::StoreError;

/// What writer and readers share.
pub(super) struct Shared {
    state: ArcSwap<State>,
    pub(super) fields: Fields,
    pub(super) vocabularies: Arc<Vocabularies>,
    synonyms: Synonyms,
    pub(super) cache: Cache,
    pub(super) executor: Executor,
}

/// A view and the position it is current to.
struct State {
    view: Arc<View>,
    position: Position,
}

impl Shared {
    pub(super) fn open(
        reader: &IndexReader,
        fields: Fields,
        options: SearchOptions,
        position: Position,
    ) -> Result<Self, StoreError> {
        let vocabularies = Arc::new(Vocabularies::default());
        let view = Arc::new(View::open(reader.searcher(), &vocabularies, None).map_err(store_error)?);
        let executor = if options.search_threads > 1 {
            Executor::multi_thread(options.search_threads, "search-").map_err(store_error)?
        } else {
            Executor::single_thread()
        };
        Ok(Self {
            state: ArcSwap::from_pointee(State { view, position }),
            fields,
            vocabularies,
            synonyms: options.synonyms,
            cache: Cache::new(options.cache_bytes),
            executor,
        })
    }

    /// Shows what the engine's reader sees now.
    pub(super) fn refresh(&self, reader: &IndexReader, position: Position) -> Result<(), StoreError> {
        let before = self.view();
        let view = View::open(reader.searcher(), &self.vocabularies, Some(&before)).map_err(store_error)?;
        let segments: HashSet<_> =
            view.searcher.segment_readers().iter().map(|reader| reader.segment_id()).collect();
        self.state.store(Arc::new(State { view: Arc::new(view), position }));
        self.cache.retain(&segments);
        Ok(())
    }

    pub(super) fn view(&self) -> Arc<View> {
        Arc::clone(&self.state.load().view)
    }

    pub(super) fn vocabularies(&self) -> Arc<Vocabularies> {
        Arc::clone(&self.vocabularies)
    }
}

/// Answers searches, from any number of threads. Cheap to clone. A search blocks its thread for milliseconds.
#[derive(Clone)]
pub struct SearchReader {
    engine: Arc<dyn Engine>,
}

/// What answers a search.
pub(super) trait Engine: Send + Sync {
    /// The log position that searches see at least.
    fn position(&self) -> Position;

    /// Answers a request that was checked; `search` is its fingerprint, which goes into cursors.
    fn search(
        &self,
        request: &SearchRequest,
        search: u64,
        cursor: Option<Cursor>,
    ) -> Result<SearchResponse, SearchError>;
}

impl SearchReader {
    pub(super) const fn new(engine: Arc<dyn Engine>) -> Self {
        Self { engine }
    }

    /// The log position that searches see.
    #[must_use]
    pub fn position(&self) -> Position {
        self.engine.position()
    }

    /// Searches.
    ///
    /// [`SearchError::Invalid`]: the request makes no sense; the text says what to do.
    pub fn search(&self, request: &SearchRequest) -> Result<SearchResponse, SearchError> {
        request.check()?;
        let search = fingerprint(request);
        let cursor = request.cursor.as_deref().map(|text| Cursor::decode(text, search)).transpose()?;
        self.engine.search(request, search, cursor)
    }
}

impl Shared {
    fn text(&self, view: &View, q: &str) -> Result<Option<TextQuery>, StoreError> {
        let dictionary = ViewDictionary { view, fields: &self.fields, cache: &self.cache };
        let words = resolve(&dictionary, &self.synonyms, q)?;
        Ok(words.and_then(|words| TextQuery::new(&self.fields, words)))
    }
}

impl Engine for Shared {
    fn position(&self) -> Position {
        self.state.load().position
    }

    fn search(
        &self,
        request: &SearchRequest,
        search: u64,
        cursor: Option<Cursor>,
    ) -> Result<SearchResponse, SearchError> {
        let state = self.state.load_full();
        let view = &*state.view;
        let text = match &request.q {
            None => None,
            Some(q) => match self.text(view, q)? {
                Some(text) => Some(text),
                None => return Ok(nothing(request, state.position)),
            },
        };
        let groups = groups(request, &self.vocabularies);
        let search_run = Run { shared: self, view, groups: &groups, text: text.as_ref(), request };
        let (totals, passing) = search_run.totals()?;
        let limit = request.limit.unwrap_or(DEFAULT_LIMIT);
        let mut best = search_run.best(&passing, cursor, limit + 1)?;
        let more = best.len() > limit;
        best.truncate(limit);
        let next = best.last().filter(|_| more);
        let cursor = next.map(|last| Cursor { search, key: last.key, tie: last.tie }.encode());
        Ok(SearchResponse {
            total: totals.total,
            hits: search_run.hits(&best)?,
            facets: facets::lists(request, &totals, &self.vocabularies),
            cursor,
            position: state.position,
        })
    }
}
