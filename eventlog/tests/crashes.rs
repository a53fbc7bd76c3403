//! The segment log on a disk that fails, beside the log in memory: the power goes at every step, writes tear or are cut
//! short, syncs and writes fail, the disk fills up. As long as the disk works both give the same results; after each
//! restart the log holds every acknowledged append and, of the group that was under way, the first few: nothing else.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use daybook_eventlog::segment::fault::{FaultPlan, FaultStorage};
use daybook_eventlog::{
    Append, AppendError, Appended, EventLog, Expected, Filter, MemoryLog, NewEvent, Page, RecordedEvent,
    SegmentLog, SegmentOptions, StreamAppend, StreamId,
};
use support::{append_to, event, in_parallel, run_group, wait};
use uuid::Uuid;

const STREAMS: u64 = 12;

/// Cases of the random tests; `DAYBOOK_CRASH_CASES` multiplies them.
const CASES: u64 = 3_000;
const BACKGROUND_CASES: u64 = 300;

/// Groups of appends in the life that is broken at every step.
const GROUPS: usize = 45;

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

fn open(disk: &FaultStorage, background: bool) -> Result<SegmentLog, daybook_eventlog::OpenError> {
    SegmentLog::open_on(Arc::new(disk.clone()), options(background))
}

fn stream(name: u64) -> StreamId {
    StreamId::new(format!("kind{}-{name:02}", name % 3)).unwrap()
}

/// A workload that repeats for a seed.
struct Workload {
    dice: u64,
    ids: u128,
    /// Appends of before, to be tried again.
    earlier: VecDeque<Append>,
    /// The largest event is so many times 32 bytes longer than the smallest.
    sizes: u64,
}

impl Workload {
    fn new(seed: u64) -> Self {
        let mut workload = Self {
            dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            ids: u128::from(seed) << 64,
            earlier: VecDeque::new(),
            sizes: 0,
        };
        workload.sizes = [1, 2, 4, 12][workload.index(4)];
        workload
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 11) % bound
    }

    fn index(&mut self, bound: u64) -> usize {
        usize::try_from(self.below(bound)).unwrap()
    }

    /// Mostly appends that build on each other and on `model`; some that conflict, and some that were there before.
    fn group(&mut self, model: &MemoryLog) -> Vec<Append> {
        let revision = |name| wait(model.stream_revision(&stream(name))).unwrap();
        let mut revisions: HashMap<u64, u64> = (0..STREAMS).map(|name| (name, revision(name))).collect();
        (0..=self.below(6)).map(|_| self.append(&mut revisions)).collect()
    }

    fn append(&mut self, revisions: &mut HashMap<u64, u64>) -> Append {
        if self.below(12) == 0 && !self.earlier.is_empty() {
            let at = self.index(self.earlier.len() as u64);
            return self.earlier[at].clone();
        }
        let first = self.below(STREAMS);
        let mut names = vec![first];
        if self.below(3) == 0 {
            names.push((first + 1 + self.below(STREAMS - 1)) % STREAMS);
        }
        let conflicts = self.below(16) == 0;
        let any = self.below(8) == 0;
        let streams = names.into_iter().map(|name| {
            let events: Vec<_> = (0..=self.below(3)).map(|_| self.event()).collect();
            let revision = revisions.entry(name).or_default();
            let expected =
                if any { Expected::Any } else { Expected::Exact(*revision + u64::from(conflicts)) };
            if any || !conflicts {
                *revision += events.len() as u64;
            }
            StreamAppend { stream: stream(name), expected, events }
        });
        let append = Append::new(streams.collect());
        self.earlier.push_front(append.clone());
        self.earlier.truncate(20);
        append
    }

    fn event(&mut self) -> NewEvent {
        self.ids += 1;
        // Frames and markers then begin at multiples of 32, so that what a tear left behind often stands exactly where
        // the log goes on.
        let length = 4 + 32 * self.index(self.sizes);
        NewEvent {
            event_id: Uuid::from_u128(self.ids),
            event_type: ["a.done", "b.done", "c.done"][self.index(3)],
            version: 1,
            // A clock that jumps to and fro changes nothing.
            recorded_at: i64::try_from(self.below(1 << 40)).unwrap() - (1 << 39),
            data: Bytes::from(format!("{:0length$}", self.ids % 10_000)),
            metadata: Bytes::from_static(b"{}"),
        }
    }
}

