//! The search itself: resolve, choose a driver, evaluate segment by segment, put the parts together.

use std::collections::HashSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use daybook_eventlog::Position;
use tantivy::query::{EnableScoring, Weight};
use tantivy::{DocAddress, DocId, Executor, IndexReader};

use super::SearchOptions;
use super::analysis::Synonyms;
use super::answer::{SearchHit, SearchResponse, nothing};
use super::cache::{Cache, CacheKey, Cached};
use super::count::{Counts, Pass, Source, Wanted, count};
use super::cursor::{Cursor, fingerprint};
use super::document::SearchDocument;
use super::facets::{self, Totals};
use super::filter::{Group, groups};
use super::request::{DEFAULT_LIMIT, SearchError, SearchRequest, Sort};
use super::schema::Fields;
use super::segment::{Dimension, SegmentView, View, Vocabularies};
use super::store::{parse, row_text, store_error};
use super::text::{Statistics, TextQuery, ViewDictionary, resolve};
use super::top::{Best, Candidate, by_column, by_score, by_score_of, key_score};
use crate::model::StoreError;

/// Results that took looking at fewer documents than this are not worth keeping.
const CACHED_FROM_DOCUMENTS: u64 = 2_048;
/// Below this many documents, handing work to another thread costs more than it saves.
const PARALLEL_FROM_DOCUMENTS: u64 = 30_000;
/// Looking a document up among those with a word costs about as much as going on by this many.
const SEEK_COST: u64 = 8;
/// The engine adds up the scores of more words than this in another order when it looks a document up than when it goes
/// through all: the last digit may differ, and a page would not begin where the one before ended.
const MOST_ADDED_ALIKE: usize = 3;
/// Candidates kept of a first page, so that it stays whole when some of them are deleted.
const KEPT_CANDIDATES: usize = 128;

/// What writer and readers share.
pub(super) struct Shared {
    state: ArcSwap<State>,
    fields: Fields,
    vocabularies: Arc<Vocabularies>,
    synonyms: Synonyms,
    cache: Cache,
    executor: Executor,
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

/// Of each segment the documents that are hits, where they are known.
type Passing = Vec<Option<Vec<DocId>>>;

/// One search under way.
struct Run<'q> {
    shared: &'q Shared,
    view: &'q View,
    groups: &'q [Group],
    text: Option<&'q TextQuery>,
    request: &'q SearchRequest,
}

