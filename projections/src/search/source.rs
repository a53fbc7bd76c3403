//! Where the documents of a pass come from, and going through them a block at a time.

use std::sync::Arc;

use tantivy::query::{Scorer, Weight};
use tantivy::{DocId, SegmentReader};

use super::bits::Bits;
use super::packed::BLOCK;
use super::segment::{Alive, SegmentView};

/// Where documents come from.
pub(super) enum Source<'a> {
    All,
    /// The union of the posting lists of the first driver; `distinct`: no document is in two of them. Only documents that have
    /// these bits as well.
    Postings {
        lists: Vec<tantivy::postings::BlockSegmentPostings>,
        distinct: bool,
        also: Vec<Arc<Bits>>,
    },
    Text(&'a dyn Weight),
    /// The documents that have all of these bits: those of all parts of the text query and of all drivers.
    Bits(Vec<Arc<Bits>>),
    /// Given documents, ascending, deleted or not; those that the text query does not match are left out.
    These {
        docs: &'a [DocId],
        text: Option<&'a dyn Weight>,
    },
}

impl Source<'_> {
    /// The drivers that all documents pass that come from here.
    pub(super) fn covered<'d>(&self, drivers: &'d [usize]) -> &'d [usize] {
        match self {
            Self::Postings { .. } => drivers.get(..1).unwrap_or_default(),
            Self::Bits(_) => drivers,
            Self::All | Self::Text(_) | Self::These { .. } => &[],
        }
    }
}

/// Calls `take` with blocks of live documents (given ones excepted).
pub(super) fn each_block(
    source: Source<'_>,
    segment: &SegmentView,
    reader: &SegmentReader,
    take: &mut dyn FnMut(&[DocId]),
) -> tantivy::Result<()> {
    let mut blocks = Blocks { buffer: Vec::with_capacity(BLOCK), alive: segment.alive.as_ref(), take };
    match source {
        Source::All => {
            for from in (0..segment.max_doc).step_by(CHUNK) {
                let docs: [DocId; CHUNK] = std::array::from_fn(|at| from + DocId::try_from(at).unwrap_or(0));
                blocks.add(&docs[..CHUNK.min((segment.max_doc - from) as usize)]);
            }
        }
        Source::Postings { lists, distinct, also } => {
            let mut all = Vec::new();
            let several = lists.len() > 1 && !distinct;
            let mut chunk = Vec::with_capacity(CHUNK);
            for mut list in lists {
                while list.block_len() > 0 {
                    chunk.clear();
                    chunk.extend_from_slice(list.docs());
                    chunk.retain(|&doc| also.iter().all(|bits| bits.contains(doc)));
                    if several {
                        all.extend_from_slice(&chunk);
                    } else {
                        blocks.add(&chunk);
                    }
                    list.advance();
                }
            }
            all.sort_unstable();
            all.dedup();
            all.chunks(CHUNK).for_each(|docs| blocks.add(docs));
        }
        Source::Text(weight) => weight.for_each_no_score(reader, &mut |docs| blocks.add(docs))?,
        Source::Bits(all) => Bits::in_all(&all, |docs| blocks.add(docs)),
        Source::These { docs, text } => return given(docs, text, reader, blocks.take),
    }
    if !blocks.buffer.is_empty() {
        (blocks.take)(&blocks.buffer);
    }
    Ok(())
}

/// Documents that come at once; the engine's own blocks are no larger.
const CHUNK: usize = 128;

/// Gathers live documents into blocks.
struct Blocks<'a> {
    buffer: Vec<DocId>,
    alive: Option<&'a Alive>,
    take: &'a mut dyn FnMut(&[DocId]),
}

impl Blocks<'_> {
    /// Takes at most a block.
    #[inline]
    fn add(&mut self, docs: &[DocId]) {
        debug_assert!(docs.len() <= BLOCK, "the engine gives 128 at a time");
        if self.buffer.len() + docs.len() > BLOCK {
            (self.take)(&self.buffer);
            self.buffer.clear();
        }
        match self.alive {
            None => self.buffer.extend_from_slice(docs),
            Some(alive) => self.buffer.extend(docs.iter().copied().filter(|&doc| alive.contains(doc))),
        }
    }
}

fn given(
    docs: &[DocId],
    text: Option<&dyn Weight>,
    reader: &SegmentReader,
    take: &mut dyn FnMut(&[DocId]),
) -> tantivy::Result<()> {
    let Some(weight) = text else {
        docs.chunks(BLOCK).for_each(take);
        return Ok(());
    };
    let mut scorer = weight.scorer(reader, 1.0)?;
    let matching: Vec<DocId> = docs.iter().copied().filter(|&doc| goes_to(&mut *scorer, doc)).collect();
    matching.chunks(BLOCK).for_each(take);
    Ok(())
}

/// Whether a document matches. Those asked for ascend.
pub(super) fn goes_to(scorer: &mut dyn Scorer, doc: DocId) -> bool {
    let at = scorer.doc();
    (if at < doc { scorer.seek(doc) } else { at }) == doc
}
