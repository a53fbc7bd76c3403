//! What operators do on a running server. Each route is the HTTP face of one function of `replay`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use daybook_projections::generations::GenerationError;
use daybook_projections::runner::RunnerError;
use daybook_replay::digest::{DigestError, Scope};
use daybook_replay::drift::{self, Damage, DriftError};
use daybook_replay::integrity::IntegrityError;
use daybook_replay::operations;
use daybook_replay::reconcile::ReconcileError;
use daybook_replay::time_travel::{self, AsOf, StateError};
use daybook_replay::{digest, rebuild, reconcile, verify};
use daybook_schemas::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::App;
use super::extract::{Inside, JsonBody, Operator, Path, Query};
use super::problem::Problem;
use super::queries::{all_at, log_at, respond};
use crate::reconciled::Reconciled;

/// All routes of this module.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/v1/projections", get(list))
        .route("/v1/projections/{name}/rebuild", post(rebuild_one))
        .route("/v1/projections/{name}/rollback", post(rollback))
        .route("/v1/projections/{name}/pause", post(pause))
        .route("/v1/projections/{name}/resume", post(resume))
        .route("/v1/projections/{name}/dead-letters", get(dead_letters))
        .route("/v1/projections/{name}/dead-letters/retry", post(retry_dead_letters))
        .route("/v1/projections/{name}/dead-letters/discard", post(discard_dead_letter))
        .route("/v1/operations/reconcile", post(reconcile_all))
        .route("/v1/operations/digest", post(digests))
        .route("/v1/operations/drift", post(inject_drift))
        .route("/v1/operations/verify", post(verify_log))
        .route("/v1/operations/head", get(head))
        .route("/v1/state/{aggregate}/{id}", get(state))
}

impl From<ReconcileError> for Problem {
    fn from(error: ReconcileError) -> Self {
        match error {
            ReconcileError::Generation(error) => error.into(),
            ReconcileError::Runner(error) => error.into(),
            ReconcileError::Read(error) => error.into(),
            other => Self::internal(error_chain(&other)),
        }
    }
}

impl From<IntegrityError> for Problem {
    fn from(error: IntegrityError) -> Self {
        match error {
            IntegrityError::Generation(error) => error.into(),
            IntegrityError::Runner(error) => error.into(),
            IntegrityError::Read(error) => error.into(),
            other => Self::internal(error_chain(&other)),
        }
    }
}

impl From<DigestError> for Problem {
    fn from(error: DigestError) -> Self {
        match error {
            DigestError::Generation(error) => error.into(),
            DigestError::Runner(error) => error.into(),
            DigestError::Store(error) => error.into(),
            DigestError::Read(error) => error.into(),
            DigestError::Thread(error) => Self::internal(error),
        }
    }
}

impl From<DriftError> for Problem {
    fn from(error: DriftError) -> Self {
        match error {
            DriftError::Share(_) => Self::invalid(error.to_string()),
            DriftError::Empty(_) => {
                Self::new(axum::http::StatusCode::CONFLICT, "conflict", error.to_string())
            }
            DriftError::Generation(error) => error.into(),
            DriftError::Runner(error) => error.into(),
            other => Self::internal(error_chain(&other)),
        }
    }
}

impl From<GenerationError> for Problem {
    fn from(error: GenerationError) -> Self {
        match error {
            GenerationError::Unknown(_) => Self::not_found(error.to_string()),
            GenerationError::NoPrevious(_)
            | GenerationError::NotBuilding { .. }
            | GenerationError::Changed(_) => {
                Self::new(axum::http::StatusCode::CONFLICT, "conflict", error.to_string())
            }
            GenerationError::Runner(error) => error.into(),
            GenerationError::Store(error) => error.into(),
            GenerationError::NotOpen(_) => Self::unavailable("projection_halted", error.to_string(), 60),
            other => Self::internal(error_chain(&other)),
        }
    }
}

impl From<RunnerError> for Problem {
    fn from(error: RunnerError) -> Self {
        match &error {
            RunnerError::Behind { .. } => Self::unavailable("projection_behind", error.to_string(), 1),
            RunnerError::Halted { .. } => Self::unavailable("projection_halted", error.to_string(), 60),
            RunnerError::Stopped(_) | RunnerError::Unavailable { .. } => {
                Self::unavailable("unavailable", error.to_string(), 1)
            }
            RunnerError::Letter(reason) => {
                Self::new(axum::http::StatusCode::CONFLICT, "conflict", reason.clone())
            }
        }
    }
}

pub(super) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

async fn list(
    State(app): State<App>,
    Inside(Query { params, min_position }): Inside,
) -> Result<Response, Problem> {
    params.finish()?;
    all_at(&app, min_position).await?;
    let statuses = app.node.projection_statuses();
    let position = statuses.iter().map(|status| status.checkpoint).min().unwrap_or_default();
    let mut body = json!({"projections": statuses});
    // The relay has no rows: it can't be rebuilt, compared or repaired, and stands apart.
    if let Some(relay) = app.node.relay_status() {
        body["relay"] = json!(relay);
    }
    respond(&body, position)
}

/// Carries work out also if the client goes away meanwhile: given up half way, it would leave a projection paused.
async fn to_its_end(
    work: impl Future<Output = Result<Response, Problem>> + Send + 'static,
) -> Result<Response, Problem> {
    tokio::spawn(work).await.unwrap_or_else(|error| Err(Problem::internal(error)))
}

async fn rebuild_one(
    State(app): State<App>,
    _: Operator,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    to_its_end(async move {
        let report = rebuild::rebuild(app.node.projections(), &name, &mut |_, _, _| {}).await?;
        Ok(Json(report).into_response())
    })
    .await
}

