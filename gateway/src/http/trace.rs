//! A trace id for every request: the client's W3C `traceparent` if it sent one, else a fresh one.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;

tokio::task_local! {
    static CURRENT: RefCell<Option<String>>;
}

static NEXT: AtomicU64 = AtomicU64::new(1);

/// The id of the request being served, 32 hexadecimal digits. Made only when asked for: most requests never need one.
#[must_use]
pub(super) fn current_id() -> String {
    CURRENT.try_with(|id| id.borrow_mut().get_or_insert_with(fresh).clone()).unwrap_or_else(|_| fresh())
}

fn fresh() -> String {
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{:016x}{count:016x}", process_salt())
}

/// Tells apart the ids of two processes.
fn process_salt() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    use std::sync::OnceLock;
    static SALT: OnceLock<u64> = OnceLock::new();
    *SALT.get_or_init(|| RandomState::new().hash_one(std::process::id()) | 1)
}

pub(super) fn from_headers(headers: &HeaderMap) -> Option<String> {
    let parent = headers.get("traceparent")?.to_str().ok()?;
    let id = parent.split('-').nth(1)?;
    (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| id.to_ascii_lowercase())
}

/// Makes the id available to everything below; a fresh one if there is none.
pub(super) async fn scope<T>(id: Option<String>, work: impl Future<Output = T>) -> T {
    CURRENT.scope(RefCell::new(id), work).await
}

/// Middleware: makes the id available to everything below.
pub(super) async fn layer(request: Request, next: Next) -> Response {
    let id = from_headers(request.headers());
    scope(id, next.run(request)).await
}
