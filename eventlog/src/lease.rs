//! One leader among several gateways: a lease in the shared store, held by one at a time, with a token that grows with every
//! change of hands.
//!
//! ```text
//!  acquire ──▶ held, token 7 ── renewed every quarter of its time ──▶ held, token 7 …
//!                 │ the holder dies or is cut off: not renewed
//!                 ▼ its time is up, by the store's clock
//!              another acquires ──▶ held, token 8
//! ```
//!
//! A holder counts its time from *before* it asked, by its own steady clock, so that it stops believing before the store gives the
//! lease away. But it may stall between believing and writing, and no lease can prevent that: **the work that a lease shares out
//! must be harmless when two do it**. Each has a fence of its own where it writes: deadlines and changes of master data the
//! expected revision of the stream, the relay the expected sequence of the stream on the server, a note beside the lease
//! ([`LeaseStore::note`]) the token.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::breaker::jittered;

/// Grows by one whenever a lease changes hands.
pub type LeaseToken = u64;

/// Why the store did not answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the store of leases is unavailable: {0}")]
pub struct LeaseError(pub String);

/// A store that all who compete can reach.
pub trait LeaseStore: Send + Sync + 'static {
    /// Takes the lease, or renews it for its holder, from now on for `time`, by the store's clock. `None`: another holds it.
    fn acquire<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        time: Duration,
    ) -> BoxFuture<'a, Result<Option<LeaseToken>, LeaseError>>;

    /// Gives the lease back before its time, if it is still the holder's.
    fn release<'a>(&'a self, name: &'a str, holder: &'a str) -> BoxFuture<'a, Result<(), LeaseError>>;

    /// What was noted last with this lease, by whoever held it then.
    fn noted<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, LeaseError>>;

    /// Notes something for whoever holds the lease next, in place of what was noted before, if the lease is still held with this
    /// token; whether it is.
    fn note<'a>(
        &'a self,
        name: &'a str,
        token: LeaseToken,
        note: &'a [u8],
    ) -> BoxFuture<'a, Result<bool, LeaseError>>;
}

/// Who competes for what.
#[derive(Debug, Clone)]
pub struct LeaseOptions {
    pub name: String,
    /// Unique among all who compete, and new with every start of a process.
    pub holder: String,
    /// How long the lease is held without renewal: about how long nobody leads after a crash.
    pub time: Duration,
}

impl LeaseOptions {
    /// Taken over within about six seconds after the leader was killed.
    #[must_use]
    pub fn new(name: impl Into<String>, holder: impl Into<String>) -> Self {
        Self { name: name.into(), holder: holder.into(), time: Duration::from_secs(5) }
    }
}

/// Competes for a lease as long as it lives.
pub struct Leadership {
    token: watch::Receiver<Option<LeaseToken>>,
    leads: watch::Receiver<bool>,
    stop: watch::Sender<bool>,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Leadership {
    /// Begins to compete, as a task of this runtime.
    #[must_use]
    pub fn compete(store: Arc<dyn LeaseStore>, options: LeaseOptions) -> Self {
        let (token_sender, token) = watch::channel(None);
        let (leads_sender, leads) = watch::channel(false);
        let (stop, stopped) = watch::channel(false);
        let competitor = Competitor { store, options, token: token_sender, leads: leads_sender };
        Self { token, leads, stop, task: Some(tokio::spawn(competitor.run(stopped))) }
    }

    /// The token while this process leads, to be handed in with every write that must not come late.
    #[must_use]
    pub fn token(&self) -> Option<LeaseToken> {
        *self.token.borrow()
    }

    /// Follows the token.
    #[must_use]
    pub fn watch_token(&self) -> watch::Receiver<Option<LeaseToken>> {
        self.token.clone()
    }

    /// Follows whether this process leads.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.leads.clone()
    }

