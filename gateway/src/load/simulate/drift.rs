//! Drift on purpose: damages rows of a read model and shows that reconciliation finds these rows and no others.

use std::collections::HashSet;
use std::time::Instant;

use anyhow::{Context, ensure};
use daybook_replay::drift::{Damage, Injected, inject};
use daybook_replay::reconcile;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Report, check, receive};
use crate::load::client::Target;
use crate::node::Node;

/// What to damage.
#[derive(Debug, Clone)]
pub struct Drift {
    pub projection: String,
    /// At most this share of the rows, and at least one.
    pub share: f64,
    /// Put the rows right afterwards.
    pub repair: bool,
}

/// Whose read model is damaged.
pub enum DriftSubject<'a> {
    /// A running server that allows it.
    Server(&'a Target),
    /// A data folder at rest, opened.
    Node(&'a Node),
}

impl DriftSubject<'_> {
    async fn inject(&self, damage: &Damage) -> anyhow::Result<Injected> {
        match self {
            Self::Server(server) => ask(server, "/v1/operations/drift", &json!(damage)).await,
            Self::Node(node) => Ok(inject(node.projections(), damage).await?),
        }
    }

    async fn reconcile(&self, name: &str, repair: bool) -> anyhow::Result<reconcile::Report> {
        match self {
            Self::Server(server) => {
                ask(server, "/v1/operations/reconcile", &json!({"names": [name], "repair": repair})).await
            }
            Self::Node(node) => {
                Ok(reconcile::reconcile(node.projections(), &[name.to_owned()], repair, &mut |_, _, _| {})
                    .await?)
            }
        }
    }
}

async fn ask<T: DeserializeOwned>(server: &Target, path: &str, body: &Value) -> anyhow::Result<T> {
    let answer = server.connect().await?.post(path, body).await?;
    ensure!(answer.status < 300, "the server refused {path}: {}", String::from_utf8_lossy(&answer.body));
    serde_json::from_value(answer.json()?)
        .context("the server's answer has another form; are the versions the same?")
}

/// Something to damage, for a server that has nothing yet.
pub async fn stock_up(server: &Target, run: &str) -> anyhow::Result<()> {
    for variant in 0..200 {
        receive(server, &format!("drift-{run}-{variant}"), 7).await?;
    }
    Ok(())
}

/// Damages, reconciles, compares, and repairs if asked to.
pub async fn drift(subject: &DriftSubject<'_>, plan: &Drift) -> anyhow::Result<Report> {
    let began = Instant::now();
    let name = &plan.projection;
    let before = subject.reconcile(name, false).await?;
    ensure!(
        before.clean,
        "projection {name} has drifted already; run `daybook reconcile {name} --repair` first"
    );
    let damage = Damage { projection: name.clone(), share: plan.share };
    let injected = subject.inject(&damage).await?;
    let mut steps = vec![format!(
        "damaged {} of {} rows of {name}@{}",
        injected.damaged.len(),
        injected.rows,
        injected.generation
    )];
    let found = subject.reconcile(name, plan.repair).await?;
    let expected: HashSet<_> = injected.damaged.iter().map(|row| (row.key.clone(), row.kind)).collect();
    let mut named = HashSet::new();
    for row in found.projections.iter().flat_map(|projection| &projection.drift) {
        steps.push(format!("reconcile: {} {}", json!(row.kind).as_str().unwrap_or("drift"), row.key));
        named.insert((row.key.clone(), row.kind));
    }
    #[allow(clippy::cast_precision_loss, reason = "a share for people")]
    let share = expected.len() as f64 / injected.rows.max(1) as f64;
    let mut checks = vec![
        check(
            format!(
                "damaged {:.3} % of the rows, {:.3} % allowed (one row always is)",
                share * 1e2,
                plan.share * 1e2
            ),
            expected.len() == 1 || share <= plan.share,
        ),
        check(
            format!("reconcile found exactly the {} damaged rows: {} found", expected.len(), named.len()),
            named == expected,
        ),
    ];
    if plan.repair {
        let repaired: u64 = found.projections.iter().map(|projection| projection.repaired).sum();
        let after = subject.reconcile(name, false).await?;
        checks.push(check(
            format!("repaired all of them: {repaired}; a second reconcile finds nothing"),
            repaired == expected.len() as u64 && after.clean,
        ));
    } else {
        steps.push(format!("left as it is; `daybook reconcile {name} --repair` puts it right"));
    }
    Ok(Report::of_steps("drift", began, steps, checks))
}
