//! Variants, search and stock.

use axum::extract::State;
use axum::response::Response;
use daybook_projections::search::{NAME, SearchReader, SearchRequest};
use daybook_projections::{catalogue, inventory};
use serde_json::json;

use super::{current, found, not_open, read, respond, without_nulls};
use crate::http::App;
use crate::http::extract::{Path, Query};
use crate::http::problem::Problem;

/// `GET /v1/variants/{id}`.
pub(in crate::http) async fn variant(
    State(app): State<App>,
    Query { params, min_position }: Query,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    params.finish()?;
    let key = id.clone();
    let row = read(&app, "catalogue", min_position, move |rows| catalogue::query::by_id(rows, &key)).await?;
    found(row, || format!("there is no variant {id}"))
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
