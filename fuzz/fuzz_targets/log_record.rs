//! A small real log with bytes of its files replaced by arbitrary ones: opening and reading it gives events or an error,
//! never a panic, and never events that were not written.
#![no_main]

use std::sync::{Arc, OnceLock};

use daybook_eventlog::segment::fault::{FaultPlan, FaultStorage};
use daybook_eventlog::{
    Append, EventLog, Expected, Filter, NewEvent, SegmentLog, SegmentOptions, StreamAppend, StreamId,
};
use libfuzzer_sys::fuzz_target;

fn options() -> SegmentOptions {
    SegmentOptions { segment_bytes: 64 << 10, background: false, ..SegmentOptions::default() }
}

/// The files of a log with a few appends.
fn files() -> Vec<(String, Vec<u8>)> {
    let storage = Arc::new(FaultStorage::new(1, FaultPlan::default()));
    let log = SegmentLog::open_on(storage.clone(), options()).expect("an empty storage opens");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for n in 0..8_u64 {
        let append = Append::new(vec![StreamAppend {
                stream: StreamId::new("inventory-1").expect("a constant"),
                expected: Expected::Exact(n),
                events: vec![NewEvent {
                    event_id: uuid::Uuid::from_u64_pair(1, n),
                    event_type: "inventory.received",
                    version: 1,
                    recorded_at: 1,
                    data: "{}".into(),
                    metadata: "{}".into(),
                }],
            }]);
        runtime.block_on(log.append(append)).expect("a sound storage takes it");
    }
    drop(log);
    storage.files()
}

fuzz_target!(|edits: Vec<(u8, u16, Vec<u8>)>| {
    static FILES: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    let mut files = FILES.get_or_init(files).clone();
    let count = files.len();
    for (file, offset, bytes) in edits {
        let content = &mut files[usize::from(file) % count].1;
        for (index, byte) in bytes.into_iter().enumerate() {
            if let Some(at) = content.get_mut(usize::from(offset) + index) {
                *at = byte;
            }
        }
    }
    let damaged = FaultStorage::from_files(&files);
    if let Ok(log) = SegmentLog::open_on(Arc::new(damaged), options())
        && let Ok(page) = log.read_all_blocking(0, &Filter::default(), 1_000, 1 << 20)
    {
        for (event, n) in page.events.iter().zip(0..) {
            assert_eq!((event.event_id, event.data()), (uuid::Uuid::from_u64_pair(1, n), &b"{}"[..]));
        }
    }
});
