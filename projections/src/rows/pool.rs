//! Connections for queries: opened when needed, kept, and lent to one reader at a time.

use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::model::StoreError;

/// How long a query waits for its turn.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// At most so many connections; more queries than that wait their turn.
pub(super) struct Pool<C> {
    open: Box<dyn Fn() -> Result<C, StoreError> + Send + Sync>,
    max_connections: usize,
    state: Mutex<State<C>>,
    returned: Condvar,
}

struct State<C> {
    idle: Vec<C>,
    open: usize,
}

impl<C> Pool<C> {
    pub(super) fn new(
        max_connections: usize,
        open: impl Fn() -> Result<C, StoreError> + Send + Sync + 'static,
    ) -> Self {
        let state = Mutex::new(State { idle: Vec::new(), open: 0 });
        Self { open: Box::new(open), max_connections, state, returned: Condvar::new() }
    }

    /// A connection that was used before, or a new one.
    pub(super) fn take(&self) -> Result<Pooled<'_, C>, StoreError> {
        let deadline = Instant::now() + MAX_WAIT;
        let mut state = self.state.lock();
        loop {
            if let Some(connection) = state.idle.pop() {
                return Ok(Pooled { pool: self, connection: Some(connection), used: true, keep: false });
            }
            if state.open < self.max_connections {
                state.open += 1;
                break;
            }
            if self.returned.wait_until(&mut state, deadline).timed_out() {
                return Err(StoreError::Unavailable("too many queries at once".to_owned()));
            }
        }
        drop(state);
        match (self.open)() {
            Ok(connection) => {
                Ok(Pooled { pool: self, connection: Some(connection), used: false, keep: false })
            }
            Err(error) => {
                self.give_back(None);
                Err(error)
            }
        }
    }

    /// Closes what nobody uses.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "a file needs no reconnecting"))]
    pub(super) fn close_idle(&self) {
        let idle = {
            let mut state = self.state.lock();
            state.open -= state.idle.len();
            std::mem::take(&mut state.idle)
        };
        drop(idle);
        self.returned.notify_all();
    }

    fn give_back(&self, connection: Option<C>) {
        let mut state = self.state.lock();
        match connection {
            Some(connection) => state.idle.push(connection),
            None => state.open -= 1,
        }
        drop(state);
        self.returned.notify_one();
    }
}

/// A connection out of the pool. Dropped, it is closed, unless [`Pooled::keep`] said that it is fit for others.
pub(super) struct Pooled<'a, C> {
    pool: &'a Pool<C>,
    /// Taken only on drop.
    connection: Option<C>,
    used: bool,
    keep: bool,
}

impl<C> Pooled<'_, C> {
    /// Whether somebody had it before: then it may have been cut off since.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "a file needs no reconnecting"))]
    pub(super) const fn was_used(&self) -> bool {
        self.used
    }

    /// Says whether the connection goes back to others.
    pub(super) const fn keep(&mut self, keep: bool) {
        self.keep = keep;
    }
}

impl<C> Deref for Pooled<'_, C> {
    type Target = C;
    fn deref(&self) -> &C {
        self.connection.as_ref().expect("there until it is given back")
    }
}

impl<C> DerefMut for Pooled<'_, C> {
    fn deref_mut(&mut self) -> &mut C {
        self.connection.as_mut().expect("there until it is given back")
    }
}

impl<C> Drop for Pooled<'_, C> {
    fn drop(&mut self) {
        // One that is not kept is closed before its place is free, so that there are never more than there may be.
        let connection = self.connection.take().filter(|_| self.keep);
        self.pool.give_back(connection);
    }
}
