//! The stores of read models that the configuration chose.

use std::sync::Arc;

use daybook_eventlog::{CircuitStatus, EventLog};
use daybook_projections::generations::Registry;
use daybook_projections::standard;

use crate::config::{Config, ReadModelConfig};

/// Where the read models of tables are.
pub(super) enum ReadModels {
    Files,
    #[cfg(feature = "postgres")]
    Postgres(daybook_projections::rows::postgres::PostgresSchemas),
}

impl ReadModels {
    /// Connects to the server, if they are on one, and makes sure that what is there is of this log.
    pub(super) async fn open(config: &Config, log: &Arc<dyn EventLog>) -> anyhow::Result<Self> {
        match &config.read_models {
            ReadModelConfig::Sqlite => Ok(Self::Files),
            ReadModelConfig::Postgres(server) => postgres::open(server, log).await,
        }
    }

    /// The projections of tables. Search is added to them.
    pub(super) fn registry(&self) -> Registry {
        match self {
            Self::Files => standard::registry(),
            #[cfg(feature = "postgres")]
            Self::Postgres(schemas) => {
                let engine: Arc<dyn daybook_projections::rows::RowEngine> = Arc::new(schemas.clone());
                standard::registry_on(&engine)
            }
        }
    }

    /// The circuit breaker before the server, where there is one.
    pub(super) fn circuit(&self) -> Option<CircuitStatus> {
        match self {
            Self::Files => None,
            #[cfg(feature = "postgres")]
            Self::Postgres(schemas) => Some(schemas.circuit()),
        }
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use std::sync::Arc;

    use anyhow::Context;
    use daybook_eventlog::{EventLog, Filter, ReadError};
    use daybook_projections::model::StoreError;
    use daybook_projections::rows::postgres::{PostgresOptions, PostgresSchemas};

    use super::ReadModels;
    use crate::config::ReadModelServer;

    pub(super) async fn open(
        server: &ReadModelServer,
        log: &Arc<dyn EventLog>,
    ) -> anyhow::Result<ReadModels> {
        let mut options = PostgresOptions::new(server.url.expose()).with_schema(&server.schema);
        options.query_connections = server.pool;
        options.connect_timeout = server.connect_timeout;
        options.query_timeout = server.query_timeout;
        options.write_timeout = server.write_timeout;
        let first = first_event(&**log).await.context("the first event of the log")?;
        let known = first.is_some();
        // It blocks while the server answers.
        let connected = tokio::task::spawn_blocking(move || {
            let schemas = PostgresSchemas::connect(options)?;
            schemas.bind_log(first.as_deref())?;
            Ok::<_, StoreError>(schemas)
        });
        let schemas = connected
            .await?
            .with_context(|| format!("the read models (read_models.url = {:?})", server.url.redacted()))?;
        if !known {
            bind_later(&schemas, log);
        }
        Ok(ReadModels::Postgres(schemas))
    }

    async fn first_event(log: &dyn EventLog) -> Result<Option<String>, ReadError> {
        let page = log.read_all(0, &Filter::default(), 1, 1).await?;
        Ok(page.events.first().map(|event| event.event_id.to_string()))
    }

    /// Of a log that is still empty, the read models are told as soon as it has an event.
    fn bind_later(schemas: &PostgresSchemas, log: &Arc<dyn EventLog>) {
        let (schemas, mut head, log) = (schemas.clone(), log.watch_head(), Arc::downgrade(log));
        tokio::spawn(async move {
            // An error: the log was closed, empty.
            if head.wait_for(|position| *position > 0).await.is_err() {
                return;
            }
            let Some(log) = log.upgrade() else { return };
            let bound = match first_event(&*log).await {
                Ok(event) => {
                    drop(log);
                    tokio::task::spawn_blocking(move || {
                        schemas.bind_log(event.as_deref()).map_err(|e| e.to_string())
                    })
                    .await
                    .unwrap_or_else(|error| Err(error.to_string()))
                }
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = bound {
                tracing::warn!(
                    error,
                    "which log the read models are of is not on record yet; the next start tries again"
                );
            }
        });
    }
}

#[cfg(not(feature = "postgres"))]
mod postgres {
    use std::sync::Arc;

    use anyhow::bail;
    use daybook_eventlog::EventLog;

    use super::ReadModels;
    use crate::config::ReadModelServer;

    pub(super) async fn open(_: &ReadModelServer, _: &Arc<dyn EventLog>) -> anyhow::Result<ReadModels> {
        bail!(
            "read_models.backend is \"postgres\", which this build leaves out: build it with the feature postgres"
        )
    }
}
