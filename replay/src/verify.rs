//! Verification: reads the whole log and checks everything that can be checked from it alone.
//!
//! | code | what is wrong |
//! |---|---|
//! | `damaged` | stored bytes are not what was written; nothing behind it can be read |
//! | `position_gap` | a position is missing or repeated (only where the backend's positions are dense) |
//! | `revision_gap` | a stream's revisions are not 1, 2, 3, … |
//! | `undecodable` | the type is unknown, or the payload does not fit its schema |
//! | `metadata` | the metadata do not fit their schema |
//! | `configuration_hash` | a variant's hash is not that of its product and attribute values |
//! | `index_mismatch`, `malformed` | the backend's own files do not agree with the events (embedded log at rest) |
//! | `order_total` | an order's lines do not add up to its total |
//!
//! The root is one SHA-256 over all events in order, so that two copies of a log can be compared by 64 characters.

use std::hash::BuildHasher;
use std::sync::Arc;

use daybook_eventlog::{EventLog, Position, ReadError, RecordedEvent, Scan, scan_in_order};
use daybook_schemas::{AnyEvent, Metadata, configuration, order, variant};
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Failures listed; further ones are counted.
const MAX_FAILURES: usize = 1_000;

/// What verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    #[serde(with = "daybook_projections::position_text")]
    pub position: Position,
    pub events: u64,
    pub ok: bool,
    /// SHA-256 over all events, hexadecimal; absent if not all could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    pub failures: Vec<Failure>,
    /// Failures beyond those listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_failures: u64,
    /// What a crash left half written at the end of a log at rest. It was never acknowledged and is no part of the log: no failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub torn_tail: Option<TornTail>,
}

/// Bytes behind the last whole append. The next opening to write cuts them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TornTail {
    /// Position that its first event would have had.
    #[serde(with = "daybook_projections::position_text")]
    pub position: Position,
    pub file: String,
    /// Where in the file it begins, and how long it is.
    pub offset: u64,
    pub bytes: u64,
}

impl Report {
    /// Of a log that is so damaged that it can't be opened: no event of it was checked.
    #[must_use]
    pub fn unreadable(failure: Failure) -> Self {
        let failures = vec![failure];
        Self { position: 0, events: 0, ok: false, root: None, failures, more_failures: 0, torn_tail: None }
    }

