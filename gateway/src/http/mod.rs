//! The HTTP edge. Handlers extract, make a command or query, execute, and map the reply; rules live elsewhere.

mod accept;
mod assets;
mod auth;
mod commands;
mod copies;
pub mod events;
mod extract;
mod health;
mod lines;
mod metrics;
mod openapi;
mod operations;
mod params;
mod patient;
mod peer;
pub mod problem;
mod queries;
mod server;
mod trace;

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use daybook_commands::Dispatcher;
use daybook_eventlog::EventLog;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::admission::Admission;
use crate::admission::ticks::Ticks;
use crate::config::Config;
use crate::node::Node;
use auth::Authenticator;
use metrics::Metrics;
use problem::Problem;

/// How long requests under way may take once the server stops.
const DRAIN: Duration = Duration::from_secs(20);

/// What every handler can reach.
#[derive(Clone)]
pub struct App(Arc<Inner>);

pub struct Inner {
    config: Config,
    authenticator: Authenticator,
    admission: Admission,
    node: Arc<Node>,
    log: Arc<dyn EventLog>,
    dispatcher: Dispatcher,
    metrics: Metrics,
    openapi: Bytes,
    /// Turns true when the server stops, for answers that would not end by themselves.
    stopping: watch::Receiver<bool>,
}

impl Deref for App {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl App {
    /// Ends when the server stops.
    async fn stops(&self) {
        let mut stopping = self.stopping.clone();
        // An error means that the sender is gone, which is a reason to stop as well.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }
}

/// Serves until `stop` turns true, then finishes what is under way.
pub async fn serve(listener: TcpListener, config: Config, node: Arc<Node>, stop: watch::Receiver<bool>) {
    let app = App(Arc::new(Inner {
        authenticator: Authenticator::new(&config),
        admission: Admission::new(&config.admission, &Ticks::default()),
        log: Arc::clone(node.log()),
        dispatcher: node.dispatcher().clone(),
        metrics: Metrics::new(),
        openapi: Bytes::from(serde_json::to_vec(&openapi::build()).expect("a JSON value serializes")),
        stopping: stop.clone(),
        config,
        node,
    }));
    let mut drain = stop.clone();
    let limits = app.config.limits;
    tokio::select! {
        () = server::run(listener, Edge { router: router(app.clone()), app }, limits, stop) => {}
        () = async { let _ = drain.wait_for(|stop| *stop).await; tokio::time::sleep(DRAIN).await } => {
            tracing::warn!("connections were still open {} s after the stop; closing them", DRAIN.as_secs());
        }
    }
}

/// The router, and a way around it for the route that a flash sale comes by: what is matched, boxed and cloned on the way
/// through a router's layers would cost as much there as the command itself.
#[derive(Clone)]
struct Edge {
    router: Router,
    app: App,
}

impl server::Handler for Edge {
    async fn handle(self, peer: SocketAddr, request: Request) -> Response {
        let uri = request.uri().clone();
        match commands::plain_path(uri.path()) {
            Some(parts) if request.method() == Method::POST => {
                let start = Instant::now();
                let id = trace::from_headers(request.headers());
                let answer = commands::carry_out(&self.app, parts, Some(peer.ip()), request);
                let response = trace::scope(id, answer).await.into_response();
                self.app.metrics.count(commands::ROUTE.into(), response.status().as_u16(), start.elapsed());
                response
            }
            _ => self.router.handle(peer, request).await,
        }
    }
}

fn router(app: App) -> Router {
    Router::new()
        .route(commands::ROUTE, post(commands::command))
        .route("/v1/commands", post(commands::batch))
        .route("/v1/variants/{id}", get(queries::catalogue::variant))
        .route("/v1/variants/{id}/price", get(queries::catalogue::price))
        .route("/v1/variants/{id}/prices", get(queries::catalogue::prices))
        .route("/v1/variants", get(queries::catalogue::variants))
        .route("/v1/search", get(queries::catalogue::search))
        .route("/v1/inventory/{variant_id}", get(queries::catalogue::inventory))
        .route("/v1/orders/{id}", get(queries::orders::order))
        .route("/v1/orders", get(queries::orders::list))
        .route("/v1/analytics/sales", get(queries::analytics::sales))
        .route("/v1/analytics/products/{variant_id}", get(queries::analytics::product))
        .route("/v1/analytics/customers/{id}", get(queries::analytics::customer))
        .route("/v1/audit", get(queries::orders::audit))
        .route("/v1/streams/{stream}", get(events::stream))
        .route("/v1/events", get(events::events))
        .merge(queries::masters::routes())
        .merge(operations::routes())
        .merge(copies::routes())
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::scrape))
        .route("/openapi.json", get(openapi::document))
        .route("/docs", get(assets::docs))
        .route("/console", get(assets::console))
        .route("/assets/{file}", get(assets::asset))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(trace::layer))
        .layer(from_fn_with_state(app.clone(), metrics::layer))
        .with_state(app)
}

async fn unknown_route(request: Request) -> Response {
    Problem::not_found(format!("there is no route {}; see /docs", request.uri().path())).into_response()
}

async fn wrong_method(request: Request) -> Response {
    Problem::new(
        axum::http::StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("{} does not take {}; see /docs", request.uri().path(), request.method()),
    )
    .into_response()
}
