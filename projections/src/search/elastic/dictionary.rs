//! What words mean in the index, asked for in few requests: whatever a look at a query's words finds unknown is asked for at
//! once, and the words are looked at again.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::super::analysis::Synonyms;
use super::super::text::{Dictionary, MAX_EXPANSIONS, WordWays, Words, most_frequent, resolve};
use super::server::{Method, Request, Server};
use crate::model::StoreError;

/// Words near another one that the server gives, the most frequent first: more than can be used, for some are gone.
const NEAR: usize = 200;

type Counted = Vec<(String, u64)>;

/// Answers so far, and the questions that had none.
#[derive(Default)]
struct Answers {
    documents: BTreeMap<(Words, String), u64>,
    beginnings: BTreeMap<(Words, String), Counted>,
    /// Without counts; the word itself among them.
    typos: BTreeMap<(String, u8), Vec<String>>,
    asked: RefCell<Questions>,
}

#[derive(Default)]
struct Questions {
    documents: BTreeSet<(Words, String)>,
    beginnings: BTreeSet<(Words, String)>,
    typos: BTreeSet<(String, u8)>,
}

/// The ways to match each word of a query; see [`resolve`].
pub(super) fn ways(
    server: &Server,
    alias: &str,
    synonyms: &Synonyms,
    q: &str,
) -> Result<Option<Vec<WordWays>>, StoreError> {
    let mut answers = Answers::default();
    loop {
        let words = resolve(&answers, synonyms, q)?;
        let mut asked = answers.asked.take();
        if !(asked.documents.is_empty() && asked.beginnings.is_empty()) {
            // Which words are rare enough for typos is known only with these.
            asked.typos.clear();
        }
        if asked.documents.is_empty() && asked.beginnings.is_empty() && asked.typos.is_empty() {
            return Ok(words);
        }
        answers.ask(server, alias, &asked)?;
    }
}

impl Dictionary for Answers {
    fn documents(&self, words: Words, term: &str) -> Result<u64, StoreError> {
        let question = (words, term.to_owned());
        let known = self.documents.get(&question).copied();
        if known.is_none() {
            self.asked.borrow_mut().documents.insert(question);
        }
        Ok(known.unwrap_or(0))
    }

    fn beginning_with(&self, words: Words, start: &str) -> Result<Counted, StoreError> {
        let question = (words, start.to_owned());
        let known = self.beginnings.get(&question).cloned();
        if known.is_none() {
            self.asked.borrow_mut().beginnings.insert(question);
        }
        Ok(known.unwrap_or_default())
    }

    fn within(&self, term: &str, distance: u8) -> Result<Counted, StoreError> {
        let question = (term.to_owned(), distance);
        let Some(near) = self.typos.get(&question) else {
            self.asked.borrow_mut().typos.insert(question);
            return Ok(Vec::new());
        };
        // The server's dictionary also knows words of documents that were replaced since.
        let mut found = Vec::new();
        for word in near {
            let documents = self.documents(Words::Text, word)?;
            if documents > 0 {
                found.push((word.clone(), documents));
            }
        }
        Ok(most_frequent(found))
    }
}

const fn text_field(words: Words) -> &'static str {
    match words {
        Words::Text => "text",
        Words::Code => "code",
    }
}

const fn terms_field(words: Words) -> &'static str {
    match words {
        Words::Text => "text_terms",
        Words::Code => "code_terms",
    }
}

/// Text as a regular expression of the server that matches just it.
pub(super) fn literal(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if !c.is_alphanumeric() {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

impl Answers {
    /// One request for all questions.
    fn ask(&mut self, server: &Server, alias: &str, asked: &Questions) -> Result<(), StoreError> {
        let mut aggs = Map::new();
        let mut suggest = Map::new();
        for words in [Words::Text, Words::Code] {
            let terms: Vec<&str> = asked
                .documents
                .iter()
                .filter(|(of, _)| *of == words)
                .map(|(_, term)| term.as_str())
                .collect();
            if !terms.is_empty() {
                let counted =
                    json!({"terms": {"field": terms_field(words), "include": terms, "size": terms.len()}});
                let only = json!({"terms": {text_field(words): terms}});
                aggs.insert(format!("exact {}", text_field(words)), filtered(&only, &counted));
            }
        }
        for (at, (words, start)) in asked.beginnings.iter().enumerate() {
            let include = format!("{}.*", literal(start));
            let order = json!([{"_count": "desc"}, {"_key": "asc"}]);
            let counted = json!({"terms": {
                "field": terms_field(*words), "include": include, "size": MAX_EXPANSIONS, "order": order
            }});
            let only = json!({"prefix": {text_field(*words): start}});
            aggs.insert(format!("beginning {at}"), filtered(&only, &counted));
        }
        for (at, (term, distance)) in asked.typos.iter().enumerate() {
            let typo = json!({"text": term, "term": {
                "field": "text", "analyzer": "whitespace", "suggest_mode": "always", "sort": "frequency",
                "max_edits": distance, "prefix_length": 0, "min_word_length": 1, "accuracy": 0.0,
                "max_term_freq": 1_000_000_000, "size": NEAR, "shard_size": NEAR,
            }});
            suggest.insert(format!("typo {at}"), typo);
        }
        let mut body = json!({"size": 0, "track_total_hits": false});
        if !aggs.is_empty() {
            body["aggs"] = Value::Object(aggs);
        }
        if !suggest.is_empty() {
            body["suggest"] = Value::Object(suggest);
        }
        let answer = server.call(Request::new(Method::Post, format!("{alias}/_search")).json(&body))?;
        self.take(asked, &answer);
        Ok(())
    }

    fn take(&mut self, asked: &Questions, answer: &Value) {
        let aggs = &answer["aggregations"];
        for (words, term) in &asked.documents {
            let known = counted(&aggs[format!("exact {}", text_field(*words))]["counted"]);
            let documents = known.iter().find(|(found, _)| found == term).map_or(0, |(_, count)| *count);
            self.documents.insert((*words, term.clone()), documents);
        }
        for (at, question) in asked.beginnings.iter().enumerate() {
            let found = counted(&aggs[format!("beginning {at}")]["counted"]);
            self.beginnings.insert(question.clone(), most_frequent(found));
        }
        for (at, question) in asked.typos.iter().enumerate() {
            let options = answer["suggest"][format!("typo {at}")][0]["options"].as_array();
            let options = options.into_iter().flatten();
            let mut found: Vec<String> =
                options.filter_map(|option| option["text"].as_str().map(str::to_owned)).collect();
            // The server leaves out the word itself.
            found.push(question.0.clone());
            self.typos.insert(question.clone(), found);
        }
    }
}

fn filtered(only: &Value, counted: &Value) -> Value {
    json!({"filter": only, "aggs": {"counted": counted}})
}

/// The buckets of a count by terms.
pub(super) fn counted(answer: &Value) -> Counted {
    let bucket = |bucket: &Value| Some((bucket["key"].as_str()?.to_owned(), bucket["doc_count"].as_u64()?));
    answer["buckets"].as_array().into_iter().flatten().filter_map(bucket).collect()
}
