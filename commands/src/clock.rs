//! The one place that knows what time it is.
//!
//! Decisions get their time from a [`Clock`] by way of [`DecisionTime`], which never runs backwards. Tests inject a
//! [`ManualClock`].

use parking_lot::Mutex;

use daybook_schemas::Timestamp;

/// Tells the time, and tells who waits for it when it jumps.
pub trait Clock: Send + Sync + 'static {
    /// The present instant in UTC.
    fn now(&self) -> Timestamp;

    /// Registers a listener that is called after the time was set by hand, so that those who wait for a deadline look
    /// again. A clock that only flows has nobody to tell; who waits for it also looks again on its own now and then.
    fn on_jump(&self, listener: Box<dyn Fn() + Send + Sync>) {
        drop(listener);
    }
}

/// The system's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one clock that the rule points to")]
    fn now(&self) -> Timestamp {
        let micros = match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
        };
        Timestamp::from_micros(micros)
    }
}

/// A clock that stands still until it is moved.
pub struct ManualClock {
    now: Mutex<Timestamp>,
    listeners: Mutex<Vec<Box<dyn Fn() + Send + Sync>>>,
}

impl ManualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self { now: Mutex::new(now), listeners: Mutex::new(Vec::new()) }
    }

    /// Sets the time, forwards or backwards.
    pub fn set(&self, now: Timestamp) {
        *self.now.lock() = now;
        for listener in self.listeners.lock().iter() {
            listener();
        }
    }

    /// Moves the time by a number of seconds, negative for a jump backwards.
    pub fn advance_secs(&self, secs: i64) {
        let now = self.now();
        self.set(now.plus_secs(secs));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.lock()
    }

    fn on_jump(&self, listener: Box<dyn Fn() + Send + Sync>) {
        self.listeners.lock().push(listener);
    }
}

/// The time that decisions see: never earlier than what an earlier decision saw.
///
/// When the clock jumps backwards, decisions must neither see time run backwards (a hold that had expired would count
/// again) nor stand still until the clock has caught up (holds would not expire for as long as the jump was). So the
/// time of decisions runs on at half the speed of the clock until the two meet again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DecisionTime {
    clock_was: Timestamp,
    ahead_micros: i64,
}

impl DecisionTime {
    pub(crate) const fn starting_at(clock: Timestamp) -> Self {
        Self { clock_was: clock, ahead_micros: 0 }
    }

    /// The time of the next decision, from what the clock says now.
    pub(crate) fn at(&mut self, clock: Timestamp) -> Timestamp {
        let passed = clock.as_micros() - self.clock_was.as_micros();
        if passed < 0 {
            self.ahead_micros -= passed;
        } else {
            self.ahead_micros = (self.ahead_micros - passed / 2).max(0);
        }
        self.clock_was = clock;
        Timestamp::from_micros(clock.as_micros() + self.ahead_micros)
    }

    /// How far the clock must advance until decisions see `deadline`, in microseconds; at least 0.
    pub(crate) fn micros_until(&self, deadline: Timestamp) -> u64 {
        let now = self.clock_was.as_micros() + self.ahead_micros;
        let distance = deadline.as_micros().saturating_sub(now).max(0).unsigned_abs();
        // Behind a backward jump time runs at half speed at first.
        if self.ahead_micros > 0 { distance.saturating_mul(2) } else { distance }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn decisions_never_see_time_run_backwards_and_never_stand_still() {
        let mut time = DecisionTime::starting_at(at(1_000));
        assert_eq!(time.at(at(1_010)), at(1_010));
        assert_eq!(time.at(at(910)), at(1_010), "a jump back by 100 s");
        assert_eq!(time.at(at(920)), at(1_015), "half the speed");
        assert_eq!(time.at(at(1_110)), at(1_110), "met again");
        assert_eq!(time.at(at(1_111)), at(1_111));
    }

    #[test]
    fn the_system_clock_is_in_this_century() {
        assert!(SystemClock.now() > Timestamp::parse("2020-01-01T00:00:00Z").unwrap());
    }
}
