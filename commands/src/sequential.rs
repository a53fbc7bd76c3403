//! For a log that writes one stream at a time (KurrentDB): an append over several streams is written stream by stream,
//! in an order that leaves nothing wrong behind wherever it stops. See ADR 0022.
//!
//! 1. The record of the idempotency key, as an intent: it counts only if the events it speaks of are there.
//! 2. Claims and holds. A claim without its variant stands for a limited time; a hold runs out.
//! 3. The stream that the command was sent to.
//!
//! Event ids depend on command and stream alone, and decisions know their own traces, so a retry goes on where the
//! last attempt stopped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use daybook_eventlog::pass_to_log;
use daybook_eventlog::{Append, AppendError, Appended, EventLog, StreamAppend};
use futures::FutureExt;
use futures::future::BoxFuture;

pub(crate) struct SequentialLog {
    inner: Arc<dyn EventLog>,
    /// An append that takes longer gives up before its last stream: what it claimed may be taken by others soon.
    patience: Duration,
}

impl SequentialLog {
    pub(crate) fn new(inner: Arc<dyn EventLog>, claim_timeout: Duration) -> Self {
        Self { inner, patience: claim_timeout / 2 }
    }
}

async fn one(inner: &dyn EventLog, part: StreamAppend) -> Result<Appended, AppendError> {
    inner.append(Append::new(vec![part])).await
}

async fn in_turn(inner: &dyn EventLog, append: Append, patience: Duration) -> Result<Appended, AppendError> {
    let start = Instant::now();
    let mut streams = append.streams.into_iter().peekable();
    let mut all: Option<Appended> = None;
    while let Some(part) = streams.next() {
        if streams.peek().is_none() && all.is_some() && start.elapsed() > patience {
            let reason = "the log is too slow for claims to be safe".to_owned();
            return Err(AppendError::Unavailable { reason, indeterminate: false });
        }
        let appended = one(inner, part).await?;
        match &mut all {
            None => all = Some(appended),
            Some(all) => {
                all.last = appended.last;
                all.revisions.extend(appended.revisions);
            }
        }
    }
    all.ok_or_else(|| AppendError::Invalid("an append without streams".to_owned()))
}

impl EventLog for SequentialLog {
    pass_to_log!(inner: capabilities, read_stream, stream_revision, read_all, head, others, close);

    fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>> {
        let group = self.append_group(vec![append]);
        async move {
            group
                .await
                .pop()
                .unwrap_or_else(|| Err(AppendError::Invalid("an append without an answer".to_owned())))
        }
        .boxed()
    }

    /// One after the other, since a later one may build on an earlier one. The dispatcher has one group in flight.
    fn append_group(&self, appends: Vec<Append>) -> BoxFuture<'static, Vec<Result<Appended, AppendError>>> {
        let (inner, patience) = (self.inner.clone(), self.patience);
        if appends.iter().all(|append| append.streams.len() == 1) {
            return inner.append_group(appends);
        }
        async move {
            let mut results = Vec::with_capacity(appends.len());
            for append in appends {
                results.push(in_turn(inner.as_ref(), append, patience).await);
            }
            results
        }
        .boxed()
    }
}
