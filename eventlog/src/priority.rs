//! How background threads let others go first.

/// Lowers the priority of the calling thread by so many steps of `nice` (1 to 19), for as long as it lives. Where the
/// system does not allow that, the thread goes on as it was.
pub fn give_way(steps: i32) {
    if let Err(error) = rustix::process::nice(steps) {
        tracing::debug!(%error, "a background thread runs at the priority of all else");
    }
}
