//! The one place that turns errors into HTTP: a stable code, a status, and `application/problem+json` (RFC 9457).

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use daybook_aggregates::{Kind, Refusal, RefusalItem};
use daybook_commands::{CommandError, ErrorKind};
use daybook_eventlog::Position;
use serde::Serialize;

use crate::admission;

/// How current the answer of a query is.
pub(super) const POSITION: HeaderName = HeaderName::from_static("daybook-position");

/// An error as a client sees it. Bodies of 5xx carry fixed text; what happened is in the log under the trace id.
#[derive(Debug, Clone)]
pub struct Problem {
    pub status: StatusCode,
    pub code: &'static str,
    pub detail: String,
    pub errors: Vec<RefusalItem>,
    /// Seconds after which a retry makes sense.
    pub retry_after: Option<u32>,
    /// The limit that refused the request.
    pub limited: Option<Box<admission::Refused>>,
    /// Of a query that found nothing: how current the answer is.
    pub position: Option<Position>,
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    trace_id: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [RefusalItem],
}

impl Problem {
    /// A problem with a status, a stable code and a sentence that says what to do.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            limited: None,
            position: None,
        }
    }

    /// 400 `invalid_request`.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", detail)
    }

    /// 404 `not_found`.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// The same, as the answer of a query that is current to a log position.
    #[must_use]
    pub const fn at(mut self, position: Position) -> Self {
        self.position = Some(position);
        self
    }

    /// 500 `internal`: logged here, once; the client gets fixed text.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        tracing::error!(error = %error, "a request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "something went wrong on the server; quote the trace id",
        )
    }

    /// 503 with a hint when to come back.
    pub fn unavailable(code: &'static str, detail: impl Into<String>, retry_after: u32) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail) }
    }

    /// The document as one JSON value, for answers that carry several.
    pub fn to_value(&self) -> serde_json::Value {
        serde_json::to_value(self.document()).expect("plain data serializes")
    }

    fn document(&self) -> Document<'_> {
        Document {
            r#type: format!("https://daybook.dev/problems/{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            trace_id: super::trace::current_id(),
            errors: &self.errors,
        }
    }
}

/// The status of each kind of refusal.
const fn status_of(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Unprocessable => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::Locked => StatusCode::LOCKED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self { errors: refusal.errors, ..Self::new(status_of(refusal.kind), refusal.code, refusal.detail) }
    }
}

impl From<admission::Refused> for Problem {
    fn from(refused: admission::Refused) -> Self {
        Self {
            retry_after: Some(refused.retry_after()),
            limited: Some(Box::new(refused)),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", refused.detail())
        }
    }
}

impl From<admission::NotAdmitted> for Problem {
    fn from(reason: admission::NotAdmitted) -> Self {
        match reason {
            admission::NotAdmitted::Limited(refused) => refused.into(),
            admission::NotAdmitted::Unreadable(error) => Self::invalid(error.to_string()),
        }
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        if let Some(detail) = error.internal_detail() {
            tracing::error!(code = error.code(), detail, "a command failed");
        }
        let (code, detail) = (error.code(), error.to_string());
        match error {
            CommandError::Refused(refusal) => Self::from(*refusal),
            other => match other.kind() {
                ErrorKind::Stale => Self::new(StatusCode::PRECONDITION_FAILED, code, detail),
                ErrorKind::Invalid => Self::new(StatusCode::BAD_REQUEST, code, detail),
                ErrorKind::Unknown => Self::new(StatusCode::NOT_FOUND, code, detail),
                ErrorKind::Mismatch => Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail),
                ErrorKind::Conflict => Self::new(StatusCode::CONFLICT, code, detail),
                ErrorKind::Unavailable => Self::unavailable(code, detail, 1),
                ErrorKind::Refused(kind) => Self::new(status_of(kind), code, detail),
                ErrorKind::Internal => Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    code,
                    "something went wrong on the server; quote the trace id",
                ),
            },
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let body = serde_json::to_vec(&self.document()).expect("plain data serializes");
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(position) = self.position {
            headers.insert(POSITION, HeaderValue::from(position));
        }
        if let Some(refused) = self.limited {
            refused.mark(headers);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
