//! Sales, product and customer figures.

use axum::extract::State;
use axum::response::Response;
use daybook_projections::analytics::Period;
use daybook_projections::model::StoreError;
use daybook_projections::{customers, products, sales};
use daybook_schemas::Currency;

use super::{found, read, respond};
use crate::http::App;
use crate::http::extract::{Inside, Path, Query};
use crate::http::params::Params;
use crate::http::problem::Problem;

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

/// A report in the currency asked for. Without one: in the configured currency, or, where that is unset or has nothing to
/// report, in the currency of most orders.
fn in_currency<T>(
    asked: Option<Currency>,
    configured: Option<Currency>,
    report: impl Fn(Option<Currency>) -> Result<Option<T>, StoreError>,
) -> Result<Option<T>, StoreError> {
    match report(asked.or(configured))? {
        None if asked.is_none() && configured.is_some() => report(None),
        found => Ok(found),
    }
}

/// `GET /v1/analytics/sales?period=&currency=`.
pub(in crate::http) async fn sales(
    State(app): State<App>,
    Inside(Query { mut params, min_position }): Inside,
) -> Result<Response, Problem> {
    let (period, asked) = (period(&mut params)?, currency(&mut params)?);
    params.finish()?;
    let currency = asked.or(app.config.currency);
    let (report, position) =
        read(&app, "sales", min_position, move |rows| sales::query::report(rows, &period, currency)).await?;
    respond(&report, position)
}

/// `GET /v1/analytics/products/{variant_id}?period=&currency=`.
pub(in crate::http) async fn product(
    State(app): State<App>,
    Inside(Query { mut params, min_position }): Inside,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let (period, asked) = (period(&mut params)?, currency(&mut params)?);
    params.finish()?;
    let (key, configured) = (id.clone(), app.config.currency);
    let row = read(&app, "products", min_position, move |rows| {
        in_currency(asked, configured, |currency| products::query::report(rows, &key, &period, currency))
    })
    .await?;
    found(row, || format!("nothing of variant {id} was ever sold or given back"))
}

/// `GET /v1/analytics/customers/{id}?currency=`.
pub(in crate::http) async fn customer(
    State(app): State<App>,
    Inside(Query { mut params, min_position }): Inside,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let asked = currency(&mut params)?;
    params.finish()?;
    let (key, now, configured) = (id.clone(), app.node.now(), app.config.currency);
    let row = read(&app, "customers", min_position, move |rows| {
        in_currency(asked, configured, |currency| customers::query::report(rows, &key, currency, now))
    })
    .await?;
    found(row, || format!("customer {id} has no orders, refunds or credits"))
}
