//! An outage of the query side: a projection stands still while commands go on, says so, and catches up.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::{Report, check, receive};
use crate::load::client::{Answer, Connection, Target};

/// How long the projection may take to catch up.
const CATCH_UP: Duration = Duration::from_secs(60);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Pauses a projection, sends `commands`, looks at what the server says of itself, resumes, waits, reconciles. The projection
/// is resumed whatever happens in between.
pub async fn outage(server: &Target, projection: &str, commands: u32, run: &str) -> anyhow::Result<Report> {
    let began = Instant::now();
    let mut connection = server.connect().await?;
    let ready = connection.get("/readyz").await?;
    ensure!(
        ready.status == 200,
        "the server is not ready, so an outage would prove nothing: {}",
        String::from_utf8_lossy(&ready.body)
    );
    operate(&mut connection, &format!("/v1/projections/{projection}/pause"), &json!({})).await?;
    let mut seen = Seen { steps: vec![format!("paused {projection}")], checks: Vec::new() };
    let during = seen.during(server, projection, commands, run).await;
    operate(&mut connection, &format!("/v1/projections/{projection}/resume"), &json!({})).await?;
    let head = during?;
    seen.steps.push(format!("resumed {projection}"));
    seen.after(&mut connection, projection, head).await?;
    Ok(Report::of_steps("outage", began, seen.steps, seen.checks))
}

struct Seen {
    steps: Vec<String>,
    checks: Vec<super::Check>,
}

impl Seen {
    /// Gives the position of the last command.
    async fn during(
        &mut self,
        server: &Target,
        projection: &str,
        commands: u32,
        run: &str,
    ) -> anyhow::Result<u64> {
        for number in 0..commands {
            receive(server, &format!("outage-{run}-{}", number % 100), 1).await?;
        }
        let mut connection = server.connect().await?;
        let statuses = statuses(&mut connection).await?;
        let status = status_of(&statuses, projection)?;
        let lag = status["lag"].as_u64().unwrap_or(0);
        let head = position(&status["head"])?;
        self.steps.push(format!("{commands} commands; {projection} is {lag} events behind"));
        self.checks.push(check(format!("all {commands} commands were accepted meanwhile"), true));
        self.checks.push(check(
            format!("the lag shows: state {}, {lag} events behind", status["state"]),
            status["state"] == "paused" && lag >= u64::from(commands),
        ));
        let ready = connection.get("/readyz").await?;
        let degraded = ready.json()?;
        let named = degraded["failing"].to_string().contains(&format!("projection {projection}"));
        self.checks.push(check(
            format!("readiness is degraded and names it: {} {}", ready.status, degraded["failing"]),
            ready.status == 503 && named,
        ));
        let alive = connection.get("/healthz").await?.status;
        self.checks.push(check("the process still counts as alive".to_owned(), alive == 200));
        let others: Vec<&str> = statuses
            .as_array()
            .into_iter()
            .flatten()
            .filter(|other| other["name"] != projection && other["state"] == "paused")
            .filter_map(|other| other["name"].as_str())
            .collect();
        self.checks.push(check(format!("no other projection stands still: {others:?}"), others.is_empty()));
        Ok(head)
    }

    async fn after(
        &mut self,
        connection: &mut Connection,
        projection: &str,
        head: u64,
    ) -> anyhow::Result<()> {
        let resumed = Instant::now();
        let caught_up = loop {
            let statuses = statuses(connection).await?;
            if position(&status_of(&statuses, projection)?["checkpoint"])? >= head {
                break true;
            }
            if resumed.elapsed() > CATCH_UP {
                break false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        self.checks.push(check(
            format!("it caught up by itself, in {:.2} s", resumed.elapsed().as_secs_f64()),
            caught_up,
        ));
        let ready = connection.get("/readyz").await?;
        self.checks.push(check(format!("readiness is back: {}", ready.status), ready.status == 200));
        let report = operate(connection, "/v1/operations/reconcile", &json!({"names": [projection]})).await?;
        self.checks.push(check("reconcile finds no drift".to_owned(), report["clean"] == true));
        Ok(())
    }
}

async fn operate(connection: &mut Connection, path: &str, body: &Value) -> anyhow::Result<Value> {
    let answer: Answer = connection.post(path, body).await?;
    ensure!(answer.status < 300, "the server refused {path}: {}", String::from_utf8_lossy(&answer.body));
    Ok(answer.json()?)
}

async fn statuses(connection: &mut Connection) -> anyhow::Result<Value> {
    Ok(connection.get("/v1/projections").await?.json()?["projections"].take())
}

fn status_of<'a>(statuses: &'a Value, projection: &str) -> anyhow::Result<&'a Value> {
    let mut all = statuses.as_array().into_iter().flatten();
    all.find(|status| status["name"] == projection)
        .with_context(|| format!("there is no projection {projection:?}"))
}

/// Positions are text on the wire.
fn position(value: &Value) -> anyhow::Result<u64> {
    value.as_str().and_then(|text| text.parse().ok()).with_context(|| format!("{value} is no position"))
}
