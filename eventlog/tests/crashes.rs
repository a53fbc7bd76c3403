//! The segment log on a disk that fails: the power goes at every step, writes tear, syncs fail, the disk fills up.
//! After each restart the log holds every acknowledged append and, of the last group, a prefix: nothing else.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use daybook_eventlog::segment::fault::{FaultPlan, FaultStorage};
use daybook_eventlog::{
    Append, AppendError, Appended, EventLog, Expected, Filter, NewEvent, SegmentLog, SegmentOptions,
    StreamAppend, StreamId,
};
use proptest::prelude::*;
use uuid::Uuid;

/// Small enough that a handful of appends seals segments and merges runs; stream names collide on purpose.
fn options(background: bool) -> SegmentOptions {
    SegmentOptions {
        segment_bytes: 8 << 10,
        block_bytes: 512,
        ring_bytes: 1 << 10,
        block_cache_bytes: 2 << 10,
        stream_hash: |name| u64::from(name.as_bytes()[name.len() - 1] & 3),
        background,
        ..SegmentOptions::default()
    }
}

/// What the log must hold.
#[derive(Default, Clone)]
struct Model {
    events: Vec<(Uuid, String, u64)>,
    revisions: HashMap<String, u64>,
}

impl Model {
    fn apply(&mut self, append: &Append) {
        for part in &append.streams {
            let revision = self.revisions.entry(part.stream.to_string()).or_default();
            for event in &part.events {
                *revision += 1;
                self.events.push((event.event_id, part.stream.to_string(), *revision));
            }
        }
    }
}

/// A workload that repeats for a seed.
struct Workload {
    dice: u64,
    ids: u128,
}

impl Workload {
    fn new(seed: u64) -> Self {
        Self { dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, ids: u128::from(seed) << 64 }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 11) % bound
    }

    /// A group of appends that all succeed in order, building on `model`.
    fn group(&mut self, model: &Model) -> Vec<Append> {
        let mut revisions = model.revisions.clone();
        (0..=self.below(5)).map(|_| self.append(&mut revisions)).collect()
    }

    fn append(&mut self, revisions: &mut HashMap<String, u64>) -> Append {
        let first = self.below(12);
        let mut names = vec![first];
        if self.below(3) == 0 {
            names.push((first + 1 + self.below(11)) % 12);
        }
        let streams = names.into_iter().map(|name| {
            let stream = StreamId::new(format!("kind{}-{name}", name % 3)).unwrap();
            let revision = revisions.entry(stream.to_string()).or_default();
            let events: Vec<_> = (0..=self.below(3)).map(|_| self.event()).collect();
            let expected = Expected::Exact(*revision);
            *revision += events.len() as u64;
            StreamAppend { stream, expected, events }
        });
        Append { streams: streams.collect() }
    }

    fn event(&mut self) -> NewEvent {
        self.ids += 1;
        let length = usize::try_from(self.below(400)).unwrap();
        NewEvent {
            event_id: Uuid::from_u128(self.ids),
            event_type: ["a.done", "b.done", "c.done"][usize::try_from(self.below(3)).unwrap()],
            version: 1,
            // A clock that jumps to and fro changes nothing.
            recorded_at: i64::try_from(self.below(1 << 40)).unwrap() - (1 << 39),
            data: Bytes::from(format!("{{\"n\":{},\"fill\":\"{}\"}}", self.ids, "x".repeat(length))),
            metadata: Bytes::from_static(b"{}"),
        }
    }
}

fn run_group(log: &SegmentLog, group: Vec<Append>) -> Vec<Result<Appended, AppendError>> {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(log.append_group(group))
}

fn read_everything(log: &SegmentLog) -> Vec<(Uuid, String, u64)> {
    let mut events = Vec::new();
    let mut after = 0;
    loop {
        let page = log.read_all_blocking(after, &Filter::default(), 7, usize::MAX).unwrap();
        for event in page.events {
            assert_eq!(event.position, events.len() as u64 + 1);
            events.push((event.event_id, event.stream().to_owned(), event.revision));
        }
        after = page.scanned_to;
        if page.at_head {
            return events;
        }
    }
}

