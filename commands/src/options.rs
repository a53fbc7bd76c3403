//! What a dispatcher can be told.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use daybook_eventlog::SnapshotStore;
use tokio::sync::watch;

/// Settings of a dispatcher. The defaults suit one node with some gigabytes of memory.
#[derive(Clone)]
pub struct Options {
    /// Most commands that may be unanswered at once; beyond: `overloaded`.
    pub max_outstanding: usize,
    /// Most bytes of their bodies.
    pub max_outstanding_bytes: usize,
    /// Most groups of appends whose commit is under way at once. While they are, deciding goes on. On a shared log it is one.
    pub max_groups_in_flight: usize,
    /// Most commands a group, once as many groups are in flight as may be.
    pub max_group_commands: usize,
    /// About how many bytes of state are kept in memory. A command that needs more than half of it at once can starve.
    pub cache_bytes: usize,
    /// Threads that read streams into memory.
    pub loaders: usize,
    /// How often a command is decided again after a conflict, at least, or after an append of unknown outcome, at most.
    pub max_attempts: u32,
    /// How long it is decided again after conflicts, however often that is: where several nodes are at one stream, each of them
    /// pushes the others aside now and then.
    pub contend_for: Duration,
    /// How many refusals of commands with an idempotency key are remembered, and for how long.
    pub remembered_refusals: usize,
    pub remember_refusals_for: Duration,
    /// Orders of one customer that may hold stock unpaid at once.
    pub max_open_orders: u32,
    /// Where deadlines and holds are kept between runs, so that a start reads only the end of the log. `None`: a start
    /// reads all of it.
    pub checkpoint: Option<PathBuf>,
    /// How often that file is written.
    pub checkpoint_every: Duration,
    /// Where snapshots of long streams are kept, so that they are read fast. `None`: they are read from their beginning.
    pub snapshots: Option<Arc<dyn SnapshotStore>>,
    /// Events of a stream between two snapshots, at least.
    pub snapshot_every: u64,
    /// Whether others write to the same log. Must be set if anyone does. Their events are followed, so that decisions see
    /// them without a conflict, and commands on one stream share appends instead of building on those in flight: see ADR 0021.
    pub shared_log: bool,
    /// On a shared log: whether this node is the one that fires deadlines. Others know them, and take over when this turns
    /// true. `None`: it does always; if several do, the revisions that their appends expect let one of them win.
    pub leader: Option<watch::Receiver<bool>>,
    /// Where the log can't write several streams at once: how long a claim without its variant stands.
    pub claim_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_outstanding: 131_072,
            max_outstanding_bytes: 256 << 20,
            max_groups_in_flight: 4,
            max_group_commands: 8_192,
            cache_bytes: 1 << 30,
            loaders: 4,
            max_attempts: 10,
            contend_for: Duration::from_secs(2),
            remembered_refusals: 100_000,
            remember_refusals_for: Duration::from_mins(10),
            max_open_orders: 5,
            checkpoint: None,
            checkpoint_every: Duration::from_mins(1),
            snapshots: None,
            snapshot_every: 20_000,
            shared_log: false,
            leader: None,
            claim_timeout: Duration::from_mins(1),
        }
    }
}
