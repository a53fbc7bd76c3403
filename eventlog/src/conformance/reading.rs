//! Reading, paging, filtering, the head, closing and reopening.

use super::{Backend, Scope, exact, one, read_whole_log, read_whole_stream};
use crate::log::{AppendError, Expected, Filter};

/// Reading again gives the same, also when more has been written.
pub async fn what_was_read_reads_the_same_again(backend: &dyn Backend) {
    let (log, scope) = (backend.open().await, Scope::new());
    let stream = scope.stream("s");
    let mut before = Vec::new();
    for n in 0..20 {
        log.append(one(&stream, exact(n), scope.events(1))).await.unwrap();
        let now = read_whole_stream(&*log, &stream).await;
        assert_eq!(now[..now.len() - 1], before[..]);
        assert_eq!(read_whole_log(&*log, &scope.filter(), 6).await, now);
        before = now;
    }
}

/// Every start and every limit of a short stream.
pub async fn a_stream_is_read_from_any_revision_with_any_limit(backend: &dyn Backend) {
    let (log, scope) = (backend.open().await, Scope::new());
    let (stream, other) = (scope.stream("s"), scope.stream("s-other"));
    for n in 0..6 {
        log.append(one(&stream, exact(2 * n), scope.events(2))).await.unwrap();
        log.append(one(&other, exact(n), scope.events(1))).await.unwrap();
    }
    let whole = read_whole_stream(&*log, &stream).await;
    assert_eq!(whole.len(), 12);
    for from in 1..=14u64 {
        for limit in 0..=13usize {
            let events = log.read_stream(&stream, from, limit).await.unwrap();
            let wanted: Vec<_> = whole.iter().filter(|e| e.revision >= from).take(limit).cloned().collect();
            assert_eq!(events, wanted, "from {from}, limit {limit}");
        }
    }
}

/// Pages of any size give the same events as one large page.
pub async fn pages_join_to_the_whole_log(backend: &dyn Backend) {
    let (log, scope) = (backend.open().await, Scope::new());
    for n in 0..15 {
        let stream = scope.stream(&format!("p{}", n % 4));
        log.append(one(&stream, Expected::Any, scope.events(1 + n % 3))).await.unwrap();
    }
    let whole = read_whole_log(&*log, &scope.filter(), 1000).await;
    assert_eq!(whole.len(), 30);
    for limit in 1..12 {
        assert_eq!(read_whole_log(&*log, &scope.filter(), limit).await, whole, "limit {limit}");
    }
    for event in &whole {
        let page = log.read_all(event.position, &scope.filter(), 1, usize::MAX).await.unwrap();
        let next = whole.iter().find(|e| e.position > event.position);
        assert_eq!(page.events.first(), next);
    }
}

/// Types are exact, streams by prefix, both must agree; what is passed over counts as scanned.
pub async fn a_filter_selects_by_type_and_stream_prefix(backend: &dyn Backend) {
    let (log, scope) = (backend.open().await, Scope::new());
    for n in 0..40 {
        let kind = if n % 2 == 0 { "even" } else { "odd" };
        let stream = scope.stream(&format!("{kind}-{n}"));
        let event_type = if n % 5 == 0 { "test.fifth" } else { "test.other" };
        log.append(one(&stream, exact(0), vec![scope.event_of(event_type, 60)])).await.unwrap();
    }
    let prefix = |kind: &str| format!("{}{kind}", scope.prefix());
    let filter = |types: &[&str], prefixes: &[String]| Filter {
        types: types.iter().map(ToString::to_string).collect(),
        stream_prefixes: prefixes.to_vec(),
    };
    let count = async |filter: Filter| read_whole_log(&*log, &filter, 3).await.len();
    assert_eq!(count(filter(&[], &[prefix("even-")])).await, 20);
    assert_eq!(count(filter(&["test.fifth"], &[prefix("even-")])).await, 4);
    assert_eq!(count(filter(&["test.fifth"], &[prefix("even-"), prefix("odd-")])).await, 8);
    assert_eq!(count(filter(&["test.fifth", "test.other"], &[prefix("odd-1")])).await, 6);
    assert_eq!(count(filter(&["test.fif"], &[prefix("")])).await, 0);
    assert_eq!(count(filter(&[], &[prefix("none-")])).await, 0);
    let head = log.head().await.unwrap().position;
    let mut after = 0;
    while after < head {
        let page = log.read_all(after, &filter(&[], &[prefix("none-")]), 10, 1000).await.unwrap();
        assert!(page.scanned_to > after, "a filter that selects nothing must not stand still");
        after = page.scanned_to;
    }
}

