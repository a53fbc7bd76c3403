use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use daybook_eventlog::memory::MemoryLog;
use daybook_eventlog::{Capabilities, Expected, NewEvent, Revision, pass_to_log};
use parking_lot::Mutex;
use uuid::Uuid;

use super::*;

/// A log that notes what is begun and what is done. Each write takes some turns of the executor, more or fewer by its stream, so that
/// what is not waited for is overtaken.
#[derive(Clone)]
struct Slow {
    log: Arc<MemoryLog>,
    notes: Arc<Mutex<Vec<(Note, String)>>>,
    failures: Arc<HashMap<&'static str, AppendError>>,
    /// Streams whose writes take so long.
    pauses: Arc<Mutex<HashMap<&'static str, Duration>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Note {
    Begun,
    Done,
}

impl Slow {
    fn new(failures: impl IntoIterator<Item = (&'static str, AppendError)>) -> Self {
        let failures = Arc::new(failures.into_iter().collect());
        Self { log: Arc::new(MemoryLog::new()), notes: Arc::default(), failures, pauses: Arc::default() }
    }

    fn pause(&self, stream: &'static str, time: Duration) {
        self.pauses.lock().insert(stream, time);
    }

    fn at(&self, note: Note, stream: &str) -> Option<usize> {
        self.notes.lock().iter().position(|(what, name)| *what == note && name == stream)
    }

    /// Whether the second was begun only when the first was done.
    fn waits(&self, first: &str, second: &str) -> bool {
        self.at(Note::Done, first).unwrap() < self.at(Note::Begun, second).unwrap()
    }

    async fn write(&self, appends: Vec<(Append, Steps)>) -> Vec<Outcome> {
        SequentialLog::new(Arc::new(self.clone()), Duration::from_mins(1)).append_group(appends).await
    }
}

impl EventLog for Slow {
    pass_to_log!(log: read_stream, stream_revision, read_all, head, others, close);

    fn capabilities(&self) -> Capabilities {
        Capabilities { atomic_multi_stream: false, dense_positions: false }
    }

    fn append(&self, append: Append) -> BoxFuture<'static, Outcome> {
        let this = self.clone();
        assert_eq!(append.streams.len(), 1);
        let name = append.streams[0].stream.to_string();
        this.notes.lock().push((Note::Begun, name.clone()));
        async move {
            for _ in 0..name.bytes().map(usize::from).sum::<usize>() % 7 {
                tokio::task::yield_now().await;
            }
            let pause = this.pauses.lock().get(name.as_str()).copied();
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
            let outcome = match this.failures.get(name.as_str()) {
                Some(error) => Err(error.clone()),
                None => this.log.append(append).await,
            };
            this.notes.lock().push((Note::Done, name));
            outcome
        }
        .boxed()
    }

    fn append_group(&self, appends: Vec<Append>) -> BoxFuture<'static, Vec<Outcome>> {
        let appending: Vec<_> = appends.into_iter().map(|append| self.append(append)).collect();
        futures::future::join_all(appending).boxed()
    }
}

fn stream(name: &str) -> StreamId {
    StreamId::new(name).unwrap()
}

/// An event like no other of this process.
fn event() -> NewEvent {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    NewEvent {
        event_id: Uuid::from_u128(NUMBER.fetch_add(1, Ordering::Relaxed).into()),
        event_type: "test.happened",
        version: 1,
        recorded_at: 0,
        data: Bytes::from_static(b"{}"),
        metadata: Bytes::from_static(b"{}"),
    }
}

/// What a command writes, an event to each stream at its revision, in the order of its decisions.
fn command(main: &str, main_first: bool, streams: &[(&str, Revision)]) -> (Append, Steps) {
    let write = |(name, before): &(&str, Revision)| {
        let mut write = Write::new(stream(name), *before);
        write.encoded.push(event());
        write
    };
    let mut writes: Vec<Write> = streams.iter().map(write).collect();
    let names = || streams.iter().map(|(name, _)| *name);
    let key = names().find(|name| name.starts_with("idempotency-")).map(stream);
    let steps = Steps::arrange(&mut writes, &stream(main), key.as_ref(), main_first);
    let part = |write: Write| StreamAppend {
        stream: write.stream,
        expected: Expected::Exact(write.before),
        events: write.encoded,
    };
    (Append::new(writes.into_iter().map(part).collect()), steps)
}

