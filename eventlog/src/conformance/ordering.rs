//! Racing writers, gapless revisions, ordered visibility, and the comparison with the reference.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Backend, Scope, exact, one, part, read_whole_log, read_whole_stream};
use crate::log::{Append, AppendError, EventLog, Expected};
use crate::memory::MemoryLog;

/// Of many writers at one revision exactly one succeeds, each time.
pub async fn of_racing_writers_one_wins(backend: &dyn Backend) {
    let (log, scope) = (backend.open().await, Scope::new());
    let stream = scope.stream("s");
    for revision in 0..10 {
        let tasks: Vec<_> = (0..8)
            .map(|_| tokio::spawn(log.append(one(&stream, exact(revision), scope.events(1)))))
            .collect();
        let mut won = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(result) => {
                    assert_eq!(result.revisions, [revision + 1]);
                    won += 1;
                }
                Err(AppendError::Conflict { actual, .. }) => assert!(actual > revision),
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(won, 1);
    }
    assert_eq!(log.stream_revision(&stream).await.unwrap(), 10);
}

async fn write_concurrently(log: &Arc<dyn EventLog>, scope: &Arc<Scope>, writers: usize, appends: usize) {
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let (log, scope) = (log.clone(), scope.clone());
            tokio::spawn(async move {
                let (own, common) = (scope.stream(&format!("own{writer}")), scope.stream("common"));
                for n in 0..appends {
                    let stream = if n % 3 == 0 { &common } else { &own };
                    let append = one(stream, Expected::Any, scope.events(1 + n % 2));
                    log.append(append).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// 1, 2, 3, … in every stream, in the order of positions, and dense positions where promised.
pub async fn revisions_are_gapless_under_concurrent_writers(backend: &dyn Backend) {
    let (log, scope) = (backend.open().await, Arc::new(Scope::new()));
    write_concurrently(&log, &scope, 4, 30).await;
    let events = read_whole_log(&*log, &scope.filter(), 7).await;
    assert_eq!(events.len(), 4 * 45);
    let mut revisions: HashMap<String, u64> = HashMap::new();
    for event in &events {
        let last = revisions.entry(event.stream().to_owned()).or_default();
        assert_eq!(event.revision, *last + 1, "in {}", event.stream());
        *last = event.revision;
    }
    if log.capabilities().dense_positions {
        let all = read_whole_log(&*log, &crate::Filter::default(), 50).await;
        assert!(all.iter().zip(1..).all(|(event, position)| event.position == position));
    }
}

/// A reader that follows the head sees every event once, in order: whoever is at position p missed nothing before.
pub async fn no_reader_misses_an_event_under_concurrent_writers(backend: &dyn Backend) {
    let (log, scope) = (backend.open().await, Arc::new(Scope::new()));
    let wanted = 4 * 60;
    let reader = tokio::spawn({
        let (log, scope) = (log.clone(), scope.clone());
        async move {
            let mut head = log.watch_head();
            let (mut after, mut seen) = (0, Vec::new());
            while seen.len() < wanted {
                let page = log.read_all(after, &scope.filter(), 5, usize::MAX).await.unwrap();
                after = page.scanned_to;
                seen.extend(page.events);
                if page.at_head && seen.len() < wanted {
                    head.wait_for(|head| *head > after).await.unwrap();
                }
            }
            seen
        }
    });
    write_concurrently(&log, &scope, 4, 40).await;
    let seen = reader.await.unwrap();
    assert_eq!(seen, read_whole_log(&*log, &scope.filter(), 1000).await);
}

/// A xorshift generator: tests must repeat.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Random appends, retries and conflicts: every result and the final contents are those of the memory log.
pub async fn a_random_workload_gives_what_the_memory_log_gives(backend: &dyn Backend) {
    let (log, scope) = (backend.open().await, Scope::new());
    let model = MemoryLog::new();
    let atomic = log.capabilities().atomic_multi_stream;
    let mut dice = Dice(0x5eed_1234_5678_9abc);
    let streams: Vec<_> = (0..6).map(|n| scope.stream(&format!("r{n}"))).collect();
    let mut done: Vec<Append> = Vec::new();
    for _ in 0..150 {
        let mut group = Vec::new();
        for _ in 0..=dice.below(4) {
            if dice.below(5) == 0 && !done.is_empty() {
                let at = usize::try_from(dice.below(done.len() as u64)).unwrap();
                group.push(done[at].clone());
                continue;
            }
            let mut names: HashSet<u64> = HashSet::from([dice.below(6)]);
            if atomic && dice.below(3) == 0 {
                names.insert(dice.below(6));
            }
            let mut append = Append::new(Vec::new());
            for name in names {
                let stream = &streams[usize::try_from(name).unwrap()];
                let revision = model.stream_revision(stream).await.unwrap();
                let expected = match dice.below(6) {
                    0 => exact(revision + 1),
                    1 => exact(revision.saturating_sub(1)),
                    _ => exact(revision),
                };
                let count = usize::try_from(1 + dice.below(3)).unwrap();
                append.streams.push(part(stream, expected, scope.events(count)));
            }
            done.push(append.clone());
            group.push(append);
        }
        let expected = model.append_group(group.clone()).await;
        let results = log.append_group(group).await;
        assert_eq!(results.len(), expected.len());
        for (result, expected) in results.iter().zip(&expected) {
            match (result, expected) {
                (Ok(result), Ok(expected)) => assert_eq!(result.revisions, expected.revisions),
                (Err(error), Err(expected)) => assert_eq!(error.to_string(), expected.to_string()),
                _ => panic!("got {result:?}, the memory log says {expected:?}"),
            }
        }
    }
    for stream in &streams {
        let (events, expected) =
            (read_whole_stream(&*log, stream).await, read_whole_stream(&model, stream).await);
        let ids = |events: &[crate::RecordedEvent]| events.iter().map(|e| e.event_id).collect::<Vec<_>>();
        assert_eq!(ids(&events), ids(&expected));
    }
    let order = |events: Vec<crate::RecordedEvent>| events.iter().map(|e| e.event_id).collect::<Vec<_>>();
    let events = order(read_whole_log(&*log, &scope.filter(), 13).await);
    assert_eq!(events, order(read_whole_log(&model, &scope.filter(), 1000).await));
}
