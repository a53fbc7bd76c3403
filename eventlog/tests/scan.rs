//! Reading with several threads gives what one reader gives; filters pass over blocks without reading them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::sync::Arc;

use daybook_eventlog::segment::fault::FaultStorage;
use daybook_eventlog::{
    EventLog, Expected, Filter, MemoryLog, NewEvent, ReadError, RecordedEvent, Scan, SegmentLog,
    SegmentOptions, scan_in_order,
};
use support::{append_to, event};

const TYPES: [&str; 3] = ["stock.moved", "order.placed", "variant.priced"];

fn options() -> SegmentOptions {
    SegmentOptions {
        segment_bytes: 64 << 10,
        block_bytes: 2 << 10,
        background: false,
        // Every read of a block goes to the disk.
        block_cache_bytes: 0,
        ring_bytes: 0,
        ..SegmentOptions::default()
    }
}

/// Events whose type and kind of stream change every `stretch` events.
async fn write(log: &dyn EventLog, count: u128, stretch: u128) {
    for ids in (1..=count).collect::<Vec<_>>().chunks(64) {
        let appends = ids.iter().map(|id| {
            let kind = usize::try_from(id / stretch % 3).unwrap();
            let event = NewEvent { event_type: TYPES[kind], ..event(*id, format!("{{\"n\":{id}}}")) };
            append_to(&format!("kind{kind}-{}", id % 50), Expected::Any, vec![event])
        });
        log.append_group(appends.collect()).await.into_iter().for_each(|result| drop(result.unwrap()));
    }
}

async fn segment_log(count: u128, stretch: u128) -> (FaultStorage, Arc<SegmentLog>) {
    let disk = FaultStorage::from_files(&[]);
    let log = Arc::new(SegmentLog::open_on(Arc::new(disk.clone()), options()).unwrap());
    write(&*log, count, stretch).await;
    (disk, log)
}

async fn collect(log: &Arc<dyn EventLog>, scan: Scan) -> (Vec<RecordedEvent>, Result<(), ReadError>) {
    let mut events: Vec<RecordedEvent> = Vec::new();
    let mut scanned_to = scan.after;
    let result = scan_in_order(
        log,
        scan,
        |piece| piece,
        |piece, until| {
            assert!(until >= scanned_to && piece.iter().all(|event| event.position <= until));
            assert!(piece.first().is_none_or(|event| event.position > scanned_to));
            scanned_to = until;
            events.extend(piece);
        },
    )
    .await;
    (events, result)
}

