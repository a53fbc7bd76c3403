//! Carries changes of master data to the variants that use it, while the server runs: `daybook_commands::spread` with the view of
//! master data as the place that knows who uses what. Of several gateways that can settle it, one does so.

use std::sync::Arc;
use std::time::Duration;

use daybook_commands::spread::{FileNotes, Notes, Spread, SpreadOptions, Users};
use daybook_eventlog::{LeaseStore, LeaseToken, Position};
use daybook_projections::masters::{NAME, query};
use daybook_schemas::variant::MasterKind;
use daybook_schemas::{ValueId, VariantId};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::config::Config;
use crate::node::Node;

/// How long the read model may take to have a change before the question is given up, to be asked again.
const PATIENCE: Duration = Duration::from_secs(30);

/// Works until `stop` turns true.
pub(crate) fn run(
    config: &Config,
    node: Arc<Node>,
    stop: watch::Receiver<bool>,
) -> impl Future<Output = ()> + Send + use<> {
    let mut options = SpreadOptions::default();
    if let Some(candidacy) = node.compete(LEASE) {
        options.leader = Some(candidacy.leads);
        options.notes = Some(Arc::new(LeaseNotes { store: candidacy.store, token: candidacy.token }));
    } else {
        options.notes = Some(Arc::new(FileNotes(config.data.join("spread.checkpoint"))));
    }
    let (log, dispatcher) = (Arc::clone(node.log()), node.dispatcher().clone());
    Spread::new(log, dispatcher, Arc::new(View(node)), options).run(stop)
}

/// The name of the lease.
const LEASE: &str = "spread";

/// Notes beside the lease, which only its holder writes.
struct LeaseNotes {
    store: Arc<dyn LeaseStore>,
    token: watch::Receiver<Option<LeaseToken>>,
}

impl Notes for LeaseNotes {
    fn read(&self) -> BoxFuture<'_, Result<Option<Vec<u8>>, String>> {
        async { self.store.noted(LEASE).await.map_err(|error| error.to_string()) }.boxed()
    }

    fn write(&self, note: Vec<u8>) -> BoxFuture<'_, Result<(), String>> {
        async move {
            let token = *self.token.borrow();
            let held = match token {
                Some(token) => {
                    self.store.note(LEASE, token, &note).await.map_err(|error| error.to_string())?
                }
                None => false,
            };
            if held { Ok(()) } else { Err("another gateway leads by now".to_owned()) }
        }
        .boxed()
    }
}

struct View(Arc<Node>);

impl Users for View {
    fn page<'a>(
        &'a self,
        kind: MasterKind,
        value_id: &'a ValueId,
        after: Option<&'a str>,
        limit: usize,
        position: Position,
    ) -> BoxFuture<'a, Result<Vec<VariantId>, String>> {
        let (id, after) = (value_id.to_string(), after.map(str::to_owned));
        async move {
            let live = self.0.projections().live(NAME).map_err(|error| error.to_string())?;
            live.handle.wait_for(position, PATIENCE).await.map_err(|error| error.to_string())?;
            let reader = live.queries.rows().ok_or("the view of master data has no rows")?;
            let read = move || {
                let rows = reader.begin()?;
                query::users(&*rows, kind.as_str(), &id, after.as_deref(), limit)
            };
            let found = tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?;
            let found = found.map_err(|error| error.to_string())?;
            found.iter().map(|id| VariantId::new(id).map_err(|error| error.to_string())).collect()
        }
        .boxed()
    }
}
