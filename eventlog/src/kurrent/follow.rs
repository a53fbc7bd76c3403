//! Announces the head: a subscription to everything that is not the server's own, and a watchdog over it, because
//! the client notices neither silence nor what it missed.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use eventstore::{
    StreamPosition, SubscribeToAllOptions, Subscription, SubscriptionEvent, SubscriptionFilter,
};
use tokio::sync::watch;

use super::connection::{Connection, Fault, Lease};
use super::reader::{Reader, is_system, offset};
use crate::log::Position;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

pub(super) struct Follower {
    connection: Arc<Connection>,
    reader: Arc<Reader>,
    head: watch::Sender<Position>,
    stop: watch::Receiver<bool>,
    watchdog: Duration,
}

/// Why a subscription ended.
enum Ended {
    Failed(Fault),
    /// The log has events that the subscription did not bring.
    FellSilent,
}

impl Follower {
    pub(super) fn new(
        connection: Arc<Connection>,
        reader: Arc<Reader>,
        head: watch::Sender<Position>,
        stop: watch::Receiver<bool>,
        watchdog: Duration,
    ) -> Self {
        Self { connection, reader, head, stop, watchdog }
    }

    pub(super) async fn run(self) {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = self.follow() => {}
            _told_or_gone = stop.wait_for(|stop| *stop) => {}
        }
    }

    /// Subscribes, and again whenever a subscription ended.
    async fn follow(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let before = *self.head.borrow();
            match self.follow_once().await {
                Ended::Failed(fault) => {
                    tracing::warn!(%fault, server = self.connection.server(), "the subscription ended");
                }
                Ended::FellSilent => {
                    tracing::warn!(server = self.connection.server(), "the subscription fell silent");
                }
            }
            if *self.head.borrow() > before {
                pause = FIRST_PAUSE;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn follow_once(&self) -> Ended {
        let lease = self.connection.lease();
        let from = *self.head.borrow();
        let from = if from == 0 { StreamPosition::Start } else { StreamPosition::Position(offset(from)) };
        let options = SubscribeToAllOptions::default()
            .position(from)
            .filter(SubscriptionFilter::on_event_type().exclude_system_events())
            .requires_leader(true);
        let mut subscription = lease.client.subscribe_to_all(&options).await;
        // What was appended while nobody listened is announced at once, not when the subscription gets there.
        loop {
            match self.next(&mut subscription).await {
                Ok(Some(position)) => self.announce(position),
                Ok(None) => {}
                Err(ended) => {
                    self.report(&lease, &ended);
                    return ended;
                }
            }
        }
    }

    /// The position of the next event, `None` for any other message.
    async fn next(&self, subscription: &mut Subscription) -> Result<Option<Position>, Ended> {
        // Kept over the watchdog's looks: dropping it would drop the subscription.
        let mut next = pin!(subscription.next_subscription_event());
        loop {
            tokio::select! {
                message = &mut next => {
                    let message = message.map_err(|error| Ended::Failed(Fault::Client(error)))?;
                    let SubscriptionEvent::EventAppeared(event) = message else { return Ok(None) };
                    let event = event.get_original_event();
                    return Ok(if is_system(event) { None } else { Some(event.position.commit) });
                }
                () = tokio::time::sleep(self.watchdog) => {
                    let last = self.reader.last_position().await.map_err(Ended::Failed)?;
                    if last > *self.head.borrow() {
                        self.announce(last);
                        return Err(Ended::FellSilent);
                    }
                }
            }
        }
    }

    /// A position only ever grows, and is announced when it can be read.
    fn announce(&self, position: Position) {
        self.head.send_if_modified(|head| {
            let grows = position > *head;
            if grows {
                *head = position;
            }
            grows
        });
    }

    fn report(&self, lease: &Lease, ended: &Ended) {
        if let Ended::Failed(Fault::Client(error)) = ended {
            self.connection.report(lease, error);
        }
    }
}
