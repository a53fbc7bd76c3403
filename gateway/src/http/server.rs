//! Connections: accepted, bounded while a request comes in, drained when the server stops.
//!
//! Until its head is read, a request can cost no more than one connection with a buffer of [`BUFFER_BYTES`] for
//! `limits.header_timeout_ms`; a connection that stays silent between requests is closed after the same time. A head over the
//! limits is refused with a problem. A client that takes no byte of its answer for `limits.write_timeout_ms` is given up. What is no HTTP at all, or has a head over the buffer, gets the bare status that the
//! protocol library sends, and the connection is closed.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::{FutureExt, StreamExt};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tower::Service;

use super::patient::{Patient, Progress};
use super::problem::Problem;
use crate::config::Limits;

/// Bytes of one connection that are read ahead; also the most that a head may have before it is looked at.
const BUFFER_BYTES: usize = 128 << 10;
/// Longest path and query.
const MAX_TARGET_BYTES: usize = 16 << 10;
/// After this the listener tries again when the system has no room for a connection.
const NO_ROOM: Duration = Duration::from_millis(200);

/// What answers requests.
pub(super) trait Handler: Clone + Send + 'static {
    fn handle(self, peer: SocketAddr, request: Request<Body>) -> impl Future<Output = Response> + Send;
}

impl Handler for Router {
    async fn handle(mut self, peer: SocketAddr, mut request: Request<Body>) -> Response {
        request.extensions_mut().insert(ConnectInfo(peer));
        match self.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// Serves until `stop` turns true or its sender is gone, then until the requests under way are answered.
pub(super) async fn run(
    listener: TcpListener,
    handler: impl Handler,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    // Every connection holds a sender; when the last is gone, the receiver knows.
    let (open, mut all_closed) = mpsc::channel::<Infallible>(1);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = accept(&listener) => accepted,
            () = stopped(&mut stop) => break,
        };
        let (handler, stop, open) = (handler.clone(), stop.clone(), open.clone());
        tokio::spawn(async move {
            connection(stream, peer, handler, limits, stop).await;
            drop(open);
        });
    }
    drop(listener);
    drop(open);
    all_closed.recv().await;
}

/// Ends when the server stops. An error means that the sender is gone, which is a reason to stop as well.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // The client was gone before it was taken.
            Err(error) if is_clients_fault(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(NO_ROOM).await;
            }
        }
    }
}

fn is_clients_fault(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    handler: impl Handler,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    // Small replies must not wait for a full packet.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let progress = Arc::new(Progress::default());
    let patience = Duration::from_millis(limits.write_timeout_ms);
    let stream = Patient::new(stream, patience, stop.clone(), Arc::clone(&progress));
    let seen = Arc::clone(&progress);
    let service = service_fn(move |request| {
        let (seen, handler) = (Arc::clone(&seen), handler.clone());
        seen.set_answering(true);
        async move {
            let answered = answer(handler, limits.head_bytes, peer, request).await;
            Ok::<_, Infallible>(until_sent(answered, &seen))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.header_timeout_ms))
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            match futures::poll!(connection.as_mut()) {
                Poll::Ready(served) => served,
                // A head that has begun is not waited for: nothing of the request was taken.
                Poll::Pending if progress.is_idle() => return,
                Poll::Pending => connection.await,
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, %peer, "a connection ended early");
    }
}

async fn answer(
    handler: impl Handler,
    head_bytes: usize,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Response {
    if let Err(problem) = check_head(&request, head_bytes) {
        return problem.into_response();
    }
    let request = request.map(Body::new);
    // A panic is a bug, but one request's: the client gets an answer, and other requests of the connection go on.
    match AssertUnwindSafe(handler.handle(peer, request)).catch_unwind().await {
        Ok(answered) => answered,
        Err(_) => {
            Problem::internal("a handler panicked; the message stands before this line").into_response()
        }
    }
}

/// Notes when the answer is all handed over: one of known length is with its head, others are when they end.
fn until_sent(answer: Response, progress: &Arc<Progress>) -> Response {
    let sending = Sending(Arc::clone(progress));
    if answer.body().size_hint().exact().is_some() {
        drop(sending);
        return answer;
    }
    answer.map(|body| {
        let mut body = body.into_data_stream();
        let pieces = futures::stream::poll_fn(move |context| {
            let _until = &sending;
            body.poll_next_unpin(context)
        });
        Body::from_stream(pieces)
    })
}

/// An answer under way, until dropped.
struct Sending(Arc<Progress>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.set_answering(false);
    }
}