#[tokio::test]
async fn several_threads_read_what_one_reader_reads() {
    let memory = MemoryLog::new();
    write(&memory, 20_000, 100).await;
    let (_, segment) = segment_log(20_000, 100).await;
    assert!(segment.stats().sealed_segments > 10);
    let filter = Filter { types: vec![TYPES[1].into()], ..Filter::default() };
    let logs: [Arc<dyn EventLog>; 2] = [Arc::new(memory), segment];
    for log in &logs {
        for (after, until) in [(0, 20_000), (0, 1), (777, 13_333), (19_999, 20_000), (5, 5)] {
            for threads in [1, 5] {
                for filter in [Filter::default(), filter.clone()] {
                    let scan = Scan { filter: filter.clone(), threads, ..Scan::all(after, until) };
                    let (events, result) = collect(log, scan).await;
                    result.unwrap();
                    let wanted = (after + 1..=until).filter(|n| filter.is_all() || n / 100 % 3 == 1);
                    assert!(events.iter().map(|event| event.position).eq(wanted), "{after} to {until}");
                    assert!(
                        events.iter().all(|event| event.event_id.as_u128() == u128::from(event.position))
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn a_piece_ends_where_a_block_or_a_segment_does() {
    let (_, log) = segment_log(20_000, 100).await;
    let mut after = 0;
    let mut ends = 0;
    while after < 20_000 {
        let end = log.piece_end(after, 100);
        assert!(end > after && end <= after + 1_000);
        after = end;
        ends += 1;
    }
    assert!(ends > 50);
    assert_eq!(log.piece_end(after, 100), after + 100, "behind the head there are no blocks");
}

#[tokio::test]
async fn what_stands_before_damage_is_taken() {
    let (disk, log) = segment_log(20_000, 100).await;
    drop(log);
    let mut files = disk.files();
    let (_, bytes) = files.iter_mut().filter(|(name, _)| name.ends_with(".sealed")).nth(5).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let log = SegmentLog::open_on(Arc::new(FaultStorage::from_files(&files)), options()).unwrap();
    let log: Arc<dyn EventLog> = Arc::new(log);
    let (events, result) = collect(&log, Scan { threads: 3, ..Scan::all(0, 20_000) }).await;
    let Err(ReadError::Damaged { position, .. }) = result else { panic!("{result:?}") };
    assert!(position > 1_000);
    assert!(events.iter().map(|event| event.position).eq(1..position));
}

#[tokio::test]
async fn a_log_that_ends_too_early_is_an_error() {
    let (_, log) = segment_log(100, 10).await;
    let log: Arc<dyn EventLog> = log;
    let (events, result) = collect(&log, Scan::all(0, 101)).await;
    assert!(matches!(result, Err(ReadError::Unavailable(_))), "{result:?}");
    assert_eq!(events.len(), 100);
}

/// Damages every block that holds nothing of what a filter selects: a reader with that filter never sees it.
#[tokio::test]
async fn a_filter_passes_over_blocks_without_reading_them() {
    let (disk, log) = segment_log(20_000, 1_000).await;
    let (head, stats) = (log.head_position(), log.stats());
    drop(log);
    let by_type = Filter { types: vec![TYPES[2].into()], ..Filter::default() };
    let by_prefix = Filter { stream_prefixes: vec!["kind2-".into()], ..Filter::default() };
    // Longer and shorter than the kind by which blocks are known.
    let longer = Filter { stream_prefixes: vec!["kind2-4".into()], ..Filter::default() };
    let absent = Filter { types: vec!["none".into()], ..Filter::default() };
    let mut damaged = disk.files();
    let mut blocks = 0;
    for (_, bytes) in damaged.iter_mut().filter(|(name, _)| name.ends_with(".sealed")) {
        // Blocks follow the header; each says how long it is and with which position it begins.
        let mut at = 64;
        let directory = u64::from_le_bytes(bytes[bytes.len() - 32..][..8].try_into().unwrap());
        while (at as u64) < directory {
            let length = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
            let first = u64::from_le_bytes(bytes[at + 8..at + 16].try_into().unwrap());
            // The stretches of a thousand are longer than a block: the kind of both ends is that of the block.
            let kinds = [first / 1_000 % 3, (first + 100) / 1_000 % 3];
            if !kinds.contains(&2) {
                bytes[at + 40] ^= 1;
                blocks += 1;
            }
            at += length;
        }
    }
    assert!(blocks > 20 && stats.sealed_segments > 10, "{blocks} blocks, {stats:?}");
    let log = Arc::new(SegmentLog::open_on(Arc::new(FaultStorage::from_files(&damaged)), options()).unwrap());
    let everything: Arc<dyn EventLog> = log.clone();
    assert!(collect(&everything, Scan::all(0, head)).await.1.is_err(), "the damage is there");
    for filter in [by_type, by_prefix, longer, absent] {
        let (mut after, mut found) = (0, Vec::new());
        while after < head {
            let page = log.read_all_blocking(after, &filter, 500, usize::MAX).unwrap();
            found.extend(page.events.iter().map(|event| event.position));
            after = page.scanned_to;
        }
        let wanted = (1..=head).filter(|n| {
            let kind = n / 1_000 % 3;
            filter.matches(&format!("kind{kind}-{}", n % 50), TYPES[usize::try_from(kind).unwrap()])
        });
        assert!(found.iter().copied().eq(wanted), "{filter:?}");
    }
}