/// Compares the log with the model by position, by stream, by filter; and lets the log verify itself.
fn assert_equals(log: &SegmentLog, model: &Model) {
    assert_eq!(read_everything(log), model.events);
    for name in 0..12 {
        let stream = StreamId::new(format!("kind{}-{name}", name % 3)).unwrap();
        let wanted: Vec<Uuid> =
            model.events.iter().filter(|(_, s, _)| s == stream.as_str()).map(|(id, _, _)| *id).collect();
        for from in [1, 3, wanted.len() as u64] {
            let from = from.max(1);
            let events = log.read_stream_blocking(&stream, from, usize::MAX).unwrap();
            let ids: Vec<Uuid> = events.iter().map(|event| event.event_id).collect();
            let skip = usize::try_from(from - 1).unwrap().min(wanted.len());
            assert_eq!(ids, wanted[skip..], "{stream} from {from}");
        }
        let revision = futures_now(log.stream_revision(&stream)).unwrap();
        assert_eq!(revision, wanted.len() as u64);
    }
    let filter = Filter { types: vec!["a.done".into()], stream_prefixes: vec!["kind1-".into()] };
    let mut after = 0;
    while after < model.events.len() as u64 {
        let page = log.read_all_blocking(after, &filter, 3, usize::MAX).unwrap();
        assert!(page.events.iter().all(|event| filter.matches(event.stream(), event.event_type())));
        after = page.scanned_to;
    }
    let mut findings = Vec::new();
    let report = log.verify(|finding| findings.push(finding)).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!(report.events, model.events.len() as u64);
}

fn futures_now<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// After a crash in `group`: the model that the log agrees with, which has all of the group that was acknowledged.
fn settle(log: &SegmentLog, mut model: Model, group: &[Append], acknowledged: usize) -> Model {
    let found = read_everything(log);
    for (i, append) in group.iter().enumerate() {
        if i >= acknowledged && model.events.len() >= found.len() {
            break;
        }
        model.apply(append);
    }
    assert_equals(log, &model);
    model
}

/// Runs groups until the power goes or `groups` are done, restarts, checks; several lives long.
fn run_lives(seed: u64, crashes: &[u64], groups: usize, background: bool, short: bool) {
    let mut workload = Workload::new(seed);
    let mut model = Model::default();
    let mut disk = FaultStorage::new(seed, FaultPlan::default());
    for (life, crash_at) in crashes.iter().map(|step| Some(*step)).chain([None]).enumerate() {
        disk = disk.restart(seed + life as u64, FaultPlan { crash_at, short, ..FaultPlan::default() });
        let mut in_doubt = (Vec::new(), 0);
        if let Ok(log) = SegmentLog::open_on(Arc::new(disk.clone()), options(background)) {
            if !disk.is_dead() {
                assert_opened(&disk, &log, &model);
            }
            for _ in 0..groups {
                let group = workload.group(&model);
                let results = run_group(&log, group.clone());
                let acknowledged = results.iter().take_while(|result| result.is_ok()).count();
                if acknowledged < group.len() {
                    assert!(disk.is_dead(), "{results:?}");
                    in_doubt = (group, acknowledged);
                    break;
                }
                group.iter().for_each(|append| model.apply(append));
            }
        } else {
            assert!(disk.is_dead());
        }
        disk = disk.restart(seed.rotate_left(17) + life as u64, FaultPlan::default());
        let log = SegmentLog::open_on(Arc::new(disk.clone()), options(false)).unwrap();
        model = settle(&log, model, &in_doubt.0, in_doubt.1);
    }
}

/// A crash may come while this looks; then nothing is to be learned.
fn assert_opened(disk: &FaultStorage, log: &SegmentLog, model: &Model) {
    let head = log.head_position();
    assert!(disk.is_dead() || head == model.events.len() as u64);
}

