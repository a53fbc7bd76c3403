//! The engine's schema, and how a row becomes an engine document.
//!
//! Every document holds exactly one value in every single-valued column, hidden rows too: a column without holes is read
//! several times faster than one with.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use tantivy::schema::{
    FAST, Field, IndexRecordOption, NumericOptions, STORED, STRING, Schema, TextFieldIndexing, TextOptions,
};
use tantivy::{TantivyDocument, Term};

use super::analysis;
use super::document::{Counter, Listing, SearchDocument};
use super::text::Words;

pub(super) const DOCUMENTS: &str = "documents";
pub(super) const COUNTERS: &str = "counters";

/// Lifecycle value of rows that no request can ask for.
pub(super) const HIDDEN: &str = "~hidden";
/// The same for documents of variants that are not created yet, which are looked up when the index is opened.
pub(super) const UNBORN: &str = "~unborn";
/// Value of channel and region for "everywhere"; not in the alphabet of channels.
pub(super) const EVERYWHERE: &str = "*";
/// Stands between attribute type and value; labels hold no control characters.
pub(super) const SEPARATOR: char = '\u{1}';

/// The fields.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields {
    pub(super) key: Field,
    pub(super) row: Field,
    pub(super) text: Field,
    pub(super) code: Field,
    pub(super) brand: Field,
    pub(super) category: Field,
    pub(super) lifecycle: Field,
    pub(super) currency: Field,
    pub(super) attribute: Field,
    pub(super) channel: Field,
    pub(super) region: Field,
    pub(super) price: Field,
    pub(super) discount: Field,
    pub(super) popularity: Field,
    pub(super) created: Field,
    pub(super) in_stock: Field,
    pub(super) tie: Field,
}

impl Fields {
    /// The field that holds these words.
    pub(super) const fn of_words(&self, words: Words) -> Field {
        match words {
            Words::Text => self.text,
            Words::Code => self.code,
        }
    }
}

/// The schema and its fields.
pub(super) fn build() -> (Schema, Fields) {
    let mut builder = Schema::builder();
    let words = || {
        let indexing = TextFieldIndexing::default()
            .set_tokenizer("whitespace")
            .set_index_option(IndexRecordOption::WithFreqs);
        TextOptions::default().set_indexing_options(indexing)
    };
    let unscored = TextFieldIndexing::default()
        .set_tokenizer("raw")
        .set_fieldnorms(false)
        .set_index_option(IndexRecordOption::Basic);
    let value = || TextOptions::default().set_indexing_options(unscored.clone()).set_fast("raw");
    let number = || NumericOptions::default() | FAST;
    let fields = Fields {
        key: builder.add_text_field("key", STRING),
        row: builder.add_text_field("row", STORED),
        text: builder.add_text_field("text", words()),
        code: builder.add_text_field("code", words()),
        brand: builder.add_text_field("brand", value()),
        category: builder.add_text_field("category", value()),
        lifecycle: builder.add_text_field("lifecycle", value()),
        currency: builder.add_text_field("currency", value()),
        attribute: builder.add_text_field("attribute", value()),
        channel: builder.add_text_field("channel", value()),
        region: builder.add_text_field("region", value()),
        price: builder.add_u64_field("price", number()),
        discount: builder.add_u64_field("discount", number()),
        popularity: builder.add_u64_field("popularity", number()),
        created: builder.add_u64_field("created", number()),
        in_stock: builder.add_u64_field("in_stock", number()),
        tie: builder.add_u64_field("tie", number()),
    };
    (builder.build(), fields)
}

/// The key of a row in the index: table, then the row's own key.
pub(super) fn key(table: &str, id: &str) -> String {
    format!("{}{id}", prefix(table))
}

/// The first character of the keys of a table.
pub(super) fn prefix(table: &str) -> char {
    if table == COUNTERS { 'c' } else { 'd' }
}

pub(super) fn key_term(fields: &Fields, table: &str, id: &str) -> Term {
    Term::from_field_text(fields.key, &key(table, id))
}

/// All indexed copies of a row but for its words.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Columns {
    pub(super) brand: String,
    pub(super) category: String,
    pub(super) lifecycle: String,
    pub(super) currency: String,
    pub(super) attribute: Vec<String>,
    pub(super) channel: Vec<String>,
    pub(super) region: Vec<String>,
    pub(super) price: u64,
    pub(super) discount: u64,
    pub(super) popularity: u64,
    pub(super) created: u64,
    pub(super) in_stock: u64,
    pub(super) tie: u64,
}

impl Columns {
    pub(super) fn hidden(lifecycle: &str) -> Self {
        Self { lifecycle: lifecycle.to_owned(), ..Self::default() }
    }

