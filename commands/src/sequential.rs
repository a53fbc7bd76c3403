//! For a log that writes one stream at a time (KurrentDB): an append over several streams is written in steps, in an order
//! that leaves nothing wrong behind wherever it stops. See ADR 0022.
//!
//! 1. The record of the idempotency key, as an intent: it counts only if the events it speaks of are there.
//! 2. Claims and holds. A claim without its variant stands for a limited time; a hold runs out. Holds need not wait for the key: a
//!    second attempt knows them without it.
//! 3. The stream that the command was sent to.
//!
//! Event ids depend on command and stream alone, and decisions know their own traces, so a retry goes on where the
//! last attempt stopped.
//!
//! ```text
//!  variant a   key ─▶ claim ─▶ claim ─▶ variant    a step begins when the one before is in the log
//!  order b     key     ┐                           key and stock of several variants are one step
//!              stock 1 ├▶ order
//!              stock 2 ┘
//!  order c     key     ┬▶ order                    appends that share no stream don't wait for each other
//!              stock 3 ┘
//!  order d     (stock 3) ······▶ key     ┬▶ order  those that do, do
//!                                stock 3 ┘
//! ```
//!
//! What is to hold, and how it would break:
//!
//! 1. *What a claim, a hold or a key protects is not written before it.* So no two steps of an append are under way at once. Counts
//!    that a second attempt does not know again come after the key, one by one.
//! 2. *Order of each stream.* An append that shares a stream with an earlier one of its group waits until that has ended.
//! 3. *Who answers that an append is whole looks at its last event* (`Trace`). So the last step is one stream.
//! 4. *Nothing of a failed append comes later.* So a step that fails waits for all of its streams before it says so: what is read
//!    then is the end of the attempt.

use std::sync::Arc;
use std::time::{Duration, Instant};

use daybook_eventlog::{Append, AppendError, Appended, EventLog, StreamAppend, StreamId};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::workspace::Write;

/// Appends of one group that are under way at once. The log pipelines about as many.
const AT_ONCE: usize = 256;

type Outcome = Result<Appended, AppendError>;

/// How many streams of an append each step writes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Steps {
    sizes: SmallVec<[usize; 4]>,
    /// Whether the last step rests on claims and holds that pass on after a while.
    guarded: bool,
}

impl Steps {
    /// Brings the writes of one command into order. Those to the stock of several variants are one step, with the key if that is
    /// next to them: each is whole by itself, and a retry finds it. All others are a step each, in the order of their decisions.
    pub(crate) fn arrange(
        writes: &mut [Write],
        main: &StreamId,
        key: Option<&StreamId>,
        main_first: bool,
    ) -> Self {
        let main_rank = if main_first { 0 } else { 2 };
        writes.sort_by_key(|write| match &write.stream {
            stream if stream == main => main_rank,
            // Behind its own stream where that comes first: there the key comes last in the decision.
            stream if Some(stream) == key => 0,
            _ => 1,
        });
        let together = |Write { stream, .. }: &Write| {
            stream != main && (Some(stream) == key || stream.as_str().starts_with("inventory-"))
        };
        let mut steps = Self { sizes: SmallVec::new(), guarded: !main_first };
        let last = writes.len().saturating_sub(1);
        for (nth, write) in writes.iter().enumerate() {
            let joins = nth > 0 && nth < last && together(write) && together(&writes[nth - 1]);
            match steps.sizes.last_mut().filter(|_| joins) {
                Some(size) => *size += 1,
                None => steps.sizes.push(1),
            }
        }
        steps
    }
}

pub(crate) struct SequentialLog {
    inner: Arc<dyn EventLog>,
    /// An append that takes longer, its waiting for others of its group included, gives up before its last step: what it claimed may be
    /// taken by others soon.
    patience: Duration,
}

impl SequentialLog {
    pub(crate) fn new(inner: Arc<dyn EventLog>, claim_timeout: Duration) -> Self {
        Self { inner, patience: claim_timeout / 2 }
    }

