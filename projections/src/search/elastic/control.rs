//! The control document: how far the index is, and the batch that is being written.
//!
//! ```text
//! {checkpoint: 40}                       all rows are as of 40
//! {checkpoint: 40, batch: {to: 57 …}}    decided: rows are as of 40 or 57, each by itself
//! {checkpoint: 57}                       all rows are as of 57
//! ```
//!
//! A batch is written whole into this one document before the first of its rows, so that whoever finds it there can finish
//! it: rows carry the batch's version, and what is there already is not written again. Every write of the control document
//! names the write before it, so of two writers one is told that it is not alone.
//!
//! The batch is a field beside the rest, so that others may look often how far the index is and who writes it.

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
    /// Written beside the others; read among them where an earlier build has written it.
    #[serde(default, skip_serializing)]
    pub(super) batch: Option<Batch>,
    /// The version of the batch decided last: no row of ours has a higher one.
    #[serde(default)]
    pub(super) version: u64,
    /// Who writes, where several may; `None`: whoever comes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) writer: Option<String>,
    /// How often the writing has changed hands.
    #[serde(default)]
    pub(super) epoch: u64,
    /// Events that are parked, as of the checkpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) letters: Vec<DeadLetter>,
    /// Whose index this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<String>,
}

impl State {
    /// The version of a batch that is decided now and leads to `to`: above that of every batch before, so that of two decisions about
    /// a row the later one stays, whenever their writes arrive.
    pub(super) fn next_version(&self, to: Position) -> u64 {
        to.max(self.version.max(self.checkpoint) + 1)
    }
}

/// Rows to write, and where that leads.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch {
    pub(super) to: Position,
    /// Of its rows.
    pub(super) version: u64,
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
    pub(super) fn of(answer: &Value) -> Result<Self, StoreError> {
        match (answer["_seq_no"].as_i64(), answer["_primary_term"].as_i64()) {
            (Some(seq_no), Some(primary_term)) => Ok(Self { seq_no, primary_term }),
            _ => Err(StoreError::Unavailable("Elasticsearch did not number a write".to_owned())),
        }
    }

    /// Makes a write conditional on the one before it; without one it has to be the first.
    pub(super) fn after(before: Option<Self>, request: Request) -> Request {
        match before {
            Some(Self { seq_no, primary_term }) => {
                request.with("if_seq_no", seq_no).with("if_primary_term", primary_term)
            }
            None => request.with("op_type", "create"),
        }
    }
}

/// Why the control document could not be read.
pub(super) enum ReadError {
    /// Neither the index nor the document is there.
    Missing,
    Store(StoreError),
}

/// What a look at the control document shows: all but the batch.
pub(super) struct Seen {
    pub(super) state: State,
    /// Whether a batch is decided and not yet written.
    pub(super) deciding: bool,
    pub(super) written: Written,
}

/// Looks how far the index is as last written, shown to searches or not, and who writes.
pub(super) fn look(server: &Server, alias: &str) -> Result<Seen, ReadError> {
    let answer = get(server, alias, Some("control.state,control.to"))?;
    if answer["_source"]["control"]["state"].is_null() {
        // Written by an earlier build, all in one.
        let (state, written) = read(server, alias)?;
        return Ok(Seen { deciding: state.batch.is_some(), state, written });
    }
    let (state, written) = parse(alias, &answer)?;
    Ok(Seen { state, deciding: !answer["_source"]["control"]["to"].is_null(), written })
}

/// Reads the control document as last written, shown to searches or not.
pub(super) fn read(server: &Server, alias: &str) -> Result<(State, Written), ReadError> {
    parse(alias, &get(server, alias, None)?)
}

fn get(server: &Server, alias: &str, fields: Option<&str>) -> Result<Value, ReadError> {
    let mut request = Request::new(Method::Get, format!("{alias}/_doc/{ID}"));
    if let Some(fields) = fields {
        request = request.with("_source_includes", fields);
    }
    server.call(request).map_err(|failure| match failure {
        Failure::Missing(_) => ReadError::Missing,
        other => ReadError::Store(other.into()),
    })
}

fn parse(alias: &str, answer: &Value) -> Result<(State, Written), ReadError> {
    let control = &answer["_source"]["control"];
    let state = control.as_str().or_else(|| control["state"].as_str()).map(serde_json::from_str::<State>);
    let batch = control["batch"].as_str().map(serde_json::from_str::<Batch>).transpose();
    let (Some(Ok(mut state)), Ok(batch)) = (state, batch) else {
        return Err(ReadError::Store(StoreError::Damaged(format!(
            "the control document of {alias} is not readable"
        ))));
    };
    state.batch = batch.or(state.batch);
    Ok((state, Written::of(answer).map_err(ReadError::Store)?))
}

/// Why a write of the control document came to nothing.
pub(super) enum WriteError {
    /// Somebody else has written it since.
    Conflict(StoreError),
    Store(StoreError),
}

impl From<WriteError> for StoreError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Conflict(error) | WriteError::Store(error) => error,
        }
    }
}

/// Writes the control document; `after` is the write before, `None` for the first.
pub(super) fn write(
    server: &Server,
    alias: &str,
    state: &State,
    after: Option<Written>,
) -> Result<Written, WriteError> {
    let answer = server.call(request(alias, state, after)).map_err(|failure| match failure {
        Failure::Conflict(_) => WriteError::Conflict(failure.into()),
        other => WriteError::Store(other.into()),
    })?;
    Written::of(&answer).map_err(WriteError::Store)
}

/// The request that writes it.
pub(super) fn request(alias: &str, state: &State, after: Option<Written>) -> Request {
    let mut control = json!({ "state": serde_json::to_string(state).expect("plain data") });
    if let Some(batch) = &state.batch {
        control["to"] = json!(batch.to);
        control["batch"] = json!(serde_json::to_string(batch).expect("plain data"));
    }
    let request = Request::new(Method::Put, format!("{alias}/_doc/{ID}")).with("require_alias", true);
    Written::after(after, request).json(&json!({ "control": control }))
}