#[test]
fn a_crash_at_every_step_of_a_workload_loses_nothing_acknowledged() {
    let count_steps = || {
        let disk = FaultStorage::new(7, FaultPlan::default());
        let log = SegmentLog::open_on(Arc::new(disk.clone()), options(false)).unwrap();
        let (mut workload, mut model) = (Workload::new(7), Model::default());
        for _ in 0..45 {
            let group = workload.group(&model);
            run_group(&log, group.clone()).into_iter().for_each(|result| drop(result.unwrap()));
            group.iter().for_each(|append| model.apply(append));
        }
        assert_equals(&log, &model);
        drop(log);
        let runs = disk.files().iter().filter(|(name, _)| name.ends_with(".run")).count();
        let sealed = disk.files().iter().filter(|(name, _)| name.ends_with(".sealed")).count();
        assert!(
            sealed >= 5 && runs < sealed,
            "the workload must seal and merge: {sealed} sealed, {runs} runs"
        );
        disk.steps()
    };
    for step in 1..=count_steps() {
        run_lives(7, &[step], 45, false, false);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn random_crashes_lose_nothing_acknowledged(
        seed in 1u64..1_000_000,
        crashes in prop::collection::vec(1u64..250, 1..4),
        short in any::<bool>(),
    ) {
        run_lives(seed, &crashes, 25, false, short);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn random_crashes_under_background_threads_lose_nothing_acknowledged(
        seed in 1u64..1_000_000,
        crashes in prop::collection::vec(1u64..250, 1..4),
    ) {
        run_lives(seed, &crashes, 25, true, false);
    }
}

#[test]
fn a_failed_sync_stops_the_log_for_good() {
    let disk = FaultStorage::new(3, FaultPlan::default());
    let log = SegmentLog::open_on(Arc::new(disk.clone()), options(true)).unwrap();
    let (mut workload, mut model) = (Workload::new(3), Model::default());
    let first = workload.group(&model);
    run_group(&log, first.clone());
    first.iter().for_each(|append| model.apply(append));
    disk.set_plan(FaultPlan { fail_syncs: Some(0..u64::MAX), ..FaultPlan::default() });
    let second = workload.group(&model);
    let results = run_group(&log, second.clone());
    assert!(results.iter().all(|result| matches!(result, Err(AppendError::Stopped(_)))), "{results:?}");
    disk.set_plan(FaultPlan::default());
    let again = run_group(&log, second.clone());
    assert!(again.iter().all(|result| matches!(result, Err(AppendError::Stopped(_)))), "never retried");
    assert!(log.stopped().is_some());
    assert_eq!(read_everything(&log), model.events, "reads go on, and show nothing that is not durable");
    drop(log);
    let disk = disk.restart(5, FaultPlan::default());
    let log = SegmentLog::open_on(Arc::new(disk), options(true)).unwrap();
    settle(&log, model, &second, 0);
}

#[test]
fn a_full_disk_refuses_appends_serves_reads_and_resumes() {
    for background in [false, true] {
        let disk = FaultStorage::new(11, FaultPlan::default());
        let log = SegmentLog::open_on(Arc::new(disk.clone()), options(background)).unwrap();
        let (mut workload, mut model) = (Workload::new(11), Model::default());
        let (mut refused, mut accepted_after) = (0, 0);
        for round in 0..60 {
            if round == 20 {
                log.wait_until_sealed();
                let capacity = Some(disk.used());
                disk.set_plan(FaultPlan { capacity, ..FaultPlan::default() });
            }
            if round == 40 {
                disk.set_plan(FaultPlan::default());
            }
            let group = workload.group(&model);
            let results = run_group(&log, group.clone());
            for (append, result) in group.iter().zip(&results) {
                match result {
                    Ok(_) => {
                        model.apply(append);
                        accepted_after += usize::from(round > 41);
                    }
                    Err(AppendError::DiskFull(_)) => refused += 1,
                    // What builds on a refused append conflicts.
                    Err(AppendError::Conflict { .. }) => {}
                    Err(other) => panic!("round {round}: {other}"),
                }
            }
            assert_eq!(read_everything(&log), model.events);
        }
        assert!(refused > 0 && accepted_after > 20, "refused {refused}, then accepted {accepted_after}");
        drop(log);
        let disk = disk.restart(1, FaultPlan::default());
        let log = SegmentLog::open_on(Arc::new(disk), options(false)).unwrap();
        assert_equals(&log, &model);
    }
}

#[test]
fn a_commit_that_finds_no_room_is_taken_back_whole() {
    for failing in 1..40 {
        let disk = FaultStorage::new(failing, FaultPlan::default());
        let log = SegmentLog::open_on(Arc::new(disk.clone()), options(false)).unwrap();
        let (mut workload, mut model) = (Workload::new(13), Model::default());
        let step = disk.steps() + failing;
        let fail = Some((step..step + 1, io::ErrorKind::StorageFull));
        disk.set_plan(FaultPlan { fail, ..FaultPlan::default() });
        for _ in 0..20 {
            let group = workload.group(&model);
            for (append, result) in group.iter().zip(run_group(&log, group.clone())) {
                if result.is_ok() {
                    model.apply(append);
                }
            }
        }
        let stopped = log.stopped().is_some();
        assert_eq!(read_everything(&log), model.events);
        drop(log);
        let disk = disk.restart(1, FaultPlan::default());
        let log = SegmentLog::open_on(Arc::new(disk), options(false)).unwrap();
        // Only a sync that failed leaves something in doubt, and stops the log.
        if !stopped {
            assert_equals(&log, &model);
        }
    }
}