fn no_room() -> AppendError {
    AppendError::DiskFull("no room".into())
}

#[tokio::test]
async fn what_protects_is_there_before_what_it_protects() {
    let log = Slow::new([]);
    let create =
        [("claim-config", 0), ("claim-sku", 0), ("variant-1", 0), ("color-red", 0), ("idempotency-k", 0)];
    let outcomes = log.write(vec![command("variant-1", false, &create)]).await;
    assert_eq!(outcomes[0].as_ref().unwrap().revisions, [1; 5]);
    let order = ["idempotency-k", "claim-config", "claim-sku", "color-red", "variant-1"];
    for pair in order.windows(2) {
        assert!(log.waits(pair[0], pair[1]), "{pair:?} {:?}", log.notes.lock());
    }
}

#[tokio::test]
async fn stock_of_several_variants_is_held_at_once_and_the_order_comes_after_all_of_it() {
    let log = Slow::new([]);
    let stock = ["inventory-1", "inventory-2", "inventory-3"];
    let place = [(stock[0], 0), (stock[1], 0), (stock[2], 0), ("order-1", 0), ("idempotency-k", 0)];
    assert!(log.write(vec![command("order-1", false, &place)]).await[0].is_ok());
    for held in [stock[0], stock[1], stock[2], "idempotency-k"] {
        assert!(log.waits(held, "order-1"));
        assert!(stock.iter().all(|other| !log.waits(held, other)));
    }
}

/// Whoever looks for the last event of an append knows by it that all of the append is there.
#[tokio::test]
async fn the_last_stream_comes_when_all_others_are_there() {
    let log = Slow::new([]);
    let stock = ["inventory-1", "inventory-2", "inventory-3"];
    let cancel = [("order-1", 0), (stock[0], 0), (stock[1], 0), (stock[2], 0), ("idempotency-k", 0)];
    let cancel = command("order-1", true, &cancel);
    assert_eq!(cancel.0.streams.last().unwrap().stream, stream(stock[2]));
    assert!(log.write(vec![cancel]).await[0].is_ok());
    assert!(log.waits("order-1", "idempotency-k") && log.waits("order-1", stock[0]));
    assert!(!log.waits(stock[0], stock[1]) && !log.waits(stock[1], stock[0]));
    for before in ["idempotency-k", stock[0], stock[1]] {
        assert!(log.waits(before, stock[2]));
    }
}

#[tokio::test]
async fn only_appends_that_share_a_stream_wait_for_each_other() {
    let log = Slow::new([]);
    let outcomes = log
        .write(vec![
            command("order-1", false, &[("inventory-1", 0), ("order-1", 0)]),
            command("order-2", false, &[("inventory-2", 0), ("order-2", 0)]),
            command("order-3", false, &[("claim-3", 0), ("inventory-1", 1), ("order-3", 0)]),
        ])
        .await;
    assert_eq!(outcomes[2].as_ref().unwrap().revisions, [1, 2, 1]);
    assert!(!log.waits("order-1", "inventory-2") && !log.waits("order-2", "inventory-1"));
    assert!(log.waits("order-1", "claim-3"), "{:?}", log.notes.lock());
}

#[tokio::test]
async fn what_fails_goes_no_further_and_leaves_nothing_under_way() {
    let log = Slow::new([("inventory-1", no_room())]);
    let place = [("inventory-1", 0), ("inventory-2", 0), ("inventory-3", 0), ("order-1", 0)];
    let outcomes = log
        .write(vec![
            command("order-1", false, &place),
            command("order-2", false, &[("inventory-4", 0), ("order-2", 0)]),
        ])
        .await;
    assert!(matches!(outcomes[0], Err(AppendError::DiskFull(_))) && outcomes[1].is_ok());
    assert_eq!(log.at(Note::Begun, "order-1"), None);
    for held in ["inventory-2", "inventory-3"] {
        assert_eq!(log.log.stream_revision(&stream(held)).await.unwrap(), 1, "it was waited for");
    }
}

