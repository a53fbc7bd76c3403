//! The log of a running server: its events, a page at a time.

use std::io::{BufWriter, Write};

use anyhow::Context;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Outcome;
use super::args::Global;
use super::operate::ask_text;

/// What a server gives at most.
const PAGE_EVENTS: u64 = 1_000;

#[derive(Deserialize)]
struct Page {
    /// As the server wrote them.
    events: Vec<Box<RawValue>>,
    next: Option<String>,
}

/// Prints the events of a route, a line each: from a place on, so many at most. `route` has its other parameters.
pub(super) async fn print_events(
    global: &Global,
    url: &str,
    route: &str,
    from: u64,
    mut left: u64,
) -> anyhow::Result<Outcome> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let join = if route.contains('?') { '&' } else { '?' };
    let mut from = from.to_string();
    while left > 0 {
        let limit = left.min(PAGE_EVENTS);
        let path = format!("{route}{join}from={from}&limit={limit}");
        let page: Page = serde_json::from_slice(&ask_text(global, url, "GET", &path, None).await?)
            .context("the server's answer has another form; are the versions the same?")?;
        for event in &page.events {
            writeln!(out, "{event}")?;
        }
        left -= page.events.len() as u64;
        match page.next {
            Some(next) => from = next,
            None => break,
        }
    }
    out.flush()?;
    Ok(Outcome::Done)
}

/// A value of a query string or a segment of a path.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn only_plain_characters_stand_for_themselves() {
        assert_eq!(encoded("order-1.a_b~c"), "order-1.a_b~c");
        assert_eq!(encoded("a b&c=é/"), "a%20b%26c%3D%C3%A9%2F");
    }
}
