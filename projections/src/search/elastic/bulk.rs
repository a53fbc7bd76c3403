//! Writing rows: requests of bounded size, few at a time, each row tried again while the server is busy.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::schema::key;
use super::control::Row;
use super::mapping::{deleted, source};
use super::server::{Failure, Method, Request, Server};
use crate::model::StoreError;

/// A request ends at the row that takes it over this many bytes.
const REQUEST_BYTES: usize = 4 << 20;
/// Requests under way at once: with their size, the bytes in flight.
const AT_ONCE: usize = 2;
/// Tries of a row that the server was too busy for.
const TRIES: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// A row that the server will never take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// Place among the rows given.
    pub(super) at: usize,
    pub(super) reason: String,
}

/// Writes rows in a version. A row that is there in a later version stays: to write again is harmless, deletes included, which
/// leave a document that is no row (the server would forget the version of one that is gone). Before every request but the first
/// ones `going_on` is asked, which may end it. On an error any part of the rows may be written.
pub(super) fn write(
    server: &Server,
    alias: &str,
    rows: &[Row],
    version: u64,
    going_on: &mut dyn FnMut() -> Result<(), StoreError>,
) -> Result<Vec<Refused>, StoreError> {
    let mut refused = Vec::new();
    let mut todo: Vec<usize> = (0..rows.len()).collect();
    for attempt in 0..TRIES {
        if attempt > 0 {
            std::thread::sleep(FIRST_PAUSE * (1 << (attempt - 1)));
            going_on()?;
        }
        let busy = write_once(server, alias, (rows, version), &todo, &mut refused, going_on)?;
        if busy.is_empty() {
            return Ok(refused);
        }
        tracing::info!(rows = busy.len(), attempt, "the search server is busy");
        todo = busy;
    }
    Err(StoreError::Unavailable(format!("Elasticsearch was too busy for {} rows", todo.len())))
}

/// Gives the rows to try again.
fn write_once(
    server: &Server,
    alias: &str,
    (rows, version): (&[Row], u64),
    todo: &[usize],
    refused: &mut Vec<Refused>,
    going_on: &mut dyn FnMut() -> Result<(), StoreError>,
) -> Result<Vec<usize>, StoreError> {
    let mut busy = Vec::new();
    let mut rest = todo;
    while !rest.is_empty() {
        // A few requests are made at a time: a batch is not held in memory twice.
        let mut requests = Vec::new();
        let mut parts: Vec<&[usize]> = Vec::new();
        while !rest.is_empty() && requests.len() < AT_ONCE {
            let (body, taken) = body(rows, version, rest, refused);
            let part = &rest[..taken];
            rest = &rest[taken..];
            if body.is_empty() {
                continue;
            }
            parts.push(part);
            let request =
                Request::new(Method::Post, format!("{alias}/_bulk")).with("require_alias", true).with(
                    "filter_path",
                    "items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason",
                );
            requests.push(request.bytes(Bytes::from(body)));
        }
        if requests.is_empty() {
            break;
        }
        let answers = server.call_all(requests, AT_ONCE);
        if answers.len() != parts.len() {
            return Err(StoreError::Unavailable("the client has stopped".to_owned()));
        }
        for (answer, part) in answers.into_iter().zip(parts) {
            match answer {
                Ok(answer) => sort_out(&answer, rows, part, refused, &mut busy)?,
                Err(Failure::Busy(_)) => busy.extend_from_slice(part),
                Err(other) => return Err(other.into()),
            }
        }
        if !rest.is_empty() {
            going_on()?;
        }
    }
    Ok(busy)
}

/// The lines of one request, and how many of `todo` they hold.
fn body(rows: &[Row], version: u64, todo: &[usize], refused: &mut Vec<Refused>) -> (Vec<u8>, usize) {
    let mut body = Vec::new();
    for (taken, &at) in todo.iter().enumerate() {
        if body.len() >= REQUEST_BYTES {
            return (body, taken);
        }
        let row = &rows[at];
        let action = json!({
            "_id": key(&row.table, &row.key),
            "version": version, "version_type": "external_gte"
        });
        let mut line = |value: Value| {
            body.extend_from_slice(value.to_string().as_bytes());
            body.push(b'\n');
        };
        match &row.row {
            None => {
                line(json!({ "index": action }));
                line(deleted(&row.table, &row.key));
            }
            Some(text) => match source(&row.table, &row.key, text) {
                Some(source) => {
                    line(json!({ "index": action }));
                    line(source);
                }
                None => refused.push(Refused { at, reason: "the row is not readable".to_owned() }),
            },
        }
    }
    (body, todo.len())
}

/// What became of each row of a request.
fn sort_out(
    answer: &Value,
    rows: &[Row],
    part: &[usize],
    refused: &mut Vec<Refused>,
    busy: &mut Vec<usize>,
) -> Result<(), StoreError> {
    let unread = |at: &&usize| !refused.iter().any(|known| known.at == **at);
    let sent: Vec<usize> = part.iter().filter(unread).copied().collect();
    let items = answer["items"].as_array().map_or(&[][..], Vec::as_slice);
    if items.len() != sent.len() {
        return Err(StoreError::Unavailable(format!(
            "Elasticsearch answered for {} of {} rows",
            items.len(),
            sent.len()
        )));
    }
    for (item, at) in items.iter().zip(sent) {
        let result = item.as_object().and_then(|item| item.values().next()).unwrap_or(&Value::Null);
        let status = result["status"].as_u64().unwrap_or(500);
        let said = |part: &Value| part.as_str().unwrap_or_default().to_owned();
        let error = &result["error"];
        match (status, error["type"].as_str()) {
            (200..=299, _) => {}
            (409, _) => tracing::warn!(
                row = rows[at].key,
                table = rows[at].table,
                "a search row is there in a later version; reconcile shows whether it is right"
            ),
            (404, Some(_)) => return Err(Failure::Missing(said(&error["reason"])).into()),
            (400..=499, Some(kind)) if status != 429 && kind != "cluster_block_exception" => {
                let reason = format!(
                    "Elasticsearch refuses the row: {kind}: {} {}",
                    said(&error["reason"]),
                    said(&error["caused_by"]["reason"])
                );
                refused.push(Refused { at, reason: reason.trim_end().to_owned() });
            }
            _ => busy.push(at),
        }
    }
    Ok(())
}
