//! The two JetStream streams: the events, and how far the relay is.

use std::sync::Arc;

use async_nats::ConnectOptions;
use async_nats::jetstream::context::{ContextBuilder, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, StorageType, Stream};
use async_nats::jetstream::{Context, ErrorCode};
use bytes::Bytes;
use daybook_eventlog::{Breaker, BreakerOptions, Position};
use futures::FutureExt;
use serde::{Deserialize, Serialize};

use super::NatsOptions;
use super::envelope::decode;
use crate::driver::{Driver, probe};
use crate::model::StoreError;

/// A connection to the server, made when it is first needed and again by itself when it is lost. Cheap to clone.
#[derive(Clone)]
pub struct Connection {
    driver: Arc<Driver>,
    pub(super) options: Arc<NatsOptions>,
    pub(super) context: Context,
    client: async_nats::Client,
    breaker: Arc<Breaker>,
}

/// How far a relay is: everything up to `position` is in the stream, the last of it at `sequence`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mark {
    #[serde(with = "crate::position_text")]
    pub(super) position: Position,
    pub(super) sequence: u64,
}

/// What may pass.
pub(super) fn unavailable(e: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("NATS: {e}"))
}

impl Connection {
    /// Prepares a connection. [`StoreError::Unfit`] names what is wrong with the options.
    pub fn new(options: &NatsOptions) -> Result<Self, StoreError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if options.prefix.is_empty() || options.prefix.len() > 100 || !options.prefix.chars().all(legal) {
            return Err(StoreError::Unfit(format!(
                "[relay] prefix: {:?} is not 1 to 100 letters, digits, - and _",
                options.prefix
            )));
        }
        let url: async_nats::ServerAddr =
            options.url.parse().map_err(|e| StoreError::Unfit(format!("[relay] url: {e}")))?;
        // Another part of the process may have chosen already; any provider will do.
        let _ = async_nats::rustls::crypto::ring::default_provider().install_default();
        let driver = Arc::new(Driver::new("relay-nats")?);
        let mut connect = with_credentials(ConnectOptions::new(), &url)?;
        if let Some(file) = &options.tls_ca {
            connect = connect.add_root_certificates(file.clone()).require_tls(true);
        }
        let connect = connect
            .name("daybook")
            .retry_on_initial_connect()
            .connection_timeout(options.timeout)
            .request_timeout(Some(options.timeout))
            .connect(url);
        let timeout = options.timeout;
        // The context starts a task of its own, so it is built where the client lives.
        let begin = async move {
            let client = connect.await?;
            let builder = ContextBuilder::new().timeout(timeout).ack_timeout(timeout).max_ack_inflight(4_096);
            Ok::<_, async_nats::ConnectError>((builder.build(client.clone()), client))
        };
        let begun = driver.wait(begin).ok_or_else(|| unavailable("the client has stopped"))?;
        let (context, client) = begun.map_err(unavailable)?;
        let breaker = Breaker::new(BreakerOptions::default());
        let connection = Self { driver, options: Arc::new(options.clone()), context, client, breaker };
        connection.begin_probing();
        Ok(connection)
    }

    /// The circuit breaker before the server.
    #[must_use]
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    pub(super) fn client(&self) -> async_nats::Client {
        self.client.clone()
    }

    /// Does work on the client's thread that nobody waits for.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.driver.spawn(work);
    }

    /// Asks for a sign of life every second, so that a server that is away is known without events too.
    fn begin_probing(&self) {
        let (driver, context, limit) =
            (Arc::downgrade(&self.driver), self.context.clone(), self.options.timeout / 2);
        let ask = move || {
            driver.upgrade()?;
            let context = context.clone();
            let asked = async move {
                match tokio::time::timeout(limit, context.query_account()).await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(_) => Err(format!("no answer within {} ms", limit.as_millis())),
                }
            };
            Some(asked.boxed())
        };
        self.driver.spawn(probe(Arc::downgrade(&self.breaker), ask));
    }

    /// Does work on the client's thread, unless the server is known to be away; it ends in time even if the server does not.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.breaker.check().map_err(unavailable)?;
        self.driver.wait(work).unwrap_or_else(|| Err(unavailable("the client has stopped")))
    }

    pub(super) fn mark_stream(&self) -> String {
        format!("{}-relay", self.options.prefix)
    }

    /// The stream of events, made if it is not there.
    pub(super) async fn events(&self) -> Result<Stream, StoreError> {
        let options = &self.options;
        let config = Config {
            name: options.prefix.clone(),
            description: Some("Events of a Daybook log, in its order".to_owned()),
            subjects: vec![format!("{}.>", options.prefix)],
            storage: StorageType::File,
            discard: DiscardPolicy::Old,
            max_age: options.max_age,
            max_bytes: options.max_bytes,
            num_replicas: options.replicas,
            duplicate_window: options.duplicate_window,
            ..Config::default()
        };
        self.context.get_or_create_stream(config).await.map_err(unavailable)
    }

    /// Where the stream stands, and whether it is another than the one that the mark was made for.
    pub(super) async fn stand(&self) -> Result<(Mark, bool), StoreError> {
        let events = self.events().await?;
        let info = events.get_info().await.map_err(unavailable)?;
        let marked = self.marked().await?;
        let last_sequence = info.state.last_sequence;
        if last_sequence < marked.sequence {
            let lost = Mark { position: 0, sequence: last_sequence };
            // Or the next failure would begin again at the first event, over and over.
            self.note(lost).await?;
            return Ok((lost, true));
        }
        let last = last_position(&events, &info).await?;
        let position = marked.position.max(last.unwrap_or(0));
        Ok((Mark { position, sequence: last_sequence }, false))
    }

    /// The mark that was written last.
    async fn marked(&self) -> Result<Mark, StoreError> {
        let config = Config {
            name: self.mark_stream(),
            description: Some("How far the relay of a Daybook log is".to_owned()),
            subjects: vec![self.mark_stream()],
            storage: StorageType::File,
            max_messages_per_subject: 1,
            num_replicas: self.options.replicas,
            ..Config::default()
        };
        let stream = self.context.get_or_create_stream(config).await.map_err(unavailable)?;
        match stream.get_last_raw_message_by_subject(&self.mark_stream()).await {
            Ok(message) => serde_json::from_slice(&message.payload)
                .map_err(|e| StoreError::Damaged(format!("the relay's mark on NATS is not readable: {e}"))),
            Err(error) if is_missing(&error) => Ok(Mark::default()),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Notes how far the relay is. It may be behind what the stream holds, never ahead.
    pub(super) async fn note(&self, mark: Mark) -> Result<(), StoreError> {
        let payload = serde_json::to_vec(&mark).expect("plain data");
        let published = self.context.publish(self.mark_stream(), Bytes::from(payload)).await;
        published.map_err(unavailable)?.await.map_err(unavailable)?;
        Ok(())
    }

    /// Sends events one behind the other, then waits for their acknowledgements in order. How far that came, and what went
    /// wrong after it.
    pub(super) async fn publish(&self, from: Mark, messages: Vec<Message>) -> (Mark, Result<(), StoreError>) {
        let mut acks = Vec::with_capacity(messages.len());
        let mut failed = None;
        for (sequence, message) in (from.sequence..).zip(messages) {
            let publish = PublishMessage::build()
                .payload(message.payload)
                .message_id(message.id.to_string())
                .expected_last_sequence(sequence)
                .header("Content-Type", super::envelope::CONTENT_TYPE);
            match self.context.send_publish(message.subject, publish).await {
                Ok(ack) => acks.push((message.position, ack)),
                Err(error) => {
                    failed = Some(said(&error));
                    break;
                }
            }
        }
        let mut reached = from;
        for (position, ack) in acks {
            match ack.await {
                // A duplicate is in the stream already, and was not put there again: the following ones are refused.
                Ok(ack) => reached = Mark { position, sequence: reached.sequence.max(ack.sequence) },
                Err(error) => return (reached, Err(said(&error))),
            }
        }
        (reached, failed.map_or(Ok(()), Err))
    }
}

/// User and password, or a token, as they stand in the address: the client does not look for them there.
fn with_credentials(
    options: ConnectOptions,
    url: &async_nats::ServerAddr,
) -> Result<ConnectOptions, StoreError> {
    let plain = |text: &str| {
        percent_decoded(text)
            .ok_or_else(|| StoreError::Unfit("[relay] url: user or password is badly escaped".to_owned()))
    };
    Ok(match (url.username(), url.password()) {
        (Some(user), Some(password)) => options.user_and_password(plain(user)?, plain(password)?),
        (Some(token), None) => options.token(plain(token)?),
        (None, _) => options,
    })
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        decoded.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(decoded).ok()
}

/// An event on its way.
pub(super) struct Message {
    pub(super) position: Position,
    pub(super) id: uuid::Uuid,
    pub(super) subject: String,
    pub(super) payload: Bytes,
}

fn said(error: &PublishError) -> StoreError {
    match error.kind() {
        PublishErrorKind::WrongLastSequence => {
            unavailable("the stream has moved on: another relay publishes, or an answer was lost")
        }
        PublishErrorKind::MaxPayloadExceeded => {
            StoreError::Unfit("NATS: an event is larger than the server's max_payload; raise that".to_owned())
        }
        _ => unavailable(error),
    }
}

fn is_missing(error: &async_nats::jetstream::stream::LastRawMessageError) -> bool {
    use async_nats::jetstream::stream::LastRawMessageErrorKind as Kind;
    match error.kind() {
        Kind::NoMessageFound => true,
        Kind::JetStream(error) => error.error_code() == ErrorCode::NO_MESSAGE_FOUND,
        _ => false,
    }
}

/// The position of the last event in the stream; `None`: it is gone.
async fn last_position(events: &Stream, info: &Info) -> Result<Option<Position>, StoreError> {
    if info.state.messages == 0 {
        return Ok(None);
    }
    match events.get_raw_message(info.state.last_sequence).await {
        Ok(message) => {
            let event = decode(&message.payload)
                .map_err(|e| StoreError::Damaged(format!("the last message of the relay's stream is {e}")))?;
            Ok(Some(event.position))
        }
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(unavailable(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_unescaped() {
        assert_eq!(percent_decoded("a%40b%2Fc%C3%A9").as_deref(), Some("a@b/cé"));
        for wrong in ["%", "%4", "%zz", "%FF"] {
            assert_eq!(percent_decoded(wrong), None, "{wrong}");
        }
    }
}