impl Run<'_> {
    fn text_key(&self) -> &str {
        self.text.map_or("", |text| &text.key)
    }

    /// The group with the shortest posting lists among `among`, if these are short enough to be worth it.
    fn driver(&self, among: &[usize]) -> Option<usize> {
        let estimates = among.iter().filter_map(|&at| Some((self.groups[at].estimate(self.view)?, at)));
        // Reading a posting list, then documents at scattered places, costs about twice a plain scan.
        estimates.min().filter(|(documents, _)| documents * 2 < self.view.documents).map(|(_, at)| at)
    }

    /// Counts hits and facets, and gives the hits of each segment where they are few and were not counted before.
    fn totals(&self) -> Result<(Totals, Passing), StoreError> {
        let all: Vec<usize> = (0..self.groups.len()).collect();
        let wanted = facets::wanted(&self.request.facets);
        let driver = if self.text.is_some() { None } else { self.driver(&all) };
        let Some(driver) = driver else {
            return self.count(&Pass {
                groups: self.groups,
                driver: None,
                checked: all,
                wanted,
                disjunctive: true,
            });
        };
        let others: Vec<usize> = all.into_iter().filter(|&at| at != driver).collect();
        let own = self.groups[driver].facet.as_ref().filter(|facet| self.request.facets.wants(facet));
        let mut main_wanted = wanted;
        if let Some((dimension, ..)) = self.groups[driver].field(&self.shared.fields)
            && dimension != Dimension::Attribute
        {
            main_wanted.words[dimension as usize] = false;
        }
        let main = Pass {
            groups: self.groups,
            driver: Some(driver),
            checked: others.clone(),
            wanted: main_wanted,
            disjunctive: true,
        };
        let (mut totals, passing) = self.count(&main)?;
        if let Some(facet) = own {
            let own_driver = self.driver(&others);
            let checked = others.into_iter().filter(|at| Some(*at) != own_driver).collect();
            let mut own_wanted = Wanted::default();
            if let Some((dimension, ..)) = self.groups[driver].field(&self.shared.fields) {
                own_wanted.words[dimension as usize] = true;
            }
            let pass = Pass {
                groups: self.groups,
                driver: own_driver,
                checked,
                wanted: own_wanted,
                disjunctive: false,
            };
            totals.replace(facet, self.count(&pass)?.0, &self.shared.vocabularies);
        }
        Ok((totals, passing))
    }

    /// Counts a pass over all segments, as far as it is not known already.
    fn count(&self, pass: &Pass<'_>) -> Result<(Totals, Passing), StoreError> {
        let what: Arc<str> = pass.key(self.text_key()).into();
        let weight = self.unscored()?;
        let counted = self.each_segment(self.documents(pass.driver), |segment| {
            self.count_segment(pass, segment, &what, weight.as_deref())
        })?;
        let (mut totals, mut passing) = (Totals::default(), Vec::new());
        for (segment, (counts, docs)) in self.view.segments.iter().zip(counted) {
            totals.add(&counts, &segment.columns, &self.shared.vocabularies);
            passing.push(docs);
        }
        Ok((totals, passing))
    }

    fn count_segment(
        &self,
        pass: &Pass<'_>,
        segment: &SegmentView,
        what: &Arc<str>,
        text: Option<&dyn Weight>,
    ) -> Result<(Arc<Counts>, Option<Vec<DocId>>), StoreError> {
        let reader = self.view.reader(segment);
        let key = CacheKey { segment: reader.segment_id(), what: Arc::clone(what) };
        if let Some(Cached::Counts(counts, alive_then)) = self.shared.cache.get(&key) {
            let Some(alive) = &segment.alive else { return Ok((counts, None)) };
            let lost = alive.lost_since(alive_then.as_ref(), segment.max_doc);
            if lost.is_empty() {
                return Ok((counts, None));
            }
            let gone =
                count(pass, segment, reader, Source::These { docs: &lost, text }).map_err(store_error)?;
            let mut counts = Counts::clone(&counts);
            counts.subtract(&gone.counts);
            let counts = Arc::new(counts);
            self.shared.cache.put(key, Cached::Counts(Arc::clone(&counts), Some(alive.clone())));
            return Ok((counts, None));
        }
        let source = self.source(pass.driver, segment, text)?;
        let counted = count(pass, segment, reader, source).map_err(store_error)?;
        let counts = Arc::new(counted.counts);
        if u64::from(segment.max_doc) >= CACHED_FROM_DOCUMENTS {
            self.shared.cache.put(key, Cached::Counts(Arc::clone(&counts), segment.alive.clone()));
        }
        Ok((counts, counted.passing))
    }

    fn source<'w>(
        &self,
        driver: Option<usize>,
        segment: &SegmentView,
        text: Option<&'w dyn Weight>,
    ) -> Result<Source<'w>, StoreError> {
        if let Some(weight) = text {
            return Ok(Source::Text(weight));
        }
        let Some(driver) = driver else { return Ok(Source::All) };
        let group = &self.groups[driver];
        let lists =
            group.postings(self.view.reader(segment), &self.shared.fields, &self.shared.vocabularies)?;
        let multi = [Dimension::Attribute, Dimension::Channel, Dimension::Region];
        let distinct =
            group.field(&self.shared.fields).is_some_and(|(dimension, ..)| !multi.contains(&dimension));
        Ok(Source::Postings { lists, distinct })
    }

    /// The text query ready to run, without scores.
    fn unscored(&self) -> Result<Option<Box<dyn Weight>>, StoreError> {
        let scoring = EnableScoring::disabled_from_searcher(&self.view.searcher);
        self.text.map(|text| text.query.weight(scoring)).transpose().map_err(store_error)
    }

    /// About how many documents a pass looks at.
    fn documents(&self, driver: Option<usize>) -> u64 {
        let from_driver = driver.and_then(|at| self.groups[at].estimate(self.view));
        let most = self.view.documents;
        from_driver.or(self.text.map(|text| text.estimate)).unwrap_or(most).min(most)
    }

    /// Does something with every segment, on several threads if it is much. Results come in segment order.
    fn each_segment<R: Send>(
        &self,
        documents: u64,
        work: impl Fn(&SegmentView) -> Result<R, StoreError> + Sync,
    ) -> Result<Vec<R>, StoreError> {
        if documents < PARALLEL_FROM_DOCUMENTS {
            return self.view.segments.iter().map(work).collect();
        }
        // The biggest first, so that no thread is left with one at the end.
        let mut order: Vec<usize> = (0..self.view.segments.len()).collect();
        order.sort_by_key(|&at| std::cmp::Reverse(self.view.segments[at].max_doc));
        let done = self
            .shared
            .executor
            .map(|at: usize| Ok((at, work(&self.view.segments[at]))), order.into_iter())
            .map_err(store_error)?;
        let mut results = done;
        results.sort_by_key(|(at, _)| *at);
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// The best hits after a cursor, in order.
    fn best(
        &self,
        passing: &Passing,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<Candidate>, StoreError> {
        let sort = self.request.effective_sort();
        let after = cursor.map(|cursor| (cursor.key, cursor.tie));
        let parts = match (sort, self.text) {
            (Sort::Relevance, Some(text)) => {
                let searcher = &self.view.searcher;
                let statistics = Statistics { searcher, fields: &self.shared.fields };
                let scoring = EnableScoring::enabled_from_statistics_provider(&statistics, searcher);
                let weight = text.query.weight(scoring).map_err(store_error)?;
                let groups: Vec<&Group> = self.groups.iter().collect();
                self.each_segment(text.estimate, |segment| {
                    let reader = self.view.reader(segment);
                    let best = Best::new(limit, after);
                    let found = match self.few_of_many(passing, segment, text) {
                        Some(docs) => by_score_of(docs, segment, reader, &*weight, best),
                        None => by_score(&groups, segment, reader, &*weight, best),
                    };
                    found.map_err(store_error)
                })?
            }
            _ => self.best_by_column(passing, sort, after, limit)?,
        };
        let mut all: Vec<Candidate> = parts.into_iter().flatten().collect();
        all.sort_unstable();
        all.truncate(limit);
        Ok(all)
    }

    /// The hits of a segment, if to look each of them up takes less time than to go through all documents with the words.
    fn few_of_many<'p>(
        &self,
        passing: &'p Passing,
        segment: &SegmentView,
        text: &TextQuery,
    ) -> Option<&'p [DocId]> {
        if text.parts > MOST_ADDED_ALIKE {
            return None;
        }
        let share = text.estimate.saturating_mul(segment.max_doc.into()) / self.view.documents.max(1);
        let docs = passing.get(segment.ordinal as usize)?.as_deref()?;
        (docs.len() as u64 * SEEK_COST < share).then_some(docs)
    }

    fn best_by_column(
        &self,
        passing: &Passing,
        sort: Sort,
        after: Option<(u64, u64)>,
        limit: usize,
    ) -> Result<Vec<Vec<Candidate>>, StoreError> {
        let all: Vec<usize> = (0..self.groups.len()).collect();
        let driver = if self.text.is_some() { None } else { self.driver(&all) };
        let checked: Vec<&Group> =
            all.iter().filter(|at| Some(**at) != driver).map(|&at| &self.groups[at]).collect();
        let keys: Vec<String> = self.groups.iter().map(Group::key).collect();
        let what: Arc<str> =
            format!("top {:?} {sort:?} {after:?} {}", self.text_key(), keys.join(";")).into();
        let weight = self.unscored()?;
        self.each_segment(self.documents(driver), |segment| {
            let reader = self.view.reader(segment);
            let key = CacheKey { segment: reader.segment_id(), what: Arc::clone(&what) };
            if let Some(Cached::Top(candidates, complete)) = self.shared.cache.get(&key) {
                let alive = |c: &&Candidate| segment.alive.as_ref().is_none_or(|alive| alive.contains(c.doc));
                let left: Vec<Candidate> = candidates.iter().filter(alive).copied().collect();
                if complete || left.len() >= limit {
                    // The segment's place may have changed since.
                    return Ok(left
                        .into_iter()
                        .map(|c| Candidate { segment: segment.ordinal, ..c })
                        .collect());
                }
            }
            let best = Best::new(limit.max(KEPT_CANDIDATES), after);
            let passing = passing.get(segment.ordinal as usize).and_then(Option::as_deref);
            let found = match passing {
                Some(docs) => by_column(&[], sort, segment, reader, Source::These { docs, text: None }, best),
                None => {
                    let source = self.source(driver, segment, weight.as_deref())?;
                    by_column(&checked, sort, segment, reader, source, best)
                }
            };
            let (found, complete) = found.map_err(store_error)?;
            if u64::from(segment.max_doc) >= CACHED_FROM_DOCUMENTS {
                self.shared.cache.put(key, Cached::Top(Arc::new(found.clone()), complete));
            }
            Ok(found)
        })
    }

    fn hits(&self, best: &[Candidate]) -> Result<Vec<SearchHit>, StoreError> {
        best.iter().map(|candidate| self.hit(candidate)).collect()
    }

    fn hit(&self, candidate: &Candidate) -> Result<SearchHit, StoreError> {
        let address = DocAddress::new(candidate.segment, candidate.doc);
        let row: SearchDocument = parse(&row_text(&self.view.searcher, &self.shared.fields, address)?)?;
        let scored = self.text.is_some() && self.request.effective_sort() == Sort::Relevance;
        let score = scored.then(|| key_score(candidate.key));
        SearchHit::of(row, score, self.text.map(|text| &text.terms))
    }
}
