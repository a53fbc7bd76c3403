//! What can be set, what opening reports and how it fails.

use std::io;

use uuid::Uuid;

use crate::log::{Position, ReadError};

/// Settings of a segment log. The defaults suit a machine with some GiB of memory.
#[derive(Debug, Clone)]
pub struct SegmentOptions {
    /// Size of a segment file in bytes (an append larger than that gets a segment of its own). Default 128 MiB.
    pub segment_bytes: u64,
    /// A commit takes about this many bytes at most. Default 4 MiB.
    pub group_bytes: usize,
    /// Queued bytes beyond which appends are refused as overload. Default 64 MiB.
    pub queue_bytes: usize,
    /// Queued appends beyond which appends are refused as overload. Default 262,144.
    pub queue_appends: usize,
    /// Newest events kept in memory for readers near the head, in bytes. Default 32 MiB.
    pub ring_bytes: usize,
    /// Sealed segments are compressed in blocks of about this many bytes. Default 64 KiB.
    pub block_bytes: usize,
    /// Level of compression (zstd; 0: none). Default 1.
    pub compression_level: i32,
    /// Decompressed blocks kept in memory, in bytes. Default 32 MiB.
    pub block_cache_bytes: usize,
    /// Unsealed segments beyond which appends wait for the sealer. Default 8.
    pub max_unsealed: usize,
    /// Identity of a log that is made new; drawn at random if `None`.
    pub new_log_id: Option<Uuid>,
    /// Hash of stream names in the index; for tests with colliding names only, since the format fixes it.
    #[doc(hidden)]
    pub stream_hash: fn(&str) -> u64,
    /// Whether threads of the log's own make spare segments, seal and merge (default). Otherwise the writer does all
    /// that itself at each new segment, which is slower and fully repeatable, for tests.
    pub background: bool,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 128 << 20,
            group_bytes: 4 << 20,
            queue_bytes: 64 << 20,
            queue_appends: 262_144,
            ring_bytes: 32 << 20,
            block_bytes: 64 << 10,
            compression_level: 1,
            block_cache_bytes: 32 << 20,
            max_unsealed: 8,
            new_log_id: None,
            stream_hash: super::filter::stream_hash,
            background: true,
        }
    }
}

/// What opening found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Events in the log.
    pub events: u64,
    /// Bytes of unsealed segments that were read.
    pub bytes_read: u64,
    /// The torn tail that was cut, if there was one: what a crash left half written and never acknowledged.
    pub cut: Option<Cut>,
}

/// A torn tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    pub file: String,
    /// Where it began, in bytes.
    pub offset: u64,
    /// How long it was, up to its last byte that was not zero.
    pub bytes: u64,
    /// Position that its first event would have had.
    pub position: Position,
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process (or another handle in this one) has it open.
    #[error("the event log in {folder} is in use by another process; stop that one first")]
    InUse { folder: String },
    /// The folder holds something else.
    #[error("{folder} is no event log: {detail}; choose an empty folder or the folder of an event log")]
    Foreign { folder: String, detail: String },
    /// The log was written by a newer release.
    #[error(
        "the event log in {folder} has format {found}, this release reads up to {supported}; use a newer release"
    )]
    NewerFormat { folder: String, found: u32, supported: u32 },
    /// Stored bytes are not what was written. Nothing has been changed.
    #[error(
        "damaged event log: {detail} ({file} at byte {offset}, near position {position}); restore the file from a \
         backup, or the log from its last export"
    )]
    Damaged { file: String, offset: u64, position: Position, detail: String },
    /// The file system refused.
    #[error("cannot {action}")]
    Io { action: String, source: io::Error },
}

impl OpenError {
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }
}

impl From<ReadError> for OpenError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Damaged { file, offset, position, detail } => {
                Self::Damaged { file, offset, position, detail }
            }
            ReadError::Unavailable(reason) => {
                Self::Io { action: "read the event log".into(), source: io::Error::other(reason) }
            }
        }
    }
}
