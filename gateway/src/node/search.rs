//! The engine that searches, as the configuration chose it.

use std::sync::Arc;

use daybook_eventlog::{Breaker, EventLog};
use daybook_projections::generations::Registry;
use daybook_projections::search::{SearchKind, SearchOptions};

use super::folder::Belonging;
use crate::config::{Config, SearchBackend};

/// Adds the search projection. With the circuit breaker before its server, where it has one.
pub(super) fn add(
    config: &Config,
    belonging: &Belonging,
    log: &Arc<dyn EventLog>,
    registry: Registry,
) -> anyhow::Result<(Registry, Option<Arc<Breaker>>)> {
    match config.search.backend {
        SearchBackend::Tantivy => {
            let heap = config.memory.search_writer_mib << 20;
            let options = SearchOptions { writer_heap_bytes: heap, ..SearchOptions::default() };
            Ok((registry.with(SearchKind::new(options)), None))
        }
        SearchBackend::Elasticsearch => elasticsearch(config, belonging, log, registry),
    }
}

#[cfg(feature = "elastic")]
fn elasticsearch(
    config: &Config,
    belonging: &Belonging,
    log: &Arc<dyn EventLog>,
    registry: Registry,
) -> anyhow::Result<(Registry, Option<Arc<Breaker>>)> {
    use anyhow::Context;
    use daybook_projections::search::elastic::{ElasticKind, ElasticOptions, Owner};

    let search = &config.search;
    let url = search.url.as_ref().context("search.url is not set")?;
    let about = || format!("search (search.backend = \"elasticsearch\", search.url = \"{url}\")");
    // Gateways on one log share its index; a log of one process belongs to its folder, copies of which go different ways.
    let owner = if config.log.backend.is_shared() {
        Owner::Log(identity::of(belonging, log))
    } else {
        Owner::Folder(belonging.name().to_owned())
    };
    let options = ElasticOptions {
        url: url.expose().to_owned(),
        tls_ca: search.tls_ca.clone(),
        prefix: search.prefix.clone(),
        shards: search.shards,
        replicas: search.replicas,
        timeout: search.request_timeout,
        owner,
        ..ElasticOptions::default()
    };
    let kind = ElasticKind::new(options).with_context(about)?;
    kind.check().with_context(about)?;
    let breaker = kind.breaker();
    Ok((registry.with(kind), Some(breaker)))
}

#[cfg(not(feature = "elastic"))]
fn elasticsearch(
    _: &Config,
    _: &Belonging,
    _: &Arc<dyn EventLog>,
    _: Registry,
) -> anyhow::Result<(Registry, Option<Arc<Breaker>>)> {
    anyhow::bail!(
        "search.backend is \"elasticsearch\", which this build leaves out: build it with the feature elastic"
    )
}

#[cfg(feature = "elastic")]
mod identity {
    use std::sync::{Arc, OnceLock, Weak};
    use std::time::Duration;

    use daybook_eventlog::EventLog;

    use super::super::folder::{Belonging, first_event};

    const PAUSE: Duration = Duration::from_millis(500);

    /// The first event of the log, which names it. Of a log that is still empty it is told as soon as there is one.
    pub(super) fn of(belonging: &Belonging, log: &Arc<dyn EventLog>) -> Arc<OnceLock<String>> {
        let cell = Arc::new(OnceLock::new());
        match belonging.first_event() {
            Some(event) => drop(cell.set(event.to_owned())),
            None => drop(tokio::spawn(tell(Arc::clone(&cell), Arc::downgrade(log)))),
        }
        cell
    }

    async fn tell(cell: Arc<OnceLock<String>>, log: Weak<dyn EventLog>) {
        let Some(mut head) = log.upgrade().map(|log| log.watch_head()) else { return };
        // An error: the log was closed, empty.
        if head.wait_for(|position| *position > 0).await.is_err() {
            return;
        }
        while let Some(log) = log.upgrade() {
            match first_event(&*log).await {
                Ok(Some(event)) => return drop(cell.set(event)),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "which log the search index is of is not known yet"),
            }
            drop(log);
            tokio::time::sleep(PAUSE).await;
        }
    }
}
