//! Search as a projection: how its generations are opened.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{NAME, SearchModel, SearchOptions};
use crate::generations::{Opened, QueryHandle, ReadModelKind};
use crate::model::StoreError;
use crate::runner::RunnerOptions;

/// A search index for each generation. Queries go through a [`SearchReader`](super::SearchReader).
#[derive(Debug, Clone, Default)]
pub struct SearchKind {
    options: SearchOptions,
}

impl SearchKind {
    /// With these options; the generation among them is set for each index that is opened.
    #[must_use]
    pub const fn new(options: SearchOptions) -> Self {
        Self { options }
    }
}

impl ReadModelKind for SearchKind {
    fn name(&self) -> &'static str {
        NAME
    }

    fn open(&self, place: &Path, generation: u64) -> Result<Opened, StoreError> {
        let model = SearchModel::open(place, SearchOptions { generation, ..self.options.clone() })?;
        let queries = QueryHandle::Other(Arc::new(model.reader()));
        Ok(Opened { model: Box::new(model), queries })
    }

    /// A commit costs some milliseconds however little is in it, so they come less often than those of tables.
    fn options(&self) -> RunnerOptions {
        RunnerOptions {
            pace: Duration::from_millis(300),
            urgent_pace: Duration::from_millis(20),
            max_pending_time: Duration::from_secs(2),
            ..RunnerOptions::default()
        }
    }
}
