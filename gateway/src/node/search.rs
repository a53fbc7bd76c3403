//! The engine that searches, as the configuration chose it.

use std::sync::Arc;

use daybook_eventlog::Breaker;
use daybook_projections::generations::Registry;
use daybook_projections::search::{SearchKind, SearchOptions};

use crate::config::{Config, SearchBackend};

/// Adds the search projection. With the circuit breaker before its server, where it has one. `folder` is the data folder's own
/// name.
pub(super) fn add(
    config: &Config,
    folder: String,
    registry: Registry,
) -> anyhow::Result<(Registry, Option<Arc<Breaker>>)> {
    match config.search.backend {
        SearchBackend::Tantivy => {
            let heap = config.memory.search_writer_mib << 20;
            let options = SearchOptions { writer_heap_bytes: heap, ..SearchOptions::default() };
            Ok((registry.with(SearchKind::new(options)), None))
        }
        SearchBackend::Elasticsearch => elasticsearch(config, folder, registry),
    }
}

#[cfg(feature = "elastic")]
fn elasticsearch(
    config: &Config,
    folder: String,
    registry: Registry,
) -> anyhow::Result<(Registry, Option<Arc<Breaker>>)> {
    use anyhow::Context;
    use daybook_projections::search::elastic::{ElasticKind, ElasticOptions};

    let search = &config.search;
    let url = search.url.as_ref().context("search.url is not set")?;
    let about = || format!("search (search.backend = \"elasticsearch\", search.url = \"{url}\")");
    let options = ElasticOptions {
        url: url.expose().to_owned(),
        tls_ca: search.tls_ca.clone(),
        prefix: search.prefix.clone(),
        shards: search.shards,
        replicas: search.replicas,
        timeout: search.request_timeout,
        owner: Some(folder),
        ..ElasticOptions::default()
    };
    let kind = ElasticKind::new(options).with_context(about)?;
    kind.check().with_context(about)?;
    let breaker = kind.breaker();
    Ok((registry.with(kind), Some(breaker)))
}

#[cfg(not(feature = "elastic"))]
fn elasticsearch(_: &Config, _: String, _: Registry) -> anyhow::Result<(Registry, Option<Arc<Breaker>>)> {
    anyhow::bail!(
        "search.backend is \"elasticsearch\", which this build leaves out: build it with the feature elastic"
    )
}
