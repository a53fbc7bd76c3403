//! Search on Elasticsearch as a projection: how its generations are opened, named and removed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use daybook_eventlog::Breaker;
use serde_json::json;

use super::super::{NAME, SearchKind, SearchOptions};
use super::ElasticOptions;
use super::ledger::ElasticLedger;
use super::model::ElasticModel;
use super::server::{Failure, HEALTH, Method, Request, Server};
use crate::generations::{Ledger, Opened, QueryHandle, ReadModelKind};
use crate::model::StoreError;
use crate::runner::RunnerOptions;

/// A search index on a server for each generation; the alias `<prefix>-search` names the live one. Queries go through a
/// [`SearchReader`](super::super::SearchReader), as with the embedded engine.
pub struct ElasticKind {
    server: Server,
    options: ElasticOptions,
    /// What rows are compared with: the embedded engine, which makes the same rows and costs the server nothing.
    shadow: SearchKind,
}

impl ElasticKind {
    /// With these options. Nothing is sent yet. [`StoreError::Unfit`] names what is wrong with them.
    pub fn new(options: ElasticOptions) -> Result<Self, StoreError> {
        options.check()?;
        let server = Server::new(&options)?;
        server.begin_probing();
        let shadow =
            SearchKind::new(SearchOptions { synonyms: options.synonyms.clone(), ..SearchOptions::default() });
        Ok(Self { server, options, shadow })
    }

    /// The circuit breaker before the server.
    #[must_use]
    pub fn breaker(&self) -> Arc<Breaker> {
        self.server.breaker()
    }

    /// Asks the server whether it takes us. An error is its refusal; one that does not answer may do so later, and is only
    /// warned of.
    pub fn check(&self) -> Result<(), StoreError> {
        match self.server.call(Request::new(Method::Get, HEALTH)) {
            Ok(_) => Ok(()),
            Err(failure @ (Failure::Unreachable(_) | Failure::Busy(_))) => {
                tracing::warn!(%failure, "search begins when the server answers");
                Ok(())
            }
            Err(failure) => Err(failure.into()),
        }
    }

    fn delete(&self, generation: u64) -> Result<(), Failure> {
        let index = format!("{}-data", self.options.alias_of(generation));
        match self.server.call(Request::new(Method::Delete, index)) {
            Ok(_) | Err(Failure::Missing(_)) => Ok(()),
            Err(other) => Err(other),
        }
    }
}

impl ReadModelKind for ElasticKind {
    fn name(&self) -> &'static str {
        NAME
    }

    fn open(&self, _place: &Path, generation: u64) -> Result<Opened, StoreError> {
        let model = ElasticModel::open(self.server.clone(), self.options.clone(), generation)?;
        let queries = QueryHandle::Other(Arc::new(model.reader()));
        Ok(Opened { model: Box::new(model), queries })
    }

    /// Where processes share the indices, on the server as well.
    fn ledger(&self) -> Option<Arc<dyn Ledger>> {
        let shared = self.options.owner.is_shared();
        shared.then(|| Arc::new(ElasticLedger::new(self.server.clone(), &self.options)) as Arc<dyn Ledger>)
    }

    fn shadow(&self) -> Option<Arc<dyn ReadModelKind>> {
        Some(Arc::new(self.shadow.clone()))
    }

    /// Moves the alias in one step: readers of it see one generation or the other.
    fn went_live(&self, generation: u64) {
        let alias = format!("{}-search", self.options.prefix);
        let index = format!("{}-data", self.options.alias_of(generation));
        let every = format!("{}-search-*-data", self.options.prefix);
        let actions = json!({"actions": [
            {"remove": {"index": every, "alias": alias, "must_exist": false}},
            {"add": {"index": index, "alias": alias}},
        ]});
        let request = Request::new(Method::Post, "_aliases").json(&actions);
        self.server.call_later("moving the alias of the live search index", request);
    }

    /// The index of a generation, and a folder that the embedded engine has left there.
    fn remove(&self, place: &Path) -> std::io::Result<()> {
        self.shadow.remove(place)?;
        let name = place.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match name.rsplit_once('@').and_then(|(_, generation)| generation.parse().ok()) {
            None => Ok(()),
            Some(generation) => {
                self.delete(generation).map_err(|failure| std::io::Error::other(failure.to_string()))
            }
        }
    }

    /// A commit is several requests, each of them written through to disk: fewer, larger ones.
    fn options(&self) -> RunnerOptions {
        RunnerOptions {
            pace: Duration::from_millis(300),
            urgent_pace: Duration::from_millis(20),
            max_pending_time: Duration::from_secs(2),
            max_pending_bytes: 8 << 20,
            ..RunnerOptions::default()
        }
    }
}
