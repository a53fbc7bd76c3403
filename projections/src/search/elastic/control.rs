//! The control document: how far the index is, and the batch that is being written.
//!
//! ```text
//! {checkpoint: 40}                       all rows are as of 40
//! {checkpoint: 40, batch: {to: 57 …}}    decided: rows are as of 40 or 57, each by itself
//! {checkpoint: 57}                       all rows are as of 57
//! ```
//!
//! A batch is written whole into this one document before the first of its rows, so that whoever finds it there can finish
//! it: rows carry the batch's position as their version, and what is there already is not written again. Every write of
//! the control document names the write before it, so of two writers one is told that it is not alone.

use std::collections::BTreeMap;

use daybook_eventlog::Position;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::server::{Failure, Method, Request, Server};
use crate::model::{DeadLetter, LetterChange, StoreError};

/// Not the key of a row: those begin with the letter of their table.
const ID: &str = "x-control";

/// What the control document says.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    pub(super) checkpoint: Position,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) batch: Option<Batch>,
    /// Events that are parked, as of the checkpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) letters: Vec<DeadLetter>,
    /// Whose index this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<String>,
}

/// Rows to write, and where that leads.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch {
    pub(super) to: Position,
    pub(super) rows: Vec<Row>,
    /// Events that are parked once it is written.
    pub(super) letters: Vec<DeadLetter>,
}

/// A row to write.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    pub(super) table: String,
    pub(super) key: String,
    /// `None` deletes.
    pub(super) row: Option<String>,
    /// Its version, where that is not the batch's position: in repairs of what somebody else wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<Position>,
    /// Events that changed it in this batch and are parked if the server refuses it for good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) events: Vec<EventRef>,
}

/// Names an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventRef {
    pub(super) position: Position,
    pub(super) stream: String,
    pub(super) revision: u64,
    pub(super) event_type: String,
}

impl EventRef {
    pub(super) fn letter(&self, reason: String, blocked: bool) -> DeadLetter {
        DeadLetter {
            position: self.position,
            stream: self.stream.clone(),
            revision: self.revision,
            event_type: self.event_type.clone(),
            reason,
            blocked,
        }
    }
}

/// The letters after changes.
pub(super) fn changed_letters(letters: &[DeadLetter], changes: &[LetterChange]) -> Vec<DeadLetter> {
    let mut all: BTreeMap<Position, DeadLetter> =
        letters.iter().map(|letter| (letter.position, letter.clone())).collect();
    for change in changes {
        match change {
            LetterChange::Park(letter) => drop(all.insert(letter.position, letter.clone())),
            LetterChange::Drop(position) => drop(all.remove(position)),
        }
    }
    all.into_values().collect()
}

/// Which write of the control document was the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    seq_no: i64,
    primary_term: i64,
}

impl Written {
    fn of(answer: &Value) -> Result<Self, StoreError> {
        match (answer["_seq_no"].as_i64(), answer["_primary_term"].as_i64()) {
            (Some(seq_no), Some(primary_term)) => Ok(Self { seq_no, primary_term }),
            _ => Err(StoreError::Unavailable("Elasticsearch did not number a write".to_owned())),
        }
    }
}

/// Why the control document could not be read.
pub(super) enum ReadError {
    /// Neither the index nor the document is there.
    Missing,
    Store(StoreError),
}

/// Reads the control document as last written, shown to searches or not.
pub(super) fn read(server: &Server, alias: &str) -> Result<(State, Written), ReadError> {
    let answer = match server.call(Request::new(Method::Get, format!("{alias}/_doc/{ID}"))) {
        Ok(answer) => answer,
        Err(Failure::Missing(_)) => return Err(ReadError::Missing),
        // Without a document the server says 404 as well, and no error.
        Err(Failure::Refused(said)) if said.starts_with("status 404") => return Err(ReadError::Missing),
        Err(other) => return Err(ReadError::Store(other.into())),
    };
    let state = answer["_source"]["control"].as_str().map(serde_json::from_str::<State>);
    match state {
        Some(Ok(state)) => Ok((state, Written::of(&answer).map_err(ReadError::Store)?)),
        _ => Err(ReadError::Store(StoreError::Damaged(format!(
            "the control document of {alias} is not readable"
        )))),
    }
}

/// Writes the control document; `after` is the write before, `None` for the first.
/// [`Failure::Conflict`]: somebody else has written it since.
pub(super) fn write(
    server: &Server,
    alias: &str,
    state: &State,
    after: Option<Written>,
) -> Result<Written, StoreError> {
    let text = serde_json::to_string(state).expect("plain data");
    let mut request = Request::new(Method::Put, format!("{alias}/_doc/{ID}")).with("require_alias", true);
    request = match after {
        Some(Written { seq_no, primary_term }) => {
            request.with("if_seq_no", seq_no).with("if_primary_term", primary_term)
        }
        None => request.with("op_type", "create"),
    };
    let answer = server.call(request.json(&json!({"control": text})))?;
    Written::of(&answer)
}
