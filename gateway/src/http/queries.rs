//! The query API. Every handler: wait for `min_position` if asked, read from the live generation, say how current it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use daybook_eventlog::Position;
use daybook_projections::analytics::Period;
use daybook_projections::generations::Generation;
use daybook_projections::model::StoreError;
use daybook_projections::orders::query::{OrderCursor, OrderFilter};
use daybook_projections::rows::ReadTransaction;
use daybook_projections::runner::RunnerError;
use daybook_projections::search::{SearchError, SearchReader, SearchRequest};
use daybook_projections::{audit, catalogue, customers, inventory, orders, products, sales};
use daybook_schemas::{Currency, Timestamp};
use serde::Serialize;
use serde_json::json;

use super::App;
use super::params::Params;
use super::problem::Problem;

/// How long a query waits for `min_position`.
const MAX_WAIT: Duration = Duration::from_secs(2);

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a read model could not be read");
        Self::unavailable("unavailable", "the read model cannot be read now", 1)
    }
}

impl From<SearchError> for Problem {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::Invalid(reason) => Self::invalid(reason),
            SearchError::Store(error) => error.into(),
        }
    }
}

/// Authenticates, and takes what every query has.
fn begin(app: &App, headers: &HeaderMap, query: Option<&str>) -> Result<(Params, Position), Problem> {
    app.authenticator.authenticate(headers)?;
    let mut params = Params::parse(query)?;
    let min_position = params.number("min_position")?.unwrap_or(0);
    Ok((params, min_position))
}