/// At most about so many bytes, but always at least one event.
pub async fn a_page_keeps_to_its_byte_limit(backend: &dyn Backend) {
    let (log, scope) = (backend.open().await, Scope::new());
    let stream = scope.stream("s");
    let events = (0..20).map(|_| scope.event_of("test.happened", 2000)).collect();
    log.append(one(&stream, exact(0), events)).await.unwrap();
    let first = log.read_all(0, &scope.filter(), 1, usize::MAX).await.unwrap();
    let mut after = first.scanned_to;
    while after < first.events.first().map_or(u64::MAX, |e| e.position) {
        after = log.read_all(after, &scope.filter(), 1, usize::MAX).await.unwrap().scanned_to;
    }
    let page = log.read_all(after, &scope.filter(), 100, 10_000).await.unwrap();
    assert!((2..=8).contains(&page.events.len()), "{} events", page.events.len());
    let page = log.read_all(after, &scope.filter(), 100, 1).await.unwrap();
    assert_eq!(page.events.len(), 1);
}

/// The announced head is durable and readable, and reaches the last append.
pub async fn the_head_is_announced_and_never_runs_ahead(backend: &dyn Backend) {
    let (log, scope) = (backend.open().await, Scope::new());
    let mut watched = log.watch_head();
    let stream = scope.stream("s");
    for n in 0..10 {
        let before = log.head().await.unwrap();
        let result = log.append(one(&stream, exact(2 * n), scope.events(2))).await.unwrap();
        let announced = *watched.wait_for(|head| *head >= result.last).await.unwrap();
        let head = log.head().await.unwrap();
        assert!(before.position < result.first && announced <= head.position);
        assert!(head.events >= before.events + 2);
    }
    let page = log.read_all(log.head().await.unwrap().position, &scope.filter(), 10, 1000).await.unwrap();
    assert_eq!(page.events, []);
}

/// Closing finishes what is queued and refuses what comes after.
pub async fn a_closed_log_refuses_appends(backend: &dyn Backend) {
    if !backend.can_reopen() {
        return;
    }
    let (log, scope) = (backend.open().await, Scope::new());
    let stream = scope.stream("s");
    let calls: Vec<_> = (0..20).map(|n| log.append(one(&stream, exact(n), scope.events(1)))).collect();
    log.close().await;
    for call in calls {
        call.await.unwrap();
    }
    let late = log.append(one(&stream, exact(20), scope.events(1))).await;
    assert!(matches!(late, Err(AppendError::Stopped(_))), "{late:?}");
}

/// A log that was closed and opened again: same events, same positions, same answers to retries and conflicts.
pub async fn everything_is_there_after_reopening(backend: &dyn Backend) {
    if !backend.can_reopen() {
        return;
    }
    let scope = Scope::new();
    let stream = scope.stream("s");
    let mut kept = Vec::new();
    let mut retried = None;
    for round in 0..4u64 {
        let log = backend.open().await;
        assert_eq!(read_whole_log(&*log, &scope.filter(), 9).await, kept);
        assert_eq!(read_whole_stream(&*log, &stream).await, kept);
        assert_eq!(log.stream_revision(&stream).await.unwrap(), 10 * round);
        if let Some((append, result)) = retried {
            assert_eq!(log.append(append).await.unwrap(), result);
        }
        let append = one(&stream, exact(10 * round), scope.events(10));
        let result = log.append(append.clone()).await.unwrap();
        retried = Some((append, result));
        kept = read_whole_stream(&*log, &stream).await;
        assert_eq!(kept.len() as u64, 10 * (round + 1));
        log.close().await;
    }
}
