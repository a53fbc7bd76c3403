//! Any remote log behind a circuit breaker: reads are repeated with growing pauses, callers are told at once while the
//! server is away, and a probe finds out when it is back, also without traffic.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use tokio::time::timeout;

use crate::breaker::{Breaker, BreakerOptions, CircuitState, CircuitStatus, jittered};
use crate::event::RecordedEvent;
use crate::log::{
    Append, AppendError, Appended, EventLog, Filter, Head, Page, Position, ReadError, Revision, StreamId,
};
use crate::pass_to_log;

/// How a remote log is guarded.
#[derive(Debug, Clone, Copy)]
pub struct GuardOptions {
    pub breaker: BreakerOptions,
    /// Attempts at a read, the first included.
    pub read_attempts: u32,
    /// The pause before the second attempt; each further one doubles it.
    pub read_pause: Duration,
    /// How often the server is asked for a sign of life.
    pub probe_every: Duration,
    /// A probe that takes longer counts as a failure, and as another for each such time that it takes.
    pub probe_timeout: Duration,
}

impl Default for GuardOptions {
    fn default() -> Self {
        Self {
            breaker: BreakerOptions::default(),
            read_attempts: 3,
            read_pause: Duration::from_millis(50),
            probe_every: Duration::from_secs(1),
            probe_timeout: Duration::from_secs(2),
        }
    }
}

/// A stream whose revision the probe asks for. It need not exist.
const PROBED: &str = "operations-probe";

/// A log behind a breaker.
pub struct GuardedLog {
    inner: Arc<dyn EventLog>,
    breaker: Arc<Breaker>,
    options: GuardOptions,
}

impl GuardedLog {
    /// Guards the log, and begins to probe it as a task of this runtime.
    #[must_use]
    pub fn new(inner: Arc<dyn EventLog>, options: GuardOptions) -> Self {
        let breaker = Breaker::new(options.breaker);
        tokio::spawn(probe(Arc::downgrade(&inner), Arc::clone(&breaker), options));
        Self { inner, breaker, options }
    }

    /// How it stands with the server.
    #[must_use]
    pub fn status(&self) -> CircuitStatus {
        self.breaker.status()
    }

    async fn read<'a, T>(
        &'a self,
        call: impl Fn() -> BoxFuture<'a, Result<T, ReadError>>,
    ) -> Result<T, ReadError> {
        let mut pause = self.options.read_pause;
        let mut attempt = 1;
        loop {
            self.breaker.check().map_err(|open| ReadError::Unavailable(open.to_string()))?;
            match call().await {
                Err(ReadError::Unavailable(reason)) => {
                    self.breaker.failed(&reason);
                    if attempt >= self.options.read_attempts {
                        return Err(ReadError::Unavailable(reason));
                    }
                }
                other => {
                    self.breaker.succeeded();
                    return other;
                }
            }
            tokio::time::sleep(jittered(pause)).await;
            pause *= 2;
            attempt += 1;
        }
    }
}

/// Runs until the log is gone.
async fn probe(log: Weak<dyn EventLog>, breaker: Arc<Breaker>, options: GuardOptions) {
    let stream = StreamId::new(PROBED).expect("a constant that keeps the rule");
    loop {
        let waiting = breaker.status().state != CircuitState::Closed;
        let pause = if waiting { options.breaker.first_pause } else { options.probe_every };
        tokio::time::sleep(jittered(pause)).await;
        let Some(log) = log.upgrade() else { return };
        let Some(trial) = breaker.trial() else { continue };
        let mut call = log.stream_revision(&stream);
        let mut trial = Some(trial);
        let result = loop {
            match timeout(options.probe_timeout, &mut call).await {
                Ok(result) => break result,
                // Not dropped: the call holds a connection, and its answer is the sooner sign of life.
                Err(_) => {
                    let reason = format!("no reply within {:?}", options.probe_timeout);
                    match trial.take() {
                        Some(trial) => trial.failed(&reason),
                        None => breaker.failed(&reason),
                    }
                }
            }
        };
        match (result, trial) {
            (Err(error @ ReadError::Unavailable(_)), Some(trial)) => trial.failed(&error.to_string()),
            // A damaged log is no matter of connections.
            (_, Some(trial)) => trial.succeeded(),
            (_, None) => {}
        }
    }
}

/// Tells the breaker what became of an append.
fn note(breaker: &Breaker, result: &Result<Appended, AppendError>) {
    match result {
        Err(error @ AppendError::Unavailable { .. }) => breaker.failed(&error.to_string()),
        Ok(_) | Err(AppendError::Conflict { .. } | AppendError::Invalid(_)) => breaker.succeeded(),
        Err(AppendError::Overloaded | AppendError::DiskFull(_) | AppendError::Stopped(_)) => {}
    }
}

