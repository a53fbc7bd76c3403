//! What `reconcile` answers, on the command line and over HTTP: drift of read models, and whether those who refer to each other agree.

use daybook_projections::{catalogue, masters};
use daybook_replay::integrity::{self, Integrity, IntegrityError};
use daybook_replay::reconcile;
use serde::{Deserialize, Serialize};

use crate::node::Node;

/// The report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reconciled {
    /// Its `clean` speaks of both parts.
    #[serde(flatten)]
    pub(crate) drift: reconcile::Report,
    /// Where catalogue and master data were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) integrity: Option<Integrity>,
}

impl Reconciled {
    /// Looks at the references too, if the read models that have them are among those asked for and are equal to the log now.
    pub(crate) async fn with_integrity(
        node: &Node,
        mut drift: reconcile::Report,
        names: &[String],
        repair: bool,
    ) -> Result<Self, IntegrityError> {
        let asked = |name: &str| names.is_empty() || names.iter().any(|other| other == name);
        let equal = |name: &str| {
            drift.projections.iter().any(|report| {
                report.name == name && (report.drift.is_empty() || (repair && report.repaired > 0))
            })
        };
        let needed = [masters::NAME, catalogue::NAME];
        if !needed.into_iter().all(|name| asked(name) && equal(name)) {
            return Ok(Self { drift, integrity: None });
        }
        let found = integrity::check(node.projections(), node.dispatcher(), repair).await?;
        drift.clean &= found.is_clean();
        Ok(Self { drift, integrity: Some(found) })
    }
}