async fn rollback(
    State(app): State<App>,
    _: Operator,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    to_its_end(
        async move { Ok(Json(rebuild::rollback(app.node.projections(), &name).await?).into_response()) },
    )
    .await
}

async fn pause(State(app): State<App>, _: Operator, Path(name): Path<String>) -> Result<Response, Problem> {
    to_its_end(async move {
        app.node.projections().pause(&name).await?;
        Ok(Json(app.node.projections().status_of(&name)?).into_response())
    })
    .await
}

async fn resume(State(app): State<App>, _: Operator, Path(name): Path<String>) -> Result<Response, Problem> {
    to_its_end(async move {
        app.node.projections().resume(&name).await?;
        Ok(Json(app.node.projections().status_of(&name)?).into_response())
    })
    .await
}

async fn dead_letters(
    State(app): State<App>,
    _: Operator,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let letters = app.node.projections().live(&name)?.handle.dead_letters().await?;
    Ok(Json(json!({"dead_letters": letters})).into_response())
}

async fn retry_dead_letters(
    State(app): State<App>,
    _: Operator,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let retried = app.node.projections().live(&name)?.handle.retry_dead_letters(None).await?;
    Ok(Json(retried).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Discard {
    #[serde(with = "daybook_projections::position_text")]
    position: u64,
    reason: String,
}

async fn discard_dead_letter(
    State(app): State<App>,
    _: Operator,
    Path(name): Path<String>,
    JsonBody(asked): JsonBody<Discard>,
) -> Result<Response, Problem> {
    let Discard { position, reason } =
        asked.ok_or_else(|| Problem::invalid("the body is {position, reason}"))?;
    to_its_end(async move {
        let letter = operations::discard_dead_letter(app.node.projections(), &name, position, reason).await?;
        Ok(Json(letter).into_response())
    })
    .await
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Reconcile {
    names: Vec<String>,
    repair: bool,
}

async fn reconcile_all(
    State(app): State<App>,
    _: Operator,
    JsonBody(asked): JsonBody<Reconcile>,
) -> Result<Response, Problem> {
    let Reconcile { names, repair } = asked.unwrap_or_default();
    let work = async move {
        let report = reconcile::reconcile(app.node.projections(), &names, repair, &mut |_, _, _| {}).await?;
        Ok(Json(Reconciled::with_integrity(&app.node, report, &names, repair).await?).into_response())
    };
    // One that only looks may end with its client.
    if repair { to_its_end(work).await } else { work.await }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Digests {
    #[serde(default)]
    names: Vec<String>,
    scope: Scope,
}

async fn digests(
    State(app): State<App>,
    _: Operator,
    JsonBody(asked): JsonBody<Digests>,
) -> Result<Response, Problem> {
    let Digests { names, scope } =
        asked.ok_or_else(|| Problem::invalid("the body is {names?, scope: \"bytes\" or \"facts\"}"))?;
    Ok(Json(digest::digest(app.node.projections(), &names, scope).await?).into_response())
}

/// Damages rows on purpose, where the configuration allows it.
async fn inject_drift(
    State(app): State<App>,
    _: Operator,
    JsonBody(damage): JsonBody<Damage>,
) -> Result<Response, Problem> {
    if !app.config.allows_drift() {
        return Err(Problem::new(
            axum::http::StatusCode::FORBIDDEN,
            "forbidden",
            "this server does not let its read models be damaged; set allow_drift_injection = true to hold a drill",
        ));
    }
    let damage = damage.ok_or_else(|| Problem::invalid("the body is {projection, share}"))?;
    to_its_end(async move { Ok(Json(drift::inject(app.node.projections(), &damage).await?).into_response()) })
        .await
}

async fn verify_log(State(app): State<App>, _: Operator) -> Result<Response, Problem> {
    // Hours of hashing must not hold up the threads that serve requests.
    let runtime = tokio::runtime::Handle::current();
    let work = move || runtime.block_on(verify::verify(&app.log, |_, _| {}));
    let report = tokio::task::spawn_blocking(work).await.map_err(Problem::internal)??;
    Ok(Json(report).into_response())
}

async fn head(
    State(app): State<App>,
    Inside(Query { params, min_position }): Inside,
) -> Result<Response, Problem> {
    params.finish()?;
    log_at(&app, min_position).await?;
    let head = app.log.head().await?;
    respond(&json!({"position": head.position.to_string(), "events": head.events}), head.position)
}

async fn state(
    State(app): State<App>,
    Inside(Query { mut params, min_position }): Inside,
    Path((aggregate, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let at = params
        .one("at")?
        .map(|text| Timestamp::parse(&text))
        .transpose()
        .map_err(|e| Problem::invalid(e.0))?;
    let revision = params.number("revision")?;
    params.finish()?;
    let as_of = match (revision, at) {
        (Some(_), Some(_)) => return Err(Problem::invalid("give at or revision, not both")),
        (Some(revision), None) => AsOf::Revision(revision),
        (None, Some(time)) => AsOf::Time(time),
        (None, None) => AsOf::Now,
    };
    let position = log_at(&app, min_position).await?;
    let report =
        time_travel::state(&*app.log, &aggregate, &id, as_of).await.map_err(|error| match error {
            StateError::UnknownAggregate(_) | StateError::NotFound { .. } | StateError::Beyond { .. } => {
                Problem::not_found(error.to_string()).at(position)
            }
            StateError::Id(_) => Problem::invalid(error.to_string()),
            StateError::Read(error) => error.into(),
            other => Problem::internal(error_chain(&other)),
        })?;
    respond(&report, position)
}