fn refused(breaker: &Breaker) -> Option<AppendError> {
    let open = breaker.check().err()?;
    Some(AppendError::Unavailable { reason: open.to_string(), indeterminate: false })
}

impl EventLog for GuardedLog {
    pass_to_log!(inner: capabilities, others, close);

    fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>> {
        if let Some(error) = refused(&self.breaker) {
            return ready(Err(error)).boxed();
        }
        let breaker = Arc::clone(&self.breaker);
        // Queued now, not when it is polled.
        let appended = self.inner.append(append);
        appended.inspect(move |result| note(&breaker, result)).boxed()
    }

    fn append_group(&self, appends: Vec<Append>) -> BoxFuture<'static, Vec<Result<Appended, AppendError>>> {
        if let Some(error) = refused(&self.breaker) {
            return ready(appends.iter().map(|_| Err(error.clone())).collect()).boxed();
        }
        let breaker = Arc::clone(&self.breaker);
        let appended = self.inner.append_group(appends);
        appended
            .inspect(move |results| {
                // One failure of the server, however many appends it met.
                if let Some(failed) =
                    results.iter().find(|r| matches!(r, Err(AppendError::Unavailable { .. })))
                {
                    note(&breaker, failed);
                } else if let Some(first) = results.first() {
                    note(&breaker, first);
                }
            })
            .boxed()
    }

    fn read_stream<'a>(
        &'a self,
        stream: &'a StreamId,
        from: Revision,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, ReadError>> {
        self.read(move || self.inner.read_stream(stream, from, limit)).boxed()
    }

    fn stream_revision<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<Revision, ReadError>> {
        self.read(move || self.inner.stream_revision(stream)).boxed()
    }

    fn read_all<'a>(
        &'a self,
        after: Position,
        filter: &'a Filter,
        limit: usize,
        limit_bytes: usize,
    ) -> BoxFuture<'a, Result<Page, ReadError>> {
        self.read(move || self.inner.read_all(after, filter, limit, limit_bytes)).boxed()
    }

    /// Not repeated, since followers do that, and no sign of life, since it may come from memory.
    fn read_tail<'a>(
        &'a self,
        after: Position,
        filter: &'a Filter,
        limit: usize,
        limit_bytes: usize,
    ) -> BoxFuture<'a, Result<Page, ReadError>> {
        async move {
            self.breaker.check().map_err(|open| ReadError::Unavailable(open.to_string()))?;
            let read = self.inner.read_tail(after, filter, limit, limit_bytes).await;
            if let Err(ReadError::Unavailable(reason)) = &read {
                self.breaker.failed(reason);
            }
            read
        }
        .boxed()
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, ReadError>> {
        self.read(|| self.inner.head()).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use tokio::sync::watch;

    use super::*;
    use crate::log::{Expected, StreamAppend};
    use crate::{MemoryLog, NewEvent};

    /// A log that can be away, or not answer at all.
    struct Remote {
        log: MemoryLog,
        away: AtomicBool,
        frozen: watch::Sender<bool>,
        calls: AtomicU32,
    }

    impl Remote {
        fn new() -> Arc<Self> {
            let frozen = watch::channel(false).0;
            Arc::new(Self {
                log: MemoryLog::new(),
                away: AtomicBool::new(false),
                frozen,
                calls: AtomicU32::new(0),
            })
        }

        async fn answer<T>(&self, call: BoxFuture<'_, Result<T, ReadError>>) -> Result<T, ReadError> {
            self.calls.fetch_add(1, Ordering::SeqCst);
            self.frozen.subscribe().wait_for(|frozen| !frozen).await.expect("the sender is ours");
            if self.away.load(Ordering::SeqCst) {
                return Err(ReadError::Unavailable("away".into()));
            }
            call.await
        }
    }

    impl EventLog for Remote {
        pass_to_log!(log: capabilities, watch_head, close);

        fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>> {
            if self.away.load(Ordering::SeqCst) {
                let error = AppendError::Unavailable { reason: "away".into(), indeterminate: true };
                return ready(Err(error)).boxed();
            }
            self.log.append(append)
        }
        fn append_group(
            &self,
            appends: Vec<Append>,
        ) -> BoxFuture<'static, Vec<Result<Appended, AppendError>>> {
            futures::future::join_all(appends.into_iter().map(|append| self.append(append))).boxed()
        }
        fn read_stream<'a>(
            &'a self,
            stream: &'a StreamId,
            from: Revision,
            limit: usize,
        ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, ReadError>> {
            self.answer(self.log.read_stream(stream, from, limit)).boxed()
        }
        fn stream_revision<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<Revision, ReadError>> {
            self.answer(self.log.stream_revision(stream)).boxed()
        }
        fn read_all<'a>(
            &'a self,
            after: Position,
            filter: &'a Filter,
            limit: usize,
            limit_bytes: usize,
        ) -> BoxFuture<'a, Result<Page, ReadError>> {
            self.answer(self.log.read_all(after, filter, limit, limit_bytes)).boxed()
        }
        fn head(&self) -> BoxFuture<'_, Result<Head, ReadError>> {
            self.answer(self.log.head()).boxed()
        }
    }

    fn options() -> GuardOptions {
        let ms = Duration::from_millis;
        GuardOptions {
            breaker: BreakerOptions { failures: 3, first_pause: ms(5), longest_pause: ms(20) },
            read_attempts: 3,
            read_pause: ms(1),
            probe_every: ms(5),
            probe_timeout: ms(50),
        }
    }

    fn append(name: &str) -> Append {
        let event = NewEvent {
            event_id: uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes()),
            event_type: "test.happened",
            version: 1,
            recorded_at: 0,
            data: "{}".into(),
            metadata: "{}".into(),
        };
        let stream = StreamId::new(name).unwrap();
        Append::new(vec![StreamAppend { stream, expected: Expected::Exact(0), events: vec![event] }])
    }

    async fn until(log: &GuardedLog, state: CircuitState) {
        let waiting = async {
            while log.status().state != state {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(30), waiting).await.unwrap_or_else(|_| panic!("never {state:?}"));
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_left_alone_and_found_again_without_traffic() {
        let remote = Remote::new();
        let log = GuardedLog::new(remote.clone(), options());
        log.append(append("a")).await.unwrap();
        remote.away.store(true, Ordering::SeqCst);
        until(&log, CircuitState::Open).await;
        let refused = log.append(append("b")).await.unwrap_err();
        assert!(
            matches!(&refused, AppendError::Unavailable { indeterminate: false, reason } if reason.contains("away")),
            "{refused}"
        );
        let refused = log.append_group(vec![append("c"), append("d")]).await;
        assert!(refused.len() == 2 && refused.iter().all(Result::is_err));
        assert!(log.head().await.is_err());
        assert!(log.status().rejected >= 3);
        remote.away.store(false, Ordering::SeqCst);
        until(&log, CircuitState::Closed).await;
        log.append(append("b")).await.unwrap();
        assert_eq!(log.head().await.unwrap().events, 2);
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_opens_the_circuit_too() {
        let remote = Remote::new();
        let log = GuardedLog::new(remote.clone(), options());
        remote.frozen.send_replace(true);
        until(&log, CircuitState::Open).await;
        assert!(log.status().reason.unwrap().contains("no reply"));
        remote.frozen.send_replace(false);
        until(&log, CircuitState::Closed).await;
    }

    #[tokio::test]
    async fn a_read_is_repeated_and_conflicts_are_no_failures() {
        let remote = Remote::new();
        let patient = GuardOptions { probe_every: Duration::from_secs(3_600), ..options() };
        let patient = GuardOptions {
            breaker: BreakerOptions {
                failures: 4,
                first_pause: Duration::from_secs(3_600),
                ..patient.breaker
            },
            ..patient
        };
        let log = GuardedLog::new(remote.clone(), patient);
        remote.away.store(true, Ordering::SeqCst);
        assert!(log.head().await.is_err());
        assert_eq!(remote.calls.load(Ordering::SeqCst), 3);
        remote.away.store(false, Ordering::SeqCst);
        log.head().await.unwrap();
        log.append(append("a")).await.unwrap();
        let mut other = append("a");
        other.streams[0].events[0].event_id = uuid::Uuid::nil();
        for _ in 0..10 {
            assert!(matches!(log.append(other.clone()).await, Err(AppendError::Conflict { .. })));
        }
        assert_eq!(log.status().state, CircuitState::Closed);
    }

    /// What may come from memory says nothing about the server: it must not keep the circuit closed while all else fails.
    #[tokio::test]
    async fn a_read_of_the_tail_is_not_repeated_and_is_no_sign_of_life() {
        let remote = Remote::new();
        let never = Duration::from_secs(3_600);
        let breaker = BreakerOptions { failures: 4, first_pause: never, longest_pause: never };
        let log = GuardedLog::new(remote.clone(), GuardOptions { breaker, probe_every: never, ..options() });
        let everything = Filter::default();
        remote.away.store(true, Ordering::SeqCst);
        assert!(log.head().await.is_err());
        remote.away.store(false, Ordering::SeqCst);
        log.read_tail(0, &everything, 1, 1).await.unwrap();
        remote.away.store(true, Ordering::SeqCst);
        let calls = remote.calls.load(Ordering::SeqCst);
        assert!(log.read_tail(0, &everything, 1, 1).await.is_err());
        assert_eq!(remote.calls.load(Ordering::SeqCst), calls + 1);
        assert_eq!(log.status().state, CircuitState::Open, "the fourth failure in a row");
        remote.away.store(false, Ordering::SeqCst);
        assert!(log.read_tail(0, &everything, 1, 1).await.is_err(), "left alone");
    }
}
