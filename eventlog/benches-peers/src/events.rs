//! The events that everything here writes, and where.

use std::path::PathBuf;

use bytes::Bytes;
use daybook_eventlog::{Append, Expected, NewEvent, StreamAppend, StreamId};
use serde::Deserialize;
use uuid::Uuid;

/// Bytes of JSON in an event.
pub const JSON_BYTES: usize = 490;

/// A folder on the disk to measure.
pub fn folder() -> tempfile::TempDir {
    let made = match std::env::var_os("DAYBOOK_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(PathBuf::from(dir)),
        None => tempfile::tempdir(),
    };
    made.expect("a temporary folder")
}

fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// A reservation as the shop writes it: 490 bytes of JSON, no two alike.
pub fn payload(n: u64) -> Bytes {
    let dice = mix(n + 1);
    let mut text = format!(
        concat!(
            r#"{{"reservation_id":"{:016x}{:016x}","variant_id":"variant-{}","location":"warehouse-{}","customer_id":"customer-{}","#,
            r#""quantity":{},"expires_at":"2026-03-{:02}T{:02}:{:02}:{:02}Z","order_id":"order-{}","#,
            r#""price":{{"amount":"{}.{:02}","currency":"GBP"}},"note":""#
        ),
        dice,
        mix(dice),
        dice % 1_000_000,
        dice % 7,
        dice % 500_000,
        1 + dice % 5,
        1 + dice % 28,
        dice % 24,
        dice % 60,
        (dice >> 8) % 60,
        n,
        dice % 100,
        (dice >> 4) % 100,
    );
    let words = ["gift", "wrapped", "express", "leave", "with", "neighbour", "fragile", "call", "before"];
    let mut word = dice;
    while text.len() < JSON_BYTES - 10 {
        word = mix(word);
        text.push_str(words[word as usize % words.len()]);
        text.push(' ');
    }
    text.truncate(JSON_BYTES - 2);
    text.push_str("\"}");
    Bytes::from(text)
}

/// What a reader takes from it.
#[derive(Deserialize)]
pub struct Reserved<'a> {
    #[serde(borrow)]
    pub reservation_id: &'a str,
    #[serde(borrow)]
    pub variant_id: &'a str,
    #[serde(borrow)]
    pub customer_id: &'a str,
    pub quantity: u32,
}

/// An append of event `n` to a stream with so many events.
pub fn append(n: u64, stream: StreamId, before: u64, data: Bytes) -> Append {
    let event = NewEvent {
        event_id: Uuid::from_u128(u128::from(mix(n)) << 64 | u128::from(n)),
        event_type: "inventory.reserved",
        version: 1,
        recorded_at: 1_700_000_000_000_000 + n as i64,
        data,
        metadata: Bytes::new(),
    };
    Append::new(vec![StreamAppend { stream, expected: Expected::Exact(before), events: vec![event] }])
}

pub fn stream_name(n: u64) -> String {
    format!("inventory-variant-{n}")
}

pub fn stream(n: u64) -> StreamId {
    StreamId::new(stream_name(n)).expect("a good name")
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
