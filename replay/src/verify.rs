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

use daybook_eventlog::{EventLog, Filter, Position, ReadError, RecordedEvent};
use daybook_schemas::{AnyEvent, Metadata, configuration, order, variant};
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const PAGE_EVENTS: usize = 8_192;
const PAGE_BYTES: usize = 8 << 20;
/// Failures listed; further ones are counted.
const MAX_FAILURES: usize = 1_000;

/// What verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
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
}

impl Report {
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
/// Memory: 16 bytes for each stream, plus a page.
pub async fn verify(log: &dyn EventLog, mut progress: impl FnMut(u64, u64)) -> Result<Report, ReadError> {
    let head = log.head().await?;
    let mut check = Checker::new(log.capabilities().dense_positions);
    let filter = Filter::default();
    let mut after = 0;
    while after < head.position {
        let page = match log.read_all(after, &filter, PAGE_EVENTS, PAGE_BYTES).await {
            Ok(page) => page,
            Err(ReadError::Damaged { file, offset, position, detail }) => {
                check.broken(position.max(after + 1), format!("{detail} ({file} at byte {offset})"));
                break;
            }
            Err(error) => return Err(error),
        };
        for event in page.events.iter().take_while(|event| event.position <= head.position) {
            check.event(event);
        }
        if page.scanned_to <= after {
            check.broken(after + 1, "the log ends before its head".to_owned());
            break;
        }
        after = page.scanned_to;
        progress(after.min(head.position), head.position);
    }
    Ok(check.report(head.position))
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

    fn event(&mut self, event: &RecordedEvent) {
        self.events += 1;
        let wrong = if self.dense {
            event.position != self.last_position + 1
        } else {
            event.position <= self.last_position
        };
        if wrong {
            self.fail(
                event,
                "position_gap",
                format!("position {} follows {}", event.position, self.last_position),
            );
        }
        self.last_position = event.position;
        let before = self.revisions.replace(event.stream(), event.revision);
        if event.revision != before + 1 {
            self.fail(event, "revision_gap", format!("revision {} follows {before}", event.revision));
        }
        digest(&mut self.root, event);
        if let Err(error) = serde_json::from_slice::<Metadata>(event.metadata()) {
            self.fail(event, "metadata", error.to_string());
        }
        match AnyEvent::decode(event.event_type(), event.version, event.data()) {
            Err(error) => self.fail(event, "undecodable", error.to_string()),
            Ok(AnyEvent::Variant(variant::Event::Created(created))) => self.configuration(event, &created),
            Ok(AnyEvent::Order(order::Event::Placed(placed))) => self.total(event, &placed),
            Ok(_) => {}
        }
    }

    fn configuration(&mut self, event: &RecordedEvent, created: &variant::Created) {
        let hash = configuration::hash(&created.product_id, created.attributes.iter().map(|a| &a.value_id));
        if hash != created.config_hash {
            self.fail(
                event,
                "configuration_hash",
                format!("the event says {}, its content gives {hash}", created.config_hash),
            );
        }
    }

    fn total(&mut self, event: &RecordedEvent, placed: &order::Placed) {
        let sum = placed
            .lines
            .iter()
            .try_fold(daybook_schemas::Money::zero(placed.total.currency()), |sum, line| {
                sum.plus(line.total)
            });
        match sum {
            Ok(sum) if sum == placed.total => {}
            Ok(sum) => self.fail(
                event,
                "order_total",
                format!("the order says {}, its lines add up to {sum}", placed.total),
            ),
            Err(error) => self.fail(event, "order_total", error.to_string()),
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
