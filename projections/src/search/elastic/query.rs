//! A search as one request: hits, exact total and facets of one view of the index.
//!
//! Groups whose facet is counted filter after the counting; each facet is then counted under all groups but its own. What
//! remains filters before.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use daybook_eventlog::Position;
use serde_json::{Map, Value, json};

use super::super::analysis::{Synonyms, fold_value};
use super::super::answer::{SearchHit, SearchResponse, nothing};
use super::super::counts::BUCKETS;
use super::super::cursor::Cursor;
use super::super::facets::{self, Totals};
use super::super::filter::price_range;
use super::super::query::Engine;
use super::super::request::{DEFAULT_FACET_LIMIT, DEFAULT_LIMIT, Facet, SearchError, SearchRequest, Sort};
use super::super::schema::{EVERYWHERE, SEPARATOR, attribute_value, decimal_rank};
use super::super::segment::{Dimension, Vocabularies};
use super::super::store::parse;
use super::super::text::{Way, WordWays, Words, terms_of};
use super::super::top::score_key;
use super::dictionary::{counted, literal, ways};
use super::mapping::{signed, sort_field, sort_key, sort_value, unsigned};
use super::server::{Method, Request, Server};
use crate::model::StoreError;

/// Values that are counted of what is not cut to the facet limit by the server: attributes of all types in one list, and
/// places, to which "everywhere" is added.
const MOST_VALUES: usize = 20_000;

/// Answers searches.
pub(super) struct Searches {
    pub(super) server: Server,
    pub(super) alias: Arc<str>,
    pub(super) shown: Arc<AtomicU64>,
    pub(super) synonyms: Synonyms,
}

impl Engine for Searches {
    fn position(&self) -> Position {
        self.shown.load(Ordering::Acquire)
    }

    fn search(
        &self,
        request: &SearchRequest,
        search: u64,
        cursor: Option<Cursor>,
    ) -> Result<SearchResponse, SearchError> {
        // Read before the search, which sees at least that.
        let position = self.position();
        let text = match &request.q {
            None => None,
            Some(q) => match ways(&self.server, &self.alias, &self.synonyms, q)? {
                Some(words) if words.iter().all(WordWays::is_known) => Some(words),
                _ => return Ok(nothing(request, position)),
            },
        };
        let limit = request.limit.unwrap_or(DEFAULT_LIMIT);
        let body = body(request, text.as_deref(), cursor, limit);
        // Words are weighed by the statistics of all shards together.
        let call = Request::new(Method::Post, format!("{}/_search", self.alias))
            .with("search_type", "dfs_query_then_fetch")
            .json(&body);
        let answer = self.server.call(call).map_err(StoreError::from)?;
        if answer["_shards"]["failed"] != json!(0) || answer["timed_out"] != json!(false) {
            let said = "a part of the search index did not answer".to_owned();
            return Err(StoreError::Unavailable(said).into());
        }
        let terms = text.as_deref().map(terms_of);
        respond(request, search, &answer, terms.as_ref(), limit, position)
    }
}

fn respond(
    request: &SearchRequest,
    search: u64,
    answer: &Value,
    terms: Option<&HashSet<String>>,
    limit: usize,
    position: Position,
) -> Result<SearchResponse, SearchError> {
    let sort = request.effective_sort();
    let found = answer["hits"]["hits"].as_array().map_or(&[][..], Vec::as_slice);
    let shown = &found[..found.len().min(limit)];
    let mut hits = Vec::with_capacity(shown.len());
    for hit in shown {
        let row = hit["_source"]["row"].as_str().unwrap_or_default();
        let score = (sort == Sort::Relevance && terms.is_some()).then(|| score_of(hit));
        hits.push(SearchHit::of(parse(row)?, score, terms)?);
    }
    let next = if found.len() > limit { shown.last() } else { None };
    let cursor = next.and_then(|last| {
        let key = sort_key(sort, &last["sort"][0]).unwrap_or_else(|| score_key(score_of(last)));
        Some(Cursor { search, key, tie: unsigned(last["sort"][1].as_i64()?) }.encode())
    });
    let vocabularies = Vocabularies::default();
    let totals = totals(answer, &vocabularies);
    Ok(SearchResponse {
        total: answer["hits"]["total"]["value"].as_u64().unwrap_or(0),
        hits,
        facets: facets::lists(request, &totals, &vocabularies),
        cursor,
        position,
    })
}

#[allow(clippy::cast_possible_truncation, reason = "the server's scores have this width")]
fn score_of(hit: &Value) -> f32 {
    hit["sort"][0].as_f64().unwrap_or(0.0) as f32
}

