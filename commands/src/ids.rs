//! The one source of identifiers. With an idempotency key everything derives from principal and key, so that a retry
//! gives the same command id and the same event ids, of version 5; without one, a command gets a fresh UUIDv7, and its events
//! have ids of that version too.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use daybook_schemas::{CommandId, Timestamp, Token};
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid, Version};

/// Namespace of everything that Daybook derives (RFC 9562, version 5).
const NAMESPACE: Uuid = Uuid::from_u128(0x6461_7962_6f6f_4b00_8000_636f_6d6d_616e);

/// A fresh UUIDv7: the milliseconds of `now`, then 74 bits that nobody can tell beforehand. Whoever knows the id of a hold can release it, so ids
/// that were seen must not give away others: the bits are SHA-256 of a secret and a count.
pub(crate) fn fresh(now: Timestamp) -> Uuid {
    static SECRET: LazyLock<Sha256> = LazyLock::new(secret);
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let digest = SECRET.clone().chain_update(count.to_be_bytes()).finalize();
    let mut random = [0; 10];
    random.copy_from_slice(&digest[..10]);
    let millis = u64::try_from(now.as_micros() / 1_000).unwrap_or(0);
    Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

/// A digest that has taken in 128 random bits at least, of the operating system, and the process.
#[allow(clippy::disallowed_methods, reason = "the seed of the one id source that the rule points to")]
fn secret() -> Sha256 {
    // Each has 32 random bits of its own at least, beside those of a counter.
    (0..4).fold(Sha256::new().chain_update(std::process::id().to_be_bytes()), |secret, _| {
        secret.chain_update(Uuid::now_v7().as_bytes())
    })
}

/// The command that a principal means by a key: always the same one.
pub(crate) fn of_key(principal: &str, key: &str) -> Uuid {
    let mut name = Vec::with_capacity(principal.len() + 1 + key.len());
    name.extend_from_slice(principal.as_bytes());
    name.push(0);
    name.extend_from_slice(key.as_bytes());
    Uuid::new_v5(&NAMESPACE, &name)
}

/// The id of a command's event in the stream that it was sent to; `number` counts those events from 0.
pub(crate) fn of_event(command: Uuid, number: u32) -> Uuid {
    dated(command, Uuid::new_v5(&command, &number.to_be_bytes()))
}

/// The id of a command's event in another stream.
pub(crate) fn of_event_elsewhere(command: Uuid, stream: &str, number: u32) -> Uuid {
    dated(command, Uuid::new_v5(&Uuid::new_v5(&command, stream.as_bytes()), &number.to_be_bytes()))
}

/// Of a command whose id has a time, the events have the same: UUIDv7 with the digest where that has random bits, so that they sort
/// by time, which keeps the pages of an index that are written to few.
fn dated(command: Uuid, digest: Uuid) -> Uuid {
    if command.get_version_num() != 7 {
        return digest;
    }
    let mut bytes = digest.into_bytes();
    bytes[..6].copy_from_slice(&command.as_bytes()[..6]);
    Builder::from_bytes(bytes).with_version(Version::SortRand).into_uuid()
}

/// The command id as it stands in metadata.
pub(crate) fn command_id(command: Uuid) -> CommandId {
    CommandId::new(text(command, &mut Uuid::encode_buffer()))
        .expect("the characters of a UUID are those of an id")
}

/// The identifier for what a command creates, where the client gave none.
pub(crate) fn fresh_token(command: Uuid) -> Token {
    Token::new(text(command, &mut Uuid::encode_buffer()))
        .expect("the characters of a UUID are those of an id")
}

fn text(id: Uuid, buffer: &mut [u8; 45]) -> &str {
    id.hyphenated().encode_lower(buffer)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn fresh_ids_are_distinct_version_7_and_in_order_of_time() {
        let ids: HashSet<Uuid> = (0..10_000).map(|_| fresh(Timestamp::from_secs(1_000))).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
        assert!(fresh(Timestamp::from_secs(1_001)) > *ids.iter().max().unwrap());
    }

    #[test]
    fn events_have_the_time_of_their_command_and_ids_of_their_own() {
        let command = fresh(Timestamp::from_secs(1_000));
        let mut ids = HashSet::new();
        for number in 0..1_000 {
            for id in [
                of_event(command, number),
                of_event_elsewhere(command, "inventory-1", number),
                of_event_elsewhere(command, "inventory-2", number),
            ] {
                assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
                assert_eq!(id.as_bytes()[..6], command.as_bytes()[..6]);
                assert!(ids.insert(id));
            }
        }
        assert!(ids.iter().all(|id| *id < of_event(fresh(Timestamp::from_secs(1_001)), 0)));
        assert_eq!(of_event(of_key("shop", "k1"), 0).get_version_num(), 5);
    }

    #[test]
    fn a_key_means_one_command_for_each_principal() {
        assert_eq!(of_key("shop", "k1"), of_key("shop", "k1"));
        assert_ne!(of_key("shop", "k1"), of_key("shop", "k2"));
        assert_ne!(of_key("shop", "k1"), of_key("shopk", "1"));
        assert_ne!(of_event(of_key("shop", "k1"), 0), of_event(of_key("shop", "k1"), 1));
    }
}
