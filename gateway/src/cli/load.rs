//! `load`: against the server given with --server, or one in a process of its own on a temporary folder.

use std::time::Duration;

use anyhow::Context;

use super::args::{Format, Global, Load};
use super::{Outcome, print_json, print_line};
use crate::load::child::ChildServer;
use crate::load::client::{Target, address_of};
use crate::load::commits;
use crate::load::generate::{self, Pace, Plan};
use crate::usage::{Usage, mistake};

/// Longest warm-up and measurement.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);

pub(super) async fn run(global: &Global, load: Load) -> anyhow::Result<Outcome> {
    let own = match &global.server {
        Some(_) => None,
        None => Some(own_server(global)?),
    };
    let address = match (&global.server, &own) {
        (Some(url), _) => address_of(url)?,
        (None, Some(own)) => own.address,
        (None, None) => unreachable!("one of the two is there by construction"),
    };
    let plan = Plan {
        target: Target::new(address, global.api_key.as_deref()),
        connections: load.connections,
        variants: load.variants,
        pace: load.rate.map_or(Pace::Closed, Pace::Open),
        warm_up: seconds("--warm-up", load.warm_up)?,
        duration: seconds("--duration", load.duration)?,
        run: load.run.unwrap_or_else(|| format!("{:x}", std::process::id())),
    };
    if plan.duration.is_zero() {
        mistake!("--duration is above 0");
    }
    generate::prepare(&plan).await?;
    let before = commits::of_server(&plan.target).await;
    let mut report = generate::run(&plan).await?;
    if let Some(before) = before {
        report.commits = commits::of_server(&plan.target).await.map(|after| after - before);
    }
    drop(own);
    if global.format == Format::Json {
        print_json(&report)?;
    } else {
        print_line(format_args!("{}", report.text().trim_end()))?;
    }
    Ok(if report.ok() { Outcome::Done } else { Outcome::Failed })
}

fn seconds(flag: &str, seconds: f64) -> anyhow::Result<Duration> {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| Usage::of(anyhow::anyhow!("{flag} is a number of seconds, at most a day")))
}

fn own_server(global: &Global) -> anyhow::Result<ChildServer> {
    let configuration = match &global.config {
        Some(file) => {
            std::fs::read_to_string(file).with_context(|| format!("configuration file {}", file.display()))?
        }
        None => String::new(),
    };
    let program = std::env::current_exe().context("the path of this program")?;
    ChildServer::start(&program, &configuration)
}
