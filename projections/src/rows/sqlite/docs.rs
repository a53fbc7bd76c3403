//! Documents as SQLite holds them: as text, or in a table with a dictionary compressed by it.
//!
//! Documents of one table are much alike: their names, the order of fields, many values. By a dictionary made of such documents
//! they shrink to between a fifth and a third, in the file, in the page cache and in the WAL, and SQLite is spared more time than
//! that takes. A document that would not get smaller stays text, so both forms stand in one column.
//!
//! A dictionary is never changed without need: it is part of the store's fingerprint, and read models with another one are built
//! anew.

use std::cell::RefCell;

use rusqlite::types::{ToSqlOutput, ValueRef};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, compress_bound, get_frame_content_size};

use crate::model::StoreError;
use crate::rows::spec::TableSpec;

/// zstd's; higher ones gain a few bytes in a hundred for half as much time again.
const LEVEL: i32 = 1;
/// The largest document, in bytes, that is compressed. What claims to be larger is damage.
const MAX_BYTES: u64 = 256 << 20;

/// Brings the documents of one table into the form in which they are stored.
pub(super) struct Packer {
    /// For a table with a dictionary.
    compressor: Option<Compressor<'static>>,
    buffer: Vec<u8>,
}

impl Packer {
    pub(super) fn of(table: &TableSpec) -> Result<Self, StoreError> {
        let compressor =
            table.dictionary.map(compressor).transpose().map_err(|e| {
                StoreError::Unavailable(format!("no compressor for table {}: {e}", table.name))
            })?;
        Ok(Self { compressor, buffer: Vec::new() })
    }

    /// The document as it is to be stored.
    pub(super) fn pack<'a>(&'a mut self, doc: &'a [u8]) -> ToSqlOutput<'a> {
        if let Some(compressor) = &mut self.compressor
            && doc.len() as u64 <= MAX_BYTES
        {
            self.buffer.resize(compress_bound(doc.len()), 0);
            if let Ok(length) = compressor.compress_to_buffer(doc, &mut self.buffer[..])
                && length < doc.len()
            {
                return ToSqlOutput::Borrowed(ValueRef::Blob(&self.buffer[..length]));
            }
        }
        debug_assert!(std::str::from_utf8(doc).is_ok(), "JSON is UTF-8");
        ToSqlOutput::Borrowed(ValueRef::Text(doc))
    }
}

