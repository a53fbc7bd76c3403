//! A read model fed from relayed events, for a process that does not reach the log.
//!
//! Delivery is at least once; what the read model has seen is told by its checkpoint, so a message that comes again changes
//! nothing. A message is acknowledged when what it brought is committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer};
use async_nats::jetstream::stream::Stream;
use daybook_eventlog::{Position, RecordedEvent};
use daybook_schemas::AnyEvent;
use futures::StreamExt;
use tokio::sync::watch;

use super::NatsOptions;
use super::envelope::decode;
use super::stream::{Connection, unavailable};
use crate::model::{ProjectError, Projected, ReadModel, StoreError};

/// Messages taken at once, committed together.
const BATCH: usize = 500;
/// How long a batch is waited for.
const PATIENCE: Duration = Duration::from_millis(500);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A running follower. Ends when dropped.
pub struct Follower {
    ended: Arc<AtomicBool>,
    checkpoint: watch::Receiver<Position>,
    halted: watch::Receiver<Option<String>>,
    thread: Option<JoinHandle<Box<dyn ReadModel>>>,
}

impl Follower {
    /// Starts a thread that carries relayed events into a read model. `name` is the follower's own: the server keeps what
    /// was acknowledged under it.
    pub fn start(options: &NatsOptions, name: &str, model: Box<dyn ReadModel>) -> Result<Self, StoreError> {
        let connection = Connection::new(options)?;
        let (halted_sender, halted) = watch::channel(None);
        let ended = Arc::new(AtomicBool::new(false));
        let (sender, checkpoint) = watch::channel(model.checkpoint());
        let mut work = Work {
            connection,
            name: name.to_owned(),
            model,
            sender,
            halted: halted_sender,
            ended: Arc::clone(&ended),
            consumer: None,
        };
        let thread = std::thread::Builder::new()
            .name(format!("follow-{name}"))
            .spawn(move || {
                work.run();
                work.model
            })
            .map_err(|e| StoreError::Unavailable(format!("cannot start a thread: {e}")))?;
        Ok(Self { ended, checkpoint, halted, thread: Some(thread) })
    }

    /// Follows the read model's checkpoint.
    #[must_use]
    pub fn watch_checkpoint(&self) -> watch::Receiver<Position> {
        self.checkpoint.clone()
    }

    /// Turns to a reason when the follower has given up: what comes next is not to be had, or not to be read.
    #[must_use]
    pub fn watch_halted(&self) -> watch::Receiver<Option<String>> {
        self.halted.clone()
    }

    /// Ends the thread and gives the read model back; `None` if it panicked.
    #[must_use]
    pub fn stop(mut self) -> Option<Box<dyn ReadModel>> {
        self.ended.store(true, Ordering::Release);
        self.thread.take()?.join().ok()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
    }
}

struct Work {
    connection: Connection,
    name: String,
    model: Box<dyn ReadModel>,
    sender: watch::Sender<Position>,
    halted: watch::Sender<Option<String>>,
    ended: Arc<AtomicBool>,
    consumer: Option<PullConsumer>,
}

impl Work {
    fn run(&mut self) {
        let mut pause = FIRST_PAUSE;
        while !self.ended.load(Ordering::Acquire) {
            match self.step() {
                Ok(()) => pause = FIRST_PAUSE,
                Err(ProjectError::Store(error)) if error.is_retryable() => {
                    tracing::warn!(%error, follower = self.name, "will try again");
                    self.model.rollback();
                    // Begins again behind what was acknowledged.
                    self.consumer = None;
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => {
                    tracing::error!(%error, follower = self.name, "halted");
                    self.model.rollback();
                    self.halted.send_replace(Some(error.to_string()));
                    return;
                }
            }
        }
    }

    fn step(&mut self) -> Result<(), ProjectError> {
        let consumer = match &self.consumer {
            Some(consumer) => consumer.clone(),
            None => self.begin()?,
        };
        let fetched = self.connection.wait(async move {
            let batch = consumer.batch().max_messages(BATCH).expires(PATIENCE).messages().await;
            let mut batch = batch.map_err(unavailable)?;
            let mut messages = Vec::new();
            while let Some(message) = batch.next().await {
                messages.push(message.map_err(unavailable)?);
            }
            Ok(messages)
        })?;
        let Some(last) = fetched.last().cloned() else { return Ok(()) };
        let mut reached = self.model.checkpoint();
        for message in &fetched {
            let event = decode(&message.payload).map_err(|e| ProjectError::Rejected(e.to_string()))?;
            if event.position > reached {
                reached = event.position;
                self.apply(event)?;
            }
        }
        self.model.commit(reached)?;
        self.sender.send_replace(reached);
        self.connection.wait(async move {
            // Acknowledges all before it as well.
            last.ack_with(AckKind::Ack).await.map_err(unavailable)
        })?;
        Ok(())
    }

    fn apply(&mut self, event: RecordedEvent) -> Result<(), ProjectError> {
        if !self.model.handles(event.event_type()) {
            return Ok(());
        }
        if !self.model.needs_decoding() {
            return self.model.apply_recorded(&event);
        }
        let decoded = AnyEvent::decode(event.event_type(), event.version, event.data())?;
        self.model.apply(&Projected { recorded: event, event: decoded })
    }

    /// A consumer that begins behind what was acknowledged under this name, with nothing under way from before: messages
    /// come in the stream's order.
    fn begin(&mut self) -> Result<PullConsumer, StoreError> {
        let (connection, name) = (self.connection.clone(), self.name.clone());
        let checkpoint = self.model.checkpoint();
        let consumer = self.connection.wait(async move {
            let events = connection.events().await?;
            let acknowledged = match events.get_consumer::<Config>(&name).await {
                Ok(consumer) => {
                    let floor = consumer.cached_info().ack_floor.stream_sequence;
                    events.delete_consumer(&name).await.map_err(unavailable)?;
                    floor
                }
                // Never begun, or not to be had: then making it says so.
                Err(_) => 0,
            };
            check_continuity(&events, acknowledged + 1, checkpoint).await?;
            let config = Config {
                durable_name: Some(name),
                ack_policy: AckPolicy::All,
                ack_wait: Duration::from_secs(60),
                deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: acknowledged + 1 },
                max_ack_pending: 10_000,
                ..Config::default()
            };
            events.create_consumer(config).await.map_err(unavailable)
        })?;
        self.consumer = Some(consumer.clone());
        Ok(consumer)
    }
}

/// Refuses to go on where the server has dropped messages that the read model has not seen.
async fn check_continuity(events: &Stream, wanted: u64, checkpoint: Position) -> Result<(), StoreError> {
    let state = events.get_info().await.map_err(unavailable)?.state;
    if state.first_sequence <= wanted {
        return Ok(());
    }
    // An emptied stream names the next message as its first.
    let first = match state.messages {
        0 => None,
        _ => {
            let message = events.get_raw_message(state.first_sequence).await.map_err(unavailable)?;
            let event = decode(&message.payload).map_err(|e| StoreError::Damaged(e.to_string()))?;
            Some(event.position)
        }
    };
    // What was dropped ended right before the first that is left.
    if first.is_some_and(|first| first <= checkpoint + 1) {
        return Ok(());
    }
    Err(StoreError::Damaged(format!(
        "the server has dropped messages before sequence {}, and this read model has the log up to position {checkpoint} only; \
         fill it from the log, or let the server keep more",
        state.first_sequence
    )))
}
