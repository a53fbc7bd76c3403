//! Documentation and console: a few files inside the binary, nothing from elsewhere.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::extract::Path;
use super::problem::Problem;

/// Everything comes from this server: no inline script or style, no frame around it, no form sent anywhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Name, media type and content.
type Asset = (&'static str, &'static str, &'static str);

const ASSETS: &[Asset] = &[
    ("style.css", CSS, include_str!("../../web/style.css")),
    ("icon.svg", SVG, include_str!("../../web/icon.svg")),
    ("dom.js", SCRIPT, include_str!("../../web/dom.js")),
    ("docs.js", SCRIPT, include_str!("../../web/docs.js")),
    ("console.js", SCRIPT, include_str!("../../web/console.js")),
    ("catalogue.js", SCRIPT, include_str!("../../web/catalogue.js")),
    ("orders.js", SCRIPT, include_str!("../../web/orders.js")),
    ("analytics.js", SCRIPT, include_str!("../../web/analytics.js")),
    ("operations.js", SCRIPT, include_str!("../../web/operations.js")),
];

/// `GET /docs`.
pub(super) async fn docs() -> Response {
    file(HTML, include_str!("../../web/docs.html"))
}

/// `GET /console`.
pub(super) async fn console() -> Response {
    file(HTML, include_str!("../../web/console.html"))
}

/// `GET /assets/{file}`.
pub(super) async fn asset(Path(name): Path<String>) -> Result<Response, Problem> {
    let found = ASSETS.iter().find(|(known, _, _)| *known == name);
    let (_, kind, content) = found.ok_or_else(|| Problem::not_found(format!("there is no asset {name}")))?;
    Ok(file(kind, content))
}

fn file(kind: &'static str, content: &'static str) -> Response {
    let named = |name: &'static str| HeaderName::from_static(name);
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (named("cross-origin-opener-policy"), "same-origin"),
        (named("cross-origin-resource-policy"), "same-origin"),
        // The files belong to the version that answers; a newer binary must not meet older ones.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers.map(|(name, value)| (name, HeaderValue::from_static(value))), content).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a page loads or a module imports is served, and there is nothing else.
    #[test]
    fn every_file_is_used_and_every_reference_is_served() {
        let pages = [include_str!("../../web/docs.html"), include_str!("../../web/console.html")];
        let texts = || pages.into_iter().chain(ASSETS.iter().map(|(_, _, content)| *content));
        let mut used: Vec<&str> = Vec::new();
        for text in texts() {
            for marker in ["\"/assets/", "from \"./"] {
                used.extend(text.split(marker).skip(1).filter_map(|rest| rest.split('"').next()));
            }
        }
        for name in &used {
            assert!(ASSETS.iter().any(|(known, _, _)| known == name), "{name} is not served");
        }
        for (name, _, _) in ASSETS {
            assert!(used.contains(name), "nothing uses {name}");
        }
    }
}
