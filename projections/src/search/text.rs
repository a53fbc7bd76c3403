//! From the words of a query to terms of the index.
//!
//! Every word must be found: as it is (stemmed), as a synonym, as a part of a SKU; the last one also as the beginning of a
//! word. A word that few documents hold is looked for with typos too: one edit from 4 letters, two from 8, and two only if
//! one finds nothing. Whatever the relevance, an exact match ranks above a synonym, that above a beginning, that above a
//! typo.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use tantivy::query::{
    BooleanQuery, DisjunctionMaxQuery, EnableScoring, Explanation, FuzzyTermQuery, Occur, Query, Scorer,
    TermQuery, Weight,
};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocId, DocSet, Score, SegmentReader, Term};

use super::analysis::{Synonyms, stem, tokens};
use super::cache::{Cache, CacheKey, Cached};
use super::schema::Fields;
use super::segment::View;
use super::store::{io_error, store_error};
use crate::model::StoreError;

/// Words of a query that are looked at; more than that is no search for a variant.
const MAX_WORDS: usize = 16;
/// Terms that a beginning or a typo may stand for, the most frequent first.
const MAX_EXPANSIONS: usize = 32;
/// Terms of one segment's dictionary that are looked at for a beginning.
const MAX_SCANNED: usize = 4_096;
/// A word in fewer documents than this may be a typo.
const RARE_DOCUMENTS: u64 = 20;

/// Added to the score by the kind of match; more than any difference in relevance (BM25 of one word stays below 40).
const EXACT: Score = 192.0;
const SYNONYM: Score = 144.0;
const BEGINNING: Score = 96.0;
const ONE_TYPO: Score = 48.0;
const TWO_TYPOS: Score = 0.0;

/// A text query, resolved against one view.
pub(super) struct TextQuery {
    pub(super) query: Box<dyn Query>,
    /// Says which documents match, whatever was typed.
    pub(super) key: String,
    /// Terms that hits hold, for highlighting.
    pub(super) terms: HashSet<String>,
    /// About how many documents match.
    pub(super) estimate: u64,
}

/// One way to match a word: all of these terms.
struct Way {
    field: Field,
    terms: Vec<String>,
    bonus: Score,
    documents: u64,
}

pub(super) struct Resolver<'a> {
    pub(super) view: &'a View,
    pub(super) fields: &'a Fields,
    pub(super) synonyms: &'a Synonyms,
    pub(super) cache: &'a Cache,
}