fn pages(read: impl Fn(u64) -> Page) -> Vec<RecordedEvent> {
    let mut events = Vec::new();
    let mut after = 0;
    loop {
        let page = read(after);
        assert!(page.events.iter().all(|event| after < event.position && event.position <= page.scanned_to));
        events.extend(page.events);
        after = page.scanned_to;
        if page.at_head {
            return events;
        }
    }
}

fn select(log: &SegmentLog, filter: &Filter) -> Vec<RecordedEvent> {
    pages(|after| log.read_all_blocking(after, filter, 7, usize::MAX).unwrap())
}

fn select_in(model: &MemoryLog, filter: &Filter) -> Vec<RecordedEvent> {
    pages(|after| wait(model.read_all(after, filter, 1000, usize::MAX)).unwrap())
}

fn head(log: &dyn EventLog) -> u64 {
    wait(log.head()).unwrap().position
}

/// Compares the log with the model by position, by stream, by filter; and lets the log verify itself.
fn assert_equals(log: &SegmentLog, model: &MemoryLog) {
    let all = select_in(model, &Filter::default());
    assert_eq!(select(log, &Filter::default()), all);
    for name in 0..STREAMS {
        let stream = stream(name);
        let revision = wait(model.stream_revision(&stream)).unwrap();
        assert_eq!(wait(log.stream_revision(&stream)).unwrap(), revision);
        assert!(revision == 0 || !log.is_surely_absent(&stream), "{stream} is there");
        for from in [1, 3, revision.max(1)] {
            let wanted = wait(model.read_stream(&stream, from, usize::MAX)).unwrap();
            let found = log.read_stream_blocking(&stream, from, usize::MAX).unwrap();
            assert_eq!(found, wanted, "{stream} from {from}");
        }
    }
    let filter = Filter { types: vec!["a.done".into()], stream_prefixes: vec!["kind1-".into()] };
    assert_eq!(select(log, &filter), select_in(model, &filter));
    let mut findings = Vec::new();
    let report = log.verify(|finding| findings.push(finding)).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!(report.events, all.len() as u64);
}

/// Does with the model what the log did: what was refused for want of room, or because the disk could not be read, did
/// not happen; all else gives the same.
/// Returns the appends of which nothing is known; behind the first of them nothing is acknowledged.
fn follow(model: &MemoryLog, group: &[Append], results: &[Result<Appended, AppendError>]) -> Vec<Append> {
    let mut in_doubt = Vec::new();
    for (append, result) in group.iter().zip(results) {
        match result {
            Err(AppendError::DiskFull(_) | AppendError::Unavailable { indeterminate: false, .. }) => {}
            Err(AppendError::Stopped(_)) => in_doubt.push(append.clone()),
            Ok(_) | Err(_) => {
                assert!(in_doubt.is_empty(), "{results:?}");
                let wanted = wait(model.append(append.clone()));
                assert_eq!(format!("{result:?}"), format!("{wanted:?}"));
            }
        }
    }
    in_doubt
}

/// After a restart: takes into the model what the log kept of the appends in doubt, which is the first few of them.
fn settle(log: &SegmentLog, model: &MemoryLog, in_doubt: &[Append]) {
    for append in in_doubt {
        if head(model) >= log.head_position() {
            break;
        }
        // One that conflicts writes nothing.
        let _ = wait(model.append(append.clone()));
    }
    assert_equals(log, model);
    // Their callers try them again.
    let results = run_group(log, in_doubt.to_vec());
    assert!(follow(model, in_doubt, &results).is_empty());
}

