//! The conformance suite on the backends of this crate.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use daybook_eventlog::conformance::Backend;
use daybook_eventlog::{EventLog, MemoryLog, SegmentLog, SegmentOptions, conformance_suite};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};

struct Memory(MemoryLog);

impl Backend for Memory {
    fn open(&self) -> BoxFuture<'_, Arc<dyn EventLog>> {
        let log: Arc<dyn EventLog> = Arc::new(self.0.clone());
        ready(log).boxed()
    }

    fn can_reopen(&self) -> bool {
        false
    }
}

struct Segment {
    folder: tempfile::TempDir,
    options: SegmentOptions,
}

impl Segment {
    fn with(options: SegmentOptions) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), options }
    }
}

impl Backend for Segment {
    fn open(&self) -> BoxFuture<'_, Arc<dyn EventLog>> {
        let log: Arc<dyn EventLog> = Arc::new(SegmentLog::open(&self.folder, self.options.clone()).unwrap());
        ready(log).boxed()
    }

    fn can_reopen(&self) -> bool {
        true
    }
}

/// Segments so small that every rule crosses several of them, and a ring that holds next to nothing.
fn tiny() -> SegmentOptions {
    SegmentOptions { segment_bytes: 8 << 10, ring_bytes: 2 << 10, ..SegmentOptions::default() }
}

fn inline() -> SegmentOptions {
    SegmentOptions { background: false, ..tiny() }
}

conformance_suite!(memory, Memory(MemoryLog::new()));
conformance_suite!(
    segment,
    Segment::with(SegmentOptions { segment_bytes: 4 << 20, ..SegmentOptions::default() })
);
conformance_suite!(segment_of_tiny_files, Segment::with(tiny()));
conformance_suite!(segment_without_background_threads, Segment::with(inline()));
