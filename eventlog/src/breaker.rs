//! A circuit breaker: after some failures in a row a dependency is left alone for a while, so that callers are told at once
//! instead of each waiting for a time limit, and the dependency is not hammered while it comes back.
//!
//! ```text
//!            `failures` in a row                pause over, one trial
//!   Closed ─────────────────────▶ Open ─────────────────────────────▶ HalfOpen
//!     ▲                            ▲     the trial fails: longer pause    │
//!     │                            └──────────────────────────────────────┤
//!     └───────────────────────────── the trial succeeds ──────────────────┘
//! ```

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How patient a breaker is.
#[derive(Debug, Clone, Copy)]
pub struct BreakerOptions {
    /// Failures in a row that open it.
    pub failures: u32,
    /// The pause before the first trial; each failed trial doubles it. With jitter of a quarter, so that several
    /// processes do not come back at once.
    pub first_pause: Duration,
    pub longest_pause: Duration,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self { failures: 3, first_pause: Duration::from_millis(250), longest_pause: Duration::from_secs(4) }
    }
}

/// Whether calls go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitState {
    Closed,
    /// One call is under way to find out.
    HalfOpen,
    Open,
}

/// A breaker at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CircuitStatus {
    pub state: CircuitState,
    /// The last failure, unless the breaker is closed.
    pub reason: Option<String>,
    /// Failed calls, since the start.
    pub failures: u64,
    /// Calls refused without trying, since the start.
    pub rejected: u64,
    /// How often it opened, since the start.
    pub opened: u64,
}

/// The dependency is left alone for now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("left alone after repeated failures, the last: {reason}")]
pub struct CircuitOpen {
    pub reason: String,
}

struct State {
    circuit: CircuitState,
    in_a_row: u32,
    pause: Duration,
    trial_at: Instant,
    reason: String,
}

/// Guards one dependency. Share it in an [`Arc`].
pub struct Breaker {
    options: BreakerOptions,
    state: Mutex<State>,
    failures: AtomicU64,
    rejected: AtomicU64,
    opened: AtomicU64,
}

impl Breaker {
    #[must_use]
    pub fn new(options: BreakerOptions) -> Arc<Self> {
        let state = State {
            circuit: CircuitState::Closed,
            in_a_row: 0,
            pause: options.first_pause,
            trial_at: Instant::now(),
            reason: String::new(),
        };
        Arc::new(Self {
            options,
            state: Mutex::new(state),
            failures: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            opened: AtomicU64::new(0),
        })
    }

    /// Lets a call through while the circuit is closed.
    ///
    /// # Errors
    /// If it is not.
    pub fn check(&self) -> Result<(), CircuitOpen> {
        let state = self.state.lock();
        if state.circuit == CircuitState::Closed {
            return Ok(());
        }
        self.rejected.fetch_add(1, Ordering::Relaxed);
        Err(CircuitOpen { reason: state.reason.clone() })
    }

    /// Lets a call through while the circuit is closed, and one at a time once its pause is over.
    pub fn trial(self: &Arc<Self>) -> Option<Trial> {
        let mut state = self.state.lock();
        match state.circuit {
            CircuitState::Closed => {}
            CircuitState::Open if Instant::now() >= state.trial_at => state.circuit = CircuitState::HalfOpen,
            CircuitState::Open | CircuitState::HalfOpen => return None,
        }
        Some(Trial { breaker: Arc::clone(self), ended: false })
    }

    /// A call came back.
    pub fn succeeded(&self) {
        let mut state = self.state.lock();
        // A call from before the circuit opened says nothing about now; trials do.
        if state.circuit == CircuitState::Closed {
            state.in_a_row = 0;
        }
    }

    /// A call failed for a reason that lies with the dependency.
    pub fn failed(&self, reason: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock();
        reason.clone_into(&mut state.reason);
        if state.circuit == CircuitState::Closed {
            state.in_a_row += 1;
            if state.in_a_row >= self.options.failures {
                state.pause = self.options.first_pause;
                self.open(&mut state);
            }
        }
    }

