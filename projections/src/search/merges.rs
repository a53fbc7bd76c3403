//! When segments are put together.

use tantivy::index::SegmentMeta;
use tantivy::indexer::{LogMergePolicy, MergeCandidate, MergePolicy};

/// Which segments are merged. They stay small enough that a broad query spreads over the cores, and few enough that a look-up
/// by key is cheap.
#[derive(Debug)]
pub(super) struct Merges {
    by_size: LogMergePolicy,
}

/// Segments above this many documents are only rewritten to get rid of deleted ones.
const LARGE_SEGMENT_DOCUMENTS: usize = 1_000_000;

impl Default for Merges {
    fn default() -> Self {
        let mut by_size = LogMergePolicy::default();
        by_size.set_max_docs_before_merge(LARGE_SEGMENT_DOCUMENTS);
        by_size.set_min_layer_size(20_000);
        by_size.set_del_docs_ratio_before_merge(0.3);
        Self { by_size }
    }
}

impl MergePolicy for Merges {
    fn compute_merge_candidates(&self, segments: &[SegmentMeta]) -> Vec<MergeCandidate> {
        let mut candidates = self.by_size.compute_merge_candidates(segments);
        // The policy by size never looks at large segments again: a third of them deleted is worth a rewrite.
        let worn = |segment: &&SegmentMeta| {
            segment.num_docs() as usize > LARGE_SEGMENT_DOCUMENTS
                && segment.num_deleted_docs() > segment.max_doc() / 3
        };
        candidates.extend(segments.iter().filter(worn).map(|segment| MergeCandidate(vec![segment.id()])));
        candidates
    }
}