/// The live generation of a projection, current to `min_position`. A generation that is swapped out while it is waited for
/// is no error to the reader: the wait goes on with the one that took its place.
async fn current(app: &App, projection: &str, min_position: Position) -> Result<Arc<Generation>, Problem> {
    let deadline = Instant::now() + MAX_WAIT;
    loop {
        let live = app.node.projections().live(projection)?;
        if min_position == 0 {
            return Ok(live);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        match live.handle.wait_for(min_position, left).await {
            Ok(_) => return Ok(live),
            Err(error) => {
                let swapped = app.node.projections().live(projection)?.number != live.number;
                // Between the stop of the old one and the swap there is a moment.
                let stopping = matches!(error, RunnerError::Stopped(_)) && !*app.stopping.borrow();
                if left.is_zero() || !(swapped || stopping) {
                    return Err(error.into());
                }
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Reads rows of a projection on a thread that may block.
async fn read<T: Send + 'static>(
    app: &App,
    projection: &'static str,
    min_position: Position,
    query: impl FnOnce(&dyn ReadTransaction) -> Result<T, StoreError> + Send + 'static,
) -> Result<(T, Position), Problem> {
    let live = current(app, projection, min_position).await?;
    let reader = live
        .queries
        .rows()
        .ok_or_else(|| Problem::internal(format!("projection {projection} has no rows")))?;
    let work = move || -> Result<(T, Position), StoreError> {
        let transaction = reader.begin()?;
        let value = query(&*transaction)?;
        Ok((value, transaction.checkpoint()))
    };
    Ok(tokio::task::spawn_blocking(work).await.map_err(Problem::internal)??)
}

fn respond(value: &impl Serialize, position: Position) -> Result<Response, Problem> {
    let body = serde_json::to_vec(value).map_err(Problem::internal)?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::HeaderName::from_static("daybook-position"), HeaderValue::from(position)),
    ];
    Ok((headers, body).into_response())
}

fn found<T: Serialize>(
    (value, position): (Option<T>, Position),
    what: impl FnOnce() -> String,
) -> Result<Response, Problem> {
    match value {
        Some(value) => respond(&value, position),
        None => Err(Problem::not_found(what())),
    }
}

/// `GET /v1/variants/{id}`.
pub async fn variant(
    State(app): State<App>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (params, min_position) = begin(&app, &headers, query.as_deref())?;
    params.finish()?;
    let key = id.clone();
    let row = read(&app, "catalogue", min_position, move |rows| catalogue::query::by_id(rows, &key)).await?;
    found(row, || format!("there is no variant {id}"))
}

/// `GET /v1/variants?sku=|config_hash=|product_group=`.
pub async fn variants(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (mut params, min_position) = begin(&app, &headers, query.as_deref())?;
    let (sku, hash, group) = (params.one("sku")?, params.one("config_hash")?, params.one("product_group")?);
    let cursor = params.one("cursor")?;
    let limit = params.limit(100, catalogue::query::MAX_PAGE)?;
    params.finish()?;
    if usize::from(sku.is_some()) + usize::from(hash.is_some()) + usize::from(group.is_some()) > 1 {
        return Err(Problem::invalid("give one of sku, config_hash and product_group"));
    }
    let (body, position) = read(&app, "catalogue", min_position, move |rows| {
        let after = cursor.as_deref();
        let page = match (&sku, &hash, &group) {
            (Some(sku), _, _) => {
                let found = catalogue::query::by_sku(rows, sku)?;
                return Ok(json!({"variants": found.into_iter().collect::<Vec<_>>()}));
            }
            (_, Some(hash), _) => catalogue::query::by_config_hash(rows, hash, after, limit)?,
            (_, _, Some(group)) => {
                let page = catalogue::query::by_product_group(rows, group, after, limit)?;
                let whole = catalogue::query::product_group(rows, group)?;
                return Ok(json!({"variants": page.variants, "cursor": page.next, "group": whole}));
            }
            (None, None, None) => catalogue::query::list(rows, after, limit)?,
        };
        Ok(json!({"variants": page.variants, "cursor": page.next}))
    })
    .await?;
    respond(&without_nulls(body), position)
}

fn without_nulls(mut body: serde_json::Value) -> serde_json::Value {
    if let Some(fields) = body.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    body
}

/// `GET /v1/search`.
pub async fn search(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (params, min_position) = begin(&app, &headers, query.as_deref())?;
    let request = SearchRequest::parse(params.into_pairs())?;
    let live = current(&app, daybook_projections::search::NAME, min_position).await?;
    let reader = live
        .queries
        .other::<SearchReader>()
        .ok_or_else(|| Problem::internal("the search projection has no reader"))?;
    let work = move || (reader.search(&request), reader.position());
    let (result, position) = tokio::task::spawn_blocking(work).await.map_err(Problem::internal)?;
    respond(&result?, position)
}

/// `GET /v1/inventory/{variant_id}`.
pub async fn inventory(
    State(app): State<App>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (params, min_position) = begin(&app, &headers, query.as_deref())?;
    params.finish()?;
    let (key, now) = (id.clone(), app.node.now());
    let row =
        read(&app, "inventory", min_position, move |rows| inventory::query::by_variant(rows, &key, now))
            .await?;
    found(row, || format!("there is no stock of variant {id}"))
}

/// `GET /v1/orders/{id}`.
pub async fn order(
    State(app): State<App>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (params, min_position) = begin(&app, &headers, query.as_deref())?;
    params.finish()?;
    let key = id.clone();
    let row = read(&app, "orders", min_position, move |rows| orders::query::by_id(rows, &key)).await?;
    found(row, || format!("there is no order {id}"))
}

/// `GET /v1/orders?customer_id=&status=&number=&placed_from=&placed_before=`.
pub async fn orders(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (mut params, min_position) = begin(&app, &headers, query.as_deref())?;
    let number = params.one("number")?;
    let filter = OrderFilter {
        customer_id: params.one("customer_id")?,
        status: params.one("status")?.map(|text| parse_json_word(&text, "status")).transpose()?,
        placed_from: time(&mut params, "placed_from")?,
        placed_before: time(&mut params, "placed_before")?,
    };
    let cursor = params
        .one("cursor")?
        .map(|text| OrderCursor::parse(&text))
        .transpose()
        .map_err(|e| Problem::invalid(e.to_string()))?;
    let limit = params.limit(50, orders::query::MAX_PAGE)?;
    params.finish()?;
    let (page, position) = read(&app, "orders", min_position, move |rows| match &number {
        Some(number) => orders::query::by_number(rows, number),
        None => orders::query::list(rows, &filter, cursor.as_ref(), limit),
    })
    .await?;
    respond(&without_nulls(json!({"orders": page.orders, "cursor": page.next})), position)
}

fn parse_json_word<T: serde::de::DeserializeOwned>(text: &str, name: &str) -> Result<T, Problem> {
    serde_json::from_value(serde_json::Value::String(text.to_owned()))
        .map_err(|e| Problem::invalid(format!("{name}: {e}")))
}

fn time(params: &mut Params, name: &str) -> Result<Option<Timestamp>, Problem> {
    params
        .one(name)?
        .map(|text| Timestamp::parse(&text).map_err(|e| Problem::invalid(format!("{name}: {e}"))))
        .transpose()
}

/// `GET /v1/audit?actor=&stream=&since=&until=`.
pub async fn audit(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (mut params, min_position) = begin(&app, &headers, query.as_deref())?;
    let filter = audit::query::AuditFilter {
        stream: params.one("stream")?,
        actor: params.one("actor")?,
        from: time(&mut params, "since")?,
        before: time(&mut params, "until")?,
        descending: true,
    };
    let cursor = params
        .one("cursor")?
        .map(|text| {
            audit::query::AuditCursor::parse(&text)
                .ok_or_else(|| Problem::invalid("cursor is what the last page gave"))
        })
        .transpose()?;
    let limit = params.limit(100, audit::query::MAX_PAGE)?;
    params.finish()?;
    let (page, position) =
        read(&app, "audit", min_position, move |rows| audit::query::list(rows, &filter, cursor, limit))
            .await?;
    respond(&without_nulls(json!({"entries": page.entries, "cursor": page.next})), position)
}

fn period(params: &mut Params) -> Result<Period, Problem> {
    let text = params.one("period")?.unwrap_or_else(|| "all".to_owned());
    Period::parse(&text).map_err(|e| Problem::invalid(e.to_string()))
}

fn currency(params: &mut Params) -> Result<Option<Currency>, Problem> {
    params
        .one("currency")?
        .map(|text| Currency::new(&text).map_err(|e| Problem::invalid(e.to_string())))
        .transpose()
}

/// `GET /v1/analytics/sales?period=&currency=`.
pub async fn sales(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (mut params, min_position) = begin(&app, &headers, query.as_deref())?;
    let (period, currency) = (period(&mut params)?, currency(&mut params)?);
    params.finish()?;
    let (report, position) =
        read(&app, "sales", min_position, move |rows| sales::query::report(rows, &period, currency)).await?;
    respond(&report, position)
}

/// `GET /v1/analytics/products/{variant_id}?period=&currency=`.
pub async fn product(
    State(app): State<App>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (mut params, min_position) = begin(&app, &headers, query.as_deref())?;
    let (period, currency) = (period(&mut params)?, currency(&mut params)?);
    params.finish()?;
    let key = id.clone();
    let row = read(&app, "products", min_position, move |rows| {
        products::query::report(rows, &key, &period, currency)
    })
    .await?;
    found(row, || format!("nothing of variant {id} was ever sold or given back"))
}

/// `GET /v1/analytics/customers/{id}?currency=`.
pub async fn customer(
    State(app): State<App>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (mut params, min_position) = begin(&app, &headers, query.as_deref())?;
    let currency = currency(&mut params)?;
    params.finish()?;
    let (key, now) = (id.clone(), app.node.now());
    let row = read(&app, "customers", min_position, move |rows| {
        customers::query::report(rows, &key, currency, now)
    })
    .await?;
    found(row, || format!("customer {id} has no orders, refunds or credits"))
}