/// Runs groups until the disk stops the log or `groups` are done, restarts, checks; a life for each plan, and one more.
fn run_lives(seed: u64, plans: &[FaultPlan], groups: usize, background: bool) {
    let mut workload = Workload::new(seed);
    let model = MemoryLog::new();
    let mut disk = FaultStorage::new(seed, FaultPlan::default());
    for (life, plan) in (0..).zip(plans.iter().cloned().chain([FaultPlan::default()])) {
        disk = disk.restart(seed + life, plan);
        let mut in_doubt = Vec::new();
        let opened = open(&disk, background);
        if let Ok(log) = &opened {
            // A crash may come while this looks; then nothing is to be learned.
            assert!(disk.is_dead() || log.head_position() == head(&model));
            for _ in 0..groups {
                let group = workload.group(&model);
                let results = run_group(log, group.clone());
                in_doubt = follow(&model, &group, &results);
                if !in_doubt.is_empty() {
                    break;
                }
            }
        }
        // The power goes, after a close in order or without one.
        let closed = (workload.below(2) == 0).then_some(()).and(opened.ok());
        drop(closed);
        disk = disk.restart(seed.rotate_left(17) + life, FaultPlan::default());
        let log = open(&disk, false).unwrap();
        settle(&log, &model, &in_doubt);
    }
}

/// The steps of one life without faults, which must seal and merge.
fn steps_of_a_life(seed: u64) -> u64 {
    let disk = FaultStorage::new(seed, FaultPlan::default());
    let log = open(&disk, false).unwrap();
    let (mut workload, model) = (Workload::new(seed), MemoryLog::new());
    for _ in 0..GROUPS {
        let group = workload.group(&model);
        let results = run_group(&log, group.clone());
        assert!(follow(&model, &group, &results).is_empty());
    }
    assert_equals(&log, &model);
    let stats = log.stats();
    assert!(stats.sealed_segments >= 5 && stats.index_runs < stats.sealed_segments, "{stats:?}");
    drop(log);
    disk.steps()
}

#[test]
fn a_fault_at_every_step_of_a_life_loses_nothing_acknowledged() {
    let seed = 9;
    let fail = |step, kind| FaultPlan { fail: Some((step..step + 1, kind)), ..FaultPlan::default() };
    let plans: Vec<FaultPlan> = (1..=steps_of_a_life(seed))
        .flat_map(|step| {
            let crash = FaultPlan { crash_at: Some(step), ..FaultPlan::default() };
            let short = FaultPlan { short: true, ..crash.clone() };
            let full = fail(step, io::ErrorKind::StorageFull);
            // Refused for want of room, then a commit or two, then the power: what was refused must not come back.
            let full_and_crash = FaultPlan { crash_at: Some(step + 3 + step % 4), ..full.clone() };
            [crash, short, fail(step, io::ErrorKind::Other), full, full_and_crash]
        })
        .collect();
    println!("{} cases", plans.len());
    assert!(plans.len() > 1_000, "{} cases are too few", plans.len());
    in_parallel(&plans, |plan| run_lives(seed, std::slice::from_ref(plan), GROUPS, false));
}

fn random_plan(dice: &mut Workload) -> FaultPlan {
    let step = 1 + dice.below(250);
    let plan = FaultPlan { short: dice.below(3) == 0, ..FaultPlan::default() };
    match dice.below(8) {
        0 => FaultPlan { fail: Some((step..step + 1, io::ErrorKind::Other)), ..plan },
        1 => FaultPlan { fail: Some((step..step + 1 + dice.below(9), io::ErrorKind::StorageFull)), ..plan },
        4 => {
            let fail = Some((step..step + 1, io::ErrorKind::StorageFull));
            FaultPlan { fail, crash_at: Some(step + 2 + dice.below(6)), ..plan }
        }
        2 => FaultPlan { fail_syncs: Some(step / 2..step / 2 + 1), ..plan },
        3 => FaultPlan { capacity: Some(20_000 + dice.index(60_000)), ..plan },
        _ => FaultPlan { crash_at: Some(step), ..plan },
    }
}

