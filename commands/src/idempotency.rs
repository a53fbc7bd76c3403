//! Idempotency keys. What was carried out is recorded in the log, in the same append; refusals are remembered in memory
//! only, for a while: nothing happened, so nothing is lost with them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use daybook_eventlog::StreamId;
use daybook_schemas::configuration::hex;
use daybook_schemas::id::is_id_char;
use hashbrown::HashMap;
use sha2::{Digest, Sha256};

use crate::engine::task::Key;
use crate::error::CommandError;

/// Longest key in characters.
const MAX_KEY_LEN: usize = 255;

/// Reads a key as a client sends it.
pub(crate) fn parse(principal: &str, key: &str, route: [&str; 3], body: &[u8]) -> Result<Key, CommandError> {
    if key.is_empty() || key.len() > MAX_KEY_LEN || !key.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
        return Err(CommandError::InvalidRequest(format!(
            "an idempotency key is 1 to {MAX_KEY_LEN} printable ASCII characters"
        )));
    }
    let mut request = Sha256::new();
    for part in route {
        debug_assert!(
            part.chars().all(is_id_char),
            "parts of a route are ids, so that a line feed ends them"
        );
        request.update(part);
        request.update(b"\n");
    }
    request.update(body);
    Ok(Key { stream: stream_of(principal, key), request_hash: hex(&request.finalize()) })
}

/// Where a key is recorded.
pub(crate) fn stream_of(principal: &str, key: &str) -> StreamId {
    let digest = Sha256::new().chain_update(principal).chain_update([0]).chain_update(key).finalize();
    let name = format!("idempotency-{}", hex(&digest[..16]));
    StreamId::new(name).expect("hexadecimal digits are visible ASCII")
}

struct Remembered {
    request_hash: String,
    error: CommandError,
    until: Instant,
}

/// Refusals of commands with a key, bounded in number and time.
pub(crate) struct RememberedRefusals {
    by_key: HashMap<StreamId, Remembered, foldhash::fast::RandomState>,
    /// In order of arrival, so also of their end. An entry may have been replaced since.
    order: VecDeque<(StreamId, Instant)>,
    capacity: usize,
    time: Duration,
}

impl RememberedRefusals {
    pub(crate) fn new(capacity: usize, time: Duration) -> Self {
        Self { by_key: HashMap::default(), order: VecDeque::new(), capacity, time }
    }

    /// What a command with this key was told before; `None` if it was not refused, or that is forgotten.
    pub(crate) fn get(&self, key: &Key, now: Instant) -> Option<CommandError> {
        let remembered = self.by_key.get(&key.stream).filter(|r| r.until > now)?;
        Some(if remembered.request_hash == key.request_hash {
            remembered.error.clone()
        } else {
            CommandError::IdempotencyMismatch
        })
    }

    /// Remembers what the domain said no to. Errors that may pass are not remembered, and neither is a stale revision: what the
    /// client is told then is to read again and to send the command with another revision, which is no part of its body.
    pub(crate) fn remember(&mut self, key: &Key, error: &CommandError, now: Instant) {
        if !matches!(error, CommandError::Refused(_)) {
            return;
        }
        let until = now + self.time;
        let remembered = Remembered { request_hash: key.request_hash.clone(), error: error.clone(), until };
        self.by_key.insert(key.stream.clone(), remembered);
        self.order.push_back((key.stream.clone(), until));
        while self.order.len() > self.capacity || self.order.front().is_some_and(|(_, until)| *until <= now) {
            let Some((stream, until)) = self.order.pop_front() else { break };
            if self.by_key.get(&stream).is_some_and(|r| r.until == until) {
                self.by_key.remove(&stream);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use daybook_aggregates::{Kind, Refusal};

    use super::*;
    use crate::request::IfMatch;

    fn key(name: &str, body: &str) -> Key {
        parse("shop", name, ["inventory", "1", "reserve"], body.as_bytes()).unwrap()
    }

    fn refused() -> CommandError {
        CommandError::Refused(Box::new(Refusal {
            code: "insufficient_stock",
            kind: Kind::Conflict,
            detail: "none is left".to_owned(),
            errors: Vec::new(),
        }))
    }

    fn stale() -> CommandError {
        let stream = StreamId::new("order-1").unwrap();
        CommandError::StaleRevision { stream, expected: IfMatch::Exists, actual: 0 }
    }

    #[test]
    fn a_key_belongs_to_a_principal_and_a_request_to_its_route() {
        assert_eq!(key("k", "{}").stream, key("k", "{ }").stream);
        assert_ne!(key("k", "{}").request_hash, key("k", "{ }").request_hash);
        assert_ne!(
            key("k", "{}").stream,
            parse("other", "k", ["inventory", "1", "reserve"], b"").unwrap().stream
        );
        for bad in ["", "\n", "ü", &"x".repeat(256)] {
            assert!(parse("shop", bad, ["a", "b", "c"], b"").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn refusals_are_remembered_for_a_while_and_no_others() {
        let start = Instant::now();
        let mut refusals = RememberedRefusals::new(2, Duration::from_secs(10));
        refusals.remember(&key("a", "{}"), &refused(), start);
        for passing in [CommandError::Overloaded, stale()] {
            refusals.remember(&key("b", "{}"), &passing, start);
        }
        assert_eq!(refusals.get(&key("a", "{}"), start), Some(refused()));
        assert_eq!(refusals.get(&key("a", "{ }"), start), Some(CommandError::IdempotencyMismatch));
        assert_eq!(refusals.get(&key("b", "{}"), start), None);
        assert_eq!(refusals.get(&key("a", "{}"), start + Duration::from_secs(10)), None);
        for other in ["c", "d"] {
            refusals.remember(&key(other, "{}"), &refused(), start);
        }
        assert_eq!(refusals.get(&key("a", "{}"), start), None, "no more than the capacity");
        assert!(refusals.get(&key("d", "{}"), start).is_some());
    }
}