/// Refuses a head that is larger than any honest client's.
fn check_head<B>(request: &Request<B>, head_bytes: usize) -> Result<(), Problem> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > MAX_TARGET_BYTES {
        let detail = format!("path and query are at most {MAX_TARGET_BYTES} bytes");
        return Err(Problem::new(StatusCode::URI_TOO_LONG, "uri_too_long", detail));
    }
    let fields: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if fields > head_bytes {
        let detail = format!("header fields are at most {head_bytes} bytes together");
        return Err(Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;

    use super::*;

    struct Running {
        address: SocketAddr,
        /// Tells that `/late` is under way, and lets it end.
        entered: Arc<Notify>,
        release: Arc<Notify>,
        stop: watch::Sender<bool>,
        done: tokio::task::JoinHandle<()>,
    }

    async fn start(header_timeout_ms: u64) -> Running {
        let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (entering, released) = (Arc::clone(&entered), Arc::clone(&release));
        let late = move || async move {
            entering.notify_one();
            released.notified().await;
        };
        let router = Router::new()
            .route("/", get(|| async { "fine" }))
            .route("/panic", get(|| async { std::panic::resume_unwind(Box::new("on purpose")) as &str }))
            .route("/late", get(late));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits = Limits { header_timeout_ms, head_bytes: 4_096, ..Limits::default() };
        let (stop, stopped) = watch::channel(false);
        Running {
            address,
            entered,
            release,
            stop,
            done: tokio::spawn(run(listener, router, limits, stopped)),
        }
    }

    /// Sends bytes, closes nothing, and gives all that comes until the server closes.
    async fn until_closed(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn a_head_that_does_not_come_to_its_end_closes_the_connection() {
        let running = start(50).await;
        assert_eq!(until_closed(running.address, "GET / HTTP/1.1\r\nhost: x\r\nslow: ").await, "");
        assert_eq!(until_closed(running.address, "").await, "");
        // An answered client that stays silent is not kept either.
        let answer = until_closed(running.address, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("fine"), "{answer}");
    }

    #[tokio::test]
    async fn oversized_heads_and_panics_are_problems() {
        let running = start(10_000).await;
        let get = |target: &str, field: usize| {
            let padding = "y".repeat(field);
            format!("GET {target} HTTP/1.1\r\nhost: x\r\nx-padding: {padding}\r\nconnection: close\r\n\r\n")
        };
        let long = format!("/?q={}", "z".repeat(MAX_TARGET_BYTES));
        for (request, status, code) in [
            (get("/", 5_000), "431", "headers_too_large"),
            (get(&long, 1), "414", "uri_too_long"),
            (get("/panic", 1), "500", "internal"),
        ] {
            let answer = until_closed(running.address, &request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
            assert!(
                answer.contains("application/problem+json") && answer.contains(&format!("\"{code}\"")),
                "{answer}"
            );
        }
        for nonsense in ["nonsense\r\n\r\n".to_owned(), get("/", 2 * BUFFER_BYTES)] {
            let answer = until_closed(running.address, &nonsense).await;
            assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_stop_lets_requests_under_way_end() {
        let running = start(10_000).await;
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(b"GET /late HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        running.entered.notified().await;
        running.stop.send(true).unwrap();
        running.release.notify_one();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        running.done.await.unwrap();
        assert!(TcpStream::connect(running.address).await.is_err());
    }
}
