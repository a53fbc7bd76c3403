//! From the words of a query to terms of the index.
//!
//! Every word must be found: as it is (stemmed), as a synonym, as a part of a SKU; the last one also as the beginning of a
//! word. A word that few documents hold is looked for with typos too: one edit from 4 letters, two from 8, and two only if
//! one finds nothing. Whatever the relevance, an exact match ranks above a synonym, that above a beginning, that above a
//! typo.

use std::collections::{BTreeMap, HashSet};

use tantivy::query::{
    Bm25StatisticsProvider, BooleanQuery, DisjunctionMaxQuery, EnableScoring, Explanation, FuzzyTermQuery,
    Occur, Query, Scorer, TermQuery, Weight,
};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocId, DocSet, Score, Searcher, SegmentReader, Term};

use super::analysis::{Synonyms, stem, tokens};
use super::cache::{Cache, CacheKey, Cached};
use super::schema::{Fields, HIDDEN, UNBORN};
use super::segment::View;
use super::store::{io_error, store_error};
use crate::model::StoreError;

/// Words of a query that are looked at; more than that is no search for a variant.
const MAX_WORDS: usize = 16;
/// Terms that a beginning or a typo may stand for, the most frequent first.
pub(super) const MAX_EXPANSIONS: usize = 32;
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

/// The indexed texts that words are looked for in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Words {
    /// The words of a listing.
    Text,
    /// The forms of a SKU.
    Code,
}

/// One way to match a word: all of these terms.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Way {
    pub(super) words: Words,
    pub(super) terms: Vec<String>,
    pub(super) bonus: Score,
    pub(super) documents: u64,
}

/// The ways to match a word of a query: as a code, or by every one of its parts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WordWays {
    pub(super) codes: Vec<Way>,
    pub(super) parts: Vec<Vec<Way>>,
}

impl WordWays {
    /// Whether some document may hold the word.
    pub(super) fn is_known(&self) -> bool {
        !self.codes.is_empty() || self.has_all_parts()
    }

    pub(super) fn has_all_parts(&self) -> bool {
        !self.parts.is_empty() && self.parts.iter().all(|ways| !ways.is_empty())
    }

    fn ways(&self) -> impl Iterator<Item = &Way> {
        let parts = if self.has_all_parts() { self.parts.as_slice() } else { &[] };
        self.codes.iter().chain(parts.iter().flatten())
    }
}

/// What words mean in an index: the part of resolving a query that asks an engine.
pub(super) trait Dictionary {
    /// Documents that hold a term.
    fn documents(&self, words: Words, term: &str) -> Result<u64, StoreError>;

    /// Terms that begin so, the most frequent first (then in order of their bytes), at most [`MAX_EXPANSIONS`], each with the
    /// documents that hold it.
    fn beginning_with(&self, words: Words, start: &str) -> Result<Vec<(String, u64)>, StoreError>;

    /// Terms of the text within an edit distance, in the same order; a swap of neighbours is one edit.
    fn within(&self, term: &str, distance: u8) -> Result<Vec<(String, u64)>, StoreError>;
}

/// The ways to match each word of a query. `None`: there is no word in it.
pub(super) fn resolve(
    dictionary: &dyn Dictionary,
    synonyms: &Synonyms,
    q: &str,
) -> Result<Option<Vec<WordWays>>, StoreError> {
    let unfinished = !q.ends_with(char::is_whitespace);
    let raw: Vec<&str> =
        q.split_whitespace().filter(|word| word.chars().any(char::is_alphanumeric)).collect();
    let raw = &raw[..raw.len().min(MAX_WORDS)];
    let resolver = Resolver { dictionary, synonyms };
    let mut words = Vec::with_capacity(raw.len());
    for (at, word) in raw.iter().enumerate() {
        let last = unfinished && at + 1 == raw.len();
        let codes = resolver.code_ways(word, last)?;
        let parts = resolver.part_ways(word, last)?;
        // A mark that is no word by itself asks for nothing.
        if !(codes.is_empty() && parts.is_empty()) {
            words.push(WordWays { codes, parts });
        }
    }
    Ok((!words.is_empty()).then_some(words))
}

struct Resolver<'a> {
    dictionary: &'a dyn Dictionary,
    synonyms: &'a Synonyms,
}