    /// Writes the appends of one group, each with its steps. The dispatcher has one group in flight.
    pub(crate) fn append_group(&self, appends: Vec<(Append, Steps)>) -> BoxFuture<'static, Vec<Outcome>> {
        let (inner, patience) = (self.inner.clone(), self.patience);
        if appends.iter().all(|(append, _)| append.streams.len() == 1) {
            return inner.append_group(appends.into_iter().map(|(append, _)| append).collect());
        }
        let (rounds, decided) = (rounds(&appends), Instant::now());
        async move {
            let mut outcomes: Vec<Option<Outcome>> = vec![None; appends.len()];
            let mut waiting: Vec<Option<(Append, Steps)>> = appends.into_iter().map(Some).collect();
            for round in rounds {
                let began = round.iter().filter_map(|nth| Some((*nth, waiting[*nth].take()?)));
                let writing: Vec<_> = began
                    .map(|(nth, (append, steps))| {
                        let inner = inner.clone();
                        async move { (nth, step_by_step(&*inner, append, &steps, decided + patience).await) }
                    })
                    .collect();
                let mut writing = futures::stream::iter(writing).buffer_unordered(AT_ONCE);
                while let Some((nth, outcome)) = writing.next().await {
                    outcomes[nth] = Some(outcome);
                }
            }
            outcomes.into_iter().map(|outcome| outcome.expect("each append has its round")).collect()
        }
        .boxed()
    }
}

/// Appends that may be written at once, as their numbers: one that shares a stream with an earlier one is in a later round.
fn rounds(appends: &[(Append, Steps)]) -> Vec<Vec<usize>> {
    let mut rounds: Vec<Vec<usize>> = Vec::new();
    let mut next: HashMap<&StreamId, usize, foldhash::fast::RandomState> = HashMap::default();
    for (nth, (append, _)) in appends.iter().enumerate() {
        let streams = || append.streams.iter().map(|part| &part.stream);
        let round = streams().filter_map(|stream| next.get(stream)).max().copied().unwrap_or(0);
        next.extend(streams().map(|stream| (stream, round + 1)));
        if round == rounds.len() {
            rounds.push(Vec::new());
        }
        rounds[round].push(nth);
    }
    rounds
}

async fn step_by_step(inner: &dyn EventLog, append: Append, steps: &Steps, until: Instant) -> Outcome {
    let mut streams = append.streams.into_iter();
    let mut all: Option<Appended> = None;
    for (nth, size) in steps.sizes.iter().enumerate() {
        let is_last = nth + 1 == steps.sizes.len();
        if is_last && steps.guarded && nth > 0 && Instant::now() > until {
            let reason = "the log is too slow for claims to be safe".to_owned();
            return Err(AppendError::Unavailable { reason, indeterminate: false });
        }
        let step = one_step(inner, streams.by_ref().take(*size)).await?;
        match &mut all {
            None => all = Some(step),
            Some(all) => {
                all.last = all.last.max(step.last);
                all.revisions.extend(step.revisions);
            }
        }
    }
    all.ok_or_else(|| AppendError::Invalid("an append without streams".to_owned()))
}

/// Writes streams at once, and waits for all of them whatever becomes of any.
async fn one_step(inner: &dyn EventLog, parts: impl Iterator<Item = StreamAppend>) -> Outcome {
    let outcomes = inner.append_group(parts.map(|part| Append::new(vec![part])).collect()).await;
    let mut step = Appended { first: u64::MAX, last: 0, revisions: Vec::with_capacity(outcomes.len()) };
    let mut worst: Option<AppendError> = None;
    for outcome in outcomes {
        match outcome {
            Ok(appended) => {
                step.first = step.first.min(appended.first);
                step.last = step.last.max(appended.last);
                step.revisions.extend(appended.revisions);
            }
            Err(error) if worst.as_ref().is_none_or(|worst| weight(worst) < weight(&error)) => {
                worst = Some(error);
            }
            Err(_) => {}
        }
    }
    worst.map_or(Ok(step), Err)
}

/// Of several failures the one that says most about what is to be done: above all that an outcome is unknown.
fn weight(error: &AppendError) -> u8 {
    match error {
        AppendError::Stopped(_) => 3,
        AppendError::Unavailable { indeterminate: true, .. } => 2,
        AppendError::Conflict { .. } => 0,
        AppendError::Invalid(_)
        | AppendError::Overloaded
        | AppendError::DiskFull(_)
        | AppendError::Unavailable { .. } => 1,
    }
}

#[cfg(test)]
mod tests;
