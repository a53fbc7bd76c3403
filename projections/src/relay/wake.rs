//! Wake-ups between gateways: each tells the others over the server how far the log is, and who hears of more than it knows looks.
//! For logs whose own notifications do not arrive, as behind a pooler of connections that allows no `LISTEN`.
//!
//! Only hints go over the wire. Nothing is read from them but that it is time to look, so one that is lost, late, repeated or false costs
//! a look at most; polling stays the net under them. The subject lies beside those of the events, so no stream keeps it.

use std::sync::Arc;
use std::time::Duration;

use daybook_eventlog::{EventLog, Position};
use futures::StreamExt;
use tokio::sync::watch;

use super::Connection;

/// Before subscribing again, where the client gave up.
const PAUSE: Duration = Duration::from_secs(1);

/// Wake-ups at work, until dropped.
pub struct WakeUps {
    _stop: watch::Sender<()>,
}

impl WakeUps {
    /// Begins to tell and to listen, on the connection's own thread.
    #[must_use]
    pub fn begin(connection: &Connection, log: Arc<dyn EventLog>) -> Self {
        let (stop, stopped) = watch::channel(());
        let subject = format!("{}-wake", connection.options.prefix);
        connection.spawn(run(connection.client(), subject, log, stopped));
        Self { _stop: stop }
    }
}

async fn run(
    client: async_nats::Client,
    subject: String,
    log: Arc<dyn EventLog>,
    mut stopped: watch::Receiver<()>,
) {
    let mut head = log.watch_head();
    // What another has just said need not be told to all.
    let mut heard: Option<Position> = None;
    loop {
        let Ok(mut messages) = client.subscribe(subject.clone()).await else {
            tokio::select! {
                _ = stopped.changed() => return,
                () = tokio::time::sleep(PAUSE) => continue,
            }
        };
        loop {
            tokio::select! {
                biased;
                // An error: the sender is gone, which is how this ends.
                _ = stopped.changed() => return,
                message = messages.next() => {
                    let Some(message) = message else { break };
                    let said = std::str::from_utf8(&message.payload).ok().and_then(|text| text.parse().ok());
                    if let Some(said) = said.filter(|said| *said > *head.borrow()) {
                        heard = Some(said);
                        log.look();
                    }
                }
                changed = head.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let position = *head.borrow_and_update();
                    if heard != Some(position) {
                        // Not told: the others poll.
                        let _ = client.publish(subject.clone(), position.to_string().into()).await;
                    }
                }
            }
        }
    }
}