impl Resolver<'_> {
    /// A word as a SKU, or as the beginning of one.
    fn code_ways(&self, word: &str, last: bool) -> Result<Vec<Way>, StoreError> {
        let code = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
        let way = |(term, documents): (String, u64), bonus| Way {
            words: Words::Code,
            terms: vec![term],
            bonus,
            documents,
        };
        let mut ways = Vec::new();
        let documents = self.dictionary.documents(Words::Code, &code)?;
        if documents > 0 {
            ways.push(way((code.clone(), documents), EXACT));
        }
        if last && code.len() >= 3 && code.bytes().any(|b| b.is_ascii_digit()) {
            let found = self.dictionary.beginning_with(Words::Code, &code)?;
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
        let documents = |text: &str| self.dictionary.documents(Words::Text, text);
        let mut ways: Vec<Way> = Vec::new();
        let mut add = |terms: Vec<String>, bonus: Score, documents: u64| {
            if documents > 0 && !ways.iter().any(|way| way.terms == terms) {
                ways.push(Way { words: Words::Text, terms, bonus, documents });
            }
        };
        add(vec![term.clone()], EXACT, documents(&term)?);
        for phrase in self.synonyms.of(&term) {
            let counts: Result<Vec<u64>, StoreError> = phrase.iter().map(|word| documents(word)).collect();
            add(phrase.to_vec(), SYNONYM, counts?.into_iter().min().unwrap_or(0));
        }
        if last && token.chars().count() >= 2 {
            for (found, documents) in self.dictionary.beginning_with(Words::Text, token)? {
                add(vec![found], BEGINNING, documents);
            }
        }
        let letters = term.chars().count();
        let known: u64 = ways.iter().map(|way| way.documents).sum();
        if known < RARE_DOCUMENTS && letters >= 4 && term.chars().all(char::is_alphabetic) {
            let mut typos = self.dictionary.within(&term, 1)?;
            let mut bonus = ONE_TYPO;
            if typos.iter().all(|(found, _)| *found == term) && letters >= 8 {
                typos = self.dictionary.within(&term, 2)?;
                bonus = TWO_TYPOS;
            }
            for (found, documents) in typos {
                if !ways.iter().any(|way| way.terms.len() == 1 && way.terms[0] == found) {
                    ways.push(Way { words: Words::Text, terms: vec![found], bonus, documents });
                }
            }
        }
        Ok(ways)
    }
}

/// Puts the most frequent first and leaves out what is too much.
pub(super) fn most_frequent(mut all: Vec<(String, u64)>) -> Vec<(String, u64)> {
    all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    all.truncate(MAX_EXPANSIONS);
    all
}

/// Terms that hits hold, for highlighting.
pub(super) fn terms_of(words: &[WordWays]) -> HashSet<String> {
    words.iter().flat_map(WordWays::ways).flat_map(|way| way.terms.iter().cloned()).collect()
}

/// The dictionaries of the segments of a view.
pub(super) struct ViewDictionary<'a> {
    pub(super) view: &'a View,
    pub(super) fields: &'a Fields,
    pub(super) cache: &'a Cache,
}

impl Dictionary for ViewDictionary<'_> {
    /// Deleted documents included.
    fn documents(&self, words: Words, text: &str) -> Result<u64, StoreError> {
        let field = self.fields.of_words(words);
        let term = Term::from_field_text(field, text);
        let mut sum = 0;
        for reader in self.view.searcher.segment_readers() {
            let inverted = reader.inverted_index(field).map_err(store_error)?;
            sum += u64::from(inverted.doc_freq(&term).map_err(io_error)?);
        }
        Ok(sum)
    }

    fn beginning_with(&self, words: Words, start: &str) -> Result<Vec<(String, u64)>, StoreError> {
        let field = self.fields.of_words(words);
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

    fn within(&self, term: &str, distance: u8) -> Result<Vec<(String, u64)>, StoreError> {
        let query = FuzzyTermQuery::new(Term::from_field_text(self.fields.text, term), distance, true);
        let (field, automaton) = (self.fields.text, query.automaton().map_err(store_error)?);
        self.expand(&format!("within {distance} {term}"), |reader| {
            let inverted = reader.inverted_index(field)?;
            let mut stream = inverted.terms().search(&automaton).into_stream()?;
            let mut found = Vec::new();
            while stream.advance() {
                found.push((String::from_utf8_lossy(stream.key()).into_owned(), stream.value().doc_freq));
            }
            Ok(found)
        })
    }
}

impl ViewDictionary<'_> {
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
        Ok(most_frequent(sums.into_iter().collect()))
    }
}

/// A text query, ready to run on one view.
pub(super) struct TextQuery {
    pub(super) query: Box<dyn Query>,
    /// Says which documents match, whatever was typed.
    pub(super) key: String,
    /// Terms that hits hold, for highlighting.
    pub(super) terms: HashSet<String>,
    /// About how many documents match.
    pub(super) estimate: u64,
    /// What a document must match, all of it; the scores are added up.
    pub(super) parts: Vec<TextPart>,
}

/// A part of a text query: a word, or a part of one.
pub(super) struct TextPart {
    pub(super) query: Box<dyn Query>,
    /// Says which documents match.
    pub(super) key: String,
    /// About how many documents match.
    pub(super) estimate: u64,
}

