//! A command on its way through the decision thread.

use std::time::Instant;

use bytes::Bytes;
use daybook_aggregates::Roles;
use daybook_eventlog::{Revision, StreamId};
use daybook_schemas::Token;
use smallvec::SmallVec;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::inbox::Permit;
use crate::error::CommandError;
use crate::op::Op;
use crate::request::{IfMatch, Reply};

/// The place of a command in the order of arrival; also its name.
pub(crate) type TaskId = u64;

/// Who waits for the answer.
pub(crate) struct ReplySlot {
    pub(crate) sender: oneshot::Sender<Result<Reply, CommandError>>,
    /// Held until the answer is sent.
    pub(crate) permit: Permit,
}

/// An idempotency key.
pub(crate) struct Key {
    /// The stream that records it.
    pub(crate) stream: StreamId,
    /// SHA-256 over the command's route and body, in hexadecimal.
    pub(crate) request_hash: String,
}

/// What to look for after an append of unknown outcome.
#[derive(Clone)]
pub(crate) struct Trace {
    pub(crate) stream: StreamId,
    pub(crate) revision: Revision,
    pub(crate) event_id: Uuid,
}

/// A command, parsed, with all that its decision needs.
pub(crate) struct Task {
    pub(crate) seq: TaskId,
    pub(crate) op: Op,
    /// The stream that the command was sent to.
    pub(crate) main: StreamId,
    pub(crate) if_match: Option<IfMatch>,
    pub(crate) key: Option<Key>,
    pub(crate) command: Uuid,
    pub(crate) first_event_id: Uuid,
    pub(crate) fresh_id: Token,
    pub(crate) roles: Roles,
    pub(crate) metadata: Bytes,
    /// `None` for the dispatcher's own commands.
    pub(crate) reply: Option<ReplySlot>,
    /// The revision of the key's stream whose record counts for nothing: the events it speaks of are not there.
    pub(crate) void_record: Option<Revision>,
    /// How often an append of this command failed.
    pub(crate) attempt: u32,
    /// When it first met a conflict.
    pub(crate) contended_since: Option<Instant>,
    /// Whether its append must hold nothing else: see [`super::group`].
    pub(crate) alone: bool,
    /// Attempts that may still come through, with the answer if they do.
    pub(crate) doubts: Vec<(Trace, Reply)>,
    /// Streams in whose line the task holds a place.
    pub(crate) places: SmallVec<[StreamId; 2]>,
}

impl Task {
    /// Sends the answer and gives the room back.
    pub(crate) fn answer(self: Box<Self>, answer: Result<Reply, CommandError>) {
        if let Some(ReplySlot { sender, permit }) = self.reply {
            drop(permit);
            // Whoever asked may have gone away; what was decided stands all the same.
            let _ = sender.send(answer);
        }
    }
}