impl Resolver<'_> {
    /// `None`: some word is nowhere in the index.
    pub(super) fn resolve(&self, q: &str) -> Result<Option<TextQuery>, StoreError> {
        let unfinished = !q.ends_with(char::is_whitespace);
        let raw: Vec<&str> =
            q.split_whitespace().filter(|word| word.chars().any(char::is_alphanumeric)).collect();
        let raw = &raw[..raw.len().min(MAX_WORDS)];
        let mut resolved = TextQuery {
            query: Box::new(tantivy::query::EmptyQuery),
            key: String::new(),
            terms: HashSet::new(),
            estimate: u64::MAX,
        };
        let mut musts: Vec<(Occur, Box<dyn Query>)> = Vec::new();
        for (at, word) in raw.iter().enumerate() {
            let last = unfinished && at + 1 == raw.len();
            let codes = self.code_ways(word, last)?;
            let parts = self.part_ways(word, last)?;
            if codes.is_empty() && parts.iter().any(Vec::is_empty) {
                return Ok(None);
            }
            resolved.add_word(&mut musts, codes, parts);
        }
        if musts.is_empty() {
            return Ok(None);
        }
        resolved.query =
            if musts.len() == 1 { musts.remove(0).1 } else { Box::new(BooleanQuery::new(musts)) };
        Ok(Some(resolved))
    }

    /// A word as a SKU, or as the beginning of one.
    fn code_ways(&self, word: &str, last: bool) -> Result<Vec<Way>, StoreError> {
        let code = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
        let field = self.fields.code;
        let way =
            |(term, documents): (String, u64), bonus| Way { field, terms: vec![term], bonus, documents };
        let mut ways = Vec::new();
        let documents = self.documents(field, &code)?;
        if documents > 0 {
            ways.push(way((code.clone(), documents), EXACT));
        }
        if last && code.len() >= 3 && code.bytes().any(|b| b.is_ascii_digit()) {
            let found = self.beginning_with(field, &code)?;
            ways.extend(
                found.into_iter().filter(|(term, _)| *term != code).map(|found| way(found, BEGINNING)),
            );
        }
        Ok(ways)
    }

    /// The ways to match each token of a word.
    fn part_ways(&self, word: &str, last: bool) -> Result<Vec<Vec<Way>>, StoreError> {
        let mut parts: Vec<String> = Vec::new();
        tokens(word, |token, _| parts.push(token.to_owned()));
        let count = parts.len();
        let each =
            parts.into_iter().enumerate().map(|(at, part)| self.token_ways(&part, last && at + 1 == count));
        each.collect()
    }

    fn token_ways(&self, token: &str, last: bool) -> Result<Vec<Way>, StoreError> {
        let mut term = token.to_owned();
        stem(&mut term);
        let field = self.fields.text;
        let mut ways: Vec<Way> = Vec::new();
        let mut add = |terms: Vec<String>, bonus: Score, documents: u64| {
            if documents > 0 && !ways.iter().any(|way| way.terms == terms) {
                ways.push(Way { field, terms, bonus, documents });
            }
        };
        add(vec![term.clone()], EXACT, self.documents(field, &term)?);
        for phrase in self.synonyms.of(&term) {
            let counts: Result<Vec<u64>, StoreError> =
                phrase.iter().map(|word| self.documents(field, word)).collect();
            add(phrase.to_vec(), SYNONYM, counts?.into_iter().min().unwrap_or(0));
        }
        if last && token.chars().count() >= 2 {
            for (found, documents) in self.beginning_with(field, token)? {
                add(vec![found], BEGINNING, documents);
            }
        }
        let letters = term.chars().count();
        let known: u64 = ways.iter().map(|way| way.documents).sum();
        if known < RARE_DOCUMENTS && letters >= 4 && term.chars().all(char::is_alphabetic) {
            let mut typos = self.within(&term, 1)?;
            let mut bonus = ONE_TYPO;
            if typos.iter().all(|(found, _)| *found == term) && letters >= 8 {
                typos = self.within(&term, 2)?;
                bonus = TWO_TYPOS;
            }
            for (found, documents) in typos {
                if !ways.iter().any(|way| way.terms.len() == 1 && way.terms[0] == found) {
                    ways.push(Way { field, terms: vec![found], bonus, documents });
                }
            }
        }
        Ok(ways)
    }

    /// Documents that hold a term, deleted ones included.
    fn documents(&self, field: Field, text: &str) -> Result<u64, StoreError> {
        let term = Term::from_field_text(field, text);
        let mut sum = 0;
        for reader in self.view.searcher.segment_readers() {
            let inverted = reader.inverted_index(field).map_err(store_error)?;
            sum += u64::from(inverted.doc_freq(&term).map_err(io_error)?);
        }
        Ok(sum)
    }

    fn beginning_with(&self, field: Field, start: &str) -> Result<Vec<(String, u64)>, StoreError> {
        let name = format!("beginning {} {start}", field.field_id());
        self.expand(&name, |reader| {
            let inverted = reader.inverted_index(field)?;
            let mut stream = inverted.terms().range().ge(start).into_stream()?;
            let mut found = Vec::new();
            while found.len() < MAX_SCANNED && stream.advance() && stream.key().starts_with(start.as_bytes())
            {
                found.push((String::from_utf8_lossy(stream.key()).into_owned(), stream.value().doc_freq));
            }
            Ok(found)
        })
    }

    /// Terms within an edit distance; a swap of neighbours is one edit.
    fn within(&self, term: &str, distance: u8) -> Result<Vec<(String, u64)>, StoreError> {
        let query = FuzzyTermQuery::new(Term::from_field_text(self.fields.text, term), distance, true);
        let field = self.fields.text;
        self.expand(&format!("within {distance} {term}"), |reader| {
            let inverted = reader.inverted_index(field)?;
            let mut stream = inverted.terms().search(query.automaton()?).into_stream()?;
            let mut found = Vec::new();
            while stream.advance() {
                found.push((String::from_utf8_lossy(stream.key()).into_owned(), stream.value().doc_freq));
            }
            Ok(found)
        })
    }

    /// Gathers terms over all segments: the most frequent, in order.
    fn expand(
        &self,
        name: &str,
        find: impl Fn(&SegmentReader) -> tantivy::Result<Vec<(String, u32)>>,
    ) -> Result<Vec<(String, u64)>, StoreError> {
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for reader in self.view.searcher.segment_readers() {
            let key = CacheKey { segment: reader.segment_id(), what: name.into() };
            let terms = match self.cache.get(&key) {
                Some(Cached::Terms(terms)) => terms,
                _ => {
                    let terms = std::sync::Arc::new(find(reader).map_err(store_error)?);
                    self.cache.put(key, Cached::Terms(std::sync::Arc::clone(&terms)));
                    terms
                }
            };
            for (term, documents) in &*terms {
                *sums.entry(term.clone()).or_default() += u64::from(*documents);
            }
        }
        let mut all: Vec<(String, u64)> = sums.into_iter().collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        all.truncate(MAX_EXPANSIONS);
        Ok(all)
    }
}

