//! The command API: one uniform route, and NDJSON batches.

use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request as HttpRequest, State};
use axum::http::request::Parts as HttpParts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use daybook_aggregates::{Role, Roles};
use daybook_commands::{CommandError, IfMatch, Principal, Reply, Request};
use daybook_schemas::{ReservationId, body};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::App;
use super::auth::require;
use super::extract::{Path, read_body};
use super::lines::lines;
use super::peer::Peer;
use super::problem::Problem;
use crate::admission::Caller;

/// Of the route of [`command`].
pub(super) const ROUTE: &str = "/v1/commands/{aggregate}/{id}/{command}";
const PREFIX: &str = "/v1/commands/";

/// Batch lines that may be under way at once.
const BATCH_IN_FLIGHT: usize = 1_024;

/// `POST /v1/commands/{aggregate}/{id}/{command}`.
pub(super) async fn command(
    State(app): State<App>,
    Path((aggregate, id, command)): Path<(String, String, String)>,
    Peer(peer): Peer,
    request: HttpRequest,
) -> Result<Response, Problem> {
    carry_out(&app, [&aggregate, &id, &command], peer, request).await
}

/// The path of [`command`], if it is one that reads the same before and after decoding.
pub(super) fn plain_path(path: &str) -> Option<[&str; 3]> {
    let mut parts = path.strip_prefix(PREFIX)?.split('/');
    let found = [parts.next()?, parts.next()?, parts.next()?];
    let plain = |part: &&str| !part.is_empty() && !part.contains('%');
    (parts.next().is_none() && found.iter().all(plain)).then_some(found)
}

/// What [`command`] does, for whoever has taken the path apart.
pub(super) async fn carry_out(
    app: &App,
    [aggregate, id, command]: [&str; 3],
    peer: Option<IpAddr>,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let (HttpParts { headers, uri, .. }, body) = request.into_parts();
    let principal = app.authenticator.authenticate(&headers)?;
    if uri.query().is_some_and(|query| !query.is_empty()) {
        return Err(Problem::invalid("a command takes no parameters in its address: its data are the body"));
    }
    permit(app, &principal, aggregate, command)?;
    let body = read_body(body, app).await?;
    let caller = app.admission.caller(peer, &headers, app.authenticator.is_service(&principal));
    let admitted = app.admission.admit(caller, aggregate, id, command, &body)?;
    let mut request = Request::new(aggregate, id, command, body, principal);
    request.idempotency_key = idempotency_key(&headers)?;
    request.if_match = if_match(&headers)?;
    let mut response = match app.dispatcher.dispatch(request).await {
        Ok(reply) => reply_response(&reply),
        Err(error) => Problem::from(error).into_response(),
    };
    admitted.mark(response.headers_mut());
    Ok(response)
}

/// Which roles may send a command. Finer rules are the aggregates' own.
fn permit(app: &App, principal: &Principal, aggregate: &str, command: &str) -> Result<(), Problem> {
    // What buyers do themselves. That a payment came in, say, is not theirs to tell.
    if !matches!((aggregate, command), ("inventory", "reserve" | "release") | ("order", "place" | "cancel")) {
        app.authenticator.require_inside(principal)?;
    }
    let roles: &[Role] = match (aggregate, command) {
        ("variant" | "product" | "size" | "color" | "attribute_type" | "attribute_value" | "category", _) => {
            &[Role::Merchandiser, Role::Approver, Role::BrandOwner, Role::Operator]
        }
        ("inventory", "reserve" | "release") | ("order", "place" | "cancel") => {
            &[Role::Buyer, Role::Storefront, Role::Operator]
        }
        ("inventory", "confirm") | ("order", "pay" | "fail-payment" | "request-return") => {
            &[Role::Storefront, Role::Operator]
        }
        _ => &[Role::Operator],
    };
    if principal.roles == Roles::ALL {
        return Ok(());
    }
    require(principal, roles)
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    match value.to_str() {
        Ok(key) if !key.is_empty() && key.len() <= 255 && values.next().is_none() => Ok(Some(key.to_owned())),
        _ => Err(Problem::invalid("Idempotency-Key is 1 to 255 visible ASCII characters, given once")),
    }
}

