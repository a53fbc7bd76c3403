//! A running server: how it is asked, and what is too long for one answer.

use std::io::{BufWriter, Write};

use anyhow::Context;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Outcome;
use super::args::Global;
use crate::load::client::{Answer, Connection, address_of, request};
use crate::usage::Usage;

/// What a server gives at most.
const PAGE_EVENTS: u64 = 1_000;

#[derive(Deserialize)]
struct Page {
    /// As the server wrote them.
    events: Vec<Box<RawValue>>,
    next: Option<String>,
}

/// Asks a running server for JSON.
pub(super) async fn ask(
    global: &Global,
    url: &str,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Value> {
    let text = ask_text(global, url, method, path, body).await?;
    serde_json::from_slice(&text).context("the server's answer is no JSON")
}

/// Asks a running server for JSON of a known form.
pub(super) async fn ask_for<T: DeserializeOwned>(
    global: &Global,
    url: &str,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<T> {
    serde_json::from_value(ask(global, url, method, path, body).await?)
        .context("the server's answer has another form; are the versions the same?")
}

/// Asks a running server, for the answer as it was written.
async fn ask_text(
    global: &Global,
    url: &str,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Vec<u8>> {
    let request = authorized(global, method, path, body);
    let answer = connect(url).await?.send(&request).await.context("the server's answer")?;
    if answer.status >= 400 {
        return Err(refusal(path, &answer));
    }
    Ok(answer.body)
}

/// Writes on what a running server sends, as it comes. An error means that not all of it came.
pub(super) async fn download(
    global: &Global,
    url: &str,
    path: &str,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<()> {
    let request = authorized(global, "GET", path, None);
    let answer = connect(url).await?.send_into(&request, out).await;
    let answer =
        answer.context("not all of the server's answer came, and nothing is kept of it; try again")?;
    if answer.status >= 400 {
        return Err(refusal(path, &answer));
    }
    Ok(())
}

async fn connect(url: &str) -> anyhow::Result<Connection> {
    Connection::open(address_of(url)?).await.with_context(|| format!("no server answers at {url}"))
}

fn authorized(global: &Global, method: &str, path: &str, body: Option<&Value>) -> Vec<u8> {
    let authorization = global.api_key.as_ref().map(|key| format!("Bearer {key}"));
    let mut headers = vec![("content-type", "application/json")];
    if let Some(authorization) = &authorization {
        headers.push(("authorization", authorization));
    }
    let body = body.map(Value::to_string).unwrap_or_default();
    request(method, path, &headers, body.as_bytes())
}

fn refusal(path: &str, answer: &Answer) -> anyhow::Error {
    let Ok(problem) = answer.json() else {
        return anyhow::anyhow!("the server refused with status {}, and says no more", answer.status);
    };
    let detail = problem["detail"].as_str().unwrap_or("no reason given");
    let code = problem["code"].as_str().unwrap_or("no code");
    let error = anyhow::anyhow!("the server refused: {detail} ({code})");
    // The request is wrong, or names a projection that there can't be; all else may be otherwise another time.
    let names_projections = path.starts_with("/v1/projections/") || path.starts_with("/v1/operations/");
    let mistaken = matches!(answer.status, 400 | 422) || (answer.status == 404 && names_projections);
    if mistaken { Usage::of(error) } else { error }
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
