//! A log that fails, holds back or delays appends when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use daybook_eventlog::pass_to_log;
use daybook_eventlog::{
    Append, AppendError, Appended, Capabilities, EventLog, Filter, Page, Position, ReadError, RecordedEvent,
    Revision, StreamId,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

type Fault = Arc<dyn Fn(&Append) -> Option<(AppendError, bool)> + Send + Sync>;
type Gate = Arc<dyn Fn(&StreamId) -> bool + Send + Sync>;

/// Wraps a log. Clones share their faults.
#[derive(Clone)]
pub(crate) struct FaultyLog {
    inner: Arc<dyn EventLog>,
    fault: Arc<Mutex<Option<Fault>>>,
    /// Commits wait while this is true; the appends themselves are done, as by a slow disk.
    held: Arc<watch::Sender<bool>>,
    /// Reads of streams for which this says true wait.
    gate: Arc<Mutex<Option<Gate>>>,
    gate_changed: Arc<watch::Sender<u64>>,
    /// Nobody who follows the log hears of anything while this is true.
    silent: Arc<watch::Sender<bool>>,
    pub(crate) groups: Arc<AtomicUsize>,
    read: Arc<AtomicUsize>,
    multi_stream: bool,
}

impl FaultyLog {
    pub(crate) fn new(inner: impl EventLog) -> Self {
        Self {
            inner: Arc::new(inner),
            fault: Arc::default(),
            held: Arc::new(watch::channel(false).0),
            gate: Arc::default(),
            gate_changed: Arc::new(watch::channel(0).0),
            silent: Arc::new(watch::channel(false).0),
            groups: Arc::default(),
            read: Arc::default(),
            multi_stream: true,
        }
    }

    /// The same log without atomic appends over several streams.
    pub(crate) fn single_stream(mut self) -> Self {
        self.multi_stream = false;
        self
    }

    /// An append by another writer, done at once.
    pub(crate) fn write_behind(&self, append: Append) {
        self.inner.append(append).now_or_never().expect("a log in memory answers at once").unwrap();
    }

    /// Events of streams that were read since the last call.
    pub(crate) fn count_reads(&self) -> usize {
        self.read.swap(0, Ordering::SeqCst)
    }

    /// From now on the function says which appends fail, and whether they are done all the same.
    pub(crate) fn fail(
        &self,
        fault: impl Fn(&Append) -> Option<(AppendError, bool)> + Send + Sync + 'static,
    ) {
        *self.fault.lock() = Some(Arc::new(fault));
    }

    pub(crate) fn heal(&self) {
        *self.fault.lock() = None;
    }

    /// Holds commits back, or lets them go.
    pub(crate) fn hold(&self, hold: bool) {
        self.held.send_replace(hold);
    }

    /// Holds back what followers of the log are to hear, or lets them hear it.
    pub(crate) fn silence(&self, silent: bool) {
        self.silent.send_replace(silent);
    }

    /// Reads of these streams wait until [`Self::open_gate`].
    pub(crate) fn gate(&self, gate: impl Fn(&StreamId) -> bool + Send + Sync + 'static) {
        *self.gate.lock() = Some(Arc::new(gate));
    }

    pub(crate) fn open_gate(&self) {
        *self.gate.lock() = None;
        self.gate_changed.send_modify(|n| *n += 1);
    }
}

impl EventLog for FaultyLog {
    pass_to_log!(inner: stream_revision, head, others, close);

    fn capabilities(&self) -> Capabilities {
        Capabilities { atomic_multi_stream: self.multi_stream, ..self.inner.capabilities() }
    }

    fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>> {
        let group = self.append_group(vec![append]);
        async move { group.await.remove(0) }.boxed()
    }

    fn append_group(&self, appends: Vec<Append>) -> BoxFuture<'static, Vec<Result<Appended, AppendError>>> {
        self.groups.fetch_add(1, Ordering::SeqCst);
        let fault = self.fault.lock().clone();
        let mut results = Vec::new();
        for append in appends {
            if !self.multi_stream && append.streams.len() > 1 {
                results.push(async { Err(AppendError::Invalid("several streams".into())) }.boxed());
                continue;
            }
            match fault.as_ref().and_then(|fault| fault(&append)) {
                Some((error, done)) => {
                    let inner = done.then(|| self.inner.append(append));
                    results.push(
                        async move {
                            if let Some(inner) = inner {
                                inner.await?;
                            }
                            Err(error)
                        }
                        .boxed(),
                    );
                }
                None => results.push(self.inner.append(append)),
            }
        }
        let mut held = self.held.subscribe();
        async move {
            let results = futures::future::join_all(results).await;
            let _ = held.wait_for(|held| !held).await;
            results
        }
        .boxed()
    }

    fn read_stream<'a>(
        &'a self,
        stream: &'a StreamId,
        from: Revision,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, ReadError>> {
        async move {
            let mut changed = self.gate_changed.subscribe();
            while self.gate.lock().as_ref().is_some_and(|gate| gate(stream)) {
                let _ = changed.changed().await;
            }
            let events = self.inner.read_stream(stream, from, limit).await?;
            self.read.fetch_add(events.len(), Ordering::SeqCst);
            Ok(events)
        }
        .boxed()
    }

    fn read_all<'a>(
        &'a self,
        after: Position,
        filter: &'a Filter,
        limit: usize,
        limit_bytes: usize,
    ) -> BoxFuture<'a, Result<Page, ReadError>> {
        async move {
            let _ = self.silent.subscribe().wait_for(|silent| !silent).await;
            self.inner.read_all(after, filter, limit, limit_bytes).await
        }
        .boxed()
    }
}
