//! What queries leave behind for the next: results per segment. A segment never changes but for deletions, so what was
//! counted in it stays true but for the documents that were deleted since, and those are few.

use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;
use tantivy::index::SegmentId;

use super::bits::Bits;
use super::counts::Counts;
use super::segment::Alive;
use super::top::Candidate;

/// Names a result: the segment, and what was computed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct CacheKey {
    pub(super) segment: SegmentId,
    pub(super) what: Arc<str>,
}

#[derive(Clone)]
pub(super) enum Cached {
    /// Counts, and the documents that were alive then.
    Counts(Arc<Counts>, Option<Alive>),
    /// The best candidates; `true`: there are no more than these.
    Top(Arc<Vec<Candidate>>, bool),
    /// Which documents pass a group.
    Bits(Arc<Bits>),
    /// Terms of the dictionary that fit a word, with the number of their documents.
    Terms(Arc<Vec<(String, u32)>>),
}

impl Cached {
    fn bytes(&self) -> usize {
        match self {
            Self::Counts(counts, _) => counts.bytes(),
            Self::Top(candidates, _) => candidates.len() * size_of::<Candidate>(),
            Self::Bits(bits) => bits.bytes(),
            Self::Terms(terms) => terms.iter().map(|(term, _)| term.len() + 32).sum(),
        }
    }
}

/// Results by key, the least recently used dropped when they take too much memory.
pub(super) struct Cache {
    entries: Mutex<Entries>,
    capacity_bytes: usize,
}

struct Entries {
    map: LruCache<CacheKey, Cached>,
    bytes: usize,
}

/// What an entry takes beside its content.
fn cost(key: &CacheKey, value: &Cached) -> usize {
    key.what.len() + value.bytes() + 160
}

impl Cache {
    pub(super) fn new(capacity_bytes: usize) -> Self {
        Self { entries: Mutex::new(Entries { map: LruCache::unbounded(), bytes: 0 }), capacity_bytes }
    }

    pub(super) fn get(&self, key: &CacheKey) -> Option<Cached> {
        self.entries.lock().map.get(key).cloned()
    }

    pub(super) fn put(&self, key: CacheKey, value: Cached) {
        let added = cost(&key, &value);
        if added > self.capacity_bytes / 4 {
            return;
        }
        let mut entries = self.entries.lock();
        entries.bytes += added;
        if let Some((key, old)) = entries.map.push(key, value) {
            entries.bytes -= cost(&key, &old);
        }
        while entries.bytes > self.capacity_bytes {
            let Some((key, old)) = entries.map.pop_lru() else { break };
            entries.bytes -= cost(&key, &old);
        }
    }

    /// Drops results of segments that are gone.
    pub(super) fn retain(&self, segments: &std::collections::HashSet<SegmentId>) {
        let mut entries = self.entries.lock();
        let gone: Vec<CacheKey> = entries
            .map
            .iter()
            .filter(|(key, _)| !segments.contains(&key.segment))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            if let Some(old) = entries.map.pop(&key) {
                entries.bytes -= cost(&key, &old);
            }
        }
    }
}