    /// Gives the lease back, so that another leads at once.
    pub async fn resign(mut self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take() {
            // A task that panicked holds nothing any more.
            let _ = task.await;
        }
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

struct Competitor {
    store: Arc<dyn LeaseStore>,
    options: LeaseOptions,
    token: watch::Sender<Option<LeaseToken>>,
    leads: watch::Sender<bool>,
}

impl Competitor {
    async fn run(self, mut stopped: watch::Receiver<bool>) {
        let LeaseOptions { name, holder, time } = &self.options;
        let mut valid_until = Instant::now();
        loop {
            let asked = Instant::now();
            // An answer that comes later than the end of what is held would be too late to count on.
            let patience = if self.token.borrow().is_some() { valid_until } else { asked + *time };
            let asking = timeout_at(patience, self.store.acquire(name, holder, *time));
            let answer = tokio::select! {
                answer = asking => answer.ok(),
                _ = stopped.wait_for(|stop| *stop) => break,
            };
            match answer {
                Some(Ok(Some(token))) => {
                    // Safe by a tenth, should the clocks not run at one speed.
                    valid_until = asked + *time / 10 * 9;
                    self.hold(Some(token));
                }
                Some(Ok(None)) => self.hold(None),
                Some(Err(error)) => tracing::debug!(lease = name, %error, "asking for a lease failed"),
                None => tracing::debug!(lease = name, "asking for a lease took too long"),
            }
            if Instant::now() >= valid_until {
                self.hold(None);
            }
            let leading = self.token.borrow().is_some();
            let pause = jittered(*time / 5);
            let next =
                if leading { (Instant::now() + pause).min(valid_until) } else { Instant::now() + pause };
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                _ = stopped.wait_for(|stop| *stop) => break,
            }
        }
        if self.token.borrow().is_some() {
            self.hold(None);
            if let Err(error) = self.store.release(name, holder).await {
                tracing::debug!(lease = name, %error, "the lease was not given back; it runs out");
            }
        }
    }

    fn hold(&self, token: Option<LeaseToken>) {
        self.token.send_if_modified(|held| std::mem::replace(held, token) != token);
        let leads = token.is_some();
        if self.leads.send_if_modified(|was| std::mem::replace(was, leads) != leads) {
            tracing::info!(lease = self.options.name, leads, "leadership changed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use futures::FutureExt;
    use parking_lot::Mutex;

    use super::*;

    /// Leases in memory, which can be cut off from one of the holders.
    #[derive(Default)]
    struct Shared {
        leases: Mutex<HashMap<String, (String, LeaseToken, Instant)>>,
        cut_off: Mutex<Option<String>>,
    }

    impl LeaseStore for Shared {
        fn acquire<'a>(
            &'a self,
            name: &'a str,
            holder: &'a str,
            time: Duration,
        ) -> BoxFuture<'a, Result<Option<LeaseToken>, LeaseError>> {
            async move {
                if self.cut_off.lock().as_deref() == Some(holder) {
                    return Err(LeaseError("cut off".into()));
                }
                let now = Instant::now();
                let mut leases = self.leases.lock();
                let entry = leases.entry(name.to_owned()).or_insert((holder.to_owned(), 0, now));
                let free = entry.2 <= now;
                if entry.0 != holder && !free {
                    return Ok(None);
                }
                let token = if free { entry.1 + 1 } else { entry.1 };
                *entry = (holder.to_owned(), token, now + time);
                Ok(Some(token))
            }
            .boxed()
        }

        fn release<'a>(&'a self, name: &'a str, holder: &'a str) -> BoxFuture<'a, Result<(), LeaseError>> {
            async move {
                if let Some(entry) = self.leases.lock().get_mut(name).filter(|entry| entry.0 == holder) {
                    entry.2 = Instant::now();
                }
                Ok(())
            }
            .boxed()
        }

        fn noted<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, LeaseError>> {
            async { Ok(None) }.boxed()
        }

        fn note<'a>(
            &'a self,
            _: &'a str,
            _: LeaseToken,
            _: &'a [u8],
        ) -> BoxFuture<'a, Result<bool, LeaseError>> {
            async { Ok(false) }.boxed()
        }
    }

    fn compete(store: &Arc<Shared>, holder: &str) -> Leadership {
        let options = LeaseOptions { time: Duration::from_secs(2), ..LeaseOptions::new("timers", holder) };
        Leadership::compete(Arc::<Shared>::clone(store), options)
    }

    async fn until(leadership: &Leadership, leads: bool) {
        let mut watch = leadership.watch();
        let waiting = watch.wait_for(|now| *now == leads);
        tokio::time::timeout(Duration::from_secs(30), waiting)
            .await
            .expect("in time")
            .expect("its task runs");
    }

    #[tokio::test]
    async fn one_leads_and_another_takes_over_with_a_newer_token() {
        let store = Arc::new(Shared::default());
        let first = compete(&store, "a");
        until(&first, true).await;
        let second = compete(&store, "b");
        let token = first.token().expect("it leads");
        // Long enough for the lease to have run out, were it not renewed.
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!((first.token(), second.token()), (Some(token), None));

        *store.cut_off.lock() = Some("a".into());
        until(&second, true).await;
        assert_eq!(first.token(), None, "it stopped believing before the other began");
        assert_eq!(second.token(), Some(token + 1));

        *store.cut_off.lock() = None;
        second.resign().await;
        until(&first, true).await;
        assert_eq!(first.token(), Some(token + 2));
    }
}
