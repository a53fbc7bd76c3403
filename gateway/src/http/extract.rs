//! What handlers take from a request. Every refusal is a problem with a code, never the framework's plain text.

use std::task::Poll;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use daybook_aggregates::Role;
use daybook_eventlog::Position;
use daybook_schemas::body;
use hyper::body::Body as _;
use serde::de::DeserializeOwned;

use super::App;
use super::auth::require;
use super::params::Params;
use super::problem::Problem;

/// The caller is known.
struct Known;

impl FromRequestParts<App> for Known {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        app.authenticator.authenticate(&parts.headers).map(|_| Self)
    }
}

/// The caller is an operator.
pub(super) struct Operator;

impl FromRequestParts<App> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        require(&app.authenticator.authenticate(&parts.headers)?, &[Role::Operator]).map(|()| Self)
    }
}

/// What every query has: a known caller, decoded parameters, and the position that the answer must not be behind (0: any).
pub(super) struct Query {
    pub(super) params: Params,
    pub(super) min_position: Position,
}

impl FromRequestParts<App> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        Known::from_request_parts(parts, app).await?;
        Self::of(parts)
    }
}

impl Query {
    fn of(parts: &Parts) -> Result<Self, Problem> {
        let mut params = Params::parse(parts.uri.query())?;
        let min_position = params.number("min_position")?.unwrap_or(0);
        Ok(Self { params, min_position })
    }
}

/// A [`Query`] of what is not for buyers: of orders, customers, figures, the log. A key that is in their hands does not open it.
pub(super) struct Inside(pub(super) Query);

impl FromRequestParts<App> for Inside {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let principal = app.authenticator.authenticate(&parts.headers)?;
        app.authenticator.require_inside(&principal)?;
        Query::of(parts).map(Self)
    }
}

/// The parts of the path that a route names.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        axum::extract::Path::from_request_parts(parts, app)
            .await
            .map(|axum::extract::Path(value)| Self(value))
            .map_err(|rejection: PathRejection| Problem::invalid(rejection.body_text()))
    }
}

/// The body as JSON; an empty one is `None`.
pub(super) struct JsonBody<T>(pub(super) Option<T>);

impl<T: DeserializeOwned> FromRequest<App> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let bytes = read_body(request.into_body(), app).await?;
        if bytes.is_empty() {
            return Ok(Self(None));
        }
        body::from_slice(&bytes)
            .map(|value| Self(Some(value)))
            .map_err(|e| Problem::invalid(format!("the body does not fit: {e}")))
    }
}

/// Reads a body within the limits of size and time. One that is declared too large is refused before it is read; one that is not
/// there when the server stops is not waited for.
pub(super) async fn read_body(body: Body, app: &App) -> Result<Bytes, Problem> {
    let limits = &app.config.limits;
    if usize::try_from(body.size_hint().lower()).ok().is_none_or(|declared| declared > limits.body_bytes) {
        return Err(too_large(limits.body_bytes));
    }
    // Most bodies came with the head: those set no timer.
    let mut read = std::pin::pin!(axum::body::to_bytes(body, limits.body_bytes));
    let outcome = match futures::poll!(&mut read) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => {
            let limit = Duration::from_millis(limits.body_timeout_ms);
            tokio::select! {
                biased;
                outcome = tokio::time::timeout(limit, read) => outcome.map_err(|_| too_slow(limit))?,
                () = app.stops() => return Err(server_stops()),
            }
        }
    };
    outcome.map_err(|error| {
        let over = std::error::Error::source(&error)
            .is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
        if over { too_large(limits.body_bytes) } else { Problem::invalid("the request body broke off") }
    })
}

fn too_large(limit: usize) -> Problem {
    let detail = format!("a request body is at most {limit} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", detail)
}

/// What the server does not begin any more, or does not wait for, because it stops.
pub(super) fn server_stops() -> Problem {
    Problem::unavailable("unavailable", "the server is stopping; send this, and what follows it, again", 1)
}

pub(super) fn too_slow(limit: Duration) -> Problem {
    let detail = format!("the request body did not come within {} ms", limit.as_millis());
    Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail)
}