/// Should one stream be in conflict and the outcome of another be unknown, that is what has to be looked into.
#[tokio::test]
async fn an_unknown_outcome_is_told_rather_than_a_conflict() {
    let conflict = AppendError::Conflict { stream: stream("inventory-1"), expected: 0, actual: 1 };
    let unknown = AppendError::Unavailable { reason: "gone".into(), indeterminate: true };
    let place = [("inventory-1", 0), ("inventory-2", 0), ("inventory-3", 0), ("order-1", 0)];
    for (first, second) in [("inventory-1", "inventory-2"), ("inventory-2", "inventory-1")] {
        let log = Slow::new([(first, conflict.clone()), (second, unknown.clone())]);
        let outcome = log.write(vec![command("order-1", false, &place)]).await.remove(0);
        assert!(outcome.unwrap_err().is_indeterminate());
    }
}

/// What was claimed may be taken by others after a while, and the claim says when it was decided on, not when it was written: waiting for another
/// append counts as well.
#[tokio::test]
async fn what_took_too_long_stops_before_what_its_claims_protect() {
    let log = Slow::new([]);
    let create = |number: u8, key: Revision| {
        let (claim, variant) = (format!("claim-sku-{number}"), format!("variant-{number}"));
        command(&variant, false, &[("idempotency-k", key), (&claim, 0), (&variant, 0)])
    };
    let archive = command("variant-3", true, &[("variant-3", 0), ("claim-sku-3", 0)]);
    let group = vec![create(1, 0), create(2, 1), archive];
    let patience = Duration::from_millis(20);
    log.pause("claim-sku-1", 2 * patience);
    let outcomes = SequentialLog::new(Arc::new(log.clone()), 2 * patience).append_group(group).await;
    for (outcome, variant) in outcomes.iter().zip(["variant-1", "variant-2"]) {
        assert!(matches!(outcome, Err(AppendError::Unavailable { indeterminate: false, .. })), "{outcome:?}");
        assert_eq!(log.at(Note::Begun, variant), None);
    }
    assert!(log.at(Note::Done, "claim-sku-2").is_some(), "it had its turn");
    assert!(outcomes[2].is_ok(), "nothing of it rests on claims");
}

/// However commands share streams, each finds what it was decided on, and every stream has its events in their order.
#[tokio::test]
async fn a_group_reads_as_if_written_one_by_one() {
    for seed in 0..50_u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut draw = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let mut revisions: HashMap<String, Revision> = HashMap::new();
        let mut wanted: HashMap<String, Vec<Uuid>> = HashMap::new();
        let mut group = Vec::new();
        for number in 0..30 {
            let mut names: Vec<String> = (0..=draw(4)).map(|_| format!("inventory-{}", draw(12))).collect();
            names.sort_unstable();
            names.dedup();
            names.push(format!("order-{number}"));
            let streams: Vec<(&str, Revision)> = names
                .iter()
                .map(|name| (name.as_str(), revisions.get(name).copied().unwrap_or_default()))
                .collect();
            let (append, steps) = command(names.last().unwrap(), draw(3) == 0, &streams);
            for part in &append.streams {
                *revisions.entry(part.stream.to_string()).or_default() += 1;
                wanted.entry(part.stream.to_string()).or_default().push(part.events[0].event_id);
            }
            group.push((append, steps));
        }
        let log = Slow::new([]);
        assert!(log.write(group).await.iter().all(Result::is_ok), "{seed}");
        for (name, ids) in wanted {
            let there = log.log.read_stream(&stream(&name), 1, 1_000).await.unwrap();
            assert_eq!(there.iter().map(|event| event.event_id).collect::<Vec<_>>(), ids, "{seed} {name}");
        }
    }
}
