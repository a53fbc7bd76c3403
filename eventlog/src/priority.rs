//! How background threads let others go first.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long a thread whose work comes in portions keeps a processor, about. Without pauses it would keep it until the system
/// looks around, every 4 ms on many, whatever its priority, and a request that needs several threads in turn would wait that
/// long for each of them.
const PORTION: Duration = Duration::from_micros(500);
/// Long enough for whoever waits for the processor to get it.
const PAUSE: Duration = Duration::from_micros(100);

thread_local! {
    /// When the portion under way began; `None`: work is done at a stretch.
    static PORTION_BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Lowers the priority of the calling thread by so many steps of `nice` (1 to 19), for as long as it lives. Where the
/// system does not allow that, the thread goes on as it was.
pub fn give_way(steps: i32) {
    if let Err(error) = rustix::process::nice(steps) {
        tracing::debug!(%error, "a background thread runs at the priority of all else");
    }
}

/// Whether the calling thread's work comes in portions from now on, with a pause after each: for work that must be done in
/// time but not at once. It must call [`breathe`] as it goes.
pub fn in_portions(on: bool) {
    PORTION_BEGAN.with(|began| {
        if on != began.get().is_some() {
            began.set(on.then(Instant::now));
        }
    });
}

/// Whether the calling thread's work comes [in portions](in_portions).
#[must_use]
pub fn comes_in_portions() -> bool {
    PORTION_BEGAN.with(|began| began.get().is_some())
}

/// Pauses if the calling thread's work comes [in portions](in_portions) and the one under way is done. To be called every
/// few microseconds to some tens of them.
pub fn breathe() {
    PORTION_BEGAN.with(|began| {
        if began.get().is_some_and(|since| since.elapsed() >= PORTION) {
            std::thread::sleep(PAUSE);
            began.set(Some(Instant::now()));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_work_in_portions_pauses() {
        let work = || {
            let began = Instant::now();
            while began.elapsed() < 3 * PORTION {
                std::hint::spin_loop();
            }
        };
        let pauses = |on| {
            in_portions(on);
            work();
            let before = PORTION_BEGAN.get();
            breathe();
            PORTION_BEGAN.get() != before
        };
        assert!(!pauses(false));
        assert!(pauses(true));
        // A portion that has just begun goes on.
        in_portions(true);
        let before = PORTION_BEGAN.get();
        in_portions(true);
        assert_eq!(PORTION_BEGAN.get(), before);
        assert!(!pauses(false));
    }
}
