//! Prometheus metrics: requests by route and status, their latency, the dispatcher's counters, projection lag.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use daybook_eventlog::CircuitState;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::App;
use super::accept::wants_openmetrics;
use super::problem::Problem;

/// Upper bounds of the latency buckets, seconds.
const BUCKETS: [f64; 12] = [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteStatus {
    route: Cow<'static, str>,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: Cow<'static, str>,
}

/// What is counted while requests are served.
#[derive(Debug)]
pub(super) struct Metrics {
    requests: Family<RouteStatus, Counter>,
    latency: Family<Route, Histogram, fn() -> Histogram>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        Self {
            requests: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
        }
    }

    /// Counts and times one request.
    pub(super) fn count(&self, route: Cow<'static, str>, status: u16, took: Duration) {
        let route = Route { route };
        self.latency.get_or_create(&route).observe(took.as_secs_f64());
        self.requests.get_or_create(&RouteStatus { route: route.route, status }).inc();
    }
}

/// Middleware: counts and times every request.
pub(super) async fn layer(State(app): State<App>, request: Request, next: Next) -> Response {
    let route = match request.extensions().get::<MatchedPath>() {
        Some(path) => Cow::Owned(path.as_str().to_owned()),
        None => Cow::Borrowed("none"),
    };
    let start = Instant::now();
    let response = next.run(request).await;
    app.metrics.count(route, response.status().as_u16(), start.elapsed());
    response
}

/// `GET /metrics`: as plain text, or as `OpenMetrics` for who asks for that.
pub(super) async fn scrape(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    let mut registry = Registry::with_prefix("daybook");
    registry.register("http_requests", "Requests served", app.metrics.requests.clone());
    registry.register("http_request_duration_seconds", "Time to answer", app.metrics.latency.clone());
    register_dispatcher(&mut registry, &app);
    register_admission(&mut registry, &app);
    register_projections(&mut registry, &app);
    register_circuits(&mut registry, &app);
    let mut text = String::new();
    encode(&mut text, &registry).map_err(Problem::internal)?;
    let kind = if wants_openmetrics(&headers) {
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    } else {
        text = plain(&text);
        "text/plain; version=0.0.4; charset=utf-8"
    };
    Ok(([("content-type", kind)], text).into_response())
}