    /// Adds what the log's backend found by itself, unless it is known already.
    pub fn add(&mut self, failure: Failure) {
        let known = |f: &Failure| f.position == failure.position && f.code == failure.code;
        if self.failures.iter().any(known) {
            return;
        }
        self.ok = false;
        if self.failures.len() < MAX_FAILURES {
            self.failures.push(failure);
        } else {
            self.more_failures += 1;
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    #[serde(with = "daybook_projections::position_text")]
    pub position: Position,
    pub stream: String,
    pub revision: u64,
    pub code: String,
    pub detail: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
const fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Reads everything up to the head as it was at the start. `progress` gets positions done and positions in all.
///
/// Reading and decoding are spread over the cores; order and the root are followed by the caller's thread alone.
///
/// Memory: 16 bytes for each stream, plus a few thousand events for each core.
pub async fn verify(
    log: &Arc<dyn EventLog>,
    mut progress: impl FnMut(u64, u64),
) -> Result<Report, ReadError> {
    let head = log.head().await?;
    let mut check = Checker::new(log.capabilities().dense_positions);
    let mut done = 0;
    let scanned = scan_in_order(log, Scan::all(0, head.position), check_contents, |events, until| {
        events.iter().for_each(|checked| check.event(checked));
        done = until;
        progress(done, head.position);
    });
    match scanned.await {
        Ok(()) => {}
        Err(ReadError::Damaged { file, offset, position, detail }) => {
            check.broken(position.max(done + 1), format!("{detail} ({file} at byte {offset})"));
        }
        Err(error) => return Err(error),
    }
    Ok(check.report(head.position))
}

/// An event, and what is wrong with its contents: code and detail.
type Checked = (RecordedEvent, Vec<(&'static str, String)>);

/// Everything that can be checked of an event by itself.
fn check_contents(events: Vec<RecordedEvent>) -> Vec<Checked> {
    let check = |event: RecordedEvent| {
        let mut wrong = Vec::new();
        if let Err(error) = serde_json::from_slice::<Metadata>(event.metadata()) {
            wrong.push(("metadata", error.to_string()));
        }
        match AnyEvent::decode(event.event_type(), event.version, event.data()) {
            Err(error) => wrong.push(("undecodable", error.to_string())),
            Ok(AnyEvent::Variant(variant::Event::Created(created))) => wrong.extend(configuration(&created)),
            Ok(AnyEvent::Order(order::Event::Placed(placed))) => wrong.extend(total(&placed)),
            Ok(_) => {}
        }
        (event, wrong)
    };
    events.into_iter().map(check).collect()
}

fn configuration(created: &variant::Created) -> Option<(&'static str, String)> {
    let hash = configuration::hash(&created.product_id, created.attributes.iter().map(|a| &a.value_id));
    let detail = || format!("the event says {}, its content gives {hash}", created.config_hash);
    (hash != created.config_hash).then(|| ("configuration_hash", detail()))
}

fn total(placed: &order::Placed) -> Option<(&'static str, String)> {
    let zero = daybook_schemas::Money::zero(placed.total.currency());
    let sum = placed.lines.iter().try_fold(zero, |sum, line| sum.plus(line.total));
    let detail = match sum {
        Ok(sum) if sum == placed.total => return None,
        Ok(sum) => format!("the order says {}, its lines add up to {sum}", placed.total),
        Err(error) => error.to_string(),
    };
    Some(("order_total", detail))
}

/// The last revision of every stream, by a 64-bit hash of its name: names alone would not fit in memory for large logs.
/// Two names that share a hash would show as a gap, a false alarm with a chance of 1 in 40,000 over 30 million streams.
struct Revisions {
    hasher: hashbrown::DefaultHashBuilder,
    last: HashTable<(u64, u64)>,
}

impl Revisions {
    /// Sets the revision and gives the one before.
    fn replace(&mut self, stream: &str, revision: u64) -> u64 {
        let hash = self.hasher.hash_one(stream);
        if let Some(entry) = self.last.find_mut(hash, |(h, _)| *h == hash) {
            return std::mem::replace(&mut entry.1, revision);
        }
        self.last.insert_unique(hash, (hash, revision), |(h, _)| *h);
        0
    }
}

struct Checker {
    dense: bool,
    last_position: Position,
    events: u64,
    revisions: Revisions,
    root: Sha256,
    complete: bool,
    failures: Vec<Failure>,
    more_failures: u64,
}

impl Checker {
    fn new(dense: bool) -> Self {
        Self {
            dense,
            last_position: 0,
            events: 0,
            revisions: Revisions { hasher: hashbrown::DefaultHashBuilder::default(), last: HashTable::new() },
            root: Sha256::new(),
            complete: true,
            failures: Vec::new(),
            more_failures: 0,
        }
    }

    fn fail(&mut self, event: &RecordedEvent, code: &str, detail: String) {
        self.push(Failure {
            position: event.position,
            stream: event.stream().to_owned(),
            revision: event.revision,
            code: code.to_owned(),
            detail,
        });
    }

    fn push(&mut self, failure: Failure) {
        if self.failures.len() < MAX_FAILURES {
            self.failures.push(failure);
        } else {
            self.more_failures += 1;
        }
    }

    fn broken(&mut self, position: Position, detail: String) {
        self.complete = false;
        self.push(Failure {
            position,
            stream: String::new(),
            revision: 0,
            code: "damaged".to_owned(),
            detail,
        });
    }

    fn event(&mut self, (event, wrong): &Checked) {
        self.events += 1;
        let misplaced = if self.dense {
            event.position != self.last_position + 1
        } else {
            event.position <= self.last_position
        };
        if misplaced {
            let detail = format!("position {} follows {}", event.position, self.last_position);
            self.fail(event, "position_gap", detail);
        }
        self.last_position = event.position;
        let before = self.revisions.replace(event.stream(), event.revision);
        if event.revision != before + 1 {
            self.fail(event, "revision_gap", format!("revision {} follows {before}", event.revision));
        }
        digest(&mut self.root, event);
        for (code, detail) in wrong {
            self.fail(event, code, detail.clone());
        }
    }

    fn report(self, position: Position) -> Report {
        Report {
            position,
            events: self.events,
            ok: self.failures.is_empty(),
            root: self.complete.then(|| configuration::hex(&self.root.finalize())),
            failures: self.failures,
            more_failures: self.more_failures,
            torn_tail: None,
        }
    }
}

/// Every field with its length in front, so that no two different events feed the same bytes.
fn digest(root: &mut Sha256, event: &RecordedEvent) {
    root.update(event.position.to_le_bytes());
    root.update(event.revision.to_le_bytes());
    root.update(event.event_id.as_bytes());
    root.update(event.version.to_le_bytes());
    root.update(event.recorded_at.to_le_bytes());
    for part in [event.stream().as_bytes(), event.event_type().as_bytes(), event.data(), event.metadata()] {
        root.update((part.len() as u64).to_le_bytes());
        root.update(part);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use daybook_eventlog::segment::fault::FaultStorage;
    use daybook_eventlog::{
        Append, Expected, MemoryLog, NewEvent, SegmentLog, SegmentOptions, StreamAppend, StreamId,
    };
    use uuid::Uuid;

    use super::*;

    /// More events than are read at once; none of a type that there is.
    const EVENTS: u128 = 10_000;

    async fn write(log: &dyn EventLog) {
        for ids in (1..=EVENTS).collect::<Vec<_>>().chunks(500) {
            let append = |id: &u128| {
                let event = NewEvent {
                    event_id: Uuid::from_u128(*id),
                    event_type: "nothing.known",
                    version: 1,
                    recorded_at: 5,
                    data: Bytes::from_static(b"{}"),
                    metadata: Bytes::from_static(b"no metadata"),
                };
                let stream = StreamId::new(format!("s-{}", id % 100)).unwrap();
                Append::new(vec![StreamAppend { stream, expected: Expected::Any, events: vec![event] }])
            };
            let results = log.append_group(ids.iter().map(append).collect()).await;
            results.into_iter().for_each(|result| drop(result.unwrap()));
        }
    }

    fn segment_log(disk: &FaultStorage) -> Arc<SegmentLog> {
        let options = SegmentOptions { segment_bytes: 64 << 10, ..SegmentOptions::default() };
        Arc::new(SegmentLog::open_on(Arc::new(disk.clone()), options).unwrap())
    }

    #[tokio::test]
    async fn every_log_with_the_same_events_gives_the_same_report_in_order() {
        let memory: Arc<dyn EventLog> = Arc::new(MemoryLog::new());
        let segment: Arc<dyn EventLog> = segment_log(&FaultStorage::from_files(&[]));
        write(&*memory).await;
        write(&*segment).await;
        let mut seen = Vec::new();
        let report = verify(&segment, |done, all| seen.push((done, all))).await.unwrap();
        assert_eq!(report, verify(&memory, |_, _| {}).await.unwrap());
        assert!(seen.is_sorted() && seen.last() == Some(&(10_000, 10_000)), "{seen:?}");
        assert_eq!((report.position, report.events, report.ok), (10_000, 10_000, false));
        assert!(report.root.is_some());
        // Two for each event: its type and its metadata. Those listed are the first.
        assert_eq!((report.failures.len(), report.more_failures), (1_000, 19_000));
        let positions = report.failures.iter().map(|failure| failure.position);
        assert!(positions.eq((1..=500).flat_map(|position| [position, position])));
        assert_eq!(report.failures[0].code, "metadata");
        assert_eq!(report.failures[1].code, "undecodable");
    }

    #[tokio::test]
    async fn what_stands_before_damage_is_checked() {
        let disk = FaultStorage::from_files(&[]);
        let log = segment_log(&disk);
        write(&*log).await;
        log.wait_until_sealed();
        drop(log);
        let mut files = disk.files();
        let (_, bytes) = files.iter_mut().filter(|(name, _)| name.ends_with(".sealed")).nth(8).unwrap();
        bytes[64 + 40] ^= 1;
        let first = u64::from_le_bytes(bytes[32..40].try_into().unwrap());
        let log: Arc<dyn EventLog> = segment_log(&FaultStorage::from_files(&files));
        let report = verify(&log, |_, _| {}).await.unwrap();
        assert_eq!((report.events, report.root), (first - 1, None));
        assert_eq!(report.more_failures, 2 * (first - 1) - 1_000 + 1);
    }
}