fn random_lives(cases: u64, background: bool) {
    let times = std::env::var("DAYBOOK_CRASH_CASES").map_or(1, |times| times.parse().unwrap());
    let seeds: Vec<u64> = (1..=cases * times).collect();
    in_parallel(&seeds, |seed| {
        let mut dice = Workload::new(*seed + 1_000_000);
        let plans: Vec<FaultPlan> = (0..=dice.below(3)).map(|_| random_plan(&mut dice)).collect();
        let run = || run_lives(*seed, &plans, 25, background);
        if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
            eprintln!("seed {seed}, plans {plans:?}");
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn random_faults_lose_nothing_acknowledged() {
    random_lives(CASES, false);
}

#[test]
fn random_faults_under_background_threads_lose_nothing_acknowledged() {
    random_lives(BACKGROUND_CASES, true);
}

#[test]
fn a_failed_sync_stops_the_log_for_good() {
    let disk = FaultStorage::new(3, FaultPlan::default());
    let log = open(&disk, true).unwrap();
    let model = MemoryLog::new();
    let group = |ids: std::ops::Range<u128>, revision: u64| -> Vec<Append> {
        let appends = ids.zip(revision..);
        appends
            .map(|(id, before)| append_to("kind0-00", Expected::Exact(before), vec![event(id, "{}")]))
            .collect()
    };
    let first = group(1..4, 0);
    assert!(follow(&model, &first, &run_group(&log, first.clone())).is_empty());
    disk.set_plan(FaultPlan { fail_syncs: Some(0..u64::MAX), ..FaultPlan::default() });
    let second = group(4..8, 3);
    let results = run_group(&log, second.clone());
    assert!(results.iter().all(|result| matches!(result, Err(AppendError::Stopped(_)))), "{results:?}");
    disk.set_plan(FaultPlan::default());
    let again = run_group(&log, second.clone());
    assert!(again.iter().all(|result| matches!(result, Err(AppendError::Stopped(_)))), "never retried");
    assert!(log.stopped().is_some());
    // Reads go on, and show nothing that is not durable.
    assert_eq!(select(&log, &Filter::default()), select_in(&model, &Filter::default()));
    let stream = stream(0);
    assert_eq!(log.read_stream_blocking(&stream, 1, 100).unwrap().len(), 3);
    assert_eq!(wait(log.stream_revision(&stream)).unwrap(), 3);
    drop(log);
    let log = open(&disk.restart(5, FaultPlan::default()), true).unwrap();
    settle(&log, &model, &second);
}

#[test]
fn a_full_disk_refuses_appends_serves_reads_and_resumes() {
    for background in [false, true] {
        let disk = FaultStorage::new(11, FaultPlan::default());
        let log = open(&disk, background).unwrap();
        let (mut workload, model) = (Workload::new(11), MemoryLog::new());
        let (mut refused, mut accepted_after) = (0, 0);
        for round in 0..90 {
            if round == 30 {
                log.wait_until_sealed();
                let capacity = Some(disk.used());
                disk.set_plan(FaultPlan { capacity, ..FaultPlan::default() });
            }
            if round == 60 {
                disk.set_plan(FaultPlan::default());
            }
            let group = workload.group(&model);
            let results = run_group(&log, group.clone());
            assert!(follow(&model, &group, &results).is_empty());
            refused += results.iter().filter(|r| matches!(r, Err(AppendError::DiskFull(_)))).count();
            accepted_after += results.iter().filter(|r| r.is_ok() && round > 61).count();
            assert_eq!(select(&log, &Filter::default()), select_in(&model, &Filter::default()));
        }
        assert!(refused > 0 && accepted_after > 20, "refused {refused}, then accepted {accepted_after}");
        drop(log);
        assert_equals(&open(&disk.restart(1, FaultPlan::default()), false).unwrap(), &model);
    }
}

/// A commit that was cut off half way for want of room has left whole frames behind: they were refused, so no restart may
/// bring them to life.
#[test]
fn what_a_full_disk_has_half_written_is_wiped() {
    for seed in 1..=64 {
        let disk = FaultStorage::new(seed, FaultPlan::default());
        let log = open(&disk, false).unwrap();
        let group = |text: &str, ids: std::ops::Range<u128>| {
            let stream = format!("s-{text}");
            let append = |id| append_to(&stream, Expected::Any, vec![event(id, format!("\"{text}\""))]);
            ids.map(append).collect::<Vec<_>>()
        };
        run_group(&log, group("kept", 1..4)).into_iter().for_each(|result| drop(result.unwrap()));
        let next = disk.steps() + 1;
        disk.set_plan(FaultPlan {
            fail: Some((next..next + 1, io::ErrorKind::StorageFull)),
            ..FaultPlan::default()
        });
        let results = run_group(&log, group("refused", 4..12));
        assert!(results.iter().all(|r| matches!(r, Err(AppendError::DiskFull(_)))), "{results:?}");
        let left = |(_, bytes): &(String, Vec<u8>)| bytes.windows(7).any(|part| part == b"refused");
        assert!(!disk.files().iter().any(left), "seed {seed}: a refused event is in a file");
        drop(log);
        let log = open(&disk.restart(seed, FaultPlan::default()), false).unwrap();
        let texts: Vec<_> = select(&log, &Filter::default()).iter().map(|e| e.data().to_vec()).collect();
        assert_eq!(texts, vec![b"\"kept\"".to_vec(); 3], "seed {seed}");
        run_group(&log, group("later", 12..16)).into_iter().for_each(|result| drop(result.unwrap()));
        assert_eq!(head(&log), 7);
    }
}

#[test]
fn a_disk_that_cannot_be_read_for_a_while_does_no_lasting_harm() {
    let disk = FaultStorage::new(17, FaultPlan::default());
    let log = open(&disk, false).unwrap();
    let (mut workload, model) = (Workload::new(17), MemoryLog::new());
    let mut refused = 0;
    for round in 0..60 {
        let fail_reads = (20..40).contains(&round).then_some(io::ErrorKind::Other);
        disk.set_plan(FaultPlan { fail_reads, ..FaultPlan::default() });
        for append in workload.group(&model) {
            let result = run_group(&log, vec![append.clone()]).remove(0);
            match result {
                Err(AppendError::Unavailable { indeterminate, .. }) => {
                    assert!(!indeterminate);
                    refused += 1;
                }
                result => assert!(follow(&model, &[append], &[result]).is_empty()),
            }
        }
    }
    assert!(refused > 0);
    assert_equals(&log, &model);
}

#[test]
fn a_clock_that_jumps_backwards_changes_nothing() {
    let disk = FaultStorage::new(19, FaultPlan::default());
    let model = MemoryLog::new();
    let mut workload = Workload::new(19);
    // Each life's clock is an hour behind that of the life before, and runs backwards.
    for life in 0i64..4 {
        let log = open(&disk, false).unwrap();
        for n in 0i64..30 {
            let mut group = workload.group(&model);
            let events = group.iter_mut().flat_map(|a| &mut a.streams).flat_map(|part| &mut part.events);
            events.for_each(|event| event.recorded_at = -life * 3_600_000_000 - n);
            let results = run_group(&log, group.clone());
            assert!(follow(&model, &group, &results).is_empty());
        }
        assert_equals(&log, &model);
    }
}

/// Whether such an append was tried before can be seen in what is sealed: that is no reason to commit each by itself.
#[test]
fn a_group_on_streams_that_were_sealed_long_ago_is_one_commit() {
    let disk = FaultStorage::new(23, FaultPlan::default());
    let log = open(&disk, false).unwrap();
    for id in 1..=400 {
        let append = append_to(&format!("s-{}", id % 40), Expected::Any, vec![event(id, "x".repeat(200))]);
        run_group(&log, vec![append]).remove(0).unwrap();
    }
    // Opened again, the log has no stream of a sealed segment in memory.
    drop(log);
    let log = open(&disk, false).unwrap();
    let mut lone_commits = 0;
    for round in 1..=8u128 {
        let before = (disk.syncs(), log.stats().sealed_segments);
        let append = |name: u128| {
            append_to(&format!("s-{name}"), Expected::Any, vec![event(1_000 * round + name, "{}")])
        };
        let group = (0..4).map(|i| append((round * 4 + i) % 40)).collect();
        run_group(&log, group).into_iter().for_each(|result| drop(result.unwrap()));
        // A group that goes on to a new segment has more to sync.
        lone_commits += u32::from((disk.syncs() - before.0, log.stats().sealed_segments) == (1, before.1));
    }
    assert!(lone_commits >= 6, "only {lone_commits} of 8 groups were one commit");
}
