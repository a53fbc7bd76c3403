//! Liveness and readiness.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::App;

/// `GET /healthz`: the process answers.
pub(super) async fn live() -> Response {
    axum::Json(json!({"status": "ok"})).into_response()
}

/// `GET /readyz`: commands are taken and every projection is at work; else 503 with what is not.
pub(super) async fn ready(State(app): State<App>) -> Response {
    let mut failing = Vec::new();
    if *app.stopping.borrow() {
        failing.push(json!({"part": "server", "reason": "stopping"}));
    }
    if let Some(reason) = app.node.log_stopped() {
        failing.push(json!({"part": "event log", "reason": reason}));
    }
    // The log has said its own above.
    for (part, status) in app.node.circuits().into_iter().filter(|(part, _)| *part != "event_log") {
        if let Some(reason) = status.reason {
            failing.push(json!({"part": format!("{} server", part.replace('_', " ")), "reason": reason}));
        }
    }
    if let Some(reason) = app.node.relay_status().and_then(|status| status.reason) {
        failing.push(json!({"part": "relay", "reason": reason}));
    }
    for status in app.node.projection_statuses() {
        // A paused one gives no reason of its own; what reads it is as old as if it had failed.
        let paused = (status.state == "paused").then(|| "paused by an operator".to_owned());
        if let Some(reason) = status.reason.or(paused) {
            failing.push(json!({"part": format!("projection {}", status.name), "reason": reason}));
        }
    }
    let (code, word) = if failing.is_empty() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "degraded")
    };
    (code, axum::Json(json!({"status": word, "failing": failing}))).into_response()
}
