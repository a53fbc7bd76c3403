//! Queries of master data: `GET /v1/sizes|colors|attribute-types|attribute-values|categories`, and each record by id.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use daybook_projections::masters::query::{self, Page};
use daybook_projections::masters::{
    AttributeTypeView, AttributeValueView, CategoryView, ColorView, NAME, SizeView,
};
use daybook_projections::model::StoreError;
use daybook_projections::rows::{ReadTransaction, View};
use serde::Serialize;

use super::{found, read, respond};
use crate::http::App;
use crate::http::extract::{Path, Query};
use crate::http::params::Params;
use crate::http::problem::Problem;

pub(in crate::http) fn routes() -> Router<App> {
    Router::new()
        .route("/v1/sizes", get(sizes))
        .route("/v1/sizes/{id}", get(one::<SizeView>))
        .route("/v1/colors", get(colors))
        .route("/v1/colors/{id}", get(one::<ColorView>))
        .route("/v1/attribute-types", get(attribute_types))
        .route("/v1/attribute-types/{id}", get(one::<AttributeTypeView>))
        .route("/v1/attribute-values", get(attribute_values))
        .route("/v1/attribute-values/{id}", get(one::<AttributeValueView>))
        .route("/v1/categories", get(categories))
        .route("/v1/categories/{id}", get(one::<CategoryView>))
}

/// One record by its id.
async fn one<V: View + Serialize>(
    State(app): State<App>,
    Query { params, min_position }: Query,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    params.finish()?;
    let key = id.clone();
    let row = read(&app, NAME, min_position, move |rows| query::by_id::<V>(rows, &key)).await?;
    found(row, || format!("there is no {id} in {}", V::TABLE.name))
}

/// What a list is asked for: one filter, a cursor, a limit.
struct Asked {
    filter: Option<String>,
    cursor: Option<String>,
    limit: usize,
}

/// A page of a list that has one filter.
async fn list<V: Serialize + Send + 'static>(
    app: &App,
    mut params: Params,
    min_position: u64,
    filter: &str,
    select: impl FnOnce(&dyn ReadTransaction, &Asked) -> Result<Page<V>, StoreError> + Send + 'static,
) -> Result<Response, Problem> {
    let asked = Asked {
        filter: params.one(filter)?,
        cursor: params.one("cursor")?,
        limit: params.limit(100, query::MAX_PAGE)?,
    };
    params.finish()?;
    let (page, position) = read(app, NAME, min_position, move |rows| select(rows, &asked)).await?;
    respond(&page, position)
}

/// `GET /v1/sizes?category=`: of a category of goods, smallest first.
async fn sizes(State(app): State<App>, Query { params, min_position }: Query) -> Result<Response, Problem> {
    list(&app, params, min_position, "category", |rows, asked| {
        query::sizes(rows, asked.filter.as_deref(), asked.cursor.as_deref(), asked.limit)
    })
    .await
}

/// `GET /v1/colors?family=|slug=`: a slug leads to its colour also where it is a previous one.
async fn colors(
    State(app): State<App>,
    Query { mut params, min_position }: Query,
) -> Result<Response, Problem> {
    if let Some(slug) = params.one("slug")? {
        params.finish()?;
        return by_slug::<ColorView>(&app, "color", slug, min_position).await;
    }
    list(&app, params, min_position, "family", |rows, asked| {
        query::colors(rows, asked.filter.as_deref(), asked.cursor.as_deref(), asked.limit)
    })
    .await
}

async fn by_slug<V: View + Serialize>(
    app: &App,
    aggregate: &'static str,
    slug: String,
    min_position: u64,
) -> Result<Response, Problem> {
    let select = move |rows: &dyn ReadTransaction| query::by_slug::<V>(rows, aggregate, &slug);
    let (record, position) = read(app, NAME, min_position, select).await?;
    respond(&Page { items: record.into_iter().collect(), next: None }, position)
}

/// `GET /v1/attribute-types?code=`.
async fn attribute_types(
    State(app): State<App>,
    Query { params, min_position }: Query,
) -> Result<Response, Problem> {
    list(&app, params, min_position, "code", |rows, asked| {
        query::attribute_types(rows, asked.filter.as_deref(), asked.cursor.as_deref(), asked.limit)
    })
    .await
}

/// `GET /v1/attribute-values?type=`.
async fn attribute_values(
    State(app): State<App>,
    Query { params, min_position }: Query,
) -> Result<Response, Problem> {
    list(&app, params, min_position, "type", |rows, asked| {
        query::attribute_values(rows, asked.filter.as_deref(), asked.cursor.as_deref(), asked.limit)
    })
    .await
}

/// `GET /v1/categories?parent=|below=|slug=`: right below a parent, or everything below a path.
async fn categories(
    State(app): State<App>,
    Query { mut params, min_position }: Query,
) -> Result<Response, Problem> {
    if let Some(slug) = params.one("slug")? {
        params.finish()?;
        return by_slug::<CategoryView>(&app, "category", slug, min_position).await;
    }
    if let Some(path) = params.one("below")? {
        return list(&app, params, min_position, "parent", move |rows, asked| {
            query::subtree(rows, &path, asked.cursor.as_deref(), asked.limit)
        })
        .await;
    }
    list(&app, params, min_position, "parent", |rows, asked| {
        query::categories(rows, asked.filter.as_deref(), asked.cursor.as_deref(), asked.limit)
    })
    .await
}
