//! A circuit breaker: after some failures in a row nothing is sent for a while, so that callers fail at once instead of
//! each waiting out its time limit, and a server that comes back is not met by all of them together.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Failures in a row before the circuit opens.
const TOLERATED: u32 = 3;
/// How long it is open at first; doubles with every further failure.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Breaker {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    failures: u32,
    /// When the next try may be made; `None`: closed.
    open_until: Option<Instant>,
}

impl Breaker {
    /// Whether a request may be sent now. Once the pause is over, one is let through; the others wait for its end.
    pub(super) fn admit(&self) -> Result<(), String> {
        self.admit_at(Instant::now())
    }

    fn admit_at(&self, now: Instant) -> Result<(), String> {
        let mut state = self.state.lock();
        match state.open_until {
            Some(until) if now < until => Err(format!("not tried: the last {} tries failed", state.failures)),
            Some(_) => {
                state.open_until = Some(now + pause(state.failures));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The server answered, whatever it said.
    pub(super) fn answered(&self) {
        *self.state.lock() = State::default();
    }

    /// The server did not answer.
    pub(super) fn failed(&self) {
        self.failed_at(Instant::now());
    }

    fn failed_at(&self, now: Instant) {
        let mut state = self.state.lock();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= TOLERATED {
            state.open_until = Some(now + pause(state.failures));
        }
    }
}

fn pause(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(TOLERATED).min(10)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_failures_lets_one_try_through_and_closes_on_an_answer() {
        let breaker = Breaker::default();
        let start = Instant::now();
        for _ in 0..TOLERATED {
            assert!(breaker.admit_at(start).is_ok());
            breaker.failed_at(start);
        }
        assert!(breaker.admit_at(start).is_err());
        let later = start + FIRST_PAUSE;
        assert!(breaker.admit_at(later).is_ok(), "one try after the pause");
        assert!(breaker.admit_at(later).is_err(), "and only one");
        breaker.failed_at(later);
        assert!(breaker.admit_at(later + FIRST_PAUSE).is_err(), "the next pause is longer");
        assert!(breaker.admit_at(later + FIRST_PAUSE * 2).is_ok());
        breaker.answered();
        assert!(breaker.admit_at(start).is_ok() && breaker.admit_at(start).is_ok());
        for _ in 0..100 {
            breaker.failed_at(start);
        }
        assert!(breaker.admit_at(start + LONGEST_PAUSE).is_ok());
    }
}