/// The request's body.
fn body(request: &SearchRequest, text: Option<&[WordWays]>, cursor: Option<Cursor>, limit: usize) -> Value {
    let sort = request.effective_sort();
    let (after, before): (Vec<Group>, Vec<Group>) = groups(request)
        .into_iter()
        .partition(|group| group.facet.as_ref().is_some_and(|facet| request.facets.wants(facet)));
    let mut filter: Vec<Value> = before.into_iter().map(|group| group.filter).collect();
    let mut query = Map::new();
    if let Some(words) = text {
        let words: Vec<Value> = words.iter().flat_map(word).collect();
        if sort == Sort::Relevance {
            query.insert("must".to_owned(), Value::Array(words));
        } else {
            filter.extend(words);
        }
    }
    filter.push(json!({"term": {"table": "d"}}));
    query.insert("filter".to_owned(), Value::Array(filter));
    let (field, direction) = sort_field(sort);
    let mut body = json!({
        "size": limit + 1, "_source": ["row"], "track_total_hits": true,
        "query": {"bool": query},
        "sort": [{field: direction}, {"tie": "asc"}],
        "aggs": aggregations(request, &after),
    });
    if !after.is_empty() {
        body["post_filter"] = all_of(after.iter());
    }
    if let Some(cursor) = cursor {
        body["search_after"] = json!([sort_value(sort, cursor.key), signed(cursor.tie)]);
    }
    body
}

/// A filter of the request, and the facet whose counts ignore it.
struct Group {
    facet: Option<Facet>,
    filter: Value,
}

fn groups(request: &SearchRequest) -> Vec<Group> {
    let mut groups = Vec::new();
    let mut add = |facet: Option<Facet>, filter: Value| groups.push(Group { facet, filter });
    let folded =
        |values: &[String]| -> Vec<String> { values.iter().map(|value| fold_value(value)).collect() };
    if !request.category.is_empty() {
        let values = folded(&request.category);
        add(Some(Facet::Category), json!({"terms": {"category_folded": values}}));
    }
    if !request.brand.is_empty() {
        add(Some(Facet::Brand), json!({"terms": {"brand_folded": folded(&request.brand)}}));
    }
    for (kind, wanted) in &request.attributes {
        let value = |value: &String| fold_value(&attribute_value(kind, value.trim()));
        let values: Vec<String> = wanted.iter().map(value).collect();
        add(Some(Facet::Attribute(kind.clone())), json!({"terms": {"attribute_folded": values}}));
    }
    let places = [("channel", Facet::Channel, &request.channel), ("region", Facet::Region, &request.region)];
    for (field, facet, place) in places {
        if let Some(place) = place {
            add(Some(facet), json!({"terms": {field: [place.as_str(), EVERYWHERE]}}));
        }
    }
    if let Some(currency) = request.currency {
        add(None, json!({"term": {"currency": fold_value(currency.as_str())}}));
    }
    let states: Vec<&str> = request.effective_lifecycle().into_iter().map(|state| state.as_str()).collect();
    add(Some(Facet::Lifecycle), json!({"terms": {"lifecycle": states}}));
    if let Some((least, most)) = price_range(request) {
        let most = most.min(i64::MAX.unsigned_abs());
        add(Some(Facet::Price), json!({"range": {"price": {"gte": least, "lte": most}}}));
    }
    if let Some(wanted) = request.in_stock {
        add(Some(Facet::InStock), json!({"term": {"in_stock": u64::from(wanted)}}));
    }
    groups
}

fn all_of<'g>(groups: impl Iterator<Item = &'g Group>) -> Value {
    let filters: Vec<&Value> = groups.map(|group| &group.filter).collect();
    json!({"bool": {"filter": filters}})
}