/// `If-Match` (RFC 9110, 13.1.1). It compares strongly, so that a weak tag could match nothing: like all else that is no revision
/// it is refused, rather than taken for a revision that has passed.
fn if_match(headers: &HeaderMap) -> Result<Option<IfMatch>, Problem> {
    let invalid =
        || Problem::invalid("If-Match is revisions in quotes, such as \"7\" or \"7\", \"8\", or a lone *");
    let mut values = headers.get_all(header::IF_MATCH).iter().peekable();
    if values.peek().is_none() {
        return Ok(None);
    }
    let mut tags = Vec::new();
    for value in values {
        tags.extend(value.to_str().map_err(|_| invalid())?.split(',').map(str::trim));
    }
    if tags == ["*"] {
        return Ok(Some(IfMatch::Exists));
    }
    let revision = |tag: &str| {
        let digits = tag.strip_prefix('"')?.strip_suffix('"')?;
        // The parser alone would take a sign.
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let revisions = tags.into_iter().map(revision).collect::<Option<_>>();
    Ok(Some(IfMatch::OneOf(revisions.ok_or_else(invalid)?)))
}

#[derive(Serialize)]
struct ReplyBody<'a> {
    stream: &'a str,
    revision: u64,
    position: String,
    events: Vec<ReplyEventBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reservation_id: Option<&'a str>,
}

#[derive(Serialize)]
struct ReplyEventBody<'a> {
    r#type: &'a str,
    version: u16,
    data: &'a RawValue,
}

fn reply_body(reply: &Reply) -> ReplyBody<'_> {
    ReplyBody {
        stream: reply.stream.as_str(),
        revision: reply.revision,
        position: reply.position.to_string(),
        events: reply
            .events
            .iter()
            .map(|event| ReplyEventBody {
                r#type: event.event_type,
                version: event.version,
                data: serde_json::from_slice(&event.data).expect("events are stored as JSON"),
            })
            .collect(),
        reservation_id: reply.reservation.as_ref().map(ReservationId::as_str),
    }
}

/// [`reply_body`] as JSON, put together without reading the events' data again.
fn reply_text(reply: &Reply) -> Vec<u8> {
    let data: usize = reply.events.iter().map(|event| event.data.len() + 64).sum();
    let mut text = Vec::with_capacity(data + 160);
    text.extend_from_slice(b"{\"stream\":");
    serde_json::to_writer(&mut text, reply.stream.as_str()).expect("a Vec takes every write");
    // Wire names are of letters, digits and marks that JSON takes as they are.
    let mut write = |parts: &[&[u8]]| parts.iter().for_each(|part| text.extend_from_slice(part));
    let mut digits = itoa::Buffer::new();
    write(&[b",\"revision\":", digits.format(reply.revision).as_bytes()]);
    write(&[b",\"position\":\"", digits.format(reply.position).as_bytes(), b"\",\"events\":["]);
    for (number, event) in reply.events.iter().enumerate() {
        let comma: &[u8] = if number > 0 { b"," } else { b"" };
        write(&[comma, b"{\"type\":\"", event.event_type.as_bytes(), b"\",\"version\":"]);
        write(&[digits.format(event.version).as_bytes(), b",\"data\":", &event.data, b"}"]);
    }
    write(&[b"]"]);
    if let Some(id) = &reply.reservation {
        // Ids are of letters, digits and marks that JSON takes as they are.
        write(&[b",\"reservation_id\":\"", id.as_str().as_bytes(), b"\""]);
    }
    write(&[b"}"]);
    text
}

fn status_of(reply: &Reply) -> StatusCode {
    if reply.created { StatusCode::CREATED } else { StatusCode::OK }
}

fn reply_response(reply: &Reply) -> Response {
    let mut response = Response::new(Body::from(reply_text(reply)));
    *response.status_mut() = status_of(reply);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let revision = [b"\"", itoa::Buffer::new().format(reply.revision).as_bytes(), b"\""].concat();
    let etag = HeaderValue::from_maybe_shared(Bytes::from(revision)).expect("digits in quotes");
    headers.insert(header::ETAG, etag);
    response
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    aggregate: String,
    id: String,
    command: String,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    key: Option<String>,
}

/// `POST /v1/commands`: commands are taken in the order of the lines and answered in that order.
pub(super) async fn batch(
    State(app): State<App>,
    Peer(peer): Peer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let principal = app.authenticator.authenticate(&headers)?;
    let caller = app.admission.caller(peer, &headers, app.authenticator.is_service(&principal));
    let limits = app.config.limits;
    let patience = Duration::from_millis(limits.body_timeout_ms);
    let results = lines(body, limits.body_bytes, patience, app.stopping.clone())
        .enumerate()
        .map(move |(index, line)| {
            // Dispatched here, when the line is taken from the stream, so that the order of lines is the order of commands.
            let pending = line.and_then(|line| dispatch_line(&app, &principal, caller, &line));
            async move {
                let outcome = match pending {
                    Ok(reply) => reply.await.map_err(Problem::from),
                    Err(problem) => Err(problem),
                };
                Ok::<_, Infallible>(Bytes::from(result_line(index + 1, outcome)))
            }
        })
        .buffered(BATCH_IN_FLIGHT);
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(results)).into_response())
}