/// The older format, which names a counter as its samples are named, and has no end mark.
fn plain(open: &str) -> String {
    let counter = |line: &str| {
        let name = line.strip_prefix("# TYPE ")?.strip_suffix(" counter")?;
        Some(name.to_owned())
    };
    let counters: HashSet<String> = open.lines().filter_map(counter).collect();
    let mut text = String::with_capacity(open.len() + 64 * counters.len());
    for line in open.lines().filter(|line| *line != "# EOF") {
        let of_counter = ["# HELP ", "# TYPE "].into_iter().find_map(|mark| {
            let (name, rest) = line.strip_prefix(mark)?.split_once(' ')?;
            counters.contains(name).then_some((mark, name, rest))
        });
        match of_counter {
            Some((mark, name, rest)) => text.extend([mark, name, "_total ", rest]),
            None => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

fn register_dispatcher(registry: &mut Registry, app: &App) {
    let stats = app.dispatcher.stats().snapshot();
    let totals = [
        ("commands", "Commands accepted and durable", stats.commands),
        ("events", "Events written", stats.events),
        ("commit_groups", "Groups of appends handed to the log", stats.groups),
        ("append_failures", "Appends that failed", stats.append_failures),
        ("command_retries", "Commands decided again after a conflict or a failed append", stats.retries),
        ("command_replays", "Commands answered from the record of an idempotency key", stats.replays),
        ("timers_fired", "Deadlines that fired", stats.timers_fired),
        ("stream_loads", "Streams read into memory", stats.loads),
        ("stream_evictions", "Streams dropped from memory", stats.evictions),
    ];
    for (name, help, value) in totals {
        let counter: Counter = Counter::default();
        counter.inc_by(value);
        registry.register(name, help, counter);
    }
    registry.register(
        "commit_duration_seconds",
        "From handing a group of appends to the log until it is durable",
        app.dispatcher.stats().commit_duration(),
    );
    let levels = [
        ("commands_outstanding", "Commands not answered yet", stats.outstanding),
        ("commands_outstanding_bytes", "Bytes of their bodies", stats.outstanding_bytes),
        ("commit_groups_in_flight", "Groups whose commit is under way", stats.groups_in_flight),
        ("commands_parked", "Commands that wait for a stream", stats.parked),
        ("cached_streams", "Streams in memory", stats.cached_streams),
        ("cached_bytes", "About how many bytes they take", stats.cached_bytes),
        ("deadlines", "Streams with a deadline ahead", stats.deadlines),
        ("active_holds", "Active holds on stock", stats.active_holds),
    ];
    for (name, help, value) in levels {
        let gauge: Gauge = Gauge::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    }
    let refusals: Family<Code, Counter> = Family::default();
    for (code, count) in stats.refusals {
        refusals.get_or_create(&Code { code: code.to_owned() }).inc_by(count);
    }
    registry.register("command_refusals", "Commands refused, by code", refusals);
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Limit {
    limit: &'static str,
}

fn register_admission(registry: &mut Registry, app: &App) {
    let refused: Family<Limit, Counter> = Family::default();
    let tracked: Family<Limit, Gauge> = Family::default();
    for (limit, count, keys) in app.admission.counts() {
        refused.get_or_create(&Limit { limit }).inc_by(count);
        tracked.get_or_create(&Limit { limit }).set(i64::try_from(keys).unwrap_or(i64::MAX));
    }
    registry.register("rate_limited", "Sale requests refused, by limit", refused);
    registry.register(
        "rate_limit_keys",
        "Customers, addresses, variants with a bucket that is not full",
        tracked,
    );
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Projection {
    projection: String,
}

fn register_projections(registry: &mut Registry, app: &App) {
    let lag: Family<Projection, Gauge> = Family::default();
    let checkpoint: Family<Projection, Gauge> = Family::default();
    let dead: Family<Projection, Gauge> = Family::default();
    let following: Family<Projection, Gauge> = Family::default();
    for status in app.node.projection_statuses().into_iter().chain(app.node.relay_status()) {
        let labels = Projection { projection: status.name.clone() };
        let as_gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        lag.get_or_create(&labels).set(as_gauge(status.lag));
        checkpoint.get_or_create(&labels).set(as_gauge(status.checkpoint));
        dead.get_or_create(&labels).set(as_gauge(status.dead_letters as u64));
        following.get_or_create(&labels).set(i64::from(status.state == "following"));
    }
    registry.register("projection_lag_events", "Events the projection is behind the head", lag);
    registry.register("projection_checkpoint", "Position the projection is current to", checkpoint);
    registry.register(
        "projection_following",
        "Whether another gateway writes the read model, and this one only reads it: 1 or 0",
        following,
    );
    registry.register("projection_dead_letters", "Events parked for an operator", dead);
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Dependency {
    dependency: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Lease {
    lease: &'static str,
}

/// Circuit breakers before dependencies on servers; none with an embedded log.
fn register_circuits(registry: &mut Registry, app: &App) {
    let state: Family<Dependency, Gauge> = Family::default();
    let (failures, rejected, opened): (
        Family<Dependency, Counter>,
        Family<Dependency, Counter>,
        Family<Dependency, Counter>,
    ) = Default::default();
    for (dependency, status) in app.node.circuits() {
        let labels = Dependency { dependency };
        state.get_or_create(&labels).set(match status.state {
            CircuitState::Closed => 0,
            CircuitState::HalfOpen => 1,
            CircuitState::Open => 2,
        });
        failures.get_or_create(&labels).inc_by(status.failures);
        rejected.get_or_create(&labels).inc_by(status.rejected);
        opened.get_or_create(&labels).inc_by(status.opened);
    }
    let leads: Family<Lease, Gauge> = Family::default();
    for (lease, held) in app.node.leases() {
        leads.get_or_create(&Lease { lease }).set(i64::from(held));
    }
    registry.register("lease_held", "Whether this gateway is the one that leads: 1 or 0", leads);
    registry.register("circuit_state", "Circuit breaker: 0 closed, 1 half open, 2 open", state);
    registry.register("circuit_failures", "Calls that failed for a reason of the dependency's", failures);
    registry.register("circuit_rejected", "Calls refused at once because the circuit was open", rejected);
    registry.register("circuit_opened", "How often the circuit opened", opened);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_names_counters_as_their_samples() {
        let mut registry = Registry::with_prefix("daybook");
        let (metrics, level) = (Metrics::new(), <Gauge>::default());
        metrics.count(Cow::Borrowed("/v1/search"), 200, Duration::from_millis(1));
        level.set(3);
        registry.register("http_requests", "Requests served", metrics.requests.clone());
        registry.register("http_request_duration_seconds", "Time to answer", metrics.latency.clone());
        registry.register("http_requests_open", "Requests under way", level);
        let mut open = String::new();
        encode(&mut open, &registry).unwrap();
        assert!(
            open.contains("# TYPE daybook_http_requests counter\n") && open.ends_with("# EOF\n"),
            "{open}"
        );
        let text = plain(&open);
        let expected = "# HELP daybook_http_requests_total Requests served.\n# TYPE daybook_http_requests_total counter\n\
                        daybook_http_requests_total{route=\"/v1/search\",status=\"200\"} 1\n\
                        # HELP daybook_http_request_duration_seconds Time to answer.\n\
                        # TYPE daybook_http_request_duration_seconds histogram\n";
        assert!(text.starts_with(expected), "{text}");
        assert!(
            text.contains("# TYPE daybook_http_requests_open gauge\ndaybook_http_requests_open 3\n"),
            "{text}"
        );
        assert!(!text.contains("EOF"), "{text}");
    }
}