/// The facets' counts, each under all groups but its own.
fn aggregations(request: &SearchRequest, groups: &[Group]) -> Value {
    let selection = &request.facets;
    let most = request.facet_limit.unwrap_or(DEFAULT_FACET_LIMIT);
    let mut all = Map::new();
    let mut add = |name: String, own: Option<&Facet>, counts: Value| {
        let others = all_of(groups.iter().filter(|group| own.is_none() || group.facet.as_ref() != own));
        all.insert(name, json!({"filter": others, "aggs": {"counted": counts}}));
    };
    let by = |field: &str, size: usize| {
        json!({"terms": {
            "field": field, "size": size, "shard_size": size.max(MOST_VALUES),
            "order": [{"_count": "desc"}, {"_key": "asc"}]
        }})
    };
    for (dimension, facet, size) in [
        (Dimension::Category, Facet::Category, most),
        (Dimension::Brand, Facet::Brand, most),
        (Dimension::Lifecycle, Facet::Lifecycle, most),
        (Dimension::Channel, Facet::Channel, MOST_VALUES),
        (Dimension::Region, Facet::Region, MOST_VALUES),
    ] {
        if selection.wants(&facet) {
            add(dimension.name().to_owned(), Some(&facet), by(dimension.name(), size));
        }
    }
    if selection.wants_attributes() {
        add("attribute".to_owned(), None, by("attribute", MOST_VALUES));
        let selected = groups.iter().filter_map(|group| group.facet.as_ref());
        for facet in selected {
            if let Facet::Attribute(kind) = facet {
                let mut counts = by("attribute", MOST_VALUES);
                counts["terms"]["include"] = json!(format!("{}{}.*", literal(kind), SEPARATOR));
                add(format!("attribute {kind}"), Some(facet), counts);
            }
        }
    }
    if selection.wants(&Facet::Price) {
        let from = |at: usize| BUCKETS.get(at).map(|from| decimal_rank((*from).into()));
        let range = |at: usize| {
            let mut range = json!({"key": at.to_string(), "from": from(at)});
            if let Some(to) = from(at + 1) {
                range["to"] = json!(to);
            }
            range
        };
        let ranges: Vec<Value> = (0..BUCKETS.len()).map(range).collect();
        add("price".to_owned(), Some(&Facet::Price), json!({"range": {"field": "price", "ranges": ranges}}));
    }
    if selection.wants(&Facet::InStock) {
        let counts = json!({"terms": {"field": "in_stock", "size": 2}});
        add("in_stock".to_owned(), Some(&Facet::InStock), counts);
    }
    Value::Object(all)
}

/// The counts in the form that the lists of a response are made from.
fn totals(answer: &Value, vocabularies: &Vocabularies) -> Totals {
    let mut totals = Totals::default();
    let Some(aggs) = answer["aggregations"].as_object() else { return totals };
    let own: Vec<&str> = aggs.keys().filter_map(|name| name.strip_prefix("attribute ")).collect();
    for (name, answer) in aggs {
        let answer = &answer["counted"];
        let number = |bucket: &Value, name: &str| bucket[name].as_u64().and_then(|n| usize::try_from(n).ok());
        match name.as_str() {
            "price" => {
                for bucket in answer["buckets"].as_array().into_iter().flatten() {
                    let at = bucket["key"].as_str().and_then(|at| at.parse().ok());
                    if let Some(at) = at {
                        totals.set_price(at, bucket["doc_count"].as_u64().unwrap_or(0));
                    }
                }
            }
            "in_stock" => {
                for bucket in answer["buckets"].as_array().into_iter().flatten() {
                    if let Some(at) = number(bucket, "key") {
                        totals.set_in_stock(at, bucket["doc_count"].as_u64().unwrap_or(0));
                    }
                }
            }
            _ => {
                let column = name.split(' ').next().unwrap_or_default();
                let Some(dimension) = Dimension::ALL.into_iter().find(|d| d.name() == column) else {
                    continue;
                };
                for (value, count) in counted(answer) {
                    let kind = value.split(SEPARATOR).next().unwrap_or_default();
                    // Counted once more, without the selection of its own type.
                    if name == "attribute" && own.contains(&kind) {
                        continue;
                    }
                    totals.set_word(dimension, vocabularies.of(dimension).intern(&value), count);
                }
            }
        }
    }
    totals
}

/// A word's clauses, all of which must hold: the same tree that the embedded engine evaluates.
fn word(word: &WordWays) -> Vec<Value> {
    let each = |ways: &[Way]| -> Vec<Value> { ways.iter().map(one_way).collect() };
    if word.codes.is_empty() {
        return word
            .parts
            .iter()
            .map(|ways| match ways.as_slice() {
                [only] => plain(only),
                ways => best_of(each(ways)),
            })
            .collect();
    }
    let mut alternatives = each(&word.codes);
    if word.has_all_parts() {
        let parts: Vec<Value> = word.parts.iter().map(|ways| best_of(each(ways))).collect();
        alternatives.push(json!({"bool": {"must": parts}}));
    }
    vec![best_of(alternatives)]
}

fn best_of(queries: Vec<Value>) -> Value {
    json!({"dis_max": {"queries": queries, "tie_breaker": 0.0}})
}

fn one_way(way: &Way) -> Value {
    if way.bonus == 0.0 {
        return plain(way);
    }
    let bonus = json!({"constant_score": {"filter": {"match_all": {}}, "boost": way.bonus}});
    json!({"bool": {"must": [plain(way), bonus]}})
}

fn plain(way: &Way) -> Value {
    let field = match way.words {
        Words::Text => "text",
        Words::Code => "code",
    };
    let term = |text: &String| json!({"term": {field: text}});
    match way.terms.as_slice() {
        [only] => term(only),
        terms => json!({"bool": {"must": terms.iter().map(term).collect::<Vec<_>>()}}),
    }
}
