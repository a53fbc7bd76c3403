//! The rows as reconciliation reads them: key order over a searcher's snapshot, in bounded memory.

use std::sync::Arc;

use daybook_eventlog::Position;
use serde_json::json;
use serde_json::value::RawValue;
use tantivy::postings::TermInfo;
use tantivy::schema::IndexRecordOption;
use tantivy::{DocAddress, DocSet, TERMINATED};

use super::document::SearchDocument;
use super::schema::{COUNTERS, Columns, DOCUMENTS, Fields, HIDDEN, prefix, to_json};
use super::segment::{View, Vocabularies};
use super::store::{addresses, columns_of, io_error, parse, row_text, store_error};
use crate::model::{RowAccess, RowKey, StoreError};

/// A snapshot of the search model.
pub(super) struct Rows {
    pub(super) view: Arc<View>,
    pub(super) vocabularies: Arc<Vocabularies>,
    pub(super) fields: Fields,
    pub(super) checkpoint: Position,
}

impl RowAccess for Rows {
    fn checkpoint(&self) -> Position {
        self.checkpoint
    }

    fn tables(&self) -> Vec<&'static str> {
        vec![DOCUMENTS, COUNTERS]
    }

    fn scan(
        &self,
        table: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let Some(table) = known(table) else { return Ok(Vec::new()) };
        let keys = self.keys(table, after, limit)?;
        // Stored rows lie in blocks: read in the order they lie in, hand out in key order.
        let mut order: Vec<(DocAddress, usize)> = Vec::new();
        for (at, (_, places)) in keys.iter().enumerate() {
            order.extend(places.iter().map(|&place| (place, at)));
        }
        order.sort_unstable();
        let mut texts: Vec<Vec<String>> = vec![Vec::new(); keys.len()];
        for (address, at) in order {
            texts[at].push(self.read(table, address)?);
        }
        Ok(keys.into_iter().zip(texts).map(|((key, _), texts)| (key, joined(texts))).collect())
    }

    fn get(&self, key: &RowKey) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(table) = known(key.table) else { return Ok(None) };
        let places = addresses(&self.view.searcher, &self.fields, table, &key.key)?;
        let texts: Result<Vec<String>, StoreError> =
            places.into_iter().map(|at| self.read(table, at)).collect();
        let texts = texts?;
        Ok((!texts.is_empty()).then(|| joined(texts)))
    }
}

fn known(table: &str) -> Option<&'static str> {
    [DOCUMENTS, COUNTERS].into_iter().find(|name| *name == table)
}

/// One live document is the row; several under one key are damage, and look different from any row.
fn joined(mut texts: Vec<String>) -> Vec<u8> {
    if texts.len() == 1 {
        return texts.swap_remove(0).into_bytes();
    }
    texts.sort_unstable();
    format!("{{\"duplicates\":[{}]}}", texts.join(",")).into_bytes()
}

impl Rows {
    /// The next keys of a table and where their live documents are: a merge of the segments' term dictionaries.
    fn keys(
        &self,
        table: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<DocAddress>)>, StoreError> {
        let readers = self.view.searcher.segment_readers();
        let inverted: Result<Vec<_>, _> =
            readers.iter().map(|reader| reader.inverted_index(self.fields.key)).collect();
        let inverted = inverted.map_err(store_error)?;
        let start = prefix(table).to_string();
        let end = char::from(start.as_bytes()[0] + 1).to_string();
        let mut streams = Vec::with_capacity(inverted.len());
        for index in &inverted {
            let range = match after {
                Some(after) => index.terms().range().gt(format!("{start}{after}")),
                None => index.terms().range().ge(&start),
            };
            let mut stream = range.lt(&end).into_stream().map_err(io_error)?;
            let live = stream.advance();
            streams.push((stream, live));
        }
        let mut found: Vec<(String, Vec<DocAddress>)> = Vec::new();
        while found.len() < limit {
            let Some(least) =
                streams.iter().filter(|(_, live)| *live).map(|(s, _)| s.key()).min().map(<[u8]>::to_vec)
            else {
                break;
            };
            let mut places = Vec::new();
            for (ordinal, (stream, live)) in (0_u32..).zip(&mut streams) {
                if *live && stream.key() == least {
                    self.live_documents(ordinal, &inverted[ordinal as usize], stream.value(), &mut places)?;
                    *live = stream.advance();
                }
            }
            if !places.is_empty() {
                found.push((String::from_utf8_lossy(&least[start.len()..]).into_owned(), places));
            }
        }
        Ok(found)
    }

    fn live_documents(
        &self,
        ordinal: u32,
        inverted: &tantivy::index::InvertedIndexReader,
        term: &TermInfo,
        to: &mut Vec<DocAddress>,
    ) -> Result<(), StoreError> {
        let mut postings =
            inverted.read_postings_from_terminfo(term, IndexRecordOption::Basic).map_err(io_error)?;
        let alive = &self.view.segments[ordinal as usize].alive;
        while postings.doc() != TERMINATED {
            if alive.as_ref().is_none_or(|alive| alive.contains(postings.doc())) {
                to.push(DocAddress::new(ordinal, postings.doc()));
            }
            postings.advance();
        }
        Ok(())
    }

    /// The stored row; if its indexed copies say something else, they are shown beside it.
    fn read(&self, table: &str, address: DocAddress) -> Result<String, StoreError> {
        let searcher = &self.view.searcher;
        let text = row_text(searcher, &self.fields, address)?;
        let opened = &self.view.segments[address.segment_ord as usize].columns;
        let actual = columns_of(searcher, opened, &self.vocabularies, address);
        let expected = if table == COUNTERS {
            Columns::hidden(HIDDEN)
        } else {
            match parse::<SearchDocument>(&text) {
                Ok(document) => Columns::of(&document),
                Err(_) => return Ok(json!({ "unreadable": text }).to_string()),
            }
        };
        if actual == expected {
            return Ok(text);
        }
        let row: Option<Box<RawValue>> = RawValue::from_string(text).ok();
        Ok(to_json(&json!({ "row": row, "indexed": actual })))
    }
}
