//! What the writers of shared stores are called.

/// A name that no other store of any process has: the process, its start, and a number within it.
pub(crate) fn writer_name() -> String {
    use std::hash::BuildHasher;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    // The standard library's keys come from the system's source of randomness, once a process.
    static PROCESS: LazyLock<u64> = LazyLock::new(|| std::hash::RandomState::new().hash_one("daybook"));
    static STORES: AtomicU64 = AtomicU64::new(0);
    format!("{}-{:016x}-{}", std::process::id(), *PROCESS, STORES.fetch_add(1, Ordering::Relaxed))
}