fn dispatch_line(
    app: &App,
    principal: &Principal,
    caller: Caller,
    line: &[u8],
) -> Result<impl Future<Output = Result<Reply, CommandError>> + Send + use<>, Problem> {
    let line: Line<'_> = body::from_slice(line)
        .map_err(|e| Problem::invalid(format!("a line is {{aggregate, id, command, data, key?}}: {e}")))?;
    permit(app, principal, &line.aggregate, &line.command)?;
    let body = line.data.map_or_else(Bytes::new, |data| Bytes::copy_from_slice(data.get().as_bytes()));
    if line.key.as_ref().is_some_and(|key| key.is_empty() || key.len() > 255) {
        return Err(Problem::invalid("key is 1 to 255 characters"));
    }
    app.admission.admit(caller, &line.aggregate, &line.id, &line.command, &body)?;
    let mut request = Request::new(line.aggregate, line.id, line.command, body, principal.clone());
    request.idempotency_key = line.key;
    Ok(app.dispatcher.dispatch(request))
}

fn result_line(line: usize, outcome: Result<Reply, Problem>) -> Vec<u8> {
    let mut document = match &outcome {
        Ok(reply) => serde_json::to_value(reply_body(reply)).expect("plain data serializes"),
        Err(problem) => {
            let mut document = problem.to_value();
            // A line has no header fields.
            if let Some(seconds) = problem.retry_after {
                document["retry_after"] = seconds.into();
            }
            document
        }
    };
    document["line"] = line.into();
    document["status"] =
        outcome.map_or_else(|problem| problem.status, |reply| status_of(&reply)).as_u16().into();
    let mut bytes = serde_json::to_vec(&document).expect("plain data serializes");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use daybook_commands::ReplyEvent;
    use daybook_eventlog::StreamId;

    use super::*;

    #[test]
    fn a_reply_is_written_as_it_would_be_serialized() {
        for count in 0..3_u16 {
            let event = |n: u16| ReplyEvent {
                event_type: "inventory.reserved",
                version: n + 1,
                data: Bytes::from(format!(r#"{{"quantity":{n},"name":"\"é\\"}}"#)),
            };
            let reply = Reply {
                stream: StreamId::new("inventory-A.b_c~d-\"\\1").unwrap(),
                revision: u64::from(count) * 1_000_003,
                position: u64::MAX,
                events: (0..count).map(event).collect(),
                reservation: (count == 0).then(|| ReservationId::new("r.1_~-A").unwrap()),
                created: false,
                replayed: false,
            };
            let serialized = serde_json::to_string(&reply_body(&reply)).unwrap();
            assert_eq!(String::from_utf8(reply_text(&reply)).unwrap(), serialized);
        }
    }

    #[test]
    fn revisions_to_match_are_read_strictly() {
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            values.iter().for_each(|value| {
                headers.append(header::IF_MATCH, HeaderValue::from_str(value).unwrap());
            });
            if_match(&headers).map_err(|problem| problem.code)
        };
        let one_of = |revisions: &[u64]| Ok(Some(IfMatch::OneOf(revisions.iter().copied().collect())));
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["*"]), Ok(Some(IfMatch::Exists)));
        assert_eq!(read(&["\"7\""]), one_of(&[7]));
        assert_eq!(read(&[" \"12\",\"1\" ", "\"3\""]), one_of(&[12, 1, 3]));
        for bad in ["", "7", "W/\"7\"", "\"+7\"", "\"\"", "\"7", "\"7\",", "*, \"7\"", "\"seven\""] {
            assert_eq!(read(&[bad]), Err("invalid_request"), "{bad}");
        }
    }

    #[test]
    fn only_a_path_that_needs_no_decoding_is_taken_apart_here() {
        assert_eq!(plain_path("/v1/commands/inventory/a~b/reserve"), Some(["inventory", "a~b", "reserve"]));
        let others = [
            "/v1/commands",
            "/v1/commands/a/b",
            "/v1/commands/a/b/c/d",
            "/v1/commands/a//c",
            "/v1/commands/a/%62/c",
            "/v1/commands/a/b/",
        ];
        assert!(others.into_iter().all(|path| plain_path(path).is_none()));
    }
}
