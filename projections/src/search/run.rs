//! One search under way: choose drivers, evaluate segment by segment, put the parts together.

use std::sync::Arc;

use tantivy::query::{EnableScoring, Weight};
use tantivy::{DocAddress, DocId};

use super::answer::SearchHit;
use super::bits::{Bits, Test};
use super::cache::{CacheKey, Cached};
use super::count::{Pass, Seen, count};
use super::counts::{Counts, Wanted};
use super::cursor::Cursor;
use super::document::SearchDocument;
use super::facets::{self, Totals};
use super::filter::Group;
use super::query::Shared;
use super::request::{SearchRequest, Sort};
use super::segment::{Dimension, SegmentView, View};
use super::source::Source;
use super::store::{parse, row_text, store_error};
use super::text::{Statistics, TextQuery};
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

/// Of each segment the documents that are hits, where they are known.
pub(super) type Passing = Vec<Option<Vec<DocId>>>;

/// One search under way.
pub(super) struct Run<'q> {
    pub(super) shared: &'q Shared,
    pub(super) view: &'q View,
    pub(super) groups: &'q [Group],
    pub(super) text: Option<&'q TextQuery>,
    pub(super) request: &'q SearchRequest,
}

impl Run<'_> {
    fn text_key(&self) -> &str {
        self.text.map_or("", |text| &text.key)
    }

    /// The groups among `among` whose posting lists are short enough to be worth it, the shortest first.
    fn drivers(&self, among: &[usize]) -> Vec<usize> {
        let estimates = among.iter().filter_map(|&at| Some((self.groups[at].estimate(self.view)?, at)));
        // Reading a posting list, then documents at scattered places, costs about twice a plain scan.
        let mut short: Vec<_> =
            estimates.filter(|(documents, _)| documents * 2 < self.view.documents).collect();
        short.sort_unstable();
        short.into_iter().map(|(_, at)| at).collect()
    }

    /// Whether to go through combinations of properties takes less time than through the documents of a driver.
    fn combinations_are_fewer(&self, driver: usize, checked: &[usize]) -> bool {
        let attribute = |at: &usize| {
            self.groups[*at].field(&self.shared.fields).is_some_and(|(of, ..)| of == Dimension::Attribute)
        };
        if checked.iter().any(attribute) {
            return false;
        }
        let of_segment = |segment: &SegmentView| {
            let combined = segment.columns.packed.combined().filter(|combined| combined.has_runs());
            combined.map_or(2 * u64::from(segment.max_doc), |combined| combined.len() as u64)
        };
        let combinations: u64 = self.view.segments.iter().map(of_segment).sum();
        self.groups[driver].estimate(self.view).is_some_and(|documents| combinations < documents * 2)
    }

    /// Counts hits and facets, and gives the hits of each segment where they are few and were not counted before.
    pub(super) fn totals(&self) -> Result<(Totals, Passing), StoreError> {
        let all: Vec<usize> = (0..self.groups.len()).collect();
        let mut wanted = facets::wanted(&self.request.facets);
        let drivers = self.drivers_of(&all);
        for &driver in &drivers {
            if let Some((dimension, ..)) = self.groups[driver].field(&self.shared.fields)
                && dimension != Dimension::Attribute
            {
                wanted.words[dimension as usize] = false;
            }
        }
        let (mut totals, passing) = self.count(&self.pass(drivers.clone(), &all, wanted, true))?;
        for driver in drivers {
            let group = &self.groups[driver];
            let Some(facet) = group.facet.as_ref().filter(|facet| self.request.facets.wants(facet)) else {
                continue;
            };
            let others: Vec<usize> = all.iter().copied().filter(|&at| at != driver).collect();
            let mut own = Wanted::default();
            if let Some((dimension, ..)) = group.field(&self.shared.fields) {
                own.words[dimension as usize] = true;
            }
            let pass = self.pass(self.drivers_of(&others), &others, own, false);
            totals.replace(facet, self.count(&pass)?.0, &self.shared.vocabularies);
        }
        Ok((totals, passing))
    }

    /// The groups that drive a search for documents that pass `among`; none if the words do alone, or if everything is gone through.
    fn drivers_of(&self, among: &[usize]) -> Vec<usize> {
        if let Some(text) = self.text {
            let documents = self.view.documents.try_into().unwrap_or(DocId::MAX);
            let has_bits = text.parts.iter().all(|part| Bits::are_worth_it(part.estimate, documents));
            return if has_bits { self.drivers(among) } else { Vec::new() };
        }
        let drivers = self.drivers(among);
        let combined = drivers.first().is_some_and(|&driver| self.combinations_are_fewer(driver, among));
        if combined { Vec::new() } else { drivers }
    }

    /// The pass with these drivers that checks the rest of `groups`.
    fn pass(&self, drivers: Vec<usize>, groups: &[usize], wanted: Wanted, disjunctive: bool) -> Pass<'_> {
        let checked = groups.iter().copied().filter(|at| !drivers.contains(at)).collect();
        Pass { groups: self.groups, drivers, checked, wanted, disjunctive }
    }

    /// Counts a pass over all segments, as far as it is not known already.
    fn count(&self, pass: &Pass<'_>) -> Result<(Totals, Passing), StoreError> {
        let what: Arc<str> = pass.key(self.text_key()).into();
        let weight = self.unscored()?;
        let counted = self.each_segment(self.documents(&pass.drivers), |segment| {
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
            let seen = Seen { segment, reader, bits: &self.no_bits() };
            let gone = count(pass, &seen, Source::These { docs: &lost, text }).map_err(store_error)?;
            let mut counts = Counts::clone(&counts);
            counts.subtract(&gone.counts);
            let counts = Arc::new(counts);
            self.shared.cache.put(key, Cached::Counts(Arc::clone(&counts), Some(alive.clone())));
            return Ok((counts, None));
        }
        let bits = self.bits(segment, &pass.drivers)?;
        let source = self.source(&pass.drivers, segment, &bits, text)?;
        let seen = Seen { segment, reader, bits: &bits };
        let counted = count(pass, &seen, source).map_err(store_error)?;
        let counts = Arc::new(counted.counts);
        if u64::from(segment.max_doc) >= CACHED_FROM_DOCUMENTS {
            self.shared.cache.put(key, Cached::Counts(Arc::clone(&counts), segment.alive.clone()));
        }
        Ok((counts, counted.passing))
    }

    fn no_bits(&self) -> Vec<Option<Arc<Bits>>> {
        vec![None; self.groups.len()]
    }

    /// The bits of each group, where they are worth it. What goes through all documents uses none, and a list alone needs none.
    fn bits(&self, segment: &SegmentView, drivers: &[usize]) -> Result<Vec<Option<Arc<Bits>>>, StoreError> {
        let mut bits = self.no_bits();
        if self.text.is_some() || drivers.len() > 1 {
            for (at, bits) in bits.iter_mut().enumerate() {
                *bits = self.bits_of(segment, at)?;
            }
        }
        Ok(bits)
    }

    fn bits_of(&self, segment: &SegmentView, at: usize) -> Result<Option<Arc<Bits>>, StoreError> {
        let group = &self.groups[at];
        let worth_it = |listed| Bits::are_worth_it(listed, segment.max_doc);
        if !group.listed(&segment.columns).is_some_and(worth_it) {
            return Ok(None);
        }
        let reader = self.view.reader(segment);
        let key = CacheKey { segment: reader.segment_id(), what: format!("bits {}", group.key()).into() };
        if let Some(Cached::Bits(bits)) = self.shared.cache.get(&key) {
            return Ok(Some(bits));
        }
        let lists = group.postings(reader, &self.shared.fields, &self.shared.vocabularies)?;
        let bits = Arc::new(Bits::of(lists, segment.max_doc));
        self.shared.cache.put(key, Cached::Bits(Arc::clone(&bits)));
        Ok(Some(bits))
    }

    /// The bits of each part of the text query, if they are worth it for all. Whoever narrows a search down by filters uses
    /// the same words again.
    fn bits_of_text(&self, segment: &SegmentView) -> Result<Option<Vec<Arc<Bits>>>, StoreError> {
        let Some(text) = self.text else { return Ok(None) };
        let reader = self.view.reader(segment);
        let mut all = Vec::new();
        for part in &text.parts {
            let listed = part.estimate * u64::from(segment.max_doc) / self.view.documents.max(1);
            if !Bits::are_worth_it(listed, segment.max_doc) {
                return Ok(None);
            }
            let key = CacheKey { segment: reader.segment_id(), what: format!("words {}", part.key).into() };
            let bits = match self.shared.cache.get(&key) {
                Some(Cached::Bits(bits)) => bits,
                _ => {
                    let scoring = EnableScoring::disabled_from_searcher(&self.view.searcher);
                    let weight = part.query.weight(scoring).map_err(store_error)?;
                    let bits = Arc::new(Bits::matching(&*weight, reader).map_err(store_error)?);
                    self.shared.cache.put(key, Cached::Bits(Arc::clone(&bits)));
                    bits
                }
            };
            all.push(bits);
        }
        Ok(Some(all))
    }

    /// Where the documents come from that pass the drivers, or match the words.
    fn source<'w>(
        &self,
        drivers: &[usize],
        segment: &SegmentView,
        bits: &[Option<Arc<Bits>>],
        text: Option<&'w dyn Weight>,
    ) -> Result<Source<'w>, StoreError> {
        let of_drivers: Option<Vec<Arc<Bits>>> = drivers.iter().map(|&at| bits[at].clone()).collect();
        let mut also = Vec::new();
        if let Some(weight) = text {
            let Some(of_text) = self.bits_of_text(segment)? else { return Ok(Source::Text(weight)) };
            also = of_text;
        }
        let driver = match (drivers.first(), of_drivers) {
            (None, _) if also.is_empty() => return Ok(Source::All),
            (None, _) => return Ok(Source::Bits(also)),
            (Some(_), Some(of_drivers)) => {
                also.extend(of_drivers);
                return Ok(Source::Bits(also));
            }
            // Too rare for bits: its list is short.
            (Some(&driver), None) => driver,
        };
        let group = &self.groups[driver];
        let lists =
            group.postings(self.view.reader(segment), &self.shared.fields, &self.shared.vocabularies)?;
        let multi = [Dimension::Attribute, Dimension::Channel, Dimension::Region];
        // Hits of words are scored in order.
        let distinct = self.text.is_none()
            && group.field(&self.shared.fields).is_some_and(|(dimension, ..)| !multi.contains(&dimension));
        Ok(Source::Postings { lists, distinct, also })
    }

    /// The text query ready to run, without scores.
    fn unscored(&self) -> Result<Option<Box<dyn Weight>>, StoreError> {
        let scoring = EnableScoring::disabled_from_searcher(&self.view.searcher);
        self.text.map(|text| text.query.weight(scoring)).transpose().map_err(store_error)
    }

    /// About how many documents a pass looks at.
    fn documents(&self, drivers: &[usize]) -> u64 {
        let from_driver = drivers.first().and_then(|&at| self.groups[at].estimate(self.view));
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
    pub(super) fn best(
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
                self.each_segment(text.estimate, |segment| {
                    let reader = self.view.reader(segment);
                    let best = Best::new(limit, after);
                    if let Some(docs) = self.few_of_many(passing, segment, text) {
                        return by_score_of(docs, segment, reader, &*weight, best).map_err(store_error);
                    }
                    let bits = self.bits(segment, &[])?;
                    let tests = self.tests(0..self.groups.len(), segment, &bits);
                    by_score(&tests, segment, reader, &*weight, best).map_err(store_error)
                })?
            }
            _ => self.best_by_column(passing, sort, after, limit)?,
        };
        let mut all: Vec<Candidate> = parts.into_iter().flatten().collect();
        all.sort_unstable();
        all.truncate(limit);
        Ok(all)
    }

    /// The tests of groups, those by bit first.
    fn tests<'s>(
        &self,
        groups: impl Iterator<Item = usize>,
        segment: &'s SegmentView,
        bits: &'s [Option<Arc<Bits>>],
    ) -> Vec<Test<'s>> {
        let test = |at: usize| Test::of(&self.groups[at], &segment.columns, bits[at].as_deref());
        let mut tests: Vec<Test<'s>> = groups.map(test).collect();
        tests.sort_by_key(|test| matches!(test, Test::Packed(_)));
        tests
    }

    /// The hits of a segment, if to look each of them up takes less time than to go through all documents with the words.
    fn few_of_many<'p>(
        &self,
        passing: &'p Passing,
        segment: &SegmentView,
        text: &TextQuery,
    ) -> Option<&'p [DocId]> {
        if text.parts.len() > MOST_ADDED_ALIKE {
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
        let drivers = if self.text.is_some() {
            Vec::new()
        } else {
            self.drivers(&(0..self.groups.len()).collect::<Vec<_>>())
        };
        let keys: Vec<String> = self.groups.iter().map(Group::key).collect();
        let what: Arc<str> =
            format!("top {:?} {sort:?} {after:?} {}", self.text_key(), keys.join(";")).into();
        let weight = self.unscored()?;
        self.each_segment(self.documents(&drivers), |segment| {
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
                    let bits = self.bits(segment, &drivers)?;
                    let source = self.source(&drivers, segment, &bits, weight.as_deref())?;
                    let covered = source.covered(&drivers);
                    let others = (0..self.groups.len()).filter(|at| !covered.contains(at));
                    by_column(&self.tests(others, segment, &bits), sort, segment, reader, source, best)
                }
            };
            let (found, complete) = found.map_err(store_error)?;
            if u64::from(segment.max_doc) >= CACHED_FROM_DOCUMENTS {
                self.shared.cache.put(key, Cached::Top(Arc::new(found.clone()), complete));
            }
            Ok(found)
        })
    }

    pub(super) fn hits(&self, best: &[Candidate]) -> Result<Vec<SearchHit>, StoreError> {
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
