//! The server as the rest of this folder sees it: requests with a time limit that end in JSON or in a [`Failure`] that says
//! what to do about it. The only place that knows the client library.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use daybook_eventlog::breaker::Trial;
use daybook_eventlog::{Breaker, BreakerOptions, CircuitState};
use elasticsearch::cert::{Certificate, CertificateValidation};
use elasticsearch::http::headers::HeaderMap;
use elasticsearch::http::transport::{SingleNodeConnectionPool, Transport, TransportBuilder};
use elasticsearch::http::{Method as HttpMethod, Url};
use futures::{FutureExt, StreamExt};
use serde_json::Value;

use super::ElasticOptions;
use crate::driver::{Driver, probe};
use crate::model::StoreError;

/// Answers whatever becomes of indices, also where the server has few modules.
pub(super) const HEALTH: &str = "/_cluster/health";

/// Why a request came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// No answer: not reached, too late, or not even tried because the last tries failed.
    Unreachable(String),
    /// An answer that a later try may better: overloaded, recovering, disk full.
    Busy(String),
    /// The index, or the document asked for, does not exist.
    Missing(String),
    /// The index that was to be made exists.
    Exists(String),
    /// Somebody else wrote first.
    Conflict(String),
    /// The same request will be refused again.
    Refused(String),
}

impl Failure {
    fn of(status: u16, answer: &Value) -> Self {
        let error = &answer["error"];
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        let kind = text("type");
        let cause = error["root_cause"][0]["reason"].as_str().unwrap_or_default();
        let reason = match (text("reason"), cause) {
            (reason, "") => reason,
            (reason, cause) if reason.contains(cause) => reason,
            (reason, cause) => format!("{reason}: {cause}"),
        };
        let said = format!("status {status}, {kind}: {reason}");
        match (status, kind.as_str()) {
            // Without a document there is no error in the answer.
            (404, "index_not_found_exception" | "") => Self::Missing(said),
            (400, "resource_already_exists_exception") => Self::Exists(said),
            (409, _) => Self::Conflict(said),
            (408 | 429 | 500..=599, _) | (403, "cluster_block_exception") => Self::Busy(said),
            _ => Self::Refused(said),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "Elasticsearch does not answer: {why}"),
            Self::Busy(why) => write!(f, "Elasticsearch is not able to: {why}"),
            Self::Missing(why) => write!(f, "the search index is gone: {why}"),
            Self::Exists(why) => write!(f, "the search index is there already: {why}"),
            Self::Conflict(why) => write!(f, "another process writes this search index: {why}"),
            Self::Refused(why) => write!(f, "Elasticsearch refuses: {why}"),
        }
    }
}

impl From<Failure> for StoreError {
    /// All may pass: an operator can mend rights and settings while the projection tries again.
    fn from(failure: Failure) -> Self {
        Self::Unavailable(failure.to_string())
    }
}

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Put,
    Post,
    Delete,
}

/// A request: path with its own slashes escaped by the caller (only our own names go into paths), pairs, body.
#[derive(Debug, Clone)]
pub(super) struct Request {
    method: Method,
    path: String,
    pairs: Vec<(&'static str, String)>,
    body: Option<Bytes>,
}

impl Request {
    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), pairs: Vec::new(), body: None }
    }

    #[must_use]
    pub(super) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.pairs.push((name, value.to_string()));
        self
    }

    #[must_use]
    pub(super) fn json(self, body: &Value) -> Self {
        self.bytes(Bytes::from(body.to_string()))
    }

    #[must_use]
    pub(super) fn bytes(mut self, body: Bytes) -> Self {
        self.body = Some(body);
        self
    }
}

/// A connection to the server, with the threads that drive it. Cheap to clone; blocks the calling thread.
#[derive(Clone)]
pub(super) struct Server {
    inner: Arc<Inner>,
}

struct Inner {
    transport: Transport,
    driver: Driver,
    timeout: Duration,
    breaker: Arc<Breaker>,
}