impl TextQuery {
    /// `None`: some word is nowhere in the index.
    pub(super) fn new(fields: &Fields, words: Vec<WordWays>) -> Option<Self> {
        if !words.iter().all(WordWays::is_known) {
            return None;
        }
        let terms = terms_of(&words);
        let mut parts = Vec::new();
        let mut estimate = u64::MAX;
        for word in words {
            estimate = estimate.min(add_word(fields, &mut parts, word));
        }
        let key = parts.iter().map(|part| part.key.as_str()).collect();
        let must = |part: &TextPart| (Occur::Must, part.query.box_clone());
        let query = match parts.as_slice() {
            [part] => part.query.box_clone(),
            parts => Box::new(BooleanQuery::new(parts.iter().map(must).collect())),
        };
        Some(Self { query, key, terms, estimate, parts })
    }
}

/// Adds what a document must match for a word, and says about how many do. A word matches as a code, or by every one of its
/// parts.
fn add_word(fields: &Fields, to: &mut Vec<TextPart>, word: WordWays) -> u64 {
    let documents = |ways: &[Way]| ways.iter().map(|way| way.documents).sum::<u64>();
    let by_parts = word.parts.iter().map(|ways| documents(ways)).min().unwrap_or(0);
    let estimate = documents(&word.codes) + by_parts;
    let whole = word.has_all_parts();
    let WordWays { codes, parts } = word;
    if codes.is_empty() {
        to.extend(parts.into_iter().map(|ways| TextPart {
            key: key_of(&ways),
            estimate: documents(&ways),
            query: any_way(fields, ways),
        }));
        return estimate;
    }
    let mut key = key_of(&codes);
    let each = |ways: Vec<Way>| -> Vec<Box<dyn Query>> {
        ways.into_iter().map(|way| one_way(fields, way)).collect()
    };
    let mut alternatives = each(codes);
    if whole {
        key.push('&');
        let mut all: Vec<(Occur, Box<dyn Query>)> = Vec::new();
        for ways in parts {
            key.push_str(&key_of(&ways));
            all.push((Occur::Must, Box::new(DisjunctionMaxQuery::new(each(ways)))));
        }
        alternatives.push(if all.len() == 1 { all.remove(0).1 } else { Box::new(BooleanQuery::new(all)) });
    }
    to.push(TextPart { key, estimate, query: Box::new(DisjunctionMaxQuery::new(alternatives)) });
    estimate
}

/// Identifies ways of a word among all.
fn key_of(ways: &[Way]) -> String {
    let ways = ways.iter().map(|way| format!("{:?}:{}|", way.words, way.terms.join("+")));
    ways.chain([";".to_owned()]).collect()
}

/// A word with only one way needs no bonus: there is nothing to rank it above.
fn any_way(fields: &Fields, mut ways: Vec<Way>) -> Box<dyn Query> {
    if ways.len() == 1 {
        return plain(fields, &ways.remove(0));
    }
    Box::new(DisjunctionMaxQuery::new(ways.into_iter().map(|way| one_way(fields, way)).collect()))
}

fn one_way(fields: &Fields, way: Way) -> Box<dyn Query> {
    Box::new(BonusQuery { inner: plain(fields, &way), bonus: way.bonus })
}

fn plain(fields: &Fields, way: &Way) -> Box<dyn Query> {
    let field = fields.of_words(way.words);
    let term = |text: &String| -> Box<dyn Query> {
        Box::new(TermQuery::new(Term::from_field_text(field, text), IndexRecordOption::WithFreqs))
    };
    if let [only] = way.terms.as_slice() {
        return term(only);
    }
    Box::new(BooleanQuery::new(way.terms.iter().map(|text| (Occur::Must, term(text))).collect()))
}

/// The statistics that words are weighed with: of documents with words alone, so that counters and hidden rows change no
/// ranking, and every engine weighs a word alike.
pub(super) struct Statistics<'a> {
    pub(super) searcher: &'a Searcher,
    pub(super) fields: &'a Fields,
}

impl Bm25StatisticsProvider for Statistics<'_> {
    fn total_num_tokens(&self, field: Field) -> tantivy::Result<u64> {
        self.searcher.total_num_tokens(field)
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        let mut wordless = 0;
        for state in [HIDDEN, UNBORN] {
            wordless += self.searcher.doc_freq(&Term::from_field_text(self.fields.lifecycle, state))?;
        }
        Ok(self.searcher.total_num_docs()?.saturating_sub(wordless))
    }

    fn doc_freq(&self, term: &Term) -> tantivy::Result<u64> {
        self.searcher.doc_freq(term)
    }
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
