//! Read models that another version of the program has left are built anew, while the server runs.
//!
//! After an upgrade whose read models look different the old ones can't be read, so until its successor is built such a read model
//! answers `projection_halted` and says so in `/readyz`; everything else works. Damage is not mended here: an operator should see it
//! first.

use std::sync::Arc;
use std::time::Duration;

use daybook_replay::rebuild;
use tokio::sync::watch;

use crate::node::{Candidacy, Node};

/// The name of the lease: of several gateways on one store one builds.
const LEASE: &str = "renewal";
/// After a failure; doubles with each further one.
const PAUSE: Duration = Duration::from_secs(15);
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// Works until nothing is left to do or `stop` turns true. A generation that is half built then is gone on with after the next start.
pub(crate) fn run(
    node: Arc<Node>,
    mut stop: watch::Receiver<bool>,
) -> impl Future<Output = ()> + Send + use<> {
    let shared = node.projections().outdated().iter().any(|outdated| outdated.shared);
    let candidacy = if shared { node.compete(LEASE) } else { None };
    async move {
        tokio::select! {
            () = renew_all(&node, candidacy.as_ref()) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
}

async fn renew_all(node: &Node, candidacy: Option<&Candidacy>) {
    let mut pause = PAUSE;
    loop {
        for outdated in node.projections().outdated() {
            let ours = !outdated.shared || candidacy.is_none_or(|candidacy| *candidacy.leads.borrow());
            if ours {
                renew(node, outdated.name).await;
            }
        }
        if node.projections().outdated().is_empty() {
            return;
        }
        // Another gateway builds what is left, or something failed.
        tokio::time::sleep(pause).await;
        let following = candidacy.is_some_and(|candidacy| !*candidacy.leads.borrow());
        pause = if following { PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
    }
}

async fn renew(node: &Node, name: &'static str) {
    // An operator may be about to do the same.
    drop(node.projections().proof(name).await);
    let is_outdated = || node.projections().outdated().iter().any(|outdated| outdated.name == name);
    if !is_outdated() {
        return;
    }
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
        Err(error) if is_outdated() => tracing::error!(
            projection = name,
            %error,
            "the read model could not be built anew; it is tried again, or try `daybook projections rebuild {name}`"
        ),
        Err(error) => tracing::info!(projection = name, %error, "another process has built the read model"),
    }
}