impl Server {
    /// Prepares a connection; nothing is sent yet. [`StoreError::Unfit`] names what is wrong with the address.
    pub(super) fn new(options: &ElasticOptions) -> Result<Self, StoreError> {
        let wrong = |e: &dyn std::fmt::Display| StoreError::Unfit(format!("[search] url: {e}"));
        let mut url = Url::parse(&options.url).map_err(|e| wrong(&e))?;
        let credentials = credentials(&mut url);
        let mut builder = TransportBuilder::new(SingleNodeConnectionPool::new(url)).disable_proxy();
        if let Some(credentials) = credentials {
            builder = builder.auth(credentials);
        }
        if let Some(file) = &options.tls_ca {
            let wrong = |e: &dyn std::fmt::Display| {
                StoreError::Unfit(format!("[search] tls_ca: {}: {e}", file.display()))
            };
            let pem = std::fs::read(file).map_err(|e| wrong(&e))?;
            let authority = Certificate::from_pem(&pem).map_err(|e| wrong(&e))?;
            builder = builder.cert_validation(CertificateValidation::Full(authority));
        }
        let transport = builder.build().map_err(|e| wrong(&e))?;
        let driver = Driver::new("search-elastic")?;
        let breaker = Breaker::new(BreakerOptions::default());
        let inner = Inner { transport, driver, timeout: options.timeout, breaker };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The circuit breaker that all requests go through.
    pub(super) fn breaker(&self) -> Arc<Breaker> {
        Arc::clone(&self.inner.breaker)
    }

    /// Asks for a sign of life every second as long as this connection is in use, so that the circuit opens and closes
    /// without requests too.
    pub(super) fn begin_probing(&self) {
        let inner = Arc::downgrade(&self.inner);
        let ask = move || {
            let inner = inner.upgrade()?;
            let limit = inner.timeout / 2;
            let asked = async move {
                match inner.send_once(Request::new(Method::Get, HEALTH), limit).await {
                    Err(Failure::Unreachable(reason)) => Err(reason),
                    _ => Ok(()),
                }
            };
            Some(asked.boxed())
        };
        self.inner.driver.spawn(probe(Arc::downgrade(&self.inner.breaker), ask));
    }

    /// Sends a request and waits for the answer.
    pub(super) fn call(&self, request: Request) -> Result<Value, Failure> {
        let mut answers = self.call_all(vec![request], 1);
        answers.pop().unwrap_or_else(|| Err(Failure::Unreachable("the client has stopped".to_owned())))
    }

    /// The same, for no longer than `limit`. What became of a request that took longer is not known.
    pub(super) fn call_within(&self, request: Request, limit: Duration) -> Result<Value, Failure> {
        let inner = Arc::clone(&self.inner);
        let sent = async move { tokio::time::timeout(limit, inner.send(request)).await };
        let answer = self.inner.driver.wait(sent).and_then(Result::ok);
        answer.unwrap_or_else(|| Err(Failure::Unreachable("no answer in time".to_owned())))
    }

    /// Sends requests, at most `at_once` of them at any time; answers come in the order of the requests.
    pub(super) fn call_all(&self, requests: Vec<Request>, at_once: usize) -> Vec<Result<Value, Failure>> {
        let inner = Arc::clone(&self.inner);
        let work = async move {
            let sent = requests.into_iter().map(move |request| {
                let inner = Arc::clone(&inner);
                async move { inner.send(request).await }
            });
            futures::stream::iter(sent).buffered(at_once).collect().await
        };
        self.inner.driver.wait(work).unwrap_or_default()
    }

    /// Sends a request whose answer nobody waits for; a failure is logged.
    pub(super) fn call_later(&self, what: &'static str, request: Request) {
        let inner = Arc::clone(&self.inner);
        self.inner.driver.spawn(async move {
            if let Err(error) = inner.send(request).await {
                tracing::warn!(%error, what, "a request to the search server failed");
            }
        });
    }
}

impl Inner {
    async fn send(&self, request: Request) -> Result<Value, Failure> {
        let trial = self.admit()?;
        let answered = self.send_once(request, self.timeout).await;
        match (trial, &answered) {
            (Some(trial), Err(Failure::Unreachable(reason))) => trial.failed(reason),
            (Some(trial), _) => trial.succeeded(),
            (None, Err(Failure::Unreachable(reason))) => self.breaker.failed(reason),
            (None, _) => self.breaker.succeeded(),
        }
        answered
    }

    /// Whether a request may be sent now, and whether it is the one that finds out if the server is back.
    fn admit(&self) -> Result<Option<Trial>, Failure> {
        if self.breaker.status().state != CircuitState::Closed
            && let Some(trial) = self.breaker.trial()
        {
            return Ok(Some(trial));
        }
        match self.breaker.check() {
            Ok(()) => Ok(None),
            Err(open) => Err(Failure::Unreachable(format!("not tried: {open}"))),
        }
    }

    async fn send_once(&self, request: Request, limit: Duration) -> Result<Value, Failure> {
        let unreachable = |e: elasticsearch::Error| Failure::Unreachable(innermost(&e));
        let method = match request.method {
            Method::Get => HttpMethod::Get,
            Method::Put => HttpMethod::Put,
            Method::Post => HttpMethod::Post,
            Method::Delete => HttpMethod::Delete,
        };
        let pairs = (!request.pairs.is_empty()).then_some(&request.pairs);
        let sent =
            self.transport.send(method, &request.path, HeaderMap::new(), pairs, request.body, Some(limit));
        let response = sent.await.map_err(unreachable)?;
        let status = response.status_code().as_u16();
        let bytes = response.bytes().await.map_err(unreachable)?;
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if status < 300 { Ok(answer) } else { Err(Failure::of(status, &answer)) }
    }
}

/// Takes user and password out of the address, so that no message shows them.
fn credentials(url: &mut Url) -> Option<elasticsearch::auth::Credentials> {
    let user = url.username().to_owned();
    let password = url.password().map(str::to_owned);
    if user.is_empty() {
        return None;
    }
    // Both fail only for addresses that have no host, which have no user either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Some(elasticsearch::auth::Credentials::Basic(user, password.unwrap_or_default()))
}

/// What is at the bottom of a client error: "connection refused" rather than "error sending request".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