    fn open(&self, state: &mut State) {
        state.circuit = CircuitState::Open;
        state.trial_at = Instant::now() + jittered(state.pause);
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    fn end_trial(&self, outcome: Result<(), &str>) {
        if let Err(reason) = outcome {
            self.failed(reason);
        }
        let mut state = self.state.lock();
        match (outcome, state.circuit) {
            (Ok(()), _) => {
                state.circuit = CircuitState::Closed;
                state.in_a_row = 0;
            }
            (Err(_), CircuitState::HalfOpen) => {
                state.circuit = CircuitState::Open;
                state.pause = (state.pause * 2).min(self.options.longest_pause);
                state.trial_at = Instant::now() + jittered(state.pause);
            }
            (Err(_), CircuitState::Closed | CircuitState::Open) => {}
        }
    }

    #[must_use]
    pub fn status(&self) -> CircuitStatus {
        let state = self.state.lock();
        CircuitStatus {
            state: state.circuit,
            reason: (state.circuit != CircuitState::Closed).then(|| state.reason.clone()),
            failures: self.failures.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
            opened: self.opened.load(Ordering::Relaxed),
        }
    }
}

/// A call that may find out whether the dependency is back. One that is dropped without an outcome counts as failed.
#[must_use]
pub struct Trial {
    breaker: Arc<Breaker>,
    ended: bool,
}

impl Trial {
    pub fn succeeded(mut self) {
        self.ended = true;
        self.breaker.end_trial(Ok(()));
    }

    pub fn failed(mut self, reason: &str) {
        self.ended = true;
        self.breaker.end_trial(Err(reason));
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if !self.ended {
            self.breaker.end_trial(Err("given up"));
        }
    }
}

/// The pause and up to a quarter more.
#[must_use]
pub fn jittered(pause: Duration) -> Duration {
    // The standard library's source of random keys: no two values depend on each other, which is all that jitter needs.
    let dice = u32::try_from(RandomState::new().hash_one(0_u8) >> 48).expect("16 bits");
    pause + pause * dice / (4 << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker(pause_ms: u64) -> Arc<Breaker> {
        let pause = Duration::from_millis(pause_ms);
        Breaker::new(BreakerOptions { failures: 3, first_pause: pause, longest_pause: pause * 4 })
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_does_not_let_them_add_up() {
        let breaker = breaker(60_000);
        for _ in 0..5 {
            breaker.failed("no answer");
            breaker.failed("no answer");
            breaker.succeeded();
        }
        assert!(breaker.check().is_ok());
        for _ in 0..3 {
            breaker.failed("no answer");
        }
        assert_eq!(breaker.check(), Err(CircuitOpen { reason: "no answer".into() }));
        breaker.succeeded();
        assert!(breaker.check().is_err(), "an old call that comes back late proves nothing");
        assert!(breaker.trial().is_none(), "the pause is not over");
        let status = breaker.status();
        assert_eq!((status.state, status.opened, status.rejected), (CircuitState::Open, 1, 2));
    }

    #[test]
    fn one_trial_at_a_time_decides() {
        let breaker = breaker(0);
        for _ in 0..3 {
            breaker.failed("down");
        }
        let trial = breaker.trial().expect("no pause");
        assert_eq!(breaker.status().state, CircuitState::HalfOpen);
        assert!(breaker.trial().is_none() && breaker.check().is_err());
        trial.failed("still down");
        assert_eq!(breaker.status().reason.as_deref(), Some("still down"));
        drop(breaker.trial().expect("no pause"));
        assert_eq!(breaker.status().state, CircuitState::Open, "a trial that was given up proves nothing");
        breaker.trial().expect("no pause").succeeded();
        assert!(breaker.check().is_ok());
        assert_eq!(breaker.status().reason, None);
    }

    #[test]
    fn pauses_have_a_jitter_of_a_quarter_at_most() {
        let pause = Duration::from_secs(4);
        let drawn: Vec<_> = (0..200).map(|_| jittered(pause)).collect();
        assert!(drawn.iter().all(|d| (pause..=pause * 5 / 4).contains(d)));
        assert!(drawn.iter().any(|d| *d != drawn[0]));
    }
}
