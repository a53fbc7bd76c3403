//! Which documents of a segment have one of a group's values, or match words, as one bit for each.
//!
//! A look at a packed document waits for memory, and of the documents with a word or a colour most are of another category: a bit
//! tells that from a sixty-fourth of the memory, so that only documents that still matter are looked at. Made from the posting
//! lists when a value is first asked for, and kept with the other results, the least recently used dropped.

use std::sync::Arc;

use tantivy::postings::BlockSegmentPostings;
use tantivy::query::Weight;
use tantivy::{DocId, SegmentReader};

use super::check::Check;
use super::filter::Group;
use super::segment::SegmentColumns;

/// Segments with fewer documents have no bits: their packed documents are near enough.
const LEAST_DOCUMENTS: DocId = if cfg!(test) { 1 } else { 32_768 };

/// Values that fewer documents have than one in this many get no bits: they would take more memory than a list.
const RAREST: u64 = if cfg!(test) { 8 } else { 512 };

pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// Whether a group's bits are worth their memory, given how many of the segment's documents its lists hold.
    pub(super) const fn are_worth_it(listed: u64, documents: DocId) -> bool {
        documents >= LEAST_DOCUMENTS && listed * RAREST >= documents as u64 && listed * 2 < documents as u64
    }

    /// The documents that are in one of the lists, of so many in the segment.
    pub(super) fn of(lists: Vec<BlockSegmentPostings>, documents: DocId) -> Self {
        let mut bits = Self(vec![0; (documents as usize).div_ceil(64)]);
        for mut list in lists {
            while list.block_len() > 0 {
                bits.put(list.docs());
                list.advance();
            }
        }
        bits
    }

    /// The documents of a segment that words match.
    pub(super) fn matching(words: &dyn Weight, reader: &SegmentReader) -> tantivy::Result<Self> {
        let mut bits = Self(vec![0; (reader.max_doc() as usize).div_ceil(64)]);
        words.for_each_no_score(reader, &mut |docs| bits.put(docs))?;
        Ok(bits)
    }

    fn put(&mut self, docs: &[DocId]) {
        docs.iter().for_each(|&doc| self.0[doc as usize / 64] |= 1 << (doc % 64));
    }

    /// Gives the documents that all have, ascending, at most 64 at a time.
    pub(super) fn in_all(all: &[Arc<Self>], mut take: impl FnMut(&[DocId])) {
        let Some((first, others)) = all.split_first() else { return };
        let mut docs = [0; 64];
        for (at, &word) in first.0.iter().enumerate() {
            let mut word = others.iter().fold(word, |word, bits| word & bits.0[at]);
            let from = DocId::try_from(at).expect("documents are numbered with 32 bits") * 64;
            let mut found = 0;
            while word != 0 {
                docs[found] = from + word.trailing_zeros();
                found += 1;
                word &= word - 1;
            }
            if found > 0 {
                take(&docs[..found]);
            }
        }
    }

    #[inline]
    pub(super) fn contains(&self, doc: DocId) -> bool {
        self.0[doc as usize / 64] & (1 << (doc % 64)) != 0
    }

    pub(super) const fn bytes(&self) -> usize {
        self.0.len() * size_of::<u64>()
    }
}

/// Whether a document passes a group: by its bit if there are bits, else by the packed document.
pub(super) enum Test<'a> {
    Bits(&'a Bits),
    Packed(Check<'a>),
}

impl<'a> Test<'a> {
    /// The test of a group, by its bits where there are any.
    pub(super) fn of(group: &Group, columns: &'a SegmentColumns, bits: Option<&'a Bits>) -> Self {
        bits.map_or_else(|| Self::Packed(columns.check(&group.filter)), Self::Bits)
    }

    #[inline]
    pub(super) fn passes(&self, doc: DocId) -> bool {
        match self {
            Self::Bits(bits) => bits.contains(doc),
            Self::Packed(check) => check.passes(doc),
        }
    }

    /// Leaves those that pass among `docs`, which keep their order.
    pub(super) fn retain(&self, docs: &mut Vec<DocId>) {
        match self {
            Self::Bits(bits) => retain(docs, |doc| bits.contains(doc)),
            Self::Packed(check) => retain(docs, |doc| check.passes(doc)),
        }
    }
}

/// Without a branch for each document, since none could be foretold.
#[inline]
fn retain(docs: &mut Vec<DocId>, passes: impl Fn(DocId) -> bool) {
    let mut kept = 0;
    for at in 0..docs.len() {
        let doc = docs[at];
        docs[kept] = doc;
        kept += usize::from(passes(doc));
    }
    docs.truncate(kept);
}
