//! Documentation and console: a few files inside the binary, nothing from elsewhere.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};

use super::problem::Problem;

/// `GET /docs`.
pub async fn docs() -> Html<&'static str> {
    Html(include_str!("../../web/docs.html"))
}

/// `GET /console`.
pub async fn console() -> Html<&'static str> {
    Html(include_str!("../../web/console.html"))
}

/// `GET /assets/{file}`.
pub async fn asset(Path(file): Path<String>) -> Response {
    let (kind, body) = match file.as_str() {
        "style.css" => ("text/css", include_str!("../../web/style.css")),
        "docs.js" => ("text/javascript", include_str!("../../web/docs.js")),
        "console.js" => ("text/javascript", include_str!("../../web/console.js")),
        _ => return Problem::new(StatusCode::NOT_FOUND, "not_found", "no such file").into_response(),
    };
    ([("content-type", kind)], body).into_response()
}
