//! The client of the server, replaced when it has given up, and the faults of its calls.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use eventstore::{Client, ClientSettings, Error};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::ConnectError;
use crate::log::{AppendError, ReadError};

/// gRPC status codes that the client hands on as numbers.
const INVALID_ARGUMENT: i32 = 3;
const RESOURCE_EXHAUSTED: i32 = 8;

/// The way to one server or cluster.
pub(super) struct Connection {
    settings: ClientSettings,
    runtime: Handle,
    timeout: Duration,
    current: Mutex<Current>,
}

struct Current {
    client: Client,
    /// Counts the clients, so that a late report of a fault does not replace a newer one.
    generation: u64,
}

/// A client and which one it is.
pub(super) struct Lease {
    pub(super) client: Client,
    generation: u64,
}

/// Why a call gave no result.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    Client(Error),
    /// No reply in this time.
    TimedOut(Duration),
    /// What the server holds can't be used as an event log.
    Unusable(ReadError),
}

impl Connection {
    pub(super) fn open(settings: ClientSettings, timeout: Duration) -> Result<Self, ConnectError> {
        let runtime = Handle::current();
        let client = Client::with_runtime_handle(runtime.clone(), settings.clone())
            .map_err(|error| ConnectError::Client(error.to_string()))?;
        Ok(Self { settings, runtime, timeout, current: Mutex::new(Current { client, generation: 0 }) })
    }

    /// The hosts, without user and password.
    pub(super) fn server(&self) -> String {
        let hosts: Vec<_> =
            self.settings.hosts().iter().map(|host| format!("{}:{}", host.host, host.port)).collect();
        hosts.join(",")
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn lease(&self) -> Lease {
        let current = self.current.lock();
        Lease { client: current.client.clone(), generation: current.generation }
    }

    /// Waits for a call of the leased client, no longer than for one reply.
    pub(super) async fn call<T>(
        &self,
        lease: &Lease,
        call: impl Future<Output = eventstore::Result<T>>,
    ) -> Result<T, Fault> {
        self.call_within(self.timeout, lease, call).await
    }

    /// Waits for a call of the leased client.
    pub(super) async fn call_within<T>(
        &self,
        time: Duration,
        lease: &Lease,
        call: impl Future<Output = eventstore::Result<T>>,
    ) -> Result<T, Fault> {
        match tokio::time::timeout(time, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                self.report(lease, &error);
                Err(Fault::Client(error))
            }
            Err(_) => Err(Fault::TimedOut(time)),
        }
    }

    /// Replaces the client if it will never work again: after it has failed to find a node, it answers nothing.
    pub(super) fn report(&self, lease: &Lease, error: &Error) {
        if !matches!(error, Error::ConnectionClosed | Error::GrpcConnectionError(_)) {
            return;
        }
        let mut current = self.current.lock();
        if current.generation != lease.generation {
            return;
        }
        match Client::with_runtime_handle(self.runtime.clone(), self.settings.clone()) {
            Ok(client) => {
                tracing::info!(server = self.server(), "looking for the KurrentDB server again");
                *current = Current { client, generation: current.generation + 1 };
            }
            Err(error) => tracing::error!(%error, "the KurrentDB client can't be started"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(Error::AccessDenied) => {
                f.write_str("it refuses the user and password of the connection string")
            }
            Self::Client(Error::GrpcConnectionError(error)) => {
                write!(f, "no connection ({error}); check host, port and tls= of the connection string")
            }
            Self::Client(error) => error.fmt(f),
            Self::TimedOut(time) => write!(f, "no reply within {} ms", time.as_millis()),
            Self::Unusable(error) => error.fmt(f),
        }
    }
}

impl Fault {
    /// Whether the same call may succeed later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Client(Error::Grpc { code, .. }) => i32::from(*code) != INVALID_ARGUMENT,
            Self::Client(
                Error::AccessDenied
                | Error::ResourceDeleted
                | Error::ResourceNotFound
                | Error::UnsupportedFeature
                | Error::InternalParsingError(_)
                | Error::WrongExpectedVersion { .. },
            )
            | Self::Unusable(_) => false,
            Self::Client(_) | Self::TimedOut(_) => true,
        }
    }

    /// Whether the call never reached the server.
    pub(super) fn was_not_sent(&self) -> bool {
        matches!(
            self,
            Self::Client(Error::ConnectionClosed | Error::GrpcConnectionError(_) | Error::AccessDenied)
        )
    }

    pub(super) fn into_read_error(self) -> ReadError {
        match self {
            Self::Unusable(error) => error,
            fault => ReadError::Unavailable(fault.to_string()),
        }
    }

    /// The error of an append; `may_be_written` if it may have reached the server in an earlier attempt.
    pub(super) fn into_append_error(self, may_be_written: bool) -> AppendError {
        match &self {
            Self::Client(Error::Grpc { code, message }) if i32::from(*code) == INVALID_ARGUMENT => {
                AppendError::Invalid(message.clone())
            }
            Self::Client(Error::Grpc { code, .. })
                if i32::from(*code) == RESOURCE_EXHAUSTED && !may_be_written =>
            {
                AppendError::Overloaded
            }
            Self::Client(Error::ResourceDeleted) => {
                AppendError::Invalid("the stream was deleted on the server".into())
            }
            fault => AppendError::Unavailable {
                reason: fault.to_string(),
                indeterminate: may_be_written || !fault.was_not_sent(),
            },
        }
    }
}
