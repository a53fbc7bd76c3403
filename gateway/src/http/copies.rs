//! Copies of what the server holds, streamed while it runs: the log, and the catalogue as rows.
//!
//! What goes wrong before the first bytes is a problem. After that an answer ends early only by breaking the connection, so that
//! nobody takes a part for the whole.

use std::io::{self, BufWriter, Write};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use daybook_eventlog::segment::BackupError;
use daybook_projections::catalogue;
use daybook_replay::import::variants;
use futures::StreamExt;
use tokio::sync::mpsc;

use super::App;
use super::extract::{Operator, Query};
use super::operations::error_chain;
use super::problem::Problem;
use crate::node::log::NoCopy;

/// Bytes of a piece; so many pieces wait for a slow reader before the writer does.
const PIECE: usize = 64 << 10;
const PIECES: usize = 16;

/// All routes of this module.
pub(super) fn routes() -> Router<App> {
    Router::new().route("/v1/operations/export", get(log)).route("/v1/operations/export/variants", get(rows))
}

/// `GET /v1/operations/export?from=`: the log after a position, as `log import` takes it.
async fn log(
    State(app): State<App>,
    _: Operator,
    Query { mut params, .. }: Query,
) -> Result<Response, Problem> {
    let after = params.number("from")?.unwrap_or(0);
    params.finish()?;
    if after > app.log.head().await?.position {
        return Err(Problem::invalid("from is beyond the head of the log"));
    }
    stream("application/octet-stream", move |out| app.node.export_log(out, after).map(drop)).await
}

/// `GET /v1/operations/export/variants`: every variant that is not archived, as `import variants` takes it.
async fn rows(
    State(app): State<App>,
    _: Operator,
    Query { params, min_position }: Query,
) -> Result<Response, Problem> {
    params.finish()?;
    let live = super::queries::current(&app, catalogue::NAME, min_position).await?;
    let reader = live.queries.rows().ok_or_else(|| super::queries::not_open(catalogue::NAME))?;
    stream("application/x-ndjson", move |out| Ok(variants::export::export(&*reader, out, |_| {}).map(drop)?))
        .await
}

/// Streams what `write` writes, on a thread that may block.
async fn stream(
    content_type: &'static str,
    write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()> + Send + 'static,
) -> Result<Response, Problem> {
    let (sender, mut receiver) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        let mut out = BufWriter::with_capacity(PIECE, Pieces(sender.clone()));
        if let Err(error) = write(&mut out).and_then(|()| Ok(out.flush()?)) {
            let _ = sender.blocking_send(Err(error));
        }
        // Of a failed one nothing more is to be sent.
        drop(out.into_parts());
    });
    let first = match receiver.recv().await {
        Some(Err(error)) => return Err(refused(&error)),
        Some(Ok(piece)) => piece,
        None => Bytes::new(),
    };
    let pieces = futures::stream::unfold(receiver, |mut receiver| async move {
        let piece = receiver.recv().await?;
        let piece = piece.map_err(|error| {
            tracing::warn!(error = format!("{error:#}"), "a copy ended early");
            io::Error::other("the copy ended early")
        });
        Some((piece, receiver))
    });
    let body = futures::stream::iter([Ok(first)]).chain(pieces);
    Ok(([("content-type", content_type)], Body::from_stream(body)).into_response())
}

fn refused(error: &anyhow::Error) -> Problem {
    if error.is::<NoCopy>() {
        return Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unprocessable", error.to_string());
    }
    match error.downcast_ref::<BackupError>() {
        Some(BackupError::DoesNotChain(reason)) => Problem::invalid(reason.clone()),
        _ => Problem::internal(error_chain(error.as_ref())),
    }
}

/// Hands written bytes to the answer.
struct Pieces(mpsc::Sender<anyhow::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
