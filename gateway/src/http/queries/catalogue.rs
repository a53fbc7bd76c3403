//! Variants, search and stock.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::State;
use axum::response::Response;
use daybook_projections::catalogue::query::VariantDetails;
use daybook_projections::search::{NAME, SearchReader, SearchRequest};
use daybook_projections::{catalogue, inventory};
use daybook_schemas::Timestamp;
use daybook_schemas::prices::Wanted;
use serde_json::json;

use super::{current, found, not_open, read, respond, without_nulls};
use crate::http::App;
use crate::http::extract::{Path, Query};
use crate::http::params::Params;
use crate::http::problem::Problem;

/// `GET /v1/variants/{id}?currency=&channel=&customer_group=&as_of=`.
pub(in crate::http) async fn variant(
    State(app): State<App>,
    Query { mut params, min_position }: Query,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let (wanted, as_of) = buyer(&mut params)?;
    params.finish()?;
    let (key, now) = (id.clone(), app.node.now());
    let row = read(&app, "catalogue", min_position, move |rows| {
        let details = catalogue::query::by_id(rows, &key)?;
        if as_of.is_none() && wanted == Wanted::default() {
            return Ok(details);
        }
        let effective_price = catalogue::query::effective_price(rows, &key, &wanted, as_of.unwrap_or(now))?;
        Ok(details.map(|details| VariantDetails { effective_price, ..details }))
    });
    found(row.await?, || format!("there is no variant {id}"))
}

/// `GET /v1/variants/{id}/price?currency=&channel=&customer_group=&as_of=`.
pub(in crate::http) async fn price(
    State(app): State<App>,
    Query { mut params, min_position }: Query,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let (wanted, as_of) = buyer(&mut params)?;
    params.finish()?;
    let (key, at) = (id.clone(), as_of.unwrap_or_else(|| app.node.now()));
    let row = read(&app, "catalogue", min_position, move |rows| {
        catalogue::query::effective_price(rows, &key, &wanted, at)
    });
    found(row.await?, || format!("there is no variant {id}"))
}

/// `GET /v1/variants/{id}/prices`.
pub(in crate::http) async fn prices(
    State(app): State<App>,
    Query { params, min_position }: Query,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    params.finish()?;
    let key = id.clone();
    let row = read(&app, "catalogue", min_position, move |rows| catalogue::query::prices(rows, &key)).await?;
    found(row, || format!("there is no variant {id}"))
}

/// Who buys, and as of when.
fn buyer(params: &mut Params) -> Result<(Wanted, Option<Timestamp>), Problem> {
    let wanted = Wanted {
        currency: parsed(params, "currency")?,
        channel: parsed(params, "channel")?,
        customer_group: parsed(params, "customer_group")?,
    };
    Ok((wanted, parsed(params, "as_of")?))
}

fn parsed<T: FromStr<Err: Display>>(params: &mut Params, name: &str) -> Result<Option<T>, Problem> {
    let parse = |text: String| text.parse().map_err(|error| Problem::invalid(format!("{name}: {error}")));
    params.one(name)?.map(parse).transpose()
}

/// `GET /v1/variants?sku=|config_hash=|product_group=`.
pub(in crate::http) async fn variants(
    State(app): State<App>,
    Query { mut params, min_position }: Query,
) -> Result<Response, Problem> {
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

/// `GET /v1/search`.
pub(in crate::http) async fn search(
    State(app): State<App>,
    Query { params, min_position }: Query,
) -> Result<Response, Problem> {
    let request = SearchRequest::parse(params.into_pairs())?;
    let live = current(&app, NAME, min_position).await?;
    let reader = live.queries.other::<SearchReader>().ok_or_else(|| not_open(NAME))?;
    let work = move || (reader.search(&request), reader.position());
    let (result, position) = tokio::task::spawn_blocking(work).await.map_err(Problem::internal)?;
    respond(&result?, position)
}

/// `GET /v1/inventory/{variant_id}`.
pub(in crate::http) async fn inventory(
    State(app): State<App>,
    Query { params, min_position }: Query,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    params.finish()?;
    let (key, now) = (id.clone(), app.node.now());
    let row =
        read(&app, "inventory", min_position, move |rows| inventory::query::by_variant(rows, &key, now))
            .await?;
    found(row, || format!("there is no stock of variant {id}"))
}
