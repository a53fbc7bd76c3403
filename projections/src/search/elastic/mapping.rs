//! The index's settings and mapping, and how a row becomes a document of the server.
//!
//! Nothing is analysed by the server: words come as tokens joined by spaces, values that filters compare come folded.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::analysis::{ANALYSIS_VERSION, fold_value, indexed_code, indexed_text};
use super::super::document::SearchDocument;
use super::super::request::Sort;
use super::super::schema::{COUNTERS, Columns, DOCUMENTS, key, prefix, to_json};
use super::ElasticOptions;
use crate::model::StoreError;

/// Moves whenever the form of what is stored changes.
const FORMAT: u32 = 1;

/// The body that creates the index of a generation, together with its alias.
pub(super) fn creation(options: &ElasticOptions, alias: &str, generation: u64) -> Value {
    let keyword = json!({"type": "keyword"});
    // For filters alone.
    let folded = json!({"type": "keyword", "doc_values": false});
    // For facets and dictionaries alone.
    let column = json!({"type": "keyword", "index": false});
    let words = json!({
        "type": "text", "analyzer": "whitespace", "similarity": "words", "index_options": "freqs"
    });
    let number = json!({"type": "long"});
    let sorted = json!({"type": "long", "index": false});
    let unread = json!({"type": "object", "enabled": false});
    json!({
        "settings": {
            "number_of_shards": options.shards,
            "number_of_replicas": options.replicas,
            // A commit is shown when it is whole, not when a timer fires.
            "refresh_interval": "-1",
            "similarity": {"words": {"type": "BM25", "k1": 1.2, "b": 0.75}},
        },
        "mappings": {
            "dynamic": "strict",
            "_meta": meta(generation),
            "properties": {
                "control": unread, "row": unread,
                "table": keyword, "key": keyword,
                "text": words, "code": words, "text_terms": column, "code_terms": column,
                "brand": column, "category": column, "attribute": column,
                "brand_folded": folded, "category_folded": folded, "attribute_folded": folded,
                "currency": folded,
                "lifecycle": keyword, "channel": keyword, "region": keyword,
                "price": number, "price_up": sorted, "discount": sorted, "popularity": sorted,
                "created": sorted, "in_stock": number, "tie": sorted,
            },
        },
        "aliases": {alias: {}},
    })
}

fn meta(generation: u64) -> Value {
    json!({"daybook": {"format": FORMAT, "analysis": ANALYSIS_VERSION, "generation": generation}})
}

/// Checks that an index (the answer to a request for its mapping) is what this build writes.
pub(super) fn check(answer: &Value, alias: &str, generation: u64) -> Result<(), StoreError> {
    let Some(index) = answer.as_object().and_then(|indices| indices.values().next()) else {
        return Err(StoreError::Damaged(format!("the index behind {alias} has no mapping")));
    };
    let actual = &index["mappings"]["_meta"];
    if *actual == meta(generation) {
        return Ok(());
    }
    if actual["daybook"].is_object() {
        return Err(StoreError::Outdated(format!("the index behind {alias} was written by another build")));
    }
    Err(StoreError::Damaged(format!("the index behind {alias} was not made by Daybook")))
}

/// What stands in place of a deleted row, and is found by its key alone.
pub(super) fn deleted(table: &str, id: &str) -> Value {
    json!({"key": key(table, id)})
}

/// The document of a row: `None` if the row's text is not what its table holds.
pub(super) fn source(table: &str, id: &str, row: &str) -> Option<Value> {
    let mut source = json!({"table": prefix(table).to_string(), "key": key(table, id), "row": row});
    if table == COUNTERS {
        return Some(source);
    }
    debug_assert_eq!(table, DOCUMENTS);
    let document: SearchDocument = serde_json::from_str(row).ok()?;
    let Some(listing) = &document.listing else { return Some(source) };
    let Columns {
        brand,
        category,
        lifecycle,
        currency,
        attribute,
        channel,
        region,
        price,
        discount,
        popularity,
        created,
        in_stock,
        tie,
    } = Columns::of(&document);
    let text = indexed_text(listing);
    let code = indexed_code(listing.sku.as_str());
    let folded: BTreeSet<String> = attribute.iter().map(|value| fold_value(value)).collect();
    let fields = json!({
        "text_terms": distinct(&text), "code_terms": distinct(&code), "text": text, "code": code,
        "brand_folded": fold_value(&brand), "category_folded": fold_value(&category),
        "attribute_folded": folded, "currency": fold_value(&currency),
        "brand": brand, "category": category, "attribute": attribute,
        "lifecycle": lifecycle, "channel": channel, "region": region,
        "price": price, "price_up": price_up(price), "discount": discount, "popularity": popularity,
        "created": created, "in_stock": in_stock, "tie": signed(tie),
    });
    if let (Some(to), Value::Object(fields)) = (source.as_object_mut(), fields) {
        to.extend(fields);
    }
    Some(source)
}

fn distinct(words: &str) -> BTreeSet<&str> {
    words.split(' ').filter(|word| !word.is_empty()).collect()
}

/// The row of a document as reconciliation reads it: its text, or, if the indexed copies beside it say something else, both.
pub(super) fn row_of(table: &str, id: &str, mut stored: Value) -> String {
    let Some(text) = stored["row"].as_str().map(str::to_owned) else {
        return json!({"unreadable": stored}).to_string();
    };
    if source(table, id, &text).as_ref() == Some(&stored) {
        return text;
    }
    if let Some(fields) = stored.as_object_mut() {
        fields.remove("row");
    }
    let row: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    to_json(&json!({"row": row, "indexed": stored}))
}

/// A price for the ascending order: those without one come last.
const fn price_up(rank: u64) -> i64 {
    match rank.checked_sub(1) {
        Some(rank) => rank.cast_signed(),
        None => i64::MAX,
    }
}

/// The server's numbers are signed: the same order, shifted.
pub(super) const fn signed(number: u64) -> i64 {
    (number ^ (1 << 63)).cast_signed()
}

pub(super) const fn unsigned(number: i64) -> u64 {
    number.cast_unsigned() ^ (1 << 63)
}

/// The column of a sort order, and whether it is read downwards.
pub(super) const fn sort_field(sort: Sort) -> (&'static str, &'static str) {
    match sort {
        Sort::Relevance => ("_score", "desc"),
        Sort::PriceAscending => ("price_up", "asc"),
        Sort::PriceDescending => ("price", "desc"),
        Sort::Newest => ("created", "desc"),
        Sort::Popularity => ("popularity", "desc"),
        Sort::Discount => ("discount", "desc"),
    }
}

/// The key that the embedded engine gives a hit, from the value that the server sorted by: cursors are the same.
pub(super) fn sort_key(sort: Sort, value: &Value) -> Option<u64> {
    match sort {
        Sort::Relevance => None,
        Sort::PriceAscending => match value.as_i64()? {
            i64::MAX => Some(0),
            rank => Some(u64::MAX - (rank.cast_unsigned() + 1)),
        },
        Sort::PriceDescending | Sort::Newest | Sort::Popularity | Sort::Discount => value.as_u64(),
    }
}

/// The value that the server sorted by, from a key.
pub(super) fn sort_value(sort: Sort, key: u64) -> Value {
    match sort {
        Sort::Relevance => json!(super::super::top::key_score(key)),
        Sort::PriceAscending if key == 0 => json!(i64::MAX),
        Sort::PriceAscending => json!((u64::MAX - key).saturating_sub(1)),
        Sort::PriceDescending | Sort::Newest | Sort::Popularity | Sort::Discount => json!(key),
    }
}