impl TextQuery {
    /// A word matches as a code, or by every one of its parts.
    fn add_word(&mut self, musts: &mut Vec<(Occur, Box<dyn Query>)>, codes: Vec<Way>, parts: Vec<Vec<Way>>) {
        let documents = |ways: &[Way]| ways.iter().map(|way| way.documents).sum::<u64>();
        let by_parts = parts.iter().map(|ways| documents(ways)).min().unwrap_or(0);
        self.estimate = self.estimate.min(documents(&codes) + by_parts);
        let whole = !parts.is_empty() && parts.iter().all(|ways| !ways.is_empty());
        if codes.is_empty() {
            for ways in parts {
                self.note(&ways);
                musts.push((Occur::Must, any_way(ways)));
            }
            return;
        }
        self.note(&codes);
        let mut alternatives: Vec<Box<dyn Query>> = codes.into_iter().map(one_way).collect();
        if whole {
            self.key.push('&');
            let mut all: Vec<(Occur, Box<dyn Query>)> = Vec::new();
            for ways in parts {
                self.note(&ways);
                all.push((
                    Occur::Must,
                    Box::new(DisjunctionMaxQuery::new(ways.into_iter().map(one_way).collect())),
                ));
            }
            alternatives.push(if all.len() == 1 {
                all.remove(0).1
            } else {
                Box::new(BooleanQuery::new(all))
            });
        }
        musts.push((Occur::Must, Box::new(DisjunctionMaxQuery::new(alternatives))));
    }

    fn note(&mut self, ways: &[Way]) {
        for way in ways {
            self.terms.extend(way.terms.iter().cloned());
            write!(self.key, "{}:{}|", way.field.field_id(), way.terms.join("+"))
                .expect("a String takes every write");
        }
        self.key.push(';');
    }
}

/// A word with only one way needs no bonus: there is nothing to rank it above.
fn any_way(mut ways: Vec<Way>) -> Box<dyn Query> {
    if ways.len() == 1 {
        return plain(&ways.remove(0));
    }
    Box::new(DisjunctionMaxQuery::new(ways.into_iter().map(one_way).collect()))
}

fn one_way(way: Way) -> Box<dyn Query> {
    Box::new(BonusQuery { inner: plain(&way), bonus: way.bonus })
}

fn plain(way: &Way) -> Box<dyn Query> {
    let term = |text: &String| -> Box<dyn Query> {
        Box::new(TermQuery::new(Term::from_field_text(way.field, text), IndexRecordOption::WithFreqs))
    };
    if let [only] = way.terms.as_slice() {
        return term(only);
    }
    Box::new(BooleanQuery::new(way.terms.iter().map(|text| (Occur::Must, term(text))).collect()))
}

/// Matches what another query matches, and adds a constant to the score.
#[derive(Debug)]
struct BonusQuery {
    inner: Box<dyn Query>,
    bonus: Score,
}

impl Clone for BonusQuery {
    fn clone(&self) -> Self {
        Self { inner: self.inner.box_clone(), bonus: self.bonus }
    }
}

impl Query for BonusQuery {
    fn weight(&self, scoring: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        let inner = self.inner.weight(scoring)?;
        if !scoring.is_scoring_enabled() {
            return Ok(inner);
        }
        Ok(Box::new(BonusWeight { inner, bonus: self.bonus }))
    }
}

struct BonusWeight {
    inner: Box<dyn Weight>,
    bonus: Score,
}

impl Weight for BonusWeight {
    fn scorer(&self, reader: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        Ok(Box::new(BonusScorer { inner: self.inner.scorer(reader, boost)?, bonus: self.bonus }))
    }

    fn explain(&self, reader: &SegmentReader, doc: DocId) -> tantivy::Result<Explanation> {
        self.inner.explain(reader, doc)
    }
}

struct BonusScorer {
    inner: Box<dyn Scorer>,
    bonus: Score,
}

impl DocSet for BonusScorer {
    fn advance(&mut self) -> DocId {
        self.inner.advance()
    }

    fn seek(&mut self, target: DocId) -> DocId {
        self.inner.seek(target)
    }

    fn doc(&self) -> DocId {
        self.inner.doc()
    }

    fn size_hint(&self) -> u32 {
        self.inner.size_hint()
    }

    fn cost(&self) -> u64 {
        self.inner.cost()
    }
}

impl Scorer for BonusScorer {
    fn score(&mut self) -> Score {
        self.inner.score() + self.bonus
    }
}
