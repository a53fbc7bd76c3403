//! Following the head: notifications wake at once, polling is the net under them.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{Error, PgPool};
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::timeout;

use super::announce;
use super::options::PostgresOptions;
use super::read::Reader;
use crate::log::{Position, StreamId};

/// Looks that found more than the notifications had told, one after the other, before the listening connection
/// counts as dead: a cut that nobody was told of.
const MISSED_LOOKS: u32 = 2;

pub(super) struct Follower {
    pub(super) options: PostgresOptions,
    pub(super) connect: PgConnectOptions,
    pub(super) channel: String,
    pub(super) reader: Arc<Reader>,
    pub(super) head: Arc<watch::Sender<Position>>,
    pub(super) turns: broadcast::Sender<StreamId>,
    /// Somebody knows that there is something to look for.
    pub(super) nudge: Arc<Notify>,
}

/// Before the name of a stream in a notification: a writer asks for its turn there.
const TURN: &str = "turn ";

/// Tells every writer on the channel that this one asks for its turn at a stream.
pub(super) async fn ask_for_turn(pool: PgPool, channel: String, stream: StreamId) {
    let asking = sqlx::query("SELECT pg_notify($1, $2)").bind(channel).bind(format!("{TURN}{stream}"));
    if let Err(error) = asking.execute(&pool).await {
        tracing::debug!(%error, %stream, "could not ask for a turn");
    }
}

impl Follower {
    /// Works until its task is aborted.
    pub(super) async fn run(self) {
        loop {
            match self.listen().await {
                Ok(mut listener) => {
                    // What was written while nobody listened.
                    self.look().await;
                    self.follow(&mut listener).await;
                }
                Err(error) => tracing::debug!(%error, "cannot listen for new events; polling"),
            }
            self.look().await;
            let pause = self.options.poll_interval.min(Duration::from_secs(1));
            if timeout(pause, self.nudge.notified()).await.is_ok() {
                self.look().await;
            }
        }
    }

    async fn listen(&self) -> Result<PgListener, Error> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(self.options.connect_timeout)
            .max_lifetime(None)
            .idle_timeout(None)
            .connect_lazy_with(self.connect.clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        listener.listen(&self.channel).await?;
        Ok(listener)
    }

    /// Announces what the notifications tell, until the connection is lost.
    async fn follow(&self, listener: &mut PgListener) {
        let mut missed = 0;
        while missed < MISSED_LOOKS {
            let told = tokio::select! {
                told = timeout(self.options.poll_interval, listener.try_recv()) => told,
                () = self.nudge.notified() => {
                    self.look().await;
                    continue;
                }
            };
            match told {
                Ok(Ok(Some(notification))) => {
                    self.take(notification.payload());
                    missed = 0;
                }
                Ok(Ok(None) | Err(_)) => return,
                Err(_) => missed = if self.look().await { missed + 1 } else { 0 },
            }
        }
        tracing::warn!("notifications of new events do not arrive; listening anew");
    }

    fn take(&self, payload: &str) {
        if let Ok(position) = payload.parse() {
            announce(&self.head, position);
        } else if let Some(Ok(stream)) = payload.strip_prefix(TURN).map(StreamId::new) {
            // Nobody listens: nobody writes here.
            let _ = self.turns.send(stream);
        }
    }

    /// Asks for the head; true if it was not known. Failing is no matter: the next look comes.
    async fn look(&self) -> bool {
        self.reader.head().await.is_ok_and(|head| announce(&self.head, head))
    }
}