fn compressor(dictionary: &'static [u8]) -> std::io::Result<Compressor<'static>> {
    let mut compressor = Compressor::with_dictionary(LEVEL, dictionary)?;
    // Which dictionary it is says the file as a whole.
    compressor.set_parameter(CParameter::DictIdFlag(false))?;
    Ok(compressor)
}

thread_local! {
    /// For each dictionary that this thread has read documents by.
    static UNPACKERS: RefCell<Vec<(&'static [u8], Decompressor<'static>)>> = const { RefCell::new(Vec::new()) };
}

/// A stored document. What can't be read is given as it stands, which is no JSON: whoever reads it says so.
pub(super) fn unpack(table: &TableSpec, stored: ValueRef<'_>) -> Vec<u8> {
    match (stored, table.dictionary) {
        (ValueRef::Blob(packed), Some(dictionary)) => {
            decompress(dictionary, packed).unwrap_or_else(|| packed.to_vec())
        }
        (ValueRef::Text(doc) | ValueRef::Blob(doc), _) => doc.to_vec(),
        _ => Vec::new(),
    }
}

fn decompress(dictionary: &'static [u8], packed: &[u8]) -> Option<Vec<u8>> {
    let length = get_frame_content_size(packed).ok()?.filter(|length| *length <= MAX_BYTES)?;
    UNPACKERS.with_borrow_mut(|unpackers| {
        let place = match unpackers.iter().position(|(known, _)| std::ptr::eq(*known, dictionary)) {
            Some(place) => place,
            None => {
                unpackers.push((dictionary, Decompressor::with_dictionary(dictionary).ok()?));
                unpackers.len() - 1
            }
        };
        unpackers[place].1.decompress(packed, usize::try_from(length).ok()?).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::AuditRow;
    use crate::catalogue::VariantView;
    use crate::rows::View;

    /// Any bytes are a dictionary, if not the best.
    static TABLE: TableSpec = TableSpec {
        dictionary: Some(br#"{"colour":"red","note":"","size":1}"#),
        ..TableSpec::plain("things")
    };

    fn stored(packer: &mut Packer, doc: &[u8]) -> (bool, Vec<u8>) {
        match packer.pack(doc) {
            ToSqlOutput::Borrowed(ValueRef::Blob(blob)) => (true, blob.to_vec()),
            ToSqlOutput::Borrowed(ValueRef::Text(text)) => (false, text.to_vec()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_document_comes_back_whatever_its_size() {
        let mut packer = Packer::of(&TABLE).unwrap();
        for length in [0, 1, 7, 40, 1_000, 300_000] {
            let doc =
                format!(r#"{{"colour":"red","note":"{}","size":1}}"#, "änd ".repeat(length)).into_bytes();
            let (packed, stored) = stored(&mut packer, &doc);
            assert!(packed && stored.len() < doc.len(), "{length}");
            assert_eq!(unpack(&TABLE, ValueRef::Blob(&stored)), doc);
        }
        let (packed, short) = stored(&mut packer, b"7");
        assert!(!packed);
        assert_eq!(unpack(&TABLE, ValueRef::Text(&short)), b"7");
    }

    /// With a wrong dictionary all would still work, and nothing be gained.
    #[test]
    fn documents_shrink_by_their_dictionaries() {
        let variant = br##"{"variant_id":"v-77","product_id":"p-9","product_group":"p-9","sku":"P-9-77","name":"Slim Wool Trousers","brand":"Weaver","category":"Trousers","attributes":[{"type":"color","value":"Olive","value_id":"color-olive","display":"Olive","hex":"#808000"},{"type":"size","value":"L","value_id":"size-l","display":"L","rank":500}],"config_hash":"32d6e4a20c1cd7a5aabd13bbea315a557c08ea5a944b15345b89b0d713027b6c","config_signature":"color:olive|size:l","channels":[],"regions":[],"price":{"amount":"59.90","currency":"EUR","price_type":"regular"},"price_history":[{"price":{"amount":"59.90","currency":"EUR","price_type":"regular"},"effective_from":"2026-03-01T08:30:00Z"}],"schedules":[],"lifecycle":"active","sellable":true,"locks":[],"created_at":"2026-03-01T08:30:00Z","updated_at":"2026-03-01T08:30:00Z","revision":3,"position":"4711"}"##;
        let entry = br#"{"stream":"order-o-81","revision":2,"type":"order.paid","actor":"till","command_id":"01a2014c-ab99-75ef-a8ed-4af5f3e9f83d","recorded_at":"2026-03-01T08:31:02.123456Z"}"#;
        for (table, doc) in [(VariantView::TABLE, &variant[..]), (AuditRow::TABLE, &entry[..])] {
            let (packed, stored) = stored(&mut Packer::of(table).unwrap(), doc);
            assert!(
                packed && stored.len() * 2 < doc.len(),
                "{}: {} of {}",
                table.name,
                stored.len(),
                doc.len()
            );
            assert_eq!(unpack(table, ValueRef::Blob(&stored)), doc);
        }
    }

    #[test]
    fn damage_is_given_as_it_stands() {
        let mut packer = Packer::of(&TABLE).unwrap();
        let doc = br#"{"colour":"red","note":"something to say","size":12}"#;
        let (_, whole) = stored(&mut packer, doc);
        for end in 0..whole.len() {
            assert_eq!(unpack(&TABLE, ValueRef::Blob(&whole[..end])), &whole[..end]);
        }
        assert_eq!(unpack(&TABLE, ValueRef::Blob(b"no zstd")), b"no zstd");
        assert_eq!(unpack(&TABLE, ValueRef::Null), b"");
        // A frame that claims a terabyte: nothing is allocated for it.
        let boast = [0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 1, 0, 0];
        assert_eq!(unpack(&TABLE, ValueRef::Blob(&boast)), boast);
    }
}
