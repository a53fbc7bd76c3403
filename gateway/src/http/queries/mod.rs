//! The query API, a file a kind of read model. Every handler: wait for `min_position` if asked, read from the live generation, say how current it is.

pub(super) mod analytics;
pub(super) mod catalogue;
pub(super) mod masters;
pub(super) mod orders;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use daybook_eventlog::Position;
use daybook_projections::generations::Generation;
use daybook_projections::model::StoreError;
use daybook_projections::rows::ReadTransaction;
use daybook_projections::runner::RunnerError;
use daybook_projections::search::SearchError;
use serde::Serialize;

use super::App;
use super::extract::server_stops;
use super::problem::{POSITION, Problem};

/// How long a query waits for `min_position`.
const MAX_WAIT: Duration = Duration::from_secs(2);

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a read model could not be read");
        match error {
            StoreError::Damaged(_) => Self::unavailable(
                "projection_halted",
                "the read model is damaged; `daybook projections rebuild` makes it anew",
                60,
            ),
            StoreError::Outdated(_) => Self::unavailable(
                "projection_halted",
                "the read model was written by another version of the program and is being built anew; try again later",
                60,
            ),
            StoreError::Unfit(_) => Self::unavailable(
                "projection_halted",
                "the read model cannot be kept where the settings say; `/readyz` tells what to change",
                60,
            ),
            StoreError::Unavailable(_) => {
                Self::unavailable("unavailable", "the read model cannot be read now", 1)
            }
        }
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

/// The live generation of a projection, current to `min_position`. A generation that is swapped out while it is waited for
/// is no error to the reader: the wait goes on with the one that took its place.
pub(super) async fn current(
    app: &App,
    projection: &str,
    min_position: Position,
) -> Result<Arc<Generation>, Problem> {
    let deadline = Instant::now() + MAX_WAIT;
    loop {
        let live = app.node.projections().live(projection)?;
        if min_position == 0 {
            return Ok(live);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let reached = tokio::select! {
            biased;
            reached = live.handle.wait_for(min_position, left) => reached,
            () = app.stops() => return Err(server_stops()),
        };
        match reached {
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

/// Waits until the log itself has `min_position`. Gives a position that whatever is read from it afterwards is current to.
pub(super) async fn log_at(app: &App, min_position: Position) -> Result<Position, Problem> {
    let mut head = app.log.watch_head();
    if *head.borrow() < min_position {
        // What follows the log of a server may be a little behind it.
        let position = app.log.head().await?.position;
        if position >= min_position {
            return Ok(position);
        }
        let reached = tokio::select! {
            biased;
            reached = tokio::time::timeout(MAX_WAIT, head.wait_for(|head| *head >= min_position)) => {
                matches!(reached, Ok(Ok(_)))
            }
            () = app.stops() => return Err(server_stops()),
        };
        if !reached {
            let detail = format!("the log does not reach position {min_position} yet; try again");
            return Err(Problem::unavailable("projection_behind", detail, 1));
        }
    }
    Ok(*head.borrow())
}

/// Waits until every read model has `min_position`, within the time that one query may wait.
pub(super) async fn all_at(app: &App, min_position: Position) -> Result<(), Problem> {
    if min_position == 0 {
        return Ok(());
    }
    let all = app.node.projections().names().into_iter().map(|name| current(app, name, min_position));
    futures::future::try_join_all(all).await.map(|_| ())
}

/// The store of the live generation could not be opened: damaged, or of another build. The log says why.
pub(super) fn not_open(projection: &str) -> Problem {
    let detail = format!(
        "the read model {projection} is not open; `daybook projections rebuild {projection}` makes it anew"
    );
    Problem::unavailable("projection_halted", detail, 60)
}

/// Reads rows of a projection on a thread that may block.
async fn read<T: Send + 'static>(
    app: &App,
    projection: &'static str,
    min_position: Position,
    query: impl FnOnce(&dyn ReadTransaction) -> Result<T, StoreError> + Send + 'static,
) -> Result<(T, Position), Problem> {
    let live = current(app, projection, min_position).await?;
    let reader = live.queries.rows().ok_or_else(|| not_open(projection))?;
    let work = move || -> Result<(T, Position), StoreError> {
        let transaction = reader.begin()?;
        let value = query(&*transaction)?;
        Ok((value, transaction.checkpoint()))
    };
    Ok(tokio::task::spawn_blocking(work).await.map_err(Problem::internal)??)
}

pub(super) fn respond(value: &impl Serialize, position: Position) -> Result<Response, Problem> {
    let body = serde_json::to_vec(value).map_err(Problem::internal)?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (POSITION, HeaderValue::from(position)),
    ];
    Ok((headers, body).into_response())
}

fn found<T: Serialize>(
    (value, position): (Option<T>, Position),
    what: impl FnOnce() -> String,
) -> Result<Response, Problem> {
    match value {
        Some(value) => respond(&value, position),
        None => Err(Problem::not_found(what()).at(position)),
    }
}

fn without_nulls(mut body: serde_json::Value) -> serde_json::Value {
    if let Some(fields) = body.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    body
}
