//! Orders, and who did what.

use axum::extract::State;
use axum::response::Response;
use daybook_projections::orders::query::{OrderCursor, OrderFilter};
use daybook_projections::{audit, orders};
use daybook_schemas::Timestamp;
use serde_json::json;

use super::{found, read, respond, without_nulls};
use crate::http::App;
use crate::http::extract::{Inside, Path, Query};
use crate::http::params::Params;
use crate::http::problem::Problem;

/// `GET /v1/orders/{id}`.
pub(in crate::http) async fn order(
    State(app): State<App>,
    Inside(Query { params, min_position }): Inside,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    params.finish()?;
    let key = id.clone();
    let row = read(&app, "orders", min_position, move |rows| orders::query::by_id(rows, &key)).await?;
    found(row, || format!("there is no order {id}"))
}

/// `GET /v1/orders?customer_id=&status=&number=&placed_from=&placed_before=`.
pub(in crate::http) async fn list(
    State(app): State<App>,
    Inside(Query { mut params, min_position }): Inside,
) -> Result<Response, Problem> {
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

/// `GET /v1/audit?actor=&stream=&reason=&since=&until=`.
pub(in crate::http) async fn audit(
    State(app): State<App>,
    Inside(Query { mut params, min_position }): Inside,
) -> Result<Response, Problem> {
    let filter = audit::query::AuditFilter {
        stream: params.one("stream")?,
        actor: params.one("actor")?,
        reason: params.one("reason")?,
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
