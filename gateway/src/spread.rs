//! Carries changes of master data to the variants that use it, while the server runs: `daybook_commands::spread` with the view of
//! master data as the place that knows who uses what.

use std::sync::Arc;
use std::time::Duration;

use daybook_commands::spread::{Spread, SpreadOptions, Users};
use daybook_eventlog::Position;
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
    let options =
        SpreadOptions { checkpoint: Some(config.data.join("spread.checkpoint")), ..SpreadOptions::default() };
    let (log, dispatcher) = (Arc::clone(node.log()), node.dispatcher().clone());
    Spread::new(log, dispatcher, Arc::new(View(node)), options).run(stop)
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
