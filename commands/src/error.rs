//! Why a command did not happen.

use daybook_aggregates::{Kind, Refusal};
use daybook_eventlog::{AppendError, ReadError, Revision, StreamId};

use crate::request::IfMatch;

/// Why a command did not happen. Unless the variant says otherwise, nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The domain said no.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// The stream is not where the request says that it must be.
    #[error("{stream} is at revision {actual}, not at {expected}: read it again and decide anew")]
    StaleRevision { stream: StreamId, expected: IfMatch, actual: Revision },
    /// The request does not have the right form; the message says where.
    #[error("{0}")]
    InvalidRequest(String),
    /// There is no such aggregate or command.
    #[error("there is no command {command:?} of {aggregate:?}")]
    UnknownCommand { aggregate: String, command: String },
    /// The idempotency key was used with another command or body.
    #[error("the idempotency key was used before with another command or body")]
    IdempotencyMismatch,
    /// Too much unfinished work; retry after a pause.
    #[error("too many commands are under way; try again in a moment")]
    Overloaded,
    /// The event log cannot be reached now; retry. With `indeterminate` the command may have been carried out: a
    /// retry with the same idempotency key finds out.
    #[error("the event log is unavailable")]
    Unavailable { reason: String, indeterminate: bool },
    /// The log's disk is full; nothing is accepted until there is room.
    #[error("the event log's disk is full")]
    DiskFull(String),
    /// Other writers were first again and again.
    #[error("other writers changed the same streams at the same time; try again")]
    ConflictExhausted,
    /// The dispatcher or its log has stopped. As with an indeterminate [`CommandError::Unavailable`], a command that
    /// was under way may have been carried out.
    #[error("no commands are accepted any more")]
    Stopped(String),
    /// Stored bytes are not what they should be, or Daybook broke one of its own rules. For the log, not for clients.
    #[error("internal error")]
    Internal(String),
}

/// Classes of errors, for the mapping to a protocol's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// See the refusal's own kind.
    Refused(Kind),
    /// 412
    Stale,
    /// 400
    Invalid,
    /// 404
    Unknown,
    /// 422
    Mismatch,
    /// 409
    Conflict,
    /// 503, worth a retry after a pause
    Unavailable,
    /// 500
    Internal,
}

impl CommandError {
    /// Stable, snake_case.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code,
            Self::StaleRevision { .. } => "stale_revision",
            Self::InvalidRequest(_) => "invalid_request",
            Self::UnknownCommand { .. } => "not_found",
            Self::IdempotencyMismatch => "unprocessable",
            Self::Overloaded => "overloaded",
            Self::Unavailable { .. } | Self::Stopped(_) => "unavailable",
            Self::DiskFull(_) => "disk_full",
            Self::ConflictExhausted => "conflict",
            Self::Internal(_) => "internal",
        }
    }

    /// Which class of error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(refusal) => ErrorKind::Refused(refusal.kind),
            Self::StaleRevision { .. } => ErrorKind::Stale,
            Self::InvalidRequest(_) => ErrorKind::Invalid,
            Self::UnknownCommand { .. } => ErrorKind::Unknown,
            Self::IdempotencyMismatch => ErrorKind::Mismatch,
            Self::ConflictExhausted => ErrorKind::Conflict,
            Self::Overloaded | Self::Unavailable { .. } | Self::DiskFull(_) | Self::Stopped(_) => {
                ErrorKind::Unavailable
            }
            Self::Internal(_) => ErrorKind::Internal,
        }
    }

    /// Details that belong into the server's own log and not into a reply.
    #[must_use]
    pub fn internal_detail(&self) -> Option<&str> {
        match self {
            Self::Unavailable { reason: detail, .. }
            | Self::DiskFull(detail)
            | Self::Stopped(detail)
            | Self::Internal(detail) => Some(detail),
            Self::Refused(_)
            | Self::StaleRevision { .. }
            | Self::InvalidRequest(_)
            | Self::UnknownCommand { .. }
            | Self::IdempotencyMismatch
            | Self::Overloaded
            | Self::ConflictExhausted => None,
        }
    }
}

impl From<Refusal> for CommandError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl From<AppendError> for CommandError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Conflict { .. } => Self::ConflictExhausted,
            AppendError::Invalid(reason) => Self::Internal(reason),
            AppendError::Overloaded => Self::Overloaded,
            AppendError::DiskFull(reason) => Self::DiskFull(reason),
            AppendError::Unavailable { reason, indeterminate } => Self::Unavailable { reason, indeterminate },
            AppendError::Stopped(reason) => Self::Stopped(reason),
        }
    }
}

impl From<ReadError> for CommandError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable(reason) => Self::Unavailable { reason, indeterminate: false },
            damaged @ ReadError::Damaged { .. } => Self::Internal(damaged.to_string()),
        }
    }
}

/// Why a dispatcher did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the event log could not be read")]
    Read(#[from] ReadError),
    #[error("an event of the log could not be decoded (position {position})")]
    Decode { position: u64, source: daybook_schemas::DecodeError },
    #[error("a thread could not be started")]
    Thread(#[source] std::io::Error),
}