    pub(super) fn of(document: &SearchDocument) -> Self {
        let Some(listing) = &document.listing else {
            return Self::hidden(if document.is_unborn() { UNBORN } else { HIDDEN });
        };
        Self {
            brand: listing.brand.as_str().to_owned(),
            category: listing.category.as_str().to_owned(),
            lifecycle: listing.lifecycle.as_str().to_owned(),
            currency: listing.price.map_or_else(String::new, |price| price.currency.as_str().to_owned()),
            attribute: attribute_values(listing),
            channel: places(&listing.channels),
            region: places(&listing.regions),
            price: listing.price.map_or(0, |price| decimal_rank(price.amount)),
            discount: u64::from(listing.discount_percent),
            popularity: document.popularity,
            created: created_rank(listing.created_at.as_micros()),
            in_stock: u64::from(document.in_stock),
            tie: tie(document.variant_id.as_str()),
        }
    }

    fn fill(self, fields: &Fields, to: &mut TantivyDocument) {
        to.add_text(fields.brand, self.brand);
        to.add_text(fields.category, self.category);
        to.add_text(fields.lifecycle, self.lifecycle);
        to.add_text(fields.currency, self.currency);
        for (field, values) in
            [(fields.attribute, self.attribute), (fields.channel, self.channel), (fields.region, self.region)]
        {
            values.into_iter().for_each(|value| to.add_text(field, value));
        }
        to.add_u64(fields.price, self.price);
        to.add_u64(fields.discount, self.discount);
        to.add_u64(fields.popularity, self.popularity);
        to.add_u64(fields.created, self.created);
        to.add_u64(fields.in_stock, self.in_stock);
        to.add_u64(fields.tie, self.tie);
    }
}

fn attribute_values(listing: &Listing) -> Vec<String> {
    let mut values: Vec<String> =
        listing.attributes.iter().map(|a| attribute_value(a.kind.as_str(), a.value.as_str())).collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// An attribute as one value of the column that holds them all.
pub(super) fn attribute_value(kind: &str, value: &str) -> String {
    format!("{kind}{SEPARATOR}{value}")
}

fn places(tokens: &[daybook_schemas::Token]) -> Vec<String> {
    if tokens.is_empty() {
        return vec![EVERYWHERE.to_owned()];
    }
    let mut values: Vec<String> = tokens.iter().map(|token| token.as_str().to_owned()).collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// Amount in millionths of the currency unit, plus 1; 0 is "no price". Amounts above 9.2·10^12 are all the same; below zero
/// there is no price.
pub(super) fn decimal_rank(amount: Decimal) -> u64 {
    const MOST: u64 = i64::MAX.unsigned_abs();
    if amount.is_sign_negative() && !amount.is_zero() {
        return 0;
    }
    amount
        .checked_mul(Decimal::from(1_000_000))
        .and_then(|micros| micros.trunc().to_u64())
        .map_or(MOST, |micros| micros.saturating_add(1).min(MOST))
}

/// Microseconds since the year 1900, the earliest time there is.
fn created_rank(micros: i64) -> u64 {
    u64::try_from(micros.saturating_add(2_208_988_800_000_000)).unwrap_or(0)
}

/// A number that is as good as random but the same wherever the id is indexed: breaks ties in every sort order. FNV-1a
/// (<http://www.isthe.com/chongo/tech/comp/fnv/>) with the finalizer of MurmurHash3.
pub(super) fn tie(id: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in id.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// The engine document of a variant.
pub(super) fn document(fields: &Fields, row: &SearchDocument) -> TantivyDocument {
    let mut engine = TantivyDocument::new();
    engine.add_text(fields.key, key(DOCUMENTS, row.variant_id.as_str()));
    engine.add_text(fields.row, to_json(row));
    if let Some(listing) = &row.listing {
        engine.add_text(fields.text, analysis::indexed_text(listing));
        engine.add_text(fields.code, analysis::indexed_code(listing.sku.as_str()));
    }
    Columns::of(row).fill(fields, &mut engine);
    engine
}

/// The engine document of a counter; nothing finds it but its key.
pub(super) fn counter(fields: &Fields, row: &Counter) -> TantivyDocument {
    let mut engine = TantivyDocument::new();
    engine.add_text(fields.key, key(COUNTERS, row.variant_id.as_str()));
    engine.add_text(fields.row, to_json(row));
    Columns::hidden(HIDDEN).fill(fields, &mut engine);
    engine
}

pub(super) fn to_json<T: serde::Serialize>(row: &T) -> String {
    serde_json::to_string(row).expect("rows have string keys and no failing serializers")
}
