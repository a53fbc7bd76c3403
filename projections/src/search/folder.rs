//! The folder of an index: what may be opened, what a commit says about itself, and how it is written.

use std::fs;
use std::path::Path;

use daybook_eventlog::Position;
use serde::{Deserialize, Serialize};
use tantivy::indexer::IndexWriterOptions;
use tantivy::{Index, IndexWriter};

use super::SearchOptions;
use super::analysis::ANALYSIS_VERSION;
use super::merges::Merges;
use super::schema::{self, Fields};
use super::store::store_error;
use crate::model::StoreError;

/// Moves whenever the form of what is stored changes.
const FORMAT: u32 = 2;

/// What a commit says about itself; the engine writes it in the same atomic step as the list of segments.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Payload {
    format: u32,
    analysis: u32,
    generation: u64,
    pub(super) checkpoint: Position,
}

impl Payload {
    /// Of a commit by this build.
    pub(super) const fn new(generation: u64, checkpoint: Position) -> Self {
        Self { format: FORMAT, analysis: ANALYSIS_VERSION, generation, checkpoint }
    }
}

/// Opens the index of a folder, or makes one if the folder is empty or missing.
pub(super) fn open_index(folder: &Path) -> Result<(Index, Fields), StoreError> {
    let (schema, fields) = schema::build();
    let unavailable = |e: std::io::Error| StoreError::Unavailable(format!("{}: {e}", folder.display()));
    fs::create_dir_all(folder).map_err(unavailable)?;
    if !folder.join("meta.json").exists() {
        let foreign = fs::read_dir(folder).map_err(unavailable)?.any(|entry| {
            // What creating an index leaves behind when it is cut short.
            entry.is_ok_and(|entry| {
                !matches!(
                    entry.file_name().to_str(),
                    Some(".managed.json" | ".tantivy-writer.lock" | ".tantivy-meta.lock")
                )
            })
        });
        if foreign {
            return Err(StoreError::Damaged(format!("{} holds files but no search index", folder.display())));
        }
        return Ok((Index::create_in_dir(folder, schema).map_err(store_error)?, fields));
    }
    let damaged = |e: tantivy::TantivyError| StoreError::Damaged(format!("{}: {e}", folder.display()));
    let index = Index::open_in_dir(folder).map_err(damaged)?;
    if index.schema() != schema {
        return Err(StoreError::Outdated(format!(
            "{} holds a search index of another build",
            folder.display()
        )));
    }
    Ok((index, fields))
}

/// What the last commit says; `None` if there was none. Refuses an index that this build or generation did not write.
pub(super) fn read_payload(index: &Index, options: &SearchOptions) -> Result<Option<Payload>, StoreError> {
    let damaged = |what: String| StoreError::Damaged(format!("the search index {what}"));
    let metas = index.load_metas().map_err(|e| damaged(format!("has no readable list of segments: {e}")))?;
    let Some(text) = metas.payload else {
        return if metas.segments.is_empty() {
            Ok(None)
        } else {
            Err(damaged("has no checkpoint".to_owned()))
        };
    };
    let payload: Payload =
        serde_json::from_str(&text).map_err(|e| damaged(format!("has no readable checkpoint: {e}")))?;
    if payload.format != FORMAT || payload.analysis != ANALYSIS_VERSION {
        return Err(StoreError::Outdated("the search index was written by another build".to_owned()));
    }
    if payload.generation != options.generation {
        return Err(damaged(format!("is generation {}, not {}", payload.generation, options.generation)));
    }
    Ok(Some(payload))
}

/// Takes the folder's lock.
pub(super) fn writer(index: &Index, options: &SearchOptions) -> Result<IndexWriter, StoreError> {
    let threads = options.writer_threads.max(1);
    let writer_options = IndexWriterOptions::builder()
        .num_worker_threads(threads)
        .memory_budget_per_thread((options.writer_heap_bytes / threads).max(16_000_000))
        .num_merge_threads(1)
        .build();
    let writer = index.writer_with_options(writer_options).map_err(|e| match e {
        tantivy::TantivyError::LockFailure(..) => {
            StoreError::Unavailable("another process writes this search index".to_owned())
        }
        other => store_error(other),
    })?;
    writer.set_merge_policy(Box::new(Merges::default()));
    clear(&writer);
    Ok(writer)
}

/// Removes what a commit has left that broke off, at the latest by a kill: made again, it would find files with the names of its own.
pub(super) fn clear(writer: &IndexWriter) {
    if let Err(error) = writer.garbage_collect_files().wait() {
        tracing::warn!(%error, "the search index could not be cleared of what an ended process has left");
    }
}
