//! Read models that another version of the program has left are built anew, while the server runs.
//!
//! After an upgrade whose read models look different the old ones can't be read, so until its successor is built such a read model
//! answers `unavailable` and says so in `/readyz`; everything else works. Damage is not mended here: an operator should see it first.

use std::sync::Arc;

use daybook_replay::rebuild;
use tokio::sync::watch;

use crate::node::Node;

/// The name of the lease: of several gateways one builds.
const LEASE: &str = "renewal";

/// Works until nothing is left to do or `stop` turns true. A generation that is half built then is gone on with after the next start.
pub(crate) fn run(
    node: Arc<Node>,
    mut stop: watch::Receiver<bool>,
) -> impl Future<Output = ()> + Send + use<> {
    let candidacy = if node.projections().outdated().is_empty() { None } else { node.compete(LEASE) };
    async move {
        let renewed = async {
            if let Some(mut candidacy) = candidacy
                && candidacy.leads.wait_for(|leads| *leads).await.is_err()
            {
                return;
            }
            for name in node.projections().outdated() {
                renew(&node, name).await;
            }
        };
        tokio::select! {
            () = renewed => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
}

async fn renew(node: &Node, name: &'static str) {
    tracing::warn!(
        projection = name,
        "the read model was written by another version of the program; it is built anew, and unavailable until then"
    );
    match rebuild::rebuild(node.projections(), name, &mut |_, _, _| {}).await {
        Ok(report) => tracing::info!(
            projection = name,
            generation = report.to_generation,
            rows = report.rows,
            "the read model is built, and proved equal to a replay"
        ),
        Err(error) => tracing::error!(
            projection = name,
            %error,
            "the read model could not be built anew; try `daybook projections rebuild {name}`"
        ),
    }
}
